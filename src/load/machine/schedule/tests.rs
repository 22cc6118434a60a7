use super::*;

const PLAN: Plan = Plan {
    hold: 0,
    ramp: None,
    exchanges: None,
    duration: None,
    concurrency: 2,
    rate: None,
    grace: None,
};

fn at(ms: u64) -> Moment {
    Moment::START.after(Duration::from_millis(ms))
}

/// How many threads can share a plan, and how many connections it needs and may need.
#[test]
fn a_plan_says_what_it_needs() {
    let (closed, open) = (None, Some(10));
    for (hold, exchanges, rate, expected) in [
        (0, None, closed, (2, 2, 2)),
        (0, Some(1), closed, (1, 1, 1)),
        (0, Some(0), closed, (1, 0, 0)),
        (5, Some(0), closed, (2, 5, 5)),
        (5, None, closed, (2, 7, 7)),
        (0, None, open, (u64::MAX, 1, 10)),
        (0, Some(7), open, (7, 1, 7)),
        (5, Some(7), open, (2, 6, 12)),
    ] {
        let plan = Plan {
            hold,
            exchanges,
            rate,
            ..PLAN
        };
        let needs = (plan.most_threads(), plan.needs(), plan.may_need());
        assert_eq!(needs, expected, "{plan:?}");
    }
}

#[test]
fn a_plan_without_a_limit_is_endless() {
    for (exchanges, duration, is_endless) in [
        (None, None, true),
        (Some(1), None, false),
        (None, Some(Duration::ZERO), false),
    ] {
        let plan = Plan {
            exchanges,
            duration,
            ..PLAN
        };
        assert_eq!(plan.is_endless(), is_endless, "{plan:?}");
    }
}

#[test]
fn every_stage_has_a_name() {
    let names = Stage::ALL.map(Stage::name);
    assert_eq!(names, ["opening", "exchanging", "finishing", "over"]);
}

/// What to do now, if this thread is the only one: a stage that is over is over in all.
fn step(schedule: &mut Schedule, counts: Counts, now: Moment) -> Step {
    for _ in Stage::ALL {
        match schedule.step(counts, now) {
            Step::StageOver => schedule.advance(now),
            step => return step,
        }
    }
    panic!("its stages do not end: {schedule:?}");
}

/// Runs a plan in which every exchange takes 10 ms. Returns each step and its time in milliseconds.
fn run(plan: Plan) -> Vec<(u64, Step)> {
    let mut schedule = Schedule::new(&plan, Share::WHOLE, at(0));
    let (mut counts, mut begun, mut ends) = (Counts::default(), vec![], vec![]);
    for ms in 0..10_000 {
        ends.retain(|(end, step)| {
            if *end == ms {
                match step {
                    Step::Hold(_) => {
                        counts.ramping -= 1;
                        counts.held += 1;
                    }
                    Step::Finish => counts.finishing -= 1,
                    _ => counts.churning -= 1,
                }
            }
            *end != ms
        });
        loop {
            let next = step(&mut schedule, counts, at(ms));
            match next {
                Step::Hold(_) => counts.ramping += 1,
                Step::Exchange(_) => counts.churning += 1,
                Step::Finish => {
                    counts.held -= 1;
                    counts.finishing += 1;
                }
                Step::Wait(_) | Step::StageOver => break,
            }
            begun.push((ms, next));
            ends.push((ms + 10, next));
        }
        if schedule.stage() == Stage::Over {
            return begun;
        }
    }
    panic!("it does not end: {schedule:?}");
}

#[test]
fn a_closed_loop_keeps_so_many_under_way() {
    let begun = run(Plan {
        exchanges: Some(5),
        ..PLAN
    });
    let when: Vec<u64> = begun.iter().map(|(ms, _)| *ms).collect();
    assert_eq!(when, [0, 0, 10, 10, 20]);
    let begun = run(Plan {
        duration: Some(Duration::from_millis(25)),
        ..PLAN
    });
    assert_eq!(begun.len(), 6, "at 0, 10 and 20 ms");
}

#[test]
fn an_open_loop_begins_at_its_times() {
    let plan = Plan {
        rate: Some(100),
        duration: Some(Duration::from_millis(50)),
        ..PLAN
    };
    let begun = run(plan);
    let expected: Vec<_> = (0..5)
        .map(|i| (i * 10, Step::Exchange(at(i * 10))))
        .collect();
    assert_eq!(begun, expected);
}

/// An open loop of 20 exchanges, asked once at the start and then not before `ms`. Returns when the
/// exchanges that it begins were due, and how many it has missed.
fn late(ms: u64) -> (Vec<u64>, u128) {
    let plan = Plan {
        rate: Some(1000),
        duration: Some(Duration::from_millis(20)),
        ..PLAN
    };
    let mut schedule = Schedule::new(&plan, Share::WHOLE, at(0));
    let mut counts = Counts::default();
    step(&mut schedule, counts, at(0));
    let mut begun = vec![];
    while let Step::Exchange(meant) = step(&mut schedule, counts, at(ms)) {
        begun.push(at(0).until(meant).as_millis() as u64);
        counts.churning += 1;
    }
    (begun, schedule.missed())
}

#[test]
fn an_open_loop_that_is_late_makes_up_for_it_unless_it_is_over() {
    assert_eq!(late(3), (vec![1, 2, 3], 0));
    assert_eq!(late(50), ((1..20).collect(), 0));
    assert_eq!(late(119), ((1..20).collect(), 0));
    assert_eq!(late(120), (vec![], 19));
}

#[test]
fn a_ramp_says_when_each_connection_was_due() {
    let plan = |ramp| Plan {
        hold: 5,
        ramp,
        exchanges: Some(0),
        ..PLAN
    };
    let none = Counts::default();
    let mut schedule = Schedule::new(&plan(Some(10)), Share::WHOLE, at(0));
    assert_eq!(step(&mut schedule, none, at(0)), Step::Hold(at(0)));
    assert_eq!(step(&mut schedule, none, at(50)), Step::Wait(Some(at(100))));
    assert_eq!(step(&mut schedule, none, at(130)), Step::Hold(at(100)));
    schedule.take_back();
    assert_eq!(step(&mut schedule, none, at(140)), Step::Hold(at(100)));
    let mut schedule = Schedule::new(&plan(None), Share::WHOLE, at(0));
    assert_eq!(step(&mut schedule, none, at(7)), Step::Hold(at(7)));
}

#[test]
fn progress_goes_from_0_to_1_in_every_stage() {
    let plan = Plan {
        hold: 4,
        exchanges: Some(100),
        duration: Some(Duration::from_millis(200)),
        ..PLAN
    };
    let mut schedule = Schedule::new(&plan, Share::WHOLE, at(0));
    let mut counts = Counts::default();
    assert!(schedule.progress(counts, at(0)).abs() < 1e-9);
    while let Step::Hold(_) = step(&mut schedule, counts, at(0)) {
        counts.ramping += 1;
    }
    (counts.ramping, counts.held) = (0, 2);
    assert!((schedule.progress(counts, at(9)) - 0.5).abs() < 1e-9);
    while let Step::Hold(_) = step(&mut schedule, counts, at(10)) {}
    assert_eq!(schedule.stage(), Stage::Churn);
    counts.held = 4;
    let progress = [10, 60, 110, 500].map(|ms| schedule.progress(counts, at(ms)));
    assert!(progress[0] < 0.02 && progress.is_sorted(), "{progress:?}");
    assert!(
        (progress[2] - 0.5).abs() < 0.02 && progress[3] <= 1.0,
        "{progress:?}"
    );
    counts.churning = 0;
    step(&mut schedule, counts, at(500));
    assert_eq!(schedule.stage(), Stage::Finish);
    (counts.held, counts.finishing) = (2, 1);
    assert!((schedule.progress(counts, at(500)) - 0.25).abs() < 1e-9);
    schedule.advance(at(500));
    assert!((schedule.progress(counts, at(500)) - 1.0).abs() < 1e-9);
}

/// The rate is far beyond what is possible.
#[test]
fn an_endless_rate_ends() {
    let plan = Plan {
        rate: Some(u64::MAX),
        duration: Some(Duration::from_secs(10)),
        ..PLAN
    };
    let mut schedule = Schedule::new(&plan, Share::WHOLE, at(0));
    let exchange = step(&mut schedule, Counts::default(), at(0));
    assert_eq!(exchange, Step::Exchange(at(0)));
    step(&mut schedule, Counts::default(), at(10_100));
    assert_eq!(schedule.stage(), Stage::Over);
    let all = u128::from(u64::MAX) * 10;
    assert_eq!(schedule.missed(), all - 1, "more than 2^64");
}

/// Exchanges are waited for until the grace is over, and no longer than they take.
#[test]
fn a_grace_ends_the_wait() {
    let plan = Plan {
        rate: Some(10),
        duration: Some(Duration::from_millis(100)),
        grace: Some(Duration::from_millis(50)),
        ..PLAN
    };
    let open = Counts {
        churning: 1,
        ..Counts::default()
    };
    let started = || {
        let mut schedule = Schedule::new(&plan, Share::WHOLE, at(0));
        step(&mut schedule, Counts::default(), at(0));
        assert_eq!(
            step(&mut schedule, open, at(100)),
            Step::Wait(Some(at(150)))
        );
        schedule
    };
    let mut schedule = started();
    step(&mut schedule, open, at(149));
    assert_eq!(schedule.stage(), Stage::Churn);
    step(&mut schedule, open, at(150));
    assert_eq!(schedule.stage(), Stage::Over);
    assert!(!schedule.is_cut_short());
    let mut schedule = started();
    step(&mut schedule, Counts::default(), at(101));
    assert_eq!(schedule.stage(), Stage::Over);
}

#[test]
fn a_run_that_is_cut_short_says_what_it_owes() {
    let plan = Plan {
        rate: Some(1000),
        duration: Some(Duration::from_secs(9)),
        ..PLAN
    };
    let mut schedule = Schedule::new(&plan, Share::WHOLE, at(0));
    step(&mut schedule, Counts::default(), at(0));
    schedule.cut_short(at(30));
    assert_eq!((schedule.missed(), schedule.is_cut_short()), (29, true));
}

/// Those under way are waited for, and so are the held ones.
#[test]
fn an_endless_run_ends_when_it_is_told_to() {
    for (rate, begun) in [(None, 2), (Some(1000), 1)] {
        let mut schedule = Schedule::new(&Plan { rate, ..PLAN }, Share::WHOLE, at(0));
        let mut counts = Counts::default();
        while let Step::Exchange(_) = step(&mut schedule, counts, at(1)) {
            counts.churning += 1;
        }
        assert_eq!(counts.churning, begun);
        schedule.stop(at(1));
        assert_eq!(step(&mut schedule, counts, at(1)), Step::Wait(None));
        step(&mut schedule, Counts::default(), at(500));
        assert_eq!(schedule.stage(), Stage::Over);
        assert_eq!((schedule.missed(), schedule.is_cut_short()), (0, false));
    }
    let plan = Plan { hold: 9, ..PLAN };
    let mut schedule = Schedule::new(&plan, Share::WHOLE, at(0));
    let ramping = Counts {
        ramping: 1,
        ..Counts::default()
    };
    step(&mut schedule, Counts::default(), at(0));
    schedule.stop(at(1));
    assert_eq!(step(&mut schedule, ramping, at(1)), Step::Wait(None));
    let held = Counts {
        held: 1,
        ..Counts::default()
    };
    assert_eq!(step(&mut schedule, held, at(1)), Step::Finish);
    let finishing = Counts {
        finishing: 1,
        ..Counts::default()
    };
    assert_eq!(step(&mut schedule, finishing, at(1)), Step::Wait(None));
    assert_eq!(schedule.stage(), Stage::Finish);
    schedule.stop(at(2)); // it is ending already
    assert_eq!(step(&mut schedule, held, at(2)), Step::Finish);
}

#[test]
fn held_connections_are_opened_first_and_finished_last() {
    let begun = run(Plan {
        hold: 3,
        ramp: Some(200),
        exchanges: Some(1),
        ..PLAN
    });
    let steps: Vec<u64> = begun.iter().map(|(ms, _)| *ms).collect();
    assert_eq!(steps, [0, 5, 10, 20, 30, 30, 40]);
    assert!(matches!(begun[3].1, Step::Exchange(_)));
    assert_eq!([begun[0].1, begun[4].1], [Step::Hold(at(0)), Step::Finish]);
}

#[test]
fn nothing_to_do_is_over_at_once() {
    assert_eq!(
        run(Plan {
            exchanges: Some(0),
            ..PLAN
        }),
        []
    );
    let plan = Plan {
        exchanges: Some(9),
        ..PLAN
    };
    let mut schedule = Schedule::new(&plan, Share::WHOLE, at(0));
    schedule.cut_short(at(0));
    assert_eq!(
        step(&mut schedule, Counts::default(), at(0)),
        Step::Wait(None)
    );
}

/// Each thread has its own exchanges of one schedule, whatever moment a thread's ramp ended at.
#[test]
fn threads_share_a_rate_that_is_even_in_time() {
    for threads in 1..=7 {
        let plan = Plan {
            hold: 50,
            ramp: Some(100),
            rate: Some(200),
            duration: Some(Duration::from_secs(1)),
            concurrency: threads,
            ..PLAN
        };
        let (mut held, mut begun, mut missed) = (vec![], vec![], 0);
        for share in Share::all(threads) {
            let mut schedule = Schedule::new(&plan, share, at(0));
            while let Step::Hold(due) = schedule.step(Counts::default(), at(5000)) {
                held.push(due);
            }
            assert_eq!(schedule.step(Counts::default(), at(5000)), Step::StageOver);
            schedule.advance(at(6000));
            while let Step::Exchange(due) = schedule.step(Counts::default(), at(6500)) {
                begun.push(due);
            }
            schedule.cut_short(at(6600));
            missed += schedule.missed();
        }
        held.sort_unstable();
        begun.sort_unstable();
        assert!(
            held.into_iter().eq((0..50).map(|i| at(10 * i))),
            "{threads}"
        );
        assert!(
            begun.into_iter().eq((0..=100).map(|i| at(6000 + 5 * i))),
            "{threads}"
        );
        assert_eq!(missed, 19, "what was due after 6500 and before 6600 ms");
    }
}
