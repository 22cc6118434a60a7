//! The counters: what became of every connection.

use std::fmt;

pub use super::calls::Bytes;
use super::calls::Reason;
use crate::protocol::{End, MAX_ENDS};

/// Counts since the server was bound. They balance: every connection that was accepted is open, or
/// closed for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections taken from a listener.
    pub accepted: u64,
    /// How many ended in each of the protocol's own ways, with the names of these.
    ends: [u64; MAX_ENDS],
    names: &'static [&'static str],
    /// Closed because the peer's FIN came while the protocol waited for bytes.
    pub left_early: u64,
    /// Ended by the peer's reset, or because the peer had gone when something was sent.
    pub reset: u64,
    /// Ended by another error of the socket, or because the poll had no room for it.
    pub failed: u64,
    /// Closed because a deadline of the protocol was over.
    pub timed_out: u64,
    /// Closed after the protocol had ended, because the peer's FIN did not come within
    /// [`Rules::linger`](super::Rules::linger), or before the end of a shutdown's grace.
    pub lingering_cut: u64,
    /// Closed before the protocol had ended, because the server shut down and
    /// [`Rules::grace`](super::Rules::grace) was over.
    pub shut_down: u64,
    /// Closed because there were too many, where the [oldest leaves](super::Full::OldestLeaves).
    pub made_room: u64,
    /// Failures of accept4(2), of one connection or of the whole system. No connection came of
    /// them.
    pub accept_errors: u64,
    /// How often accepting paused because a resource was used up.
    pub pauses: u64,
    /// Bytes received from peers and sent to them.
    pub bytes: Bytes,
    /// Bytes on the heap that peers have not taken yet, at present. This is no count, and leaves
    /// out what the kernel keeps in its socket buffers.
    pub kept: u64,
    /// The most connections at once. This is no count.
    pub capacity: u64,
}

impl Stats {
    pub(super) fn new(names: &'static [&'static str]) -> Self {
        Self {
            names,
            ..Self::default()
        }
    }

    /// Connections that are accepted and not closed.
    #[must_use]
    pub fn open(&self) -> u64 {
        let closed = self.closed().map(|(_, count)| count).sum();
        self.accepted.saturating_sub(closed)
    }

    /// How many were closed, by reason; the protocol's own ends come first. A connection makes room
    /// only under a rule that few servers have, so this reason is missing until it is counted.
    pub fn closed(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let ends = self.names.iter().copied().zip(self.ends);
        let others = [
            ("left early", self.left_early),
            ("reset", self.reset),
            ("failed", self.failed),
            ("timed out", self.timed_out),
            ("lingering cut", self.lingering_cut),
            ("shut down", self.shut_down),
        ];
        let made_room = Some(("made room", self.made_room)).filter(|(_, count)| *count > 0);
        ends.chain(others).chain(made_room)
    }

    /// How many ended in this way of the protocol's own.
    #[must_use]
    pub fn ended(&self, end: End) -> u64 {
        self.ends.get(usize::from(end.0)).copied().unwrap_or(0)
    }

    pub(super) fn count_closed(&mut self, reason: &Reason) {
        let count = match reason {
            // An end without a name is not in the sum either.
            Reason::Ended(end) if usize::from(end.0) < self.names.len() => {
                &mut self.ends[usize::from(end.0)]
            }
            Reason::Ended(_) | Reason::Failed(_) => &mut self.failed,
            Reason::LeftEarly => &mut self.left_early,
            Reason::Reset(_) => &mut self.reset,
            Reason::TimedOut => &mut self.timed_out,
            Reason::LingeringCut => &mut self.lingering_cut,
            Reason::ShutDown => &mut self.shut_down,
            Reason::MadeRoom => &mut self.made_room,
        };
        *count += 1;
    }
}

/// One line, an equation that a script can check: `accepted 7 = open 1 + echoed 5 + left early 1 +
/// ...; accept errors 0, pauses 0`.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "accepted {} = open {}", self.accepted, self.open())?;
        for (reason, count) in self.closed() {
            write!(f, " + {reason} {count}")?;
        }
        let (errors, pauses) = (self.accept_errors, self.pauses);
        write!(f, "; accept errors {errors}, pauses {pauses}")
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn the_line_is_an_equation() {
        let mut stats = Stats::new(&["echoed", "fed up"]);
        stats.accepted = 11;
        let failed = || io::Error::from_raw_os_error(libc::EIO);
        let reasons = [
            Reason::Ended(End(0)),
            Reason::Ended(End(2)), // one that the protocol has not named
            Reason::LeftEarly,
            Reason::Reset(failed()),
            Reason::Failed(failed()),
            Reason::TimedOut,
            Reason::LingeringCut,
            Reason::ShutDown,
        ];
        reasons.iter().for_each(|reason| stats.count_closed(reason));
        assert_eq!(
            stats.to_string(),
            "accepted 11 = open 3 + echoed 1 + fed up 0 + left early 1 + reset 1 + failed 2 \
             + timed out 1 + lingering cut 1 + shut down 1; accept errors 0, pauses 0"
        );
        stats.count_closed(&Reason::MadeRoom);
        assert!(stats.to_string().contains(" + shut down 1 + made room 1; "));
        assert_eq!([0, 1, 2].map(|end| stats.ended(End(end))), [1, 0, 0]);
    }
}
