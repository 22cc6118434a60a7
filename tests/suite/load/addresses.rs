//! A name with two addresses: which of them connections go to.

use std::time::{Duration, Instant};

use super::metrics::{await_samples, watched};
use super::*;
use crate::util::{TempPath, have, have_strace, in_a_network};

const NAME: &str = "two.test:8000";

/// Each test has its own network, in which the name has two addresses and the port is free.
const TWO_ADDRESSES: &str = "hosts=$(mktemp)
    printf '127.0.0.1 two.test\\n127.0.0.2 two.test\\n' >$hosts
    mount --bind $hosts /etc/hosts
    rm $hosts";

fn with_two_addresses(test: impl Fn()) {
    if have("mount") {
        in_a_network(PATIENCE, TWO_ADDRESSES, test);
    }
}

/// From here on what is sent so is swallowed. Returns whether there is a tool for that.
fn swallow(what: &str) -> bool {
    if !have("nft") {
        return false;
    }
    let table = "add table ip t; add chain ip t input { type filter hook input priority 0; }";
    let rules = format!("{table}; add rule ip t input {what} drop");
    let ruled = output(Command::new("nft").arg(rules));
    assert!(ruled.status.success(), "{ruled:?}");
    true
}

#[test]
fn the_next_address_is_tried_before_the_first_has_timed_out() {
    with_two_addresses(the_next_address_is_tried_in_a_network);
}

#[test]
#[ignore = "the_next_address_is_tried_before_the_first_has_timed_out runs it in a network of its own"]
fn the_next_address_is_tried_in_a_network() {
    if !swallow("ip daddr 127.0.0.1 tcp dport 8000") {
        return;
    }
    let server = Server::start_listening(1, &["--listen", "127.0.0.2:8000"]);
    let began = Instant::now();
    let (report, code) = run("-n 20 -c 4 --timeout 20s", &[NAME]);
    assert_eq!((number(&report, "right"), code), (20, Some(0)), "{report}");
    assert!(began.elapsed() >= Duration::from_millis(250), "{report}");
    let by_target = report["by_target"].as_array().unwrap();
    assert_eq!(by_target.len(), 1, "{report}");
    assert_eq!(by_target[0]["target"], "two.test:8000 (127.0.0.2:8000)");
    drop(server);
}

/// A timeout that is shorter than the wait for an address: only the first client pays for it.
#[test]
fn later_clients_leave_an_address_that_timed_out() {
    with_two_addresses(later_clients_leave_an_address_in_a_network);
}

#[test]
#[ignore = "later_clients_leave_an_address_that_timed_out runs it in a network of its own"]
fn later_clients_leave_an_address_in_a_network() {
    if !swallow("ip daddr 127.0.0.1 tcp dport 8000") {
        return;
    }
    let server = Server::start_listening(1, &["--listen", "127.0.0.2:8000"]);
    let (report, _) = run("-n 3 -c 1 --timeout 200ms", &[NAME]);
    let wrong = serde_json::json!({ "timed_out_connect": 1 });
    assert_eq!(report["wrong"], wrong, "{report}");
    assert_eq!(number(&report, "right"), 2, "{report}");
    drop(server);
}

/// Where others were answered, a client that is not waits for its timeout.
#[test]
fn an_address_that_answers_others_is_kept() {
    with_two_addresses(an_address_that_answers_others_in_a_network);
}

#[test]
#[ignore = "an_address_that_answers_others_is_kept runs it in a network of its own"]
fn an_address_that_answers_others_in_a_network() {
    if !swallow("ip saddr 127.0.0.3") {
        return;
    }
    let server = Server::start_listening(1, &["--listen", "127.0.0.1:8000"]);
    let sources = "--source 127.0.0.3 --source 127.0.0.4";
    let (report, _) = run(&format!("-n 2 -c 2 --timeout 1s {sources}"), &[NAME]);
    let wrong = serde_json::json!({ "timed_out_connect": 1 });
    assert_eq!(report["wrong"], wrong, "{report}");
    assert_eq!(number(&report, "right"), 1, "{report}");
    drop(server);
}

/// A client that goes on to the next address is open there, and not at the first any more.
#[test]
fn the_metrics_follow_a_client_to_its_next_address() {
    with_two_addresses(the_metrics_follow_a_client_in_a_network);
}

#[test]
#[ignore = "the_metrics_follow_a_client_to_its_next_address runs it in a network of its own"]
fn the_metrics_follow_a_client_in_a_network() {
    let silent = TcpListener::bind("127.0.0.2:8000").unwrap();
    let (child, address) = watched("-n 4 -c 4 --timeout 0", &[NAME]);
    let clients = [(); 4].map(|()| silent.accept().unwrap());
    let open =
        |address: &str| format!("connections_open{{target=\"two.test:8000 ({address}:8000)\"}}");
    let expected = [(open("127.0.0.1"), 0.0), (open("127.0.0.2"), 4.0)];
    await_samples(address, &expected);
    interrupt(child);
    drop(clients);
}

/// Without a port for the next address the client is refused, as it was at the first. Later ones go on.
#[test]
fn a_client_that_cannot_go_on_was_refused() {
    with_two_addresses(a_client_that_cannot_go_on_in_a_network);
}

#[test]
#[ignore = "a_client_that_cannot_go_on_was_refused runs it in a network of its own"]
fn a_client_that_cannot_go_on_in_a_network() {
    if !have_strace() {
        return;
    }
    let server = Server::start_listening(1, &["--listen", "127.0.0.2:8000"]);
    let trace = TempPath::new("trace");
    let traced = |fault: &[&str]| {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", trace.as_str(), "-e", "trace=bind"]);
        strace
            .args(fault)
            .args([LOAD, "--json", "-n", "3", "-c", "1"]);
        report(&output(strace.args(["--source", "127.0.0.9", NAME])))
    };
    assert_eq!(number(&traced(&[]), "right"), 3);
    // The resolver binds a socket, too.
    let binds = trace.text();
    let ours = binds.lines().enumerate();
    let mut ours = ours.filter(|(_, call)| call.contains("\"127.0.0.9\""));
    let (second, _) = ours.nth(1).unwrap();
    let fault = format!("inject=bind:error=EADDRINUSE:when={}", second + 1);
    let report = traced(&["-e", &fault]);
    let wrong = serde_json::json!({ "refused": 1 });
    assert_eq!(report["wrong"], wrong, "{report}");
    assert_eq!(number(&report, "right"), 2, "{report}");
    drop(server);
}
