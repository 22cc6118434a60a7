//! Each call fails once, for a single client.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;

use super::caller::{Caller, LONE};
use super::rows::*;
use super::stage::{LISTENING, Play, Stage, called, is_call, lines, play};
use super::{CASES, FAULTS, WORST_MICROS, tell_totals, try_all};
use crate::util::{BINARY, Server, TempPath, assert_counts, have_strace};

#[test]
fn accept4_fails_once() {
    let rows = [
        row("accept4", &[], OF_ONE),
        row("accept4", &[], OF_ALL).pauses(1),
        row("accept4", &[], NO_LISTENER).fatal("cannot accept on 127.0.0.1:"),
        // A client waits, but no edge follows: the kernel does not lie like that.
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
        // The call that wakes the poll for a signal. The library ignores its errors.
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
        // It is there, but no edge follows. It is found when its time is over.
        row("recvfrom", MESSAGE, "EAGAIN")
            .options(&["--timeout", "2s", "--linger", "20s"])
            .is(Verdict::Late),
        // The client has its echo. A FIN may make two edges, and then EAGAIN does no harm.
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
        // It seems that nobody can be polled, so the next clients wait.
        row("epoll_ctl", &["EPOLL_CTL_ADD"], EPOLL_CTL)
            .lost()
            .pauses(1),
        row("epoll_ctl", client_mod, EPOLL_CTL)
            .after("sendto:error=EAGAIN:when=2")
            .lost(),
        // After a pause: another one follows.
        row("epoll_ctl", listener_mod, EPOLL_CTL)
            .after("accept4:error=EMFILE:when=1")
            .pauses(2),
        // Before a line, which is written, room or no room.
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
        // The close that follows sends a FIN as well.
        row("shutdown", &[], SHUTDOWN).counted(Counted::ByErrno),
        // Of a client, and of the listener.
        row("close", &[], CLOSE),
        row("close", &[], CLOSE).at_shutdown(),
        // New clients are refused in another way, or are accepted until the queue is empty.
        row("setsockopt", &["SO_ATTACH_FILTER"], SETSOCKOPT).at_shutdown(),
        row("listen", &[], LISTEN).at_shutdown().after(NO_FILTER),
        // Whether others may listen on the port, too: as if there were none.
        row("getsockopt", &[], GETSOCKOPT).at_shutdown(),
        row("write", of_the_log, WRITE).logging("debug"),
        row("write", of_the_log, WRITE).at_shutdown(),
    ]);
}

/// A line that cannot be written on stdout is lost, and the next ones are not. If there is only no
/// room at present, nothing is lost.
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
        let lines = if ["EINTR", "EAGAIN"].contains(&errno) {
            2
        } else {
            1
        };
        let server = Server::spawn(lines, strace.env("RUST_LOG", "off"));
        FAULTS.fetch_add(1, Relaxed);
        assert!(lines == 1 || server.addresses[0] == first);
        let address = server.addresses[lines - 1].parse().unwrap();
        assert!(Caller::connect(address, LONE).exchange().whole);
    }
    tell_totals();
}

/// The tables above leave no call out, except those for memory, and those of a signal handler and
/// of the end of a process.
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

fn judge_all(rows: &[Row]) {
    try_all(rows, |row, errno, rehearsed| {
        judge(row, errno, &play_with(row, errno, rehearsed));
    });
}

/// On a busy machine the server may make one call more before its phase than in the rehearsal. Then the
/// fault meets an earlier call, which proves nothing: it is rehearsed and played again.
fn play_with(row: &Row, errno: &str, rehearsed: &Play) -> Play {
    let fault =
        |rehearsed: &Play| format!("{}:error={errno}:when={}", row.call, rehearsed.nth(row));
    let played = |fault: String| catch_unwind(AssertUnwindSafe(|| play(row, Some(&fault))));
    if let Ok(play) = played(fault(rehearsed)) {
        return play;
    }
    if let Ok(play) = played(fault(&play(row, None))) {
        return play;
    }
    play(row, Some(&fault(&play(row, None))))
}

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

/// One line says what failed, so nobody takes such a server for a healthy one.
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

/// The server went on, nobody waited longer than it promises, and the counters say what happened.
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
    // Deadlines are waited out, handshakes for 5 ms, and pauses for at most 300 ms in all.
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
