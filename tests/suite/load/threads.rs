//! Runs of several threads: together they do exactly what was asked for.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hello_echo::load::{Load, Stage};
use nix::sys::signal::Signal;

use super::*;
use crate::util::{TempPath, have_strace, logging};

/// Every connection is counted once, every payload is another one, and no thread has less than its part.
#[test]
fn threads_share_the_whole() {
    let server = logging(PATIENT);
    let target = &*server.addresses[0];
    let mut exchanges = 0;
    for (options, threads, opened, most_open) in [
        ("-n 1000 -c 3 --threads 3", 3, 1000, 3),
        ("-n 1001 -c 7 --threads 2", 2, 1001, 7),
        ("-n 5 -c 64 --threads 5", 5, 5, 5),
        ("--hold 100 -c 9 --threads 4", 4, 100, 100),
        (
            "--hold 101 --ramp 2000 -n 501 -c 10 --threads 3",
            3,
            602,
            111,
        ),
        ("-r 2000 -n 333 --threads 7", 7, 333, 333),
    ] {
        let run = run(options, &[target]);
        assert_right(&run, opened);
        let (report, _) = run;
        let all = report["threads"].as_array().unwrap();
        assert_eq!(all.len(), threads, "{options}: {report}");
        assert!(
            number(&report, "most_open") <= most_open,
            "{options}: {report}"
        );
        let by_target = &report["by_target"][0];
        assert_eq!(number(by_target, "right"), opened, "{options}");
        exchanges += opened;
    }
    assert_echoed(server, exchanges);
}

/// A target that is named twice, as to see what a comparison says of equals, is two targets in every
/// thread.
#[test]
fn a_target_that_is_named_twice_has_two_halves() {
    let server = Server::start(&[]);
    let target = &*server.addresses[0];
    let (report, code) = run("-n 600 --threads 3 --compare", &[target, target]);
    assert_eq!(code, Some(0), "{report}");
    let halves = [0, 1].map(|place| number(&report["by_target"][place], "right"));
    assert_eq!(halves, [300, 300], "{report}");
}

#[test]
fn no_payload_is_sent_twice() {
    let (target, received) = recorder();
    let (report, code) = run("-n 500 -c 12 --threads 3", &[&target]);
    assert_eq!(code, Some(0), "{report}");
    let payloads: BTreeSet<Vec<u8>> = received.try_iter().map(|(_, payload)| payload).collect();
    assert_eq!(payloads.len(), 500);
}

/// The other connection may belong to another thread.
#[test]
fn an_echo_of_another_thread_is_a_foreign_one() {
    let last = std::sync::Mutex::new(Vec::new());
    let target = answering(move |payload| {
        let mut last = last.lock().unwrap();
        let before = std::mem::replace(&mut *last, payload);
        if before.is_empty() {
            last.clone()
        } else {
            before
        }
    });
    let (report, code) = run("-n 200 -c 2 --threads 2", &[&target]);
    assert_eq!(
        report["wrong"],
        serde_json::json!({ "foreign_echo": 199 }),
        "{report}"
    );
    assert_eq!(code, Some(3));
}

/// All of them, also those that wait for the others or sleep. Only the first one receives signals.
#[test]
fn a_signal_ends_all_threads() {
    for options in [
        "-d 1h -c 4",
        "--hold 8 -r 40 -d 1h",
        "--hold 1000 --ramp 40",
    ] {
        let (sender, connected) = mpsc::channel();
        let target = serve(move |stream| {
            let _ = sender.send(());
            greet(stream)?;
            let payload = receive(stream, LENGTH)?;
            stream.write_all(&payload)
        });
        let options = format!("{options} --threads 4 --json");
        let child = spawn(&mut load(&options, &[&target]));
        (0..20).for_each(|_| connected.recv_timeout(PATIENCE).unwrap());
        let deaf: Vec<bool> = tasks(child.id()).map(blocks_sigterm).collect();
        assert_eq!(deaf, [false, true, true, true], "{options}");
        let output = interrupt(child);
        assert_eq!(output.status.code(), Some(130), "{options}");
        assert_eq!(report(&output)["cut_short"], true, "{options}");
    }
}

/// The threads of a process, in the order in which they were started.
fn tasks(pid: u32) -> impl Iterator<Item = PathBuf> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut tasks: Vec<PathBuf> = tasks.map(|task| task.unwrap().path()).collect();
    tasks.sort();
    tasks.into_iter()
}

fn blocks_sigterm(task: PathBuf) -> bool {
    let status = std::fs::read_to_string(task.join("status")).unwrap();
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
    mask & 1 << (Signal::SIGTERM as i32 - 1) != 0
}

#[test]
fn an_endless_run_of_threads_ends_in_order() {
    let (target, received) = recorder();
    let child = spawn(&mut load(
        "-d 0 -c 8 --hold 9 --threads 3 --json",
        &[&target],
    ));
    (0..100).for_each(|_| drop(received.recv_timeout(PATIENCE).unwrap()));
    let output = interrupt(child);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!(
        number(&report, "right"),
        number(&report, "opened"),
        "{report}"
    );
    assert_eq!(number(&report, "held"), 9);
}

/// Each thread has one exchange, from a source of its own. The error is the second thread's, and the
/// first one waits for that thread then.
#[test]
fn an_error_of_one_thread_ends_all() {
    let server = Server::start(&[]);
    let options = "-n 2 -c 2 --threads 2 --source 127.0.0.1 --source 192.0.2.1";
    let output = output(&mut load(options, &[&server.addresses[0]]));
    let [_, stderr] = said(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot connect from 192.0.2.1"), "{stderr}");
}

/// While exchanges come and go, no thread waits for another one: the calls with which threads wait do
/// not grow with their number.
#[test]
fn threads_wait_for_nothing_in_between() {
    if !have_strace() {
        return;
    }
    let server = Server::start(&[]);
    let calls = |exchanges: u32| {
        let trace = TempPath::new("futex");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o", trace.as_str(), "-e", "trace=futex,write", LOAD]);
        let exchanges = exchanges.to_string();
        strace.args(["-n", &exchanges, "-c", "16", "--threads", "2", "--json"]);
        let output = output_within(3 * PATIENCE, strace.arg(&server.addresses[0]));
        let seconds = report(&output)["seconds"].as_f64().unwrap();
        let calls = trace.text().lines().count() as f64;
        println!("{calls} calls in {seconds} s");
        calls - 2.0 * (seconds * 10.0) // it tells how far it is ten times a second
    };
    let few = calls(100);
    let many = calls(10_000);
    assert!(many < few + 100.0, "{few} and {many} calls");
}

/// A record that is gathered has all threads in it, at any time.
#[test]
fn a_record_is_gathered_while_the_run_goes_on() {
    let server = Server::start(PATIENT);
    let mut options = util::load_options(&server.addresses[0], 3000, 10);
    options.threads = 3;
    let mut load = Load::new(options).unwrap();
    let (mut right, mut changes) = (0, 0);
    while load.turn(PATIENCE).unwrap() {
        load.gather();
        let outcomes = &load.record().outcomes;
        assert!(
            outcomes.open() <= 10 && outcomes.right >= right,
            "{outcomes:?}"
        );
        changes += u32::from(outcomes.right > right);
        right = outcomes.right;
    }
    assert!(changes > 3, "{changes} changes");
    assert!(right > 1000, "{right} is one thread's part");
    assert_eq!(load.record().outcomes.right, 3000);
    assert_eq!(load.record().threads.len(), 3);
    let took = load.elapsed();
    assert!(!load.turn(PATIENCE).unwrap(), "it is over");
    assert_eq!(load.elapsed(), took);
}

/// Then a record is always up to date.
#[test]
fn with_one_thread_there_is_nothing_to_gather() {
    let server = Server::start(PATIENT);
    let mut load = Load::new(util::load_options(&server.addresses[0], 100, 1)).unwrap();
    while load.turn(PATIENCE).unwrap() {
        load.gather();
        while load.record().outcomes.right < 50 && load.turn(PATIENCE).unwrap() {}
        assert!(load.record().outcomes.right >= 50);
    }
}

/// It is the mean of what the threads report, each 10 times a second.
#[test]
fn progress_is_that_of_all_threads() {
    let server = Server::start(PATIENT);
    let mut options = util::load_options(&server.addresses[0], 200, 10);
    (options.plan.rate, options.threads) = (Some(100), 3);
    let mut load = Load::new(options).unwrap();
    let mut seen = vec![load.progress()];
    while load.turn(PATIENCE).unwrap() {
        seen.push(load.progress());
    }
    assert!(
        seen.iter().all(|part| (0.0..=1.0).contains(part)),
        "{seen:?}"
    );
    let most = seen.iter().copied().fold(0.0, f64::max);
    assert!(seen[0] < 0.1 && most > 0.4, "{} to {most}", seen[0]);
}

/// With one thread there is no other, and nothing for one.
#[test]
fn one_thread_is_one() {
    let (target, received) = recorder();
    let child = spawn(&mut load("-d 1h -c 4", &[&target]));
    (0..20).for_each(|_| drop(received.recv_timeout(PATIENCE).unwrap()));
    assert_eq!(tasks(child.id()).count(), 1);
    interrupt(child);
}

/// Nobody turns it any more, so its threads end by themselves.
#[test]
fn a_run_that_is_dropped_ends_its_threads() {
    let (sender, events) = mpsc::channel();
    let silent = serve(move |stream| {
        let _ = sender.send("came");
        hang(stream)?;
        let _ = sender.send("left");
        Ok(())
    });
    let mut options = util::load_options(&silent, 30, 30);
    (options.threads, options.timeout) = (3, Duration::ZERO);
    let mut load = Load::new(options).unwrap();
    let (mut came, start) = (0, Instant::now());
    while came < 30 {
        assert!(start.elapsed() < PATIENCE, "{came} of 30 have come");
        load.turn(Duration::from_millis(10)).unwrap();
        came += events.try_iter().filter(|event| *event == "came").count();
    }
    drop(load);
    (0..30).for_each(|_| assert_eq!(events.recv_timeout(PATIENCE), Ok("left")));
}

/// The exchange of the second thread is due after half a second, and its source is not here. A thread that has
/// ended sends no record before the run is over.
#[test]
fn a_thread_that_has_ended_is_not_waited_for() {
    let server = Server::start(&[]);
    let mut options = util::load_options(&server.addresses[0], 1 << 40, 2);
    (options.threads, options.plan.rate) = (2, Some(2));
    options.sources = ["127.0.0.1", "192.0.2.1"]
        .map(|ip| ip.parse().unwrap())
        .into();
    let mut load = Load::new(options).unwrap();
    while load.stage() != Stage::Churn {
        load.turn(Duration::from_millis(10)).unwrap();
    }
    let began = Instant::now();
    let mut load = util::in_time("the records", move || {
        while began.elapsed() < Duration::from_secs(1) {
            load.gather();
        }
        load
    });
    let ended = loop {
        match load.turn(PATIENCE) {
            Ok(true) => {}
            ended => break ended,
        }
    };
    let error = ended.err().unwrap().to_string();
    assert!(
        error.starts_with("cannot connect from 192.0.2.1"),
        "{error}"
    );
}
