//! What a sum of reports needs, in JSON: histograms, stages, course and windows. Each is written and
//! read here.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::hdr::{self, MOST};
use super::read::{Fields, time_within};
use crate::load::machine::exchange::Phase;
use crate::load::machine::record::{Busy, Course, Point, Record, WINDOWS, Windows};
use crate::load::machine::schedule::Stage;

/// The digits of all histograms but those of windows.
const DIGITS: u8 = 3;

/// The times by the keys that `latency_us` has. Those without a time are left out.
pub(super) fn histograms(record: &Record) -> Value {
    let phases = |prefix: &'static str, histograms: &[Histogram<u64>; 4]| {
        let named = |(phase, histogram): (Phase, &Histogram<u64>)| {
            (!histogram.is_empty()).then(|| {
                (
                    format!("{prefix}{}", phase.name()),
                    json!(hdr::encode(histogram)),
                )
            })
        };
        let named = Phase::ALL.into_iter().zip(histograms).filter_map(named);
        named.collect::<Vec<_>>()
    };
    let mut all: Map<String, Value> = phases("", &record.phases).into_iter().collect();
    all.extend(phases("held_", &record.held_phases));
    let total = &record.corrected;
    if !total.is_empty() {
        all.insert("total".into(), json!(hdr::encode(total)));
    }
    let others = [
        ("total_raw", &record.total),
        ("total_timed_out", &record.with_timed_out),
    ];
    for (key, histogram) in others {
        if histogram != total {
            all.insert(key.into(), json!(hdr::encode(histogram)));
        }
    }
    all.into()
}

pub(super) fn read_histograms(fields: &Fields<'_>, record: &mut Record) -> Result<(), String> {
    let or_empty = |key: &str, histogram: &mut Histogram<u64>| {
        if fields.value(key).is_ok() {
            let _ = histogram.add(read_histogram(fields, key)?); // it resizes itself
        }
        Ok::<_, String>(())
    };
    for (phase, histogram) in Phase::ALL.into_iter().zip(&mut record.phases) {
        or_empty(phase.name(), histogram)?;
    }
    for (phase, histogram) in Phase::ALL.into_iter().zip(&mut record.held_phases) {
        or_empty(&format!("held_{}", phase.name()), histogram)?;
    }
    or_empty("total", &mut record.corrected)?;
    for (key, histogram) in [
        ("total_raw", &mut record.total),
        ("total_timed_out", &mut record.with_timed_out),
    ] {
        if fields.value(key).is_ok() {
            or_empty(key, histogram)?;
        } else {
            histogram.clone_from(&record.corrected);
        }
    }
    Ok(())
}

pub(super) fn histogram(histogram: &Histogram<u64>) -> Value {
    json!(hdr::encode(histogram))
}

pub(super) fn read_histogram(fields: &Fields<'_>, name: &str) -> Result<Histogram<u64>, String> {
    let text = fields.text(name)?;
    hdr::decode(text, DIGITS).map_err(|why| fields.wrong(name, why))
}

/// Each stage with the moment when it began.
pub(super) fn stages(record: &Record) -> Value {
    let stages = record.stages.iter();
    let stages = stages.map(|(stage, at)| json!([stage.name(), at.as_secs_f64()]));
    stages.collect()
}

pub(super) fn read_stages(fields: &Fields<'_>) -> Result<Vec<(Stage, Duration)>, String> {
    let stage = |json: &Value| {
        let named = |stage: &Stage| json[0] == stage.name();
        let stage = Stage::ALL.into_iter().find(named)?;
        Some((stage, seconds(&json[1])?))
    };
    let stages: Option<Vec<_>> = fields.list("stages")?.iter().map(stage).collect();
    stages.ok_or_else(|| fields.wrong("stages", "not a list of names and seconds"))
}

/// How busy each thread was.
pub(super) fn threads(record: &Record) -> Value {
    let thread = |busy: &Busy| {
        json!({
            "seconds": busy.of.as_secs_f64(),
            "core": busy.core(),
            "awake": busy.wakefulness(),
        })
    };
    record.threads.iter().map(thread).collect()
}

pub(super) fn read_threads(fields: &Fields<'_>) -> Result<Vec<Busy>, String> {
    let thread = |json: &Value| {
        let of = seconds(&json["seconds"])?;
        let share =
            |share: &Value| Duration::try_from_secs_f64(share.as_f64()? * of.as_secs_f64()).ok();
        let (cpu, awake) = (share(&json["core"])?, share(&json["awake"])?);
        Some(Busy { of, cpu, awake })
    };
    let threads: Option<Vec<_>> = fields.list("threads")?.iter().map(thread).collect();
    threads.ok_or_else(|| fields.wrong("threads", "not the shares of threads"))
}

/// The points as lists of `at`, `right`, `wrong` and `open`.
pub(super) fn course(course: &Course) -> Value {
    let point =
        |point: &Point| json!([point.at.as_secs_f64(), point.right, point.wrong, point.open]);
    json!({
        "interval_s": course.interval().as_secs_f64(),
        "points": course.points.iter().map(point).collect::<Vec<_>>(),
    })
}

pub(super) fn read_course(fields: &Fields<'_>) -> Result<Course, String> {
    let count = |json: &Value| json.as_u64().filter(|count| *count <= MOST);
    let point = |json: &Value| {
        Some(Point {
            at: seconds(&json[0])?,
            right: count(&json[1])?,
            wrong: count(&json[2])?,
            open: count(&json[3])?,
        })
    };
    let interval = seconds(fields.value("interval_s")?);
    let points: Option<Vec<_>> = fields.list("points")?.iter().map(point).collect();
    let course = interval.zip(points);
    let course = course.and_then(|(interval, points)| Course::new(interval, points));
    course.ok_or_else(|| fields.wrong("points", "not the course of a run"))
}

/// The histogram of each window, null if it has no time.
pub(super) fn windows(windows: &Windows) -> Value {
    let window = |window: &Histogram<u64>| (!window.is_empty()).then(|| hdr::encode(window));
    json!({
        "seconds": windows.length().as_secs_f64(),
        "total": windows.times().iter().map(window).collect::<Vec<_>>(),
    })
}

pub(super) fn read_windows(fields: &Fields<'_>) -> Result<Windows, String> {
    const DIGITS: u8 = 2;
    let window = |(i, json): (usize, &Value)| {
        let name = format!("total[{i}]");
        let window = match json {
            Value::Null => Windows::empty().ok_or("there is no such precision"),
            Value::String(text) => hdr::decode(text, DIGITS),
            _ => Err("not a string"),
        };
        window.map_err(|why| fields.wrong(&name, why))
    };
    // A list that is too long is refused without reading all of it.
    let times = fields.list("total")?.iter().enumerate().take(WINDOWS + 1);
    let times = times.map(window);
    let times = times.collect::<Result<Vec<_>, _>>()?;
    let windows = seconds(fields.value("seconds")?);
    let windows = windows.and_then(|length| Windows::new(length, times));
    windows.ok_or_else(|| fields.wrong("total", "not the windows of a run"))
}

fn seconds(json: &Value) -> Option<Duration> {
    let seconds = Duration::try_from_secs_f64(json.as_f64()?).ok()?;
    time_within(seconds)
}
