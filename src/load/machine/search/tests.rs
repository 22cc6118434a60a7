use super::window::Window;
use super::*;
use crate::load::machine::random::Random;

mod by_hand;
mod queue;
mod server;
mod steps;
mod tally;

use server::{Kind, Server};
use tally::Tally;

/// Seeds from here on were not seen while the search's constants were chosen.
const FRESH: u64 = 7_000_000;

const MINUTE: Duration = Duration::from_secs(60);

const AIM: Aim = Aim {
    start: 100,
    most: 10_000_000,
    budget: MINUTE,
    quantile: 0.99,
    limit: Some(Duration::from_millis(5)),
};

/// Searches with `run` as the server, which takes as long as each trial may. Returns the windows,
/// too.
fn search(aim: Aim, mut run: impl FnMut(Trial) -> Window) -> (Option<Found>, Vec<Window>) {
    let mut search = Search::new(aim);
    // A window takes at least a 120th of the budget.
    for _ in 0..=120 {
        match search.step() {
            Step::Run(trial) => search.handle_window(run(trial)),
            Step::Over(found) => return (found, search.windows().to_vec()),
        }
    }
    panic!("it does not end: {search:?}");
}

/// What an ideal server with that knee makes of the trial.
fn ideal(knee: u64, trial: Trial) -> Window {
    let rate = trial.rate as f64;
    Window {
        rate: trial.rate,
        achieved: rate.min(knee as f64),
        holds: trial.rate <= knee,
        is_wrong: false,
        is_missed: false,
        samples: (rate * trial.duration.as_secs_f64()).ceil() as u64,
        took: trial.takes(),
    }
}

/// Searches of one kind, each on another server. The hard ones are counted apart.
fn simulate(kind: Kind, searches: u64) -> [Tally; 2] {
    let mut tallies = [Tally::default(), Tally::default()];
    for seed in 0..searches {
        let mut server = Server::new(kind, FRESH + seed);
        let (found, windows) = search(server.aim(), |trial| server.run(trial));
        assert!(
            server.now <= 60.0 + 1e-6,
            "{kind:?} {seed}: {} s",
            server.now
        );
        let tally = &mut tallies[usize::from(server.is_hard())];
        tally.add(found, server.knee(), windows.len(), server.now);
    }
    tallies
}

/// For each kind: how many searches, the share that must be within 10 % of the knee, and the most
/// that one may find, as a multiple of the knee.
#[test]
fn ten_thousand_searches() {
    for (kind, searches, share, most) in [
        (Kind::Quiet, 2500, 0.98, 1.3),
        (Kind::Noisy, 2500, 0.97, 1.35),
        (Kind::Spoiled, 1500, 0.95, 1.3),
        (Kind::SlowStart, 1500, 0.97, 1.3),
        (Kind::Leaking, 1500, 0.9, 1.5),
    ] {
        let [mut easy, hard] = simulate(kind, searches);
        let mut by_hand = by_hand::simulate(kind, searches);
        println!("{kind:?}: {easy}\n  hard: {hard}\n  by hand: {by_hand}");
        assert!(
            easy.share() >= share && easy.most <= most,
            "{kind:?}: {easy}"
        );
        assert!(hard.most <= 2.0, "{kind:?}: {hard}");
        assert!(easy.is_faster_than(&mut by_hand), "{kind:?}");
        if matches!(kind, Kind::Spoiled | Kind::Leaking) {
            assert!(easy.share() > by_hand.share(), "{kind:?}: {by_hand}");
        }
    }
    for seed in 0..250 {
        let mut server = Server::new(Kind::Never, seed);
        let (found, windows) = search(server.aim(), |trial| server.run(trial));
        assert_eq!(found, None, "{seed}: {windows:?}");
        let most = 1 + Random(seed).below(500_000) as u64;
        let (found, _) = search(Aim { most, ..AIM }, |trial| ideal(u64::MAX, trial));
        let found = found.unwrap();
        assert_eq!(
            (found.rate, found.fails, found.bound),
            (most, None, Bound::Most)
        );
        assert!(found.is_confirmed, "{most}: {found:?}");
    }
}

/// The same on servers of which every exchange is simulated, and queues behind the one before.
#[test]
fn searches_on_true_queues() {
    let mut tally = Tally::default();
    for seed in 0..400 {
        let mut queue = queue::Queue::new(FRESH + seed);
        let (found, windows) = search(queue.aim(), |trial| queue.run(trial));
        tally.add(found, queue.knee(), windows.len(), queue.now);
    }
    println!("queues: {tally}");
    assert!(tally.share() >= 0.9 && tally.most < 1.5, "{tally}");
}

#[test]
fn the_bracket_of_a_quiet_server_is_narrow() {
    for knee in [1, 2, 3, 99, 100, 101, 5_000, 123_456, 9_999_999] {
        // At a low rate a window for p99 takes too long to go on.
        let narrow = if knee < 1000 { 1.1 } else { 1.03 };
        let (found, windows) = search(AIM, |trial| ideal(knee, trial));
        let found = found.unwrap();
        let fails = found.fails.unwrap();
        assert!(found.rate <= knee && knee < fails, "{knee}: {found:?}");
        let is_narrow = fails == found.rate + 1 || fails as f64 <= found.rate as f64 * narrow;
        assert!(is_narrow && found.is_confirmed, "{knee}: {found:?}");
        assert_eq!(found.bound, Bound::Goal, "{knee}: {windows:?}");
    }
}

/// Which window fails although the server would keep the rate.
#[test]
fn one_spoiled_window_does_not_mislead() {
    let (_, quiet) = search(AIM, |trial| ideal(5000, trial));
    for spoiled in 0..quiet.len() {
        let mut count = 0;
        let (found, windows) = search(AIM, |trial| {
            count += 1;
            let window = ideal(5000, trial);
            let holds = window.holds && count != spoiled + 1;
            Window { holds, ..window }
        });
        let rate = found.unwrap().rate;
        assert!(
            (4800..=5000).contains(&rate),
            "{spoiled}: {rate}, {windows:?}"
        );
    }
}

#[test]
fn it_says_why_the_rate_is_not_higher() {
    type Spoil = fn(&mut Window);
    let cases: [(Spoil, Bound); 4] = [
        (|w| w.holds = false, Bound::Goal),
        (|w| w.is_wrong = true, Bound::Wrong),
        (|w| w.is_missed = true, Bound::Client),
        (|w| w.achieved *= 0.9, Bound::Rate),
    ];
    for (spoil, bound) in cases {
        let (found, _) = search(AIM, |trial| {
            let mut window = ideal(u64::MAX, trial);
            if trial.rate > 3000 {
                spoil(&mut window);
            }
            window
        });
        let found = found.unwrap();
        assert_eq!(found.bound, bound);
        assert!((2900..=3000).contains(&found.rate), "{bound:?}: {found:?}");
    }
}

#[test]
fn a_winner_that_fails_in_a_long_window_is_not_found() {
    let (found, windows) = search(AIM, |trial| {
        let is_long = trial.duration >= Duration::from_secs(2);
        ideal(if is_long { 2000 } else { 3000 }, trial)
    });
    let found = found.unwrap();
    assert!(
        (1800..=2000).contains(&found.rate),
        "{found:?}, {windows:?}"
    );
    assert!(found.is_confirmed, "{found:?}");
}

#[test]
fn a_window_is_long_enough_for_the_quantile_and_for_an_overload() {
    // The quantile, the limit in ms, the rate, whether for the winner, and the duration in ms.
    let probe = |floor, fails| Purpose::Probe {
        floor: Some(floor),
        fails,
    };
    for (quantile, limit, rate, purpose, ms) in [
        (0.99, 5, 200, probe(100, false), 2_500),
        (0.999, 5, 5_000, probe(4_000, true), 1_000),
        (0.99, 5, 500, Purpose::Winner, 4_000),
        (0.99, 5, 200, Purpose::Winner, 10_000),
        (0.999, 5, 4_000, Purpose::Winner, 5_000),
        (0.5, 5, 40, Purpose::Winner, 10_000),
        (0.9, 180, 100_000, Purpose::Winner, 4_000),
        (0.9, 90, 110, probe(100, true), 1_000),
        (0.9, 90, 102, probe(100, true), 4_000),
        (0.99, 5, 100_000, probe(50_000, false), 500),
        // A bracket is narrowed in few windows and found in many, so there a window has less time.
        (0.999, 5, 1_000, probe(900, true), 5_000),
        (0.999, 5, 1_000, probe(500, false), 2_993),
    ] {
        let limit = Some(Duration::from_millis(limit));
        let aim = Aim {
            quantile,
            limit,
            ..AIM
        }
        .limited();
        let trial = aim.trial(rate, purpose, Duration::ZERO, MINUTE);
        let duration = trial.duration.as_millis();
        assert_eq!(duration, ms, "{quantile} {limit:?} {rate} {purpose:?}");
    }
}

/// Each row: the right exchanges a second where 1000 were asked for, why the window failed, and
/// whether the server was so far behind that this is believed at once.
#[test]
fn a_window_holds_from_95_percent_of_the_rate_on() {
    for (achieved, failure, is_overload) in [
        (1000.0, None, false),
        (950.0, None, false),
        (949.9, Some(Bound::Rate), false),
        (900.0, Some(Bound::Rate), false),
        (899.9, Some(Bound::Rate), true),
        (f64::NAN, Some(Bound::Rate), true),
    ] {
        let Step::Run(trial) = Search::new(Aim { start: 1000, ..AIM }).step() else {
            panic!("it has not begun");
        };
        let window = ideal(u64::MAX, trial);
        let window = Window { achieved, ..window };
        let judged = (window.failure(), window.is_overload());
        assert_eq!(judged, (failure, is_overload), "{achieved}");
    }
}

#[test]
fn the_server_has_time_for_the_rest_of_a_failed_window() {
    let mut search = Search::new(AIM);
    let mut pauses = vec![];
    while let Step::Run(trial) = search.step() {
        pauses.push(trial.pause);
        let mut window = ideal(u64::MAX, trial);
        if trial.rate > 150 {
            window.holds = false;
            window.achieved = 100.0;
        }
        search.handle_window(window);
        if pauses.len() == 3 {
            break;
        }
    }
    // It got 2.5 s at twice the rate that it can have.
    let seconds = [0.0, 0.0, 2.5].map(Duration::from_secs_f64);
    assert_eq!(pauses, seconds);
}

#[test]
fn a_search_that_is_cut_short_says_what_it_knows() {
    let mut search = Search::new(AIM);
    search.finish();
    assert_eq!(search.step(), Step::Over(None));
    let mut search = Search::new(AIM);
    for _ in 0..3 {
        let Step::Run(trial) = search.step() else {
            panic!("it is over: {search:?}");
        };
        search.handle_window(ideal(u64::MAX, trial));
    }
    let found = search.finish().unwrap();
    assert_eq!(search.step(), Step::Over(Some(found)));
    assert_eq!(
        (found.rate, found.bound, found.fails),
        (400, Bound::Budget, None)
    );
    assert!(!found.is_confirmed);
    // A window that was under way changes nothing any more.
    let late = Window {
        rate: 800,
        ..search.windows()[2]
    };
    search.handle_window(late);
    assert_eq!(search.finish(), Some(found));
    assert_eq!(search.windows().len(), 3);
}

#[test]
fn the_assured_share_grows_with_the_samples() {
    for (quantile, samples, least) in [
        (0.99, 0, 0.0),
        (0.99, 100, 0.956),
        (0.99, 1_000, 0.983),
        (0.99, 100_000, 0.9894),
        (0.5, 400, 0.459),
    ] {
        let assured = window::assured(quantile, samples);
        assert!(
            (assured - least).abs() < 0.001 || samples == 0,
            "{samples}: {assured}"
        );
        assert!((0.0..quantile).contains(&assured), "{samples}: {assured}");
    }
}

/// Whatever it is told, it neither panics nor goes on for ever.
#[test]
fn nonsense_does_no_harm() {
    for seed in 0..2000 {
        let mut random = Random(seed);
        let rates = [0, 1, 2, 3, 100, 1 << 20, u64::MAX - 1, u64::MAX];
        let seconds = [0, 1, 60, 86_400, u64::MAX];
        let aim = Aim {
            start: random.choose(&rates),
            most: random.choose(&rates),
            budget: Duration::from_secs(random.choose(&seconds)),
            quantile: random.choose(&[f64::NAN, -1.0, 0.0, 0.5, 0.99, 1.0, f64::INFINITY]),
            limit: random.choose(&[
                None,
                Some(Duration::ZERO),
                Some(MINUTE),
                Some(Duration::MAX),
            ]),
        };
        let achieved = [f64::NAN, -1.0, 0.0, 1e300, f64::INFINITY];
        let likely = random.uniform();
        let (_, windows) = search(aim, |trial| Window {
            rate: trial.rate,
            achieved: if random.uniform() < 0.5 {
                trial.rate as f64
            } else {
                random.choose(&achieved)
            },
            holds: random.uniform() < likely,
            is_wrong: random.uniform() < 0.1,
            is_missed: random.uniform() < 0.1,
            samples: random.choose(&rates),
            took: Duration::from_secs(random.choose(&seconds)),
        });
        assert!(
            windows
                .iter()
                .all(|w| (1..=aim.most.max(1)).contains(&w.rate)),
            "{seed}: {windows:?}"
        );
    }
}
