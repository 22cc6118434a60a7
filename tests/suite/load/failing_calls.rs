//! System calls of the load client that fail, without a fault of the servers.

use super::*;
use crate::util::{have_strace, with_fault};

fn load_with_fault(fault: &str, options: &str, target: &str) -> Command {
    let mut strace = with_fault(fault);
    strace.args([LOAD, "--json"]);
    strace.args(options.split_whitespace()).arg(target);
    strace
}

#[test]
fn interrupted_calls_are_made_again() {
    if !have_strace() {
        return;
    }
    let server = Server::start(&[]);
    let fault = "sendto,recvfrom:error=EINTR:when=1+2";
    let output = output(&mut load_with_fault(
        fault,
        "-n 20 -c 4",
        &server.addresses[0],
    ));
    assert_right(&(report(&output), output.status.code()), 20);
}

/// The kernel has no port at the first try: none for this source, or none for this connection.
#[test]
fn a_port_is_asked_for_again() {
    if !have_strace() {
        return;
    }
    let server = Server::start(&[]);
    for fault in [
        "bind:error=EADDRINUSE:when=1",
        "connect:error=EADDRNOTAVAIL:when=1",
    ] {
        let options = "-n 4 -c 1 --source 127.0.0.1";
        let output = output(&mut load_with_fault(fault, options, &server.addresses[0]));
        let report = report(&output);
        assert!(report["waited_s"]["port"].as_f64() > Some(0.0), "{report}");
        assert_right(&(report, output.status.code()), 4);
    }
}

/// The poll tells of nothing, so a client is looked after when its time is over. By then it is greeted, and
/// later it is done.
#[test]
fn what_has_come_counts_when_the_time_is_over() {
    if !have_strace() {
        return;
    }
    let server = Server::start(&[]);
    let fault = "epoll_ctl:retval=0"; // nothing is registered
    let options = "-n 0 --hold 1 --timeout 2s";
    let output = output(&mut load_with_fault(fault, options, &server.addresses[0]));
    assert_right(&(report(&output), output.status.code()), 1);
}

#[test]
fn a_search_goes_on_after_interrupted_waits() {
    if !have_strace() {
        return;
    }
    let server = Server::start(&[]);
    let fault = "/^epoll_p?wait$:error=EINTR:when=1+5";
    let options = "--find-rate p50<10s -d 1s";
    let output = output(&mut load_with_fault(fault, options, &server.addresses[0]));
    let report = report(&output);
    assert_eq!((wrongs(&report), &report["cut_short"]), (0, &false.into()));
    let windows = report["search"]["windows"].as_array().unwrap();
    assert!(!windows.is_empty(), "{report}");
}
