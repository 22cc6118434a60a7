//! Every system call that the server makes in service fails, with every errno that its man page
//! lists: once, for a lone client, and every fifth time under load. strace makes it fail, and then
//! the kernel does not see the call.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "that is how a test fails")]
#![allow(clippy::print_stdout, reason = "the totals, and what failed")]

mod util;

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use util::{
    BINARY, PATIENCE, Server, TempPath, assert_counts, counts, have_strace, payload, signal,
};

/// One call, and what is right when it fails.
struct Row {
    call: &'static str,
    /// Words of a line in strace's output: the first of its phase that has all of them fails.
    words: &'static [&'static str],
    /// Each makes a case.
    errnos: &'static str,
    phase: Phase,
    options: &'static [&'static str],
    log: &'static str,
    /// Whether the log is a socket, which is asked for room, and not a pipe.
    asks: bool,
    /// Another fault, which leads to the call.
    after: Option<&'static str>,
    verdict: Verdict,
    counted: Counted,
    /// How often accepting pauses for it.
    pauses: u64,
}

/// Harmless, unless more is said of it.
fn row(call: &'static str, words: &'static [&'static str], errnos: &'static str) -> Row {
    Row {
        call,
        words,
        errnos,
        phase: Phase::Service,
        // How slow the machine is decides nothing.
        options: &["--linger", "20s"],
        log: "info",
        asks: false,
        after: None,
        verdict: Verdict::Served,
        counted: Counted::As("echoed"),
        pauses: 0,
    }
}

impl Row {
    fn at_shutdown(mut self) -> Self {
        self.phase = Phase::Shutdown;
        self
    }

    fn pauses(mut self, pauses: u64) -> Self {
        self.pauses = pauses;
        self
    }

    fn after(mut self, fault: &'static str) -> Self {
        self.after = Some(fault);
        self
    }

    fn logging(mut self, log: &'static str) -> Self {
        self.log = log;
        self
    }

    fn logging_to_a_socket(mut self) -> Self {
        self.asks = true;
        self.logging("debug")
    }

    fn counted(mut self, counted: Counted) -> Self {
        self.counted = counted;
        self
    }

    fn options(mut self, options: &'static [&'static str]) -> Self {
        self.options = options;
        self
    }

    fn is(mut self, verdict: Verdict) -> Self {
        self.verdict = verdict;
        self
    }

    fn lost(self) -> Self {
        self.is(Verdict::Lost).counted(Counted::ByErrno)
    }

    /// With nothing in the log but the end.
    fn fatal(self, what: &'static str) -> Self {
        self.is(Verdict::Fatal(what)).logging("warn")
    }
}

/// When the call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A lone client connects, and the next one when it is done.
    Service,
    /// The lone client is in the queue when SIGTERM comes.
    Shutdown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The lone client is greeted and echoed, without another one to push it.
    Served,
    /// Served, if only when its time is over, as it is heard once more then.
    Late,
    /// The lone client is closed, and the next one is served.
    Lost,
    /// The process ends with 1, and with one line that begins so.
    Fatal(&'static str),
    /// Served when the next client comes: accept4 said that nobody was there.
    Pushed,
    /// SIGTERM goes unheard; the second one is final all the same.
    Deaf,
}

/// What the lone client counts as in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    As(&'static str),
    /// `reset` or `failed`.
    ByErrno,
}

// By accept(2), send(2), ... With them those of tcp(7) that the calls say to look for there.

/// The end of one connection, before it was accepted.
const OF_ONE: &str = "ECONNABORTED EINTR EOPNOTSUPP EPERM EPROTO ETIMEDOUT \
    ENETDOWN ENOPROTOOPT EHOSTDOWN ENONET EHOSTUNREACH ENETUNREACH ECONNRESET";
/// A shortage, or what nobody can tell from one.
const OF_ALL: &str = "EMFILE ENFILE ENOBUFS ENOMEM EFAULT ENOSR ESOCKTNOSUPPORT EPROTONOSUPPORT";
const NO_LISTENER: &str = "EBADF EINVAL ENOTSOCK";
const SEND: &str = "EACCES EALREADY EBADF ECONNRESET EDESTADDRREQ EFAULT EINVAL EISCONN EMSGSIZE \
    ENOBUFS ENOMEM ENOTCONN ENOTSOCK EOPNOTSUPP EPIPE ETIMEDOUT EHOSTUNREACH";
const RECV: &str = "EBADF ECONNREFUSED EFAULT EINVAL ENOMEM ENOTCONN ENOTSOCK \
    ECONNRESET ETIMEDOUT EHOSTUNREACH";
const RECV_SIGNAL: &str = "EAGAIN EBADF ECONNREFUSED EFAULT EINTR EINVAL ENOMEM ENOTCONN ENOTSOCK";
const EPOLL_CTL: &str = "EBADF EEXIST EINVAL ELOOP ENOENT ENOMEM ENOSPC EPERM";
const NO_POLL: &str = "EBADF EFAULT EINVAL";
const SHUTDOWN: &str = "EBADF EINVAL ENOTCONN ENOTSOCK";
const CLOSE: &str = "EBADF EINTR EIO ENOSPC EDQUOT";
const WRITE: &str = "EAGAIN EBADF EDESTADDRREQ EDQUOT EFAULT EFBIG EINTR EINVAL EIO ENOSPC EPERM \
    EPIPE";
const SETSOCKOPT: &str = "EBADF EFAULT EINVAL ENOMEM ENOPROTOOPT ENOTSOCK EPERM";
const LISTEN: &str = "EADDRINUSE EBADF ENOTSOCK EOPNOTSUPP";

/// There are two while the server starts; the third is the filter against newcomers.
const NO_FILTER: &str = "setsockopt:error=ENOMEM:when=3";

/// All calls above, as strace selects them. Which of the two waits it is depends on the machine.
const CALLS: [&str; 10] = [
    "/^epoll_p?wait$",
    "accept4",
    "sendto",
    "recvfrom",
    "epoll_ctl",
    "shutdown",
    "close",
    "write",
    "setsockopt",
    "listen",
];
const WAIT: &str = CALLS[0];

/// As strace shows the lone client's greeting and message, and a FIN.
const GREETING: &[&str] = &[r#""hello\n""#];
const MESSAGE: &[&str] = &[r#""alone""#];
const FIN: &[&str] = &[r#", "","#];
/// What a signal handler sends to wake the poll.
const SIGNAL: &[&str] = &[r#""X""#];

#[test]
fn accept4_fails_once() {
    let rows = [
        row("accept4", &[], OF_ONE),
        row("accept4", &[], OF_ALL).pauses(1),
        row("accept4", &[], NO_LISTENER).fatal("cannot accept on 127.0.0.1:"),
        // Somebody waits, but no edge follows: the kernel does not lie like that.
        row("accept4", &[], "EAGAIN").is(Verdict::Pushed),
    ];
    judge_all(&rows);
    // While the queue is emptied.
    let rows = [
        row("accept4", &[], OF_ONE),
        row("accept4", &[], OF_ALL).pauses(1),
        row("accept4", &[], NO_LISTENER).fatal("cannot accept on 127.0.0.1:"),
    ];
    judge_all(&rows.map(Row::at_shutdown));
}

#[test]
fn sendto_fails_once() {
    judge_all(&[
        row("sendto", GREETING, SEND).lost(),
        row("sendto", MESSAGE, SEND).lost(),
        // After EAGAIN it is registered for writing, and that reports that there is room.
        row("sendto", GREETING, "EINTR EAGAIN"),
        row("sendto", MESSAGE, "EINTR EAGAIN"),
        // What wakes the poll for a signal; the library ignores its errors.
        row("sendto", SIGNAL, "EINTR ENOBUFS ENOMEM EBADF")
            .at_shutdown()
            .is(Verdict::Deaf),
    ]);
}

#[test]
fn recvfrom_fails_once() {
    judge_all(&[
        row("recvfrom", MESSAGE, RECV).lost(),
        row("recvfrom", MESSAGE, "EINTR"),
        // It is there, but no edge follows: it is found when its time is over.
        row("recvfrom", MESSAGE, "EAGAIN")
            .options(&["--timeout", "2s", "--linger", "20s"])
            .is(Verdict::Late),
        // The client has its echo. A FIN may make two edges, and then EAGAIN does no harm at all.
        row("recvfrom", FIN, RECV).counted(Counted::ByErrno),
        row("recvfrom", FIN, "EINTR"),
        row("recvfrom", FIN, "EAGAIN")
            .options(&["--linger", "2s"])
            .is(Verdict::Late),
        // What has woken the poll for a signal.
        row("recvfrom", SIGNAL, RECV_SIGNAL).at_shutdown(),
    ]);
}

#[test]
fn epoll_ctl_fails_once() {
    let client_mod = &["EPOLL_CTL_MOD", "EPOLLOUT", "u32=1,"];
    let listener_mod = &["EPOLL_CTL_MOD", "EPOLLIN", "u32=0,"];
    let stderr_mod = &["EPOLL_CTL_MOD", "EPOLLOUT", "u32=0,"];
    judge_all(&[
        // Nobody can be polled, it seems, so those that follow wait.
        row("epoll_ctl", &["EPOLL_CTL_ADD"], EPOLL_CTL)
            .lost()
            .pauses(1),
        row("epoll_ctl", client_mod, EPOLL_CTL)
            .after("sendto:error=EAGAIN:when=2")
            .lost(),
        // When a pause is over: it is followed by another.
        row("epoll_ctl", listener_mod, EPOLL_CTL)
            .after("accept4:error=EMFILE:when=1")
            .pauses(2),
        // Before a line: it is written, room or no room.
        row("epoll_ctl", stderr_mod, EPOLL_CTL).logging_to_a_socket(),
    ]);
}

#[test]
fn epoll_wait_fails_once() {
    for words in [&["u32=0,"], &["u32=1,"]] {
        judge_all(&[
            row(WAIT, words, NO_POLL).fatal("cannot poll: "),
            row(WAIT, words, "EINTR"),
        ]);
    }
    judge_all(&[
        row(WAIT, &["EPOLLIN"], NO_POLL)
            .at_shutdown()
            .fatal("cannot poll: "),
        row(WAIT, &["EPOLLIN"], "EINTR").at_shutdown(),
        // For room on stderr.
        row(WAIT, &[", 1, 0"], "EBADF EFAULT EINTR EINVAL").logging_to_a_socket(),
    ]);
}

#[test]
fn calls_of_the_end_and_of_the_log_fail_once() {
    let of_the_log = &[r#""[20"#];
    judge_all(&[
        // The close that follows says FIN as well.
        row("shutdown", &[], SHUTDOWN).counted(Counted::ByErrno),
        // Of a client; of the listener.
        row("close", &[], CLOSE),
        row("close", &[], CLOSE).at_shutdown(),
        // Newcomers are refused in another way, or are accepted until the queue is empty.
        row("setsockopt", &["SO_ATTACH_FILTER"], SETSOCKOPT).at_shutdown(),
        row("listen", &[], LISTEN).at_shutdown().after(NO_FILTER),
        row("write", of_the_log, WRITE).logging("debug"),
        row("write", of_the_log, WRITE).at_shutdown(),
    ]);
}

/// What cannot be written on stdout is lost, and the lines that follow are not.
#[test]
fn write_to_stdout_fails_once() {
    if !have_strace() {
        return;
    }
    for errno in WRITE.split_whitespace() {
        println!("{errno}");
        CASES.fetch_add(1, Relaxed);
        let path = TempPath::new("first.sock");
        let first = format!("unix:{}", path.as_str());
        let inject = format!("inject=write:error={errno}:when=1");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qqq", "-o", "/dev/null", "-e", &inject, BINARY]);
        strace.args(["--listen", &first, "--listen", "127.0.0.1:0"]);
        let lines = if errno == "EINTR" { 2 } else { 1 };
        let server = Server::spawn(lines, strace.env("RUST_LOG", "off"));
        FAULTS.fetch_add(1, Relaxed);
        assert!(lines == 1 || server.addresses[0] == first);
        let address = server.addresses[lines - 1].parse().unwrap();
        assert!(Caller::connect(address, LONE).exchange().whole);
    }
    tell_totals();
}

/// The tables above leave no call out, other than those for memory, and what a signal handler and
/// the end of a process consist of.
#[test]
fn no_other_call_is_made_in_service() {
    if !have_strace() {
        return;
    }
    let row = row("", &[], "").logging("debug");
    let detours = [
        "accept4:error=EMFILE:when=1",
        "sendto:error=EAGAIN:when=2",
        NO_FILTER,
    ];
    let stage = Stage::set(&["-e", "trace=all"], &detours, &row);
    stage.signal("USR1");
    stage.play_shutdown(Verdict::Served);
    let (status, said, trace) = stage.end();
    assert_eq!(status.code(), Some(0), "{said}");
    let calls = lines(&trace);
    let calls = calls.iter().skip_while(|call| !call.contains(LISTENING));
    let (ours, others): (Vec<&String>, Vec<&String>) =
        calls.partition(|call| CALLS.iter().any(|name| is_call(call, name)));
    for name in CALLS {
        assert!(ours.iter().any(|call| is_call(call, name)), "no {name}");
    }
    let others: BTreeSet<&str> = others.iter().filter_map(|call| called(call)).collect();
    let harmless = [
        "brk",
        "mmap",
        "mremap",
        "munmap",
        "madvise",
        "rt_sigreturn",
        "sigaltstack",
        "exit_group",
    ];
    // std's own check of a descriptor that is closed.
    let checks = cfg!(debug_assertions).then_some("fcntl");
    let known = |name: &&&str| !harmless.contains(*name) && checks != Some(**name);
    assert_eq!(others.iter().find(known), None, "{others:?}");
}

/// Cases, faults, and the longest that a lone client had to wait for its greeting, of all tests.
static CASES: AtomicUsize = AtomicUsize::new(0);
static FAULTS: AtomicUsize = AtomicUsize::new(0);
static WORST_MICROS: AtomicU64 = AtomicU64::new(0);

fn tell_totals() {
    let worst = Duration::from_micros(WORST_MICROS.load(Relaxed));
    let [cases, faults] = [&CASES, &FAULTS].map(|count| count.load(Relaxed));
    println!("so far {cases} cases, {faults} faults, a greeting after at most {worst:?}");
}

fn judge_all(rows: &[Row]) {
    try_all(rows, |row, errno, rehearsed| {
        let fault = format!("{}:error={errno}:when={}", row.call, rehearsed.nth(row));
        judge(row, errno, &play(row, Some(&fault)));
    });
}

/// Does all cases, whatever fails, and then fails with a list of those that did. Only if a whole
/// [`PATIENCE`] is lost on failures, the rest is not tried.
fn try_all(rows: &[Row], case: impl Fn(&Row, &str, &Play)) {
    if !have_strace() {
        return;
    }
    let mut failed = Vec::new();
    let mut lost = Duration::ZERO;
    for row in rows {
        let rehearsed = play(row, None);
        for errno in row.errnos.split_whitespace() {
            if lost > PATIENCE {
                break;
            }
            CASES.fetch_add(1, Relaxed);
            let start = Instant::now();
            if catch_unwind(AssertUnwindSafe(|| case(row, errno, &rehearsed))).is_err() {
                let (call, words, phase) = (row.call, row.words, row.phase);
                failed.push(format!("{call} {words:?} {errno}, {phase:?}"));
                lost += start.elapsed();
            }
        }
    }
    tell_totals();
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
}

/// What happened to the server and its two clients.
struct Play {
    lone: Heard,
    next: Heard,
    calls: Vec<String>,
    status: ExitStatus,
    said: String,
}

impl Play {
    /// Which call of its name the row means, as `when=` counts: from the start of the process. How
    /// many of them come before the server is in service depends on the machine.
    fn nth(&self, row: &Row) -> usize {
        let begin = self.first(match row.phase {
            Phase::Service => LISTENING,
            Phase::Shutdown => "--- SIGTERM ",
        });
        let words = |call: &String| row.words.iter().all(|word| call.contains(word));
        let meant = |call: &String| is_call(call, row.call) && words(call);
        let meant = self.calls[begin..].iter().position(meant);
        self.count(row.call, begin + meant.unwrap())
    }

    /// How many calls of this name were made, up to this line.
    fn count(&self, name: &str, last: usize) -> usize {
        let calls = self.calls[..=last].iter();
        calls.filter(|call| is_call(call, name)).count()
    }

    fn first(&self, word: &str) -> usize {
        let with = |call: &String| call.contains(word);
        self.calls.iter().position(with).unwrap()
    }

    /// For how long it slept in vain, in ms: a count of what it chose, not a measurement.
    fn slept_in_vain(&self) -> u64 {
        let sleeps = self.calls.iter().filter(|call| is_call(call, WAIT));
        let in_vain = sleeps.filter_map(|call| call.strip_suffix(" = 0"));
        let timeout = |call: &str| -> Option<u64> {
            call.split(", ")
                .nth(3)?
                .trim_end_matches([' ', ')'])
                .parse()
                .ok()
        };
        in_vain.filter_map(timeout).sum::<u64>()
    }

    fn injected(&self) -> impl Iterator<Item = &String> {
        self.calls.iter().filter(|call| call.contains(INJECTED))
    }

    fn told(&self) -> String {
        format!("{:#?}\n{}", self.calls, self.said)
    }
}

/// What ends the start, and what marks a call that failed, in strace's output.
const LISTENING: &str = "\"listening on ";
const INJECTED: &str = "(INJECTED)";

/// Whether the line of strace's output is of the call that is selected by this name.
fn is_call(line: &str, name: &str) -> bool {
    let is_wait = |called: &str| ["epoll_wait", "epoll_pwait"].contains(&called);
    called(line).is_some_and(|called| called == name || name == WAIT && is_wait(called))
}

/// The name of the call, which follows the process. A signal has none.
fn called(line: &str) -> Option<&str> {
    let (called, _) = line.split_whitespace().nth(1)?.split_once('(')?;
    Some(called)
}

/// Plays the row's phase, with the fault or, to see which calls it makes, without.
fn play(row: &Row, fault: Option<&str>) -> Play {
    let faults: Vec<&str> = row.after.into_iter().chain(fault).collect();
    let stage = Stage::set(&["-e", &select(&CALLS)], &faults, row);
    let verdict = if fault.is_some() {
        row.verdict
    } else {
        Verdict::Served
    };
    let (lone, next) = match row.phase {
        Phase::Service => stage.play_service(verdict),
        Phase::Shutdown => stage.play_shutdown(verdict),
    };
    let (status, said, trace) = stage.end();
    let calls = lines(&trace);
    let play = Play {
        lone,
        next,
        calls,
        status,
        said,
    };
    FAULTS.fetch_add(play.injected().count(), Relaxed);
    assert_eq!(play.injected().count(), faults.len(), "{:#?}", play.calls);
    play
}

/// strace's option to show these calls only.
fn select(calls: &[&str]) -> String {
    format!("trace={}", calls.join(","))
}

/// A server under strace, and the process that it is.
struct Stage {
    server: Server,
    pid: String,
    trace: TempPath,
    descriptors: usize,
    /// Reads the log, if that is a socket.
    reader: Option<JoinHandle<String>>,
}

impl Stage {
    fn set(options: &[&str], faults: &[&str], row: &Row) -> Self {
        let trace = TempPath::new("trace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qqq", "-o", trace.as_str()]);
        strace.args(options);
        for fault in faults {
            strace.args(["-e", &format!("inject={fault}")]);
        }
        strace.args([BINARY, "--listen", "127.0.0.1:0"]);
        strace.args(row.options).env("RUST_LOG", row.log);
        let mut reader = None;
        if row.asks {
            let (ours, its) = UnixStream::pair().unwrap();
            strace.stderr(OwnedFd::from(its));
            reader = Some(std::thread::spawn(|| io::read_to_string(ours).unwrap()));
        } else {
            strace.stderr(Stdio::piped());
        }
        let server = Server::spawn(1, &mut strace);
        let pid = server.child_process();
        let descriptors = descriptors(&pid);
        Self {
            server,
            pid,
            trace,
            descriptors,
            reader,
        }
    }

    /// How it ended, and what it said.
    fn end(self) -> (ExitStatus, String, TempPath) {
        let (status, said) = self.server.end();
        let read = self.reader.map(|reader| reader.join().unwrap());
        (status, read.unwrap_or(said), self.trace)
    }

    /// The next client comes when the server is through with the lone one, whose calls would else
    /// be made in another order each time.
    fn play_service(&self, verdict: Verdict) -> (Heard, Heard) {
        let mut lone = self.caller(LONE);
        if verdict == Verdict::Pushed {
            self.wait_until(|calls| calls.contains(INJECTED));
            let next = self.caller(NEXT).exchange();
            let lone = lone.exchange();
            self.end_service();
            return (lone, next);
        }
        if matches!(verdict, Verdict::Fatal(_)) {
            // The fault may end the process just as it connects, and then Linux (6.18) now and then
            // forgets the connection without a reset: only who sends something hears of it.
            lone.say();
            return (lone.hear_out(), Heard::default());
        }
        let lone = lone.exchange();
        self.assert_descriptors_return();
        let next = self.caller(NEXT).exchange();
        self.end_service();
        (lone, next)
    }

    fn end_service(&self) {
        self.assert_descriptors_return();
        self.signal("TERM");
    }

    /// The lone client arrives while the server is stopped, and so before it can hear of SIGTERM.
    fn play_shutdown(&self, verdict: Verdict) -> (Heard, Heard) {
        let next = self.caller(NEXT).exchange();
        self.assert_descriptors_return();
        self.signal("STOP");
        self.wait_until(|calls| calls.contains("--- stopped by SIGSTOP"));
        let mut lone = self.caller(LONE);
        self.signal("TERM");
        lone.since = Instant::now();
        self.signal("CONT");
        let lone = lone.exchange();
        if verdict == Verdict::Deaf {
            self.wait_until(|calls| calls.contains(INJECTED));
            // That there is nobody any more to hear it would be as well.
            signal(&self.pid, "TERM");
        }
        (lone, next)
    }

    fn caller(&self, message: &'static [u8]) -> Caller<'static> {
        Caller::connect(self.server.address(), message)
    }

    fn signal(&self, name: &str) {
        assert!(signal(&self.pid, name), "it has ended before SIG{name}");
    }

    fn wait_until(&self, expected: impl Fn(&str) -> bool) {
        let start = Instant::now();
        while !expected(&lines(&self.trace).join("\n")) {
            let calls = lines(&self.trace);
            assert!(start.elapsed() < PATIENCE, "in vain: {calls:#?}");
            std::thread::yield_now();
        }
    }

    /// Waits until every client's descriptor is closed, except where strace prevented that.
    fn assert_descriptors_return(&self) {
        let kept = || {
            let calls = lines(&self.trace);
            let closes = calls.iter().filter(|call| is_call(call, "close"));
            closes.filter(|call| call.contains(INJECTED)).count()
        };
        let start = Instant::now();
        while descriptors(&self.pid) != self.descriptors + kept() {
            let now = descriptors(&self.pid);
            let (before, kept) = (self.descriptors, kept());
            assert!(now > 0, "it has ended");
            assert!(start.elapsed() < PATIENCE, "{now}, not {before} + {kept}");
            std::thread::yield_now();
        }
    }
}

/// 0 if the process has ended.
fn descriptors(pid: &str) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

fn lines(path: &TempPath) -> Vec<String> {
    let text = std::fs::read_to_string(&path.0).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

const LONE: &[u8] = b"alone";
const NEXT: &[u8] = b"next";

/// A client that puts up with everything, except with bytes that are not its own.
struct Caller<'a> {
    /// `None` if the connection was refused, or is over.
    stream: Option<TcpStream>,
    message: &'a [u8],
    heard: Vec<u8>,
    since: Instant,
    greeted: Option<Duration>,
    ended_well: bool,
}

/// How a client fared.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    /// Greeting, echo and FIN.
    whole: bool,
    greeted: Option<Duration>,
}

impl<'a> Caller<'a> {
    fn connect(address: SocketAddr, message: &'a [u8]) -> Self {
        let since = Instant::now();
        let stream = TcpStream::connect(address).ok();
        if let Some(stream) = &stream {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        Self {
            stream,
            message,
            heard: vec![],
            since,
            greeted: None,
            ended_well: false,
        }
    }

    fn exchange(&mut self) -> Heard {
        self.await_greeting();
        self.say();
        self.hear_out()
    }

    fn await_greeting(&mut self) {
        while self.heard.len() < GREETED.len() && self.hear().is_continue() {}
    }

    fn say(&mut self) {
        if let Some(stream) = &mut self.stream {
            let _ = stream.write_all(self.message);
        }
    }

    fn hear_out(&mut self) -> Heard {
        while self.hear().is_continue() {}
        let all = [GREETED, self.message].concat();
        assert!(
            all.starts_with(&self.heard),
            "{:?} are not its own bytes",
            String::from_utf8_lossy(&self.heard)
        );
        Heard {
            whole: self.ended_well && self.heard == all,
            greeted: self.greeted,
        }
    }

    /// Reads once. At the end it closes, too.
    fn hear(&mut self) -> ControlFlow<()> {
        let mut buffer = [0; 4096];
        let Some(stream) = &mut self.stream else {
            return ControlFlow::Break(());
        };
        match stream.read(&mut buffer) {
            Ok(n @ 1..) => {
                self.heard.extend(&buffer[..n]);
                if self.heard.len() >= GREETED.len() {
                    self.greeted.get_or_insert(self.since.elapsed());
                }
                return ControlFlow::Continue(());
            }
            Ok(_) => self.ended_well = true,
            // With a time limit a read is not restarted, whoever stopped the test (signal(7)).
            Err(e) if e.kind() == ErrorKind::Interrupted => return ControlFlow::Continue(()),
            Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset, "{e}"),
        }
        self.stream = None;
        ControlFlow::Break(())
    }
}

const GREETED: &[u8] = b"hello\n";

fn judge(row: &Row, errno: &str, play: &Play) {
    match row.verdict {
        Verdict::Fatal(what) => return judge_end(what, play),
        Verdict::Deaf => {
            let ends = [0, 128 + 15].map(Some);
            assert!(ends.contains(&play.status.code()), "{}", play.told());
        }
        _ => judge_books(row, errno, play),
    }
    let lost = row.verdict == Verdict::Lost;
    assert_eq!(play.lone.whole, !lost, "{}", play.told());
    if row.verdict == Verdict::Served {
        let greeted = play.lone.greeted.unwrap().as_micros();
        WORST_MICROS.fetch_max(greeted.try_into().unwrap(), Relaxed);
    }
}

/// One line, which says what failed: nobody takes such a server for a healthy one.
fn judge_end(what: &str, play: &Play) {
    assert_eq!(play.status.code(), Some(1), "{}", play.said);
    let line = format!("hello-echo: {what}");
    assert!(play.said.starts_with(&line), "{}", play.said);
    assert_eq!(play.said.lines().count(), 1, "{}", play.said);
    let errno = play.injected().last().unwrap();
    let (_, errno) = errno.split_once(" (").unwrap();
    let (errno, _) = errno.split_once(')').unwrap();
    assert!(play.said.contains(errno), "{errno}: {}", play.said);
}

/// The server went on, nobody waited for longer than it promises, and the books say what happened.
fn judge_books(row: &Row, errno: &str, play: &Play) {
    assert!(play.next.whole, "{}", play.told());
    let drops = row.call == "write" && errno != "EINTR";
    assert_eq!(
        play.said.contains("1 lines were dropped here"),
        drops,
        "{}",
        play.told()
    );
    assert_eq!(play.status.code(), Some(0), "{}", play.told());
    let term = row.counted.term(errno);
    // Deadlines are waited out, handshakes for 5 ms, and pauses for 300 ms in all at most.
    let patience = match row.verdict {
        Verdict::Late => u64::MAX,
        _ if row.pauses > 0 => 305,
        _ => 5,
    };
    assert!(play.slept_in_vain() <= patience, "{}", play.told());
    let last = play.said.lines().last().unwrap();
    let counted = match term {
        "echoed" => vec![("echoed", 2)],
        _ => vec![("echoed", 1), (term, 1)],
    };
    let refused = |call: &&String| is_call(call, "accept4") && !call.contains("EAGAIN");
    let errors = play.injected().filter(refused).count();
    assert_counts(last, &counted);
    let accepting = format!("; accept errors {errors}, pauses {}", row.pauses);
    assert!(last.ends_with(&accepting), "{}", play.told());
}

impl Counted {
    fn term(self, errno: &str) -> &'static str {
        match self {
            Self::As(term) => term,
            Self::ByErrno if ["ECONNRESET", "ENOTCONN", "EPIPE"].contains(&errno) => "reset",
            Self::ByErrno => "failed",
        }
    }
}

const EXCHANGES: usize = CREWS * ROUNDS * AT_ONCE;
const CREWS: usize = 4;
const ROUNDS: usize = 10;
const AT_ONCE: usize = 5;

/// Deadlines that are waited for.
const SHORT: &[&str] = &["--timeout", "300ms", "--linger", "1s"];

#[test]
fn every_fifth_accept4_fails() {
    press_all(&[row("accept4", &[], OF_ONE), row("accept4", &[], OF_ALL)]);
}

#[test]
fn every_fifth_sendto_fails() {
    press_all(&[
        row("sendto", &[], SEND).lost(),
        row("sendto", &[], "EINTR"),
        // One client may meet it twice: then no edge follows.
        row("sendto", &[], "EAGAIN")
            .is(Verdict::Lost)
            .options(SHORT)
            .counted(Counted::As("timed out")),
    ]);
}

#[test]
fn every_fifth_recvfrom_fails() {
    press_all(&[
        row("recvfrom", &[], RECV).lost(),
        row("recvfrom", &[], "EINTR"),
        row("recvfrom", &[], "EAGAIN")
            .is(Verdict::Lost)
            .options(SHORT)
            .counted(Counted::As("timed out")),
    ]);
}

#[test]
fn every_fifth_epoll_ctl_fails() {
    press_all(&[row("epoll_ctl", &[], EPOLL_CTL).lost()]);
    // And those before a line on stderr.
    press_all(&[row("epoll_ctl", &[], "ENOMEM ENOSPC")
        .lost()
        .logging_to_a_socket()]);
}

#[test]
fn every_fifth_of_the_other_calls_fails() {
    press_all(&[
        row(WAIT, &[], "EINTR"),
        row("shutdown", &[], SHUTDOWN).counted(Counted::ByErrno),
        row("close", &[], CLOSE),
        row("write", &[], WRITE).logging("debug"),
    ]);
}

/// Every fifth call fails, from when the server is in service. What ends it is left out.
fn press_all(rows: &[Row]) {
    try_all(rows, |row, errno, rehearsed| {
        let before = rehearsed.count(row.call, rehearsed.first(LISTENING));
        let last = match row.call {
            // SIGTERM is to be heard, and the books to be written: every client makes one call.
            "sendto" | "write" => format!("..{}", before + EXCHANGES),
            _ => String::new(),
        };
        let fault = format!("{}:error={errno}:when={}{last}+5", row.call, before + 5);
        // The server is stopped for its calls of this name only, and so is nearly as fast as ever.
        let options = ["--seccomp-bpf", "-e", &select(&[row.call])];
        let stage = Stage::set(&options, &[&fault], row);
        let served = press(stage.server.address());
        stage.assert_descriptors_return();
        stage.signal("TERM");
        let (status, said, trace) = stage.end();
        assert_eq!(status.code(), Some(0), "{said}");
        let calls = lines(&trace);
        let injected = |call: &String| call.contains(INJECTED);
        let injected: Vec<String> = calls.into_iter().filter(injected).collect();
        FAULTS.fetch_add(injected.len(), Relaxed);
        judge_load(row, errno, served, &injected, &said);
    });
}

/// How many of [`EXCHANGES`] clients, of which some come at a time, got all that was theirs.
fn press(address: SocketAddr) -> usize {
    std::thread::scope(|scope| {
        let crew = |crew| scope.spawn(move || play_rounds(address, crew));
        let crews: Vec<_> = (0..CREWS).map(crew).collect();
        crews.into_iter().map(|crew| crew.join().unwrap()).sum()
    })
}

/// Every second round speaks before it is greeted, and every second crew begins with such a one: so
/// somebody always leaves, which ends a pause, while others wait for their greeting.
fn play_rounds(address: SocketAddr, crew: usize) -> usize {
    let served = |round| {
        let message = |i| {
            let seed = (crew * ROUNDS + round) * AT_ONCE + i;
            payload(seed as u64, 1 + seed * 37 % 1000)
        };
        let messages: Vec<Vec<u8>> = (0..AT_ONCE).map(message).collect();
        let connect = |message| Caller::connect(address, message);
        let mut callers: Vec<_> = messages.iter().map(|m| connect(m)).collect();
        if (crew + round) % 2 == 0 {
            callers.iter_mut().for_each(Caller::await_greeting);
        }
        callers.iter_mut().for_each(Caller::say);
        let heard = callers.iter_mut().map(Caller::hear_out);
        heard.filter(|heard| heard.whole).count()
    };
    (0..ROUNDS).map(served).sum()
}

/// Nobody was lost but by a fault, and all is accounted for.
fn judge_load(row: &Row, errno: &str, served: usize, injected: &[String], said: &str) {
    let faults = injected.len();
    // A wait is for many.
    let least = if row.call == WAIT { 3 } else { EXCHANGES / 10 };
    assert!(faults >= least, "only {faults} faults");
    let last = said.lines().last().unwrap();
    let counts = counts(last);
    let count = |term| counts.iter().find(|(name, _)| *name == term).unwrap().1 as usize;
    assert_eq!(count("accepted"), EXCHANGES, "{last}");
    let ended_otherwise = EXCHANGES - count("echoed");
    match row.counted {
        Counted::As("echoed") => assert_eq!(ended_otherwise, 0, "{last}"),
        Counted::As(term) => {
            let late = count(term) + count("lingering cut");
            assert_eq!(ended_otherwise, late, "{last}");
            assert_eq!(served, EXCHANGES - count(term), "{last}");
        }
        Counted::ByErrno => {
            // Not the wake-up for a signal, and not a registration of stderr or the listener.
            let of_others = |call: &&String| call.contains("MSG_DONTWAIT") || call.contains("_MOD");
            let faults = faults - injected.iter().filter(of_others).count();
            assert_eq!(ended_otherwise, faults, "{last}");
            assert_eq!(count(row.counted.term(errno)), faults, "{last}");
            assert!(served >= EXCHANGES - faults, "{served} served: {last}");
        }
    }
    if row.verdict == Verdict::Served {
        assert_eq!(served, EXCHANGES, "{last}");
    }
    if row.call == "accept4" {
        let errors = format!("; accept errors {faults}, ");
        assert!(last.contains(&errors), "{faults} faults: {last}");
    }
    if row.call == "write" {
        // Two for each client, and four of the server's own; one that tells in place of one lost.
        let told = said.matches("1 lines were dropped here").count();
        let lost = if errno == "EINTR" { 0 } else { faults };
        assert_eq!(told, lost, "{last}");
        assert_eq!(said.lines().count(), 2 * EXCHANGES + 4, "{last}");
    }
}
