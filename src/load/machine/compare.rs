//! Whether one of two measurements is slower than the other, or only looks so.
//!
//! The input is a series of positive values, in the order of time: the p99 of every window of a
//! run, its rate, or the latency of every exchange. The result is the ratio of the second to the
//! first with a 95 % interval. They differ, at the 5 % level, if the interval excludes 1.
//!
//! # The method
//! - Latencies are skewed and have outliers, and what is asked for is a ratio. So everything is
//!   done with ranks of logarithms, which assume no distribution. Two runs: the estimate of Hodges
//!   and Lehmann (1963), the median of all differences, with the interval of the Mann-Whitney test.
//!   Pairs: the median of all means of two, with the interval of Wilcoxon's signed-rank test. Both
//!   in Hollander, Wolfe and Chicken, *Nonparametric Statistical Methods*, chapters 3 and 4; both
//!   exact, with no normal approximation.
//! - These tests assume that values are independent, and successive latencies are not: a slow
//!   moment makes many of them slow. So a series is cut into at most 20 blocks of neighbours, each
//!   of which gives its median. They are made so long that they do not resemble their neighbours
//!   (Fishman, "Grouping Observations in Digital Simulation", *Management Science* 24, 1978). Ten
//!   to thirty blocks lose little power (Schmeiser, *Operations Research* 30, 1982). What is left
//!   of the correlation widens the interval.
//!
//! Of 100 comparisons of equals, 2 to 8 find a difference, as long as the series is long beside its
//! correlation: 40 values if half of a deviation stays in the next value, 60 if four fifths do. In
//! 10 values a correlation cannot be seen, so there the windows must be long enough to have none.
//!
//! # What it cannot see
//! Two runs may differ because something else on the machine did. No test within a run sees that.
//! Pairs, whose exchanges alternate, suffer alike: they are the fairer comparison.

/// The second measurement, compared with the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// The second divided by the first.
    pub ratio: f64,
    /// The ratio's 95 % interval. `None`: there are too few values for one, such as 3 on each side
    /// or 5 pairs.
    pub interval: Option<[f64; 2]>,
}

impl Comparison {
    /// Whether there is a difference, at the 5 % level.
    #[must_use]
    pub fn is_different(&self) -> bool {
        self.interval
            .is_some_and(|[low, high]| low > 1.0 || high < 1.0)
    }
}

/// The chance on each side of the interval.
const TAIL: f64 = 0.025;

/// The most blocks that a series is cut into, and the fewest that longer blocks may leave.
const BLOCKS: [usize; 2] = [20, 8];

/// Blocks are made longer while the correlation of neighbours is above this.
const CORRELATED: f64 = 0.1;

/// The most that is taken for the correlation of neighbours.
const MOST_CORRELATED: f64 = 0.8;

/// Compares two runs. Values that are negative or not finite are left out. `None`: no value is left
/// on one side.
#[must_use]
pub fn runs(first: &[f64], second: &[f64]) -> Option<Comparison> {
    let logs = |values: &[f64]| -> Vec<f64> { values.iter().filter_map(|v| log(*v)).collect() };
    let [first, second] = [logs(first), logs(second)].map(|logs| blocks(&logs));
    let mut differences: Vec<f64> = first
        .values
        .iter()
        .flat_map(|a| second.values.iter().map(move |b| b - a))
        .collect();
    let rank = mann_whitney(first.values.len(), second.values.len());
    let inflation = (first.inflation + second.inflation) / 2.0;
    compare(&mut differences, rank, inflation)
}

/// Compares pairs: the first and the second value of each were measured at the same time, or one
/// right after the other. Pairs with a value that is negative or not finite are left out. `None`:
/// no pair is left.
#[must_use]
pub fn pairs(pairs: &[[f64; 2]]) -> Option<Comparison> {
    let differences = pairs.iter().filter_map(|[a, b]| Some(log(*b)? - log(*a)?));
    let differences: Vec<f64> = differences.collect();
    let Series { values, inflation } = blocks(&differences);
    let mut means: Vec<f64> = (0..values.len())
        .flat_map(|i| values[i..].iter().map(move |b| (i, *b)))
        .map(|(i, b)| f64::midpoint(values[i], b))
        .collect();
    compare(&mut means, signed_rank(values.len()), inflation)
}

/// The ratio is the median of the differences, the interval from the `rank`-th to the one that is
/// as far from the end.
fn compare(differences: &mut [f64], rank: Option<usize>, inflation: f64) -> Option<Comparison> {
    let middle = median(differences)?;
    let interval = rank.map(|rank| {
        let ends = [differences[rank - 1], differences[differences.len() - rank]];
        ends.map(|end| (middle + (end - middle) * inflation).exp())
    });
    Some(Comparison {
        ratio: middle.exp(),
        interval,
    })
}

/// A window without any exchange has a rate of zero: it ranks below all others.
fn log(value: f64) -> Option<f64> {
    (value.is_finite() && value >= 0.0).then(|| value.max(f64::MIN_POSITIVE).ln())
}

/// A series as blocks that are nearly independent.
struct Series {
    values: Vec<f64>,
    /// How much wider than that of independent values an interval must be.
    inflation: f64,
}

fn blocks(values: &[f64]) -> Series {
    let [most, fewest] = BLOCKS;
    let mut length = 1;
    // Short blocks are many, so their correlation is known well.
    let mut rest = correlation(&cut(values, length));
    while rest > CORRELATED && values.len() / (length + 1) >= fewest {
        length += length.div_ceil(3);
        length = length.min(values.len() / fewest);
        rest = correlation(&cut(values, length));
    }
    let r = rest.clamp(0.0, MOST_CORRELATED);
    Series {
        values: cut(values, length.max(values.len().div_ceil(most))),
        inflation: ((1.0 + r) / (1.0 - r)).sqrt(),
    }
}

/// The medians of blocks of at least that length. The values that are left over are shared out.
fn cut(values: &[f64], length: usize) -> Vec<f64> {
    let count = values.len() / length;
    let place = |i: usize| i * values.len() / count.max(1);
    (0..count)
        .filter_map(|i| median(&mut values[place(i)..place(i + 1)].to_vec()))
        .collect()
}

/// The correlation of neighbours. In a short series it comes out too low, which is corrected to the
/// first order (Marriott and Pope, *Biometrika* 41, 1954).
fn correlation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n.max(1.0);
    let variance: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let pairs = values.iter().zip(values.iter().skip(1));
    let covariance: f64 = pairs.map(|(a, b)| (a - mean) * (b - mean)).sum();
    if values.len() < 5 || variance <= 0.0 {
        return 0.0;
    }
    let r = covariance / variance;
    (r * n + 1.0) / (n - 3.0)
}

/// Sorts them.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let [low, high] = [values.len().checked_sub(1)? / 2, values.len() / 2];
    Some(f64::midpoint(values[low], values[high]))
}

/// The rank of the interval's lower end among all differences of `m` and `n` values.
fn mann_whitney(m: usize, n: usize) -> Option<usize> {
    // How many orders of i and j values have so many differences below zero: the greatest value
    // belongs to one side or to the other.
    let mut counts = vec![vec![vec![1.0]; n + 1]; m + 1];
    for i in 1..=m {
        for j in 1..=n {
            let mut sums = vec![0.0; i * j + 1];
            for (sum, count) in counts[i - 1][j].iter().enumerate() {
                sums[sum + j] += count;
            }
            for (sum, count) in counts[i][j - 1].iter().enumerate() {
                sums[sum] += count;
            }
            counts[i][j] = sums;
        }
    }
    lower_rank(&counts[m][n])
}

/// The rank of the interval's lower end among the means of any two of `n` values, or of one.
fn signed_rank(n: usize) -> Option<usize> {
    let mut counts = vec![1.0];
    for rank in 1..=n {
        // The value of this rank is positive or not.
        let mut sums = counts.clone();
        sums.resize(counts.len() + rank, 0.0);
        for (sum, count) in counts.iter().enumerate() {
            sums[sum + rank] += count;
        }
        counts = sums;
    }
    lower_rank(&counts)
}

/// How many of the lowest sums, together, are less likely than the tail. `None`: not even the
/// lowest is.
fn lower_rank(counts: &[f64]) -> Option<usize> {
    let all: f64 = counts.iter().sum();
    let below = counts.iter().scan(0.0, |below, count| {
        *below += count;
        Some(*below / all)
    });
    let rank = below.take_while(|chance| *chance <= TAIL).count();
    (rank > 0).then_some(rank)
}

#[cfg(test)]
mod tests;
