//! Crowds beside a polite client, and how much a turn of the server may cost a client that waits
//! for the next.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::{BEARS, CROWD, PROBES, probe};
use crate::util::{
    BINARY, PATIENCE, Server, TempPath, assert_counts, assert_echoes, assert_ends_with,
    assert_greeted, assert_rest, have_strace, last_line, logging, payload, reset, terms,
};

#[test]
fn beside_clients_that_send_without_end() {
    let begin = |stream: &mut TcpStream| stream.write_all(&[b'x'; 1000]).unwrap();
    let flood = |crowd| send_until_cut(crowd, &[b'x'; 1 << 16], Duration::ZERO);
    beside("64 that send without end", begin, flood, "lingering cut");
}

#[test]
fn beside_clients_that_trickle() {
    let begin = |stream: &mut TcpStream| stream.write_all(b"x").unwrap();
    let flood = |crowd| send_until_cut(crowd, b"x", Duration::from_millis(1));
    beside("64 that trickle", begin, flood, "lingering cut");
}

#[test]
fn beside_silent_clients() {
    let flood = |mut crowd: Vec<TcpStream>| crowd.iter_mut().for_each(|s| assert_rest(s, b""));
    beside("64 silent ones", assert_greeted, flood, "timed out");
}

/// A crowd, whose members each begin so and then go on together, costs the probe nothing: it is
/// served each time. In the end all of them are gone, for that one reason.
fn beside(what: &str, begin: fn(&mut TcpStream), flood: fn(Vec<TcpStream>), end: &str) {
    let server = logging(BEARS);
    let base = server.descriptors();
    let crowd = || {
        let mut stream = server.connect();
        begin(&mut stream);
        stream
    };
    let crowd: Vec<_> = (0..CROWD).map(|_| crowd()).collect();
    thread::scope(|scope| {
        scope.spawn(|| flood(crowd));
        probe(what, &server, b"hello\n");
    });
    let probes = PROBES + server.assert_descriptors_return_to(base);
    server.signal("TERM");
    let books = last_line(server);
    assert_counts(&books, &[("echoed", probes), (end, CROWD)]);
    assert!(books.ends_with("; accept errors 0, pauses 0"), "{books}");
}

/// In turns, as much as each connection takes, until the last of them is cut off.
fn send_until_cut(mut crowd: Vec<TcpStream>, chunk: &[u8], pause: Duration) {
    let (start, mut sent) = (Instant::now(), 0);
    crowd.iter().for_each(|s| s.set_nonblocking(true).unwrap());
    while !crowd.is_empty() {
        assert!(start.elapsed() < PATIENCE, "{} are not cut", crowd.len());
        crowd.retain_mut(|stream| match stream.write(chunk) {
            Ok(n) => {
                sent += n;
                true
            }
            Err(e) => e.kind() == ErrorKind::WouldBlock,
        });
        thread::sleep(pause); // of zero: none
    }
    println!("{sent} bytes sent in {:?}", start.elapsed());
}

/// Clients that never read keep the server from sending, until their time is over. (Small segments
/// keep its send buffer small, which must not hold the whole greeting.)
#[test]
fn beside_clients_that_never_read() {
    let greeting = "g".repeat(100_000);
    let server = logging(&[BEARS, &["--greeting", &greeting]].concat());
    let base = server.descriptors();
    let unread = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(2048).unwrap();
        socket.set_tcp_mss(536).unwrap();
        socket.connect(&server.address().into()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        TcpStream::from(socket)
    };
    let crowd: Vec<_> = (0..CROWD).map(|_| unread()).collect();
    probe("64 that never read", &server, greeting.as_bytes());
    let start = Instant::now();
    while server.descriptors() != base {
        assert!(start.elapsed() < PATIENCE, "they are not cut");
        thread::sleep(Duration::from_millis(1)); // not to keep a processor from it
    }
    for mut stream in crowd {
        let mut received = Vec::new();
        let _ = stream.read_to_end(&mut received);
        assert!(received.len() < greeting.len(), "it was never kept from it");
    }
    server.signal("TERM");
    assert_ends_with(server, &[("echoed", PROBES), ("timed out", CROWD)]);
}

/// Clients that connect and close at once are counted as that, whether their FIN or the reset for
/// our greeting comes first. An exchange after each fifty bounds their number: a queue that
/// overflows loses some of them, which the kernel does.
#[test]
fn beside_clients_that_come_and_go() {
    let server = logging(BEARS);
    let base = server.descriptors();
    let stop = AtomicBool::new(false);
    let churn = || {
        let mut rounds = 0;
        while rounds < 500 && !stop.load(Ordering::Relaxed) {
            (0..50).for_each(|_| drop(server.connect()));
            server.assert_serves();
            rounds += 1;
        }
        rounds
    };
    let rounds: u64 = thread::scope(|scope| {
        let churns = [scope.spawn(churn), scope.spawn(churn)];
        probe("2 that come and go", &server, b"hello\n");
        stop.store(true, Ordering::Relaxed);
        churns.map(|churn| churn.join().unwrap()).iter().sum()
    });
    let (gone, polite) = (50 * rounds, PROBES + rounds);
    println!("{gone} came and went");
    let polite = polite + server.assert_descriptors_return_to(base);
    server.signal("TERM");
    let books = last_line(server);
    let counts: HashMap<&str, u64> = terms(&books).into_iter().collect();
    let count = |name| counts.get(name).unwrap_or(&0);
    assert_eq!(*count("echoed"), polite, "{books}");
    assert_eq!(count("left early") + count("reset"), gone, "{books}");
    assert_eq!(counts.values().sum::<u64>(), polite + gone, "{books}");
}

/// How much one client, or all in the queue, may cost the others before their turn, counted in
/// system calls. strace slows the server down until it cannot keep up with anybody.
#[test]
fn a_turn_is_bounded() {
    if !have_strace() {
        return;
    }
    let (trace, stop) = (TempPath::new("trace"), AtomicBool::new(false));
    let mut command = Command::new("strace");
    command.args(["-f", "-qqq", "-o", trace.as_str(), "-e"]);
    command.arg("trace=/^epoll_p?wait,accept4,close,sendto,recvfrom,shutdown");
    command.args([BINARY, "-qq", "--listen", "127.0.0.1:0", "--linger", "1h"]);
    let server = Server::spawn(1, &mut command);
    let flood = || {
        let mut crowd: Vec<_> = (0..8).map(|_| server.connect()).collect();
        crowd.iter().for_each(|s| s.set_nonblocking(true).unwrap());
        let start = Instant::now();
        while !stop.load(Ordering::Relaxed) && start.elapsed() < PATIENCE {
            for stream in &mut crowd {
                let _ = stream.write(&[b'x'; 1 << 16]);
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(flood);
        for seed in 0..20 {
            let burst: Vec<_> = (0..50).map(|_| server.connect()).collect();
            assert_echoes(server.connect(), &payload(seed, 500));
            burst.into_iter().for_each(reset);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let trace = std::fs::read_to_string(&trace.0).unwrap();
    let (calls, accepts, discarded) = most_in_a_turn(&trace);
    println!("at most {calls} calls on a socket and {accepts} accepts in a turn");
    println!("at most {discarded} bytes are discarded in a turn");
    // Four, as the constant says, and a FIN that is not put off.
    assert!(calls <= 5, "{calls} calls on one socket in one turn");
    assert!(accepts <= 16, "{accepts} accepts in one turn");
    // 1 MiB, as the constant says, and what is lost by dividing it among the events of a turn.
    assert!(discarded < (1 << 20) + 256, "{discarded} bytes in one turn");
}

/// The most calls on one socket, the most accepts, and the most bytes discarded, between two polls.
fn most_in_a_turn(trace: &str) -> (usize, usize, usize) {
    let (mut calls, mut accepts, mut discarded) = (HashMap::new(), 0, 0);
    let mut most = (0, 0, 0);
    for line in trace.lines() {
        let Some((call, arguments)) = line.split_once('(') else {
            continue; // a signal
        };
        let descriptor = arguments.split([',', ')']).next().unwrap();
        match call.split_whitespace().last().unwrap() {
            "epoll_wait" | "epoll_pwait" => (calls, accepts, discarded) = (HashMap::new(), 0, 0),
            "accept4" => accepts += 1,
            "close" => _ = calls.remove(descriptor),
            _ => *calls.entry(descriptor).or_insert(0) += 1,
        }
        if arguments.contains("MSG_TRUNC") {
            let (_, n) = line.rsplit_once(" = ").unwrap();
            discarded += n.parse().unwrap_or(0); // of an error: none
        }
        most.0 = calls.values().copied().fold(most.0, usize::max);
        most.1 = accepts.max(most.1);
        most.2 = discarded.max(most.2);
    }
    most
}
