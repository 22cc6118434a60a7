//! When to accept and when to pause.
//!
//! An error of accept4(2) concerns one connection, a resource of the whole system, or the listener
//! itself. Only the last ends the server. After the first the next connection is taken at once. In
//! doubt the server pauses, because a pause always ends.

use std::fmt;
use std::io;
use std::time::Duration;

use super::deadlines::Moment;

/// What to do after an accept(2) that brought no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The queue is empty: the next connection will make an edge.
    Drained,
    /// This one connection is lost: take the next.
    Next,
    /// A resource is used up, or the error is unknown: pause.
    Pause,
    /// The listener does not listen any more.
    Fatal,
}

impl Verdict {
    /// Judges the error of an accept(2) by errno, as most of them have no stable [`io::ErrorKind`].
    /// A system may judge some differently ([`System::judge`](super::System::judge)).
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::WouldBlock {
            return Self::Drained;
        }
        match error.raw_os_error() {
            // The connection was gone before it was taken; a firewall refused it (EPERM); or the
            // network has an error that Linux reports on the new socket: "treat them like EAGAIN"
            // (accept(2)).
            Some(
                libc::EINTR
                | libc::ECONNABORTED
                | libc::ECONNRESET
                | libc::EPERM
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::ETIMEDOUT,
            ) => Self::Next,
            Some(libc::EBADF | libc::ENOTSOCK | libc::EINVAL) => Self::Fatal,
            // EMFILE, ENFILE, ENOBUFS, ENOMEM, and errors of kernels to come.
            _ => Self::Pause,
        }
    }
}

/// How long a pause lasts if no descriptor of ours becomes free. It bounds how long a client waits
/// when another process caused the shortage, at the price of ten wake-ups a second.
const RETRY: Duration = Duration::from_millis(100);

/// How often a shortage may be logged.
const LOG_AGAIN: Duration = Duration::from_secs(1);

/// Whether the server accepts at present.
///
/// The kernel keeps the connections that wait meanwhile, but their edge is lost. So the reactor
/// re-arms every listener when the gate [reopens](Self::reopen).
#[derive(Debug, Default)]
pub(super) enum Gate {
    #[default]
    Open,
    /// Until one of our connections is closed.
    Full,
    /// Until then, or until one of our descriptors becomes free.
    Paused(Moment),
}

impl Gate {
    /// Whether accepting may succeed.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// When to try again. `None` if it is open, or if time alone does not open it.
    pub(super) fn reopens_at(&self) -> Option<Moment> {
        match self {
            Self::Open | Self::Full => None,
            Self::Paused(until) => Some(*until),
        }
    }

    /// A resource is used up: no accepting until [`RETRY`] is over or [`release`](Self::release) is
    /// called.
    pub(super) fn pause(&mut self, now: Moment) {
        *self = Self::Paused(now.after(RETRY));
    }

    /// There are as many connections as there may be: no accepting until [`release`](Self::release)
    /// is called.
    pub(super) fn fill(&mut self) {
        *self = Self::Full;
    }

    /// A connection was closed. If the gate is not open, it opens in this turn.
    pub(super) fn release(&mut self, now: Moment) {
        if !self.is_open() {
            *self = Self::Paused(now); // a pause that is over now
        }
    }

    /// A descriptor became free that belonged to none of our connections. The gate opens, unless
    /// there are as many connections as there may be.
    pub(super) fn release_descriptor(&mut self, now: Moment) {
        if let Self::Paused(until) = self {
            *until = now;
        }
    }

    /// Opens the gate if it is time to. Returns whether it did.
    pub(super) fn reopen(&mut self, now: Moment) -> bool {
        let due = matches!(self, Self::Paused(until) if *until <= now);
        if due {
            *self = Self::Open;
        }
        due
    }
}

/// Allows a log line about a shortage of any kind at most once every [`LOG_AGAIN`], and counts the
/// others.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    last: Option<Moment>,
    suppressed: u64,
}

impl Throttle {
    /// Whether this line may go into the log.
    pub(super) fn admit(&mut self, now: Moment) -> Option<Suppressed> {
        if self.last.is_some_and(|last| now < last.after(LOG_AGAIN)) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(Suppressed(std::mem::take(&mut self.suppressed)))
    }
}

/// How many lines were not logged since the last one: the end of the line that is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Suppressed(u64);

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            n => write!(f, " ({n} more suppressed)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errno_has_a_verdict_and_only_a_broken_listener_is_fatal() {
        use Verdict::{Drained, Fatal, Next, Pause};
        let named = [
            (libc::EAGAIN, Drained),
            (libc::EINTR, Next),
            (libc::ECONNABORTED, Next),
            (libc::EPROTO, Next),
            (libc::EPERM, Next),
            (libc::ENETDOWN, Next),
            (libc::EHOSTUNREACH, Next),
            (libc::EMFILE, Pause),
            (libc::ENFILE, Pause),
            (libc::ENOBUFS, Pause),
            (libc::ENOMEM, Pause),
            (libc::EBADF, Fatal),
            (libc::ENOTSOCK, Fatal),
            (libc::EINVAL, Fatal),
        ];
        for (errno, verdict) in named {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(Verdict::of(&error), verdict, "{error}");
        }
        let fatal = (1..4096).filter(|e| Verdict::of(&io::Error::from_raw_os_error(*e)) == Fatal);
        assert_eq!(fatal.count(), 3, "an unknown errno is survived");
    }

    #[test]
    fn the_gate_pauses_and_always_comes_back() {
        let mut gate = Gate::default();
        assert!(gate.is_open() && gate.reopens_at().is_none());
        gate.release(at(0));
        assert!(!gate.reopen(at(0)), "an open gate does not open");

        gate.pause(at(0));
        assert_eq!(gate.reopens_at(), Some(at(100)));
        assert!(!gate.reopen(at(99)) && !gate.is_open());
        assert!(gate.reopen(at(100)) && gate.is_open());

        gate.pause(at(500));
        gate.release(at(501));
        assert!(gate.reopen(at(501)), "a descriptor of ours came free");

        gate.fill();
        assert!(!gate.reopen(at(9999)) && gate.reopens_at().is_none());
        gate.release_descriptor(at(9999));
        assert!(!gate.reopen(at(9999)), "it was no client's");
        gate.release(at(9999));
        assert!(gate.reopen(at(9999)) && gate.is_open(), "a client left");

        gate.pause(at(10_000));
        gate.release_descriptor(at(10_001));
        assert!(gate.reopen(at(10_001)), "whose it was is no matter");
    }

    #[test]
    fn a_shortage_is_logged_once_a_second() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.admit(at(0)), Some(Suppressed(0)));
        assert_eq!(throttle.admit(at(1)), None);
        assert_eq!(throttle.admit(at(999)), None);
        let suppressed = throttle.admit(at(1000)).unwrap();
        assert_eq!(suppressed.to_string(), " (2 more suppressed)");
        assert_eq!(throttle.admit(at(2000)).unwrap().to_string(), "");
    }

    fn at(ms: u64) -> Moment {
        Moment::START.after(Duration::from_millis(ms))
    }
}
