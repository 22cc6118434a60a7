use serde_json::json;

use super::*;
use crate::load::machine::exchange::{Phase, Wrong};
use crate::load::machine::random::Random;
use crate::load::machine::record::{Busy, Point};
use crate::load::machine::schedule::Stage;
use crate::load::report::html;

/// A run of two targets with everything in it that a run can have.
pub(in crate::load::report) fn eventful() -> Report {
    let mut record = Record::new(["a:1".to_owned(), "b:1".to_owned()]).unwrap();
    record.compare_targets();
    let mut right = 0;
    for number in 0..900_u64 {
        let target = (number % 2) as usize;
        let took = Duration::from_micros(number * number % 7919 + 300);
        record.open(target);
        match number % 50 {
            0 => {
                let (fault, what) = (Fault::TimedOut(Phase::Echo), "nothing: came".to_owned());
                record.wrong(number, target, Phase::Echo, &Wrong { fault, what });
                record.wait(took);
            }
            1 => record.give_up(target),
            _ => {
                right += 1;
                record.right(target, 1000, 1000 - number % 3);
                for phase in Phase::ALL {
                    record.phase(phase, number % 20 == 0, took);
                }
                record.whole(target, took, took * 2);
            }
        }
        record.advance(Point {
            at: Duration::from_millis(number * 3),
            right,
            wrong: number / 50 + 1,
            open: number % 9,
        });
    }
    record.held = 45;
    record.missed = 3 << 33;
    record.bytes = [900_000, 905_400];
    record.latest = Duration::from_nanos(1_234_567);
    record
        .waited
        .insert(Shortage::Port, Duration::from_millis(1500));
    record.stood_still = Duration::from_nanos(2_000_000_001);
    let [of, cpu, awake] = [4, 1, 2].map(Duration::from_secs);
    record.threads = vec![Busy { of, cpu, awake }];
    record.stages = Stage::ALL
        .into_iter()
        .zip([0, 1, 2, 3].map(Duration::from_secs))
        .collect();
    Report {
        record,
        elapsed: Duration::from_nanos(3_000_000_007),
        began: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_866_494_042),
        line: "hello-load a:1 b:1 '\u{202e}'".into(),
        targets: vec!["a:1".into(), "b:1".into()],
        seed: u64::MAX,
        rate: Some(300),
        is_cut_short: true,
        error: Some("it broke".into()),
        setup: Setup {
            greeting: b"hi\n\\\0\xff".to_vec(),
            hold: 45,
            ramp: Some(100),
            exchanges: None,
            duration: Some(Duration::from_millis(2_500)),
            ..Setup::default()
        },
        fail_if: vec![],
        baseline: None,
        search: None,
    }
}

/// Names the fields that differ, which are long.
pub(in crate::load::report) fn assert_same(found: &Value, expected: &Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert!(&found[name] == value, "{name} differs");
    }
    assert_eq!(
        found.as_object().map(Map::len),
        expected.as_object().map(Map::len)
    );
}

/// What was measured is the same after it was written and read.
#[test]
fn a_report_is_read_back() {
    let quiet = Report {
        record: Record::new(["a:1".to_owned()]).unwrap(),
        error: None,
        rate: None,
        ..eventful()
    };
    for report in [eventful(), quiet] {
        let json = report.json();
        let text = json.to_string();
        let read = Report::from_json(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_same(&read.json(), &json);
        assert_eq!(read.setup, report.setup);
        let (record, expected) = (&read.record, &report.record);
        assert_eq!(record.outcomes, expected.outcomes);
        assert_eq!(record.described, expected.described);
        assert_eq!(record.missed, expected.missed);
        assert_eq!(record.latest, expected.latest);
        assert_eq!(
            (&record.waited, &record.stages, &record.threads),
            (&expected.waited, &expected.stages, &expected.threads)
        );
        assert_eq!(record.course.points, expected.course.points);
        assert_eq!(record.windows.times(), expected.windows.times());
        assert_eq!(read.to_string(), report.to_string());
        assert!(html::page(&read) == html::page(&report), "the pages differ");
    }
}

#[test]
fn every_kind_of_fault_has_a_name_of_its_own() {
    for phase in Phase::ALL {
        for fault in [
            Fault::Reset(phase),
            Fault::TimedOut(phase),
            Fault::Failed(phase),
        ] {
            assert_eq!(Fault::named(&fault.to_string()), Some(fault));
        }
    }
    for name in [
        "refused",
        "unreachable",
        "foreign_echo",
        "closed_held",
        "extra_bytes",
    ] {
        assert_eq!(Fault::named(name).unwrap().to_string(), name);
    }
    assert_eq!(Fault::named("reset_nowhere"), None);
}

#[test]
fn an_error_names_the_field() {
    let check = |path: &str, value: Value, error: &str| {
        let mut json = eventful().json();
        *json.pointer_mut(path).unwrap() = value;
        let found = Report::from_json(&json).err().unwrap();
        assert!(found.starts_with(error), "{found}");
    };
    check("", json!([1]), "it is not an object");
    check("/version", json!(2), "version: it is 2, and 1 can be read");
    check(
        "/opened",
        json!(5),
        "opened: fewer than are right, wrong and given up",
    );
    check(
        "/bytes_sent",
        json!(1_u64 << 60),
        "bytes_sent: not a count of at most 2^53",
    );
    check("/wrong", json!({ "odd": 1 }), "wrong.odd: no such kind");
    check(
        "/began",
        json!("today"),
        "began: timestamp format is invalid",
    );
    check("/seconds", json!(-1), "seconds: not a number of seconds");
    check("/seconds", json!(1e12), "seconds: longer than 300 years");
    check("/options/greeting", json!("\\q"), "options.greeting: ");
    for payload in [
        json!([9]),
        json!([9, 9, 9]),
        json!([-1, 9]),
        json!(["1", 9]),
    ] {
        let why = "options.payload: not two numbers";
        check("/options/payload", payload, why);
    }
    check(
        "/histograms/echo",
        json!("AAAA"),
        "histograms.echo: it is cut off",
    );
    check(
        "/by_target/1/target",
        Value::Null,
        "by_target[1].target: not a string",
    );
    check(
        "/course/points/3/0",
        json!(0),
        "course.points: not the course of a run",
    );
    check(
        "/windows/seconds",
        json!(0),
        "windows.total: not the windows of a run",
    );
    check(
        "/windows/total/4",
        json!(5),
        "windows.total[4]: not a string",
    );
    check(
        "/described",
        json!(["nothing"]),
        "described: of a kind that is not in wrong",
    );
    let mut json = eventful().json();
    json["missed"] = json!(1e21);
    assert_eq!(
        Report::from_json(&json).unwrap().record.missed,
        1_000_000_000_000_000_000_000
    );
    json.as_object_mut().unwrap().remove("histograms");
    let error = Report::from_json(&json).err();
    assert_eq!(error.as_deref(), Some("histograms: it is missing"));
}

/// A list whose first entry is wrong is refused without memory for all of its entries.
#[test]
fn a_long_list_of_nothing_takes_no_memory() {
    let mut json = eventful().json();
    json["by_target"] = vec![0; 100_000].into();
    let cost = allocation_counter::measure(|| {
        let error = Report::from_json(&json).err();
        assert_eq!(error.as_deref(), Some("by_target[0]: not an object"));
    });
    assert!(cost.bytes_max < 16 << 20, "{} bytes", cost.bytes_max);
}

/// Replaces something in the value, at any depth.
fn mutate(value: &mut Value, random: &mut Random) {
    let inner = match value {
        Value::Object(object) => {
            let place = random.below(object.len());
            object.values_mut().nth(place)
        }
        Value::Array(list) => {
            if random.below(8) == 0 && !list.is_empty() {
                let (from, to) = (random.below(list.len()), random.below(list.len()));
                list.swap(from, to);
                return;
            }
            let place = random.below(list.len());
            list.get_mut(place)
        }
        _ => None,
    };
    match inner {
        Some(inner) if random.below(12) > 0 => mutate(inner, random),
        _ => *value = other_value(value, random),
    }
}

fn other_value(value: &Value, random: &mut Random) -> Value {
    let numbers = [0.0, -1.0, 1e-9, 0.5, 1e9, 1e10, 9e15, 1e19, 1e300];
    match (value, random.below(9)) {
        (Value::String(text), 0..=3) => {
            let mut bytes = text.clone().into_bytes();
            if !bytes.is_empty() {
                let place = random.below(bytes.len());
                bytes[place] = b"A/+=z9\"\\"[random.below(8)];
            }
            String::from_utf8_lossy(&bytes).into()
        }
        (_, 0) => Value::Null,
        (_, 1) => json!(true),
        (_, 2) => json!([]),
        (_, 3) => json!({}),
        (_, 4) => json!("\u{202e}"),
        (_, 5) => json!(u64::MAX),
        (_, 6) => json!(1_u64 << random.below(64)),
        _ => json!(numbers[random.below(numbers.len())]),
    }
}

/// Whatever is in a file, reading it, adding it and showing it does not panic; an error is one line.
#[test]
fn no_report_is_a_panic() {
    let (whole, mut taken) = (eventful().json(), 0);
    for seed in 0..400 {
        let mut random = Random(seed);
        let mut json = whole.clone();
        for _ in 0..=random.below(3) {
            mutate(&mut json, &mut random);
        }
        let report = match Report::from_json(&json) {
            Ok(report) => report,
            Err(why) => {
                assert!(!why.contains('\n'), "{seed}: {why}");
                continue;
            }
        };
        taken += 1;
        let mut sum = eventful();
        sum.setup.clone_from(&report.setup);
        sum.rate = report.rate;
        if sum.add(report.clone()).is_ok() && seed % 8 == 0 {
            let _ = (sum.to_string(), sum.json());
        }
        if seed % 8 == 0 {
            let _ = (report.to_string(), html::page(&report));
        }
    }
    assert!((40..390).contains(&taken), "{taken} of 400 were reports");
}
