//! What the server promises not to spend: counts, not timings.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

#[cfg(feature = "load")]
#[cfg(feature = "load")]
use hello_echo::load::Load;
use socket2::SockRef;

#[cfg(feature = "load")]
use crate::util;
use crate::util::{
    BINARY, PATIENCE, Peer, Server, TempPath, assert_echoes, assert_greeted, assert_rest,
    have_strace, in_a_network, tcp_counter,
};

/// An exchange with a client that waits for each answer: three wake-ups, and nine calls for them.
#[test]
fn an_exchange_takes_12_system_calls() {
    assert_calls(12, |mut stream, trace| {
        assert_greeted(&mut stream);
        trace.wait_until_asleep();
        stream.write_all(&[b'x'; 1000]).unwrap();
        assert_rest(&mut stream, &[b'x'; 1000]);
        trace.wait_until_asleep();
    });
}

/// A client whose FIN is in the same segment as its message (nc -N): two wake-ups, and no
/// half-close.
#[test]
fn an_exchange_with_an_early_fin_takes_10_system_calls() {
    assert_calls(10, |mut stream, trace| {
        trace.wait_until_asleep();
        SockRef::from(&stream).set_tcp_cork(true).unwrap();
        stream.write_all(b"hi").unwrap();
        stream.half_close();
        assert_greeted(&mut stream);
        assert_rest(&mut stream, b"hi");
    });
}

/// Counts the calls from one sleep to the next, around an exchange and the client's close.
fn assert_calls(most: usize, exchange: impl Fn(&mut TcpStream, &Trace)) {
    if !have_strace() {
        return;
    }
    let trace = Trace(TempPath::new(&format!("calls-{most}")));
    let mut strace = Command::new("strace");
    strace.args([
        "-f",
        "-o",
        trace.0.as_str(),
        BINARY,
        "--listen",
        "127.0.0.1:0",
    ]);
    let server = Server::spawn(1, &mut strace);
    for _ in 0..3 {
        let before = trace.wait_until_asleep();
        exchange(&mut server.connect(), &trace);
        let closed = |calls: &[String]| calls[before..].iter().any(|call| call.contains("close("));
        let calls = &trace.wait_until(closed)[before..];
        let flagged = |call, flag| calls.iter().all(|c| !c.contains(call) || c.contains(flag));
        assert!(
            flagged("accept4(", "SOCK_CLOEXEC|SOCK_NONBLOCK"),
            "{calls:?}"
        );
        assert!(flagged("sendto(", "MSG_NOSIGNAL"), "{calls:?}");
        // The sleep at the end replaces the one at the start, which was counted before.
        assert!(
            calls.len() <= most,
            "{} calls:\n{}",
            calls.len(),
            calls.join("\n")
        );
    }
}

/// strace's file, which ends in an epoll_wait without a result while the server sleeps.
struct Trace(TempPath);

impl Trace {
    fn wait_until_asleep(&self) -> usize {
        self.wait_until(|_| true).len()
    }

    /// The calls up to the present sleep, once they are as expected.
    fn wait_until(&self, expected: impl Fn(&[String]) -> bool) -> Vec<String> {
        let start = Instant::now();
        loop {
            let calls = self.calls();
            let sleep = calls.last().is_some_and(|c| {
                (c.contains("epoll_wait(") || c.contains("epoll_pwait(")) && !c.contains(" = ")
            });
            if sleep && expected(&calls) {
                return calls;
            }
            assert!(start.elapsed() < PATIENCE, "in vain:\n{}", calls.join("\n"));
            std::thread::yield_now();
        }
    }

    fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.0.0).unwrap_or_default();
        let calls = text.lines().filter(|line| line.contains('('));
        // std's own check of a descriptor that is closed, in debug builds only.
        let ours = |line: &&str| !cfg!(debug_assertions) || !line.contains("F_GETFD");
        calls.filter(ours).map(str::to_owned).collect()
    }
}

/// With 64 clients at a time they share the wake-ups and the ends of the accept runs. strace stops
/// the server at each call, so it is always the slower side.
#[cfg(feature = "load")]
#[test]
fn under_load_an_exchange_takes_8_6_system_calls() {
    const EXCHANGES: u64 = 4_000;
    if !have_strace() {
        return;
    }
    let trace = Trace(TempPath::new("calls-under-load"));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", trace.0.as_str(), BINARY]);
    let server = Server::spawn(1, strace.args(["--listen", "127.0.0.1:0"]));
    let before = trace.wait_until_asleep();
    let options = util::load_options(&server.addresses[0], EXCHANGES, 64);
    util::finish(&mut Load::new(options).unwrap());
    let closed = |calls: &[String]| {
        let closes = calls[before..]
            .iter()
            .filter(|call| call.contains("close("));
        closes.count() as u64 == EXCHANGES
    };
    let calls = trace.wait_until(closed).len() - before;
    let each = calls as f64 / EXCHANGES as f64;
    println!("{each} calls each");
    assert!(each <= 8.6, "{each} calls each");
}

/// An exchange and its end take at most ten TCP segments, both ways, as its own network counts
/// them: three of the handshake, the greeting, the message, the echo with the FIN, the client's
/// FIN, its acknowledgment, and two for separate acknowledgments.
#[test]
fn an_exchange_takes_10_segments() {
    if let Some(said) = in_a_network(PATIENCE, "", segments_are_counted) {
        println!("{said}");
    }
}

#[test]
#[ignore = "an_exchange_takes_10_segments makes a network for it"]
fn segments_are_counted() {
    const EXCHANGES: u64 = 100;
    let server = Server::start(&[]);
    let before = tcp_counter("snmp", "Tcp:", "OutSegs");
    for _ in 0..EXCHANGES {
        assert_echoes(server.connect(), &[b'x'; 1000]);
    }
    let segments = tcp_counter("snmp", "Tcp:", "OutSegs") - before;
    println!("{EXCHANGES} exchanges, {segments} segments");
    assert!(segments <= 10 * EXCHANGES, "{segments} segments");
}

/// 19,000 silent clients need a table once; the next wave uses the same memory.
#[cfg(feature = "load")]
#[test]
fn an_idle_client_takes_40_bytes() {
    const HELD: usize = 19_000;
    if !util::alone(an_idle_client_takes_40_bytes) || !util::have_descriptors(HELD as u64 + 200) {
        return;
    }
    let server = Server::start(&[]);
    // Before the second client is greeted, the server has seen the FIN of the first, and has
    // discarded it into 64 KiB of its stack.
    assert_echoes(server.connect(), b"warm up");
    assert_echoes(server.connect(), b"warm up");
    let idle = server.own_memory();
    assert!(idle < 1_500_000, "{idle} bytes, idle");
    let mut most = 0;
    for wave in 1..=2 {
        let mut options = util::load_options(&server.addresses[0], 1, 64);
        options.plan.hold = HELD as u64;
        let mut load = Load::new(options).unwrap();
        while load.record().held < HELD as u64 {
            assert!(
                load.turn(PATIENCE).unwrap(),
                "{:?}",
                load.record().described
            );
        }
        let grown = server.own_memory() - idle;
        util::finish(&mut load);
        println!(
            "wave {wave}: {grown} bytes, then {}",
            server.own_memory() - idle
        );
        // A page at each end.
        assert!(
            grown <= 40 * HELD + 2 * 4096,
            "{grown} bytes for {HELD} clients"
        );
        most = most.max(grown);
    }
    assert!(server.own_memory() <= idle + most);
}

/// The load client's entry of 88 bytes is all that a held connection takes in its own process. The
/// first thousands also touch the pages of its histograms, so they are not counted.
#[cfg(feature = "load")]
#[test]
fn a_held_connection_takes_the_load_client_96_bytes() {
    const FIRST: u64 = 5_000;
    const ALL: u64 = 15_000;
    if !util::alone(a_held_connection_takes_the_load_client_96_bytes)
        || !util::have_descriptors(ALL + 200)
    {
        return;
    }
    let server = Server::start(&[]);
    let mut options = util::load_options(&server.addresses[0], 1, 64);
    options.plan.hold = ALL;
    let mut load = Load::new(options).unwrap();
    let mut memory = |held| {
        while load.record().held < held {
            assert!(
                load.turn(PATIENCE).unwrap(),
                "{:?}",
                load.record().described
            );
        }
        util::own_memory(std::process::id())
    };
    let [first, all] = [memory(FIRST), memory(ALL)];
    util::finish(&mut load);
    let each = (all - first) as f64 / (ALL - FIRST) as f64;
    println!("{each} bytes each");
    assert!(each <= 96.0, "{each} bytes for each held connection");
}

/// With idle clients nothing happens: no thread, no tick, not one wake-up.
#[test]
fn idle_clients_cost_no_wake_up_and_no_memory() {
    const CLIENTS: usize = 500;
    let server = Server::start(&[]);
    assert_echoes(server.connect(), b"warm up");
    let before = server.own_memory();
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(assert_greeted);

    let sleeping = Instant::now();
    while server.status("State") != "S (sleeping)" {
        assert!(sleeping.elapsed() < PATIENCE);
    }
    let wake_ups = server.status("voluntary_ctxt_switches");
    std::thread::sleep(Duration::from_millis(300)); // not to wait for something, but for nothing
    assert_eq!(server.status("voluntary_ctxt_switches"), wake_ups);
    assert_eq!(server.status("Threads"), "1");

    // 500 entries of 40 bytes; a buffer each would be 500 KB.
    let grown = server.own_memory() - before;
    assert!(
        grown <= 64 << 10,
        "{grown} bytes for {CLIENTS} idle clients"
    );
    for mut client in clients {
        client.write_all(b"awake").unwrap();
        assert_rest(&mut client, b"awake");
    }
}
