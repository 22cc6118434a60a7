//! Latencies: the rows and the columns of every table, and the buckets of every distribution.

use hdrhistogram::Histogram;

use super::quantity::Time;

/// One row of the table of latencies.
pub(crate) struct Latency<'a> {
    /// The name for people.
    pub(crate) name: &'static str,
    /// The name in `--fail-if` and in the JSON object.
    pub(crate) key: &'static str,
    pub(crate) histogram: &'a Histogram<u64>,
}

impl Latency<'_> {
    /// Whether it is of held connections.
    pub(crate) fn is_held(&self) -> bool {
        self.key.starts_with("held_")
    }
}

/// A figure that sums up one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Figure {
    Min,
    Mean,
    Quantile(f64),
}

/// The columns of every table: the name of the JSON field, the heading, and the figure.
pub(crate) const FIGURES: [(&str, &str, Figure); 8] = [
    ("min", "min", Figure::Min),
    ("mean", "mean", Figure::Mean),
    ("p50", "p50", Figure::Quantile(0.5)),
    ("p90", "p90", Figure::Quantile(0.9)),
    ("p95", "p95", Figure::Quantile(0.95)),
    ("p99", "p99", Figure::Quantile(0.99)),
    ("p999", "p99.9", Figure::Quantile(0.999)),
    ("max", "max", Figure::Quantile(1.0)),
];

impl Figure {
    /// The figure in nanoseconds; zero if nothing was measured.
    pub(crate) fn of(self, histogram: &Histogram<u64>) -> u64 {
        match self {
            Self::Min => histogram.min(),
            Self::Mean => histogram.mean().round() as u64,
            Self::Quantile(at) => histogram.value_at_quantile(at),
        }
    }

    /// The same with its unit.
    pub(crate) fn time(self, histogram: &Histogram<u64>) -> Time {
        Time(self.of(histogram))
    }
}

/// How many of the recorded times lie between two ends, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) start: f64,
    pub(crate) end: f64,
    pub(crate) count: u64,
}

/// At most this many buckets divide a doubling. Finer ones would show the precision of the
/// histogram and not that of the run.
const FINEST: f64 = 16.0;

/// The distribution from its least to its largest time, in order, in `most` buckets or in fewer if
/// they would be too fine.
pub(crate) fn buckets(histogram: &Histogram<u64>, most: usize) -> Vec<Bucket> {
    if histogram.is_empty() {
        return vec![];
    }
    let [low, high] = [histogram.min(), histogram.max()].map(|ns| ns as f64);
    let scale = Scale::new(low, high, most);
    let counts = scale.counts(histogram);
    let bucket = |((start, end), count)| Bucket { start, end, count };
    scale.ends().zip(counts).map(bucket).collect()
}

/// Buckets that are equally wide on a logarithmic scale.
pub(crate) struct Scale {
    /// The lower end of the first bucket, and the width of each, in doublings of a nanosecond.
    start: f64,
    width: f64,
    number: usize,
}

impl Scale {
    /// From one time to another, in nanoseconds.
    pub(crate) fn new(low: f64, high: f64, most: usize) -> Self {
        let [start, end] = [low, high].map(|ns| ns.max(1.0).log2());
        let number = ((end - start) * FINEST).ceil();
        let number = number.clamp(1.0, most.max(1) as f64);
        Self {
            start,
            width: ((end - start) / number).max(1.0 / FINEST),
            number: number as usize,
        }
    }

    /// The lower and the upper end of each bucket, in nanoseconds.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (f64, f64)> {
        let end = |i: usize| (self.start + self.width * i as f64).exp2();
        (0..self.number).map(move |i| (end(i), end(i + 1)))
    }

    /// How many times are in each bucket. What is outside counts for the first or the last one.
    pub(crate) fn counts(&self, histogram: &Histogram<u64>) -> Vec<u64> {
        let mut counts = vec![0; self.number];
        for recorded in histogram.iter_recorded() {
            let ns = recorded.value_iterated_to().max(1) as f64;
            let place = ((ns.log2() - self.start) / self.width) as usize;
            counts[place.min(self.number - 1)] += recorded.count_at_value();
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However many buckets there may be, each value is in one of them, and they leave no gap.
    #[test]
    fn buckets_hold_everything_once() {
        let mut histogram = Histogram::new(3).unwrap();
        let values = [0_u64, 1, 5, 17, 17, 900, 1_000_000, 1 << 40];
        for (recorded, value) in (1..).zip(values) {
            histogram.record(value).unwrap();
            for most in [0, 1, 2, 3, 8, 20, 45, 1000] {
                let buckets = buckets(&histogram, most);
                assert!(buckets.len() <= most.max(1), "{most}: {buckets:?}");
                let total: u64 = buckets.iter().map(|bucket| bucket.count).sum();
                assert_eq!(total, recorded, "{buckets:?}");
                assert!(buckets.windows(2).all(|pair| pair[0].end == pair[1].start));
                assert!(buckets[0].start <= 1.0, "{buckets:?}");
                assert!(buckets.last().unwrap().end > value as f64 * 0.999);
            }
        }
        assert_eq!(buckets(&Histogram::new(3).unwrap(), 20), []);
    }

    #[test]
    fn buckets_are_as_fine_as_fits() {
        let mut histogram = Histogram::new(3).unwrap();
        for us in 1_000..=8_000 {
            histogram.record(us * 1_000).unwrap();
        }
        let check = |most, expected| assert_eq!(buckets(&histogram, most).len(), expected);
        check(1, 1);
        check(3, 3);
        check(20, 20);
        check(1000, 49); // 16 for each doubling

        // 1 to 2 ms, 2 to 4 and 4 to 8, to the precision of the histogram.
        let counts: Vec<u64> = buckets(&histogram, 3)
            .iter()
            .map(|bucket| bucket.count)
            .collect();
        for (count, expected) in counts.iter().zip([1000, 2000, 4001_u64]) {
            assert!(count.abs_diff(expected) <= 4, "{counts:?}");
        }
    }
}
