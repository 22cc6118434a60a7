//! Real short writes: a peer that does not read until the socket buffers are full.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hello_echo::hello::{MAX_MESSAGE, Settings};
use hello_echo::{Address, Config};
use socket2::{Domain, Socket, Type};

use crate::util::{PATIENCE, Peer, Server, TempPath, connect_unix, in_a_network, in_time, payload};

/// Sends a message before it reads anything, then reads everything. The greeting was stuck until
/// then, so the message has arrived in one piece and its echo gets stuck as well.
fn assert_all_of_it_comes(mut stream: impl Peer, greeting: &[u8], message: &[u8]) {
    stream.write_all(message).unwrap();
    // In pieces, as a slow reader would: each makes a little room.
    let mut received = vec![0; greeting.len() + message.len()];
    for chunk in received.chunks_mut(1777) {
        stream.read_exact(chunk).unwrap();
    }
    assert!(received == [greeting, message].concat());
    assert_eq!(
        stream.read(&mut [0]).unwrap(),
        0,
        "something after the echo"
    );
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
            while !stop.load(Ordering::Relaxed) || server.clients() > 0 {
                server.turn(Some(Duration::from_millis(10))).unwrap();
            }
        }
    });
    in_time("the short writes", move || {
        let clients: Vec<_> = (0..8).map(|_| connect_unix(&path)).collect();
        for (i, client) in (2..).zip(clients) {
            assert_all_of_it_comes(client, &hello.greeting, &payload(i, 100_000));
        }
    });
    stop.store(true, Ordering::Relaxed);
    in_time("the last client's end", || turning.join().unwrap());
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
    for length in [20_000, 60_000] {
        // Room for the whole message on its way out, and next to none for what comes back.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_send_buffer_size(200_000).unwrap();
        socket.set_recv_buffer_size(2048).unwrap();
        socket.connect(&server.address().into()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let stream = std::net::TcpStream::from(socket);
        assert_all_of_it_comes(stream, greeting.as_bytes(), &payload(9, length));
    }
}
