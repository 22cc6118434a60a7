//! The metrics that hello-load serves while it runs: they agree with what happened, and no scraper
//! delays the run.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use super::*;
use crate::metrics::assert_linted;
use crate::util::{TempPath, connect, connect_unix, have};

const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n";

/// A run with metrics on a port of its own, and where they are: stderr tells.
pub(super) fn watched(options: &str, targets: &[&str]) -> (Child, SocketAddr) {
    let mut command = load(&format!("--metrics 127.0.0.1:0 {options}"), targets);
    let mut child = spawn(&mut command);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let address = util::in_time("the metrics' address", move || {
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let (_, address) = line.split_once("metrics at http://").unwrap();
        let (address, _) = address.split_once("/metrics\n").unwrap();
        address.parse().unwrap()
    });
    (child, address)
}

fn page(address: SocketAddr) -> String {
    ask(connect(address))
}

fn ask(mut stream: impl Read + Write) -> String {
    stream.write_all(REQUEST).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    body.to_owned()
}

/// The samples of the page, without their common prefix.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let name = name.strip_prefix("hello_load_").unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    samples.map(sample).collect()
}

/// Waits until the page has these samples, which it must come to, and returns it.
pub(super) fn await_samples(
    address: SocketAddr,
    expected: &[(String, f64)],
) -> BTreeMap<String, f64> {
    let start = Instant::now();
    loop {
        let page = page(address);
        let samples = samples(&page);
        if expected.iter().all(|(name, value)| samples[name] == *value) {
            return samples;
        }
        assert!(start.elapsed() < PATIENCE, "{expected:?}\n{page}");
    }
}

/// Right and wrong exchanges with two targets, beside held connections that keep the run going.
#[test]
fn they_agree_with_what_happened() {
    let server = Server::start(&[]);
    let right = &*server.addresses[0];
    let wrong = answering(|_| vec![]);
    // It never greets, so the run goes on when the exchanges with the others are over.
    let silent = serve(hang);
    let targets = [right, &wrong, &silent];
    let (child, address) = watched("-n 30 -c 10 --timeout 0s", &targets);
    let of = |name: &str, target: &str, more: &str| format!("{name}{{target=\"{target}\"{more}}}");
    let expected = [
        (of("exchanges_total", right, ",outcome=\"right\""), 10.0),
        (of("exchanges_total", &wrong, ",outcome=\"no_echo\""), 10.0),
        (of("exchanges_total", &silent, ",outcome=\"right\""), 0.0),
        (of("connections_open", right, ""), 0.0),
        (of("connections_open", &wrong, ""), 0.0),
        (of("connections_open", &silent, ""), 10.0),
        (of("exchange_duration_seconds_count", right, ""), 10.0),
        (of("exchange_duration_seconds_count", &wrong, ""), 0.0),
        (
            of("phase_duration_seconds_count", right, ",phase=\"eof\""),
            10.0,
        ),
        (
            of(
                "phase_duration_seconds_count",
                &wrong,
                ",phase=\"greeting\"",
            ),
            10.0,
        ),
        (
            of("phase_duration_seconds_count", &wrong, ",phase=\"echo\""),
            0.0,
        ),
        ("exchanges_overdue".to_owned(), 0.0),
        ("late_begins_total".to_owned(), 0.0),
    ];
    let samples = await_samples(address, &expected);
    // A bucket has those below it, too; the last has all.
    let buckets = samples.iter().filter(|(name, _)| {
        name.starts_with(&format!(
            "exchange_duration_seconds_bucket{{target=\"{right}\""
        ))
    });
    assert_eq!(buckets.clone().count(), 19);
    let most = buckets.map(|(_, count)| *count).fold(0.0, f64::max);
    assert_eq!(most, 10.0);
    let sum = samples[&of("exchange_duration_seconds_sum", right, "")];
    assert!(sum > 0.0 && sum < 10.0 * PATIENCE.as_secs_f64(), "{sum}");
    let output = interrupt(child);
    assert_eq!(output.status.code(), Some(130), "{output:?}");
}

/// An interval begins a record anew, and no counter.
#[test]
fn counters_go_on_through_intervals() {
    let (target, received) = recorder();
    let (child, address) = watched("-d 1h -c 4 --interval 100ms --json", &[&target]);
    let right = format!("exchanges_total{{target=\"{target}\",outcome=\"right\"}}");
    let (mut last, start) = (0.0, Instant::now());
    // Some are right in the first second, and some later.
    let mut early = 0.0;
    while start.elapsed() < Duration::from_secs(1) || last == early {
        assert!(start.elapsed() < PATIENCE, "{early} and {last}");
        received.try_iter().for_each(drop);
        let now = samples(&page(address))[&right];
        assert!(now >= last, "{now} after {last}");
        last = now;
        if early == 0.0 || start.elapsed() < Duration::from_millis(500) {
            early = now;
        }
    }
    let output = interrupt(child);
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    let counts = lines.map(|line| {
        let line: Value = serde_json::from_slice(line).unwrap();
        number(&line, "right")
    });
    let mut counts: Vec<u64> = counts.collect();
    let whole = counts.pop();
    assert_eq!(whole, Some(counts.iter().sum::<u64>()));
    assert!(counts.len() >= 2, "{counts:?}");
    assert!(
        counts.iter().sum::<u64>() as f64 >= last,
        "{counts:?} {last}"
    );
    assert!(
        *counts.iter().max().unwrap() < last as u64,
        "{counts:?} {last}"
    );
}

/// Names, units, types and help are what Prometheus' own linter wants.
#[test]
fn the_metrics_pass_the_linter() {
    if !have("promtool") {
        return;
    }
    let odd = "unix:/nowhere/\"quoted\"\\\n";
    let (child, address) = watched("-d 1h -r 10", &[odd, "127.0.0.1:1"]);
    assert_linted(&page(address));
    interrupt(child);
}

/// Requests that begin and do not end have 16 places, and block neither a scraper nor the run.
#[test]
fn slow_requests_block_nobody() {
    let (target, received) = recorder();
    let (child, address) = watched("-d 1h -c 4", &[&target]);
    let mut slow = vec![];
    for i in 0..100 {
        let mut stream = connect(address);
        stream.write_all(&REQUEST[..i % REQUEST.len()]).unwrap();
        slow.push(stream);
        if i % 20 == 0 {
            assert!(page(address).contains("hello_load_build_info"));
            received.try_iter().for_each(drop);
            (0..20).for_each(|_| drop(received.recv_timeout(PATIENCE).unwrap()));
        }
    }
    assert!(page(address).contains("hello_load_build_info"));
    let open = std::fs::read_dir(format!("/proc/{}/fd", child.id()))
        .unwrap()
        .count();
    assert!(open < 16 + 1 + 4 + 20, "{open} descriptors");
    let output = interrupt(child);
    assert_eq!(output.status.code(), Some(130));
}

/// Every descriptor that is left holds a connection, and the metrics have theirs.
#[test]
fn they_answer_at_the_descriptor_limit() {
    let server = Server::start(&[]);
    let script = "ulimit -n 80; exec \"$0\" \"$@\"";
    let room = |more: &[&str]| {
        let mut command = Command::new("sh");
        command
            .args(["-c", script, LOAD, "--hold", "1M"])
            .args(more);
        let [_, stderr] = said(&output(command.arg(&server.addresses[0])));
        let (_, room) = stderr.split_once("can open ").unwrap();
        room.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let without = room(&[]);
    let most = room(&["--metrics", "127.0.0.1:0"]);
    assert!(most + 17 <= without, "{most} and {without}");
    let path = TempPath::new("load.sock");
    let mut command = Command::new("sh");
    command.args(["-c", script, LOAD, "-d", "1h", "-r", "1"]);
    command.args(["--hold", &(most - 1).to_string()]);
    command.args(["--metrics", &format!("unix:{}", path.as_str())]);
    let mut child = spawn(command.arg(&server.addresses[0]));
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert_eq!(
        line,
        format!("metrics on unix:{}, at /metrics\n", path.as_str())
    );
    let held = format!("connections_open{{target=\"{}\"}}", server.addresses[0]);
    let start = Instant::now();
    while samples(&ask(connect_unix(&path)))[&held] < (most - 1) as f64 {
        assert!(start.elapsed() < PATIENCE, "they are not all open");
    }
    let scrapers: Vec<_> = (0..16).map(|_| connect_unix(&path)).collect();
    for scraper in scrapers {
        assert!(ask(scraper).contains("hello_load_build_info"));
    }
    assert_eq!(interrupt(child).status.code(), Some(130));
}

#[test]
fn an_address_that_cannot_be_had_is_an_error() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let (target, received) = recorder();
    let output = output(&mut load(&format!("-n 1 --metrics {taken}"), &[&target]));
    let [stdout, stderr] = said(&output);
    assert_eq!((output.status.code(), &*stdout), (Some(1), ""), "{stderr}");
    assert!(
        stderr.starts_with(&format!("hello-load: cannot listen on {taken}: ")),
        "{stderr}"
    );
    assert_eq!(received.try_iter().count(), 0);
}

/// So few descriptors that exchanges wait for each other. The lines share out what the metrics add up.
#[test]
fn a_shortage_is_told_while_the_run_goes_on() {
    let slow = serve(|stream| {
        greet(stream)?;
        let payload = receive(stream, LENGTH)?;
        std::thread::sleep(Duration::from_millis(50)); // what the answer takes
        stream.write_all(&payload)
    });
    let metrics = TempPath::new("metrics.sock");
    let script = "ulimit -n 48; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, LOAD, "--json", "-d", "1h", "-r", "1000"]);
    command.args(["--interval", "100ms", "--metrics"]);
    let mut child = spawn(command.args([&format!("unix:{}", metrics.as_str()), &slow]));
    let mut stdout = child.stdout.take().unwrap();
    // An interval would go on while nobody reads its line.
    let reader = std::thread::spawn(move || {
        let mut said = vec![];
        stdout.read_to_end(&mut said).map(|_| said)
    });
    let name = "waited_seconds_total{shortage=\"descriptor\"}";
    let at_least = |least: f64| {
        let start = Instant::now();
        loop {
            let waited = std::os::unix::net::UnixStream::connect(&metrics.0)
                .map_or(0.0, |stream| {
                    samples(&ask(stream)).get(name).copied().unwrap_or(0.0)
                });
            if waited > least {
                return waited;
            }
            assert!(start.elapsed() < PATIENCE, "{waited}");
        }
    };
    let waited = at_least(at_least(1.0) + 1.0);
    interrupt(child);
    let lines = interval::lines(&reader.join().unwrap().unwrap());
    let told = lines
        .iter()
        .filter_map(|line| line["waited_s"]["descriptor"].as_f64());
    let told: Vec<f64> = told.collect();
    assert!(told.len() > 1, "{told:?}");
    assert!(told.iter().sum::<f64>() >= waited, "{told:?} {waited}");
}
