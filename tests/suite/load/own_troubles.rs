//! What goes wrong with the load client itself is not blamed on the servers, and holds no run up.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::termios::{FlowArg, tcflow};

use super::*;
use crate::util::{
    TempPath, have_descriptors, have_strace, in_a_network, skip, terminal, with_fault,
};

/// The servers' answers are there when it goes on, so nobody was late but itself.
#[test]
fn its_own_pause_is_not_the_servers_timeout() {
    let (sender, received) = mpsc::channel();
    let (go_on, gate) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let target = serve(move |stream| {
        greet(stream)?;
        let payload = receive(stream, LENGTH)?;
        let _ = sender.send(());
        let _ = gate.lock().unwrap().recv();
        stream.write_all(&payload)
    });
    let child = spawn(&mut load("-n 4 -c 4 --timeout 1s --json", &[&target]));
    let pid = child.id().to_string();
    (0..4).for_each(|_| received.recv_timeout(PATIENCE).unwrap());
    assert!(signal(&pid, "STOP"));
    (0..4).for_each(|_| go_on.send(()).unwrap());
    std::thread::sleep(Duration::from_millis(1500)); // the pause itself
    assert!(signal(&pid, "CONT"));
    let output = util::in_time("the end", || child.wait_with_output().unwrap());
    let report = report(&output);
    assert_eq!(
        (number(&report, "right"), output.status.code()),
        (4, Some(0)),
        "{report}"
    );
    let stood_still = report["stood_still_s"].as_f64().unwrap();
    assert!((1.0..10.0).contains(&stood_still), "{report}");
}

/// Ctrl-S, or a reader that has stopped: neither holds the run up nor its end.
#[test]
fn a_stopped_terminal_stops_nothing() {
    let server = Server::start(&[]);
    let (_master, slave) = terminal();
    tcflow(slave.as_fd(), FlowArg::TCOOFF).unwrap();
    let mut command = load("-d 1s -c 4 --json", &[&server.addresses[0]]);
    command.stdout(Stdio::piped()).stdin(Stdio::null());
    let child = command.stderr(Stdio::from(slave)).spawn().unwrap();
    let output = util::in_time("the end", || child.wait_with_output().unwrap());
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    let seconds = report["seconds"].as_f64().unwrap();
    assert!(seconds < 5.0, "{report}");
}

/// Nobody reads what it complains of, and it ends all the same.
#[test]
fn complaints_that_nobody_reads_stop_nothing() {
    let (target, _received) = recorder();
    let (_master, slave) = terminal();
    tcflow(slave.as_fd(), FlowArg::TCOOFF).unwrap();
    let mut command = load("-n 4 --json --fail-if right>0", &[&target]);
    command.stdout(Stdio::piped()).stdin(Stdio::null());
    let child = command.stderr(Stdio::from(slave)).spawn().unwrap();
    let output = util::in_time("the end", || child.wait_with_output().unwrap());
    assert_eq!(output.status.code(), Some(3));
}

/// A refusal comes at once, so asking again at once would be an attack.
#[test]
fn a_dead_port_is_asked_gently() {
    let (_bound, dead) = dead_port();
    let (report, code) = run("-d 1s", &[&dead]);
    let refused = number(&report["wrong"], "refused");
    // 64 before the first refusal is known, and then 1, 2, 4 ... 100 ms apart.
    assert!((5..=64 + 20).contains(&refused), "{report}");
    assert_eq!(code, Some(3));
    // The others are asked as ever.
    let server = Server::start(&[]);
    let (report, _) = run("-d 1s", &[&dead, &server.addresses[0]]);
    let right = number(&report, "right");
    assert!(
        number(&report["wrong"], "refused") <= 64 + 20 && right > 500,
        "{report}"
    );
    // An open loop keeps its rate.
    let (report, _) = run("-r 1000 -d 500ms", &[&dead]);
    assert_eq!(report["wrong"], serde_json::json!({ "refused": 500 }));
}

/// What it needs later it takes at the start, or it says that it cannot: it never ends in the middle.
#[test]
fn with_little_memory_it_promises_less_and_keeps_that() {
    if !have_descriptors(17_100) {
        return;
    }
    let server = Server::start(PATIENT);
    let target = &*server.addresses[0];
    let limited = |memory: u64, options: &str| {
        let script = format!("ulimit -v {memory}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, LOAD, "--json", target]);
        output(command.args(options.split(' ')))
    };
    let levels = (20..120).map(|quarters| quarters << 8);
    let all = levels.map(|memory| (memory, limited(memory, "--hold 17000")));
    // Below the first that says so, not even Rust's runtime has the memory to start.
    let says_so = |output: &Output| said(output)[1].contains("too little memory");
    let all = all.skip_while(|(_, output)| !says_so(output));
    let (mut cannot_start, mut refused, mut kept) = (0, 0, 0);
    for (memory, output) in all {
        let [_, stderr] = said(&output);
        let code = output.status.code();
        match code {
            Some(0) => kept += 1,
            _ if stderr.contains("17000 are needed") => refused += 1,
            _ => cannot_start += 1,
        }
        let lines = usize::from(code == Some(1));
        assert!(code < Some(2) && code.is_some(), "{memory} KiB: {output:?}");
        assert_eq!(stderr.lines().count(), lines, "{memory} KiB: {stderr}");
        if kept == 3 {
            break;
        }
        // As soon as a run may open connections, it has memory for its whole length and every report.
        if refused == 2 && kept == 0 {
            let all = "-c 4 -d 1s --interval 100ms --html /dev/null";
            let whole = limited(memory, all);
            assert_eq!(whole.status.code(), Some(0), "{memory} KiB: {whole:?}");
        }
    }
    assert!(cannot_start > 0 && refused > 0 && kept == 3);
}

/// As timeout(1) sends two, and a terminal with a shell. The second comes when the first has been
/// heard, and less than 5 ms after it.
#[test]
fn two_signals_at_once_are_one() {
    let (target, received) = recorder();
    let mut rounds = 0;
    for _ in 0..25 {
        let page = TempPath::new("twice.html");
        let options = ["--json", "--html", page.as_str()];
        let child = spawn(load("-d 1h -c 4", &options).arg(&target));
        (0..20).for_each(|_| drop(received.recv_timeout(PATIENCE).unwrap()));
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        let interrupt = || nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        let first = Instant::now();
        interrupt();
        std::thread::sleep(Duration::from_millis(1));
        interrupt();
        let is_one = first.elapsed() < Duration::from_millis(4); // if not, the second is a real one
        let output = util::in_time("the end", || child.wait_with_output().unwrap());
        assert_eq!(output.status.code(), Some(130));
        received.try_iter().for_each(drop);
        if is_one {
            rounds += 1;
            assert_eq!(report(&output)["cut_short"], true);
            assert!(std::fs::read_to_string(&page.0).unwrap().contains("</svg>"));
        }
    }
    assert!(rounds > 0, "this machine was too busy in each of 25 rounds");
}

/// As nohup(1) leaves it.
#[test]
fn a_hangup_that_was_ignored_stays_ignored() {
    let (target, received) = recorder();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", LOAD]);
    command.args(["-d", "1h", "-c", "4", "--json", &target]);
    let child = spawn(&mut command);
    let pid = child.id().to_string();
    (0..100).for_each(|_| drop(received.recv_timeout(PATIENCE).unwrap()));
    assert!(signal(&pid, "HUP"));
    (0..1000).for_each(|_| drop(received.recv_timeout(PATIENCE).unwrap()));
    let report = report(&interrupt(child));
    assert!(number(&report, "right") > 1000, "{report}");
}

/// A kernel without them has them done without: gVisor, or Linux before 4.2.
#[test]
fn socket_options_may_be_missing() {
    if !have_strace() {
        return;
    }
    let server = Server::start(&[]);
    let mut command = with_fault("setsockopt:error=ENOPROTOOPT");
    command.args([LOAD, "-n", "20", "--json", "--source", "127.0.0.0/8"]);
    let output = output(command.arg(&server.addresses[0]));
    let report = report(&output);
    assert_eq!(number(&report, "right"), 20, "{report}");
}

const PORTS_OF_OTHERS: &str = "echo 40000 40019 >/proc/sys/net/ipv4/ip_local_port_range
    echo 40018-40019 >/proc/sys/net/ipv4/ip_local_reserved_ports";

#[test]
fn others_have_most_ports() {
    in_a_network(
        PATIENCE,
        PORTS_OF_OTHERS,
        others_have_most_ports_in_a_network,
    );
}

#[test]
#[ignore = "others_have_most_ports runs it in a network of its own"]
fn others_have_most_ports_in_a_network() {
    let server = Server::start_listening(1, &["--listen", "127.0.0.1:8000"]);
    let target = &*server.addresses[0];
    let others: Vec<TcpStream> = (0..15)
        .map(|_| TcpStream::connect(target).unwrap())
        .collect();
    let (report, code) = run("-n 40 -c 10 --timeout 20s", &[target]);
    assert_eq!((number(&report, "right"), code), (40, Some(0)), "{report}");
    assert!(report["waited_s"]["port"].as_f64() > Some(0.0), "{report}");
    drop(others);
    let [_, stderr] = said(&output(&mut load("--hold 1M", &[target])));
    assert!(stderr.contains("can open 18 connections"), "{stderr}");
}

/// Two ends with a link-local address each.
const A_LINK: &str = "ip link add left type veth peer name right
    ip link set left up; ip link set right up
    ip address add 10.9.0.1/24 dev left
    ip address add fe80::1/64 dev left nodad || true
    ip address add fe80::2/64 dev right nodad || true";

#[test]
fn addresses_have_scopes() {
    in_a_network(PATIENCE, A_LINK, addresses_have_scopes_in_a_network);
}

#[test]
#[ignore = "addresses_have_scopes runs it in a network of its own"]
fn addresses_have_scopes_in_a_network() {
    if TcpListener::bind("[::1]:0").is_err() {
        skip("there is no IPv6");
        return;
    }
    let server = Server::start_listening(1, &["--listen", "[::]:8000"]);
    for (source, target) in [
        ("fe80::1%left", "[fe80::1%left]:8000"),
        ("fe80::1%left", "[fe80::2%left]:8000"),
    ] {
        let (report, code) = run(&format!("-n 20 --source {source}"), &[target]);
        assert_eq!((number(&report, "right"), code), (20, Some(0)), "{report}");
    }
    let none = output(&mut load(
        "-n 1 --source fe80::1%nowhere",
        &["[fe80::1%left]:8000"],
    ));
    let [_, stderr] = said(&none);
    assert!(stderr.contains("there is no such interface"), "{stderr}");
    drop(server);
}

/// What the system refuses before there is a connection is said in one line, with what it was for.
#[test]
fn what_it_lacks_itself_has_a_name() {
    if !have_strace() {
        return;
    }
    let (target, _received) = recorder();
    let search = ["--find-rate", "p99<1s", "-d", "1s"];
    for (call, options, line) in [
        ("epoll_create1", &["-n", "1"][..], "cannot make a poll"),
        ("epoll_create1", &search, "cannot make a poll"),
        ("timerfd_create", &["-n", "1"], "cannot make a timer"),
        (
            "timerfd_settime",
            &["-n", "2", "-r", "1"],
            "cannot set a timer",
        ),
        ("eventfd2", &["--threads", "2"], "cannot make a waker"),
        ("socketpair", &["-n", "1"], "cannot catch signals"),
        ("socketpair", &search, "cannot catch signals"),
        ("epoll_wait", &["-n", "1"], "cannot poll"),
        ("socket", &["-n", "1"], "cannot open a socket"),
        ("clone3", &["--threads", "2"], "cannot start a thread"),
    ] {
        let mut strace = with_fault(&format!("{call}:error=EPERM"));
        let output = output(strace.arg(LOAD).args(options).arg(&target));
        let [_, stderr] = said(&output);
        assert_eq!(output.status.code(), Some(1), "{call}: {output:?}");
        let line = format!("hello-load: {line}: Operation not permitted (os error 1)\n");
        assert_eq!(stderr, line, "{call}");
    }
    let folder = output(&mut load("--merge", &["/"]));
    let [_, stderr] = said(&folder);
    assert_eq!(
        stderr,
        "hello-load: cannot read /: Is a directory (os error 21)\n"
    );
}
