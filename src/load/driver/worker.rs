//! What one thread does: it polls its own connections and follows its share of the plan.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};

use super::channel::Ready;
use super::client::Role;
use super::clients::Clients;
use super::clock::Clock;
use super::cut::Cut;
use super::dialer::Dialer;
use super::meter::Meter;
use super::options::Options;
use super::wakeup::Wakeup;
use crate::error::explain;
use crate::load::machine::record::{Point, Record};
use crate::load::machine::schedule::{Schedule, Stage, Step};
use crate::load::machine::share::Share;
use crate::reactor::deadlines::Moment;

/// The most events taken from one poll, and the most connections opened in one turn. An exchange
/// takes at least two events, so a closed loop still reaches its concurrency.
const EVENTS_PER_TURN: usize = 256;
const OPENS_PER_TURN: usize = 256;

/// The token with which other threads wake the poll: a key that no slab hands out.
const WAKER: Token = Token(usize::MAX - 2);

/// One thread's part of a run.
pub(super) struct Worker {
    pub(super) poll: Poll,
    pub(super) events: Events,
    wakeup: Wakeup,
    pub(super) clients: Clients,
    pub(super) schedule: Schedule,
    /// When to try again to open a connection that lacked something.
    retry_at: Option<Moment>,
    /// How busy the thread is. It starts with the first turn, and again when exchanges begin.
    meter: Option<Meter>,
    /// Where the present record begins.
    pub(super) cut: Cut,
}

/// What a thread waits for that has begun all that is due.
pub(super) enum Waits {
    /// For an event, or until this moment.
    Until(Option<Moment>),
    /// For the other threads: its part of the stage is over.
    ForOthers,
}

impl Worker {
    pub(super) fn new(
        options: &Options,
        dialer: &Dialer,
        share: Share,
        clock: Clock,
    ) -> io::Result<Self> {
        let poll = Poll::new().map_err(|e| explain("cannot make a poll", &e))?;
        let wakeup = Wakeup::new(poll.registry());
        Ok(Self {
            wakeup: wakeup.map_err(|e| explain("cannot make a timer", &e))?,
            poll,
            events: Events::with_capacity(EVENTS_PER_TURN),
            clients: Clients::new(options, dialer.for_thread(share.place()), share, clock)?,
            schedule: Schedule::new(&options.plan, share, Moment::START),
            retry_at: None,
            meter: None,
            cut: Cut::default(),
        })
    }

    /// Wakes this thread's poll from another one.
    pub(super) fn waker(&self) -> io::Result<Arc<Waker>> {
        let waker = Waker::new(self.poll.registry(), WAKER).map(Arc::new);
        waker.map_err(|e| explain("cannot make a waker", &e))
    }

    pub(super) fn record(&self) -> &Record {
        &self.clients.record
    }

    pub(super) fn stage(&self) -> Stage {
        self.schedule.stage()
    }

    pub(super) fn now(&self) -> Moment {
        self.clients.clock.now()
    }

    pub(super) fn progress(&self) -> f64 {
        self.schedule.progress(self.clients.counts(), self.now())
    }

    /// Begins what is due, but not more than a turn may take.
    pub(super) fn begin(&mut self) -> io::Result<Waits> {
        let now = self.now();
        self.meter.get_or_insert_with(|| Meter::start(now));
        if let Some(at) = self.retry_at.filter(|at| *at > now) {
            return Ok(Waits::Until(Some(at)));
        }
        self.retry_at = None;
        let registry = self.poll.registry();
        for _ in 0..OPENS_PER_TURN {
            let now = self.clients.clock.now();
            let (role, due) = match self.schedule.step(self.clients.counts(), now) {
                Step::Wait(until) => return Ok(Waits::Until(until)),
                Step::StageOver => return Ok(Waits::ForOthers),
                Step::Finish => {
                    self.clients.finish(registry);
                    continue;
                }
                Step::Hold(due) => (Role::Ramping, due),
                Step::Exchange(due) => (Role::Churning, due),
            };
            self.retry_at = self.clients.open(registry, role, due)?;
            if self.retry_at.is_some() {
                self.schedule.take_back();
                return Ok(Waits::Until(self.retry_at));
            }
        }
        Ok(Waits::Until(Some(now)))
    }

    /// Waits for events, at most for `timeout` and until `alarm`, and handles them. Returns whether a
    /// signal has ended the wait.
    pub(super) fn wait(
        &mut self,
        waits: &Waits,
        alarm: Option<Moment>,
        timeout: Duration,
    ) -> io::Result<bool> {
        let next = match waits {
            Waits::Until(next) => *next,
            Waits::ForOthers => None,
        };
        let timeout = self.sleep_until(next, alarm)?.min(timeout);
        let before = self.now();
        let asked = next.map_or(timeout, |at| timeout.min(before.until(at)));
        let interrupted = match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => true,
            polled => {
                polled.map_err(|e| explain("cannot poll", &e))?;
                false
            }
        };
        let after = self.clients.clock.look(asked);
        if let Some(meter) = &mut self.meter {
            meter.note_sleep(before.until(after));
        }
        // The events of the signals, of the wakeup and of the waker have keys that no client has.
        for event in &self.events {
            let ready = Ready {
                readable: event.is_readable(),
                fin: event.is_read_closed(),
                failed: event.is_error(),
            };
            self.clients
                .drive(self.poll.registry(), event.token().0, ready);
        }
        // The process may also have been stopped while it handled the events.
        self.clients.clock.look(Duration::ZERO);
        self.clients.expire(self.poll.registry());
        Ok(interrupted)
    }

    /// How long the poll may sleep. The wakeup ends the sleep when the `next` connection is due.
    fn sleep_until(&mut self, next: Option<Moment>, alarm: Option<Moment>) -> io::Result<Duration> {
        let (now, mut wakeup) = (self.now(), None);
        if let Some(at) = next {
            if at <= now {
                return Ok(Duration::ZERO);
            }
            let set = self.wakeup.set(at, now);
            wakeup = set.map_err(|e| explain("cannot set a timer", &e))?;
        }
        let due = [self.clients.deadline(), alarm, wakeup];
        let due = due.into_iter().flatten().min();
        Ok(due.map_or(Duration::MAX, |at| now.until(at)))
    }

    /// Begins the next stage, as all threads do at this moment.
    pub(super) fn advance(&mut self, at: Moment) {
        let now = self.now();
        match self.stage() {
            Stage::Ramp => self.meter = Some(Meter::start(now)),
            Stage::Churn if self.record().churned > 0 => self.note_busy(now),
            Stage::Churn | Stage::Finish | Stage::Over => {}
        }
        self.schedule.advance(at);
    }

    fn note_busy(&mut self, now: Moment) {
        let busy = self.meter.take().map(|meter| meter.read(now));
        self.clients.record.threads.extend(busy);
    }

    /// Adds a point to the course of the run, and the stage if it is new.
    pub(super) fn mark(&mut self) {
        let point = self.point();
        let stage = self.schedule.stage();
        let since = Moment::START.until(self.schedule.since());
        let clock = &self.clients.clock;
        let stood_still = clock.stood_still().saturating_sub(self.cut.stood_still);
        let record = &mut self.clients.record;
        record.stood_still = stood_still;
        record.advance(point);
        if record.stages.last().is_none_or(|(last, _)| *last != stage) {
            // Not at this moment: a stage begins with its first exchanges, and they belong to it.
            record
                .stages
                .push((stage, since.saturating_sub(self.cut.at)));
        }
        self.update_meters();
    }

    /// The counts at this moment of the present record.
    fn point(&mut self) -> Point {
        let elapsed = self.clients.clock.elapsed();
        self.clients.point(elapsed.saturating_sub(self.cut.at))
    }

    /// Closes what is still open and completes the record.
    pub(super) fn end(&mut self) {
        self.mark();
        if self.record().threads.is_empty() {
            self.note_busy(self.now());
        }
        self.clients.give_up(self.schedule.is_cut_short());
        let point = self.point();
        let record = &mut self.clients.record;
        record.missed = self.schedule.missed();
        record.course.end(point);
    }
}
