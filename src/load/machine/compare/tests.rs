use super::*;
use crate::load::machine::random::Random;

/// Seeds from here on were not seen while the method was chosen.
const FRESH: u64 = 77_777;

#[derive(Clone, Copy, Debug)]
enum Noise {
    /// Log-normal, by 10 %.
    Normal,
    /// Pareto's, of which not even the variance is finite.
    Heavy,
    /// Log-normal, and this part of each value's deviation stays in the next.
    Correlated(f64),
    /// Windows that are stalled now and then, several in a row, and else as `Normal`.
    Stalls,
}

impl Noise {
    fn series(self, random: &mut Random, n: usize) -> Vec<f64> {
        let (mut state, mut stalled) = (random.normal(), 0);
        (0..n)
            .map(|_| self.next(random, &mut state, &mut stalled))
            .collect()
    }

    fn next(self, random: &mut Random, state: &mut f64, stalled: &mut u32) -> f64 {
        match self {
            Self::Normal => (0.1 * random.normal()).exp(),
            Self::Heavy => (1.0 - random.uniform()).powf(-1.0 / 1.5),
            Self::Correlated(part) => {
                *state = part * *state + (1.0 - part * part).sqrt() * random.normal();
                (0.1 * *state).exp()
            }
            Self::Stalls => {
                if *stalled == 0 && random.uniform() < 0.02 {
                    *stalled = 3;
                }
                let factor = if *stalled > 0 { 5.0 } else { 1.0 };
                *stalled = stalled.saturating_sub(1);
                factor * (0.1 * random.normal()).exp()
            }
        }
    }
}

/// Which share of so many comparisons says that there is a difference, for two runs and for pairs.
fn alarms(noise: Noise, n: usize, ratio: f64, times: u64) -> [f64; 2] {
    let mut alarms = [0; 2];
    for seed in 0..times {
        let mut random = Random((FRESH + seed) << 20 | n as u64);
        let first = noise.series(&mut random, n);
        let second = noise.series(&mut random, n);
        let second: Vec<f64> = second.iter().map(|value| value * ratio).collect();
        let both: Vec<[f64; 2]> = first.iter().zip(&second).map(|(a, b)| [*a, *b]).collect();
        for (count, comparison) in alarms.iter_mut().zip([runs(&first, &second), pairs(&both)]) {
            *count += u64::from(comparison.unwrap().is_different());
        }
    }
    alarms.map(|count| count as f64 / times as f64)
}

/// Equals: the share of false alarms is about 5 %.
#[test]
fn equals_seldom_differ() {
    for (noise, n) in [
        (Noise::Normal, 10),
        (Noise::Normal, 60),
        (Noise::Normal, 300),
        (Noise::Heavy, 20),
        (Noise::Heavy, 300),
        (Noise::Stalls, 30),
        (Noise::Stalls, 300),
        (Noise::Correlated(0.5), 40),
        (Noise::Correlated(0.5), 60),
        (Noise::Correlated(0.8), 60),
        (Noise::Correlated(0.8), 300),
        (Noise::Correlated(0.95), 600),
    ] {
        let times = if n < 100 { 4000 } else { 2000 };
        let shares = alarms(noise, n, 1.0, times);
        println!("{noise:?}, {n}: {shares:.3?} false alarms, runs and pairs");
        let is_right = shares.iter().all(|share| (0.01..=0.08).contains(share));
        assert!(is_right, "{noise:?}, {n}: {shares:?}");
    }
}

/// Ten percent: the least share in which the difference is found.
#[test]
fn ten_percent_are_found() {
    for (noise, n, least) in [
        (Noise::Normal, 60, [0.9, 0.9]),
        (Noise::Normal, 300, [0.99, 0.9]),
        (Noise::Stalls, 60, [0.8, 0.6]),
        (Noise::Stalls, 300, [0.99, 0.9]),
        (Noise::Correlated(0.5), 300, [0.95, 0.9]),
        (Noise::Correlated(0.8), 300, [0.7, 0.7]),
        (Noise::Heavy, 2000, [0.9, 0.9]),
    ] {
        for ratio in [1.1, 1.0 / 1.1] {
            let shares = alarms(noise, n, ratio, 200);
            println!("{noise:?}, {n}, {ratio:.2}: {shares:.2?} found, runs and pairs");
            let is_right = shares
                .iter()
                .zip(least)
                .all(|(share, least)| *share >= least);
            assert!(is_right, "{noise:?}, {n}, {ratio}: {shares:?}");
        }
    }
}

/// Both targets are slow at the same moments, by far more than they differ.
#[test]
fn pairs_see_through_what_both_suffer() {
    let mut found = [0; 2];
    for seed in 0..200 {
        let mut random = Random(seed);
        let weather = Noise::Correlated(0.95).series(&mut random, 300);
        let side = |random: &mut Random, ratio: f64| -> Vec<f64> {
            let own = |_: &f64| (0.02 * random.normal()).exp() * ratio;
            let own: Vec<f64> = weather.iter().map(own).collect();
            own.iter()
                .zip(&weather)
                .map(|(a, b)| a * b.powi(5))
                .collect()
        };
        let (first, second) = (side(&mut random, 1.0), side(&mut random, 1.02));
        let both: Vec<[f64; 2]> = first.iter().zip(&second).map(|(a, b)| [*a, *b]).collect();
        found[0] += u32::from(runs(&first, &second).unwrap().is_different());
        found[1] += u32::from(pairs(&both).unwrap().is_different());
    }
    assert!(found[0] < 20 && found[1] > 190, "{found:?}");
}

#[test]
fn the_ratio_is_that_of_the_second_to_the_first() {
    let first: Vec<f64> = (0..100_u32)
        .map(|i| 1.0 + f64::from(i % 10) / 100.0)
        .collect();
    let second: Vec<f64> = first.iter().map(|value| value * 2.0).collect();
    let both: Vec<[f64; 2]> = first.iter().zip(&second).map(|(a, b)| [*a, *b]).collect();
    for comparison in [runs(&first, &second).unwrap(), pairs(&both).unwrap()] {
        let [low, high] = comparison.interval.unwrap();
        let Comparison { ratio, .. } = comparison;
        assert!((ratio - 2.0).abs() < 1e-9, "{comparison:?}");
        assert!(
            low <= ratio && ratio <= high && low > 1.9 && high < 2.1,
            "{comparison:?}"
        );
        assert!(comparison.is_different());
    }
    let same = runs(&first, &first).unwrap();
    assert!(
        (same.ratio - 1.0).abs() < 1e-9 && !same.is_different(),
        "{same:?}"
    );
}

/// The critical values that are in every table (5 %, both sides): one less than the rank.
#[test]
fn ranks_are_those_of_the_tables() {
    for (m, n, critical) in [
        (4, 4, 0),
        (5, 5, 2),
        (5, 8, 6),
        (8, 8, 13),
        (10, 15, 39),
        (20, 20, 127),
    ] {
        assert_eq!(mann_whitney(m, n), Some(critical + 1), "{m}, {n}");
    }
    assert_eq!([mann_whitney(3, 3), mann_whitney(0, 9)], [None; 2]);
    for (n, critical) in [(6, 0), (8, 3), (10, 8), (15, 25), (20, 52)] {
        assert_eq!(signed_rank(n), Some(critical + 1), "{n}");
    }
    assert_eq!([signed_rank(0), signed_rank(5)], [None; 2]);
}

#[test]
fn a_series_is_cut_into_blocks_that_cover_it() {
    for n in [0, 1, 7, 19, 20, 21, 59, 1000] {
        let values: Vec<f64> = (0..n).map(f64::from).collect();
        for length in [1, 2, 3, 50] {
            let medians = cut(&values, length);
            assert_eq!(medians.len(), values.len() / length, "{n}, {length}");
            let is_rising = medians.is_sorted();
            assert!(is_rising, "{n}, {length}: {medians:?}");
        }
        assert!(blocks(&values).values.len() <= 20, "{n}");
    }
    let mut random = Random(1);
    let independent = Noise::Normal.series(&mut random, 2000);
    assert_eq!(blocks(&independent).values.len(), 20);
    let correlated = Noise::Correlated(0.95).series(&mut random, 300);
    let Series { values, inflation } = blocks(&correlated);
    assert!(values.len() < 20, "{} {inflation}", values.len());
}

/// By hand: a rise of six has a variance of 17.5 and a covariance of 8.75.
#[test]
fn the_correlation_of_a_short_series_is_corrected() {
    for (values, expected) in [
        (&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0][..], (0.5 * 6.0 + 1.0) / 3.0),
        (&[1.0, 2.0, 3.0, 4.0, 5.0], (0.4 * 5.0 + 1.0) / 2.0),
        (&[1.0, 2.0, 3.0, 4.0], 0.0),
        (&[7.0; 9], 0.0),
    ] {
        let correlation = correlation(values);
        assert!((correlation - expected).abs() < 1e-9, "{values:?}");
    }
}

/// A series that only rises is correlated, however it is cut. Eight blocks must be left.
#[test]
fn correlated_values_widen_the_interval() {
    let rise = |n: i32| -> Vec<f64> { (1..=n).map(f64::from).collect() };
    for (n, left) in [(10, 10), (40, 8)] {
        let Series { values, inflation } = blocks(&rise(n));
        assert_eq!(values.len(), left, "{n}");
        assert!((inflation - 3.0).abs() < 1e-9, "of 0.8: {inflation}");
    }
    let compare = |differences: &mut [f64], rank, inflation| {
        let Comparison { ratio, interval } = compare(differences, Some(rank), inflation).unwrap();
        [ratio, interval.unwrap()[0], interval.unwrap()[1]].map(|factor| factor.ln().round())
    };
    let mut differences = [3.0, -1.0, 1.0, 2.0, 0.0];
    assert_eq!(compare(&mut differences, 2, 1.0), [1.0, 0.0, 2.0]);
    assert_eq!(compare(&mut differences, 2, 3.0), [1.0, -2.0, 4.0]);
    // One run without a correlation and one with 0.8: the interval is twice as wide. Its ends are the
    // 24th of 100 differences and the 24th from the end.
    let second: Vec<f64> = rise(10).iter().map(|value| value.exp()).collect();
    let Comparison { ratio, interval } = runs(&[1.0; 10], &second).unwrap();
    let [low, high] = interval.unwrap();
    let logs = [ratio, low, high].map(f64::ln);
    let expected = [5.5, 5.5 - 2.0 * 2.5, 5.5 + 2.0 * 2.5];
    let is_right = logs.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9);
    assert!(is_right, "{logs:?}");
}

#[test]
fn measurements_that_cannot_be_compared_do_not_differ() {
    let values = [f64::NAN, f64::INFINITY, -1.0];
    assert_eq!(runs(&values, &[1.0]), None);
    assert_eq!(runs(&[], &[]), None);
    assert_eq!(pairs(&[[1.0, f64::NAN], [-1.0, 1.0]]), None);
    let few = runs(&[1.0, 1.1, 1.2], &[2.0, 2.1, 2.2]).unwrap();
    assert_eq!((few.interval, few.is_different()), (None, false));
    assert!(few.ratio > 1.8, "{few:?}");
    // Every window of the second run was stalled.
    let none = runs(&[9.0; 10], &[0.0; 10]).unwrap();
    assert!(none.ratio < 1e-9 && none.is_different(), "{none:?}");
    let both = runs(&[0.0; 10], &[0.0; 10]).unwrap();
    assert!(
        (both.ratio - 1.0).abs() < 1e-9 && !both.is_different(),
        "{both:?}"
    );
    let huge = runs(&[f64::MAX; 10], &[f64::MIN_POSITIVE; 10]).unwrap();
    assert!(huge.ratio >= 0.0 && huge.is_different(), "{huge:?}");
}
