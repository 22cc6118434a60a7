//! What goes wrong around the server and must not stop it.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "that is how a test fails")]
#![allow(clippy::print_stdout, reason = "shown where a test fails")]

mod util;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use util::{
    BINARY, PATIENCE, Server, TempPath, assert_echoes, assert_ends_with, assert_greeted,
    assert_rest, connect_unix, have_descriptors, have_strace, logging, payload,
};

/// An error that does not pass neither spins nor fills the log: a run of tries every 100 ms, a line
/// every second.
#[test]
fn an_error_that_stays_is_met_with_patience() {
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
        let count = |path: &TempPath, what| read(path).matches(what).count();
        while count(&trace, errno) <= 3 * tries_a_run {
            assert!(
                start.elapsed() < PATIENCE,
                "no more tries:\n{}",
                read(&trace)
            );
        }
        // The counts first, then the time that they are allowed to have taken.
        let (tries, lines) = (count(&trace, errno), count(&log, "cannot accept"));
        let polls = count(&trace, "epoll_");
        let runs = 2 + start.elapsed().as_millis() as usize / 100;
        assert!(tries <= runs * tries_a_run, "{tries} tries in {runs} runs");
        // A sleep, the edge that is asked for and the wait that reports it; and some at the start.
        assert!(polls <= 10 + 3 * runs, "{polls} polls in {runs} runs");
        assert!(
            (1..=1 + runs / 10).contains(&lines),
            "{lines} lines:\n{}",
            read(&log)
        );
    }
}

/// However many calls an echo took, the FIN follows in the same turn: no event would ask for it.
#[test]
fn the_fin_is_not_put_off() {
    if !have_strace() {
        return;
    }
    for last in 2..=8 {
        for linger in ["2s", "0"] {
            println!("{last} interrupted sends, --linger {linger}");
            let mut command = strace(&format!("inject=sendto:error=EINTR:when=2..{last}"));
            let server = Server::spawn(1, command.args(["--linger", linger]));
            assert_echoes(server.connect(), b"and the end?");
        }
    }
}

fn strace(inject: &str) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qqq", "-o", "/dev/null", "-e", inject, BINARY, "-qq"]);
    strace.args(["--listen", "127.0.0.1:0"]);
    strace
}

/// More clients than descriptors: those beyond wait in the backlog and are served as others leave.
/// On the way accept4 fails for want of a descriptor, again and again.
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

/// At the limit nobody leaves for a while; then descriptors come free, and no new client arrives to
/// make an edge. The one that waits is served all the same, and at once: in the trace no wait runs
/// out between the close of ours and the accept that it makes possible.
#[test]
fn the_last_in_the_queue_is_served_as_soon_as_one_leaves() {
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

    let trace = read(&trace);
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

/// Being stopped and continued interrupts the poll, without any signal handler (signal(7)).
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

/// It may be stopped, or its machine be, for longer than clients have: whoever did in time what was
/// left to it, to send a message or a FIN, is served, though more of them are ready than one batch of
/// events has. Who did nothing is closed.
#[test]
fn whoever_was_in_time_is_served_after_a_stop() {
    const EACH: u64 = 600;
    const TIME: Duration = Duration::from_secs(4);
    if !have_descriptors(2 * EACH + 500) {
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

/// While the server does not get to accept, the kernel does, up to the backlog: nobody believes to
/// be connected and is never greeted (with mio's fixed 128 two thirds of these are).
#[test]
fn a_burst_during_a_pause_is_greeted_to_the_last() {
    const CLIENTS: u64 = 3000;
    if !have_descriptors(CLIENTS + 500) {
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
        read(&log),
        "",
        "no pause: a bounded run goes on in the next turn"
    );
}

fn read(path: &TempPath) -> String {
    std::fs::read_to_string(&path.0).unwrap_or_default()
}

/// A log whose reader has stopped reading loses lines, and says so once it is read again; the
/// server goes on.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let log = half_read_log(&[]);
    assert!(
        log.contains(" lines were dropped here, for want of a reader or of room\n"),
        "{log}"
    );
}

/// Where a line is an object, every line is: those that tell of the others, too, and the last word of
/// a server that cannot run.
#[cfg(feature = "json")]
#[test]
fn a_log_of_objects_has_nothing_else() {
    let json = &["--log-format", "json"];
    let failed = util::output(Command::new(BINARY).args(json).args(["-l", "unix:/"]));
    assert_eq!(failed.status.code(), Some(1));
    let log = half_read_log(json) + &String::from_utf8(failed.stderr).unwrap();
    let mut messages = String::new();
    for line in log.lines() {
        messages += &message(line);
    }
    for word in [
        "can hold ",
        "accepted from 127.0.0.1:",
        " lines were dropped",
        "listen on unix:/",
    ] {
        assert!(messages.contains(word), "no {word} in {messages}");
    }
}

/// That of a line which is an object.
#[cfg(feature = "json")]
fn message(line: &str) -> String {
    let object: serde_json::Value = serde_json::from_str(line).unwrap();
    let fields = object.as_object().unwrap();
    assert!(
        fields.keys().eq(["level", "message", "target", "time"]),
        "{line}"
    );
    assert!(fields.values().all(serde_json::Value::is_string), "{line}");
    object["message"].as_str().unwrap().to_owned()
}

/// A line that has no end, as a disk was full, does not spoil the next.
#[cfg(feature = "json")]
#[test]
fn a_torn_line_spoils_no_other() {
    if !util::have("prlimit") {
        return;
    }
    let log = TempPath::new("torn");
    let mut command = Command::new("prlimit");
    command.args(["--fsize=1000:100000", BINARY, "-v", "--log-format", "json"]);
    command.args(["--listen", "127.0.0.1:0"]);
    let file = std::fs::File::create(&log.0).unwrap();
    let server = Server::spawn(1, command.stderr(file));
    (0..10).for_each(|_| server.assert_serves());
    assert_eq!(read(&log).len(), 1000);
    let pid = server.pid().to_string();
    util::output(Command::new("prlimit").args(["--pid", &pid, "--fsize=100000:100000"]));
    (0..10).for_each(|_| server.assert_serves());
    drop(server);
    let is_whole = |line: &&str| serde_json::from_str::<serde_json::Value>(line).is_ok();
    let log = read(&log);
    assert_eq!(
        log.lines().filter(|line| !is_whole(line)).count(),
        1,
        "{log}"
    );
    assert!(log.contains(" lines were dropped here"), "{log}");
}

/// So it is with a pipe and with a terminal, which has some room long before it has enough for a line.
#[test]
fn a_pipe_or_a_terminal_that_nobody_reads_stops_nothing() {
    for (name, stderr, _master) in pipe_and_terminal() {
        println!("{name}");
        let mut command = Command::new(BINARY);
        let server = Server::spawn(1, logging_connections(&mut command).stderr(stderr));
        // What others share is left as it is.
        let same = |fd: &u32| link(&server, *fd) == link(&server, 2);
        let mut opened_anew = (3..30).filter(same);
        assert!(!is_non_blocking(&server, 2));
        assert!(opened_anew.any(|fd| is_non_blocking(&server, fd)));
        let pid = server.pid().to_string();
        assert_serves_unread(server, &pid);
    }
}

/// Nor do they where the server may not open them itself, as they are another user's.
#[test]
fn another_users_pipe_or_terminal_that_nobody_reads_stops_nothing() {
    if !have_strace() {
        return;
    }
    for (name, stderr, _master) in pipe_and_terminal() {
        println!("{name}");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qqq", "-o", "/dev/null", "-P", "/proc/self/fd/2"]);
        strace.args(["--seccomp-bpf", "-e", "trace=openat"]);
        strace.args(["-e", "inject=openat:error=EACCES", BINARY]);
        let server = Server::spawn(1, logging_connections(&mut strace).stderr(stderr));
        let pid = server.child_process();
        assert_serves_unread(server, &pid);
    }
}

/// What nobody reads, and what keeps it open.
fn pipe_and_terminal() -> [(&'static str, Stdio, Option<OwnedFd>); 2] {
    let terminal = nix::pty::openpty(None, None).unwrap();
    [
        ("a pipe", Stdio::piped(), None),
        ("a terminal", terminal.slave.into(), Some(terminal.master)),
    ]
}

fn logging_connections(command: &mut Command) -> &mut Command {
    command.args(["-v", "--listen", "127.0.0.1:0"])
}

fn link(server: &Server, fd: u32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{}/fd/{fd}", server.pid())).ok()
}

fn is_non_blocking(server: &Server, fd: u32) -> bool {
    let info = std::fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", server.pid())).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = i32::from_str_radix(flags.unwrap().trim(), 8).unwrap();
    flags & libc::O_NONBLOCK != 0
}

/// It logs more than 80 KB, which neither a pipe nor a terminal takes, and hears of its end all the
/// same.
fn assert_serves_unread(mut server: Server, pid: &str) {
    for _ in 0..500 {
        server.assert_serves();
    }
    assert!(util::signal(pid, "TERM"));
    assert_eq!(server.end_within(PATIENCE).code(), Some(0));
}

/// A line is one, and none is longer than a pipe takes at once, whatever is quoted in it: else the
/// first would block a server whose log nobody reads.
#[test]
fn a_setting_of_any_length_makes_one_line() {
    let line = line_about_the_manager("text");
    assert!(line.contains(r"cannot tell /a\n\u{1b}"), "{line}");
    #[cfg(feature = "json")]
    {
        let line = line_about_the_manager("json");
        let message = message(&line);
        assert!(message.contains("cannot tell /a\n\u{1b}"), "{line}");
    }
}

/// What a server logs whose manager has an address that is none, and long.
fn line_about_the_manager(format: &str) -> String {
    let mut command = Command::new(BINARY);
    command.args(["-q", "--listen", "127.0.0.1:0", "--log-format", format]);
    command.env(
        "NOTIFY_SOCKET",
        "/a\n".to_owned() + &"\u{1b}".repeat(100_000),
    );
    let server = Server::spawn(1, command.stderr(Stdio::piped()));
    server.assert_serves();
    server.signal("TERM");
    let (status, mut said) = server.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!((1000..=4096).contains(&said.len()), "{} bytes", said.len());
    assert_eq!(said.pop(), Some('\n'));
    assert!(!said.contains(char::is_control), "{said}");
    said
}

/// Nor does the name of a socket make two lines of stdout.
#[test]
fn a_listener_has_one_line_whatever_its_name() {
    let path = TempPath::new("two\nlines.sock");
    let address = format!("unix:{}", path.as_str());
    let server = Server::start_listening(1, &["--listen", &address]);
    assert_eq!(server.addresses, [address.replace('\n', r"\n")]);
    assert_echoes(connect_unix(&path), b"one");
}

/// What a server has logged whose log nobody has read for a while.
fn half_read_log(options: &[&str]) -> String {
    let (reader, writer) = UnixStream::pair().unwrap();
    let mut command = Command::new(BINARY);
    command
        .args(["-v", "--listen", "127.0.0.1:0"])
        .args(options);
    let server = Server::spawn(1, command.stderr(OwnedFd::from(writer)));
    drop(command); // and with it our copy of the writer
    // Two lines of 80 bytes each: more than the 208 KiB that the socket takes.
    for _ in 0..3000 {
        server.assert_serves();
    }
    let mut log = vec![0; 1 << 20];
    let n = (&reader).read(&mut log).unwrap();
    log.truncate(n);
    server.assert_serves();
    drop(server);
    (&reader).read_to_end(&mut log).unwrap();
    String::from_utf8(log).unwrap()
}

/// A stdout that is full when the server starts does not keep it from serving. It is its stderr, too.
#[test]
fn a_stdout_that_nobody_reads_stops_nothing() {
    let (_reader, mut full) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.write(&[b'x'; 4096]).is_ok() {}
    while full.write(b"x").is_ok() {}
    full.set_nonblocking(false).unwrap();
    let path = TempPath::new("full.sock");
    let script = format!("exec \"$0\" --listen unix:{} >&2", path.as_str());
    let mut command = Command::new("sh");
    command.args(["-c", &script, BINARY]);
    let _server = Server::spawn(0, command.stderr(OwnedFd::from(full)));
    assert_echoes(connect_silent(&path), b"full");
}

/// Connects to a server that does not say when it listens.
fn connect_silent(path: &TempPath) -> UnixStream {
    let start = Instant::now();
    while UnixStream::connect(&path.0).is_err() {
        assert!(start.elapsed() < PATIENCE, "it does not listen");
    }
    connect_unix(path)
}

/// A stdout or stderr that is closed, or full, stops nothing.
#[test]
fn it_serves_without_stdout_and_stderr() {
    for streams in [">&- 2>&-", ">/dev/full 2>/dev/full"] {
        println!("{streams}");
        let path = TempPath::new("mute.sock");
        let script = format!("exec \"$0\" -v --listen unix:{} {streams}", path.as_str());
        let mut mute = Command::new("sh");
        let _server = Server::spawn(0, mute.args(["-c", &script, BINARY]));
        assert_echoes(connect_silent(&path), b"mute");
    }
}
