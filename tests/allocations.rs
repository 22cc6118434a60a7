//! In the steady state the server allocates nothing, whoever comes and goes.

#![allow(clippy::unwrap_used, reason = "that is how a test fails")]
#![allow(clippy::panic, reason = "that is how a test fails")]

mod util;

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use hello_echo::{Config, LocalAddr, Server};
use util::{assert_greeted, assert_rest, connect};

#[test]
fn an_exchange_allocates_nothing() {
    let mut config = Config::default();
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let mut server = Server::bind(&config).unwrap();
    exchanges(&mut server, 100); // whatever is made at first
    let allocated = exchanges(&mut server, 1_000);
    assert_eq!(allocated.count_total, 0, "{allocated:?}");
    assert_eq!(server.stats().echoed, 1_100);

    // That it would show.
    let made = measure(|| drop(Server::bind(&config)));
    assert!(made.count_total > 0, "{made:?}");
}

/// Ten clients at a time. What the server's turns allocated.
fn exchanges(server: &mut Server, count: usize) -> AllocationInfo {
    let mut allocated = AllocationInfo::default();
    for _ in 0..count / 10 {
        let mut clients: Vec<TcpStream> = (0..10).map(|_| dial(server)).collect();
        let greeted = turn(server);
        for client in &mut clients {
            assert_greeted(client);
            client.write_all(&[b'x'; 1000]).unwrap();
        }
        let echoed = turn(server);
        for mut client in clients {
            assert_rest(&mut client, &[b'x'; 1000]);
        }
        let closed = turn(server);
        assert_eq!(server.clients(), 0);
        for turned in [greeted, echoed, closed] {
            allocated.count_total += turned.count_total;
        }
    }
    allocated
}

fn turn(server: &mut Server) -> AllocationInfo {
    measure(|| server.turn(Some(Duration::ZERO)).unwrap())
}

fn dial(server: &Server) -> TcpStream {
    match server.local_addrs()[..] {
        [LocalAddr::Tcp(address)] => connect(address),
        ref other => panic!("{other:?}"),
    }
}
