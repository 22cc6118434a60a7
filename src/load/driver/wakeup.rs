//! Wakes the poll to the microsecond. The poll's own timeout is rounded up to the next millisecond,
//! so an open loop would begin each exchange half a millisecond late on average.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::reactor::deadlines::Moment;

/// The token of the timer: a key that no slab hands out.
const TOKEN: Token = Token(usize::MAX - 1);

/// A kernel timer (timerfd_create(2)) that wakes the poll.
#[derive(Debug)]
pub(super) struct Wakeup {
    timer: TimerFd,
    set_for: Option<Moment>,
}

impl Wakeup {
    pub(super) fn new(registry: &Registry) -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let descriptor = std::os::fd::AsFd::as_fd(&timer).as_raw_fd();
        SourceFd(&descriptor).register(registry, TOKEN, Interest::READABLE)?;
        let set_for = None;
        Ok(Self { timer, set_for })
    }

    /// Wakes the poll at this moment. The timer's count need not be read: setting the timer resets
    /// the count, so the next expiry is a new edge.
    pub(super) fn set(&mut self, at: Moment, now: Moment) -> io::Result<()> {
        if self.set_for == Some(at) {
            return Ok(());
        }
        // A wait of zero would disarm the timer.
        let wait = now.until(at).max(Duration::from_nanos(1));
        let once = Expiration::OneShot(TimeSpec::from_duration(wait));
        self.timer.set(once, TimerSetTimeFlags::empty())?;
        self.set_for = Some(at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use mio::{Events, Poll};

    use super::*;

    #[test]
    fn it_wakes_the_poll_each_time_and_not_before_its_time() {
        let mut poll = Poll::new().unwrap();
        let mut wakeup = Wakeup::new(poll.registry()).unwrap();
        let mut events = Events::with_capacity(4);
        let start = Instant::now();
        let now = || Moment::new(start, Instant::now());
        for micros in [0, 1, 300, 5_000, 200] {
            let at = now().after(Duration::from_micros(micros));
            wakeup.set(at, now()).unwrap();
            wakeup.set(at, now()).unwrap();
            poll.poll(&mut events, Some(Duration::from_secs(60)))
                .unwrap();
            assert_eq!(events.iter().count(), 1, "after {micros} µs");
            assert!(now() >= at, "after {micros} µs");
        }
        let nothing = poll.poll(&mut events, Some(Duration::ZERO));
        assert!(nothing.is_ok() && events.is_empty(), "once each");
    }
}
