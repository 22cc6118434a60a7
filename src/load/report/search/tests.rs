use std::time::Duration;

use super::*;
use crate::load::report::html;

/// A search that has found 2000 a second: one of three windows there failed, and so did the one at
/// 4000.
pub(in crate::load::report) fn searched(goal: &str) -> Searched {
    let goal: Goal = goal.parse().unwrap();
    let tried = [
        (1000, true),
        (4000, false),
        (2000, true),
        (2000, false),
        (2000, true),
    ];
    let tried = tried.map(|(rate, holds)| {
        let ms = rate / 500 + u64::from(!holds);
        let mut record = Record::new(["a".to_owned()]).unwrap();
        for _ in 0..100 {
            record.whole(0, Duration::from_millis(ms), Duration::from_millis(ms));
        }
        let window = Window {
            rate,
            achieved: rate as f64,
            holds,
            is_wrong: false,
            is_missed: false,
            samples: 100,
            took: Duration::from_secs(1),
        };
        let judgement = goal.judge(&record);
        Tried::new(window, judgement, &record)
    });
    let found = Found {
        rate: 2000,
        fails: Some(4000),
        bound: Bound::Goal,
        is_confirmed: true,
        samples: 200,
        assured: 0.97123,
    };
    Searched {
        goal,
        found: Some(found),
        tried: tried.into(),
    }
}

fn report(search: Searched) -> Report {
    Report {
        elapsed: Duration::from_secs(60),
        line: "hello-load --find-rate 'p99<5ms'".into(),
        targets: vec!["a".into()],
        rate: search.found.map(|found| found.rate),
        search: Some(search),
        ..Report::of(Record::new(["a".to_owned()]).unwrap())
    }
}

#[test]
fn the_answer_comes_first() {
    let report = report(searched("p99<5ms"));
    let (text, page) = (report.to_string(), html::page(&report));
    let answer = "p99<5ms holds at 2000 a second\n\
                  at 4000 it does not hold\n\
                  it held in 2 of 3 windows at 2000, with 200 exchanges\n\
                  with 95 % confidence, at least 97.12 % of exchanges keep 5.00 ms\n\n";
    assert!(text.starts_with(answer), "{text}");
    for line in answer.lines().map(|line| line.replace('<', "&lt;")) {
        assert!(page.contains(&line), "{line}");
    }
    let windows = "    rate  right/s        p99  samples  verdict\n    \
                       1000     1000    2.00 ms      100  holds\n    \
                       4000     4000    9.00 ms      100  fails: beyond the goal\n";
    assert!(text.contains(windows), "{text}");
    let is_wide = |line: &&str| line.chars().count() > 80;
    assert_eq!(text.lines().find(is_wide), None);
}

#[test]
fn it_says_why_the_rate_is_not_higher() {
    for (bound, fails, why) in [
        (Bound::Goal, Some(4000), "at 4000 it does not hold"),
        (
            Bound::Rate,
            Some(4000),
            "at 4000 exchanges begin faster than they end",
        ),
        (Bound::Wrong, Some(4000), "at 4000 exchanges are wrong"),
        (
            Bound::Client,
            Some(4000),
            "at 4000 hello-load itself falls behind: try --threads, or another machine",
        ),
        (Bound::Most, None, "no higher rate is tried"),
        (
            Bound::Budget,
            None,
            "there was no time for higher rates: a longer -d has it",
        ),
    ] {
        let mut search = searched("p99<5ms");
        let found = search.found.as_mut().unwrap();
        (found.bound, found.fails) = (bound, fails);
        assert_eq!(search.remarks()[0], why);
        assert_eq!(search.json()["bound"], name(bound));
        assert_eq!(search.complaint(), None);
    }
}

#[test]
fn every_window_says_why_it_failed() {
    for (bound, why) in [
        (Bound::Goal, "fails: beyond the goal"),
        (Bound::Rate, "fails: exchanges pile up"),
        (Bound::Wrong, "fails: some were wrong"),
        (Bound::Client, "fails: hello-load is late"),
    ] {
        let mut search = searched("p99<5ms");
        let window = &mut search.tried[0].window;
        match bound {
            Bound::Rate => window.achieved = 0.0,
            Bound::Wrong => window.is_wrong = true,
            Bound::Client => window.is_missed = true,
            _ => window.holds = false,
        }
        assert_eq!(window.failure(), Some(bound));
        assert_eq!(search.rows()[0][4], why);
    }
}

/// What is known of a quantile is not known of a mean or of a count.
#[test]
fn only_what_is_known_is_said() {
    let mut search = searched("mean<5ms");
    assert_eq!(search.remarks().len(), 2);
    assert!(search.json()["assured"].is_null());
    search.found.as_mut().unwrap().is_confirmed = false;
    assert!(search.remarks()[1].starts_with("not confirmed: it held in 2 of 3 "));
    let complaint = search.complaint().unwrap();
    assert_eq!(complaint, "mean<5ms held at 2000 a second, not confirmed");
    let search = searched("wrong<=0");
    assert_eq!(search.remarks().len(), 2);
    let window = &search.json()["windows"][0];
    assert_eq!(
        (&window["figure"], &window["figure_us"]),
        (&json!(0.0), &Value::Null)
    );
    assert_eq!(window["p99_us"].as_f64().map(f64::round), Some(2001.0));
}

#[test]
fn nothing_found_is_no_rate_of_zero() {
    let mut search = searched("p99<5ms");
    search.found = None;
    search.tried.truncate(2);
    search.tried[0].window.holds = false;
    assert_eq!(search.complaint().unwrap(), "no rate kept p99<5ms");
    let why = "1000 a second fails: beyond the goal; p99 is 2.00 ms";
    assert_eq!(search.remarks(), [why]);
    assert!(search.json()["bound"].is_null());
}
