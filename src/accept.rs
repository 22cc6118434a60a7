//! When to accept and when to pause.
//!
//! An error of accept4(2) speaks of one connection, of what the whole system has left, or of the
//! listener itself. Only the last ends the server: the first goes on to the next connection at
//! once, and what is in doubt pauses, because a pause always ends.

use std::io;
use std::time::Duration;

use crate::deadlines::Moment;

/// What to do after an accept4 that brought no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The queue is empty: the next connection will make an edge.
    Drained,
    /// That one connection is lost: take the next.
    Next,
    /// A resource is exhausted, or nobody knows: shut the gate.
    Pause,
    /// The listener is no listener any more.
    Fatal,
}

/// Judges the error of an accept4, by errno: most of them have no stable [`io::ErrorKind`].
pub(crate) fn judge(error: &io::Error) -> Verdict {
    if error.kind() == io::ErrorKind::WouldBlock {
        return Verdict::Drained;
    }
    match error.raw_os_error() {
        // A connection that is gone before it was taken; a firewall's no (EPERM); the errors that
        // Linux reports for the new socket's network, "treat them like EAGAIN" (accept(2)).
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
            | libc::ENONET
            | libc::EOPNOTSUPP
            | libc::ETIMEDOUT,
        ) => Verdict::Next,
        Some(libc::EBADF | libc::ENOTSOCK | libc::EINVAL) => Verdict::Fatal,
        // EMFILE, ENFILE, ENOBUFS, ENOMEM, and whatever a kernel to come may think of.
        _ => Verdict::Pause,
    }
}

/// How long the gate stays shut if nothing of ours comes free before. Bounds how long a client
/// waits when the shortage was somebody else's, at ten wake-ups a second.
const RETRY: Duration = Duration::from_millis(100);

/// How often a shortage is worth a line in the log.
const LOG_AGAIN: Duration = Duration::from_secs(1);

/// Whether the server accepts at present.
///
/// The kernel keeps the connections that wait meanwhile, and their edge is lost; so whoever finds
/// the gate [reopened](Self::reopen) re-arms every listener.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    shut_until: Option<Moment>,
    last_logged: Option<Moment>,
}

impl Gate {
    /// Whether accepting makes sense.
    pub(crate) fn is_open(&self) -> bool {
        self.shut_until.is_none()
    }

    /// When to try again, `None` if it is open.
    pub(crate) fn reopens_at(&self) -> Option<Moment> {
        self.shut_until
    }

    /// Pauses accepting, until [`RETRY`] is over or [`release`](Self::release) is called. Returns
    /// whether that is to be logged: at most once every [`LOG_AGAIN`], however often it shuts.
    pub(crate) fn shut(&mut self, now: Moment) -> bool {
        self.shut_until = Some(now.after(RETRY));
        let log = self
            .last_logged
            .is_none_or(|last| last.after(LOG_AGAIN) <= now);
        if log {
            self.last_logged = Some(now);
        }
        log
    }

    /// One of our descriptors came free: if the gate is shut, it may open in this very turn.
    pub(crate) fn release(&mut self, now: Moment) {
        if self.shut_until.is_some() {
            self.shut_until = Some(now);
        }
    }

    /// Opens the gate if it is time to. Returns whether it did.
    pub(crate) fn reopen(&mut self, now: Moment) -> bool {
        let due = self.shut_until.is_some_and(|until| until <= now);
        if due {
            self.shut_until = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

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
            assert_eq!(judge(&error), verdict, "{error}");
        }
        let fatal = (1..4096).filter(|e| judge(&io::Error::from_raw_os_error(*e)) == Fatal);
        assert_eq!(fatal.count(), 3, "an unknown errno is survived");
    }

    #[test]
    fn the_gate_shuts_and_always_comes_back() {
        let start = Instant::now();
        let at = |ms| Moment::new(start, start + Duration::from_millis(ms));
        let mut gate = Gate::default();
        assert!(gate.is_open() && gate.reopens_at().is_none());
        gate.release(at(0));
        assert!(!gate.reopen(at(0)), "an open gate does not open");

        assert!(gate.shut(at(0)), "the first time is said");
        assert_eq!(gate.reopens_at(), Some(at(100)));
        assert!(!gate.reopen(at(99)) && !gate.is_open());
        assert!(gate.reopen(at(100)) && gate.is_open());

        assert!(!gate.shut(at(500)), "not again within a second");
        gate.release(at(501));
        assert!(gate.reopen(at(501)), "a descriptor of ours came free");
        assert!(gate.shut(at(1000)), "after a second it is");
    }
}
