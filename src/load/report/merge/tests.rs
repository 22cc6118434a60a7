use std::time::SystemTime;

use serde_json::Value;

use super::*;
use crate::load::machine::exchange::{Fault, Phase, Wrong};
use crate::load::machine::record::{Point, Record};
use crate::load::machine::schedule::Stage;
use crate::load::report::read::tests::assert_same;

/// A run of so many seconds from a moment on, which has these exchanges of the target.
fn run(target: &str, began: u64, seconds: u64, numbers: impl Iterator<Item = u64>) -> Report {
    let mut record = Record::new([target.to_owned()]).unwrap();
    exchange(&mut record, 0, seconds, numbers);
    report(record, target, began, seconds)
}

fn report(mut record: Record, target: &str, began: u64, seconds: u64) -> Report {
    let ends = [(Stage::Churn, 0), (Stage::Over, seconds)];
    record.stages = ends
        .map(|(stage, s)| (stage, Duration::from_secs(s)))
        .into();
    Report {
        elapsed: Duration::from_secs(seconds),
        began: SystemTime::UNIX_EPOCH + Duration::from_secs(began),
        targets: vec![target.to_owned()],
        ..Report::of(record)
    }
}

/// Each number is an exchange, or a fault, in the millisecond with this number.
fn exchange(record: &mut Record, target: usize, seconds: u64, numbers: impl Iterator<Item = u64>) {
    let mut numbers = numbers.peekable();
    for ms in 0..=seconds * 1000 {
        let at = Duration::from_millis(ms);
        record.advance(Point {
            at,
            ..point(record)
        });
        while let Some(number) = numbers.next_if(|number| *number <= ms) {
            let took = Duration::from_micros(number * number % 10_007 + 1);
            record.open(target);
            record.bytes[0] += 10;
            if number % 7 == 0 {
                let (fault, what) = (Fault::NoEcho, String::new());
                record.wrong(number, target, Phase::Echo, &Wrong { fault, what });
            } else {
                record.right(target, 10, 10);
                record.phase(Phase::Echo, false, took);
                record.whole(target, took, took);
            }
        }
    }
    let last = Point {
        at: Duration::from_secs(seconds),
        ..point(record)
    };
    record.course.end(last);
}

fn point(record: &Record) -> Point {
    let outcomes = &record.outcomes;
    Point {
        at: Duration::ZERO,
        right: outcomes.right,
        wrong: outcomes.wrongs(),
        open: 1,
    }
}

/// Through its text, as --merge gets it.
fn read(report: &Report) -> Report {
    let text = report.json().to_string();
    Report::from_json(&serde_json::from_str(&text).unwrap()).unwrap()
}

fn merged(reports: &[Report]) -> Report {
    let mut reports = reports.iter().map(read);
    let mut sum = reports.next().unwrap();
    reports.for_each(|report| sum.add(report).unwrap());
    sum
}

/// What two tools measured, each its half, is what one has measured that did all of it.
#[test]
fn a_sum_is_the_report_of_the_whole() {
    let odd = run("a:1", 100, 4, (0..4000).filter(|n| n % 2 == 1));
    let even = run("a:1", 100, 4, (0..4000).filter(|n| n % 2 == 0));
    let whole = run("a:1", 100, 4, 0..4000);
    for sum in [merged(&[odd.clone(), even.clone()]), merged(&[even, odd])] {
        let (mut found, mut expected) = (sum.json(), whole.json());
        // The first that were wrong are those of each, and two that have one open have two.
        for field in ["described", "most_open", "course", "options"] {
            found[field].take();
            expected[field].take();
        }
        assert_same(&found, &expected);
        let interval = sum.record.course.interval();
        for point in &sum.record.course.points {
            let of_whole = point.at.as_millis() as u64;
            let near = interval.as_millis() as u64 * 2;
            assert!(
                (point.right + point.wrong).abs_diff(of_whole) <= near,
                "{point:?}"
            );
            assert!(point.open == 2 || point.at.is_zero(), "{point:?}");
        }
    }
}

/// Targets are joined, and a run that began later is later in the course.
#[test]
fn runs_of_two_targets_at_two_times() {
    let first = run("a:1", 100, 4, 0..4000);
    let second = run("b:1", 103, 4, 0..4000);
    for sum in [
        merged(&[first.clone(), second.clone()]),
        merged(&[second, first]),
    ] {
        let mut targets = sum.targets.clone();
        targets.sort();
        assert_eq!(targets, ["a:1", "b:1"]);
        assert_eq!(sum.record.by_target.len(), 2);
        assert_eq!(sum.elapsed, Duration::from_secs(7));
        assert_eq!(sum.began, SystemTime::UNIX_EPOCH + Duration::from_secs(100));
        assert_eq!(sum.record.outcomes.opened, 8000);
        let points = sum.record.course.points.iter();
        for point in points {
            let ms = point.at.as_millis() as u64;
            let expected = ms.min(4000) + ms.saturating_sub(3000);
            assert!(
                (point.right + point.wrong).abs_diff(expected) <= 100,
                "{point:?}"
            );
        }
    }
}

/// Three reports, two of which were one after the other: never more were open than with two at once.
#[test]
fn peaks_of_runs_that_did_not_meet_are_not_added() {
    let peak = |began, most_open| {
        let mut report = run("a:1", began, 2, 0..100);
        report.record.most_open = most_open;
        report
    };
    assert_eq!(merged(&[peak(100, 5), peak(103, 7)]).record.most_open, 7);
    assert_eq!(merged(&[peak(100, 5), peak(101, 7)]).record.most_open, 12);
}

#[test]
fn what_has_no_sum_is_refused() {
    let base = run("a:1", 100, 1, 0..10);
    let check = |change: &dyn Fn(&mut Report), why: &str| {
        let mut other = base.clone();
        change(&mut other);
        assert_eq!(base.clone().add(other).err().as_deref(), Some(why));
    };
    check(
        &|r| r.setup.payload = (1, 9),
        "--payload is 1-9 and was 1000 before",
    );
    check(
        &|r| r.setup.max_read = 9,
        "--max-read is 9 and was 1000 before",
    );
    check(
        &|r| r.setup.greeting = b"h\n".into(),
        r"--greeting is h\n and was hello\n before",
    );
    check(
        &|r| r.setup.timeout = Duration::ZERO,
        "--timeout is 0s and was 1m before",
    );
    check(
        &|r| r.rate = Some(5),
        "it is an open loop, and a closed one was before",
    );
    let mut open = base.clone();
    open.rate = Some(5);
    let closed = "it is a closed loop, and an open one was before";
    assert_eq!(open.add(base.clone()).err().as_deref(), Some(closed));
    let mut other = base.clone();
    (other.setup.concurrency, other.setup.exchanges) = (5, None);
    let mut sum = base.clone();
    sum.add(other).unwrap();
    assert_eq!((sum.setup.concurrency, sum.setup.exchanges), (69, None));
}

/// So many reports take so many times the memory traffic of one, and no more memory at once.
#[test]
fn merging_is_linear() {
    let json: Value = run("a:1", 100, 4, 0..4000).json();
    let cost = |count: u32| {
        let cost = allocation_counter::measure(|| {
            let mut sum = Report::from_json(&json).unwrap();
            for _ in 1..count {
                sum.add(Report::from_json(&json).unwrap()).unwrap();
            }
        });
        (cost.bytes_total as f64, cost.bytes_max as f64)
    };
    let [few, many] = [4, 32].map(cost);
    let (total, most) = (many.0 / few.0, many.1 / few.1);
    println!("8 times the reports: {total:.2} times the bytes, {most:.2} times at once");
    assert!((7.0..9.0).contains(&total) && most < 1.1, "{total} {most}");
}
