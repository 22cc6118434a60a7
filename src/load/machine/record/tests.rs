mod sums;

use super::*;

/// What one client measured of everything, two of which each had its part agree on.
#[test]
fn two_parts_make_the_whole() {
    let targets = ["a", "b"].map(str::to_owned);
    let [mut whole, mut odd] = [(); 2].map(|()| Record::new(targets.clone()).unwrap());
    let mut even = Record::new(["b".to_owned()]).unwrap();
    for number in 0..1000_u64 {
        let took = Duration::from_micros(number * number + 1);
        let is_odd = number % 2 == 1;
        let (part, theirs) = if is_odd {
            (&mut odd, 1)
        } else {
            (&mut even, 0)
        };
        for (record, target) in [(&mut whole, 1), (part, theirs)] {
            record.open(target);
            record.phase(Phase::Echo, number % 3 == 0, took);
            match number % 7 {
                0 => {
                    let (fault, what) = (Fault::TimedOut(Phase::Echo), String::new());
                    let wrong = Wrong { fault, what };
                    record.wrong(number, target, Phase::Echo, &wrong);
                    record.wait(took);
                }
                1 => record.give_up(target),
                _ => {
                    record.right(target, 10, number % 11);
                    record.whole(target, took, took * 2);
                }
            }
        }
    }
    (odd.bytes, odd.held) = ([1, 2], 3);
    (even.bytes, even.held) = ([40, 50], 60);
    odd.add(&even, Duration::ZERO);
    assert_eq!((odd.bytes, odd.held), ([41, 52], 63));
    assert_eq!(odd.outcomes, whole.outcomes);
    assert_eq!(odd.described.len() as u64, DESCRIBED);
    assert_eq!((odd.churned, odd.echoed), (whole.churned, whole.echoed));
    assert_eq!(odd.echoed_in_part, whole.echoed_in_part);
    assert_eq!(
        (&odd.phases, &odd.held_phases),
        (&whole.phases, &whole.held_phases)
    );
    assert_eq!(
        (&odd.total, &odd.corrected),
        (&whole.total, &whole.corrected)
    );
    assert_eq!(odd.with_timed_out, whole.with_timed_out);
    for (sum, tally) in odd.by_target.iter().zip(&whole.by_target) {
        assert_eq!(
            (&sum.target, &sum.outcomes),
            (&tally.target, &tally.outcomes)
        );
        assert_eq!(sum.total, tally.total);
    }
}

#[test]
fn an_exchange_counts_for_the_run_and_for_its_target() {
    let mut record = Record::new(["a", "b"].map(str::to_owned)).unwrap();
    record.compare_targets();
    for target in [0, 1, 1, 1, 1] {
        record.open(target);
    }
    record.go_on(1, 0);
    let at = Duration::from_millis(25);
    record.advance(Point {
        at,
        ..Point::default()
    });
    for (target, echoed) in [(0, 10), (1, 4), (1, 3)] {
        record.right(target, 10, echoed);
        record.whole(target, at, at * 2);
    }
    record.give_up(1);
    let [a, b] = [(2, 1, 0), (3, 2, 1)].map(|(opened, right, given_up)| Outcomes {
        opened,
        right,
        given_up,
        ..Outcomes::default()
    });
    let all = Outcomes {
        opened: 5,
        right: 3,
        given_up: 1,
        ..Outcomes::default()
    };
    let by_target: Vec<_> = record.by_target.iter().map(|t| &t.outcomes).collect();
    assert_eq!((&record.outcomes, by_target), (&all, vec![&a, &b]));
    assert_eq!((record.outcomes.open(), record.most_open), (1, 5));
    assert_eq!((record.echoed, record.echoed_in_part), ([30, 17], 2));
    assert_eq!((record.churned, record.total.len()), (3, 3));
    let windows =
        |windows: &Windows| -> Vec<u64> { windows.times().iter().map(Histogram::len).collect() };
    assert_eq!(windows(&record.windows), [0, 0, 3], "at 25 ms");
    for (tally, count) in record.by_target.iter().zip([1, 2]) {
        let of_target = windows(tally.windows.as_ref().unwrap());
        assert_eq!((of_target, tally.total.len()), (vec![0, 0, count], count));
    }
    assert_eq!(record.course.points.len(), 2, "the start and 25 ms");
}

#[test]
fn every_shortage_has_a_name_and_a_description() {
    let names = Shortage::ALL.map(Shortage::name);
    assert_eq!(names, ["descriptor", "port", "queue"]);
    for (shortage, part) in Shortage::ALL.into_iter().zip(names) {
        assert!(shortage.to_string().contains(part), "{shortage}");
    }
}

/// However often a record is cut, its parts make the whole: what is open at a cut counts where it ends.
#[test]
fn intervals_make_the_whole() {
    let targets = ["a", "b"].map(str::to_owned);
    let new = || Record::new(targets.clone()).unwrap();
    let (mut whole, mut part, mut sum) = (new(), new(), new());
    let (mut opened, mut began, mut open) = (0, Duration::ZERO, vec![]);
    for step in 0..1000_u64 {
        let at = Duration::from_millis(step);
        let target = step as usize % 2;
        for record in [&mut whole, &mut part] {
            record.open(target);
            let point = |record: &Record, at| Point {
                at,
                right: record.outcomes.right,
                wrong: record.outcomes.wrongs(),
                open: record.outcomes.open(),
            };
            let is_whole = record.outcomes.opened > opened;
            let at = if is_whole { at } else { at - began };
            record.course.advance(point(record, at));
        }
        opened += 1;
        open.push((step, target));
        if step % 5 > 1 {
            let (number, target) = open.remove(step as usize % open.len());
            let took = Duration::from_micros(number * number + 1);
            for record in [&mut whole, &mut part] {
                record.phase(Phase::Echo, number % 3 == 0, took);
                if number % 7 == 0 {
                    let (fault, what) = (Fault::TimedOut(Phase::Echo), String::new());
                    record.wrong(number, target, Phase::Echo, &Wrong { fault, what });
                    record.wait(took);
                } else {
                    record.right(target, 10, number % 11);
                    record.whole(target, took, took * 2);
                }
            }
        }
        if step % 37 == 36 || step == 999 {
            if step == 999 {
                for (_, target) in open.drain(..) {
                    whole.give_up(target);
                    part.give_up(target);
                }
            }
            let is_open = part.outcomes.open();
            let taken = part.cut();
            assert_eq!((taken.outcomes.open(), part.outcomes.open()), (0, is_open));
            assert_eq!((part.outcomes.right, part.total.len()), (0, 0));
            assert!(taken.described.len() as u64 <= DESCRIBED);
            assert!(taken.by_target.iter().all(|t| t.outcomes.open() == 0));
            sum.follow(&taken, began);
            began = at;
        }
    }
    sum.close(began);
    assert_eq!(sum.outcomes, whole.outcomes);
    assert_eq!(sum.described.len() as u64, DESCRIBED);
    assert_eq!((sum.churned, sum.echoed), (whole.churned, whole.echoed));
    assert_eq!(sum.most_open, whole.most_open);
    assert_eq!(
        (&sum.phases, &sum.held_phases),
        (&whole.phases, &whole.held_phases)
    );
    assert_eq!(
        (&sum.total, &sum.corrected),
        (&whole.total, &whole.corrected)
    );
    assert_eq!(sum.with_timed_out, whole.with_timed_out);
    for (sum, tally) in sum.by_target.iter().zip(&whole.by_target) {
        assert_eq!(
            (&sum.target, &sum.outcomes, &sum.total),
            (&tally.target, &tally.outcomes, &tally.total)
        );
    }
    let last = sum.course.points[sum.course.points.len() - 1];
    assert_eq!(
        (last.right, last.wrong),
        (whole.outcomes.right, whole.outcomes.wrongs())
    );
}

/// The reserved memory stays where it is, and an interval takes only what it needs: 1024 threads may be cut
/// ten times a second.
#[test]
fn a_cut_copies_no_reserved_memory() {
    let mut part = Record::new(["a".to_owned()]).unwrap().reserved();
    let sizes = |record: &Record| {
        let of = |times: &Histogram<u64>| times.distinct_values();
        [
            of(&record.phases[0]),
            of(&record.total),
            of(&record.corrected),
        ]
    };
    let reserved = sizes(&part);
    let took = Duration::from_micros(100);
    part.open(0);
    part.right(0, 1, 1);
    part.whole(0, took, took);
    for (count, most) in [(1, 16 * 1024), (0, 2048)] {
        let taken = part.cut();
        assert_eq!(taken.total.len(), count);
        assert!(sizes(&taken).iter().all(|size| *size <= most), "{count}");
        assert_eq!((sizes(&part), part.total.len()), (reserved, 0));
    }
}

/// An interval begins in the stage in which the one before it ended.
#[test]
fn stages_go_on() {
    let new = || Record::new([]).unwrap();
    let (mut part, mut sum) = (new(), new());
    let ms = Duration::from_millis;
    part.stages = vec![(Stage::Ramp, ms(0)), (Stage::Churn, ms(70))];
    part.waited.insert(Shortage::Port, ms(5));
    let taken = part.cut();
    assert_eq!(part.stages, [(Stage::Churn, ms(0))]);
    assert!(part.waited.is_empty());
    sum.follow(&taken, ms(0));
    part.stages.push((Stage::Finish, ms(30)));
    part.waited.insert(Shortage::Port, ms(6));
    let taken = part.cut();
    assert_eq!(
        taken.stages,
        [(Stage::Churn, ms(0)), (Stage::Finish, ms(30))]
    );
    sum.follow(&taken, ms(100));
    let stages = [
        (Stage::Ramp, ms(0)),
        (Stage::Churn, ms(70)),
        (Stage::Finish, ms(130)),
    ];
    assert_eq!(sum.stages, stages);
    assert_eq!(sum.waited[&Shortage::Port], ms(11));
}

/// The windows of a search are one time of exchanging, from the first one's begin to the last one's end.
#[test]
fn what_begins_again_is_not_over() {
    let ms = Duration::from_millis;
    let window = |stages: &[(Stage, u64)]| {
        let mut record = Record::new([]).unwrap();
        record.stages = stages.iter().map(|(stage, at)| (*stage, ms(*at))).collect();
        record
    };
    let whole = [(Stage::Churn, 1), (Stage::Over, 50)];
    let mut sum = window(&whole);
    sum.follow(&window(&whole), ms(100));
    assert_eq!(sum.stages, [(Stage::Churn, ms(1)), (Stage::Over, ms(150))]);
    let cut_short = window(&[(Stage::Churn, 1)]);
    sum.follow(&cut_short, ms(200));
    assert_eq!(sum.stages, [(Stage::Churn, ms(1))]);
    let mut sum = window(&whole);
    sum.follow(&window(&[(Stage::Over, 0)]), ms(60));
    assert_eq!(sum.stages[1], (Stage::Over, ms(50)), "nothing began again");
}

/// Exchanges come and go from the first that begins them until the last that ends.
#[test]
fn a_stage_is_that_of_all() {
    let record = |seconds: [u64; 3]| {
        let mut record = Record::new([]).unwrap();
        let stages = [Stage::Churn, Stage::Finish, Stage::Over].into_iter();
        let at = seconds.map(Duration::from_secs);
        record.stages = stages.zip(at).collect();
        record
    };
    let mut sum = record([1, 5, 6]);
    sum.add(&record([0, 2, 9]), Duration::ZERO);
    assert_eq!(sum.stages, record([0, 5, 9]).stages);
    let mut sum = record([1, 5, 6]);
    sum.add(&record([0, 2, 3]), Duration::from_secs(4));
    assert_eq!(sum.stages, record([1, 6, 7]).stages);
}

/// What is cut off in a phase counts for it, and for the next one if that counts from the same moment.
#[test]
fn what_is_cut_off_counts_with_the_time_so_far() {
    for (phase, counts) in [
        (Phase::Connect, [1, 1, 0, 0]),
        (Phase::Greeting, [0, 1, 0, 0]),
        (Phase::Echo, [0, 0, 1, 1]),
        (Phase::Eof, [0, 0, 0, 1]),
    ] {
        let mut record = Record::new([]).unwrap();
        let [took, waited] = [2, 3].map(Duration::from_secs);
        record.cut_off(phase, took, waited);
        assert_eq!(record.phases.each_ref().map(Histogram::len), counts);
        let of_phase = record.phases[phase as usize].max();
        assert!((1_999_000_000..2_010_000_000).contains(&of_phase));
        assert!(record.with_timed_out.max() >= 3_000_000_000);
        assert_eq!(record.corrected.len(), 0, "it is not right");
    }
}

/// The histogram's percentiles agree with those of the sorted data.
#[test]
fn percentiles_are_those_of_the_data() {
    let mut histogram = Histogram::<u64>::new(3).unwrap();
    let mut number = 1_u64;
    let mut data: Vec<u64> = (0..10_000)
        .map(|_| {
            number = number
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            1 + (number >> 40) * (number >> 60)
        })
        .collect();
    for ns in &data {
        record(&mut histogram, Duration::from_nanos(*ns));
    }
    data.sort_unstable();
    for quantile in [0.5, 0.9, 0.99, 0.999, 1.0] {
        let rank = (quantile * data.len() as f64).ceil() as usize;
        let exact = data[rank - 1] as f64;
        let found = histogram.value_at_quantile(quantile) as f64;
        assert!(
            (found - exact).abs() <= exact / 1000.0 + 1.0,
            "{quantile}: {found}, {exact}"
        );
    }
}
