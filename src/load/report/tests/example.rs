//! A run of which a report has nearly all that it can have, of invented times, and its reports: a page to look
//! at in a browser, Markdown, and text. After a change of a report `UPDATE=1 cargo test --lib example` writes
//! them anew: look at them. The page is without its JSON, which is tested elsewhere: numbers there have
//! 16 digits, and the last ones are not those of each processor.

use std::fs;
use std::path::Path;

use super::*;
use crate::load::machine::exchange::{Fault, Wrong};
use crate::load::machine::record::Point;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/load/report/tests");

/// 2000 exchanges in 4 s with two targets, beside 300 connections that are opened before and finish after
/// them. The second target takes half as long again as the first, and `slower` is for both, in percent.
fn run(slower: u64) -> Report {
    let mut record = Record::new(["127.0.0.1:8000", "[::1]:8000"].map(str::to_owned)).unwrap();
    record.compare_targets();
    let mut point = Point::default();
    for i in 0..300 {
        record.open(0);
        record.held += 1;
        let took = Duration::from_micros(100 + i);
        record.phase(Phase::Connect, true, took);
        record.phase(Phase::Greeting, true, took * 2);
        point.at += Duration::from_millis(4);
        point.open += 1;
        record.advance(point);
    }
    for i in 0..2000 {
        let target = i as usize % 2;
        let slow = if i % 40 == 7 { 9000 } else { 0 };
        let us = (1000 + 500 * (i % 2) + i * 7919 % 400 + slow) * (100 + slower) / 100;
        let part = |percent| Duration::from_micros(us * percent / 100);
        point.at += Duration::from_millis(2);
        record.open(target);
        record.phase(Phase::Connect, false, part(20));
        record.phase(Phase::Greeting, false, part(30));
        let fault = match i {
            1000 => Some((Fault::NoEcho, "the server said <nothing> & closed")),
            300 | 301 => Some((Fault::TimedOut(Phase::Greeting), "nothing for 5 s")),
            _ => None,
        };
        if let Some((fault, what)) = fault {
            let what = what.to_owned();
            record.wrong(i, target, Phase::Echo, &Wrong { fault, what });
            point.wrong += 1;
        } else {
            record.phase(Phase::Echo, false, part(50));
            record.phase(Phase::Eof, false, part(70));
            record.right(target, 1000, 1000);
            record.whole(target, part(100), part(100 + i % 3));
            point.right += 1;
        }
        record.advance(point);
    }
    for i in 0..300 {
        record.right(0, 1000, 900);
        let took = Duration::from_micros(700 + i);
        record.phase(Phase::Echo, true, took);
        record.phase(Phase::Eof, true, took + took / 2);
        point.at += Duration::from_millis(1);
        (point.right, point.open) = (point.right + 1, point.open - 1);
        record.advance(point);
    }
    record.bytes = [2_299_000, 2_312_800];
    record.missed = 12;
    record.latest = Duration::from_millis(150);
    record
        .waited
        .insert(Shortage::Port, Duration::from_millis(20));
    record.stood_still = Duration::from_millis(70);
    let stages = [
        (Stage::Ramp, 0),
        (Stage::Churn, 1200),
        (Stage::Finish, 5200),
        (Stage::Over, 5500),
    ];
    record.stages = stages
        .map(|(stage, ms)| (stage, Duration::from_millis(ms)))
        .into();
    record.threads = vec![Busy {
        of: point.at,
        cpu: point.at * 98 / 100,
        awake: point.at,
    }];
    Report {
        elapsed: point.at,
        line: "hello-load --hold 300 -r 500 -n 2000 --compare 127.0.0.1:8000 '[::1]:8000'".into(),
        targets: vec!["127.0.0.1:8000".into(), "[::1]:8000".into()],
        rate: Some(500),
        is_cut_short: true,
        ..Report::of(record)
    }
}

#[test]
fn examples_are_up_to_date() {
    let mut report = run(0);
    report.baseline = Some(Box::new(run(30)));
    let page = html::page(&report);
    let (start, rest) = page.split_once(" id=\"report\">").unwrap();
    let (_, end) = rest.split_once("</script>").unwrap();
    let page = format!("{start} id=\"report\">{{}}</script>{end}");
    let mut outdated = vec![];
    for (name, example) in [
        ("example.html", page),
        ("example.md", report.markdown()),
        ("example.txt", report.to_string()),
    ] {
        let path = Path::new(FOLDER).join(name);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &example).unwrap();
        }
        if fs::read_to_string(path).unwrap() != example {
            outdated.push(name);
        }
    }
    let remedy = "`UPDATE=1 cargo test --lib example` makes it so";
    assert!(
        outdated.is_empty(),
        "{outdated:?} are not up to date; {remedy}"
    );
}
