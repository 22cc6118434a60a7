//! A stdout or stderr that nobody reads, or that is full or closed, does not stop the server. And
//! each of its lines stays one line.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::util::{
    self, BINARY, PATIENCE, Server, TempPath, assert_echoes, connect_unix, have_strace, terminal,
    with_fault,
};

/// A log whose reader has stopped loses lines, and says so once it is read again; the server goes
/// on.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let log = half_read_log(&[]);
    assert!(
        log.contains(" lines were dropped here: nobody read them, or there was no room\n"),
        "{log}"
    );
}

/// If a line is an object, every line is: also the line about lost lines, and the last line of a
/// server that cannot run.
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

/// The message of a line that is an object.
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

/// A line without an end, because a disk was full, does not spoil the next.
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
    assert_eq!(log.text().len(), 1000);
    let pid = server.pid().to_string();
    util::output(Command::new("prlimit").args(["--pid", &pid, "--fsize=100000:100000"]));
    (0..10).for_each(|_| server.assert_serves());
    drop(server);
    let is_whole = |line: &&str| serde_json::from_str::<serde_json::Value>(line).is_ok();
    let log = log.text();
    assert_eq!(
        log.lines().filter(|line| !is_whole(line)).count(),
        1,
        "{log}"
    );
    assert!(log.contains(" lines were dropped here"), "{log}");
}

/// A pipe behaves so, and a terminal, which has some room long before it has enough for a line.
#[test]
fn a_pipe_or_a_terminal_that_nobody_reads_stops_nothing() {
    for (name, stderr, _master) in pipe_and_terminal() {
        println!("{name}");
        let mut command = Command::new(BINARY);
        let server = Server::spawn(1, logging_connections(&mut command).stderr(stderr));
        // A file that others share is left as it is.
        let same = |fd: &u32| link(&server, *fd) == link(&server, 2);
        let mut opened_anew = (3..30).filter(same);
        assert!(!is_non_blocking(&server, 2));
        assert!(opened_anew.any(|fd| is_non_blocking(&server, fd)));
        let pid = server.pid().to_string();
        assert_serves_unread(server, &pid);
    }
}

/// Nor do they if the server may not open them itself, because they belong to another user.
#[test]
fn another_users_pipe_or_terminal_that_nobody_reads_stops_nothing() {
    if !have_strace() {
        return;
    }
    for (name, stderr, _master) in pipe_and_terminal() {
        println!("{name}");
        let mut strace = with_fault("openat:error=EACCES");
        strace.args(["-P", "/proc/self/fd/2", "--seccomp-bpf", BINARY]);
        let server = Server::spawn(1, logging_connections(&mut strace).stderr(stderr));
        let pid = server.child_process();
        assert_serves_unread(server, &pid);
    }
}

/// The end that nobody reads, and what keeps it open.
fn pipe_and_terminal() -> [(&'static str, Stdio, Option<OwnedFd>); 2] {
    let (master, slave) = terminal();
    [
        ("a pipe", Stdio::piped(), None),
        ("a terminal", slave.into(), Some(master)),
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

/// It logs more than 80 KB, which neither a pipe nor a terminal takes, and still receives its
/// signal.
fn assert_serves_unread(mut server: Server, pid: &str) {
    for _ in 0..500 {
        server.assert_serves();
    }
    assert!(util::signal(pid, "TERM"));
    assert_eq!(server.end_within(PATIENCE).code(), Some(0));
}

/// A line is one line, and none is longer than a pipe takes at once, whatever it quotes. Otherwise
/// the first would block a server whose log nobody reads.
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

/// The log of a server whose manager has a long address that is wrong.
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

/// The log of a server whose log nobody has read for a while.
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

/// A stdout that is full when the server starts does not keep it from serving. It is also its
/// stderr.
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
