//! The driver: it owns the polls, the sockets and the time, and does what the machine says.
//!
//! A [`Worker`] is what one thread does, with a poll and a table of its own. The first one belongs to the
//! thread that calls [`Load::turn`], so a run of one thread needs no other. [`Load`] is what the threads
//! agree on: when a stage begins, when the run ends, and the sum of their records.

mod channel;
mod client;
mod clients;
mod clock;
mod cut;
mod dialer;
mod memory;
mod meter;
mod metrics;
mod options;
mod room;
mod source;
mod target;
mod team;
mod wakeup;
mod worker;

use std::io;
use std::time::Duration;

use clock::Clock;
use dialer::Dialer;
use memory::Memory;
use team::{Order, Team};
use worker::{Waits, Worker};

pub use options::Options;
pub use room::Room;
pub use source::{ParseSourceError, Source};

use super::machine::record::{Outcomes, Record};
use super::machine::schedule::{Plan, Stage};
use super::machine::share::Share;
use crate::error::explain;
use crate::reactor::deadlines::Moment;
use crate::server::guest::Guest;
use crate::server::signals::{APART, Signals};

/// A run.
pub struct Load {
    plan: Plan,
    /// The share of the calling thread.
    worker: Worker,
    /// The other threads.
    team: Team,
    signals: Option<Signals>,
    room: Room,
    ended: Option<Duration>,
    /// The sum of all records, as it was when it was gathered last.
    gathered: Option<Record>,
    /// When an endless run was told to stop.
    stopped: Option<Moment>,
    /// The signal that cut the run short.
    signal: Option<i32>,
    /// What answers scrapers.
    metrics: Option<Box<dyn Guest>>,
}

/// While it lives, the signals of a [`Load`] that has been [finished](Load::finish) are caught.
#[derive(Debug)]
pub struct Caught(#[allow(dead_code, reason = "it is there to be dropped")] Option<Signals>);

impl Load {
    /// Resolves the targets and gets ready. Nothing is sent before the first [turn](Self::turn).
    ///
    /// # Errors
    /// One line: a target does not resolve, sources overlap, no descriptor is left, there is too little
    /// memory, or the plan needs more connections than there is [room](Self::room) for.
    pub fn new(options: Options) -> io::Result<Self> {
        let dialer = Dialer::new(&options)?;
        let clock = Clock::start();
        let threads = options.threads.min(options.plan.most_threads());
        let memory = Memory::of(threads, dialer.names().count(), options.compare);
        memory.check(threads)?;
        let workers = Share::all(threads).map(|share| Worker::new(&options, &dialer, share, clock));
        let mut workers = workers.collect::<io::Result<Vec<_>>>()?;
        let metrics = options.metrics.as_ref();
        let metrics = metrics.map(|address| metrics::serve(address, &mut workers));
        let metrics = metrics.transpose()?;
        let kept_back = metrics.as_deref().map_or(0, metrics::descriptors);
        let mut worker = workers.remove(0); // there is at least one share
        let mut team = Team::new(&worker, workers)?;
        // Found once, when all threads have their descriptors. What is reserved for the tables is not
        // there to be found again.
        let (room, needed) = (
            worker.clients.room(kept_back, memory.later)?,
            options.plan.needs(),
        );
        if needed > room.connections {
            return Err(io::Error::other(format!("{room}; {needed} are needed")));
        }
        worker.clients.reserve(room.connections);
        team.reserve(room.connections);
        Ok(Self {
            plan: options.plan,
            worker,
            team,
            signals: None,
            room,
            ended: None,
            gathered: None,
            stopped: None,
            signal: None,
            metrics,
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
        let caught = Signals::catch(self.worker.poll.registry());
        self.signals = Some(caught.map_err(|e| explain("cannot catch signals", &e))?);
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
        self.plan.may_need() > self.room.connections
    }

    /// What the run has measured so far, or since its record was [cut](Self::cut). While it has several
    /// threads, this is as it was when it was [gathered](Self::gather) last; before that, it is the part
    /// of the calling thread.
    #[must_use]
    pub fn record(&self) -> &Record {
        self.gathered
            .as_ref()
            .unwrap_or_else(|| self.worker.record())
    }

    /// Brings the [record](Self::record) up to date. With several threads this takes some
    /// milliseconds, because each of them copies its part. With one thread it does nothing.
    pub fn gather(&mut self) {
        if !self.team.is_empty() && self.ended.is_none() {
            let mut sum = self.worker.record().clone();
            self.team.gather(&mut sum);
            self.gathered = Some(sum);
        }
    }

    /// What has become of the connections so far, as each thread has reported within the last 100
    /// ms.
    #[must_use]
    pub fn outcomes(&self) -> Outcomes {
        let mut sum = self.worker.record().outcomes.clone();
        if self.ended.is_none() {
            self.team
                .statuses()
                .for_each(|status| sum.add(&status.outcomes));
        }
        sum
    }

    /// What the run has measured, without a copy: a run never lacks memory for its report. Signals are
    /// caught as before while the other value lives.
    #[must_use]
    pub fn finish(self) -> (Record, Caught) {
        (self.worker.clients.record, Caught(self.signals))
    }

    /// How long the run has taken, so far or in all.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.ended
            .unwrap_or_else(|| self.worker.clients.clock.elapsed())
    }

    /// What the run is doing.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.worker.stage()
    }

    /// How much of the [stage](Self::stage) is done, from 0 to 1.
    #[must_use]
    pub fn progress(&self) -> f64 {
        let (mut sum, mut threads) = (self.worker.progress(), 1.0);
        for status in self.team.statuses() {
            sum += status.progress;
            threads += 1.0;
        }
        sum / threads
    }

    /// Whether a signal or an error has ended the run.
    #[must_use]
    pub fn is_cut_short(&self) -> bool {
        self.worker.schedule.is_cut_short()
    }

    /// The signal that has cut the run short, if one did.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        self.signal
    }

    /// One turn: begins what is due, waits for events, at most for `timeout`, and handles them.
    /// Returns whether there is more to do. The first turn starts the other threads, if the run has
    /// several, and the last one waits for their end. After the last turn, if signals are
    /// [caught](Self::catch_signals), the next SIGINT or SIGTERM ends the process.
    ///
    /// # Errors
    /// The poll or the metrics' listener is broken, no descriptor is left, a thread cannot be started, a
    /// source is not an address of this machine, or every target of a run without a duration has refused
    /// for a minute. The run is cut short then, in all threads. What is wrong with one connection is in the
    /// [record](Self::record).
    pub fn turn(&mut self, timeout: Duration) -> io::Result<bool> {
        if self.ended.is_some() {
            return Ok(false);
        }
        let mut turned = self.advance(timeout);
        if turned.is_err() {
            self.cut_short();
        }
        if self.worker.stage() == Stage::Over {
            turned = turned.and(self.end());
        } else {
            self.worker.mark();
        }
        turned.map(|()| self.ended.is_none())
    }

    fn advance(&mut self, timeout: Duration) -> io::Result<()> {
        self.team.start()?;
        let waits = loop {
            let waits = self.worker.begin()?;
            let is_over = matches!(waits, Waits::ForOthers);
            if !is_over || !self.team.has_ended(self.worker.stage()) {
                break waits;
            }
            self.begin_stage();
        };
        if self.worker.stage() == Stage::Over {
            return Ok(());
        }
        let signals = self.signals.as_ref().and_then(Signals::alarm);
        let metrics = self.metrics.as_ref().and_then(|metrics| metrics.alarm());
        let alarm = [signals, metrics].into_iter().flatten().min();
        let interrupted = self.worker.wait(&waits, alarm, timeout)?;
        if self.team.hear() {
            self.cut_short(); // one of them has met an error
        }
        self.handle_signals(interrupted);
        let now = self.worker.now();
        match &mut self.metrics {
            Some(metrics) => metrics.turn(&self.worker.events, now),
            None => Ok(()),
        }
    }

    /// Begins the next stage in all threads, as the present one is over in all of them.
    fn begin_stage(&mut self) {
        let now = self.worker.now();
        self.team.tell(Order::Advance(now));
        self.worker.advance(now);
    }

    /// Ends the run in the next turn, as a signal does.
    pub fn cut_short(&mut self) {
        let now = self.worker.now();
        self.team.tell(Order::CutShort(now));
        self.worker.schedule.cut_short(now);
    }

    fn handle_signals(&mut self, interrupted: bool) {
        let now = self.worker.now();
        let Some(signals) = &mut self.signals else {
            return;
        };
        for request in signals.hear(interrupted, &self.worker.events, now) {
            let Some(signal) = request.ends() else {
                continue;
            };
            let is_endless = self.plan.is_endless();
            let stopped = is_endless.then(|| *self.stopped.get_or_insert(now));
            if stopped.is_some_and(|stopped| stopped.until(now) < APART) {
                signals.hear_more();
                self.team.tell(Order::Stop(now));
                self.worker.schedule.stop(now);
            } else {
                self.signal.get_or_insert(signal);
                self.team.tell(Order::CutShort(now));
                self.worker.schedule.cut_short(now);
            }
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.worker.end();
        let ended = self.team.end(&mut self.worker.clients.record);
        self.gathered = None;
        self.ended = Some(self.worker.clients.clock.elapsed());
        if let Some(signals) = &mut self.signals {
            let (clock, worker) = (self.worker.clients.clock, &mut self.worker);
            signals.stop_hearing(&mut worker.poll, &mut worker.events, || clock.now());
        }
        ended
    }
}
