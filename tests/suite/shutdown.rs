//! How the server ends, what other signals do, and that the counters balance then.

use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::util::{
    self, BINARY, PATIENCE, Peer, Server, TempPath, assert_counts, assert_echoes, assert_ends_with,
    assert_greeted, assert_rest, connect_unix, have, in_a_network, last_line, logging, output,
    reset, skip, terms,
};

fn wait_until_refused(server: &Server) {
    let start = Instant::now();
    while TcpStream::connect(server.address()).is_ok() {
        assert!(start.elapsed() < PATIENCE, "it still listens");
    }
}

/// A client that has connected before the signal is served, even if it was not accepted yet.
/// Closing a listener would reset its queue.
#[test]
fn clients_in_the_queue_are_served() {
    const CLIENTS: u64 = 100;
    let path = TempPath::new("queue.sock");
    let unix = format!("unix:{}", path.as_str());
    let mut command = Command::new(BINARY);
    command.args(["--listen", "127.0.0.1:0", "--listen", &unix]);
    command.env("RUST_LOG", "info").stderr(Stdio::piped());
    let server = Server::spawn(2, &mut command);
    server.signal("STOP");
    let tcp: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    let unix: Vec<_> = (0..CLIENTS).map(|_| connect_unix(&path)).collect();
    server.signal("TERM");
    server.signal("CONT");
    let messages = |seed| (seed..).map(|seed| util::payload(seed, 700));
    tcp.into_iter()
        .zip(messages(0))
        .for_each(|(client, message)| assert_echoes(client, &message));
    unix.into_iter()
        .zip(messages(200))
        .for_each(|(client, message)| assert_echoes(client, &message));
    assert_ends_with(server, &[("echoed", 2 * CLIENTS)]);
    assert!(!path.0.exists(), "the socket's file is left behind");
}

/// A client in the midst of its exchange is served, too; but no new one.
#[test]
fn clients_in_flight_are_served_and_new_ones_refused() {
    for signal in ["TERM", "INT"] {
        println!("{signal}");
        let server = logging(&[]);
        let mut flying = server.connect();
        assert_greeted(&mut flying);
        server.signal(signal);
        wait_until_refused(&server);
        flying.write_all(b"in flight").unwrap();
        assert_rest(&mut flying, b"in flight");
        drop(flying);
        let (status, said) = server.end();
        assert_eq!(status.code(), Some(0), "{said}");
    }
}

/// On a slow path a client believes to be connected before the server knows of it: its ACK is still
/// on its way when the signal comes. It is served all the same.
#[test]
fn a_handshake_under_way_is_completed() {
    if have("nft") {
        let address = "ip address add 10.1.2.3/32 dev lo";
        in_a_network(PATIENCE, address, while_an_ack_is_under_way);
    }
}

#[test]
#[ignore = "a_handshake_under_way_is_completed makes a network for it"]
fn while_an_ack_is_under_way() {
    let log = TempPath::new("late");
    let mut command = Command::new(BINARY);
    command
        .args(["--listen", "10.1.2.3:0"])
        .env("RUST_LOG", "info");
    let mut server = Server::spawn(1, command.stderr(File::create(&log.0).unwrap()));
    let said = || std::fs::read_to_string(&log.0).unwrap();

    nft(
        "add table inet late { chain input { type filter hook input priority 0; \
         tcp dport 1024-65535 tcp flags == ack drop; }; }",
    );
    let mut late = server.connect();
    server.signal("TERM");
    let start = Instant::now();
    while !said().contains("shutting down") {
        assert!(start.elapsed() < PATIENCE);
    }
    nft("delete table inet late");
    late.write_all(b"late").unwrap(); // that segment says what the ACK did
    assert_rest(&mut late, b"hello\nlate");
    drop(late);
    server.end_within(PATIENCE.saturating_sub(start.elapsed()));
    assert_counts(said().lines().last().unwrap(), &[("echoed", 1)]);
}

fn nft(command: &str) {
    assert!(
        output(Command::new("nft").arg(command)).status.success(),
        "{command}"
    );
}

/// As many clients are connected as allowed, and others wait. They are served before the end.
#[test]
fn clients_that_wait_for_a_place_are_served_before_the_end() {
    let server = logging(&["--max-connections", "2"]);
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    assert_greeted(&mut clients[0]);
    server.signal("TERM");
    clients[0].write_all(b"first").unwrap();
    assert_rest(&mut clients[0], b"first");
    clients
        .drain(1..)
        .for_each(|client| assert_echoes(client, b"next"));
    drop(clients);
    assert_ends_with(server, &[("echoed", 20)]);
}

#[test]
fn silent_clients_are_cut_when_the_grace_is_over() {
    for (grace, least) in [("400ms", Duration::from_millis(400)), ("0", Duration::ZERO)] {
        println!("--grace {grace}");
        let server = logging(&["--grace", grace]);
        let mut silent = server.connect();
        assert_greeted(&mut silent);
        let start = Instant::now();
        server.signal("TERM");
        assert_rest(&mut silent, b"");
        assert!(start.elapsed() >= least, "too early");
        assert_ends_with(server, &[("shut down", 1)]);
    }
}

/// When the grace is over, no client is waited for, nor in the queue. A client in the queue whose
/// message is here is served all the same.
#[test]
fn the_grace_also_ends_for_clients_in_the_queue() {
    let server = logging(&["--max-connections", "1", "--grace", "100ms"]);
    let mut silent = server.connect();
    assert_greeted(&mut silent);
    let mut waiting: Vec<_> = (0..5).map(|_| server.connect()).collect();
    for client in &mut waiting[..2] {
        client.write_all(b"in time").unwrap();
    }
    server.signal("TERM");
    for client in &mut waiting[..2] {
        assert_rest(client, b"hello\nin time");
    }
    assert_ends_with(server, &[("lingering cut", 2), ("shut down", 4)]);
}

#[test]
fn the_second_signal_is_final() {
    for (first, second, code) in [
        ("TERM", "TERM", 143),
        ("TERM", "INT", 130),
        ("INT", "TERM", 143),
    ] {
        println!("{first}, {second}");
        let mut server = logging(&["--grace", "1h"]);
        let mut silent = server.connect();
        assert_greeted(&mut silent);
        server.signal(first);
        wait_until_refused(&server);
        // If one of these comes too soon after the other to count as a second one, the next one
        // counts.
        let start = Instant::now();
        while server.is_running() {
            assert!(start.elapsed() < PATIENCE, "it does not end");
            server.signal(second);
            std::thread::sleep(Duration::from_millis(10));
        }
        let (status, said) = server.end();
        assert_eq!(status.code(), Some(code), "{said}");
    }
}

/// Two that come at once count as one: timeout(1) sends its signal to the child, and then to the
/// group.
#[test]
fn a_doubled_signal_is_one() {
    let server = logging(&[]);
    let mut flying = server.connect();
    assert_greeted(&mut flying);
    ["STOP", "TERM", "INT", "CONT"]
        .iter()
        .for_each(|signal| server.signal(signal));
    wait_until_refused(&server);
    flying.write_all(b"in flight").unwrap();
    assert_rest(&mut flying, b"in flight");
    drop(flying);
    // A connection that only tested whether it still listens may have been accepted, too.
    let line = last_line(server);
    assert!(terms(&line).contains(&("echoed", 1)), "{line}");
}

/// A process 1 has no default actions: the kernel delivers only what it catches.
#[test]
fn it_stops_as_process_1() {
    if !have("unshare") {
        return;
    }
    let unshare = [
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--kill-child",
    ];
    let may = Command::new("unshare")
        .args(unshare)
        .arg("true")
        .stderr(Stdio::null())
        .status();
    if !may.is_ok_and(|status| status.success()) {
        skip("no PID namespace may be made here");
        return;
    }
    let mut command = Command::new("unshare");
    command
        .args(unshare)
        .args([BINARY, "--listen", "127.0.0.1:0"]);
    command.env("RUST_LOG", "info").stderr(Stdio::piped());
    let server = Server::spawn(1, &mut command);
    server.assert_serves();
    let first = server.child_process();
    assert!(
        Command::new("kill")
            .args(["-TERM", &first])
            .status()
            .unwrap()
            .success()
    );
    assert_ends_with(server, &[("echoed", 1)]);
}

/// Neither ends it nor changes what it does.
#[test]
fn other_signals_are_harmless() {
    let server = logging(&[]);
    let mut before = server.connect();
    assert_greeted(&mut before);
    for signal in ["HUP", "USR1", "PIPE", "WINCH", "XFSZ", "CHLD", "URG"] {
        println!("{signal}");
        server.signal(signal);
        server.assert_serves();
    }
    before.write_all(b"before").unwrap();
    assert_rest(&mut before, b"before");
    drop(before);
    server.signal("TERM");
    let (status, said) = server.end();
    assert_eq!(status.code(), Some(0), "{said}");
    let totals: Vec<_> = said
        .lines()
        .filter(|line| line.contains("] accepted "))
        .collect();
    assert_eq!(totals.len(), 2, "on SIGUSR1 and at the end: {said}");
}

/// Each end is counted in its place, and every connection once.
#[test]
fn the_books_balance() {
    let server = logging(&[
        "--timeout",
        "300ms",
        "--linger",
        "300ms",
        "--grace",
        "0",
        "--stats",
        "10ms",
    ]);
    for _ in 0..3 {
        server.assert_serves();
    }
    for _ in 0..2 {
        let mut leaving = server.connect();
        leaving.half_close();
        assert_greeted(&mut leaving);
        assert_rest(&mut leaving, b"");
    }
    let mut resetting = server.connect();
    assert_greeted(&mut resetting);
    reset(resetting);
    let mut silent = server.connect();
    assert_greeted(&mut silent);
    assert_rest(&mut silent, b""); // timed out
    let mut lingering = server.connect();
    assert_greeted(&mut lingering);
    lingering.write_all(b"hi").unwrap();
    assert_rest(&mut lingering, b"hi");
    let start = Instant::now();
    while lingering.write(b"x").is_ok() {
        assert!(start.elapsed() < PATIENCE, "it lingers for ever");
        std::thread::sleep(Duration::from_millis(1)); // not to flood it
    }
    let mut cut = server.connect();
    assert_greeted(&mut cut);
    server.signal("TERM");
    let (status, said) = server.end();
    assert_eq!(status.code(), Some(0), "{said}");
    let lines: Vec<_> = said
        .lines()
        .filter(|line| line.contains("] accepted "))
        .collect();
    assert!(lines.len() > 3, "every 10 ms: {said}");
    let counts = [
        ("echoed", 3),
        ("left early", 2),
        ("reset", 1),
        ("timed out", 1),
        ("lingering cut", 1),
        ("shut down", 1),
    ];
    assert_counts(lines.last().unwrap(), &counts);
}

/// A log file at its size limit (RLIMIT_FSIZE) causes a SIGXFSZ, which ends a process that does not
/// catch it.
#[test]
fn a_log_file_that_is_full_stops_nothing() {
    let log = TempPath::new("full.log");
    let mut command = Command::new("sh");
    let script = "ulimit -f 1; exec \"$0\" -v --listen 127.0.0.1:0 2>\"$1\"";
    let server = Server::spawn(1, command.args(["-c", script, BINARY, log.as_str()]));
    for _ in 0..30 {
        server.assert_serves();
    }
    drop(server);
    // `ulimit -f` counts in blocks of 512 bytes or 1 KiB, depending on the shell.
    let said = std::fs::read_to_string(&log.0).unwrap();
    assert!(
        [512, 1024].contains(&said.len()),
        "{} bytes:\n{said}",
        said.len()
    );
}
