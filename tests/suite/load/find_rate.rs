//! The search for the highest rate that keeps a goal. How fast this machine is decides none of these
//! tests: they check that what is reported follows from the windows.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use hello_echo::load::search::{Aim, Bound, Search, Step, Window};

use super::*;
use crate::util::{TempPath, have, have_strace, with_fault};

/// What the report says of a search, which took `seconds` at most, as `-d` says.
struct Reported<'a> {
    report: &'a Value,
    seconds: u64,
    limit: Option<Duration>,
    quantile: f64,
}

impl Reported<'_> {
    fn windows(&self) -> &Vec<Value> {
        self.report["search"]["windows"].as_array().unwrap()
    }

    /// The search decides the same again if it is told of the same windows.
    fn assert_follows(&self) {
        let mut search = Search::new(Aim {
            start: 100,
            most: 10_000_000,
            budget: Duration::from_secs(self.seconds),
            quantile: self.quantile,
            limit: self.limit,
        });
        for window in self.windows() {
            let Step::Run(trial) = search.step() else {
                panic!("it was over before {window}: {}", self.report);
            };
            assert_eq!(trial.rate, number(window, "rate"), "{}", self.report);
            search.handle_window(told(window));
        }
        search.finish();
        let Step::Over(found) = search.step() else {
            panic!("it is not over: {search:?}");
        };
        let said = &self.report["search"];
        let rate = self.report["found_rate"].as_u64();
        assert_eq!(rate, found.map(|found| found.rate), "{}", self.report);
        let Some(found) = found else {
            assert!(said["bound"].is_null() && said["samples"].is_null());
            return;
        };
        assert_eq!(said["fails"].as_u64(), found.fails, "{said}");
        assert_eq!(said["confirmed"], found.is_confirmed, "{said}");
        assert_eq!(said["samples"], found.samples, "{said}");
        // The times are those of the windows that held at the rate found.
        let held = self.windows().iter();
        let held = held.filter(|w| w["rate"] == found.rate && w["holds"] == true);
        let given_up: u64 = held.clone().map(|w| number(w, "given_up")).sum();
        assert!(held.count() > 0, "{said}");
        let times = &self.report["latency_us"]["total"];
        assert_eq!(number(times, "count") + given_up, found.samples, "{said}");
        assert_eq!(self.report["asked_rate"], found.rate);
    }
}

/// The window as the search was told of it.
fn told(window: &Value) -> Window {
    let bound = window["bound"].as_str();
    assert_eq!(window["holds"], bound.is_none(), "{window}");
    let told = Window {
        rate: number(window, "rate"),
        achieved: window["achieved"].as_f64().unwrap(),
        holds: bound != Some("goal"),
        is_wrong: bound == Some("wrong"),
        is_missed: bound == Some("client"),
        samples: number(window, "samples"),
        took: Duration::from_secs_f64(window["seconds"].as_f64().unwrap()),
    };
    let expected = match bound {
        None => None,
        Some("goal") => Some(Bound::Goal),
        Some("rate") => Some(Bound::Rate),
        Some("wrong") => Some(Bound::Wrong),
        Some("client") => Some(Bound::Client),
        Some(other) => panic!("{other}"),
    };
    assert_eq!(told.failure(), expected, "{window}");
    told
}

/// A server that gives an answer every `every`, however many wait.
fn one_at_a_time(every: Duration) -> String {
    let next = Mutex::new(Instant::now());
    serve(move |stream| {
        greet(stream)?;
        let payload = receive(stream, LENGTH)?;
        let turn = {
            let mut next = next.lock().unwrap();
            *next = Instant::now().max(*next + every);
            *next
        };
        std::thread::sleep(turn.saturating_duration_since(Instant::now())); // what the answer takes
        stream.write_all(&payload)
    })
}

/// It gives 1000 answers a second and never more, which bounds for certain what a window can hold:
/// where 90 % of the exchanges took less than 50 ms, so many answers came until 50 ms after its end.
#[test]
fn no_rate_is_found_that_the_server_cannot_serve() {
    let target = one_at_a_time(Duration::from_millis(1));
    let (report, code) = run("--find-rate p90<50ms -d 10s", &[&target]);
    let reported = Reported {
        report: &report,
        seconds: 10,
        limit: Some(Duration::from_millis(50)),
        quantile: 0.9,
    };
    reported.assert_follows();
    let is_confirmed = report["search"]["confirmed"] == true;
    assert_eq!(code, Some(if is_confirmed { 0 } else { 3 }), "{report}");
    for window in reported.windows().iter().filter(|w| w["holds"] == true) {
        let (rate, samples) = (number(window, "rate") as f64, number(window, "samples"));
        let seconds = samples as f64 / rate;
        let answers = 1000.0 * (seconds + 0.05) + 2.0;
        assert!(0.9 * samples as f64 <= answers, "{answers}: {window}");
        assert!(window["figure_us"].as_f64().unwrap() < 50_000.0, "{window}");
    }
    println!("{}", report["search"]);
}

#[test]
fn nothing_is_found_when_nothing_holds() {
    let (target, _received) = recorder();
    let options = "-d 2s --find-rate p50<1ns --fail-if found_rate<10";
    let page = TempPath::new("nothing.html");
    let mut command = load(options, &["--html", page.as_str(), &target]);
    let output = output(&mut command);
    let [stdout, stderr] = said(&output);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stdout.starts_with("no rate kept p50<1ns\n"), "{stdout}");
    assert!(!stdout.contains("\ntotal "), "times of what? {stdout}");
    let complaints = "hello-load: found_rate<10: nothing was found\n\
                      hello-load: no rate kept p50<1ns\n";
    assert_eq!(stderr, complaints);
    let page = std::fs::read_to_string(&page.0).unwrap();
    assert!(page.contains("<h1 class=\"bad\">no rate kept p50&lt;1ns</h1>"));
    let (report, code) = run("-d 2s --find-rate p50<1ns", &[&target]);
    assert_eq!(code, Some(3));
    Reported {
        report: &report,
        seconds: 2,
        limit: Some(Duration::from_nanos(1)),
        quantile: 0.5,
    }
    .assert_follows();
    assert!(report["found_rate"].is_null(), "{report}");
    assert!(report["latency_us"]["total"]["p50"].is_null(), "{report}");
    assert!(number(&report, "right") > 0, "{report}");
}

/// What does not end is cut off after the grace, not after the timeout, and counts with its age.
#[test]
fn a_server_that_hangs_holds_no_window_up() {
    let silent = serve(|stream| {
        greet(stream)?;
        receive(stream, LENGTH)?;
        hang(stream)
    });
    let (report, code) = run("-d 2s --find-rate p50<10ms --timeout 1h", &[&silent]);
    assert_eq!((code, wrongs(&report)), (Some(3), 0), "{report}");
    let windows = report["search"]["windows"].as_array().unwrap();
    for window in windows {
        assert_ne!(window["holds"], true, "{window}");
        assert_eq!(number(window, "samples"), number(window, "given_up"));
    }
    for window in windows.iter().filter(|w| number(w, "samples") > 0) {
        assert!(
            window["figure_us"].as_f64().unwrap() >= 10_000.0,
            "{window}"
        );
    }
    assert!(number(&report, "given_up") > 0, "{report}");
}

/// Wrong answers are a reason why a rate is not kept, and the report has them.
#[test]
fn wrong_answers_bound_the_rate() {
    let wrong = answering(|payload| payload[..1].to_vec());
    let (report, code) = run("-d 1s --find-rate p50<1h", &[&wrong]);
    assert_eq!(code, Some(3), "{report}");
    let windows = report["search"]["windows"].as_array().unwrap();
    // On a busy machine a window may be over before the first answer is there.
    for window in windows.iter().filter(|w| number(w, "wrong") > 0) {
        assert_eq!(window["bound"], "wrong", "{window}");
    }
    let counted: u64 = windows.iter().map(|w| number(w, "wrong")).sum();
    assert_eq!((counted, counted > 0), (wrongs(&report), true), "{report}");
    assert_eq!(report["described"].as_array().unwrap().len(), 3);
}

/// With few descriptors it cannot begin exchanges in time, which is no fault of the server.
#[test]
fn a_client_that_is_too_small_says_so() {
    let slow = one_second();
    let script = "ulimit -n 32; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, LOAD, "--json", "-d", "10s"]);
    let output = output(command.args(["--find-rate", "p50<5s", &slow]));
    let report = report(&output);
    // At 100 a second, 50 are due in half a second, of which it can begin less than 32.
    let windows = report["search"]["windows"].as_array().unwrap();
    let fast = windows.iter().filter(|w| number(w, "rate") >= 100);
    let bounds: Vec<&Value> = fast.map(|w| &w["bound"]).collect();
    assert!(!bounds.is_empty() && bounds.iter().all(|bound| *bound == "client"));
    assert!(number(&report, "missed") > 0, "{report}");
}

/// A server that answers everything a second later.
fn one_second() -> String {
    serve(|stream| {
        greet(stream)?;
        let payload = receive(stream, LENGTH)?;
        std::thread::sleep(Duration::from_secs(1)); // what the answer takes
        stream.write_all(&payload)
    })
}

/// The time is over before the rate was measured again. A script must not take it for the answer.
#[test]
fn a_rate_that_is_not_confirmed_is_no_result() {
    let (target, received) = recorder();
    let child = spawn(&mut load("-d 1s --find-rate p50<10s --json", &[&target]));
    // The first window has 5 exchanges, as it lasts for a twentieth of the time.
    (0..8).for_each(|_| drop(received.recv_timeout(PATIENCE).unwrap()));
    let pid = child.id().to_string();
    assert!(signal(&pid, "STOP"));
    std::thread::sleep(Duration::from_secs(1)); // all the time that the search has
    assert!(signal(&pid, "CONT"));
    let output = util::in_time("the end", || child.wait_with_output().unwrap());
    let [_, stderr] = said(&output);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    let report = report(&output);
    assert_ne!(report["search"]["confirmed"], true, "{report}");
    let line = match report["found_rate"].as_u64() {
        Some(rate) => format!("p50<10s held at {rate} a second, not confirmed"),
        None => "no rate kept p50<10s".to_owned(),
    };
    assert_eq!(stderr, format!("hello-load: {line}\n"));
}

#[test]
fn a_signal_ends_the_search_with_what_was_found_so_far() {
    let (target, received) = recorder();
    let child = spawn(&mut load("--find-rate p50<10s --json", &[&target]));
    // In the second window or a later one: the first has 300 at most.
    (0..400).for_each(|_| drop(received.recv_timeout(PATIENCE).unwrap()));
    let output = interrupt(child);
    let [_, stderr] = said(&output);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert_eq!(stderr, "hello-load: cut short by a signal\n");
    let report = report(&output);
    assert_eq!(report["cut_short"], true, "{report}");
    let reported = Reported {
        report: &report,
        seconds: 60,
        limit: Some(Duration::from_secs(10)),
        quantile: 0.5,
    };
    reported.assert_follows();
    assert!(!reported.windows().is_empty(), "{report}");
    assert!(number(&report, "right") >= 399, "{report}");
}

#[test]
fn a_terminal_shows_how_far_the_search_is() {
    if !have("script") {
        return;
    }
    let (target, _received) = recorder();
    let session = format!("{LOAD} -d 2s --find-rate 'p50<10s' {target} >/dev/null");
    let mut script = Command::new("script");
    let [shown, _] = said(&output(script.args(["-qec", &session, "/dev/null"])));
    assert!(
        shown.contains("window 1, 100/s, ? holds, ? fails, "),
        "{shown}"
    );
    // It is drawn ten times a second, which need not be in the second window.
    let later = |window: u32| shown.contains(&format!("window {window}, "));
    assert!((2..50).any(later), "{shown}");
}

/// Between two windows nothing is open.
#[test]
fn a_signal_ends_the_search_between_two_windows() {
    let (sender, events) = mpsc::channel();
    let silent = serve(move |stream| {
        greet(stream)?;
        receive(stream, LENGTH)?;
        hang(stream)?;
        let _ = sender.send(());
        Ok(())
    });
    let child = spawn(&mut load("--find-rate p50<10ms --json", &[&silent]));
    events.recv_timeout(PATIENCE).unwrap(); // given up: the server has time for the rest
    let output = interrupt(child);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(130), "{report}");
    assert_eq!(report["cut_short"], true, "{report}");
    let windows = report["search"]["windows"].as_array().unwrap();
    assert_eq!(windows.len(), 1, "{report}");
}

#[test]
fn a_search_that_has_no_window_says_why() {
    let search = ["--find-rate", "p50<10ms"];
    let nowhere = output(load("", &search).arg("no-such-host.invalid:1"));
    let [stdout, stderr] = said(&nowhere);
    assert_eq!((nowhere.status.code(), &*stdout), (Some(1), ""));
    let line = "hello-load: cannot resolve no-such-host.invalid:1: ";
    assert!(stderr.starts_with(line), "{stderr}");
    if !have_strace() {
        return;
    }
    let (target, received) = recorder();
    // Signals are blocked here, until they are caught.
    let mut strace = with_fault("socketpair:signal=SIGINT");
    let early = output(strace.args([LOAD, "--json"]).args(search).arg(&target));
    let report = report(&early);
    assert_eq!(early.status.code(), Some(130), "{early:?}");
    assert_eq!(
        (number(&report, "opened"), received.try_iter().count()),
        (0, 0)
    );
    assert_eq!(report["search"]["windows"], serde_json::json!([]));
}
