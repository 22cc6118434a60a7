use super::*;
use crate::protocol::hello::Settings;
use crate::server::config::Config;

/// Another thread than the one that made it can serve a server.
#[test]
fn a_server_can_be_sent_to_another_thread() {
    fn assert_send<T: Send>() {}
    assert_send::<Server>();
    assert_send::<Handle>();
}

/// The assertion on the entry measures a copy of the slab's slot; this test measures a slab.
#[test]
fn a_client_takes_no_more_of_the_slab() {
    let config = Config {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        ..Config::default()
    };
    let mut server: Server = Server::bind(&config, Settings::default()).unwrap();
    let LocalAddr::Tcp(address) = server.local_addrs()[0].clone() else {
        panic!("it listens where it is told");
    };
    let clients = [(); 2].map(|()| std::net::TcpStream::connect(address).unwrap());
    while server.clients() < clients.len() {
        server.turn(Some(Duration::from_secs(1))).unwrap();
    }
    assert_eq!(server.reactor.stride(), Some(40));
}
