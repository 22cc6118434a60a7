//! Names, numbers and times in the captions.

use std::time::Duration;

use super::state::State;
use crate::reactor::Moment;

/// A to Z, then AA and so on.
pub(super) fn name(id: usize) -> String {
    let letter = char::from(b'A' + (id % 26) as u8);
    match id / 26 {
        0 => letter.into(),
        n => format!("{}{letter}", name(n - 1)),
    }
}

/// `A`, `A and B`, `A, B and D`, `A to D`.
pub(super) fn names(ids: &[usize]) -> String {
    match ids {
        [] => "nobody".to_owned(),
        [id] => name(*id),
        [first, .., last] if ids.len() > 3 && ids.is_sorted_by(|a, b| a + 1 == *b) => {
            format!("{} to {}", name(*first), name(*last))
        }
        [others @ .., last] => {
            let others: Vec<String> = others.iter().map(|id| name(*id)).collect();
            format!("{} and {}", others.join(", "), name(*last))
        }
    }
}

/// `1 byte`, `65,536 bytes`.
pub(super) fn bytes(n: usize) -> String {
    count(n, "byte")
}

pub(super) fn count(n: usize, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {what}{s}", number(n))
}

fn number(n: usize) -> String {
    match n {
        0..1000 => n.to_string(),
        _ => format!("{},{:03}", number(n / 1000), n % 1000),
    }
}

/// `100 ms`, `60 s`.
pub(super) fn time(time: Duration) -> String {
    if time.is_zero() {
        return "0 ms".to_owned();
    }
    let text = format!("{time:?}");
    let unit = text.find(char::is_alphabetic).unwrap_or(text.len());
    format!("{} {}", &text[..unit], &text[unit..])
}

/// How long after the start.
pub(super) fn at(moment: Moment) -> String {
    time(Moment::START.until(moment))
}

impl State {
    /// A name for a listener: there is mostly one.
    pub(super) fn listener(&self, index: usize) -> String {
        match self.queues.len() {
            1 => "the listener".to_owned(),
            _ => format!("listener {index}"),
        }
    }
}
