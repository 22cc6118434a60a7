//! When the next connection is opened, and what for: without a socket and without a clock.

use std::time::Duration;

use crate::deadlines::Moment;

/// How a run goes: first some connections are opened and held, then exchanges come and go, and in
/// the end the held ones are finished.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Connections that are opened first and held.
    pub hold: u64,
    /// How many of them a second; `None` is as fast as they can be.
    pub ramp: Option<u64>,
    /// Exchanges beside them; `None` is as many as the duration brings.
    pub exchanges: Option<u64>,
    /// How long exchanges are begun; `None` is until there were enough.
    pub duration: Option<Duration>,
    /// Exchanges under way at once: all there are in a closed loop; in an open one only the held
    /// ones, opened or finished at once.
    pub concurrency: u64,
    /// Exchanges begun a second, whether others are done or not: an open loop.
    pub rate: Option<u64>,
}

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It opens the connections that it will hold.
    Ramp,
    /// Exchanges come and go.
    Churn,
    /// It finishes the held connections.
    Finish,
    /// Nothing is left to do.
    Over,
}

impl Stage {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ramp => "opening",
            Self::Churn => "exchanging",
            Self::Finish => "finishing",
            Self::Over => "over",
        }
    }
}

/// An open loop that begins an exchange so much after its time does not do what was asked.
pub(super) const LATE: Duration = Duration::from_millis(100);

/// How many connections there are, by what they are doing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Exchanges that are neither held nor to be.
    pub(crate) churning: u64,
    /// Opened to be held, and not greeted yet.
    pub(crate) ramping: u64,
    /// Greeted and silent.
    pub(crate) held: u64,
    /// Held before, and now exchanging.
    pub(crate) finishing: u64,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Open a connection to hold it.
    Hold,
    /// Open a connection for an exchange that was meant to begin at that moment.
    Exchange(Moment),
    /// Finish one of the held connections.
    Finish,
    /// Wait for what is under way, or until then.
    Wait(Option<Moment>),
}

#[derive(Debug)]
pub(crate) struct Schedule {
    plan: Plan,
    stage: Stage,
    /// When the stage began, and how many were begun in it.
    since: Moment,
    begun: u64,
    /// Exchanges that were due and never begun.
    missed: u64,
    is_cut_short: bool,
}

impl Schedule {
    pub(crate) fn new(plan: Plan, now: Moment) -> Self {
        Self {
            plan,
            stage: Stage::Ramp,
            since: now,
            begun: 0,
            missed: 0,
            is_cut_short: false,
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// How many connections it will have open at once; in an open loop at least.
    pub(crate) fn needs(&self) -> u64 {
        let Plan {
            hold,
            exchanges,
            concurrency,
            rate,
            ..
        } = self.plan;
        let churning = if rate.is_some() { 1 } else { concurrency };
        hold.saturating_add(churning.min(exchanges.unwrap_or(u64::MAX)))
    }

    /// How much of the stage is done, from 0 to 1.
    pub(crate) fn progress(&self, counts: Counts, now: Moment) -> f64 {
        let of = |done: u64, all: u64| done as f64 / all.max(1) as f64;
        let hold = self.plan.hold;
        match self.stage {
            Stage::Ramp => of(self.begun.saturating_sub(counts.ramping), hold),
            Stage::Churn => {
                let done = self.begun.saturating_sub(counts.churning);
                let begun = self.plan.exchanges.map(|all| of(done, all));
                let past = self.since.until(now).as_secs_f64();
                let lasted = self.plan.duration.map(|all| past / all.as_secs_f64());
                begun.unwrap_or(0.0).max(lasted.unwrap_or(0.0)).min(1.0)
            }
            Stage::Finish => of(hold.saturating_sub(counts.held + counts.finishing), hold),
            Stage::Over => 1.0,
        }
    }

    /// How much later than it was due the next is begun, if it is now.
    pub(crate) fn lateness(&self, now: Moment) -> Duration {
        match self.stage {
            Stage::Ramp if self.begun < self.plan.hold && self.plan.ramp.is_some() => {
                self.due(self.plan.ramp).until(now)
            }
            Stage::Churn if self.owed(now) > 0 => self.due(self.plan.rate).until(now),
            _ => Duration::ZERO,
        }
    }

    /// Exchanges that an open loop owed when it was over.
    pub(crate) fn missed(&self) -> u64 {
        self.missed
    }

    /// Exchanges of an open loop that are due by now and not begun.
    fn owed(&self, now: Moment) -> u64 {
        let Some(rate) = self.plan.rate.filter(|_| self.stage == Stage::Churn) else {
            return 0;
        };
        let past = self.since.until(now);
        let past = self
            .plan
            .duration
            .map_or(past, |duration| duration.min(past));
        // The first is due at once, and what is due at the end is not begun any more.
        let due = (past.as_nanos() * u128::from(rate)).div_ceil(1_000_000_000);
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        due.min(self.plan.exchanges.unwrap_or(u64::MAX))
            .saturating_sub(self.begun)
    }

    /// Ends the run: nothing is begun any more, and nobody held is finished.
    pub(crate) fn cut_short(&mut self, now: Moment) {
        self.missed = self.missed.max(self.owed(now));
        self.is_cut_short = true;
        self.stage = Stage::Over;
    }

    pub(crate) fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }

    /// What it said last could not be done yet.
    pub(crate) fn take_back(&mut self) {
        self.begun = self.begun.saturating_sub(1);
    }

    /// What to do now. Is asked again after each step, until it is to wait.
    pub(crate) fn step(&mut self, counts: Counts, now: Moment) -> Step {
        loop {
            let step = match self.stage {
                Stage::Ramp => self.ramp(counts, now),
                Stage::Churn => self.churn(counts, now),
                Stage::Finish => self.finish(counts),
                Stage::Over => return Step::Wait(None),
            };
            match step {
                Some(step) => return step,
                None => self.advance(now),
            }
        }
    }

    /// `None`: the stage is over.
    fn ramp(&mut self, counts: Counts, now: Moment) -> Option<Step> {
        if self.begun == self.plan.hold {
            return (counts.ramping > 0).then_some(Step::Wait(None));
        }
        let due = self.due(self.plan.ramp);
        Some(if due > now {
            Step::Wait(Some(due))
        } else if self.plan.ramp.is_none() && counts.ramping >= self.plan.concurrency {
            Step::Wait(None)
        } else {
            self.begun += 1;
            Step::Hold
        })
    }

    fn churn(&mut self, counts: Counts, now: Moment) -> Option<Step> {
        let due = self.due(self.plan.rate);
        let end = self
            .plan
            .duration
            .map(|duration| self.since.after(duration));
        let is_enough = self.plan.exchanges.is_some_and(|all| self.begun >= all);
        let is_over = end.is_some_and(|end| match self.plan.rate {
            None => end <= now,
            // What it has not begun by its end it still owes, if that is not long ago.
            Some(_) => end <= due || end.after(LATE) <= now,
        });
        if is_enough || is_over {
            self.missed = self.missed.max(self.owed(now));
            return (counts.churning > 0).then_some(Step::Wait(None));
        }
        Some(if due > now {
            Step::Wait(Some(due))
        } else if self.plan.rate.is_none() && counts.churning >= self.plan.concurrency {
            Step::Wait(end)
        } else {
            self.begun += 1;
            Step::Exchange(if self.plan.rate.is_some() { due } else { now })
        })
    }

    fn finish(&mut self, counts: Counts) -> Option<Step> {
        if counts.held > 0 && counts.finishing < self.plan.concurrency {
            return Some(Step::Finish);
        }
        (counts.held + counts.finishing > 0).then_some(Step::Wait(None))
    }

    fn advance(&mut self, now: Moment) {
        self.stage = match self.stage {
            Stage::Ramp => Stage::Churn,
            Stage::Churn => Stage::Finish,
            Stage::Finish | Stage::Over => Stage::Over,
        };
        self.since = now;
        self.begun = 0;
    }

    /// When the next is to begin, at `rate` a second.
    fn due(&self, rate: Option<u64>) -> Moment {
        match rate {
            None => self.since,
            Some(rate) => {
                let ns = u128::from(self.begun) * 1_000_000_000 / u128::from(rate.max(1));
                self.since
                    .after(Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan {
        hold: 0,
        ramp: None,
        exchanges: None,
        duration: None,
        concurrency: 2,
        rate: None,
    };

    fn at(ms: u64) -> Moment {
        Moment::START.after(Duration::from_millis(ms))
    }

    /// Runs a plan in which every exchange takes 10 ms, and tells what began when.
    fn run(plan: Plan) -> Vec<(u64, Step)> {
        let mut schedule = Schedule::new(plan, at(0));
        let (mut counts, mut begun, mut ends) = (Counts::default(), vec![], vec![]);
        for ms in 0..10_000 {
            ends.retain(|(end, step)| {
                if *end == ms {
                    match step {
                        Step::Hold => {
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
                let step = schedule.step(counts, at(ms));
                match step {
                    Step::Hold => counts.ramping += 1,
                    Step::Exchange(_) => counts.churning += 1,
                    Step::Finish => {
                        counts.held -= 1;
                        counts.finishing += 1;
                    }
                    Step::Wait(_) => break,
                }
                begun.push((ms, step));
                ends.push((ms + 10, step));
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

    /// An open loop of 20 exchanges that is not asked between the first and then: when those that it
    /// begins were due, how late it says that they are, and how many it has missed in the end.
    fn late(ms: u64) -> (Vec<u64>, u64, u64) {
        let plan = Plan {
            rate: Some(1000),
            duration: Some(Duration::from_millis(20)),
            ..PLAN
        };
        let mut schedule = Schedule::new(plan, at(0));
        let mut counts = Counts::default();
        schedule.step(counts, at(0));
        let late = schedule.lateness(at(ms)).as_millis() as u64;
        let mut begun = vec![];
        while let Step::Exchange(meant) = schedule.step(counts, at(ms)) {
            begun.push(at(0).until(meant).as_millis() as u64);
            counts.churning += 1;
        }
        assert_eq!(schedule.lateness(at(ms)), Duration::ZERO, "{ms}");
        (begun, late, schedule.missed())
    }

    #[test]
    fn an_open_loop_that_is_late_makes_up_for_it_unless_it_is_over() {
        assert_eq!(late(3), (vec![1, 2, 3], 2, 0));
        assert_eq!(late(50), ((1..20).collect(), 49, 0));
        assert_eq!(late(119), ((1..20).collect(), 118, 0));
        assert_eq!(late(120), (vec![], 119, 19));
    }

    #[test]
    fn a_ramp_that_is_late_is_seen() {
        let plan = Plan {
            hold: 5,
            ramp: Some(10),
            exchanges: Some(0),
            ..PLAN
        };
        let mut schedule = Schedule::new(plan, at(0));
        assert_eq!(schedule.step(Counts::default(), at(0)), Step::Hold);
        assert_eq!(
            schedule.lateness(at(50)),
            Duration::ZERO,
            "the next is due at 100 ms"
        );
        assert_eq!(schedule.lateness(at(130)), Duration::from_millis(30));
    }

    #[test]
    fn progress_goes_from_0_to_1_in_every_stage() {
        let plan = Plan {
            hold: 4,
            exchanges: Some(100),
            duration: Some(Duration::from_millis(200)),
            ..PLAN
        };
        let mut schedule = Schedule::new(plan, at(0));
        let mut counts = Counts::default();
        assert!(schedule.progress(counts, at(0)).abs() < 1e-9);
        while schedule.step(counts, at(0)) == Step::Hold {
            counts.ramping += 1;
        }
        (counts.ramping, counts.held) = (0, 2);
        assert!((schedule.progress(counts, at(9)) - 0.5).abs() < 1e-9);
        while schedule.step(counts, at(10)) == Step::Hold {}
        assert_eq!(schedule.stage(), Stage::Churn);
        counts.held = 4;
        let progress = [10, 60, 110, 500].map(|ms| schedule.progress(counts, at(ms)));
        assert!(progress[0] < 0.02 && progress.is_sorted(), "{progress:?}");
        assert!(
            (progress[2] - 0.5).abs() < 0.02 && progress[3] <= 1.0,
            "{progress:?}"
        );
        counts.churning = 0;
        schedule.step(counts, at(500));
        assert_eq!(schedule.stage(), Stage::Finish);
        (counts.held, counts.finishing) = (2, 1);
        assert!((schedule.progress(counts, at(500)) - 0.25).abs() < 1e-9);
    }

    /// As one is that is asked for more than can be.
    #[test]
    fn an_endless_rate_ends() {
        let plan = Plan {
            rate: Some(u64::MAX),
            duration: Some(Duration::from_millis(10)),
            ..PLAN
        };
        let mut schedule = Schedule::new(plan, at(0));
        let exchange = schedule.step(Counts::default(), at(0));
        assert_eq!(exchange, Step::Exchange(at(0)));
        schedule.step(Counts::default(), at(110));
        assert_eq!(schedule.stage(), Stage::Over);
        let ten_ms = u64::MAX / 100;
        assert!((ten_ms - 1..=ten_ms).contains(&schedule.missed()));
    }

    #[test]
    fn who_is_cut_short_says_what_is_owed() {
        let plan = Plan {
            rate: Some(1000),
            duration: Some(Duration::from_secs(9)),
            ..PLAN
        };
        let mut schedule = Schedule::new(plan, at(0));
        schedule.step(Counts::default(), at(0));
        schedule.cut_short(at(30));
        assert_eq!(schedule.missed(), 29);
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
        assert_eq!([begun[0].1, begun[4].1], [Step::Hold, Step::Finish]);
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
        let mut schedule = Schedule::new(
            Plan {
                exchanges: Some(9),
                ..PLAN
            },
            at(0),
        );
        schedule.cut_short(at(0));
        assert_eq!(schedule.step(Counts::default(), at(0)), Step::Wait(None));
    }
}
