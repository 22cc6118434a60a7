//! A report is read back from its JSON object.
//!
//! The object may come from anywhere, so nothing in it is believed: every count is bounded, so that
//! sums of them have room, and every list is as a run of ours would have it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::hdr::MOST;
use super::setup::Setup;
use super::{Report, VERSION, parts};
use crate::load::machine::exchange::Fault;
use crate::load::machine::record::{Outcomes, Record, Shortage, Tally};

/// The longest time that is taken: 300 years.
const LONGEST: f64 = 1e10;

/// The fields of an object, and where it is in the report.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    /// # Errors
    /// It is not an object.
    pub(super) fn of(value: &'a Value, path: &str) -> Result<Self, String> {
        let object = value.as_object().ok_or_else(|| match path {
            "" => "it is not an object".to_owned(),
            path => format!("{path}: not an object"),
        })?;
        let path = match path {
            "" => String::new(),
            path => format!("{path}."),
        };
        Ok(Self { object, path })
    }

    /// What to say of a field.
    pub(super) fn wrong(&self, name: &str, why: &str) -> String {
        format!("{}{name}: {why}", self.path)
    }

    pub(super) fn value(&self, name: &str) -> Result<&'a Value, String> {
        let value = self.object.get(name);
        value.ok_or_else(|| self.wrong(name, "it is missing"))
    }

    pub(super) fn object(&self, name: &str) -> Result<Self, String> {
        Self::of(self.value(name)?, &format!("{}{name}", self.path))
    }

    pub(super) fn list(&self, name: &str) -> Result<&'a Vec<Value>, String> {
        let list = self.value(name)?.as_array();
        list.ok_or_else(|| self.wrong(name, "not a list"))
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a str, String> {
        let text = self.value(name)?.as_str();
        text.ok_or_else(|| self.wrong(name, "not a string"))
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        let texts = self.list(name)?.iter().map(|text| text.as_str());
        let texts: Option<Vec<&str>> = texts.collect();
        let texts = texts.ok_or_else(|| self.wrong(name, "not a list of strings"))?;
        Ok(texts.into_iter().map(str::to_owned).collect())
    }

    pub(super) fn count(&self, name: &str) -> Result<u64, String> {
        let count = self.value(name)?.as_u64().filter(|count| *count <= MOST);
        count.ok_or_else(|| self.wrong(name, "not a count of at most 2^53"))
    }

    pub(super) fn duration(&self, name: &str) -> Result<Duration, String> {
        let seconds = self.value(name)?.as_f64();
        let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        duration.ok_or_else(|| self.wrong(name, "not a number of seconds"))
    }

    /// A time within the run.
    fn time(&self, name: &str) -> Result<Duration, String> {
        let time = self.duration(name)?;
        time_within(time).ok_or_else(|| self.wrong(name, "longer than 300 years"))
    }

    /// Null is `None`.
    pub(super) fn perhaps<T>(
        &self,
        name: &str,
        read: impl Fn(&Self, &str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        match self.value(name)? {
            Value::Null => Ok(None),
            _ => read(self, name).map(Some),
        }
    }

    fn is(&self, name: &str) -> Result<bool, String> {
        let flag = self.value(name)?.as_bool();
        flag.ok_or_else(|| self.wrong(name, "neither true nor false"))
    }
}

/// The same if it is at most 300 years.
pub(super) fn time_within(time: Duration) -> Option<Duration> {
    (time.as_secs_f64() <= LONGEST).then_some(time)
}

impl Report {
    /// Reads what [`json`](Self::json) writes.
    ///
    /// # Errors
    /// One line: which field is missing or is not what it should be, or that it is of another version.
    pub fn from_json(json: &Value) -> Result<Self, String> {
        let fields = Fields::of(json, "")?;
        let version = fields.value("version")?;
        if *version != VERSION {
            return Err(format!(
                "version: it is {version}, and {VERSION} can be read"
            ));
        }
        if json.get("search").is_some_and(|search| !search.is_null()) {
            return Err("search: it is the report of --find-rate and not of one run".to_owned());
        }
        Ok(Self {
            elapsed: fields.time("seconds")?,
            record: record(&fields)?,
            began: began(&fields)?,
            line: fields.text("command")?.to_owned(),
            targets: fields.texts("targets")?,
            seed: match fields.value("seed")?.as_u64() {
                Some(seed) => seed,
                None => return Err(fields.wrong("seed", "not a number")),
            },
            rate: fields.perhaps("asked_rate", Fields::count)?,
            is_cut_short: fields.is("cut_short")?,
            error: fields.perhaps("error", |fields, name| fields.text(name).map(str::to_owned))?,
            setup: Setup::read(&fields.object("options")?)?,
            fail_if: vec![],
            baseline: None,
            search: None,
        })
    }
}

fn began(fields: &Fields<'_>) -> Result<SystemTime, String> {
    let began = humantime::parse_rfc3339(fields.text("began")?);
    began.map_err(|why| fields.wrong("began", &why.to_string()))
}

fn record(fields: &Fields<'_>) -> Result<Record, String> {
    let mut record = Record::new([])?;
    for (i, json) in fields.list("by_target")?.iter().enumerate() {
        let tally = read_tally(&Fields::of(json, &format!("by_target[{i}]"))?)?;
        record.by_target.push(tally);
    }
    record.outcomes = outcomes(fields)?;
    let kinds: Vec<Fault> = record.outcomes.wrong.keys().copied().collect();
    record.described = described(fields, &kinds)?;
    record.missed = missed(fields)?;
    record.bytes = [fields.count("bytes_sent")?, fields.count("bytes_received")?];
    record.echoed = [
        fields.count("bytes_of_payload")?,
        fields.count("bytes_echoed")?,
    ];
    record.echoed_in_part = fields.count("echoed_in_part")?;
    record.most_open = fields.count("most_open")?;
    record.held = fields.count("held")?;
    let latest = fields.value("latest_begin_us")?.as_f64();
    let latest = latest.and_then(|us| Duration::try_from_secs_f64(us / 1e6).ok());
    record.latest = latest
        .and_then(time_within)
        .ok_or_else(|| fields.wrong("latest_begin_us", "not a time"))?;
    record.waited = waited(&fields.object("waited_s")?)?;
    record.stood_still = fields.time("stood_still_s")?;
    parts::read_histograms(&fields.object("histograms")?, &mut record)?;
    record.churned = record.corrected.len();
    record.threads = parts::read_threads(fields)?;
    record.stages = parts::read_stages(fields)?;
    record.course = parts::read_course(&fields.object("course")?)?;
    record.windows = parts::read_windows(&fields.object("windows")?)?;
    Ok(record)
}

fn read_tally(fields: &Fields<'_>) -> Result<Tally, String> {
    Ok(Tally {
        target: fields.text("target")?.to_owned(),
        outcomes: outcomes(fields)?,
        total: parts::read_histogram(fields, "histogram")?,
        windows: match fields.value("windows") {
            Ok(_) => Some(parts::read_windows(&fields.object("windows")?)?),
            Err(_) => None,
        },
    })
}

fn outcomes(fields: &Fields<'_>) -> Result<Outcomes, String> {
    let kinds = fields.object("wrong")?;
    let mut wrong = BTreeMap::new();
    for kind in kinds.object.keys() {
        let fault = Fault::named(kind).ok_or_else(|| kinds.wrong(kind, "no such kind"))?;
        wrong.insert(fault, kinds.count(kind)?);
    }
    let outcomes = Outcomes {
        opened: fields.count("opened")?,
        right: fields.count("right")?,
        wrong,
        given_up: fields.count("given_up")?,
    };
    let over = outcomes.right + outcomes.wrongs() + outcomes.given_up;
    if over > outcomes.opened {
        return Err(fields.wrong("opened", "fewer than are right, wrong and given up"));
    }
    Ok(outcomes)
}

/// The kind of each is in its text.
fn described(fields: &Fields<'_>, kinds: &[Fault]) -> Result<Vec<(Fault, String)>, String> {
    let texts = fields.texts("described")?;
    let kind = |text: String| {
        let of = |fault: &&Fault| text.contains(&format!(": {fault}: "));
        let fault = kinds.iter().find(of).copied();
        Some((fault?, text))
    };
    let described: Option<Vec<_>> = texts.into_iter().map(kind).collect();
    described.ok_or_else(|| fields.wrong("described", "of a kind that is not in wrong"))
}

/// Beyond 2^64 it has a fraction.
fn missed(fields: &Fields<'_>) -> Result<u128, String> {
    let missed = fields.value("missed")?;
    let missed = missed.as_u64().map(u128::from).or_else(|| {
        let many = missed.as_f64().filter(|missed| *missed >= 0.0)?;
        Some(many as u128)
    });
    missed.ok_or_else(|| fields.wrong("missed", "not a count"))
}

fn waited(fields: &Fields<'_>) -> Result<BTreeMap<Shortage, Duration>, String> {
    let named = |name: &String| {
        let shortage = Shortage::ALL
            .into_iter()
            .find(|shortage| shortage.name() == name);
        let shortage = shortage.ok_or_else(|| fields.wrong(name, "no such shortage"))?;
        Ok((shortage, fields.time(name)?))
    };
    fields.object.keys().map(named).collect()
}

#[cfg(test)]
pub(super) mod tests;
