//! Every fifth call of a name fails, while many clients are served.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

use super::caller::Caller;
use super::rows::*;
use super::stage::{INJECTED, LISTENING, Stage, lines, select};
use super::{FAULTS, try_all};
use crate::util::{counts, payload};

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
        // A client may meet it twice; then no edge follows.
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
    // And the polls before a line on stderr.
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

/// Every fifth call fails from when the server is in service. The calls that end it are left out.
fn press_all(rows: &[Row]) {
    try_all(rows, |row, errno, rehearsed| {
        let before = rehearsed.count(row.call, rehearsed.first(LISTENING));
        let last = match row.call {
            // SIGTERM must arrive, and the counters must be written: every client makes one call.
            "sendto" | "write" => format!("..{}", before + EXCHANGES),
            _ => String::new(),
        };
        let fault = format!("{}:error={errno}:when={}{last}+5", row.call, before + 5);
        // strace stops the server for its calls of this name only, so it is nearly as fast as ever.
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

/// How many of [`EXCHANGES`] clients, of which several come at a time, received everything.
fn press(address: SocketAddr) -> usize {
    std::thread::scope(|scope| {
        let crew = |crew| scope.spawn(move || play_rounds(address, crew));
        let crews: Vec<_> = (0..CREWS).map(crew).collect();
        crews.into_iter().map(|crew| crew.join().unwrap()).sum()
    })
}

/// Every second round speaks before it is greeted, and every second crew begins with such a client.
/// So a client always leaves, which ends a pause, while others wait for their greeting.
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

/// Only a fault loses a client, and the counters have all of them.
fn judge_load(row: &Row, errno: &str, served: usize, injected: &[String], said: &str) {
    let faults = injected.len();
    // One wait is for many clients.
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
        // Two for each client, and four of the server's own; and one that reports, in place of one
        // lost.
        let told = said.matches("1 lines were dropped here").count();
        let lost = if errno == "EINTR" { 0 } else { faults };
        assert_eq!(told, lost, "{last}");
        assert_eq!(said.lines().count(), 2 * EXCHANGES + 4, "{last}");
    }
}
