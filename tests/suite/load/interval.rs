//! A line each interval: what they say adds up to the run, and nobody who does not read them holds it up.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;
use crate::util::TempPath;

/// The lines about the intervals of a run, each a report of its own. Every connection is accounted for
/// in each, and the last line, which is about the whole run, is their sum.
pub(super) fn lines(stdout: &[u8]) -> Vec<Value> {
    let lines = stdout.split_inclusive(|byte| *byte == b'\n');
    let line = |line: &[u8]| -> Value {
        let report: Value = serde_json::from_slice(line).unwrap();
        let over = number(&report, "right") + wrongs(&report) + number(&report, "given_up");
        assert_eq!(number(&report, "opened"), over, "{report}");
        report
    };
    let mut lines: Vec<Value> = lines.map(line).collect();
    let whole = lines.pop().unwrap();
    assert!(whole.get("open").is_none(), "{whole}");
    for name in [
        "opened",
        "right",
        "given_up",
        "held",
        "bytes_sent",
        "bytes_received",
    ] {
        assert_eq!(sum(&lines, name), number(&whole, name), "{name}");
    }
    lines
}

fn sum(lines: &[Value], name: &str) -> u64 {
    lines.iter().map(|line| number(line, name)).sum()
}

/// Held connections and exchanges, of two targets: the sum over the lines is what the servers saw.
#[test]
fn the_lines_add_up_to_the_run() {
    let servers = [util::logging(PATIENT), util::logging(PATIENT)];
    let targets = [0, 1].map(|i| &*servers[i].addresses[0]);
    let mut command = load("--hold 50 -n 800 -r 1000 --interval 100ms --json", &targets);
    let output = output(&mut command);
    let lines = lines(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!((2..=60).contains(&lines.len()), "{}", lines.len());
    for name in ["opened", "right"] {
        assert_eq!(sum(&lines, name), 850, "{name}");
    }
    assert_eq!(sum(&lines, "held"), 50);
    assert_eq!(sum(&lines, "bytes_sent"), 850 * 1000);
    assert_eq!(sum(&lines, "bytes_received"), 850 * 1006);
    let times = lines.iter().map(|line| &line["latency_us"]["total"]);
    let times: Vec<&Value> = times.collect();
    assert_eq!(
        times.iter().map(|row| number(row, "count")).sum::<u64>(),
        800
    );
    let (last, others) = lines.split_last().unwrap();
    assert_eq!(number(last, "open"), 0);
    // While exchanges come and go, the held are there.
    assert!(others[1..].iter().any(|line| number(line, "open") >= 50));
    for target in 0..2 {
        let tallies = lines.iter().map(|line| &line["by_target"][target]);
        let right: u64 = tallies.filter_map(|tally| tally["right"].as_u64()).sum();
        assert!(right > 0, "{target}");
    }
    for server in servers {
        assert_echoed(server, 425);
    }
}

/// The threads are cut one after the other where an interval ends. The report of the whole run is one
/// that can be shown and read all the same.
#[test]
fn a_run_of_threads_can_be_read_again() {
    let server = Server::start(&[]);
    let (page, file) = (TempPath::new("threads.html"), TempPath::new("threads.json"));
    let options = "-d 330ms --threads 16 --interval 100ms --json --html";
    for _ in 0..5 {
        let mut command = load(
            &format!("{options} {}", page.as_str()),
            &[&server.addresses[0]],
        );
        let run = output(&mut command);
        assert_eq!(run.status.code(), Some(0), "{run:?}");
        fs::write(&file.0, &run.stdout).unwrap();
        let merged = output(&mut load("--merge", &[file.as_str()]));
        assert_eq!(merged.status.code(), Some(0), "{merged:?}");
    }
}

/// The report comes behind the lines, and is the whole run's.
#[test]
fn the_report_is_of_the_whole_run() {
    let server = Server::start(&[]);
    let mut command = load("-n 300 -r 1000 --interval 100ms", &[&server.addresses[0]]);
    let output = output(&mut command);
    let [stdout, stderr] = said(&output);
    assert_eq!((output.status.code(), &*stderr), (Some(0), ""), "{stdout}");
    let (lines, report) = stdout.split_once("\n\n").unwrap();
    let done = |line: &str| -> u64 {
        let (_, rest) = line.split_once("Z ").unwrap();
        let (done, _) = rest.split_once(" exchanges in ").unwrap();
        done.parse().unwrap()
    };
    assert!(lines.lines().count() >= 3, "{stdout}");
    assert_eq!(lines.lines().map(done).sum::<u64>(), 300, "{stdout}");
    assert!(report.starts_with("300 exchanges in "), "{stdout}");
    assert!(
        lines.lines().all(|line| line.contains(" open; ")),
        "{stdout}"
    );
}

#[test]
fn a_line_says_what_was_wrong() {
    let target = answering(|_| vec![]);
    let [stdout, _] = said(&output(&mut load("-n 20 --interval 1h", &[&target])));
    let line = stdout.lines().next().unwrap();
    assert!(line.contains("Z 20 exchanges in "), "{stdout}");
    assert!(
        line.contains(" 20 wrong (20 no_echo), p50 –, p99 –, 0 open; "),
        "{stdout}"
    );
    assert!(stdout.contains("\n\n20 exchanges in "), "{stdout}");
}

/// Nobody reads stdout until the run is over. The server has had all exchanges by then, and nothing is
/// lost: lines that had no room are in the next.
#[test]
fn a_reader_that_sleeps_holds_nothing_up() {
    let (target, received) = recorder();
    let (full, unread) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    let mut filler = 0;
    while let Ok(n) = (&full).write(&[b' '; 4096]) {
        filler += n;
    }
    full.set_nonblocking(false).unwrap();
    let mut command = load("-n 500 -r 1000 --interval 100ms --json", &[&target]);
    let stdout = std::os::fd::OwnedFd::from(full);
    let mut child = command.stdout(Stdio::from(stdout)).spawn().unwrap();
    drop(command); // it has the other copy of stdout
    (0..500).for_each(|_| drop(received.recv_timeout(PATIENCE).unwrap()));
    let said = util::in_time("the lines", move || {
        let mut said = vec![];
        (&unread).read_to_end(&mut said).unwrap();
        said
    });
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let lines = lines(&said[filler..]);
    assert_eq!(sum(&lines, "right"), 500, "{lines:?}");
    let dropped = sum(&lines, "dropped_lines");
    assert!(dropped >= 1, "{lines:?}");
    let (first, last) = (&lines[0], &lines[lines.len() - 1]);
    assert_eq!(number(first, "dropped_lines"), 0, "{first}");
    assert_eq!(number(last, "dropped_lines"), dropped, "{last}");
}

/// As head(1) does. The run goes on to its end.
#[test]
fn a_reader_may_leave() {
    let (target, received) = recorder();
    let mut child = spawn(&mut load("-n 500 -r 1000 --interval 100ms", &[&target]));
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    drop(stdout);
    assert!(line.contains(" exchanges in "), "{line}");
    (0..500).for_each(|_| drop(received.recv_timeout(PATIENCE).unwrap()));
    let output = util::in_time("the end", || child.wait_with_output().unwrap());
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
}

#[test]
fn an_interrupted_run_has_a_last_line() {
    let (target, received) = recorder();
    let child = spawn(&mut load("-d 1h -c 4 --interval 100ms --json", &[&target]));
    (0..100).for_each(|_| drop(received.recv_timeout(PATIENCE).unwrap()));
    let output = interrupt(child);
    assert_eq!(output.status.code(), Some(130));
    let lines = lines(&output.stdout);
    let (last, others) = lines.split_last().unwrap();
    assert_eq!(last["cut_short"], true);
    assert!(others.iter().all(|line| line["cut_short"] == false));
    assert!(sum(&lines, "right") >= 96, "{lines:?}");
    assert_eq!(
        sum(&lines, "opened"),
        sum(&lines, "right") + number(last, "given_up")
    );
}

/// A pause of the load client itself is told by the line of its interval, and by no other.
#[test]
fn a_line_says_that_the_client_stood_still() {
    let (target, received) = recorder();
    let child = spawn(&mut load("-d 1h -c 4 --interval 100ms --json", &[&target]));
    let pid = child.id().to_string();
    (0..100).for_each(|_| drop(received.recv_timeout(PATIENCE).unwrap()));
    assert!(signal(&pid, "STOP"));
    std::thread::sleep(Duration::from_millis(1500)); // the pause itself
    assert!(signal(&pid, "CONT"));
    received.try_iter().for_each(drop);
    (0..1000).for_each(|_| drop(received.recv_timeout(PATIENCE).unwrap()));
    let lines = lines(&interrupt(child).stdout);
    let stood_still = |line: &&Value| line["stood_still_s"].as_f64().unwrap() > 1.0;
    assert_eq!(lines.iter().filter(stood_still).count(), 1, "{lines:?}");
}

#[test]
fn intervals_have_limits() {
    for options in [
        "--interval 0s",
        "--interval 99ms",
        "--interval 1",
        "--interval 1s --check",
    ] {
        let output = output(&mut load(options, &["127.0.0.1:1"]));
        assert_eq!(output.status.code(), Some(2), "{options}");
    }
    let server = Server::start(&[]);
    for options in ["-n 1 --interval 100ms", "-n 1 --interval 9999999999h"] {
        let output = output(&mut load(options, &[&server.addresses[0]]));
        assert_eq!(output.status.code(), Some(0), "{options}: {output:?}");
    }
}
