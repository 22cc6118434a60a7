//! Records that are added: of clients, runs and targets.

use super::*;

/// Sums of counts that are too large stay as large as they can be.
#[test]
fn no_sum_of_counts_overflows() {
    const ALL: u64 = u64::MAX;
    let fault = Fault::NoEcho;
    let outcomes = Outcomes {
        opened: ALL,
        right: ALL,
        wrong: [(fault, ALL), (Fault::ExtraBytes, ALL)].into(),
        given_up: ALL,
    };
    let mut record = Record::new(["a".to_owned()]).unwrap();
    record.by_target[0].outcomes.clone_from(&outcomes);
    (record.outcomes, record.missed) = (outcomes.clone(), u128::MAX);
    (record.bytes, record.echoed) = ([ALL; 2], [ALL; 2]);
    (record.churned, record.echoed_in_part) = (ALL, ALL);
    (record.most_open, record.held) = (ALL, ALL);
    record.advance(Point {
        at: Duration::from_secs(1),
        right: ALL,
        wrong: ALL,
        open: ALL,
    });
    record.course.add(&record.course.clone(), Duration::ZERO);
    record.add(&record.clone(), Duration::ZERO);
    assert_eq!((&record.outcomes, record.missed), (&outcomes, u128::MAX));
    assert_eq!(record.by_target[0].outcomes, outcomes);
    assert_eq!((record.bytes, record.echoed), ([ALL; 2], [ALL; 2]));
    assert_eq!((record.churned, record.echoed_in_part), (ALL, ALL));
    assert_eq!((record.most_open, record.held), (ALL, ALL));
    let last = record.course.points.last().unwrap();
    assert_eq!((last.right, last.wrong, last.open), (ALL, ALL, ALL));
    assert_eq!((outcomes.wrongs(), outcomes.open()), (ALL, 0));
}

/// One client cannot have open what two runs after each other had, but it waits for both.
#[test]
fn runs_follow_each_other() {
    let run = |ms: u64| {
        let mut record = Record::new(["a".to_owned()]).unwrap();
        let took = Duration::from_millis(ms);
        record.open(0);
        record.right(0, 1, 1);
        record.whole(0, took, took);
        record.waited.insert(Shortage::Port, took);
        record.stood_still = took;
        record.most_open = ms;
        record
    };
    let mut both = run(9);
    both.follow(&run(5), Duration::from_secs(1));
    assert_eq!((both.outcomes.right, both.most_open), (2, 9));
    let sum = Duration::from_millis(14);
    assert_eq!((both.waited[&Shortage::Port], both.stood_still), (sum, sum));
    both.set_times(run(5).compacted());
    assert_eq!((both.outcomes.right, both.corrected.len()), (2, 1));
    assert_eq!(both.total, run(5).total);
    assert_eq!(both.by_target[0].total, run(5).by_target[0].total);
    let times = [&both.phases, &both.held_phases].map(|four| four.each_ref().map(Histogram::len));
    assert_eq!(times, [[0; 4]; 2]);
    let reserved = run(5).reserved();
    let size = |record: &Record| record.total.distinct_values();
    assert!(size(&reserved) > size(&run(5)));
    assert_eq!(run(5).total, reserved.total);
    let bytes = 11 * size(&reserved) * size_of::<u64>();
    assert!((RESERVED * 9 / 10..=RESERVED).contains(&bytes), "{bytes}");
    assert_eq!(size(&reserved.compacted()), size(&run(5)));
}

/// Each row: how many milliseconds after a run of a second another one begins; then the most open of
/// both, how long a port was missing and how long they stood still. The clocks may differ by 10 ms.
#[test]
fn runs_at_the_same_time_have_more_open_and_wait_no_longer() {
    let run = |size: u64| {
        let mut record = Record::new([]).unwrap();
        record.most_open = size;
        let time = Duration::from_millis(size);
        record.waited.insert(Shortage::Port, time);
        record.stood_still = time;
        record.course.end(Point {
            at: Duration::from_secs(1),
            ..Point::default()
        });
        record
    };
    for (later, most_open, time) in [(0, 12, 7), (980, 12, 7), (995, 7, 12), (2000, 7, 12)] {
        let mut sum = run(7);
        sum.add(&run(5), Duration::from_millis(later));
        let time = Duration::from_millis(time);
        let states = (sum.most_open, sum.waited[&Shortage::Port], sum.stood_still);
        assert_eq!(states, (most_open, time, time), "{later}");
    }
}

/// One of two clients compares its targets by windows, or both do.
#[test]
fn targets_are_compared_by_windows_if_all_clients_do() {
    let client = |target: &str, compares: bool| {
        let mut record = Record::new([target.to_owned()]).unwrap();
        if compares {
            record.compare_targets();
        }
        record.whole(0, Duration::from_millis(1), Duration::from_millis(1));
        record
    };
    for (theirs, compares, expected) in [
        ("a", true, vec![Some(vec![1, 1])]),
        ("a", false, vec![None]),
        ("b", true, vec![Some(vec![1]), Some(vec![0, 1])]),
    ] {
        let mut sum = client("a", true);
        sum.add(&client(theirs, compares), Duration::from_millis(10));
        let counts = |windows: &Windows| windows.times().iter().map(Histogram::len).collect();
        let windows = sum.by_target.iter().map(|t| t.windows.as_ref().map(counts));
        assert_eq!(windows.collect::<Vec<Option<Vec<u64>>>>(), expected);
    }
}

/// A target that is named twice is two, as in a comparison with itself.
#[test]
fn targets_of_the_same_name_are_told_apart() {
    let run = |counts: [u64; 3]| {
        let names = ["a", "b", "a"].map(str::to_owned);
        let mut record = Record::new(names).unwrap();
        for (target, count) in counts.into_iter().enumerate() {
            for _ in 0..count {
                record.open(target);
                record.right(target, 1, 1);
                let took = Duration::from_millis(count);
                record.whole(target, took, took);
            }
        }
        record
    };
    let counts = |record: &Record| {
        let counts = record.by_target.iter();
        counts.map(|t| t.outcomes.right).collect::<Vec<_>>()
    };
    let mut sum = run([1, 2, 3]);
    sum.add(&run([10, 20, 30]), Duration::ZERO);
    assert_eq!(counts(&sum), [11, 22, 33]);
    sum.follow(&run([100, 200, 300]), Duration::from_secs(1));
    assert_eq!(counts(&sum), [111, 222, 333]);
    // One that is there more often than before is new.
    let mut fewer = Record::new(["a".to_owned()]).unwrap();
    fewer.add(&sum, Duration::ZERO);
    assert_eq!(counts(&fewer), [111, 222, 333]);
    sum.set_times(run([7, 0, 9]));
    let times = sum.by_target.iter().map(|t| t.total.len());
    assert_eq!(times.collect::<Vec<_>>(), [7, 0, 9]);
}
