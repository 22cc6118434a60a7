use super::*;
use crate::load::machine::random::Random;
use crate::load::machine::record::{Point, Record};

/// Seeds from here on were not seen while the method was chosen.
const FRESH: u64 = 424_242;

/// Servers, and what becomes slower and faster on the machine meanwhile.
struct Weather {
    random: Random,
    state: f64,
}

impl Weather {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed << 20);
        let state = random.normal();
        Self { random, state }
    }

    /// How long an exchange of 1 ms takes: log-normal by 30 %, all of it by what the machine does, which
    /// moves by 10 % and stays for some milliseconds; and now and then there is a slow one.
    fn took(&mut self) -> f64 {
        let stays: f64 = 0.9;
        self.state = stays * self.state + (1.0 - stays * stays).sqrt() * self.random.normal();
        let slow = if self.random.uniform() < 0.02 {
            4.0
        } else {
            1.0
        };
        slow * (0.3 * self.random.normal() + 0.1 * self.state).exp()
    }
}

/// A run in a closed loop of 4, with the targets in turn, each so many times slower than it was.
fn run(seed: u64, exchanges: u64, slower: &[f64]) -> Report {
    let mut weather = Weather::new(seed);
    let names: Vec<String> = (1..=slower.len()).map(|n| format!("server {n}")).collect();
    let mut record = Record::new(names.clone()).unwrap();
    record.compare_targets();
    let (mut now, mut loops) = (0.0, [0.0_f64; 4]);
    for number in 0..exchanges {
        let target = number as usize % slower.len();
        let took = weather.took() * slower[target];
        // The one of the four that ends first goes on.
        let earliest = (0..4)
            .min_by(|a, b| loops[*a].total_cmp(&loops[*b]))
            .unwrap();
        loops[earliest] += took;
        now = loops[earliest].max(now);
        let at = Duration::from_secs_f64(now / 1e3);
        let point = Point {
            at,
            right: number,
            wrong: 0,
            open: 4,
        };
        record.advance(point);
        record.open(target);
        record.right(target, 1, 1);
        let took = Duration::from_secs_f64(took / 1e3);
        record.whole(target, took, took);
    }
    let elapsed = Duration::from_secs_f64(now / 1e3);
    record.stages = vec![(Stage::Churn, Duration::ZERO), (Stage::Over, elapsed)];
    Report {
        elapsed,
        targets: names,
        ..Report::of(record)
    }
}

fn beside(first: &Report, second: &Report) -> Vec<Compared> {
    let mut second = second.clone();
    second.baseline = Some(Box::new(first.clone()));
    second.beside_baseline()
}

/// How many of so many comparisons say that there is a difference, by figure; and how many say the one
/// that is expected.
fn differing(
    times: u64,
    compare: impl Fn(u64) -> Vec<Compared>,
    verdict: &str,
) -> Vec<(&'static str, u32, u32)> {
    let mut counts: Vec<(&'static str, u32, u32)> = vec![];
    for seed in 0..times {
        for compared in compare(FRESH + 2 * seed) {
            let place = counts.iter().position(|(name, ..)| *name == compared.name);
            let place = place.unwrap_or_else(|| {
                counts.push((compared.name, 0, 0));
                counts.len() - 1
            });
            counts[place].1 += u32::from(["slower", "faster"].contains(&compared.verdict()));
            counts[place].2 += u32::from(compared.verdict() == verdict);
            assert!(compared.interval.is_some(), "{compared:?}");
        }
    }
    counts
}

/// What compares two measurements, given a seed.
type Compare<'a> = &'a dyn Fn(u64) -> Vec<Compared>;

const EXCHANGES: u64 = 12_000;

/// The stated level is 5 of 100 for each figure.
#[test]
fn equals_seldom_differ() {
    let runs = |seed| {
        beside(
            &run(seed, EXCHANGES, &[1.0]),
            &run(seed + 1, EXCHANGES, &[1.0]),
        )
    };
    let targets = |seed| run(seed, EXCHANGES, &[1.0; 2]).beside_first().remove(0);
    let cases: [(&str, usize, Compare<'_>); 2] = [("runs", 4, &runs), ("targets", 3, &targets)];
    for (what, figures, compare) in cases {
        let counts = differing(100, compare, "");
        println!("{what}: of 100 pairs of equals differ by figure {counts:?}");
        assert_eq!(counts.len(), figures);
        assert!(
            counts.iter().all(|(_, differ, _)| *differ <= 11),
            "{what}: {counts:?}"
        );
    }
}

#[test]
fn ten_percent_are_found() {
    let runs = |seed| {
        beside(
            &run(seed, EXCHANGES, &[1.0]),
            &run(seed + 1, EXCHANGES, &[1.1]),
        )
    };
    let targets = |seed| run(seed, EXCHANGES, &[1.0, 1.1]).beside_first().remove(0);
    let cases: [(&str, Compare<'_>); 2] = [("runs", &runs), ("targets", &targets)];
    for (what, compare) in cases {
        let counts = differing(30, compare, "slower");
        println!("{what}: of 30 slower ones by figure {counts:?}");
        for (name, differ, slower) in counts {
            let least = if name == "p99" { 2 } else { 28 };
            assert!(
                slower >= least && differ - slower <= 2,
                "{what} {name}: {slower}"
            );
        }
    }
}

/// A run that lasts twice as long is compared in windows of the same length.
#[test]
fn a_longer_run_is_no_slower() {
    let compare = |seed| beside(&run(seed, 12_000, &[1.0]), &run(seed + 1, 24_000, &[1.0]));
    let counts = differing(50, compare, "");
    println!("of 50 pairs of equals of which one is longer differ {counts:?}");
    assert!(
        counts.iter().all(|(_, differ, _)| *differ <= 11),
        "{counts:?}"
    );
}

/// So that it lasts longer, too.
#[test]
fn a_far_slower_run_is_found() {
    let compared = beside(&run(1, 5_000, &[1.0]), &run(2, 5_000, &[20.0]));
    for compared in compared.iter().filter(|compared| compared.name != "p99") {
        assert_eq!(compared.verdict(), "slower", "{compared:?}");
    }
}

#[test]
fn few_exchanges_tell_nothing() {
    for exchanges in [1, 10, 60] {
        for compared in beside(&run(1, exchanges, &[1.0]), &run(2, exchanges, &[1.0])) {
            assert_eq!(compared.verdict(), "too short to tell", "{compared:?}");
            assert!(compared.ratio > 0.0 && compared.ratio.is_finite());
        }
    }
    assert!(
        beside(&run(1, 0, &[1.0]), &run(2, 500, &[1.0])).is_empty(),
        "nothing to compare"
    );
}

#[test]
fn a_comparison_is_said_plainly() {
    let comparison = |ratio, interval| Some(Comparison { ratio, interval });
    let check = |name, comparison, sentence: &str| {
        let figures = ["1 ms".to_owned(), "2 ms".to_owned()];
        let compared = Compared::new(name, figures, [1.0, 2.0], comparison);
        assert_eq!(compared.sentence("the baseline"), sentence);
    };
    let near = comparison(1.02, Some([0.97, 1.07]));
    check(
        "p50",
        near,
        "p50 1.02 of the baseline (0.97 to 1.07): no difference",
    );
    let more = comparison(1.1, Some([1.05, 1.161]));
    check(
        "p50",
        more,
        "p50 1.10 of the baseline (1.05 to 1.16): slower",
    );
    check(
        "rate",
        more,
        "rate 1.10 of the baseline (1.05 to 1.16): faster",
    );
    let less = comparison(0.9, Some([0.85, 0.99]));
    check(
        "p99",
        less,
        "p99 0.90 of the baseline (0.85 to 0.99): faster",
    );
    check(
        "rate",
        less,
        "rate 0.90 of the baseline (0.85 to 0.99): slower",
    );
    check("p99", None, "p99 2.00 of the baseline: too short to tell");
}

/// Steps of a histogram are not steps of a percentile.
#[test]
fn percentiles_lie_between_the_steps() {
    let mut window = Windows::empty().unwrap();
    for value in 1_000_000..=1_007_000 {
        window.record(value).unwrap();
    }
    for (quantile, expected) in [(0.1, 1_000_700.0), (0.5, 1_003_500.0), (0.9, 1_006_300.0)] {
        let found = percentile(&window, quantile);
        assert!((found - expected).abs() < 2000.0, "{found}");
    }
    assert!(percentile(&Windows::empty().unwrap(), 0.5).is_nan());
    // Of three times, each a step of 1 ns, the quantile q has the rank 1/3 + 10/3 q.
    let mut window = Windows::empty().unwrap();
    for value in [100, 110, 120] {
        window.record(value).unwrap();
    }
    for (quantile, expected) in [
        (0.1, 101.0),
        (0.4, 110.0 + 2.0 / 3.0),
        (0.5, 111.0),
        (0.7, 120.0 + 2.0 / 3.0),
        (0.9, 121.0),
    ] {
        let found = percentile(&window, quantile);
        assert!((found - expected).abs() < 1e-9, "{quantile}: {found}");
    }
}

#[test]
fn without_a_baseline_there_is_nothing_beside_it() {
    let alone = run(FRESH, 2000, &[1.0]);
    assert!(alone.beside_baseline().is_empty());
}
