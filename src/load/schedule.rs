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
    is_cut_short: bool,
}

impl Schedule {
    pub(crate) fn new(plan: Plan, now: Moment) -> Self {
        Self {
            plan,
            stage: Stage::Ramp,
            since: now,
            begun: 0,
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

    /// How long exchanges are begun, if it goes by time.
    pub(crate) fn lasts(&self) -> Option<Duration> {
        self.plan.duration
    }

    /// Ends the run: nothing is begun any more, and nobody held is finished.
    pub(crate) fn cut_short(&mut self) {
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
        let end = self
            .plan
            .duration
            .map(|duration| self.since.after(duration));
        let due = self.due(self.plan.rate);
        let is_enough = self
            .plan
            .exchanges
            .is_some_and(|enough| self.begun >= enough);
        if is_enough || end.is_some_and(|end| end <= due.max(now)) {
            // What an open loop has not begun by its end it still owes: it is late, not less.
            let owes = !is_enough && self.plan.rate.is_some() && end.is_some_and(|end| due < end);
            if !owes {
                return (counts.churning > 0).then_some(Step::Wait(None));
            }
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

    #[test]
    fn an_open_loop_that_is_late_makes_up_for_it() {
        let plan = Plan {
            rate: Some(1000),
            duration: Some(Duration::from_millis(20)),
            ..PLAN
        };
        let mut schedule = Schedule::new(plan, at(0));
        let mut counts = Counts::default();
        schedule.step(counts, at(0));
        let mut begun = vec![];
        while let Step::Exchange(meant) = schedule.step(counts, at(50)) {
            begun.push(meant);
            counts.churning += 1;
        }
        assert_eq!(begun, (1..20).map(at).collect::<Vec<_>>());
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
        schedule.cut_short();
        assert_eq!(schedule.step(Counts::default(), at(0)), Step::Wait(None));
    }
}
