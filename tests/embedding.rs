//! The library as others embed it: protocols of their own, several on one poll, a handle, and other
//! loops. The protocols are those of the RFCs, as tests/protocols has them.

#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "that is how a test fails"
)]

#[path = "protocols/mod.rs"]
mod protocols;
mod util;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hello_echo::hello::Settings;
use hello_echo::{Config, Deadline, End, LocalAddr, Protocol, Server, Want};
use protocols::chargen::{Chargen, character};
use protocols::daytime::{Clock, Daytime};
use protocols::echo::Echo;
use util::{Client, PATIENCE, Peer, assert_echoes, assert_rest, connect, have, in_time, payload};

const NOW: Option<Duration> = Some(Duration::ZERO);
const SHORT: Duration = Duration::from_millis(100);
const NOON: Clock = || "noon".to_owned();

fn config() -> Config {
    let mut config = Config::default();
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.max_connections = Some(100);
    config
}

fn tcp(address: &LocalAddr) -> SocketAddr {
    match address {
        LocalAddr::Tcp(address) => *address,
        LocalAddr::Unix(path) => panic!("{}", path.display()),
    }
}

fn server<P: Protocol>(shared: P::Shared) -> (Server<P>, SocketAddr) {
    let server = Server::bind(&config(), shared).unwrap();
    let address = tcp(&server.local_addrs()[0]);
    (server, address)
}

/// An example, as cargo has built it beside this test.
fn example(name: &str, lines: usize) -> util::Server {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().unwrap().parent().unwrap();
    let program = built.join("examples").join(name);
    assert!(program.exists(), "cargo build --examples makes {name}");
    let mut command = Command::new(program);
    util::Server::spawn_with(lines, command.stdin(Stdio::piped()))
}

/// The three services in one process, talked to with nc.
#[test]
fn the_small_services_talk_to_nc() {
    if !have("nc.openbsd") {
        return;
    }
    let mut services = example("small-services", 3);
    let ports: Vec<String> = services
        .addresses
        .iter()
        .map(|a| a.rsplit_once(':').unwrap().1.to_owned())
        .collect();
    let nc = |port: &str| Client::start("nc.openbsd", &["-N", "127.0.0.1", port]);

    let mut daytime = nc(&ports[0]);
    let (line, status) = daytime.end_input().finish();
    assert!(status.success() && line.ends_with("Z\r\n"), "{line:?}");
    assert_eq!(line.len(), "2026-11-28T12:00:00Z\r\n".len(), "{line:?}");

    let mut echo = nc(&ports[1]);
    for line in ["one\n", "two\n", "three\n"] {
        echo.send(line.as_bytes()).expect(line);
    }
    assert!(echo.end_input().finish().1.success());

    // It ends when head has enough and closes the pipe.
    let head = format!("nc.openbsd 127.0.0.1 {} </dev/null | head -c 148", ports[2]);
    let output = util::output(Command::new("sh").args(["-c", &head]));
    let expected: Vec<u8> = (0..148).map(character).collect();
    assert_eq!(output.stdout, expected);

    services.close_stdin();
    assert!(services.end_within(PATIENCE).success());
}

#[test]
fn the_time_of_day_is_one_line_and_the_end() {
    let (mut server, address) = server::<Daytime>(NOON);
    let mut client = connect(address);
    client.write_all(b"what a client sends is ignored").unwrap();
    client.half_close();
    while server.stats().ended(Daytime::TOLD) == 0 {
        server.turn(Some(SHORT)).unwrap();
    }
    assert_rest(&mut client, b"noon\r\n");
    *server.shared() = || "evening".to_owned();
    let mut late = connect(address);
    server.turn(Some(SHORT)).unwrap();
    assert_rest(&mut late, b"evening\r\n");
}

/// All that is sent comes back, however much it is and however it is cut.
#[test]
fn everything_is_echoed() {
    let (mut server, address) = server::<Echo>(());
    let handle = server.handle().unwrap();
    let serving = std::thread::spawn(move || server.run());
    in_time("the echoes", move || {
        let talk = move |seed| {
            let (mut client, message) = (connect(address), payload(seed, 3_000_000));
            let mut reader = client.try_clone().unwrap();
            let expected = message.clone();
            let reading = std::thread::spawn(move || assert_rest(&mut reader, &expected));
            message
                .chunks(1 + 7777 * seed as usize)
                .for_each(|chunk| client.write_all(chunk).unwrap());
            client.half_close();
            reading.join().unwrap();
        };
        let clients: Vec<_> = (0..4)
            .map(|seed| std::thread::spawn(move || talk(seed)))
            .collect();
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
    });
    assert_eq!(handle.stats().ended(Echo::FINISHED), 4);
    handle.shut_down();
    in_time("the shutdown", || serving.join().unwrap()).unwrap();
}

/// Backpressure: a client that does not read is not read from, so the server keeps little for it.
#[test]
fn a_client_that_does_not_read_is_not_read_from() {
    let (mut server, address) = server::<Echo>(());
    let mut client = connect(address);
    client.set_nonblocking(true).unwrap();
    let (message, mut sent) = (payload(1, 1 << 20), 0);
    let mut stalled = 0;
    while stalled < 100 {
        server.turn(NOW).unwrap();
        match client.write(&message[sent % message.len()..]) {
            Ok(n) => (sent, stalled) = (sent + n, 0),
            Err(e) if e.kind() == ErrorKind::WouldBlock => stalled += 1,
            Err(e) => panic!("{e}"),
        }
    }
    let kept = server.stats().bytes.received - server.stats().bytes.sent;
    assert!((1..=64 << 10).contains(&kept), "{kept} bytes are kept");
    assert!(server.stats().kept >= kept, "{} bytes", server.stats().kept);
    // Now it reads, and has all of it.
    let mut received = 0;
    let mut buffer = vec![0; 100_000];
    let start = Instant::now();
    while received < sent {
        assert!(start.elapsed() < PATIENCE, "{received} of {sent} bytes");
        server.turn(NOW).unwrap();
        match client.read(&mut buffer) {
            Ok(n) => {
                let same =
                    |(i, byte): (usize, &u8)| *byte == message[(received + i) % message.len()];
                assert!(buffer[..n].iter().enumerate().all(same));
                received += n;
            }
            Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
        }
    }
    assert_eq!(server.stats().kept, 0);
}

/// Those who take the characters as fast as they can slow the others down by their share of a turn:
/// an exchange beside them takes as many turns as alone.
#[test]
fn chargen_is_fair_beside_others() {
    let (mut server, address) = server::<Chargen>(());
    let echo = tcp(&server.add::<Echo>(&config(), ()).unwrap()[0]);
    for readers in [0, 1, 40] {
        let mut crowd: Vec<(TcpStream, usize)> =
            (0..readers).map(|_| (connect(address), 0)).collect();
        let mut turn = |server: &mut Server<Chargen>| {
            for (reader, received) in &mut crowd {
                reader.set_nonblocking(true).unwrap();
                let mut buffer = [0; 20_000];
                let n = reader.read(&mut buffer).unwrap_or(0);
                let expected = |place: usize| character(*received + place);
                assert!((0..n).all(|place| buffer[place] == expected(place)));
                *received += n;
                let _ = reader.write(b"this is thrown away");
            }
            let before = server.stats().bytes;
            server.turn(NOW).unwrap();
            let after = server.stats().bytes;
            let most = (1 << 20) + 256 * (64 << 10);
            assert!(
                after.sent - before.sent <= most && after.received - before.received <= 1 << 21
            );
        };
        while server.clients() < readers {
            turn(&mut server);
        }
        for _ in 0..20 {
            let mut client = connect(echo);
            turn(&mut server);
            client.write_all(b"hi").unwrap();
            turn(&mut server);
            client.read_exact(&mut [0; 2]).unwrap();
            client.half_close();
            turn(&mut server);
            assert_rest(&mut client, b"");
        }
        let least = crowd.iter().map(|(_, received)| *received).min();
        assert!(least.is_none_or(|least| least > 20_000), "{least:?} bytes");
        drop(crowd);
        let start = Instant::now();
        while server.clients() > 0 {
            assert!(
                start.elapsed() < PATIENCE,
                "a reader that is gone is still served"
            );
            server.turn(Some(SHORT)).unwrap();
        }
    }
}

/// Patient between messages, impatient within one: `.` ends a message.
struct Dots {
    is_within: bool,
    owes: bool,
}

impl Protocol for Dots {
    type Shared = ();
    const ENDS: &'static [&'static str] = &["fed up"];

    fn open((): &mut ()) -> Self {
        let (is_within, owes) = (false, false);
        Self { is_within, owes }
    }

    fn want<'a>(&'a self, (): &'a (), _: &'a [u8]) -> Want<'a> {
        if self.owes {
            Want::Send(b".")
        } else {
            Want::Receive
        }
    }

    fn handle_sent(&mut self, _: usize, (): &mut ()) {
        self.owes = false;
    }

    fn handle_received(&mut self, received: &[u8], (): &mut ()) {
        self.owes = received.contains(&b'.');
        self.is_within = !received.ends_with(b".");
    }

    fn waits((): &()) -> Vec<Duration> {
        vec![100 * SHORT, 3 * SHORT]
    }

    fn deadline(&self) -> Deadline {
        Deadline::absolute(self.is_within.into())
    }
}

/// A protocol chooses among its deadlines, and a change begins the next one anew. A message that
/// trickles does not.
#[test]
fn a_protocol_chooses_its_deadline() {
    let (mut server, address) = server::<Dots>(());
    let mut client = connect(address);
    let start = Instant::now();
    for _ in 0..10 {
        client.write_all(b"x").unwrap();
        server.turn(Some(SHORT)).unwrap();
        std::thread::sleep(SHORT / 2); // time passes: a part of what a message may take
        client.write_all(b".").unwrap();
        server.turn(Some(SHORT)).unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
    assert!(
        start.elapsed() >= 5 * SHORT,
        "longer than one message may take"
    );
    assert_eq!(server.clients(), 1);
    let start = Instant::now();
    while server.clients() > 0 {
        assert!(start.elapsed() < PATIENCE, "a trickle keeps it");
        let _ = client.write(b"x");
        server.turn(Some(SHORT / 10)).unwrap();
    }
    assert!(start.elapsed() >= 3 * SHORT, "too early");
    assert_eq!(server.stats().timed_out, 1);
}

/// An end of the protocol's own shows among the counters.
#[test]
fn an_end_has_a_name_of_its_own() {
    const ENOUGH: End = End(0);
    struct FedUp;
    impl Protocol for FedUp {
        type Shared = ();
        const ENDS: &'static [&'static str] = &["fed up"];
        fn open((): &mut ()) -> Self {
            Self
        }
        fn want<'a>(&'a self, (): &'a (), _: &'a [u8]) -> Want<'a> {
            Want::Close(ENOUGH)
        }
        fn handle_sent(&mut self, _: usize, (): &mut ()) {}
        fn handle_received(&mut self, _: &[u8], (): &mut ()) {}
    }
    let (mut server, address) = server::<FedUp>(());
    let mut client = connect(address);
    server.turn(Some(SHORT)).unwrap();
    assert_rest(&mut client, b"");
    drop(client);
    while server.clients() > 0 {
        server.turn(Some(SHORT)).unwrap();
    }
    assert_eq!(server.stats().ended(ENOUGH), 1);
    let line = server.stats().to_string();
    assert!(
        line.starts_with("accepted 1 = open 0 + fed up 1 + left early 0 + "),
        "{line}"
    );
}

/// Each protocol has a capacity and a queue of its own, and a shutdown waits for all of them.
#[test]
fn protocols_that_share_a_poll_have_rules_of_their_own() {
    let (mut server, hello) = server::<hello_echo::hello::Hello>(Settings::default());
    let whole = server.stats().capacity;
    let mut few = config();
    few.max_connections = Some(2);
    let echo = tcp(&server.add::<Echo>(&few, ()).unwrap()[0]);
    assert_eq!(
        server.stats().capacity,
        whole,
        "there are descriptors for both"
    );
    few.max_connections = None;
    let error = server.add::<Echo>(&few, ()).unwrap_err().to_string();
    assert_eq!(error, "a protocol that is added has no max_connections");

    let mut echoes: Vec<TcpStream> = (0..3).map(|_| connect(echo)).collect();
    for client in &mut echoes {
        client.write_all(b"hi").unwrap();
    }
    (0..5).for_each(|_| server.turn(NOW).unwrap());
    for client in &mut echoes[..2] {
        client.read_exact(&mut [0; 2]).unwrap();
    }
    echoes[2].set_nonblocking(true).unwrap();
    assert!(echoes[2].read(&mut [0]).is_err(), "it waits for its turn");
    let served = std::thread::spawn(move || assert_echoes(connect(hello), b"beside them"));
    while !served.is_finished() {
        server.turn(Some(SHORT)).unwrap();
    }
    served.join().unwrap();

    server.shut_down();
    let mut serving = std::thread::spawn(move || {
        server.run().unwrap();
        server
    });
    echoes[2].set_nonblocking(false).unwrap();
    for client in &mut echoes {
        assert!(!serving.is_finished(), "a shutdown waits for all of them");
        client.half_close();
        if client.peer_addr().is_ok() {
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).unwrap();
        }
    }
    serving = std::thread::spawn(|| in_time("the shutdown", || serving.join().unwrap()));
    assert!(serving.join().unwrap().is_shut_down());
}

/// What an added protocol may hold is taken from the first one, where that has all there is.
#[test]
fn descriptors_are_shared_out() {
    let mut all = config();
    all.max_connections = None;
    let mut server = Server::<Echo>::bind(&all, ()).unwrap();
    let whole = server.stats().capacity;
    server.add::<Daytime>(&config(), NOON).unwrap();
    assert_eq!(
        server.stats().capacity,
        whole - 101,
        "a hundred, and the listener"
    );
    let mut too_many = config();
    too_many.max_connections = Some(u32::MAX);
    let error = server
        .add::<Daytime>(&too_many, NOON)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("no room for 4294967295 connections"),
        "{error}"
    );
}

/// Sockets that somebody else has bound.
#[test]
fn it_listens_on_sockets_of_others() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sockets = [OwnedFd::from(listener)];
    let mut server = Server::<Daytime>::adopt(sockets, &config(), NOON).unwrap();
    assert_eq!(tcp(&server.local_addrs()[0]), address);
    let mut client = connect(address);
    server.turn(Some(SHORT)).unwrap();
    assert_rest(&mut client, b"noon\r\n");

    let connected = OwnedFd::from(connect(address));
    let error = Server::<Daytime>::adopt([connected], &config(), NOON).unwrap_err();
    let error = error.to_string();
    assert!(error.starts_with("cannot use descriptor "), "{error}");
    assert!(error.contains("it does not listen"), "{error}");
}

/// A handle wakes a server that sleeps, from any thread, and tells how it is doing.
#[test]
fn a_handle_works_from_any_thread() {
    let (mut server, address) = server::<Echo>(());
    let handle = server.handle().unwrap();
    let serving = std::thread::spawn(move || server.run());
    let mut client = connect(address);
    client.write_all(b"hi").unwrap();
    client.read_exact(&mut [0; 2]).unwrap();
    let start = Instant::now();
    while handle.stats().bytes.sent < 2 {
        assert!(start.elapsed() < PATIENCE, "{}", handle.stats());
    }
    assert_eq!(handle.stats().open(), 1);
    client.half_close();
    assert_rest(&mut client, b"");
    let other = handle.clone();
    std::thread::spawn(move || other.shut_down())
        .join()
        .unwrap();
    in_time("the shutdown", || serving.join().unwrap()).unwrap();
    assert_eq!(handle.stats().ended(Echo::FINISHED), 1);
    handle.shut_down(); // once more, when it has ended
}

/// In tokio's loop, under a load that is more than one batch.
#[test]
fn it_nests_in_tokio() {
    let mut nested = example("in-tokio", 1);
    let address = nested.address();
    let clients: Vec<TcpStream> = (0..600).map(|_| connect(address)).collect();
    in_time("600 exchanges", move || {
        for mut client in &clients {
            client.write_all(b"hi").unwrap();
        }
        for mut client in clients {
            assert_rest(&mut client, b"hello\nhi");
        }
    });
    nested.close_stdin();
    assert!(nested.end_within(PATIENCE).success());
}
