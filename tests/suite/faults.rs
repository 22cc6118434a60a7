//! What goes wrong around the server and must not stop it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::util::{
    self, BINARY, PATIENCE, Server, TempPath, alone, assert_echoes, assert_ends_with,
    assert_greeted, assert_rest, have_descriptors, have_strace, logging, payload, with_fault,
};

/// An error that does not pass neither spins nor fills the log: a run of tries every 100 ms, a line
/// every second.
#[test]
fn an_error_that_does_not_pass_neither_spins_nor_fills_the_log() {
    if !have_strace() {
        return;
    }
    for (errno, tries_a_run) in [("ECONNABORTED", 16), ("EMFILE", 1)] {
        let (log, trace) = (TempPath::new("log"), TempPath::new("trace"));
        let mut command = Command::new("strace");
        command.args(["-f", "-qqq", "-o", trace.as_str(), "-e"]);
        command.arg("trace=accept4,/^epoll_");
        command.args(["-e", &format!("inject=accept4:error={errno}")]);
        command.args([BINARY, "--listen", "127.0.0.1:0"]);
        let server = Server::spawn(1, command.stderr(File::create(&log.0).unwrap()));
        let start = Instant::now();
        let _client = server.connect();
        let count = |path: &TempPath, what| path.text().matches(what).count();
        while count(&trace, errno) <= 3 * tries_a_run {
            assert!(
                start.elapsed() < PATIENCE,
                "no more tries:\n{}",
                trace.text()
            );
        }
        // First the counts, then the time that they may have taken.
        let (tries, lines) = (count(&trace, errno), count(&log, "cannot accept"));
        let polls = count(&trace, "epoll_");
        let runs = 2 + start.elapsed().as_millis() as usize / 100;
        assert!(tries <= runs * tries_a_run, "{tries} tries in {runs} runs");
        // A sleep, the edge that is asked for and the wait that reports it; and some at the start.
        assert!(polls <= 10 + 3 * runs, "{polls} polls in {runs} runs");
        assert!(
            (1..=1 + runs / 10).contains(&lines),
            "{lines} lines:\n{}",
            log.text()
        );
    }
}

/// However many calls an echo took, the FIN follows in the same turn, because no event would ask
/// for it.
#[test]
fn the_fin_is_not_put_off() {
    if !have_strace() {
        return;
    }
    for last in 2..=8 {
        for linger in ["2s", "0"] {
            println!("{last} interrupted sends, --linger {linger}");
            let mut command = server_with_fault(&format!("sendto:error=EINTR:when=2..{last}"));
            let server = Server::spawn(1, command.args(["--linger", linger]));
            assert_echoes(server.connect(), b"and the end?");
        }
    }
}

fn server_with_fault(fault: &str) -> Command {
    let mut strace = with_fault(fault);
    strace.args([BINARY, "-qq", "--listen", "127.0.0.1:0"]);
    strace
}

/// More clients than descriptors: the others wait in the backlog and are served as clients leave.
/// On the way accept4 fails again and again, because there is no descriptor.
#[test]
fn clients_beyond_the_descriptor_limit_wait_for_their_turn() {
    const CLIENTS: usize = 200;
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 40; exec \"$0\" \"$@\"", BINARY, "-qq"]);
    let server = Server::spawn(1, limited.args(["--listen", "127.0.0.1:0"]));
    let base = server.descriptors();
    let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    for (i, mut client) in (1..).zip(clients) {
        assert_greeted(&mut client);
        client.write_all(&payload(i, 500)).unwrap();
        assert_rest(&mut client, &payload(i, 500));
    }
    server.assert_descriptors_return_to(base);
}

/// At the limit no client leaves for a while. Then descriptors become free, and no new client
/// arrives to make an edge. The client that waits is served all the same, and at once: in the trace
/// no wait runs out between the close of ours and the accept that it makes possible.
#[test]
fn the_last_client_in_the_queue_is_served_as_soon_as_one_leaves() {
    if !have_strace() {
        return;
    }
    let trace = TempPath::new("trace");
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 20; exec strace -f -qqq -o \"$0\" \"$@\""]);
    limited.args([trace.as_str(), BINARY, "-qq", "--listen", "127.0.0.1:0"]);
    let server = Server::spawn(1, &mut limited);
    let mut holders = Vec::new();
    let last = loop {
        let mut client = server.connect();
        client
            .set_read_timeout(Some(Duration::from_millis(250)))
            .unwrap();
        match client.read_exact(&mut [0; 6]) {
            Ok(()) => holders.push(client),
            Err(_) => break client,
        }
    };
    assert!(
        (1..20).contains(&holders.len()),
        "{} clients with 20 descriptors",
        holders.len()
    );
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    holders.pop();
    assert_echoes(last, b"at last");

    let trace = trace.text();
    let calls: Vec<&str> = trace.lines().collect();
    let accepted = |call: &str| call.contains("accept4(") && !call.contains(" = -1 ");
    let accept = calls.iter().rposition(|call| accepted(call)).unwrap();
    let close = calls[..accept]
        .iter()
        .rposition(|call| call.contains("close("))
        .unwrap();
    let ran_out = |call: &&&str| call.contains("wait(") && call.ends_with(" = 0");
    assert_eq!(
        calls[close..accept].iter().find(ran_out),
        None,
        "{:#?}",
        &calls[close..=accept]
    );
}

/// A stop and a continuation interrupt the poll, without any signal handler (signal(7)).
#[test]
fn it_may_be_stopped_and_continued() {
    let server = Server::start(&[]);
    let mut before = server.connect();
    assert_greeted(&mut before);
    for _ in 0..3 {
        server.signal("STOP");
        let mut meanwhile = server.connect();
        meanwhile.write_all(b"meanwhile").unwrap();
        server.signal("CONT");
        assert_greeted(&mut meanwhile);
        assert_rest(&mut meanwhile, b"meanwhile");
    }
    before.write_all(b"before").unwrap();
    assert_rest(&mut before, b"before");
}

/// The server, or its machine, may be stopped for longer than clients have. A client that has sent
/// its message or its FIN in time is served, even if more of them are ready than one batch of
/// events has. A client that has sent nothing is disconnected.
#[test]
fn clients_in_time_are_served_after_a_stop() {
    const EACH: u64 = 600;
    const TIME: Duration = Duration::from_secs(4);
    if !alone(clients_in_time_are_served_after_a_stop) || !have_descriptors(2 * EACH + 500) {
        return;
    }
    let server = logging(&["--timeout", "4s", "--linger", "4s"]);
    let start = Instant::now();
    let crowd = || (0..EACH).map(|_| server.connect()).collect();
    let (mut to_send, mut to_close): (Vec<TcpStream>, Vec<TcpStream>) = (crowd(), crowd());
    let mut silent = server.connect();
    for stream in to_send.iter_mut().chain([&mut silent]) {
        assert_greeted(stream);
    }
    to_close
        .iter_mut()
        .for_each(|stream| assert_echoes(stream, b"and then?"));
    server.signal("STOP");
    assert!(start.elapsed() < TIME, "it was not stopped in time");
    let stopped = Instant::now();
    for (i, stream) in (1..).zip(&mut to_send) {
        stream.write_all(&payload(i, 500)).unwrap();
    }
    drop(to_close);
    std::thread::sleep(TIME.saturating_sub(stopped.elapsed()));
    server.signal("CONT");
    for (i, mut stream) in (1..).zip(to_send) {
        assert_rest(&mut stream, &payload(i, 500));
    }
    assert_rest(&mut silent, b"");
    server.signal("TERM");
    assert_ends_with(server, &[("echoed", 2 * EACH), ("timed out", 1)]);
}

/// While the server does not accept, the kernel does, up to the backlog. No client believes to be
/// connected and is never greeted (with mio's fixed 128 two thirds of these are).
#[test]
fn a_burst_during_a_pause_is_greeted_to_the_last() {
    const CLIENTS: u64 = 3000;
    if !alone(a_burst_during_a_pause_is_greeted_to_the_last) || !have_descriptors(CLIENTS + 500) {
        return;
    }
    let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    if somaxconn.trim().parse::<u64>().unwrap() < 4096 {
        util::skip("net.core.somaxconn is below 4096");
        return;
    }
    let log = TempPath::new("burst");
    let mut command = Command::new(BINARY);
    command.args(["--listen", "127.0.0.1:0"]);
    let server = Server::spawn(1, command.stderr(File::create(&log.0).unwrap()));
    server.signal("STOP");
    let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    server.signal("CONT");
    for (i, mut client) in (0..).zip(clients) {
        assert_greeted(&mut client);
        client.write_all(&payload(i, 100)).unwrap();
        assert_rest(&mut client, &payload(i, 100));
    }
    assert_eq!(
        log.text(),
        "",
        "no pause: a bounded run goes on in the next turn"
    );
}
