//! stdout: a reader gets a line for each listener, and without a reader the server serves all the
//! same.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::util::{
    BINARY, PATIENCE, TempPath, assert_echoes, connect_unix, have_descriptors, have_strace,
    in_time, signal, status_within, with_fault,
};
use socket2::SockRef;

/// Their lines are longer than the 64 KiB that a pipe holds.
const LISTENERS: usize = 2_600;

/// It reads nothing at first, while the server serves, and then to the end.
#[test]
fn a_late_reader_gets_every_line() {
    if !have_descriptors(LISTENERS as u64 + 100) {
        return;
    }
    let (ours, theirs) = UnixStream::pair().unwrap();
    SockRef::from(&theirs).set_send_buffer_size(4096).unwrap();
    let socket = (Stdio::from(OwnedFd::from(theirs)), Some(ours));
    for (stdout, socket) in [(Stdio::piped(), None), socket] {
        let path = TempPath::new("late.sock");
        let mut server = start(&path, stdout);
        assert_serves(&path);
        let reader: Box<dyn Read + Send> = match socket {
            Some(socket) => Box::new(socket),
            None => Box::new(server.0.stdout.take().unwrap()),
        };
        let lines = in_time("all lines", move || {
            let lines = BufReader::new(reader).lines().take(LISTENERS);
            lines.collect::<Result<Vec<_>, _>>().unwrap()
        });
        let (last, tcp) = lines.split_last().unwrap();
        assert_eq!(lines.len(), LISTENERS);
        assert!(tcp.iter().all(|l| l.starts_with("listening on 127.0.0.1:")));
        assert_eq!(*last, format!("listening on unix:{}", path.as_str()));
        assert_serves(&path);
    }
}

/// Nobody reads, or can read any more: the server serves, sleeps, and ends when it is told to.
#[test]
fn without_a_reader_it_serves_and_ends() {
    if !have_descriptors(LISTENERS as u64 + 100) {
        return;
    }
    for is_closed in [false, true] {
        let path = TempPath::new("unread.sock");
        let mut server = start(&path, Stdio::piped());
        assert_serves(&path);
        if is_closed {
            drop(server.0.stdout.take());
            assert_serves(&path);
        }
        assert!(signal(&server.0.id().to_string(), "TERM"));
        let status = status_within(PATIENCE, &mut server.0);
        assert_eq!(status.and_then(|status| status.code()), Some(0));
    }
}

/// Ends with the test.
struct Running(Child);

impl Running {
    /// The server itself, which may be the child of strace.
    fn process(&self) -> String {
        let own = self.0.id();
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children"));
        let children = children.unwrap();
        let child = children.split_whitespace().next();
        child.map_or(own.to_string(), str::to_owned)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            signal(&self.process(), "KILL");
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server with so many listeners, the last of them at `path`.
fn start(path: &TempPath, stdout: Stdio) -> Running {
    start_by(&mut Command::new(BINARY), path, stdout)
}

fn start_by(command: &mut Command, path: &TempPath, stdout: Stdio) -> Running {
    for _ in 1..LISTENERS {
        command.args(["-l", "127.0.0.1:0"]);
    }
    command.args(["-l", &format!("unix:{}", path.as_str())]);
    command.stdin(Stdio::null()).stdout(stdout);
    let mut server = Running(command.env("RUST_LOG", "warn").spawn().unwrap());
    let start = Instant::now();
    while UnixStream::connect(&path.0).is_err() {
        let is_running = server.0.try_wait().unwrap().is_none();
        assert!(
            is_running && start.elapsed() < PATIENCE,
            "it does not start"
        );
    }
    server
}

fn assert_serves(path: &TempPath) {
    assert_echoes(connect_unix(path), b"unread");
}

/// It waits in a poll of its own, which may be interrupted, and which it may not get.
#[test]
fn a_wait_for_a_reader_that_fails_stops_nothing() {
    if !have_descriptors(LISTENERS as u64 + 100) || !have_strace() {
        return;
    }
    let path = TempPath::new("unread.sock");
    let mut said = String::new();
    for fault in [
        "/^epoll_p?wait$:error=EINTR:when=1+2",
        "epoll_create1:error=EMFILE:when=2",
    ] {
        let mut strace = with_fault(fault);
        strace.args(["--seccomp-bpf", BINARY]);
        strace.stderr(Stdio::piped());
        let mut server = start_by(&mut strace, &path, Stdio::piped());
        assert_serves(&path); // so it catches signals
        assert!(signal(&server.process(), "TERM"));
        let status = status_within(PATIENCE, &mut server.0);
        assert_eq!(status.and_then(|status| status.code()), Some(0));
        let mut stderr = server.0.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
    }
    let line = "cannot wait for room on stdout: Too many open files (os error 24)\n";
    assert_eq!(said.matches(line).count(), 1, "{said}");
}
