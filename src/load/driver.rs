//! The driver: it owns the poll, the sockets and the time, and does what the machine says.

mod channel;
mod client;
mod clients;
mod clock;
mod dialer;
mod options;
mod room;
mod source;
mod target;
mod wakeup;

use std::io;
use std::time::Duration;

use mio::{Events, Poll};

use channel::Ready;
use client::Role;
use clients::Clients;
use clock::Clock;
use dialer::Dialer;
use wakeup::Wakeup;

pub use options::Options;
pub use room::Room;
pub use source::{ParseSourceError, Source};

use super::machine::exchange::Expected;
use super::machine::record::Record;
use super::machine::schedule::{Schedule, Stage, Step};
use crate::reactor::deadlines::Moment;
use crate::server::signals::{Request, Signals};

/// The most events taken from one poll, and the most connections opened in one turn. An exchange
/// takes at least two events, so a closed loop still reaches its concurrency.
const EVENTS_PER_TURN: usize = 256;
const OPENS_PER_TURN: usize = 256;

/// The time after which a connection that lacked a port, a descriptor or a place in a queue is
/// tried again.
const RETRY: Duration = Duration::from_millis(1);

/// A run.
pub struct Load {
    poll: Poll,
    events: Events,
    wakeup: Wakeup,
    signals: Option<Signals>,
    clients: Clients,
    schedule: Schedule,
    clock: Clock,
    ended: Option<Duration>,
    /// When to try again to open a connection that lacked something.
    retry_at: Option<Moment>,
}

impl Load {
    /// Resolves the targets and gets ready. Nothing is sent before the first [turn](Self::turn).
    ///
    /// # Errors
    /// One line: a target does not resolve, sources overlap, or no descriptor is left.
    pub fn new(options: Options) -> io::Result<Self> {
        let dialer = Dialer::new(&options.targets, options.sources, options.timeout)?;
        let clock = Clock::start();
        let poll = Poll::new()?;
        let expected = Expected {
            greeting: options.greeting,
            payloads: options.payloads,
            opened: 0,
        };
        Ok(Self {
            wakeup: Wakeup::new(poll.registry())?,
            poll,
            events: Events::with_capacity(EVENTS_PER_TURN),
            signals: None,
            clients: Clients::new(dialer, expected, options.timeout, clock)?,
            schedule: Schedule::new(options.plan, Moment::START),
            clock,
            ended: None,
            retry_at: None,
        })
    }

    /// Catches SIGINT, SIGTERM and SIGHUP from here on: each [cuts the run
    /// short](Self::is_cut_short). The second SIGINT or SIGTERM ends the process. SIGINT and SIGHUP
    /// stay ignored if they are ignored before, as nohup(1) and shells leave them. The calling thread
    /// unblocks the signals that are caught.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn catch_signals(&mut self) -> io::Result<()> {
        self.signals = Some(Signals::catch(self.poll.registry())?);
        Ok(())
    }

    /// How many connections the run can have open at once.
    ///
    /// # Errors
    /// As getrlimit(2), or the plan needs more connections than that.
    pub fn room(&self) -> io::Result<Room> {
        let room = self.clients.room()?;
        let needed = self.schedule.needs();
        if needed > room.connections {
            return Err(io::Error::other(format!("{room}; {needed} are needed")));
        }
        Ok(room)
    }

    /// What the run has measured so far.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.clients.record
    }

    /// How long the run has taken, so far or in all.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.ended.unwrap_or_else(|| self.clock.elapsed())
    }

    /// What the run is doing.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.schedule.stage()
    }

    /// How much of the [stage](Self::stage) is done, from 0 to 1.
    #[must_use]
    pub fn progress(&self) -> f64 {
        let counts = self.clients.counts();
        self.schedule.progress(counts, self.clock.now())
    }

    /// Whether a signal or an error has ended the run.
    #[must_use]
    pub fn is_cut_short(&self) -> bool {
        self.schedule.is_cut_short()
    }

    /// One turn: begins what is due, waits for events, at most for `timeout`, and handles them.
    /// Returns whether there is more to do. After the last turn, if signals are
    /// [caught](Self::catch_signals), the next SIGINT or SIGTERM ends the process.
    ///
    /// # Errors
    /// The poll is broken, no descriptor is left, or a source is not an address of this machine.
    /// The run is cut short then. What is wrong with one connection is in the
    /// [record](Self::record).
    pub fn turn(&mut self, timeout: Duration) -> io::Result<bool> {
        let turned = self.advance(timeout);
        if turned.is_err() {
            self.schedule.cut_short(self.clock.now());
        }
        self.mark();
        if self.schedule.stage() == Stage::Over {
            self.end();
        }
        turned.map(|()| self.ended.is_none())
    }

    fn advance(&mut self, timeout: Duration) -> io::Result<()> {
        let next = self.begin()?;
        if self.schedule.stage() == Stage::Over {
            return Ok(());
        }
        let timeout = self.wait_until(next)?.min(timeout);
        let interrupted = match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => true,
            polled => polled.map(|()| false)?,
        };
        self.handle_signals(interrupted);
        // The events of the signals and of the wakeup have keys that no client has.
        for event in &self.events {
            let ready = Ready {
                readable: event.is_readable(),
                fin: event.is_read_closed(),
                failed: event.is_error(),
            };
            self.clients
                .drive(self.poll.registry(), event.token().0, ready);
        }
        self.clients.expire();
        Ok(())
    }

    /// Begins what is due. Returns when more will be due, if that depends on time alone.
    fn begin(&mut self) -> io::Result<Option<Moment>> {
        let now = self.clock.now();
        if let Some(at) = self.retry_at.filter(|at| *at > now) {
            return Ok(Some(at));
        }
        self.retry_at = None;
        let registry = self.poll.registry();
        for _ in 0..OPENS_PER_TURN {
            let now = self.clock.now();
            let late = self.schedule.lateness(now);
            self.clients.record.latest = self.clients.record.latest.max(late);
            let opened = match self.schedule.step(self.clients.counts(), now) {
                Step::Wait(until) => return Ok(until),
                Step::Finish => {
                    self.clients.finish(registry);
                    continue;
                }
                Step::Hold => self.clients.open(registry, Role::Ramping, now)?,
                Step::Exchange(meant) => self.clients.open(registry, Role::Churning, meant)?,
            };
            if !opened {
                // No event tells when a port, a descriptor or a place in a queue is free again.
                self.schedule.take_back();
                self.retry_at = Some(self.clock.now().after(RETRY));
                return Ok(self.retry_at);
            }
        }
        Ok(Some(now))
    }

    /// How long the poll may sleep. The wakeup ends the sleep when the `next` connection is due.
    fn wait_until(&mut self, next: Option<Moment>) -> io::Result<Duration> {
        let (now, mut wakeup) = (self.clock.now(), None);
        if let Some(at) = next {
            if at <= now {
                return Ok(Duration::ZERO);
            }
            wakeup = self.wakeup.set(at, now)?;
        }
        let signals = self.signals.as_ref().and_then(Signals::alarm);
        let due = [self.clients.deadline(), signals, wakeup];
        let due = due.into_iter().flatten().min();
        Ok(due.map_or(Duration::MAX, |at| now.until(at)))
    }

    fn handle_signals(&mut self, interrupted: bool) {
        let now = self.clock.now();
        let Some(signals) = &mut self.signals else {
            return;
        };
        let requests = signals.hear(interrupted, &self.events, now);
        let ends = |request| matches!(request, Request::ShutDown | Request::HangUp);
        if requests.into_iter().any(ends) {
            self.schedule.cut_short(now);
        }
    }

    /// Adds a point to the course of the run, and the stage if it is new.
    fn mark(&mut self) {
        let point = self.clients.point(self.elapsed());
        let stage = self.schedule.stage();
        let record = &mut self.clients.record;
        record.course.advance(point);
        if record.stages.last().is_none_or(|(last, _)| *last != stage) {
            record.stages.push((stage, point.at));
        }
    }

    fn end(&mut self) {
        if self.ended.is_some() {
            return;
        }
        let elapsed = self.clock.elapsed();
        self.ended = Some(elapsed);
        self.clients.give_up();
        let point = self.clients.point(elapsed);
        self.clients.record.missed = self.schedule.missed();
        self.clients.record.course.end(point);
        if let Some(signals) = &self.signals {
            signals.stop_hearing();
        }
    }
}
