//! The library as others embed it: their own protocols, several on one poll, a handle, and other
//! loops. The protocols are those of the RFCs in tests/protocols.

mod services;
mod wakeups;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hello_echo::hello::{Hello, Settings};
use hello_echo::{Config, Deadline, End, LocalAddr, Protocol, Server, Want};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::protocols::daytime::{Clock, Daytime};
use crate::protocols::echo::Echo;
use crate::util::{
    PATIENCE, Peer, TempPath, alone, assert_echoes, assert_greeted, assert_rest, connect, in_time,
    signal,
};

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

/// It is patient between messages and impatient within one; `.` ends a message.
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

/// A protocol chooses its deadline, and a change begins the next one anew. A message that trickles
/// does not.
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

/// A protocol's own end shows among the counters.
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

/// Each protocol has its own capacity and its own queue, and a shutdown waits for all of them.
#[test]
fn protocols_that_share_a_poll_have_rules_of_their_own() {
    let (mut server, hello) = server::<Hello>(Settings::default());
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

/// An added protocol takes descriptors from the first one, if that one had all of them.
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
    for count in [whole as u32, u32::MAX] {
        too_many.max_connections = Some(count);
        let error = server.add::<Daytime>(&too_many, NOON).unwrap_err();
        let why = format!("no room for {count} connections of another protocol");
        assert_eq!(error.to_string(), why);
    }
}

/// Sockets that others have bound.
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

    let packets = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    let path = TempPath::new("packets.sock");
    packets.bind(&SockAddr::unix(&path.0).unwrap()).unwrap();
    packets.listen(1).unwrap();
    let error = Server::<Daytime>::adopt([packets.into()], &config(), NOON).unwrap_err();
    let error = error.to_string();
    assert!(error.ends_with("it is not a stream socket"), "{error}");
}

/// A signal shuts down the server that catches it, and not the next one in the same process. After
/// the end of the first the second sleeps like any other.
#[test]
fn a_signal_has_no_after_effects() {
    if !alone(a_signal_has_no_after_effects) {
        return;
    }
    for _ in 0..2 {
        let (mut server, address) = server::<Hello>(Settings::default());
        server.catch_signals().unwrap();
        let mut flying = connect(address);
        server.turn(NOW).unwrap();
        assert!(signal(&std::process::id().to_string(), "TERM"));
        let start = Instant::now();
        while !server.local_addrs().is_empty() {
            assert!(start.elapsed() < PATIENCE, "it still listens");
            server.turn(Some(SHORT)).unwrap();
        }
        assert_greeted(&mut flying);
        flying.write_all(b"hi").unwrap();
        drop(flying);
        let start = Instant::now();
        while server.clients() > 0 {
            assert!(start.elapsed() < PATIENCE, "it still has a client");
            server.turn(Some(SHORT)).unwrap();
        }
        assert!(server.is_shut_down());
        server.turn(Some(SHORT)).unwrap(); // until a second signal would be taken as one
        let start = Instant::now();
        server.turn(Some(SHORT)).unwrap();
        assert!(start.elapsed() >= SHORT, "it spins");
    }
}

/// A handle wakes a server that sleeps, from any thread, and says how it is doing.
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

/// The metrics have an address of their own, with the real port.
#[test]
fn metrics_say_where_they_are() {
    let (server, _) = server::<Echo>(());
    assert_eq!(server.metrics_addr(), None);
    let mut config = config();
    config.metrics = Some("127.0.0.1:0".parse().unwrap());
    let mut server = Server::<Echo>::bind(&config, ()).unwrap();
    let metrics = tcp(&server.metrics_addr().unwrap());
    assert_ne!(metrics, tcp(&server.local_addrs()[0]));
    let mut scraper = connect(metrics);
    scraper.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    scraper.set_nonblocking(true).unwrap();
    let mut answer = [0; 15];
    while scraper.read(&mut answer).is_err() {
        server.turn(Some(PATIENCE)).unwrap();
    }
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

/// A protocol without kinds of deadlines has none, and a client of it stays for ever.
#[test]
fn a_protocol_may_have_no_deadlines() {
    struct Patient;
    impl Protocol for Patient {
        type Shared = ();
        const ENDS: &'static [&'static str] = &[];
        fn open((): &mut ()) -> Self {
            Self
        }
        fn want<'a>(&'a self, (): &'a (), _: &'a [u8]) -> Want<'a> {
            Want::Receive
        }
        fn handle_sent(&mut self, _: usize, (): &mut ()) {}
        fn handle_received(&mut self, _: &[u8], (): &mut ()) {}
        fn waits((): &()) -> Vec<Duration> {
            vec![]
        }
    }
    let (mut server, address) = server::<Patient>(());
    let _client = connect(address);
    while server.clients() == 0 {
        server.turn(Some(PATIENCE)).unwrap();
    }
    assert_eq!(server.alarm(), None);
}
