//! Real short writes: a peer that does not read until the socket buffers are full.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hello_echo::hello::{MAX_MESSAGE, Settings};
use hello_echo::{Address, Config};
use socket2::{Domain, Socket, Type};

use crate::util::{PATIENCE, Peer, Server, TempPath, connect_unix, in_a_network, in_time, payload};

/// Sends the messages before it reads anything, then reads everything. The greetings were stuck until
/// then, so each message has arrived in one piece and its echo gets stuck as well, beside the echoes
/// of the others.
fn assert_all_of_it_comes<P: Peer>(mut clients: Vec<(P, Vec<u8>)>, greeting: &[u8]) {
    for (stream, message) in &mut clients {
        stream.write_all(message).unwrap();
    }
    let mut received = vec![Vec::new(); clients.len()];
    loop {
        let mut ended = 0;
        // In pieces, as slow readers would: each makes a little room.
        for ((stream, _), received) in clients.iter_mut().zip(&mut received) {
            let mut piece = [0; 1777];
            match stream.read(&mut piece).unwrap() {
                0 => ended += 1,
                n => received.extend_from_slice(&piece[..n]),
            }
        }
        if ended == clients.len() {
            break;
        }
    }
    for ((_, message), received) in clients.iter().zip(received) {
        assert!(received == [greeting, message].concat());
    }
}

/// Needs no special settings: a Unix socket takes `net.core.wmem_default` (208 KiB) and no more
/// until its reader reads, and this greeting has a megabyte.
#[test]
fn over_a_unix_socket() {
    let path = TempPath::new("short.sock");
    let mut config = Config::default();
    config.listen = vec![Address::Unix(path.0.clone())];
    let mut hello = Settings::default();
    hello.greeting = payload(1, MAX_MESSAGE);
    hello.max_read = MAX_MESSAGE;
    let mut server: hello_echo::Server = hello_echo::Server::bind(&config, hello.clone()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let turning = std::thread::spawn({
        let stop = stop.clone();
        move || {
            while !stop.load(Ordering::Relaxed) {
                server.turn(Some(Duration::from_millis(10))).unwrap();
            }
            server.clients()
        }
    });
    in_time("the short writes", move || {
        let client = |i| (connect_unix(&path), payload(i, 100_000));
        assert_all_of_it_comes((2..10).map(client).collect(), &hello.greeting);
    });
    stop.store(true, Ordering::Relaxed);
    assert_eq!(in_time("the server", || turning.join().unwrap()), 0);
}

/// The same over TCP, where the buffers must be made small first, in a network namespace that this
/// test makes and fills with [`in_the_namespace`].
#[test]
fn over_tcp_with_small_buffers() {
    let setup = "echo 4096 4096 4096 > /proc/sys/net/ipv4/tcp_wmem";
    in_a_network(PATIENCE, setup, in_the_namespace);
}

#[test]
#[ignore = "it needs the small buffers that over_tcp_with_small_buffers makes for it"]
fn in_the_namespace() {
    let greeting = "g".repeat(100_000);
    let options = ["--max-read", "1048576", "--greeting", &greeting];
    let server = Server::start(&options);
    let client = |length| {
        // Room for the whole message on its way out, and next to none for what comes back.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_send_buffer_size(200_000).unwrap();
        socket.set_recv_buffer_size(2048).unwrap();
        socket.connect(&server.address().into()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        (std::net::TcpStream::from(socket), payload(9, length))
    };
    assert_all_of_it_comes(vec![client(20_000), client(60_000)], greeting.as_bytes());
}
