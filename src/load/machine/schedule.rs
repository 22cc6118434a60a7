//! What to begin, and when: without a socket and without a clock.

use std::time::Duration;

use super::share::Share;
use crate::reactor::deadlines::Moment;

/// What a run does. First it opens some connections and holds them, then exchanges come and go
/// beside them, and in the end it finishes the held connections.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Connections to open first and hold.
    pub hold: u64,
    /// How many of them to open a second. `None` is as fast as possible.
    pub ramp: Option<u64>,
    /// Exchanges beside them. `None` is as many as the duration allows.
    pub exchanges: Option<u64>,
    /// How long to begin exchanges. `None` is until `exchanges` have begun. If neither is limited, the
    /// run is [endless](Self::is_endless). If both are, it ends at whichever comes first.
    pub duration: Option<Duration>,
    /// The most exchanges under way at once. In an open loop this limits only how many held
    /// connections are opened or finished at once.
    pub concurrency: u64,
    /// An open loop: exchanges to begin a second, whether others are done or not. `None` is a
    /// closed loop.
    pub rate: Option<u64>,
    /// How long after the duration to wait for the exchanges under way. Those that are still open
    /// then are given up, and their time so far counts. `None` is until they are over. Without a
    /// duration it has no effect.
    pub grace: Option<Duration>,
}

impl Plan {
    /// Whether it goes on until a signal stops it.
    #[must_use]
    pub fn is_endless(&self) -> bool {
        self.exchanges.is_none() && self.duration.is_none()
    }

    /// Among how many threads it can be dealt out: each has one exchange or one held connection to begin,
    /// and may begin one at a time.
    #[must_use]
    pub fn most_threads(&self) -> u64 {
        let is_closed = self.rate.is_none() || self.hold > 0;
        let at_once = if is_closed {
            self.concurrency
        } else {
            u64::MAX
        };
        let all = self.exchanges.unwrap_or(u64::MAX);
        self.hold.saturating_add(all).min(at_once).max(1)
    }

    /// How many connections it keeps open at once. An open loop may have more.
    pub(crate) fn needs(&self) -> u64 {
        let churning = if self.rate.is_some() {
            1
        } else {
            self.concurrency
        };
        let all = self.exchanges.unwrap_or(u64::MAX);
        self.hold.saturating_add(churning.min(all))
    }

    /// How many connections it may keep open at once, if an exchange of an open loop takes a second.
    pub(crate) fn may_need(&self) -> u64 {
        let churning = self.rate.unwrap_or(self.concurrency);
        let all = self.exchanges.unwrap_or(u64::MAX);
        self.hold.saturating_add(churning.min(all))
    }
}

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It opens the connections that it will hold.
    Ramp,
    /// It begins exchanges that are not held.
    Churn,
    /// It finishes the held connections.
    Finish,
    /// Nothing is left to do.
    Over,
}

impl Stage {
    /// All of them, in order.
    pub(crate) const ALL: [Self; 4] = [Self::Ramp, Self::Churn, Self::Finish, Self::Over];

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

/// An open loop that begins an exchange this long after it was due has fallen behind.
pub(crate) const LATE: Duration = Duration::from_millis(100);

/// How many connections are open, by what they are doing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Exchanges that are not held.
    pub(crate) churning: u64,
    /// Connections to be held that are not greeted yet.
    pub(crate) ramping: u64,
    /// Held connections: greeted and silent.
    pub(crate) held: u64,
    /// Connections that were held and now exchange.
    pub(crate) finishing: u64,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Open a connection to hold it. It was due at this moment.
    Hold(Moment),
    /// Open a connection for an exchange that was due at this moment.
    Exchange(Moment),
    /// Finish one of the held connections.
    Finish,
    /// Wait for a connection under way, or until this moment.
    Wait(Option<Moment>),
    /// The stage is over. The next one begins as soon as it is over in all threads.
    StageOver,
}

/// A thread's share of a plan.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// The plan, with this share of its counts. Its rates are those of all threads together.
    plan: Plan,
    share: Share,
    stage: Stage,
    /// When the stage began, and how many connections began in it.
    since: Moment,
    begun: u64,
    /// Exchanges that were due and never began.
    missed: u128,
    is_cut_short: bool,
}

impl Schedule {
    pub(crate) fn new(plan: &Plan, share: Share, now: Moment) -> Self {
        Self {
            plan: Plan {
                hold: share.part(plan.hold),
                exchanges: plan.exchanges.map(|all| share.part(all)),
                concurrency: share.part(plan.concurrency),
                ..*plan
            },
            share,
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

    /// When the [stage](Self::stage) began.
    pub(crate) fn since(&self) -> Moment {
        self.since
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

    /// Exchanges of an open loop that were due and had not begun at its end.
    pub(crate) fn missed(&self) -> u128 {
        self.missed
    }

    /// Exchanges of an open loop that are due and have not begun.
    pub(crate) fn owed(&self, now: Moment) -> u128 {
        let Some(rate) = self.plan.rate.filter(|_| self.stage == Stage::Churn) else {
            return 0;
        };
        let past = self.since.until(now);
        let past = self
            .plan
            .duration
            .map_or(past, |duration| duration.min(past));
        // The first is due at once. One that is due exactly at the end no longer counts.
        let due = (past.as_nanos() * u128::from(rate)).div_ceil(1_000_000_000);
        let all = self.plan.exchanges.map_or(u128::MAX, u128::from);
        let due = self.share.part_of_many(due);
        due.min(all).saturating_sub(self.begun.into())
    }

    /// No more connections are opened. Exchanges under way go on, and held connections are finished.
    pub(crate) fn stop(&mut self, now: Moment) {
        match self.stage {
            Stage::Ramp => {
                self.plan.hold = self.begun;
                self.plan.duration = Some(Duration::ZERO);
            }
            Stage::Churn => self.plan.duration = Some(self.since.until(now)),
            Stage::Finish | Stage::Over => {}
        }
    }

    /// Ends the run. Nothing more begins, and held connections are not finished.
    pub(crate) fn cut_short(&mut self, now: Moment) {
        self.missed = self.missed.max(self.owed(now));
        self.is_cut_short = true;
        self.stage = Stage::Over;
        self.since = now;
    }

    pub(crate) fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }

    /// The driver could not open the connection of the last step yet.
    pub(crate) fn take_back(&mut self) {
        self.begun = self.begun.saturating_sub(1);
    }

    /// What to do now. The driver asks again after each step until the answer is to wait.
    pub(crate) fn step(&mut self, counts: Counts, now: Moment) -> Step {
        let step = match self.stage {
            Stage::Ramp => self.ramp(counts, now),
            Stage::Churn => self.churn(counts, now),
            Stage::Finish => self.finish(counts),
            Stage::Over => Some(Step::Wait(None)),
        };
        step.unwrap_or(Step::StageOver)
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
            Step::Hold(if self.plan.ramp.is_some() { due } else { now })
        })
    }

    /// `None`: the stage is over.
    fn churn(&mut self, counts: Counts, now: Moment) -> Option<Step> {
        let due = self.due(self.plan.rate);
        let end = self
            .plan
            .duration
            .map(|duration| self.since.after(duration));
        let is_enough = self.plan.exchanges.is_some_and(|all| self.begun >= all);
        let is_over = end.is_some_and(|end| match self.plan.rate {
            None => end <= now,
            // Exchanges that were due by the end may still begin until LATE after it.
            Some(_) => end <= due || end.after(LATE) <= now,
        });
        if is_enough || is_over {
            self.missed = self.missed.max(self.owed(now));
            let until = end.zip(self.plan.grace);
            let until = until.map(|(end, grace)| end.after(grace));
            let waits = counts.churning > 0 && until.is_none_or(|until| until > now);
            return waits.then_some(Step::Wait(until));
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

    /// `None`: the stage is over.
    fn finish(&mut self, counts: Counts) -> Option<Step> {
        if counts.held > 0 && counts.finishing < self.plan.concurrency {
            return Some(Step::Finish);
        }
        (counts.held + counts.finishing > 0).then_some(Step::Wait(None))
    }

    /// Begins the next stage. All threads begin it at the same moment, so that their rates make one.
    pub(crate) fn advance(&mut self, now: Moment) {
        self.stage = match self.stage {
            Stage::Ramp => Stage::Churn,
            Stage::Churn => Stage::Finish,
            Stage::Finish | Stage::Over => Stage::Over,
        };
        self.since = now;
        self.begun = 0;
    }

    /// When the next connection is due, if all threads begin `rate` a second.
    fn due(&self, rate: Option<u64>) -> Moment {
        match rate {
            None => self.since,
            Some(rate) => {
                let number = u128::from(self.share.number(self.begun));
                let ns = number * 1_000_000_000 / u128::from(rate.max(1));
                self.since
                    .after(Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
