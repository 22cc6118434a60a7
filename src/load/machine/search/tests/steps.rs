//! The search step by step: which rates it tries, and when it is over.

use super::*;

/// An hour, in which time does not bind.
const HOUR: Aim = Aim {
    start: 1000,
    most: 1_000_000,
    budget: Duration::from_secs(3600),
    ..AIM
};

/// A bracket from 1000 to 1020 is not narrowed.
const CLOSE: Aim = Aim { most: 1020, ..HOUR };

/// Tells the search what became of its window: it held (h), it failed (f), or it failed because the
/// server was far behind (o). `left` is the time that is left to the search then.
fn tell(search: &mut Search, outcome: char, left: Option<Duration>) {
    let Step::Run(trial) = search.step() else {
        panic!("it is over: {search:?}");
    };
    let achieved = trial.rate as f64 / if outcome == 'o' { 2.0 } else { 1.0 };
    search.handle_window(Window {
        holds: outcome == 'h',
        achieved,
        took: left.map_or(trial.takes(), |left| search.left - left),
        ..ideal(u64::MAX, trial)
    });
}

/// A search whose windows had these outcomes.
fn searched(aim: Aim, outcomes: &str) -> Search {
    let mut search = Search::new(aim);
    outcomes
        .chars()
        .for_each(|outcome| tell(&mut search, outcome, None));
    search
}

/// The rate of the next window. `None`: it is over.
fn next(search: &Search) -> Option<u64> {
    match search.step() {
        Step::Run(trial) => Some(trial.rate),
        Step::Over(_) => None,
    }
}

/// Each row: where the search begins and how far it may go, the outcomes of its windows, the rates
/// that it tries and would try next, and the bracket.
#[test]
fn each_rate_follows_from_the_windows_before() {
    type Row<'a> = (Aim, &'a str, &'a [u64], (Option<u64>, Option<u64>));
    let from = |start| Aim { start, ..HOUR };
    #[rustfmt::skip]
    let rows: &[Row] = &[
        // It doubles the rate, and believes a failure at once only if the server is far behind.
        (HOUR, "", &[1000], (None, None)),
        (HOUR, "hhh", &[1000, 2000, 4000, 8000], (Some(4000), None)),
        (HOUR, "hf", &[1000, 2000, 2000], (Some(1000), None)),
        (HOUR, "hff", &[1000, 2000, 2000, 1414], (Some(1000), Some(2000))),
        (HOUR, "hfh", &[1000, 2000, 2000, 4000], (Some(2000), None)),
        // In a bracket it believes every window.
        (HOUR, "hoff", &[1000, 2000, 1414, 1189, 1090], (Some(1000), Some(1189))),
        (HOUR, "hohf", &[1000, 2000, 1414, 1682, 1542], (Some(1414), Some(1682))),
        // The first window that holds revokes the failures before it.
        (HOUR, "fff", &[1000, 1000, 250, 63], (None, Some(250))),
        (HOUR, "ooh", &[1000, 250, 63, 1000], (Some(63), None)),
        (HOUR, "ooho", &[1000, 250, 63, 1000, 251], (Some(63), Some(1000))),
        (from(2), "oo", &[2, 1, 2], (None, None)),
        // A winner is measured again, and then the rate that failed, up to two times.
        (CLOSE, "ho", &[1000, 1020, 1000], (Some(1000), Some(1020))),
        (CLOSE, "hofh", &[1000, 1020, 1000, 1000, 1020], (Some(1000), Some(1020))),
        (CLOSE, "hohf", &[1000, 1020, 1000, 1020, 1020], (Some(1000), Some(1020))),
        (CLOSE, "hohff", &[1000, 1020, 1000, 1020, 1020], (Some(1000), Some(1020))),
        (CLOSE, "hohfh", &[1000, 1020, 1000, 1020, 1020, 1020], (Some(1020), None)),
        (from(10), "hoooo", &[10, 20, 14, 12, 11, 10], (Some(10), Some(11))),
        // If that rate holds, the failure before counts again. Without one it goes up, slowly at first.
        (from(10), "hoooohh", &[10, 20, 14, 12, 11, 10, 11, 11], (Some(11), Some(12))),
        (from(1), "hohhhhhh", &[1, 2, 1, 2, 3, 4, 5, 6, 10], (Some(6), None)),
        // If the winner fails twice, it steps down, slowly at first. The next that holds is the winner.
        (CLOSE, "hoff", &[1000, 1020, 1000, 1000, 971], (None, Some(1000))),
        (CLOSE, "hoffhh", &[1000, 1020, 1000, 1000, 971, 971], (Some(971), Some(1000))),
        (CLOSE, "hoffff", &[1000, 1020, 1000, 1000, 971, 915, 813], (None, Some(915))),
        (CLOSE, "hoffhff", &[1000, 1020, 1000, 1000, 971, 971, 971, 915], (None, Some(971))),
        (Aim { start: 10, most: 11, ..HOUR }, "hoff", &[10, 11, 10, 10, 9], (None, Some(10))),
        // There it narrows less.
        (CLOSE, "hoffffh", &[1000, 1020, 1000, 1000, 971, 915, 813, 862], (Some(813), Some(915))),
        (CLOSE, "hoffffhh", &[1000, 1020, 1000, 1000, 971, 915, 813, 862, 862], (Some(862), Some(915))),
    ];
    for (aim, outcomes, rates, bracket) in rows {
        let search = searched(*aim, outcomes);
        let tried = search.windows().iter().map(|window| window.rate);
        let tried: Vec<u64> = tried.chain(next(&search)).collect();
        assert_eq!(
            (&*tried, search.bracket()),
            (*rates, *bracket),
            "{outcomes}"
        );
    }
}

/// Each row: the quantile, the outcomes of its windows, and how many seconds the next lasts.
#[test]
fn windows_are_longer_in_a_bracket_and_from_the_winner_on() {
    for (quantile, outcomes, seconds) in [
        (0.99, "", 30),
        (0.99, "h", 30),
        (0.99, "ho", 120),
        (0.99, "hoff", 120),
        (0.99999, "h", 170),
        (0.99999, "ho", 353),
    ] {
        let most = if quantile > 0.99 { 2000 } else { 1020 };
        let aim = Aim {
            quantile,
            most,
            ..HOUR
        };
        let Step::Run(trial) = searched(aim, outcomes).step() else {
            panic!("{outcomes}");
        };
        assert_eq!(trial.duration.as_secs(), seconds, "{quantile} {outcomes}");
    }
}

/// Each row: the outcomes of its windows, how much time they leave, and the rate of the next. At the
/// time in the row the search still goes on, and a moment later it does the other.
#[test]
fn the_time_that_is_left_decides() {
    let aim = |start, most, limit| Aim {
        start,
        most,
        limit,
        ..AIM
    };
    let ms = |ms| Some(Duration::from_millis(ms));
    for (aim, outcomes, left, rate, later) in [
        // Not even one a second has held. The server may still be starting, for a third of the time.
        (aim(2, 100, ms(5)), "oo", ms(40_000), Some(2), None),
        // The shortest windows, for the next rate (500 ms) and for the winner (2 s), with a grace of
        // 125 ms each.
        (aim(100, 900, ms(5)), "h", ms(2750), Some(200), Some(100)),
        // What is left suffices for the shortest window and its grace.
        (aim(100, 100, ms(5)), "h", ms(625), Some(100), None),
        // The bracket could be narrower, but a window of 5 s may take a sixth of the time.
        (aim(100, 109, None), "ho", ms(30_000), Some(104), Some(100)),
    ] {
        for (left, rate) in [
            (left, rate),
            (left.map(|l| l - Duration::from_nanos(1)), later),
        ] {
            let mut search = Search::new(aim);
            for (i, outcome) in outcomes.chars().enumerate() {
                let is_last = i + 1 == outcomes.len();
                tell(&mut search, outcome, left.filter(|_| is_last));
            }
            assert_eq!(next(&search), rate, "{aim:?} {outcomes} {left:?}");
        }
    }
    // To tell 100 from 104 at a limit of 5 s takes two minutes.
    assert_eq!(next(&searched(aim(100, 109, ms(5000)), "ho")), Some(100));
}

/// Each row: the outcomes of the windows, and what is found if the search ends then.
#[test]
fn it_finds_the_highest_rate_that_held() {
    let aim = Aim {
        start: 500,
        ..CLOSE
    };
    for (outcomes, found) in [
        ("ff", None),
        ("hh", Some((1000, None, Bound::Budget, false))),
        ("hho", Some((1000, Some(1020), Bound::Goal, false))),
        ("hhohff", Some((1000, Some(1020), Bound::Goal, true))),
        ("hhohhh", Some((1020, None, Bound::Most, true))),
        ("hhoff", Some((500, Some(1000), Bound::Goal, false))),
    ] {
        let mut search = searched(aim, outcomes);
        search.finish();
        let Step::Over(over) = search.step() else {
            panic!("{search:?}");
        };
        let over = over.map(|f| (f.rate, f.fails, f.bound, f.is_confirmed));
        assert_eq!(over, found, "{outcomes}");
    }
}

/// The shortest pause is half the shortest window. If the server had twice as much to do as it can,
/// the pause is as long as the window.
#[test]
fn a_failed_window_is_followed_by_a_pause() {
    let shortest = HOUR.budget / 120;
    for (outcomes, pause) in [
        ("h", Duration::ZERO),
        ("f", shortest / 2),
        ("o", shortest),
        ("oh", Duration::ZERO),
    ] {
        let Step::Run(trial) = searched(HOUR, outcomes).step() else {
            panic!("{outcomes}");
        };
        assert_eq!(trial.pause, pause, "{outcomes}");
    }
}
