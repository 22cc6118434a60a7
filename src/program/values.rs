//! The values of options, written alike in both programs: counts, durations, escaped text.

use std::ffi::OsStr;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::builder::{OsStringValueParser, PossibleValue, TypedValueParser};
use clap::{Arg, Command};

use super::escape::escape;
use crate::protocol::hello::MAX_MESSAGE;

/// A parser of an option's value. If the value is not UTF-8, its error names the option; the errors
/// of clap's own parsers do not.
#[derive(Clone)]
pub(crate) struct Utf8<P>(pub(crate) P);

impl<P: TypedValueParser> TypedValueParser for Utf8<P> {
    type Value = P::Value;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> clap::error::Result<P::Value> {
        let utf8 = OsStringValueParser::new()
            .try_map(|value| value.into_string().map_err(|_| "it is not UTF-8"));
        let text = utf8.parse_ref(command, arg, value)?;
        self.0.parse_ref(command, arg, text.as_ref())
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        self.0.possible_values()
    }
}

/// The suffixes of a number, and what they multiply it by.
const UNITS: [(&str, u64); 7] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("k", 1_000),
    ("K", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
];

const NO_NUMBER: &str = "not a number, such as 1500, 10k, 1M or 64Ki";

fn split_unit(text: &str) -> (&str, u64) {
    let split = |(unit, factor): &(&str, u64)| Some((text.strip_suffix(unit)?, *factor));
    UNITS.iter().find_map(split).unwrap_or((text, 1))
}

/// Whether it is digits and nothing else. The parsers of std accept a sign, too.
pub(crate) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A count, or a number of bytes: `1500`, `10k`, `1M`, `64Ki`.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let (digits, unit) = split_unit(text);
    if !is_digits(digits) {
        return Err(NO_NUMBER.to_owned());
    }
    let count = digits.parse().ok().and_then(|n: u64| n.checked_mul(unit));
    count.ok_or_else(|| "too large".to_owned())
}

/// A parser of counts within this range.
pub(crate) fn count_in(
    range: RangeInclusive<u32>,
) -> impl Fn(&str) -> Result<u32, String> + Clone + Send + Sync {
    move |text| {
        let count = count(text)?;
        let fits = u32::try_from(count).ok().filter(|n| range.contains(n));
        fits.ok_or_else(|| format!("{count} is not in {range:?}"))
    }
}

/// A count that may have a fraction, such as `0.5k`.
#[cfg(feature = "load")]
pub(crate) fn decimal(text: &str) -> Result<f64, String> {
    let (number, unit) = split_unit(text);
    let is_number = match number.split_once('.') {
        Some((whole, fraction)) => is_digits(whole) && is_digits(fraction),
        None => is_digits(number),
    };
    let number = number.parse().ok().filter(|_| is_number);
    let value = number.map(|number: f64| number * unit as f64);
    value.ok_or_else(|| NO_NUMBER.to_owned())
}

/// A duration such as `1m30s`. 0 needs no unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|e| match e {
        humantime::DurationError::NumberOverflow => "too large, or finer than 1ns".to_owned(),
        _ => "not a duration: a number and a unit (ns, us, ms, s, m, h or d), as in 500ms or 1m30s"
            .to_owned(),
    })
}

/// The bytes that `text` describes with the escapes `\n \r \t \0 \\ \xHH`.
///
/// # Errors
/// In words: an escape that is not one of these, or more bytes than [`MAX_MESSAGE`].
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, behind)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let (byte, behind) = unescape_one(behind).ok_or_else(|| {
            let shown: String = behind.chars().take(1).collect();
            let shown = escape(&shown);
            format!(r"unknown escape \{shown}; there are \n \r \t \0 \\ \xHH")
        })?;
        bytes.push(byte);
        rest = behind;
    }
    bytes.extend_from_slice(rest.as_bytes());
    if bytes.len() > MAX_MESSAGE {
        return Err(format!("{} bytes, longer than {MAX_MESSAGE}", bytes.len()));
    }
    Ok(bytes)
}

/// The byte that an escape stands for, and the text after it.
fn unescape_one(escape: &str) -> Option<(u8, &str)> {
    let (kind, behind) = escape.split_at_checked(1)?;
    match kind {
        "n" => Some((b'\n', behind)),
        "r" => Some((b'\r', behind)),
        "t" => Some((b'\t', behind)),
        "0" => Some((0, behind)),
        "\\" => Some((b'\\', behind)),
        "x" => {
            let (digits, behind) = behind.split_at_checked(2)?;
            // from_str_radix would accept a sign, too.
            let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let byte = u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
            Some((byte, behind))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_digits_and_a_unit() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(count(text).ok(), expected, "{text}");
        };
        check("0", Some(0));
        check("1500", Some(1500));
        check("10k", Some(10_000));
        check("10K", Some(10_000));
        check("1M", Some(1_000_000));
        check("64Ki", Some(65_536));
        check("1Mi", Some(1 << 20));
        check("2Gi", Some(2 << 30));
        check("18446744073709551615", Some(u64::MAX));
        for wrong in [
            "",
            "k",
            "+5",
            "-5",
            "-0",
            " 5",
            "5 ",
            "5 k",
            "5kk",
            "5ki",
            "5m",
            "0x5",
            "1e3",
            "1_000",
            "1.5",
            "1.5k",
            "18446744073709551616",
            "18446744073709552k",
            "\u{661}",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "5", "1m 5", "+5s", "-1s", "s", "5 parsecs"] {
            assert!(
                duration(wrong)
                    .unwrap_err()
                    .contains("(ns, us, ms, s, m, h or d)")
            );
        }
    }

    #[test]
    fn durations_have_limits() {
        for beyond in ["99999999999999999999s", "0.1ns"] {
            let why = "too large, or finer than 1ns";
            assert_eq!(duration(beyond), Err(why.to_owned()), "{beyond}");
        }
    }

    #[test]
    fn greetings_are_unescaped() {
        let check = |text: &str, expected: Option<&[u8]>| {
            assert_eq!(unescape(text).ok().as_deref(), expected, "{text}");
        };
        check("", Some(b""));
        check("hello", Some(b"hello"));
        check(r"hello\n", Some(b"hello\n"));
        check(r"\r\t\0\\\x41\xfF", Some(b"\r\t\0\\A\xff"));
        check(r"\\n", Some(b"\\n"));
        check("h\u{e9}llo", Some("h\u{e9}llo".as_bytes()));
        for wrong in [
            "\\",
            r"a\",
            r"\q",
            r"\N",
            r"\x",
            r"\x4",
            r"\x4g",
            r"\x+4",
            "\\\u{e9}",
            "\\x\u{e9}",
        ] {
            check(wrong, None);
        }
        assert!(unescape(&"a".repeat(MAX_MESSAGE)).is_ok());
        assert!(unescape(&"a".repeat(MAX_MESSAGE + 1)).is_err());
    }
}
