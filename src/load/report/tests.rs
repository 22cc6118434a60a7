mod example;

use super::*;
use crate::load::machine::exchange::Phase;
use crate::load::machine::record::{Busy, Shortage};

impl Report {
    /// The report of a run that no option has changed.
    pub(super) fn of(record: Record) -> Self {
        Self {
            record,
            elapsed: Duration::from_secs(1),
            began: SystemTime::UNIX_EPOCH,
            line: "hello-load".into(),
            targets: vec!["127.0.0.1:8000".into()],
            seed: 7,
            rate: None,
            is_cut_short: false,
            error: None,
            setup: Setup::default(),
            fail_if: vec![],
            baseline: None,
            search: None,
        }
    }
}

fn report(record: &Record) -> Report {
    Report {
        elapsed: Duration::from_secs(10),
        line: "hello-load --hold 1 -r 5".into(),
        rate: Some(5),
        ..Report::of(record.clone())
    }
}

/// 1000 exchanges of 1 to 1000 ms, each of which began 1 s after it was due; and one that was held.
fn record() -> Record {
    let mut record = Record::new(["127.0.0.1:8000".to_owned()]).unwrap();
    for ms in 1..=1000 {
        let took = Duration::from_millis(ms);
        record.outcomes.right += 1;
        record.phase(Phase::Echo, false, took);
        record.whole(0, took, took + Duration::from_secs(1));
    }
    record.outcomes.right += 1;
    record.held = 1;
    record.phase(Phase::Echo, true, Duration::from_secs(9));
    let stages = [(Stage::Ramp, 0), (Stage::Churn, 1), (Stage::Finish, 5)];
    record.stages = stages
        .map(|(stage, s)| (stage, Duration::from_secs(s)))
        .into();
    record
}

#[test]
fn every_quantile_is_in_its_field() {
    let record = record();
    let json = report(&record).json();
    let ms = |row: &str, field: &str| {
        let us = json["latency_us"][row][field].as_f64().unwrap();
        (us / 1e3).round() as u64
    };
    let fields = ["min", "mean", "p50", "p90", "p95", "p99", "p999", "max"];
    let near = |row: &str, expected: [u64; 8]| {
        for (field, expected) in fields.into_iter().zip(expected) {
            let found = ms(row, field);
            assert!(
                found.abs_diff(expected) <= expected / 500,
                "{row} {field}: {found}"
            );
        }
    };
    near("echo", [1, 500, 500, 900, 950, 990, 999, 1000]);
    near("total_raw", [1, 500, 500, 900, 950, 990, 999, 1000]);
    near("total", [1001, 1500, 1500, 1900, 1950, 1990, 1999, 2000]);
    near("held_echo", [9000; 8]);
    for field in fields {
        let figure = &json["latency_us"]["connect"][field];
        assert!(figure.is_null(), "nothing was measured: {field}");
    }
    assert_eq!(json["latency_us"]["connect"]["count"], 0);
    assert_eq!(
        json["rate"], 250.0,
        "1000 in the 4 s in which they came and went"
    );
    assert_eq!(json["exchanging_s"], 4.0);
}

#[test]
fn the_page_and_the_text_say_the_same() {
    let record = record();
    let text = report(&record).to_string();
    let page = html::page(&report(&record));
    for row in report(&record).latencies() {
        let is_shown = !row.histogram.is_empty();
        let mut lines = text
            .lines()
            .filter(|line| line.starts_with(&format!("{} ", row.name)));
        let cells = lines.find(|line| line.ends_with(&format!(" {}", row.histogram.len())));
        assert_eq!(cells.is_some(), is_shown, "{}: {text}", row.name);
        assert_eq!(
            page.contains(&format!("<tr><td>{}<td>", row.name)),
            is_shown
        );
    }
    assert!(
        text.contains(" 1.50s ") && page.contains("<td>1.50 s"),
        "p50 of the total: {text}"
    );
    assert!(text.starts_with(
        "1001 exchanges in 10.00 s: 1001 right, 0 wrong\n\
         1000 right in the 4.00 s of exchanging: 250 a second\n"
    ));
}

#[test]
fn a_thread_without_time_to_spare_is_said() {
    let mut record = record();
    let thread = |of, cpu, awake| Busy {
        of: Duration::from_millis(of),
        cpu: Duration::from_millis(cpu),
        awake: Duration::from_millis(awake),
    };
    record.threads = vec![
        thread(10_000, 9_780, 9_900),
        thread(10_000, 8_000, 8_900),
        thread(10_000, 500, 10_000),
        thread(99, 99, 99), // too short to tell
    ];
    let text = report(&record).to_string();
    let line = "\nhello-load was busy: thread 1, awake 99 % of the time, got 98 % of a core, \
                thread 3, awake 100 % of the time, got 5 % of a core\n";
    assert!(text.contains(line), "{text}");
    let json = report(&record).json();
    assert_eq!(json["threads"][1]["core"], 0.8);
    assert_eq!(json["threads"][1]["awake"], 0.89);
}

#[test]
fn a_run_that_falls_behind_says_so() {
    let mut record = Record::new(["127.0.0.1:8000".to_owned()]).unwrap();
    let said = |record: &Record| report(record).remarks().join("; ");
    assert_eq!(said(&record), "the latest began 0.00 ns after its time");
    record.latest = Duration::from_millis(101);
    assert_eq!(
        said(&record),
        "fell behind: the latest began 101 ms after its time"
    );
    record.missed = 3;
    assert!(said(&record).starts_with("fell behind: 3 exchanges that were due were never"));
    record.waited.insert(Shortage::Port, Duration::from_secs(2));
    assert!(said(&record).ends_with("opened for 2.00 s: no local port was left; see --source"));
}

#[test]
fn the_text_fits_the_terminal() {
    let record = record();
    let report = report(&record);
    let bars = |text: &str| text.lines().filter(|line| line.contains('≤')).count();
    assert_eq!(bars(&report.to_string()), 16, "at most 20 in a file");
    for (rows, expected) in [(28, 9), (26, 7), (34, 15), (35, 16), (50, 16), (10, 6)] {
        let text = report.for_terminal(Some((rows, 100)));
        assert_eq!(bars(&text), expected, "{rows} rows: {text}");
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 80, "{widest}: {text}");
        assert!(
            rows == 10 || text.lines().count() + 2 <= rows.into(),
            "{text}"
        );
    }
    // On 50 columns most of its lines take two rows.
    assert_eq!(bars(&report.for_terminal(Some((29, 50)))), 6);
}

#[test]
fn bytes_are_said_with_their_speed() {
    let mut record = record();
    record.bytes = [2_500_000, 2_515_000];
    let text = report(&record).to_string();
    let line = text.lines().nth(3).unwrap();
    let bytes = "sent 2.50 MB, 250 kB/s; received 2.52 MB, 252 kB/s; seed 7";
    assert_eq!(line, bytes);
}
