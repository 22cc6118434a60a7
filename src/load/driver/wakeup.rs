//! Wakes the poll to the microsecond. epoll's own timeout is rounded up to the next millisecond, so an
//! open loop would begin each exchange half a millisecond late on average.

use std::io;

use mio::{Registry, Token};

use crate::reactor::deadlines::Moment;
use crate::server::system::Timer;

/// The token of the timer: a key that no slab hands out.
const TOKEN: Token = Token(usize::MAX - 1);

/// A kernel timer that wakes the poll, where one is needed for that.
#[derive(Debug)]
pub(super) struct Wakeup {
    timer: Timer,
    set_for: Option<Moment>,
}

impl Wakeup {
    pub(super) fn new(registry: &Registry) -> io::Result<Self> {
        let timer = Timer::new(registry, TOKEN)?;
        let set_for = None;
        Ok(Self { timer, set_for })
    }

    /// Wakes the poll at this moment. Returns the moment if the poll's own timeout has to do that.
    pub(super) fn set(&mut self, at: Moment, now: Moment) -> io::Result<Option<Moment>> {
        if self.set_for == Some(at) {
            return Ok(None);
        }
        if !self.timer.set(now.until(at))? {
            return Ok(Some(at));
        }
        self.set_for = Some(at);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

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
