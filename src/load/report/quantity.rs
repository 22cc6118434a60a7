//! How a time, a number of bytes and a count are written for people.

use std::fmt;

/// A time in nanoseconds. It is written with three digits and a unit.
pub(crate) struct Time(pub(crate) u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0 as f64;
        let (value, unit) = match self.0 {
            0..1_000 => (ns, "ns"),
            1_000..999_500 => (ns / 1e3, "µs"),
            999_500..999_500_000 => (ns / 1e6, "ms"),
            _ => (ns / 1e9, "s"),
        };
        three_digits(f, value, unit)
    }
}

/// A number of bytes. It is written with three digits and a decimal unit, as network speeds are.
pub(crate) struct Bytes(pub(crate) f64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        match bytes {
            ..999.5 => write!(f, "{bytes:.0} B"),
            ..999.5e3 => three_digits(f, bytes / 1e3, "kB"),
            ..999.5e6 => three_digits(f, bytes / 1e6, "MB"),
            ..999.5e9 => three_digits(f, bytes / 1e9, "GB"),
            _ => three_digits(f, bytes / 1e12, "TB"),
        }
    }
}

/// A number with a comma between its thousands.
pub(crate) struct Count(pub(crate) u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..1_000 => write!(f, "{}", self.0),
            many => write!(f, "{},{:03}", Count(many / 1_000), many % 1_000),
        }
    }
}

/// A number that is not negative, with so many decimals and with commas.
pub(crate) struct Number(pub(crate) f64, pub(crate) usize);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, digits) = *self;
        let text = format!("{number:.digits$}");
        let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
        match whole.parse() {
            Ok(whole) => write!(f, "{}{rest}", Count(whole)),
            Err(_) => f.write_str(&text), // of 2^64 and more
        }
    }
}

/// It is rounded before its digits are counted: 99.96 is 100 and not 100.0, which would fill its column
/// in a table and touch its neighbour.
fn three_digits(f: &mut fmt::Formatter<'_>, value: f64, unit: &str) -> fmt::Result {
    let digits = match value {
        99.95.. => 0,
        9.995.. => 1,
        _ => 2,
    };
    write!(f, "{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        let check = |ns, text: &str| assert_eq!(Time(ns).to_string(), text);
        check(0, "0.00 ns");
        check(999, "999 ns");
        check(1_000, "1.00 µs");
        check(12_345, "12.3 µs");
        check(999_000_000, "999 ms");
        check(61_000_000_000, "61.0 s");
        check(9_994, "9.99 µs");
        check(9_996, "10.0 µs");
        check(99_949, "99.9 µs");
        check(99_951, "100 µs");
        check(999_499, "999 µs");
        check(999_501, "1.00 ms");
        check(999_600_000, "1.00 s");
    }

    /// Wherever a time lies, it has three digits, so it fits into its column.
    #[test]
    fn no_time_has_a_fourth_digit() {
        let mut ns = 1_u64;
        while ns < 999_000_000_000 {
            for ns in [ns - 1, ns, ns + 1] {
                let text = Time(ns).to_string();
                let digits = text.chars().filter(char::is_ascii_digit).count();
                assert!(digits == 3 || ns < 1_000 && digits < 3, "{ns}: {text}");
            }
            ns += ns / 2_000 + 1;
        }
    }

    #[test]
    fn bytes_have_a_decimal_unit() {
        let check = |bytes, text: &str| assert_eq!(Bytes(bytes).to_string(), text);
        check(0.0, "0 B");
        check(999.0, "999 B");
        check(999.7, "1.00 kB");
        check(999_600.0, "1.00 MB");
        check(1_006.0, "1.01 kB");
        check(25_150_000.0, "25.1 MB");
        check(2.5e9, "2.50 GB");
        check(1e15, "1000 TB");
    }

    #[test]
    fn numbers_have_commas() {
        let check = |number, digits, text: &str| {
            assert_eq!(Number(number, digits).to_string(), text);
        };
        check(0.1 + 0.2, 1, "0.3");
        check(999.6, 0, "1,000");
        check(1_234_567.25, 2, "1,234,567.25");
        check(1e20, 0, "100000000000000000000");
        assert_eq!(Count(1_002_003).to_string(), "1,002,003");
    }
}
