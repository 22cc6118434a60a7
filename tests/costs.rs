//! What the server promises not to spend: counts, not timings.

#![allow(clippy::unwrap_used, reason = "that is how a test fails")]

mod util;

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use socket2::SockRef;
use util::{
    BINARY, PATIENCE, Peer, Server, TempPath, assert_echoes, assert_greeted, assert_rest,
    have_strace,
};

/// An exchange with a client that waits for each answer: three wake-ups, nine calls for them.
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

/// One whose FIN is in the same segment as its message (nc -N): two wake-ups, and no half-close.
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
        // The sleep at the end stands for the one at the start, which was counted before.
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

    /// The calls up to the sleep that it is in, once they are as expected.
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

/// With idle clients nothing happens: no thread, no tick, not one wake-up.
#[test]
fn idle_clients_cost_no_wake_up_and_no_memory() {
    const CLIENTS: usize = 500;
    let server = Server::start(&[]);
    assert_echoes(server.connect(), b"warm up");
    let before = memory(&server);
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

    // The slab of 500 has grown to 1024 entries of 40 bytes; a buffer each would be 500 KB.
    let grown = memory(&server).saturating_sub(before);
    assert!(grown <= 64, "{grown} KB for {CLIENTS} idle clients");
    for mut client in clients {
        client.write_all(b"awake").unwrap();
        assert_rest(&mut client, b"awake");
    }
}

/// Its anonymous memory, in KB.
fn memory(server: &Server) -> usize {
    server
        .status("RssAnon")
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}
