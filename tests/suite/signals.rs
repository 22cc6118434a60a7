//! Signals at the edges of a process's life: those that come while the handlers are set up, and
//! those that the parent blocked or ignored. Both programs.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::util::{BINARY, PATIENCE, Server, have_strace, signal, with_fault};
use nix::sys::signal::{SigSet, Signal};

/// Whether the set `name` of a process has the signal: SigBlk, SigCgt or SigIgn (proc(5)).
fn has(pid: &str, name: &str, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix(name));
    let set = set.and_then(|set| u64::from_str_radix(set.trim_start_matches(':').trim(), 16).ok());
    set.is_some_and(|set| set & 1 << (signal as i32 - 1) != 0)
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs the command with a delay after every rt_sigaction(2): the kernel has the handler then, and
/// the program does not know yet.
fn slow_to_catch(program: &str, arguments: &[&str]) -> Command {
    let mut strace = with_fault("rt_sigaction:delay_exit=200000");
    strace.arg(program).args(arguments);
    strace
}

/// A signal between the kernel's taking the handler and the library's noting it counts.
#[test]
fn a_signal_while_handlers_are_set_up_is_not_lost() {
    if !have_strace() {
        return;
    }
    for (name, number) in [("TERM", Signal::SIGTERM), ("INT", Signal::SIGINT)] {
        println!("{name}");
        let mut command = slow_to_catch(BINARY, &["-q", "--listen", "127.0.0.1:0"]);
        let mut server = Server::spawn(0, &mut command);
        let mut pid = String::new();
        wait_until("the handler", || {
            pid = server.child_process();
            has(&pid, "SigCgt", number)
        });
        assert!(signal(&pid, name));
        assert_eq!(server.end_within(PATIENCE).code(), Some(0));
    }
}

/// Starts the command with these signals blocked, as a parent may have them.
fn with_blocked<T>(signals: &[Signal], start: impl FnOnce() -> T) -> T {
    let set: SigSet = signals.iter().copied().collect();
    set.thread_block().unwrap();
    let started = start();
    set.thread_unblock().unwrap();
    started
}

const BLOCKED: [Signal; 4] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGUSR1,
    Signal::SIGHUP,
];

#[test]
fn a_server_receives_signals_that_its_parent_blocked() {
    for name in ["TERM", "INT"] {
        println!("{name}");
        let server = with_blocked(&BLOCKED, || crate::util::logging(&[]));
        server.signal("USR1");
        server.signal("HUP");
        server.assert_serves();
        server.signal(name);
        let (status, said) = server.end();
        assert_eq!(status.code(), Some(0), "{said}");
        let reports = said.matches("accepted ").count();
        assert_eq!(reports, 2, "SIGUSR1's report and the last one:\n{said}");
    }
}

/// A command that begins with these signals ignored. nohup(1) ignores SIGHUP, and a shell script
/// ignores SIGINT for its background jobs.
fn with_ignored(signals: &str, program: &str, arguments: &[&str]) -> Command {
    let mut shell = Command::new("sh");
    let script = format!("trap '' {signals}; exec \"$0\" \"$@\"");
    shell.args(["-c", &script, program]).args(arguments);
    shell
}

#[test]
fn signals_ignored_at_the_start_stay_ignored() {
    let mut command = with_ignored("INT HUP TERM", BINARY, &["--listen", "127.0.0.1:0"]);
    command.env("RUST_LOG", "info").stderr(Stdio::piped());
    let mut server = Server::spawn(1, &mut command);
    let pid = server.pid().to_string();
    for (name, number) in [("INT", Signal::SIGINT), ("HUP", Signal::SIGHUP)] {
        server.signal(name);
        assert!(has(&pid, "SigIgn", number), "SIG{name}");
        server.assert_serves();
    }
    assert!(server.is_running());
    server.signal("TERM");
    crate::util::assert_ends_with(server, &[("echoed", 2)]);
}

/// A signal that is not ignored works beside it.
#[test]
fn each_signal_is_judged_by_itself() {
    for (ignored, name) in [("HUP", "INT"), ("INT", "TERM")] {
        println!("{ignored} ignored, {name} sent");
        let mut command = with_ignored(ignored, BINARY, &["-q", "--listen", "127.0.0.1:0"]);
        let mut server = Server::spawn(1, &mut command);
        server.signal(ignored);
        server.signal(name);
        assert_eq!(server.end_within(PATIENCE).code(), Some(0));
    }
}

#[cfg(feature = "load")]
mod load {
    use super::*;

    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::process::Child;

    const LOAD: &str = env!("CARGO_BIN_EXE_hello-load");

    /// A server that lets its one client wait, and a command for that client.
    struct Silent(TcpListener);

    impl Silent {
        fn new() -> Self {
            Self(TcpListener::bind("127.0.0.1:0").unwrap())
        }

        fn start(&self, command: &mut Command) -> Child {
            let address = self.0.local_addr().unwrap().to_string();
            let one = ["-n", "1", "--payload", "10", &address];
            command
                .args(one)
                .stdout(Stdio::piped())
                .stderr(Stdio::null());
            let started = command.spawn();
            started.unwrap_or_else(|e| panic!("{command:?}: {e}"))
        }

        /// Its connection, before which the handlers are set up.
        fn accept(&self) -> TcpStream {
            self.0.accept().unwrap().0
        }
    }

    /// Its report.
    fn end(mut child: Child) -> String {
        let status = crate::util::status_within(PATIENCE, &mut child);
        let _ = child.kill();
        assert!(status.is_some(), "it does not end");
        let mut report = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut report)
            .unwrap();
        report
    }

    fn assert_cut_short(child: Child) {
        let report = end(child);
        assert!(report.starts_with("cut short by a signal\n"), "{report}");
    }

    #[test]
    fn a_signal_while_handlers_are_set_up_is_not_lost() {
        if !have_strace() {
            return;
        }
        for (name, number) in [
            ("TERM", Signal::SIGTERM),
            ("INT", Signal::SIGINT),
            ("HUP", Signal::SIGHUP),
        ] {
            println!("{name}");
            let silent = Silent::new();
            let mut strace = silent.start(&mut slow_to_catch(LOAD, &["--timeout", "30s"]));
            let children = format!("/proc/{0}/task/{0}/children", strace.id());
            let mut pid = String::new();
            wait_until("the handler", || {
                assert!(strace.try_wait().unwrap().is_none(), "it has ended");
                pid = std::fs::read_to_string(&children).unwrap_or_default();
                has(pid.trim(), "SigCgt", number)
            });
            assert!(signal(pid.trim(), name));
            let ended = crate::util::status_within(PATIENCE, &mut strace);
            if ended.is_none() {
                signal(pid.trim(), "KILL"); // strace would leave it running
            }
            assert!(ended.is_some(), "SIG{name} is lost");
            assert_cut_short(strace);
        }
    }

    #[test]
    fn signals_that_the_parent_blocked_end_a_run() {
        for name in ["TERM", "INT", "HUP"] {
            println!("{name}");
            let silent = Silent::new();
            let child = with_blocked(&BLOCKED, || silent.start(&mut Command::new(LOAD)));
            let _stream = silent.accept();
            assert!(signal(&child.id().to_string(), name));
            assert_cut_short(child);
        }
    }

    #[test]
    fn signals_ignored_at_the_start_do_not_end_a_run() {
        let silent = Silent::new();
        let child = silent.start(&mut with_ignored("INT HUP", LOAD, &[]));
        let mut stream = silent.accept();
        let pid = child.id().to_string();
        assert!(signal(&pid, "INT") && signal(&pid, "HUP"));
        let mut payload = [0; 10];
        stream.write_all(b"hello\n").unwrap();
        stream.read_exact(&mut payload).unwrap();
        stream.write_all(&payload).unwrap();
        drop(stream);
        let report = end(child);
        assert!(report.contains(": 1 right, 0 wrong"), "{report}");
        assert!(!report.contains("cut short"), "{report}");
    }

    #[test]
    fn sigterm_ends_a_run_that_began_with_it_ignored() {
        let silent = Silent::new();
        let child = silent.start(&mut with_ignored("INT HUP TERM", LOAD, &[]));
        let _stream = silent.accept();
        assert!(signal(&child.id().to_string(), "TERM"));
        assert_cut_short(child);
    }
}
