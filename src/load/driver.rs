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
use crate::server::signals::{APART, Request, Signals};

/// The most events taken from one poll, and the most connections opened in one turn. An exchange
/// takes at least two events, so a closed loop still reaches its concurrency.
const EVENTS_PER_TURN: usize = 256;
const OPENS_PER_TURN: usize = 256;

/// A run.
pub struct Load {
    poll: Poll,
    events: Events,
    wakeup: Wakeup,
    signals: Option<Signals>,
    clients: Clients,
    schedule: Schedule,
    is_endless: bool,
    room: Room,
    ended: Option<Duration>,
    /// When to try again to open a connection that lacked something.
    retry_at: Option<Moment>,
    /// When an endless run was told to stop.
    stopped: Option<Moment>,
    /// The signal that cut the run short.
    signal: Option<i32>,
}

/// While it lives, the signals of a [`Load`] that has been [finished](Load::finish) are caught.
#[derive(Debug)]
pub struct Caught(#[allow(dead_code, reason = "it is there to be dropped")] Option<Signals>);

impl Load {
    /// Resolves the targets and gets ready. Nothing is sent before the first [turn](Self::turn).
    ///
    /// # Errors
    /// One line: a target does not resolve, sources overlap, no descriptor is left, or the plan needs
    /// more connections than there is [room](Self::room) for.
    pub fn new(options: Options) -> io::Result<Self> {
        let (plan, timeout) = (options.plan, options.timeout);
        let dialer = Dialer::new(&options.targets, options.sources, timeout, &plan)?;
        let poll = Poll::new()?;
        let expected = Expected {
            greeting: options.greeting,
            payloads: options.payloads,
            max_read: options.max_read,
            opened: 0,
        };
        let mut clients = Clients::new(dialer, expected, timeout, Clock::start())?;
        let is_endless = plan.is_endless();
        let schedule = Schedule::new(plan, Moment::START);
        // Found once: what is reserved for the table is not there to be found again.
        let (room, needed) = (clients.room()?, schedule.needs());
        if needed > room.connections {
            return Err(io::Error::other(format!("{room}; {needed} are needed")));
        }
        let connections = usize::try_from(room.connections).unwrap_or(usize::MAX);
        clients.reserve(connections);
        Ok(Self {
            wakeup: Wakeup::new(poll.registry())?,
            poll,
            events: Events::with_capacity(EVENTS_PER_TURN),
            signals: None,
            clients,
            schedule,
            is_endless,
            room,
            ended: None,
            retry_at: None,
            stopped: None,
            signal: None,
        })
    }

    /// Catches SIGINT, SIGTERM and SIGHUP from here on: each [cuts the run
    /// short](Self::is_cut_short), and the next SIGINT or SIGTERM ends the process. If the run is
    /// [endless](super::Plan::is_endless), the first one is its proper end: no more exchanges begin,
    /// and those under way are waited for. The next one cuts it short then. SIGINT and SIGHUP
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
    #[must_use]
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// Whether the run may need more than that: in an open loop whose exchanges take a second each.
    #[must_use]
    pub fn may_lack_room(&self) -> bool {
        self.schedule.may_need() > self.room.connections
    }

    /// What the run has measured so far.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.clients.record
    }

    /// What the run has measured, without a copy: a run never lacks memory for its report. Signals are
    /// caught as before while the other value lives.
    #[must_use]
    pub fn finish(self) -> (Record, Caught) {
        (self.clients.record, Caught(self.signals))
    }

    /// How long the run has taken, so far or in all.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.ended.unwrap_or_else(|| self.clients.clock.elapsed())
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
        self.schedule.progress(counts, self.clients.clock.now())
    }

    /// Whether a signal or an error has ended the run.
    #[must_use]
    pub fn is_cut_short(&self) -> bool {
        self.schedule.is_cut_short()
    }

    /// The signal that has cut the run short, if one did.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        self.signal
    }

    /// One turn: begins what is due, waits for events, at most for `timeout`, and handles them.
    /// Returns whether there is more to do. After the last turn, if signals are
    /// [caught](Self::catch_signals), the next SIGINT or SIGTERM ends the process.
    ///
    /// # Errors
    /// The poll is broken, no descriptor is left, a source is not an address of this machine, or every
    /// target of a run without a duration has refused for a minute.
    /// The run is cut short then. What is wrong with one connection is in the
    /// [record](Self::record).
    pub fn turn(&mut self, timeout: Duration) -> io::Result<bool> {
        let turned = self.advance(timeout);
        if turned.is_err() {
            self.schedule.cut_short(self.clients.clock.now());
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
        let asked = next.map_or(timeout, |at| {
            timeout.min(self.clients.clock.now().until(at))
        });
        let interrupted = match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => true,
            polled => polled.map(|()| false)?,
        };
        self.clients.clock.look(asked);
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
        // The process may also have been stopped while it handled the events.
        self.clients.clock.look(Duration::ZERO);
        self.clients.expire(self.poll.registry());
        Ok(())
    }

    /// Begins what is due. Returns when more will be due, if that depends on time alone.
    fn begin(&mut self) -> io::Result<Option<Moment>> {
        let now = self.clients.clock.now();
        if let Some(at) = self.retry_at.filter(|at| *at > now) {
            return Ok(Some(at));
        }
        self.retry_at = None;
        let registry = self.poll.registry();
        for _ in 0..OPENS_PER_TURN {
            let now = self.clients.clock.now();
            let (role, due) = match self.schedule.step(self.clients.counts(), now) {
                Step::Wait(until) => return Ok(until),
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
                return Ok(self.retry_at);
            }
        }
        Ok(Some(now))
    }

    /// How long the poll may sleep. The wakeup ends the sleep when the `next` connection is due.
    fn wait_until(&mut self, next: Option<Moment>) -> io::Result<Duration> {
        let (now, mut wakeup) = (self.clients.clock.now(), None);
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
        let now = self.clients.clock.now();
        let Some(signals) = &mut self.signals else {
            return;
        };
        for request in signals.hear(interrupted, &self.events, now) {
            let signal = match request {
                Request::ShutDown(signal) => signal,
                Request::HangUp => libc::SIGHUP,
                Request::Report | Request::Nothing => continue,
            };
            let stopped = self.is_endless.then(|| *self.stopped.get_or_insert(now));
            if stopped.is_some_and(|stopped| stopped.until(now) < APART) {
                signals.hear_more();
                self.schedule.stop(now);
            } else {
                self.signal.get_or_insert(signal);
                self.schedule.cut_short(now);
            }
        }
    }

    /// Adds a point to the course of the run, and the stage if it is new.
    fn mark(&mut self) {
        let point = self.clients.point(self.elapsed());
        let stage = self.schedule.stage();
        let stood_still = self.clients.clock.stood_still();
        let record = &mut self.clients.record;
        record.stood_still = stood_still;
        record.course.advance(point);
        if record.stages.last().is_none_or(|(last, _)| *last != stage) {
            record.stages.push((stage, point.at));
        }
    }

    fn end(&mut self) {
        if self.ended.is_some() {
            return;
        }
        let elapsed = self.clients.clock.elapsed();
        self.ended = Some(elapsed);
        self.clients.give_up();
        let point = self.clients.point(elapsed);
        let record = &mut self.clients.record;
        record.missed = self.schedule.missed();
        record.course.end(point);
        self.stop_hearing();
    }

    /// From here on a signal ends the process. But timeout(1) sends each signal twice, and the second
    /// must not cost the report.
    fn stop_hearing(&mut self) {
        let clock = &self.clients.clock;
        let Some(signals) = &mut self.signals else {
            return;
        };
        while let Some(at) = signals.alarm() {
            let wait = clock.now().until(at);
            let polled = self.poll.poll(&mut self.events, Some(wait));
            signals.hear(polled.is_err(), &self.events, clock.now());
        }
        signals.stop_hearing();
    }
}
