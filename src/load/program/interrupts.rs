//! The signals that end a search. They are caught over all its windows, so none is lost between two.

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use crate::error::explain;
use crate::reactor::deadlines::Moment;
use crate::server::signals::Signals;

/// One signal wakes the poll, however many have come.
const EVENTS: usize = 1;

pub(super) struct Interrupts {
    poll: Poll,
    events: Events,
    signals: Signals,
    start: Instant,
    signal: Option<i32>,
}

impl Interrupts {
    /// Catches SIGINT, SIGTERM and SIGHUP, as [`Load::catch_signals`](crate::load::Load) does.
    pub(super) fn catch() -> io::Result<Self> {
        let poll = Poll::new().map_err(|e| explain("cannot make a poll", &e))?;
        let signals = Signals::catch(poll.registry());
        Ok(Self {
            signals: signals.map_err(|e| explain("cannot catch signals", &e))?,
            poll,
            events: Events::with_capacity(EVENTS),
            start: Instant::now(),
            signal: None,
        })
    }

    /// The first signal that has come. Waits for one, but not for longer than this.
    pub(super) fn wait(&mut self, timeout: Duration) -> io::Result<Option<i32>> {
        let interrupted = match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => true,
            polled => polled.map(|()| false)?,
        };
        self.hear(interrupted);
        Ok(self.signal)
    }

    pub(super) fn signal(&self) -> Option<i32> {
        self.signal
    }

    fn hear(&mut self, interrupted: bool) {
        let now = Moment::new(self.start, Instant::now());
        for request in self.signals.hear(interrupted, &self.events, now) {
            self.signal = self.signal.or(request.ends());
        }
    }

    /// From here on a signal ends the process.
    pub(super) fn stop(&mut self) {
        let (start, events) = (self.start, &mut self.events);
        let now = || Moment::new(start, Instant::now());
        self.signals.stop_hearing(&mut self.poll, events, now);
    }
}
