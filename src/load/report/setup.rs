//! The options of a run that a reader of its report must know, and what they must have in common for
//! two runs to be added or compared.

use std::time::Duration;

use serde_json::{Value, json};

use super::read::Fields;
use crate::load::Options;
use crate::program::values::unescape;

/// What a run was asked for, beside its rate and its targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The shortest payload and the longest.
    pub payload: (usize, usize),
    /// The most bytes of a payload that the servers read.
    pub max_read: usize,
    /// The bytes that the servers send first.
    pub greeting: Vec<u8>,
    /// How long an exchange may take. Zero is for ever.
    pub timeout: Duration,
    /// How many threads measured.
    pub threads: u64,
    /// The most exchanges under way at once.
    pub concurrency: u64,
    /// Connections to hold.
    pub hold: u64,
    /// How many of them to open a second.
    pub ramp: Option<u64>,
    /// How many exchanges to begin.
    pub exchanges: Option<u64>,
    /// How long to begin them.
    pub duration: Option<Duration>,
}

#[cfg(test)]
impl Default for Setup {
    /// What no option changes.
    fn default() -> Self {
        Self {
            payload: (1000, 1000),
            max_read: 1000,
            greeting: b"hello\n".to_vec(),
            timeout: Duration::from_secs(60),
            threads: 1,
            concurrency: 64,
            hold: 0,
            ramp: None,
            exchanges: Some(10_000),
            duration: None,
        }
    }
}

impl Setup {
    /// What these options ask for.
    #[must_use]
    pub fn of(options: &Options) -> Self {
        let plan = &options.plan;
        Self {
            payload: options.payloads.lengths(),
            max_read: options.max_read,
            greeting: options.greeting.clone(),
            timeout: options.timeout,
            threads: options.threads,
            concurrency: plan.concurrency,
            hold: plan.hold,
            ramp: plan.ramp,
            exchanges: plan.exchanges,
            duration: plan.duration,
        }
    }

    /// The options that say what an exchange is, as the command line has them. Runs that differ in one
    /// have measured different things.
    fn exchange(&self) -> [(&'static str, String); 4] {
        let (shortest, longest) = self.payload;
        let payload = match shortest == longest {
            true => shortest.to_string(),
            false => format!("{shortest}-{longest}"),
        };
        [
            ("payload", payload),
            ("max-read", self.max_read.to_string()),
            ("greeting", escaped(&self.greeting)),
            (
                "timeout",
                humantime::format_duration(self.timeout).to_string(),
            ),
        ]
    }

    /// The options that say how much is asked of the servers.
    fn load(&self) -> [(&'static str, String); 4] {
        let ramp = self
            .ramp
            .map_or_else(|| "none".to_owned(), |ramp| ramp.to_string());
        [
            ("threads", self.threads.to_string()),
            ("concurrency", self.concurrency.to_string()),
            ("hold", self.hold.to_string()),
            ("ramp", ramp),
        ]
    }

    /// The first option for which they cannot be added, with its value in the other and in this one.
    pub(super) fn cannot_add(&self, other: &Self) -> Option<String> {
        difference(&self.exchange(), &other.exchange())
    }

    /// The first option for which they cannot be compared, with its value in the other and in this one. How long a
    /// run lasts changes how much is known, and not what is measured.
    pub(super) fn cannot_compare(&self, other: &Self) -> Option<String> {
        self.cannot_add(other)
            .or_else(|| difference(&self.load(), &other.load()))
    }

    /// What both together were asked for.
    pub(super) fn add(&mut self, other: &Self) {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
        self.threads = self.threads.saturating_add(other.threads);
        self.concurrency = self.concurrency.saturating_add(other.concurrency);
        self.hold = self.hold.saturating_add(other.hold);
        self.ramp = sum(self.ramp, other.ramp);
        self.exchanges = sum(self.exchanges, other.exchanges);
        self.duration = self.duration.max(other.duration);
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "payload": [self.payload.0, self.payload.1],
            "max_read": self.max_read,
            "greeting": escaped(&self.greeting),
            "timeout_s": self.timeout.as_secs_f64(),
            "threads": self.threads,
            "concurrency": self.concurrency,
            "hold": self.hold,
            "ramp": self.ramp,
            "exchanges": self.exchanges,
            "duration_s": self.duration.map(|duration| duration.as_secs_f64()),
        })
    }

    /// # Errors
    /// Which field is missing or is not what it should be.
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, String> {
        let payload = fields.list("payload")?;
        let [shortest, longest] = &payload[..] else {
            return Err(fields.wrong("payload", "not two numbers"));
        };
        let size = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
        let (Some(shortest), Some(longest)) = (size(shortest), size(longest)) else {
            return Err(fields.wrong("payload", "not two numbers"));
        };
        let greeting = unescape(fields.text("greeting")?);
        Ok(Self {
            payload: (shortest, longest),
            max_read: usize::try_from(fields.count("max_read")?).unwrap_or(usize::MAX),
            greeting: greeting.map_err(|why| fields.wrong("greeting", &why))?,
            timeout: fields.duration("timeout_s")?,
            threads: fields.count("threads")?,
            concurrency: fields.count("concurrency")?,
            hold: fields.count("hold")?,
            ramp: fields.perhaps("ramp", Fields::count)?,
            exchanges: fields.perhaps("exchanges", Fields::count)?,
            duration: fields.perhaps("duration_s", Fields::duration)?,
        })
    }
}

fn difference<const N: usize>(
    ours: &[(&str, String); N],
    theirs: &[(&str, String); N],
) -> Option<String> {
    let mut pairs = ours.iter().zip(theirs);
    let ((name, ours), (_, theirs)) = pairs.find(|(ours, theirs)| ours != theirs)?;
    Some(format!("--{name} is {theirs} and was {ours} before"))
}

/// Bytes as `--greeting` takes them.
fn escaped(bytes: &[u8]) -> String {
    let escaped = bytes.iter().map(|byte| match byte {
        b'\n' => r"\n".to_owned(),
        b'\\' => r"\\".to_owned(),
        b' '..=b'~' => char::from(*byte).to_string(),
        byte => format!(r"\x{byte:02x}"),
    });
    escaped.collect()
}
