//! A server under strace, its two clients, and the calls that it made.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Instant;

use super::FAULTS;
use super::caller::{Caller, Heard, LONE, NEXT};
use super::rows::{CALLS, Phase, Row, Verdict, WAIT};
use crate::util::{BINARY, PATIENCE, Server, TempPath, signal};

/// What happened to the server and its two clients.
pub(super) struct Play {
    pub(super) lone: Heard,
    pub(super) next: Heard,
    pub(super) calls: Vec<String>,
    pub(super) status: ExitStatus,
    pub(super) said: String,
}

impl Play {
    /// Which call of its name the row means, as `when=` counts: from the start of the process. The
    /// machine decides how many of them come before the server is in service.
    pub(super) fn nth(&self, row: &Row) -> usize {
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
    pub(super) fn count(&self, name: &str, last: usize) -> usize {
        let calls = self.calls[..=last].iter();
        calls.filter(|call| is_call(call, name)).count()
    }

    pub(super) fn first(&self, word: &str) -> usize {
        let with = |call: &String| call.contains(word);
        self.calls.iter().position(with).unwrap()
    }

    /// How long it slept in vain, in ms. This is a count of what it chose, not a measurement.
    pub(super) fn slept_in_vain(&self) -> u64 {
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

    pub(super) fn injected(&self) -> impl Iterator<Item = &String> {
        self.calls.iter().filter(|call| call.contains(INJECTED))
    }

    pub(super) fn told(&self) -> String {
        format!("{:#?}\n{}", self.calls, self.said)
    }
}

/// The end of the start, and the mark of a call that failed, in strace's output.
pub(super) const LISTENING: &str = "\"listening on ";
pub(super) const INJECTED: &str = "(INJECTED)";

/// Whether the line of strace's output is of the call that is selected by this name.
pub(super) fn is_call(line: &str, name: &str) -> bool {
    let is_wait = |called: &str| ["epoll_wait", "epoll_pwait"].contains(&called);
    called(line).is_some_and(|called| called == name || name == WAIT && is_wait(called))
}

/// The name of the call, which follows the process. A signal has none.
pub(super) fn called(line: &str) -> Option<&str> {
    let (called, _) = line.split_whitespace().nth(1)?.split_once('(')?;
    Some(called)
}

/// Plays the row's phase: with the fault, or without it to see which calls the phase makes.
pub(super) fn play(row: &Row, fault: Option<&str>) -> Play {
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
pub(super) fn select(calls: &[&str]) -> String {
    format!("trace={}", calls.join(","))
}

/// A server under strace, and the process that it is.
pub(super) struct Stage {
    pub(super) server: Server,
    pub(super) pid: String,
    pub(super) trace: TempPath,
    pub(super) descriptors: usize,
    /// Reads the log, if that is a socket.
    pub(super) reader: Option<JoinHandle<String>>,
}

impl Stage {
    pub(super) fn set(options: &[&str], faults: &[&str], row: &Row) -> Self {
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
    pub(super) fn end(self) -> (ExitStatus, String, TempPath) {
        let (status, said) = self.server.end();
        let read = self.reader.map(|reader| reader.join().unwrap());
        (status, read.unwrap_or(said), self.trace)
    }

    /// The next client comes when the server is done with the first one, whose calls would
    /// otherwise have another order each time.
    pub(super) fn play_service(&self, verdict: Verdict) -> (Heard, Heard) {
        let mut lone = self.caller(LONE);
        if verdict == Verdict::Pushed {
            self.wait_until(|calls| calls.contains(INJECTED));
            let next = self.caller(NEXT).exchange();
            let lone = lone.exchange();
            self.end_service();
            return (lone, next);
        }
        if matches!(verdict, Verdict::Fatal(_)) {
            // The fault may end the process just as the client connects, and then Linux (6.18) now
            // and then forgets the connection without a reset. Only a client that sends something
            // learns of it.
            lone.say();
            return (lone.hear_out(), Heard::default());
        }
        let lone = lone.exchange();
        self.assert_descriptors_return();
        let next = self.caller(NEXT).exchange();
        self.end_service();
        (lone, next)
    }

    pub(super) fn end_service(&self) {
        self.assert_descriptors_return();
        self.signal("TERM");
    }

    /// The single client arrives while the server is stopped, and so before it can receive SIGTERM.
    pub(super) fn play_shutdown(&self, verdict: Verdict) -> (Heard, Heard) {
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
            // If nothing receives it any more, that is right as well.
            signal(&self.pid, "TERM");
        }
        (lone, next)
    }

    pub(super) fn caller(&self, message: &'static [u8]) -> Caller<'static> {
        Caller::connect(self.server.address(), message)
    }

    pub(super) fn signal(&self, name: &str) {
        assert!(signal(&self.pid, name), "it has ended before SIG{name}");
    }

    pub(super) fn wait_until(&self, expected: impl Fn(&str) -> bool) {
        let start = Instant::now();
        while !expected(&lines(&self.trace).join("\n")) {
            let calls = lines(&self.trace);
            assert!(start.elapsed() < PATIENCE, "in vain: {calls:#?}");
            std::thread::yield_now();
        }
    }

    /// Waits until every client's descriptor is closed, except where strace prevented that.
    pub(super) fn assert_descriptors_return(&self) {
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

pub(super) fn lines(path: &TempPath) -> Vec<String> {
    let text = std::fs::read_to_string(&path.0).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
