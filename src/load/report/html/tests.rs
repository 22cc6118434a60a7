use std::time::Duration;

use super::*;
use crate::load::machine::exchange::{Fault, Phase};
use crate::load::machine::record::{Point, Record};
use crate::load::machine::schedule::Stage;
use crate::load::report::search::tests::searched;

fn report(record: &Record) -> Report {
    Report {
        elapsed: record.course.points.last().unwrap().at,
        line: "hello-load -r 100".into(),
        rate: Some(100),
        ..Report::of(record.clone())
    }
}

/// 100 exchanges a second for 5 s, of 1 to 500 ms.
fn record() -> Record {
    let mut record = Record::new(["127.0.0.1:8000".to_owned()]).unwrap();
    for i in 1..=500 {
        let took = Duration::from_millis(i);
        record.outcomes.right += 1;
        record.phase(Phase::Echo, false, took);
        record.whole(0, took, took);
        run_on(&mut record, 10, 0);
    }
    let began = [(Stage::Ramp, 0), (Stage::Churn, 0), (Stage::Finish, 5)];
    record.stages = began
        .map(|(stage, s)| (stage, Duration::from_secs(s)))
        .into();
    record
}

/// So many milliseconds later there are so many more right exchanges.
fn run_on(record: &mut Record, ms: u64, right: u64) {
    record.outcomes.right += right;
    let last = record.course.points.last().unwrap().at;
    record.course.points.push(Point {
        at: last + Duration::from_millis(ms),
        right: record.outcomes.right,
        wrong: 0,
        open: 9,
    });
}

/// What is between the first of one text and the next of the other.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap();
    rest.split_once(end).unwrap().0
}

fn rates(page: &str) -> &str {
    between(page, "aria-label=\"exchanges a second\"", "</figure>")
}

/// The highest label of the rates.
fn top(page: &str) -> &str {
    let labels = rates(page).rmatches("<span class=\"y\"").count();
    assert!(labels >= 3, "{labels}");
    let label = rates(page).rsplit("<span class=\"y\"").next().unwrap();
    between(label, ">", "<")
}

#[test]
fn a_burst_does_not_flatten_the_rates() {
    let mut record = record();
    assert_eq!(top(&page(&report(&record))), "100", "a steady run");
    assert!(!page(&report(&record)).contains("beyond the chart"));

    // Held connections that finish all at once.
    record.held = 2000;
    for _ in 0..20 {
        run_on(&mut record, 10, 100);
    }
    let held = page(&report(&record));
    assert_eq!(top(&held), "100");
    let note = "The highest rate is beyond the chart: 10,000 a second at 5.0";
    assert!(held.contains(note), "{}", rates(&held));

    // A stall in the middle, after which everything ends together.
    record.stages[2].1 = Duration::from_secs(20);
    for ms in [1000, 50] {
        run_on(&mut record, ms, 100);
    }
    for _ in 0..500 {
        run_on(&mut record, 10, 1);
    }
    assert_eq!(top(&page(&report(&record))), "150");
}

/// A run is over when its last exchange is, in the middle of an interval.
#[test]
fn the_last_interval_is_not_a_short_one() {
    let mut record = record();
    run_on(&mut record, 1, 2);
    let page = page(&report(&record));
    assert!(!page.contains("beyond the chart"), "{}", rates(&page));
    assert_eq!(top(&page), "150");
}

#[test]
fn every_row_has_a_curve_and_a_distribution() {
    let record = record();
    let page = page(&report(&record));
    for class in ["echo", "total total_raw", "total"] {
        for kind in ["line", "bars"] {
            assert_eq!(page.matches(&format!("{kind} {class}\"")).count(), 1);
        }
    }
}

/// Where the charts of a section are asked for their values, each of them has one.
#[test]
fn every_series_has_a_value_at_each_stop() {
    let mut record = record();
    record.outcomes.wrong.insert(Fault::NoEcho, 1);
    let mut report = report(&record);
    assert_eq!(charts(&page(&report)), 1 + 2 + 3);
    for goal in ["p99<5ms", "p50<5ms", "wrong<=0"] {
        report.search = Some(searched(goal));
        let page = page(&report);
        assert_eq!(charts(&page), 1 + 1 + 2 + 3);
        let dots = |class: &str| {
            let start = format!("<path class=\"rim {class}\" d=\"");
            between(&page, &start, "\"").matches('M').count()
        };
        assert_eq!(
            [dots("held"), dots("failed")],
            [3, 2],
            "a dot for each window"
        );
    }
}

/// How many charts the page has. Each has its values.
fn charts(page: &str) -> usize {
    let script = |text: &str, class: &str| -> Value {
        let start = format!("<script type=\"application/json\" class=\"{class}\">");
        serde_json::from_str(between(text, &start, "</script>")).unwrap()
    };
    let mut charts = 0;
    for section in page.split("<section>").filter(|s| s.contains("<figure")) {
        let stops = script(section, "stops");
        let places = stops["places"].as_array().unwrap();
        let within = |place: &Value| (0.0..=1.0).contains(&place.as_f64().unwrap());
        assert!(places.iter().all(within), "{places:?}");
        assert!(places.is_sorted_by(|a, b| a.as_f64() < b.as_f64()));
        assert_eq!(stops["labels"].as_array().unwrap().len(), places.len());
        for figure in section.split("<figure").skip(1) {
            let values = script(figure, "values");
            let series = values.as_array().unwrap();
            assert_eq!(series.len(), figure.matches("class=\"key ").count());
            for values in series {
                assert_eq!(values.as_array().unwrap().len(), places.len());
            }
            charts += 1;
        }
    }
    charts
}

/// The text of no string can end the script element that has the report.
#[test]
fn the_page_has_the_report_as_json() {
    let record = record();
    let mut report = report(&record);
    let line = "hello-load 'unix:/</script><!--<script>\u{202e}&'";
    (report.line, report.targets) = (line.into(), vec![line.into()]);
    let page = page(&report);
    let copy = between(&page, " id=\"report\">", "</script>");
    assert!(!copy.contains(['<', '\u{202e}']), "{copy}");
    let copy: Value = serde_json::from_str(copy).unwrap();
    let json: Value = serde_json::from_str(&report.json().to_string()).unwrap();
    assert!(copy == json, "{copy}");
    assert_eq!(copy["command"], line);
}

#[test]
fn the_verdict_is_that_of_the_run() {
    let check = |record: &Record, verdict: &str| {
        let page = page(&report(record));
        assert_eq!(page.matches("<li><b").count(), 4, "tiles: {page}");
        assert_eq!(between(&page, "<h1 class=\"", "</h1>"), verdict);
    };
    let mut record = record();
    check(&record, "good\">All 500 right");
    record.missed = 1234;
    check(&record, "bad\">500 right, 1,234 missed");
    record.outcomes.wrong.insert(Fault::NoEcho, 1000);
    check(&record, "bad\">1,000 of 1,500 wrong");
    check(
        &Record::new(["127.0.0.1:8000".to_owned()]).unwrap(),
        "bad\">Nothing exchanged",
    );
}

#[test]
fn a_search_is_drawn() {
    let mut report = report(&record());
    report.search = Some(searched("p99<5ms"));
    let page_of = page(&report);
    let chart = between(&page_of, "latency by rate", "</figure>");
    for part in [
        "<h1 class=\"good\">p99&lt;5ms holds at 2000 a second</h1>",
        "<b class=\"\">2,000</b>a second found",
        "<b class=\"\">4,000</b>a second failed",
        "<b class=\"\">5</b>windows",
        // Of 4080, which is a little more than the highest rate.
        "<span class=\"mark left\" style=\"left:49.02%\">found</span>",
        // Of the powers of ten from 1 to 10 ms.
        "<span class=\"level\" style=\"top:30.10%\">5.00 ms allowed</span>",
        "<path class=\"rim failed\" d=\"M490.2 300.9h0M980.4 45.6h0\"/>",
        ">p50 <output>",
        ">p99 <output>",
    ] {
        assert!(page_of.contains(part), "{part} in {chart}");
    }
    // Of a goal for the median there is one curve, and it is the goal's.
    report.search = Some(searched("p50<5ms"));
    let page_of = page(&report);
    let chart = between(&page_of, "latency by rate", "</svg>");
    assert_eq!(chart.matches("class=\"line total\"").count(), 1, "{chart}");
    assert!(!chart.contains("line connect"), "{chart}");

    let search = report.search.as_mut().unwrap();
    search.found.as_mut().unwrap().is_confirmed = false;
    assert!(page(&report).contains("<h1 class=\"bad\">"));
    report.search.as_mut().unwrap().found = None;
    assert!(page(&report).contains("<h1 class=\"bad\">"));
}

#[test]
fn powers_of_ten_have_their_units() {
    for (ns, text) in [
        (1, "1 ns"),
        (100, "100 ns"),
        (1_000, "1 µs"),
        (100_000, "100 µs"),
        (1_000_000, "1 ms"),
        (1_000_000_000, "1 s"),
        (1_000_000_000_000, "1,000 s"),
    ] {
        assert_eq!(latencies::power_of_ten(ns), text);
    }
}

/// The held connections have curves of their own if there is nothing else, and all of the run is in the
/// chart of its rates.
#[test]
fn a_run_that_only_held_connections_is_shown() {
    let mut record = Record::new(["127.0.0.1:8000".to_owned()]).unwrap();
    record.held = 500;
    for ms in 1..=500 {
        record.phase(Phase::Echo, true, Duration::from_millis(ms));
        run_on(&mut record, 10, 1);
    }
    let began = [(Stage::Ramp, 0), (Stage::Churn, 4), (Stage::Finish, 4)];
    record.stages = began
        .map(|(stage, s)| (stage, Duration::from_secs(s)))
        .into();
    let page = page(&report(&record));
    for kind in ["line", "bars"] {
        assert_eq!(page.matches(&format!("{kind} echo held_echo\"")).count(), 1);
    }
    assert_eq!(top(&page), "100");
}

#[test]
fn a_run_without_a_right_exchange_has_a_chart() {
    let mut record = Record::new(["127.0.0.1:8000".to_owned()]).unwrap();
    (0..500).for_each(|_| run_on(&mut record, 10, 0));
    assert_eq!(top(&page(&report(&record))), "1.0");
}

/// Windows in which nothing came back have no latency.
#[test]
fn a_search_without_a_latency_has_no_chart_of_it() {
    let mut report = report(&record());
    let mut search = searched("p99<5ms");
    for tried in &mut search.tried {
        (tried.p50, tried.p99, tried.figure) = (None, None, None);
    }
    report.search = Some(search);
    let page = page(&report);
    assert!(page.contains("<h2>Windows</h2>"), "{page}");
    assert!(!page.contains("<h2>Latency by rate</h2>"));
}
