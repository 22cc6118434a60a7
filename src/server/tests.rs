use super::*;
use crate::protocol::hello::{Hello, Settings};
use crate::server::config::Config;
use crate::server::sockets::MOST_REACTORS;

fn config() -> Config {
    Config {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        ..Config::default()
    }
}

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
    let mut server: Server = Server::bind(&config(), Settings::default()).unwrap();
    let LocalAddr::Tcp(address) = server.local_addrs()[0].clone() else {
        panic!("it listens where it is told");
    };
    let clients = [(); 2].map(|()| std::net::TcpStream::connect(address).unwrap());
    while server.clients() < clients.len() {
        server.turn(Some(Duration::from_secs(1))).unwrap();
    }
    assert_eq!(server.reactor.stride(), Some(40));
}

/// The command line refuses these, too. A program that embeds the server has no other check.
#[test]
fn a_field_beyond_its_limits_is_refused() {
    let check = |change: &dyn Fn(&mut Config), why: &str| {
        let mut config = config();
        change(&mut config);
        let error = Server::<Hello>::bind(&config, Settings::default()).err();
        assert_eq!(error.unwrap().to_string(), why);
    };
    check(&|c| c.listen.clear(), "no address to listen on");
    check(&|c| c.backlog = 0, "a backlog of 0, not 1 to 2147483647");
    check(
        &|c| c.max_connections = Some(0),
        "a max_connections of 0, not at least 1",
    );
    check(
        &|c| c.stats = Duration::from_millis(9),
        "stats every 9ms, more often than every 10ms",
    );
}

#[test]
fn a_protocol_that_cannot_be_added_is_refused() {
    let mut server: Server = Server::bind(&config(), Settings::default()).unwrap();
    let guest = Config {
        max_connections: Some(1),
        ..config()
    };
    let check = |server: &mut Server, config: &Config, why: &str| {
        let added = server.add::<Hello>(config, Settings::default());
        assert_eq!(added.err().unwrap().to_string(), why);
    };
    let unbounded = "a protocol that is added has no max_connections";
    check(&mut server, &config(), unbounded);
    #[cfg(feature = "metrics")]
    {
        let metrics = Config {
            metrics: Some("127.0.0.1:0".parse().unwrap()),
            ..guest.clone()
        };
        let own = "a protocol that is added has metrics of its own";
        check(&mut server, &metrics, own);
    }
    let add = |server: &mut Server| server.add::<Hello>(&guest, Settings::default());
    let added = (0..MOST_REACTORS).take_while(|_| add(&mut server).is_ok());
    assert!(added.count() > 200);
    let many = format!("more than {MOST_REACTORS} protocols");
    check(&mut server, &guest, &many);
    server.handle().unwrap().shut_down();
    server.turn(Some(Duration::from_secs(1))).unwrap();
    let late = "a protocol is added to a server that shuts down";
    check(&mut server, &guest, late);
}

#[test]
fn a_server_is_shown_by_its_addresses_and_clients() {
    let server: Server = Server::bind(&config(), Settings::default()).unwrap();
    let shown = format!("{server:?}");
    let addresses = format!("{:?}", server.local_addrs());
    assert_eq!(
        shown,
        format!("Server {{ local_addrs: {addresses}, clients: 0, .. }}")
    );
}

/// A poll has one waker, so all handles share it.
#[test]
fn every_handle_of_a_server_is_the_same() {
    let mut server: Server = Server::bind(&config(), Settings::default()).unwrap();
    let [first, second] = [(); 2].map(|()| server.handle().unwrap());
    second.shut_down();
    for _ in 0..9 {
        server.turn(Some(Duration::from_secs(1))).unwrap();
    }
    assert!(server.is_shut_down());
    assert_eq!(first.stats().open(), 0);
}

#[test]
fn somebody_has_to_listen() {
    let adopted = Server::<Hello>::adopt([], &config(), Settings::default());
    let error = adopted.err().unwrap().to_string();
    assert_eq!(error, "no socket to listen on");
}
