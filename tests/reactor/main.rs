//! The library's promises, one turn at a time: no thread, no child process.
//!
//! So these tests have their own binary. A child that a test starts has all descriptors of its
//! parent until it has become another program. Meanwhile a connection that another test closes
//! stays open, and here the server has to see the end in its next turn.

#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "that is how a test fails"
)]
#![allow(clippy::print_stdout, reason = "shown where a test fails")]

mod deadlines;
#[path = "../util/mod.rs"]
mod util;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use hello_echo::hello::{Hello, MAX_MESSAGE, Settings};
use hello_echo::{Address, Config, LocalAddr, Protocol, Server, Want};
use socket2::SockRef;

use util::{PATIENCE, TempPath, assert_greeted, assert_rest, connect, connect_unix};

const NOW: Option<Duration> = Some(Duration::ZERO);
const SHORT: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);

fn server(set: impl FnOnce(&mut Config, &mut Settings)) -> Server {
    let (mut config, mut hello) = (Config::default(), Settings::default());
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    set(&mut config, &mut hello);
    Server::bind(&config, hello).unwrap()
}

/// Connected for the kernel, before the server has turned.
fn client(server: &Server) -> TcpStream {
    match server.local_addrs()[..] {
        [LocalAddr::Tcp(address)] => connect(address),
        ref other => panic!("{other:?}"),
    }
}

/// Turns until so many clients are left.
fn turn_until(server: &mut Server, clients: usize) {
    let start = Instant::now();
    while server.clients() != clients {
        assert!(
            start.elapsed() < PATIENCE,
            "{} clients, not {clients}",
            server.clients()
        );
        server.turn(Some(SHORT)).unwrap();
    }
}

#[test]
fn a_turn_without_work_ends_with_its_timeout() {
    let mut server = server(|_, _| {});
    let start = Instant::now();
    server.turn(Some(SHORT)).unwrap();
    assert!(start.elapsed() >= SHORT);
    assert_eq!(server.clients(), 0);
}

/// One event reports the message and the FIN. The echo is owed all the same.
#[test]
fn a_message_with_a_fin_behind_it_is_echoed() {
    let mut server = server(|_, _| {});
    let mut client = client(&server);
    client.write_all(b"hi").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    server.turn(NOW).unwrap(); // accepts and greets
    turn_until(&mut server, 0);
    assert_rest(&mut client, b"hello\nhi");
    assert_eq!(server.stats().ended(Hello::ECHOED), 1);
}

/// The rest of an echo that the kernel does not take is not overwritten by the next client's message.
#[test]
fn an_echo_that_is_stuck_stays_its_clients_own() {
    const GREETING: usize = 100_000;
    let path = TempPath::new("stuck.sock");
    let mut server = server(|config, hello| {
        config.listen = vec![Address::Unix(path.0.clone())];
        hello.greeting = vec![b'g'; GREETING];
        hello.max_read = MAX_MESSAGE;
    });
    let mut clients = [b'1', b'2'].map(|byte| (connect_unix(&path), vec![byte; MAX_MESSAGE]));
    server.turn(NOW).unwrap(); // accepts and greets
    for (stream, message) in &mut clients {
        // All that a socket takes, so the echo does not fit behind the greeting.
        stream.set_nonblocking(true).unwrap();
        let n = stream.write(message).unwrap();
        message.truncate(n);
        stream.set_nonblocking(false).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
    server.turn(NOW).unwrap(); // receives both messages
    let owed = clients.iter().map(|(_, message)| GREETING + message.len());
    let sent = server.stats().bytes.sent;
    assert!(sent < owed.sum::<usize>() as u64, "the kernel took all");
    for (stream, message) in clients {
        // The reads make room, and the turns fill it.
        let mut received = Vec::new();
        let mut piece = [0; 10_000];
        while received.len() < GREETING + message.len() {
            let n = (&stream).read(&mut piece).unwrap();
            received.extend_from_slice(&piece[..n]);
            server.turn(NOW).unwrap();
        }
        assert!(received[GREETING..] == message, "somebody else's bytes");
    }
    turn_until(&mut server, 0);
}

/// Sixteen a turn, and the rest are not forgotten.
#[test]
fn a_turn_accepts_a_bounded_run() {
    let mut server = server(|_, _| {});
    let clients: Vec<TcpStream> = (0..40).map(|_| client(&server)).collect();
    for expected in [16, 32, 40] {
        server.turn(NOW).unwrap();
        assert_eq!(server.clients(), expected);
    }
    drop(clients);
    turn_until(&mut server, 0);
}

/// A client that sends faster than the server discards has its share of a turn, and goes on in the
/// next one without a new event.
#[test]
fn a_flood_is_discarded_in_turns() {
    let path = TempPath::new("flood.sock");
    let mut server = server(|config, _| config.listen = vec![Address::Unix(path.0.clone())]);
    let mut flooder = connect_unix(&path);
    server.turn(NOW).unwrap();
    flooder.set_nonblocking(true).unwrap();
    let (mut sent, mut turns, start) = (0, 0, Instant::now());
    while sent < 10_000_000 {
        assert!(start.elapsed() < PATIENCE, "{sent} bytes discarded");
        sent += flooder.write(&[b'x'; 100_000]).unwrap_or(0);
        server.turn(NOW).unwrap();
        turns += 1;
    }
    assert!(
        turns >= 10_000_000 / (4 << 16),
        "all of it in {turns} turns"
    );
    flooder.shutdown(std::net::Shutdown::Write).unwrap();
    turn_until(&mut server, 0);
}

/// What each of a crowd does: `begin` when it is greeted, and `go_on` between any two turns, which
/// returns how much it moved.
struct Conduct {
    what: &'static str,
    greeting: usize,
    max_read: usize,
    begin: fn(&mut UnixStream) -> usize,
    go_on: fn(&mut UnixStream) -> usize,
}

const CROWDS: &[Conduct] = &[
    Conduct {
        what: "those that send without end",
        greeting: 6,
        max_read: 1000,
        begin: send_what_goes_in,
        go_on: send_what_goes_in,
    },
    Conduct {
        what: "those that trickle",
        greeting: 6,
        max_read: 1000,
        begin: |stream| stream.write(b"x").unwrap(),
        go_on: |stream| stream.write(b"x").unwrap(),
    },
    Conduct {
        what: "silent ones",
        greeting: 6,
        max_read: 1000,
        begin: |_| 0,
        go_on: |_| 1,
    },
    // The greeting and the echo together are more than a socket takes.
    Conduct {
        what: "those that read a little of much",
        greeting: 100_000,
        max_read: MAX_MESSAGE,
        begin: send_what_goes_in,
        go_on: |stream| stream.read(&mut [0; 100]).unwrap(),
    },
];

fn send_what_goes_in(stream: &mut UnixStream) -> usize {
    let write = || stream.write(&[b'x'; 4096]).ok();
    std::iter::from_fn(write).sum()
}

/// Whatever a crowd does, and for as long as it likes: an exchange beside it takes the same number
/// of turns, no turn does more than is promised, and each of the crowd gets on.
#[test]
fn an_exchange_takes_three_turns_beside_any_crowd() {
    for conduct in CROWDS {
        for members in [0, 1, 64, 250] {
            println!("beside {members} of {}", conduct.what);
            exchanges_beside(members, conduct);
        }
    }
}

fn exchanges_beside(members: usize, conduct: &Conduct) {
    let path = TempPath::new("crowd.sock");
    let mut server = server(|config, hello| {
        config.listen = vec![Address::Unix(path.0.clone())];
        hello.greeting = vec![b'g'; conduct.greeting];
        hello.max_read = conduct.max_read;
    });
    let mut crowd: Vec<UnixStream> = Vec::new();
    for _ in 0..members {
        crowd.push(connect_unix(&path));
        server.turn(NOW).unwrap();
    }
    for stream in &mut crowd {
        stream.set_nonblocking(true).unwrap();
        (conduct.begin)(stream);
    }
    server.turn(NOW).unwrap(); // takes their messages
    let mut done = vec![0; members];
    let mut turn = |server: &mut Server| {
        for (stream, done) in crowd.iter_mut().zip(&mut done) {
            *done += (conduct.go_on)(stream);
        }
        let before = server.stats().bytes.received;
        server.turn(NOW).unwrap();
        let received = server.stats().bytes.received - before;
        // Not a byte more than 1 MiB, except for what is lost by dividing it; and the message.
        assert!(received < (1 << 20) + 256 + 1000, "{received} bytes");
    };
    for _ in 0..10 {
        let mut polite = connect_unix(&path);
        turn(&mut server);
        polite.read_exact(&mut vec![0; conduct.greeting]).unwrap();
        polite.write_all(&[b'p'; 1000]).unwrap();
        turn(&mut server);
        assert_rest(&mut polite, &[b'p'; 1000]);
        drop(polite);
        turn(&mut server);
        assert_eq!(server.clients(), members);
    }
    assert_eq!(server.stats().ended(Hello::ECHOED), 10);
    let least = done.iter().min().copied();
    assert_ne!(least, Some(0), "one of the crowd is never heard");
}

/// Urgent data ends a receive early. All of it is received all the same; otherwise the close at the
/// end would be a reset.
#[test]
fn urgent_data_hides_nothing() {
    let mut server = server(|config, _| config.linger = SHORT);
    let mut client = client(&server);
    server.turn(NOW).unwrap();
    client.write_all(b"before").unwrap();
    SockRef::from(&client).send_out_of_band(b"!").unwrap();
    client.write_all(b"after").unwrap();
    server.turn(NOW).unwrap();
    assert_greeted(&mut client);
    assert_rest(&mut client, b"before");
    turn_until(&mut server, 0);
    assert!(client.take_error().unwrap().is_none(), "it was reset");
}

#[test]
fn settings_at_their_limits() {
    for (max_read, greeting) in [(1, 0), (1, 1), (MAX_MESSAGE, 0), (1000, 1)] {
        let mut server = server(|config, hello| {
            hello.max_read = max_read;
            hello.greeting = vec![b'g'; greeting];
            config.backlog = 1;
        });
        let mut client = client(&server);
        server.turn(NOW).unwrap();
        client.write_all(b"hi").unwrap();
        server.turn(NOW).unwrap();
        let echo = &b"hi"[..max_read.min(2)];
        assert_rest(&mut client, &[&b"g"[..greeting], echo].concat());
    }
}

/// In the steady state, whatever clients come and go.
#[test]
fn an_exchange_allocates_nothing() {
    let mut server = server(|_, _| {});
    exchanges(&mut server, 100); // whatever is made at first
    let allocated = exchanges(&mut server, 1_000);
    assert_eq!(allocated, 0);
    assert_eq!(server.stats().ended(Hello::ECHOED), 1_100);

    // This shows that the counter counts.
    let made = measure(|| drop(self::server(|_, _| {})));
    assert!(made.count_total > 0, "{made:?}");
}

/// Ten clients at a time. Returns how often the server's turns allocated.
fn exchanges(server: &mut Server, count: usize) -> u64 {
    let turn = |server: &mut Server| measure(|| server.turn(NOW).unwrap()).count_total;
    let mut allocated = 0;
    for _ in 0..count / 10 {
        let mut clients: Vec<TcpStream> = (0..10).map(|_| client(server)).collect();
        allocated += turn(server); // greets
        for client in &mut clients {
            assert_greeted(client);
            client.write_all(&[b'x'; 1000]).unwrap();
        }
        allocated += turn(server); // echoes
        for mut client in clients {
            assert_rest(&mut client, &[b'x'; 1000]);
        }
        allocated += turn(server); // closes
        assert_eq!(server.clients(), 0);
    }
    allocated
}
