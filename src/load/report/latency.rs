//! Latencies: the rows of every table, their quantiles and buckets, and how a time is written.

use std::fmt;

use hdrhistogram::Histogram;

/// One row of the table of latencies.
pub(crate) struct Latency<'a> {
    /// The name for people.
    pub(crate) name: &'static str,
    /// The name in `--fail-if` and in the JSON object.
    pub(crate) key: &'static str,
    pub(crate) histogram: &'a Histogram<u64>,
}

/// The quantiles of every table: the name of the JSON field, the heading, and the quantile.
pub(crate) const QUANTILES: [(&str, &str, f64); 5] = [
    ("p50", "p50", 0.5),
    ("p90", "p90", 0.9),
    ("p99", "p99", 0.99),
    ("p999", "p99.9", 0.999),
    ("max", "max", 1.0),
];

/// The upper end and the count of each bucket, in order. The ends grow by the square root of two.
/// The last bucket contains the maximum.
pub(crate) fn buckets(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    let mut buckets = vec![];
    if histogram.is_empty() {
        return buckets;
    }
    let (least, most) = (histogram.min().max(1), histogram.max());
    let mut step = (least as f64).log2() * 2.0;
    let mut counted = 0;
    loop {
        step = step.floor() + 1.0;
        let end = (step / 2.0).exp2() as u64;
        let count = histogram.count_between(0, end) - counted;
        counted += count;
        buckets.push((end, count));
        if end >= most {
            return buckets;
        }
    }
}

/// A time in nanoseconds. It is written with three digits and a unit.
pub(crate) struct Time(pub(crate) u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0 as f64;
        let (value, unit) = match self.0 {
            0..1_000 => (ns, "ns"),
            1_000..1_000_000 => (ns / 1e3, "µs"),
            1_000_000..1_000_000_000 => (ns / 1e6, "ms"),
            _ => (ns / 1e9, "s"),
        };
        let digits = match value {
            100.0.. => 0,
            10.0.. => 1,
            _ => 2,
        };
        write!(f, "{value:.digits$} {unit}")
    }
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
    }

    #[test]
    fn buckets_hold_everything_once() {
        let mut histogram = Histogram::new(3).unwrap();
        let values = [1_u64, 5, 17, 17, 900, 1_000_000];
        values
            .iter()
            .for_each(|value| histogram.saturating_record(*value));
        let buckets = buckets(&histogram);
        let total: u64 = buckets.iter().map(|(_, count)| count).sum();
        assert_eq!(total, values.len() as u64, "{buckets:?}");
        assert!(buckets.is_sorted_by(|(a, _), (b, _)| a <= b));
        assert!(buckets.last().unwrap().0 >= histogram.max());
    }
}
