//! The load client as it is shipped: against servers that are wrong on purpose, against the real
//! one, and in a terminal. What it says of a run is compared with what the server saw.

#![cfg(feature = "cli")]
#![cfg(feature = "load")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "that is how a test fails"
)]
#![allow(clippy::print_stdout, reason = "shown where a test fails")]

mod util;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

use util::{
    BINARY, Client, PATIENCE, Server, TempPath, have, have_descriptors, last_line, logging, output,
    reset, signal, skip, terms,
};

const LOAD: &str = env!("CARGO_BIN_EXE_hello-load");

/// How much a connection sends if nothing else is asked for.
const LENGTH: usize = 1000;

/// hello-load with these options, and its targets last.
fn load(options: &str, targets: &[&str]) -> Command {
    let mut command = Command::new(LOAD);
    command.args(options.split_whitespace()).args(targets);
    command
}

/// What a run says in JSON, and its exit code. Every connection is accounted for.
fn run(options: &str, targets: &[&str]) -> (Value, Option<i32>) {
    let output = output(load(options, targets).arg("--json"));
    (report(&output), output.status.code())
}

fn report(output: &Output) -> Value {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
        let stderr = String::from_utf8_lossy(&output.stderr);
        panic!(
            "{e}: {:?}, {stderr}",
            String::from_utf8_lossy(&output.stdout)
        )
    });
    assert_eq!(report["version"], 1);
    let over = number(&report, "right") + wrongs(&report) + number(&report, "given_up");
    assert_eq!(number(&report, "opened"), over, "{report}");
    report
}

fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap()
}

fn wrongs(report: &Value) -> u64 {
    let wrong = report["wrong"].as_object().unwrap();
    wrong.values().map(|count| count.as_u64().unwrap()).sum()
}

fn said(output: &Output) -> [String; 2] {
    [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned())
}

/// Nothing was wrong in so many exchanges.
fn assert_right(run: &(Value, Option<i32>), exchanges: u64) {
    let (report, code) = run;
    assert_eq!(wrongs(report), 0, "{report}");
    assert_eq!((number(report, "right"), *code), (exchanges, Some(0)));
}

/// A server of the test's own: `conduct` is what it does with each connection, in a thread.
fn serve(conduct: impl Fn(&mut TcpStream) -> io::Result<()> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let conduct = Arc::new(conduct);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let conduct = conduct.clone();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            // What it cannot send is no matter: the client may have seen enough.
            std::thread::spawn(move || conduct(&mut stream));
        }
    });
    address
}

fn greet(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"hello\n")
}

/// All of a payload of `length` bytes: a close with nothing unread is a FIN, not a reset.
fn receive(stream: &mut TcpStream, length: usize) -> io::Result<Vec<u8>> {
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    Ok(payload)
}

/// Does nothing until the client leaves.
fn hang(stream: &mut TcpStream) -> io::Result<()> {
    stream.read(&mut [0]).map(drop)
}

/// Its close, which comes next, will be a reset.
fn reset_now(stream: &mut TcpStream) -> io::Result<()> {
    stream.try_clone().map(reset)
}

/// A server that greets, and answers a payload so.
fn answering(answer: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> String {
    serve(move |stream| {
        greet(stream)?;
        let payload = receive(stream, LENGTH)?;
        stream.write_all(&answer(payload))
    })
}

/// 20 exchanges, and all of them wrong in this way and no other: `wrong` is the kind, `phase` where,
/// and `what` is in the description.
fn assert_wrong(options: &str, target: &str, wrong: &str, phase: &str, what: &str) {
    println!("{wrong}: {what}");
    let (report, code) = run(&format!("-n 20 {options}"), &[target]);
    assert_eq!(
        report["wrong"],
        serde_json::json!({ wrong: 20 }),
        "{report}"
    );
    assert_eq!((number(&report, "opened"), code), (20, Some(3)));
    let described = report["described"].as_array().unwrap();
    assert_eq!(described.len(), 3, "the first of them");
    let form = format!(" to {target}, {phase}: {wrong}: ");
    for line in described.iter().map(|line| line.as_str().unwrap()) {
        assert!(line.starts_with("connection "), "{line}");
        assert!(line.contains(&form) && line.contains(what), "{line}");
    }
}

#[test]
fn wrong_greetings() {
    let greeting = |bytes: &'static [u8]| {
        serve(move |stream| {
            stream.write_all(bytes)?;
            stream.shutdown(std::net::Shutdown::Write)?;
            hang(stream)
        })
    };
    for (bytes, kind, what) in [
        (
            &b"help!\n"[..],
            "wrong_greeting",
            r#"at byte 3 expected "lo\n", got "p!\n""#,
        ),
        (
            b"hello\nworld",
            "wrong_greeting",
            r#"at byte 6 expected nothing, got "world""#,
        ),
        (b"hel", "short_greeting", "after 3 bytes"),
        (b"", "short_greeting", "after 0 bytes"),
    ] {
        assert_wrong("-c 4", &greeting(bytes), kind, "greeting", what);
    }
}

#[test]
fn wrong_echoes() {
    let flipped = answering(|mut payload| {
        payload[700] ^= 1;
        payload
    });
    assert_wrong(
        "-c 4",
        &flipped,
        "wrong_echo",
        "echo",
        "at byte 700 expected \"",
    );
    let short = answering(|payload| payload[..999].to_vec());
    assert_wrong(
        "-c 4",
        &short,
        "short_echo",
        "echo",
        "after 999 of 1000 bytes",
    );
    let none = answering(|_| vec![]);
    assert_wrong("-c 4", &none, "no_echo", "echo", "after 0 of 1000 bytes");
    let doubled = answering(|payload| payload.repeat(2));
    let what = "at byte 1000 expected nothing, got \"";
    assert_wrong("-c 4", &doubled, "extra_bytes", "eof", what);
    let extra = answering(|payload| [&payload[..], b"bye"].concat());
    let what = "at byte 1000 expected nothing, got \"bye\"";
    assert_wrong("-c 4", &extra, "extra_bytes", "eof", what);
}

/// The echo itself is right, but it is another's.
#[test]
fn foreign_echoes() {
    let payloads = (Mutex::new(vec![]), Condvar::new());
    let server = answering(move |payload| {
        let (payloads, news) = &payloads;
        let mut payloads = payloads.lock().unwrap();
        let own = payloads.len();
        payloads.push(payload);
        news.notify_all();
        // The first has nobody before it, and takes the second's.
        let other = own.checked_sub(1).unwrap_or(1);
        let missing = |payloads: &mut Vec<Vec<u8>>| payloads.len() <= other;
        let (payloads, _) = news
            .wait_timeout_while(payloads, PATIENCE, missing)
            .unwrap();
        payloads[other].clone()
    });
    assert_wrong(
        "-c 4",
        &server,
        "foreign_echo",
        "echo",
        "the bytes of connection ",
    );
}

/// A reset may come before the client has looked whether it is connected; it is named all the same
/// for where the connection stood, and what came before it counts.
#[test]
fn resets() {
    let at_accept = serve(reset_now);
    assert_wrong(
        "-c 4",
        &at_accept,
        "reset_greeting",
        "greeting",
        "Connection reset",
    );
    let greeted = serve(|stream| {
        greet(stream)?;
        reset_now(stream)
    });
    assert_wrong("-c 4", &greeted, "reset_echo", "echo", "");
    let no_echo = serve(|stream| {
        greet(stream)?;
        receive(stream, LENGTH)?;
        reset_now(stream)
    });
    assert_wrong("-c 4", &no_echo, "reset_echo", "echo", "Connection reset");
    let no_eof = serve(|stream| {
        greet(stream)?;
        let payload = receive(stream, LENGTH)?;
        stream.write_all(&payload)?;
        reset_now(stream)
    });
    assert_wrong("-c 4", &no_eof, "reset_eof", "eof", "Connection reset");
}

/// All at once, as each of them takes the whole time.
#[test]
fn servers_that_hang() {
    let options = "-c 20 --timeout 1500ms";
    let silent = serve(hang);
    let what = "0 bytes of the greeting had come";
    assert_wrong(options, &silent, "timed_out_greeting", "greeting", what);
    let mute = serve(|stream| {
        greet(stream)?;
        receive(stream, LENGTH)?;
        hang(stream)
    });
    let what = "1000 of 1000 bytes were sent, 0 had come back";
    assert_wrong(options, &mute, "timed_out_echo", "echo", what);
    let open = serve(|stream| {
        greet(stream)?;
        let payload = receive(stream, LENGTH)?;
        stream.write_all(&payload)?;
        hang(stream)
    });
    let what = "1000 of 1000 bytes were sent, 1000 had come back";
    assert_wrong(options, &open, "timed_out_eof", "eof", what);
}

/// A port that is bound, so nobody else has it, and where nobody listens.
#[test]
fn nobody_listens() {
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    bound
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    let address = bound.local_addr().unwrap().as_socket().unwrap().to_string();
    assert_wrong("-c 4", &address, "refused", "connect", "Connection refused");
    let path = TempPath::new("nobody.sock");
    let target = format!("unix:{}", path.as_str());
    assert_wrong("-c 4", &target, "failed_connect", "connect", "No such file");
}

/// A Unix socket with a full queue refuses nobody and tells nobody when there is a place again: that
/// must not keep a health check waiting for ever.
#[test]
fn a_queue_that_stays_full() {
    let path = TempPath::new("full.sock");
    let address = SockAddr::unix(&path.0).unwrap();
    let socket = || Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
    let listener = socket();
    listener.bind(&address).unwrap();
    listener.listen(0).unwrap();
    let waiting: Vec<_> = std::iter::repeat_with(socket)
        .take_while(|client| client.connect(&address).is_ok())
        .collect();
    assert!(waiting.len() < 10, "the queue takes as many as there are");
    let target = format!("unix:{}", path.as_str());
    let output = output(&mut load("--check --timeout 200ms", &[&target]));
    let [_, stderr] = said(&output);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("connect: timed_out_connect: "), "{stderr}");
    // Whoever still waits at the end says so, too.
    let (report, _) = run("-d 200ms", &[&target]);
    assert!(report["waited_s"]["queue"].as_f64() > Some(0.0), "{report}");
}

/// Unusual, and right.
#[test]
fn what_looks_wrong_and_is_not() {
    let slow = serve(|stream| {
        stream.set_nodelay(true)?;
        for byte in b"hello\n" {
            std::thread::sleep(Duration::from_millis(2));
            stream.write_all(&[*byte])?;
        }
        let payload = receive(stream, LENGTH)?;
        payload
            .iter()
            .try_for_each(|byte| stream.write_all(&[*byte]))
    });
    assert_right(&run("-n 20 -c 4", &[&slow]), 20);
    let late = serve(|stream| {
        std::thread::sleep(Duration::from_millis(200));
        greet(stream)?;
        let payload = receive(stream, LENGTH)?;
        stream.write_all(&payload)
    });
    assert_right(&run("-n 20 -c 20", &[&late]), 20);
    assert_wrong(
        "-c 20 --timeout 50ms",
        &late,
        "timed_out_greeting",
        "greeting",
        "0 bytes of",
    );
    let prefix = serve(|stream| {
        greet(stream)?;
        let payload = receive(stream, 2000)?;
        stream.write_all(&payload[..700])
    });
    assert_right(&run("-n 20 -c 4 --payload 2000", &[&prefix]), 20);
    let another = serve(|stream| {
        stream.write_all(b"220 ready\r\n")?;
        let payload = receive(stream, LENGTH)?;
        stream.write_all(&payload)
    });
    let mut command = load(
        "-n 20 -c 4 --json --greeting",
        &["220 ready\\r\\n", &another],
    );
    assert_eq!(number(&report(&output(&mut command)), "right"), 20);
}

/// What the server says of its clients once it is told to end.
fn assert_echoed(server: Server, exchanges: u64) {
    server.signal("TERM");
    let line = last_line(server);
    assert_eq!(terms(&line), [("echoed", exchanges)], "{line}");
}

#[test]
fn a_hundred_thousand_exchanges() {
    if !have_descriptors(5100) {
        return;
    }
    let server = logging(&[]);
    for at_once in [64, 5000] {
        let options = format!("-n 100000 -c {at_once} --payload 1-1000");
        let run = run(&options, &[&server.addresses[0]]);
        assert_right(&run, 100_000);
        assert_eq!(number(&run.0, "most_open"), at_once);
    }
    assert_echoed(server, 200_000);
}

#[test]
fn held_connections_beside_others() {
    if !have_descriptors(16_100) {
        return;
    }
    let server = logging(&[]);
    let run = run("--hold 15000 -r 2000 -n 2000", &[&server.addresses[0]]);
    assert_right(&run, 17_000);
    let report = &run.0;
    assert_eq!(number(report, "held"), 15_000);
    assert!(
        (15_001..=17_000).contains(&number(report, "most_open")),
        "{report}"
    );
    assert_eq!(report["latency_us"]["total"]["count"], 2000, "{report}");
    assert_eq!(report["latency_us"]["eof"]["count"], 2000, "{report}");
    let held = &report["latency_us"]["held_eof"]["count"];
    assert_eq!(held, 15_000, "{report}");
    assert_echoed(server, 17_000);
}

/// TCP of both families and a Unix socket, each alone and all in one run.
#[test]
fn every_kind_of_target() {
    let path = TempPath::new("load.sock");
    let unix = format!("unix:{}", path.as_str());
    let mut listen = vec!["127.0.0.1:0", "127.0.0.1:0", &unix];
    if TcpListener::bind("[::1]:0").is_ok() {
        listen.push("[::1]:0");
    } else {
        skip("there is no IPv6");
    }
    let mut command = Command::new(BINARY);
    listen.iter().for_each(|address| {
        command.args(["--listen", address]);
    });
    command.env("RUST_LOG", "info").stderr(Stdio::piped());
    let server = Server::spawn(listen.len(), &mut command);
    let targets: Vec<&str> = server.addresses.iter().map(|address| &**address).collect();
    let mut exchanges = 0;
    for some in targets.chunks(1).chain([&targets[..2], &targets[..]]) {
        println!("{some:?}");
        assert_right(&run("-n 200 -c 20 --payload 1-1000", some), 200);
        exchanges += 200;
    }
    assert_echoed(server, exchanges);
}

/// A right server that tells who came, and with what.
fn recorder() -> (String, mpsc::Receiver<(SocketAddr, Vec<u8>)>) {
    let (sender, receiver) = mpsc::channel();
    let address = serve(move |stream| {
        greet(stream)?;
        let payload = receive(stream, LENGTH)?;
        let _ = sender.send((stream.peer_addr()?, payload.clone()));
        stream.write_all(&payload)
    });
    (address, receiver)
}

#[test]
fn targets_have_their_turns() {
    let recorders = [recorder(), recorder()];
    let run = run("-n 20 -c 4", &[&recorders[0].0, &recorders[1].0]);
    assert_right(&run, 20);
    for (_, received) in recorders {
        assert_eq!(received.try_iter().count(), 10);
    }
}

#[test]
fn a_seed_makes_the_payloads() {
    let (address, received) = recorder();
    let payloads = |options: &str| -> BTreeSet<Vec<u8>> {
        assert_right(&run(options, &[&address]), 20);
        received.try_iter().map(|(_, payload)| payload).collect()
    };
    let first = payloads("-n 20 -c 4 --seed 7");
    assert_eq!(first.len(), 20, "each its own");
    assert_eq!(payloads("-n 20 -c 4 --seed 7"), first);
    assert!(payloads("-n 20 -c 4 --seed 8").is_disjoint(&first));
    assert!(
        payloads("-n 20 -c 4").is_disjoint(&first),
        "no two runs are the same"
    );
}

/// A run without a seed says which it took.
#[test]
fn the_seed_is_told() {
    let server = Server::start(&[]);
    let target = &server.addresses[0];
    let seed = number(&run("-n 1", &[target]).0, "seed");
    let again = output(&mut load(&format!("-n 1 --seed {seed}"), &[target]));
    let [stdout, _] = said(&again);
    assert!(stdout.contains(&format!("; seed {seed}\n")), "{stdout}");
}

#[test]
fn sources_have_their_turns() {
    let (address, received) = recorder();
    assert_right(&run("-n 50 -c 4 --source 127.0.0.0/8", &[&address]), 50);
    let mut from: Vec<_> = received.try_iter().map(|(peer, _)| peer.ip()).collect();
    from.sort_unstable();
    let expected: Vec<_> = (1..=50)
        .map(|last| Ipv4Addr::new(127, 0, 0, last))
        .collect();
    assert_eq!(from, expected);
}

/// With every second port first, a connect looks at all the others' ports in vain where many are held.
#[test]
fn ports_are_taken_as_they_come() {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|n| n.parse::<u32>().ok());
    if numbers.next().zip(numbers.next()) < Some((6, 8)) {
        skip("before Linux 6.8 connect takes the even ports first");
        return;
    }
    let (address, received) = recorder();
    for source in ["", "--source 127.0.0.2"] {
        assert_right(&run(&format!("-n 50 -c 4 {source}"), &[&address]), 50);
        let ports = received.try_iter().map(|(peer, _)| peer.port());
        let odd = ports.filter(|port| port % 2 == 1).count();
        assert!((1..50).contains(&odd), "{odd} of 50 are odd");
    }
}

/// Where the first address of a name is dead, the server may be at another.
#[test]
fn a_name_is_looked_for_at_all_its_addresses() {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--mount", "sh", "-ec"]);
    let (hosts, name) = (TempPath::new("hosts"), "two-addresses.test");
    std::fs::write(&hosts.0, format!("127.0.0.1 {name}\n127.0.0.2 {name}\n")).unwrap();
    unshare.arg("mount --bind \"$0\" /etc/hosts && exec \"$@\"");
    unshare.arg(&hosts.0);
    let with_hosts = |program: &str, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(unshare.get_args()).arg(program);
        command.args(arguments);
        output(&mut command)
    };
    if !have("unshare") {
        return;
    }
    if !with_hosts("true", &[]).status.success() {
        skip("no mount namespace may be made here");
        return;
    }
    for host in ["127.0.0.1", "127.0.0.2"] {
        let server = Server::start_listening(1, &["--listen", &format!("{host}:0")]);
        let target = format!("{name}:{}", server.address().port());
        let check = with_hosts(LOAD, &["--check", &target]);
        assert_eq!(check.status.code(), Some(0), "{host}: {check:?}");
        let many = report(&with_hosts(LOAD, &["-n", "200", "--json", &target]));
        assert_eq!(number(&many, "right"), 200, "{host}: {many}");
    }
    let target = format!("{name}:1");
    let nowhere = report(&with_hosts(LOAD, &["-n", "20", "--json", &target]));
    assert_eq!(nowhere["wrong"], serde_json::json!({ "refused": 20 }));
}

#[test]
fn a_check_is_silent_or_says_one_line() {
    let check = |options: &str, target: &str, code: i32, line: &str| {
        let output = output(&mut load(&format!("--check {options}"), &[target]));
        let [stdout, stderr] = said(&output);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert_eq!(stdout, "");
        assert_eq!(
            stderr.lines().count(),
            usize::from(!line.is_empty()),
            "{stderr}"
        );
        assert!(stderr.starts_with("hello-load: ") && stderr.contains(line) || line.is_empty());
    };
    let (right, received) = recorder();
    check("", &right, 0, "");
    assert_eq!(received.try_iter().count(), 1, "one exchange");
    check("-n 5 --hold 5 -c 5", &right, 0, "");
    assert_eq!(received.try_iter().count(), 1, "whatever else is asked for");
    check("", &answering(|_| vec![]), 3, "no_echo");
    check("--timeout 100ms", &serve(hang), 3, "timed_out_greeting");
    check("--fail-if p50<1h", &right, 3, "p50<1h: it is ");
    check(
        "",
        "no-such-host.invalid:1",
        1,
        "cannot resolve no-such-host.invalid:1: ",
    );
}

/// One that was stopped has found nothing out, so it does not say that all is well.
#[test]
fn a_check_that_is_cut_short_fails() {
    let (sender, connected) = mpsc::channel();
    let target = serve(move |stream| {
        let _ = sender.send(());
        hang(stream)
    });
    let child = spawn(&mut load("--check", &[&target]));
    connected.recv_timeout(PATIENCE).unwrap();
    let output = interrupt(child);
    let [stdout, stderr] = said(&output);
    assert_eq!((output.status.code(), &*stdout), (Some(3), ""), "{stderr}");
    assert_eq!(stderr, "hello-load: cut short by a signal\n");
}

#[test]
fn conditions_decide_the_exit_code() {
    let (address, _received) = recorder();
    for (options, code, line) in [
        (
            "-n 20 --fail-if p99>1h --fail-if rate<1 --fail-if wrong>0",
            0,
            "",
        ),
        ("-n 20 --fail-if p99>1ns", 3, "hello-load: p99>1ns: it is "),
        (
            "-n 20 --fail-if rate<1000M --fail-if p99>1h",
            3,
            "hello-load: rate<1000M: it is ",
        ),
        (
            "-n 20 --fail-if right<21",
            3,
            "hello-load: right<21: it is 20\n",
        ),
        ("-n 20 --fail-if right<20", 0, ""),
        (
            "-n 0 --hold 1 --fail-if p99>1h",
            3,
            "p99>1h: nothing was measured\n",
        ),
    ] {
        let output = output(&mut load(&format!("-c 4 {options}"), &[&address]));
        let [_, stderr] = said(&output);
        assert_eq!(output.status.code(), Some(code), "{options}: {stderr}");
        assert!(stderr.contains(line), "{stderr}");
        let lines = 1 + usize::from(code == 3);
        assert_eq!(stderr.lines().count(), lines, "{stderr}");
    }
}

#[test]
fn wrong_usage_and_what_cannot_be_done() {
    for options in [
        "-c 0",
        "--payload 0",
        "--fail-if p99",
        "--nonsense",
        "-d 3",
        "-n -1",
    ] {
        let output = output(&mut load(options, &["127.0.0.1:1"]));
        let [stdout, stderr] = said(&output);
        assert_eq!(output.status.code(), Some(2), "{options}: {stderr}");
        assert!(
            stdout.is_empty() && stderr.starts_with("error: "),
            "{stderr}"
        );
    }
    let (address, received) = recorder();
    for (options, line) in [
        ("--hold 1000000", "1000000 are needed\n"),
        ("-n 1 --source 192.0.2.1", "cannot connect from 192.0.2.1: "),
        (
            "-n 1 --source ::1",
            ": it is of another family than every --source\n",
        ),
        (
            "-n 1 --html /nowhere/at/all",
            "cannot write /nowhere/at/all: ",
        ),
    ] {
        let output = output(&mut load(options, &[&address]));
        let [stdout, stderr] = said(&output);
        assert_eq!(output.status.code(), Some(1), "{options}: {stderr}");
        let last = stderr.lines().last().unwrap();
        assert!(
            stdout.is_empty() && last.starts_with("hello-load: "),
            "{stderr}"
        );
        assert!(stderr.contains(line), "{options}: {stderr}");
    }
    assert_eq!(received.try_iter().count(), 0, "nobody got so far");
}

/// Runs it with so many descriptors at most.
fn limited(descriptors: u32, options: &str, target: &str) -> Output {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, LOAD, "--json"]);
    output(command.args(options.split(' ')).arg(target))
}

/// What it says that it can open, it can; and an open loop that would need more is late.
#[test]
fn it_keeps_to_its_room() {
    let server = logging(&[]);
    let target = &server.addresses[0];
    let [_, stderr] = said(&limited(64, "-n 0", target));
    let room = stderr.strip_prefix("can open ").unwrap();
    let room: u64 = room.split(' ').next().unwrap().parse().unwrap();
    let all = limited(64, &format!("--hold {room}"), target);
    assert_eq!(number(&report(&all), "most_open"), room);
    let more = limited(64, &format!("--hold {}", room + 1), target);
    assert_eq!(more.status.code(), Some(1), "{more:?}");
    let late = limited(64, "-r 1000000 -n 1000 --hold 10", target);
    assert_eq!(
        (number(&report(&late), "right"), late.status.code()),
        (1010, Some(0))
    );
    let latency = &report(&late)["latency_us"];
    let max = |row: &str| latency[row]["max"].as_f64().unwrap();
    assert!(max("total") > max("total_raw"), "{latency}");
    assert_echoed(server, room + 1010);
}

/// More than any machine can do: it ends all the same, and says what it did not do.
#[test]
fn an_open_loop_says_what_it_owes() {
    let server = Server::start(&[]);
    let target = &*server.addresses[0];
    let (report, code) = run("-r 10M -d 100ms", &[target]);
    assert_eq!(code, Some(0), "{report}");
    let missed = number(&report, "missed");
    assert_eq!(missed + number(&report, "opened"), 1_000_000, "{report}");
    let output = output(&mut load("-r 10M -d 100ms --fail-if right<1M", &[target]));
    let [stdout, _] = said(&output);
    assert_eq!(output.status.code(), Some(3));
    assert!(stdout.contains("\nfell behind: "), "{stdout}");
    assert!(stdout.contains(" were never begun\n"), "{stdout}");
}

/// The server's timeout ends those that are held.
#[test]
fn held_connections_that_are_closed_are_named() {
    let server = Server::start(&["--timeout", "100ms"]);
    let options = "--hold 5 -r 1 -d 2s";
    let (report, code) = run(options, &[&server.addresses[0]]);
    let wrong = serde_json::json!({ "closed_held": 5 });
    assert_eq!((&report["wrong"], code), (&wrong, Some(3)), "{report}");
    let described = report["described"][0].as_str().unwrap();
    assert!(
        described.contains("while it was held") || described.contains("reset"),
        "{described}"
    );
}

/// What is wrong with the system and not with a connection ends a run, but not its report.
#[test]
fn a_run_that_fails_reports_what_there_was() {
    let (address, _received) = recorder();
    let options = "-n 10 -c 1 --source 127.0.0.1 --source 192.0.2.1";
    let (report, code) = run(options, &[&address]);
    assert_eq!(code, Some(1));
    assert_eq!(
        (number(&report, "right"), &report["cut_short"]),
        (1, &true.into())
    );
    let error = report["error"].as_str().unwrap();
    assert!(
        error.starts_with("cannot connect from 192.0.2.1: "),
        "{error}"
    );
    let [stdout, stderr] = said(&output(&mut load(options, &[&address])));
    assert!(
        stdout.starts_with(&format!("cut short: {error}\n")),
        "{stdout}"
    );
    assert!(
        stderr.ends_with(&format!("hello-load: {error}\n")),
        "{stderr}"
    );
}

const FEW_PORTS: &str = "echo 40000 40019 >/proc/sys/net/ipv4/ip_local_port_range
    ip address add 10.9.0.1/32 dev lo
    ip address add 127.0.0.4/30 dev lo || true";

#[test]
fn with_few_ports() {
    let test = "with_few_ports_in_a_network";
    util::in_a_network(PATIENCE, FEW_PORTS, test);
}

#[test]
#[ignore = "with_few_ports runs it in a network of its own"]
fn with_few_ports_in_a_network() {
    assert_rooms_are_as_said();
    // The side that closes first keeps the port, for a minute, and here that is the client.
    let wrong =
        Server::start_listening(1, &["--listen", "10.9.0.1:8001", "--greeting", "hullo\\n"]);
    let options = "-n 23 -c 4 --timeout 300ms";
    let (report, code) = run(options, &[&wrong.addresses[0]]);
    let expected = serde_json::json!({ "wrong_greeting": 20, "timed_out_connect": 3 });
    assert_eq!((&report["wrong"], code), (&expected, Some(3)), "{report}");
    let waited = report["waited_s"]["port"].as_f64().unwrap();
    assert!(waited >= 0.9, "{report}");
    let described = report["described"].to_string();
    assert!(
        described.contains("no local port was left; see --source"),
        "{described}"
    );
    // Where the range has the target's own port, a connect may meet itself.
    let (report, code) = run("-n 40 -c 2 --timeout 200ms", &["127.0.0.1:40007"]);
    let expected = serde_json::json!({ "refused": 40 });
    assert_eq!((&report["wrong"], code), (&expected, Some(3)), "{report}");
    assert!(
        report["described"].to_string().contains("refused"),
        "{report}"
    );
}

/// As many as it says that there is room for, there is.
fn assert_rooms_are_as_said() {
    let path = TempPath::new("room.sock");
    let unix = format!("unix:{}", path.as_str());
    let mut listen = vec!["--listen", "127.0.0.1:8000", "--listen", &unix];
    listen.extend(["--listen", "[::1]:8000"]);
    let _server = Server::start_listening(3, &listen);
    let few = "--source 127.0.0.1 --source 127.0.0.4/30";
    for (room, options, targets) in [
        (20, "", &["127.0.0.1:8000"][..]),
        (20, "", &["127.0.0.1:8000", "127.0.0.1:8000"]),
        (40, "", &["127.0.0.1:8000", "[::1]:8000"]),
        (40, "", &["127.0.0.1:8000", &unix]),
        (60, few, &["127.0.0.1:8000"]),
        (
            40,
            "--source 127.0.0.4/30 --source ::1",
            &["127.0.0.1:8000", "[::1]:8000"],
        ),
    ] {
        let [_, stderr] = said(&output(&mut load(&format!("-n 0 {options}"), targets)));
        assert!(
            stderr.starts_with(&format!("can open {room} connections")),
            "{stderr}"
        );
        let all = run(&format!("--hold {room} --timeout 5s {options}"), targets);
        assert_right(&all, room);
    }
}

#[test]
fn reports_go_where_they_are_asked_to() {
    let (right, _received) = recorder();
    let wrong = answering(|_| b"<script src=\"http://evil\">".to_vec());
    for (target, code) in [(&right, 0), (&wrong, 3)] {
        let file = TempPath::new("report.html");
        let mut command = load("-n 20 -c 4 --html", &[file.as_str(), target]);
        let [stdout, stderr] = said(&output(&mut command));
        assert!(stdout.starts_with("20 exchanges in "), "{stdout}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("can open "), "{stderr}");
        let page = std::fs::read_to_string(&file.0).unwrap();
        assert!(page.contains("<svg ") && page.contains("</svg>"), "{page}");
        assert_eq!(page.contains("wrong_echo<td>20"), code == 3, "{page}");
        for tag in [
            "<script", "<link", "<img", "@import", "url(", "src=\"", "href=",
        ] {
            assert!(!page.contains(tag), "{tag} in {page}");
        }
        assert_eq!(page.contains("http"), code == 3, "as text only: {page}");
    }
}

/// A reader that leaves, as head does, is an error like others; nothing panics.
#[test]
fn stdout_may_be_closed() {
    let (target, _received) = recorder();
    for options in ["-n 4", "-n 4 --json"] {
        let mut child = spawn(&mut load(options, &[&target]));
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let [_, stderr] = said(&output);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.ends_with("\nhello-load: Broken pipe (os error 32)\n"),
            "{stderr}"
        );
        let script = "exec \"$@\" >&-";
        let mut command = Command::new("sh");
        command
            .args(["-c", script, "sh", LOAD, &target])
            .args(options.split(' '));
        let closed = util::output(&mut command);
        assert_eq!(closed.status.code(), Some(0), "{closed:?}");
    }
}

/// Who waits for a report that cannot be written is not deaf.
#[test]
fn a_signal_ends_what_cannot_report() {
    let (target, received) = recorder();
    let (mut full, _unread) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.write(&[0; 4096]).is_ok() {}
    full.set_nonblocking(false).unwrap();
    let mut command = load("-n 1", &[&target]);
    let stdout = Stdio::from(std::os::fd::OwnedFd::from(full));
    let mut child = command
        .stdout(stdout)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    received.recv_timeout(PATIENCE).unwrap();
    let pid = child.id().to_string();
    let status = util::in_time("the end after a SIGINT or two", move || {
        // The first may come before the run is over, and only cut it short.
        loop {
            assert!(signal(&pid, "INT"));
            let patience = Duration::from_millis(100);
            if let Some(status) = util::status_within(patience, &mut child) {
                return status;
            }
        }
    });
    assert_eq!(status.code(), Some(130));
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

/// Ctrl-C, and what it says then.
fn interrupt(child: Child) -> Output {
    assert!(signal(&child.id().to_string(), "INT"));
    util::in_time("the end after a SIGINT", || {
        child.wait_with_output().unwrap()
    })
}

#[test]
fn an_interrupted_run_reports_what_there_was() {
    let (code, output) = interrupted("-d 1h -c 4 --hold 20 --json", |payload| payload);
    assert_cut_short(&output, 24);
    assert_eq!(code, Some(0), "what there was is right");
    let (code, output) = interrupted("-d 1h -c 4 --json", |_| b"hello?".to_vec());
    let report = assert_cut_short(&output, 4);
    assert_eq!(code, Some(3), "{report}");
    assert!(wrongs(&report) >= 96, "{report}");
    let (code, output) = interrupted("-d 1h -c 4", |payload| payload);
    let [stdout, _] = said(&output);
    assert_eq!(code, Some(0), "{stdout}");
    assert!(stdout.starts_with("cut short by a signal\n"), "{stdout}");
}

/// A run that is interrupted once a server that answers so has had 100 payloads.
fn interrupted(
    options: &str,
    answer: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
) -> (Option<i32>, Output) {
    let (sender, received) = mpsc::channel();
    let target = answering(move |payload| {
        let _ = sender.send(());
        answer(payload)
    });
    let child = spawn(&mut load(options, &[&target]));
    (0..100).for_each(|_| received.recv_timeout(PATIENCE).unwrap());
    let output = interrupt(child);
    (output.status.code(), output)
}

fn assert_cut_short(output: &Output, open: u64) -> Value {
    let report = report(output);
    assert_eq!(report["cut_short"], true, "{report}");
    assert!(
        (open - 4..=open).contains(&number(&report, "given_up")),
        "{report}"
    );
    assert!(number(&report, "opened") >= 100, "{report}");
    report
}

/// While it opens those that it will hold, and while it finishes them.
#[test]
fn an_interrupted_run_says_so_in_every_stage() {
    for (options, stage, reached) in [
        ("--hold 1000 --ramp 20", "opening", 5),
        ("--hold 50 -n 0 -c 4", "finishing", 4),
    ] {
        let (sender, events) = mpsc::channel();
        let target = serve(move |stream| {
            let _ = sender.send("opening");
            greet(stream)?;
            receive(stream, LENGTH)?;
            let _ = sender.send("finishing");
            hang(stream)
        });
        let child = spawn(&mut load(&format!("{options} --json"), &[&target]));
        let mut left = reached;
        while left > 0 {
            let event = events.recv_timeout(PATIENCE).unwrap();
            left -= i32::from(event == stage);
        }
        let report = report(&interrupt(child));
        assert_eq!(report["cut_short"], true, "{report}");
        let opened = number(&report, "opened");
        assert_eq!((number(&report, "given_up"), wrongs(&report)), (opened, 0));
        assert!((reached as u64..=50).contains(&opened), "{report}");
    }
}

/// A terminal that closes leaves no run behind that nobody sees.
#[test]
fn a_hangup_cuts_it_short() {
    let (target, received) = recorder();
    let child = spawn(&mut load("-d 1h -c 4 --json", &[&target]));
    (0..100).for_each(|_| drop(received.recv_timeout(PATIENCE).unwrap()));
    assert!(signal(&child.id().to_string(), "HUP"));
    let output = util::in_time("the end", || child.wait_with_output().unwrap());
    assert_cut_short(&output, 4);
}

/// In a terminal of its own, where Ctrl-C is typed.
#[test]
fn a_terminal_sees_progress() {
    if !have("script") {
        return;
    }
    let server = Server::start(&[]);
    // exec: a shell that waits for it would be interrupted, too, and its status is what is seen.
    let command = format!(
        "TERM=xterm exec {LOAD} -n {} -c 2 --hold 3 {}",
        u64::MAX,
        server.addresses[0]
    );
    let mut terminal = Client::start("script", &["-qec", &command, "/dev/null"]);
    terminal
        .expect("exchanging: ")
        .expect(" 0 wrong,")
        .expect(" left");
    let (seen, status) = terminal.send(b"\x03").expect("seed ").finish();
    assert_eq!(status.code(), Some(0), "{seen}");
    assert!(
        seen.contains("can open ") && seen.contains("cut short by a signal"),
        "{seen}"
    );
}
