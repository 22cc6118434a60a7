use std::time::Duration;

use super::*;
use crate::load::machine::exchange::{Fault, Phase, Wrong};

fn report(record: &Record, elapsed: Duration) -> Report {
    Report {
        elapsed,
        ..Report::of(record.clone())
    }
}

/// A condition can name every row of a report.
#[test]
fn rows_are_those_of_a_report() {
    let mut record = Record::new(["127.0.0.1:8000".to_owned()]).unwrap();
    record.held = 1;
    record.wait(Duration::from_secs(1));
    let mut report = report(&record, Duration::from_secs(1));
    report.rate = Some(1);
    let mut keys: Vec<&str> = report.latencies().iter().map(|row| row.key).collect();
    let mut rows = ROWS.to_vec();
    keys.sort_unstable();
    rows.sort_unstable();
    assert_eq!(keys, rows);
}

/// 1 s of 50 ms each, after 1 s of 40 ms each and twice as many.
#[test]
fn conditions_about_the_baseline() {
    let run = |count: u64, ms| {
        let mut record = Record::new(["127.0.0.1:8000".to_owned()]).unwrap();
        record.outcomes.right = count;
        for _ in 0..count {
            record.whole(0, Duration::ZERO, Duration::from_millis(ms));
        }
        report(&record, Duration::from_secs(1))
    };
    let mut slower = run(100, 50);
    let check = |report: &Report, condition: &str, complaint: Option<&str>| {
        let condition: Condition = condition.parse().unwrap();
        assert!(condition.needs_baseline());
        let found = condition.complaint(report);
        let expected = complaint.map(|complaint| format!("{}: {complaint}", condition.text));
        assert_eq!(found, expected);
    };
    check(
        &slower,
        "p99>baseline",
        Some("the baseline has nothing of it"),
    );
    slower.baseline = Some(Box::new(run(200, 40)));
    let times = Some("it is 50.0 ms and was 40.0 ms");
    check(&slower, "total.p99>1.1*baseline", times);
    check(&slower, "p50 > 1.2 * baseline", times);
    check(&slower, "p50>1.3*baseline", None);
    check(&slower, "p50<=1.3*baseline", times);
    check(&slower, "max>baseline", times);
    check(&slower, "rate<0.9*baseline", Some("it is 100 and was 200"));
    check(&slower, "wrong>baseline", None);
    check(&slower, "echo.p50>9*baseline", Some("nothing was measured"));
}

#[test]
fn conditions_are_parsed_and_judged() {
    let mut record = Record::new(["127.0.0.1:8000".to_owned()]).unwrap();
    record.outcomes.right = 10_000;
    for ms in 1..=100 {
        record.whole(0, Duration::from_millis(ms), Duration::from_millis(ms));
        record.phase(Phase::Echo, false, Duration::from_millis(1));
    }
    (
        record.missed,
        record.echoed_in_part,
        record.outcomes.given_up,
    ) = (1 << 70, 3, 4);
    for _ in 0..100 {
        let (fault, what) = (Fault::TimedOut(Phase::Echo), String::new());
        record.wrong(0, 0, Phase::Echo, &Wrong { fault, what });
        record.wait(Duration::from_secs(60));
    }
    let report = report(&record, Duration::from_secs(1));
    let check = |condition: &str, is_so: bool| {
        let condition: Condition = condition.parse().unwrap();
        assert_eq!(
            condition.complaint(&report).is_some(),
            is_so,
            "{condition:?}"
        );
    };
    check("p50>40ms", true);
    check("p50>60ms", false);
    check("p99 < 50ms", false);
    check("p95>94ms", true);
    check("p95>96ms", false);
    check("min<=1ms", true);
    check("mean>50ms", true);
    check("mean>51ms", false);
    check("echo.mean>2ms", false);
    check("p99.9 > 99ms", true);
    check("p20.5>19ms", true);
    check("p20.5>22ms", false);
    check("p999>99ms", true);
    check("total.p50>40ms", true);
    check("total_raw.p50<1h", true); // not an open loop, so nothing was measured
    check("echo.max>2ms", false);
    check("connect.p50>1s", true); // nothing was measured
    check("rate<10k", false);
    check("rate<10001", true);
    check("rate>0.009M", true);
    check("p99<1s", true);
    check("total_timed_out.p50>=100ms", true); // half of them took a minute
    check("total_timed_out.p99>59s", true);
    check("timed_out>99", true);
    check("timed_out>100", false);
    check("missed>1G", true);
    check("given_up>=5", false);
    check("echoed_in_part>2", true);
    check("wrong>100", false);
    check("wrong>=100", true);
    check("right<=10K", true);
    check("right>=10001", false);
    check("right<20k", true);
    check("found_rate<10k", true); // not a search, so nothing was found
    for wrong in [
        "p99>2baseline",
        "p99>-1*baseline",
        "p99>*baseline",
        "p99>baseline*2",
        "",
        "p99",
        "p101>1ms",
        "p>1ms",
        "echo>1ms",
        "p99>1",
        "rate<x",
        "rate<-1",
        "rate<+1",
        "rate<==5",
        "rate<1e3",
        "rate<.5",
        "rate<5.",
        "rate<-0",
        "p-0<1s",
        "p+5<1s",
        "p1e1<1s",
        "p1k>1s",
        "p99>+5ms",
        "echo.rate<1",
        "x.p50>1s",
    ] {
        assert!(wrong.parse::<Condition>().is_err(), "{wrong}");
    }
}

/// Of what was not found and of what was not measured a complaint says which.
#[test]
fn nothing_is_named() {
    let report = report(&Record::new(["a".to_owned()]).unwrap(), Duration::ZERO);
    for (condition, complaint) in [
        ("found_rate<1", "found_rate<1: nothing was found"),
        ("p99>1s", "p99>1s: nothing was measured"),
    ] {
        let condition: Condition = condition.parse().unwrap();
        assert_eq!(condition.complaint(&report).unwrap(), complaint);
    }
    let shown = |goal: &str| goal.parse::<Goal>().unwrap().shown(Some(3e6));
    assert_eq!(shown("p99<5ms"), "3.00 ms");
    assert_eq!(shown("wrong<=0"), "3000000");
}
