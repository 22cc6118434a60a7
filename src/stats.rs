//! The books: what became of every connection.

use std::fmt;

pub use crate::connection::Bytes;
use crate::connection::Reason;
use crate::deadlines::Kind;
use crate::session::End;

/// Counts since the server was bound. They balance: every connection that was accepted is open or
/// closed for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections taken from a listener.
    pub accepted: u64,
    /// Closed after the whole echo: the client's FIN came, or `linger` is zero.
    pub echoed: u64,
    /// Closed because the client's FIN came instead of a message.
    pub left_early: u64,
    /// Ended by the client's reset, or because it was gone when something was sent.
    pub reset: u64,
    /// Ended by another error of the socket, or because the poll had no room for it.
    pub failed: u64,
    /// Closed because the echo was not out by [`Config::timeout`](crate::Config::timeout).
    pub timed_out: u64,
    /// Closed after the whole echo because the client's FIN had not come by
    /// [`Config::linger`](crate::Config::linger), or by the end of a shutdown's grace.
    pub lingering_cut: u64,
    /// Closed before the whole echo because the server shut down and
    /// [`Config::grace`](crate::Config::grace) was over.
    pub shut_down: u64,
    /// Failures of accept4(2), of one connection or of the whole system; no connection came of them.
    pub accept_errors: u64,
    /// How often accepting paused, for want of a resource.
    pub pauses: u64,
    /// What clients sent and were sent.
    pub bytes: Bytes,
    /// As many clients as there may be at once; no count.
    pub capacity: u64,
}

impl Stats {
    /// Connections that are accepted and not closed.
    #[must_use]
    pub fn open(&self) -> u64 {
        let closed = self.closed().map(|(_, count)| count).sum();
        self.accepted.saturating_sub(closed)
    }

    /// How many were closed, by reason.
    pub fn closed(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let counts = [
            ("echoed", self.echoed),
            ("left early", self.left_early),
            ("reset", self.reset),
            ("failed", self.failed),
            ("timed out", self.timed_out),
            ("lingering cut", self.lingering_cut),
            ("shut down", self.shut_down),
        ];
        counts.into_iter()
    }

    pub(crate) fn count_closed(&mut self, reason: &Reason) {
        let count = match reason {
            Reason::Ended(End::Echoed) => &mut self.echoed,
            Reason::Ended(End::LeftEarly) => &mut self.left_early,
            Reason::Reset(_) => &mut self.reset,
            Reason::Failed(_) => &mut self.failed,
            Reason::Expired(Kind::Echo) => &mut self.timed_out,
            Reason::Expired(Kind::Linger) => &mut self.lingering_cut,
            Reason::ShutDown => &mut self.shut_down,
        };
        *count += 1;
    }
}

/// One line, an equation that a script can check:
/// `accepted 7 = open 1 + echoed 5 + left early 1 + ...; accept errors 0, pauses 0`.
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
    use super::*;

    #[test]
    fn the_line_is_an_equation() {
        let mut stats = Stats {
            accepted: 9,
            ..Stats::default()
        };
        let reasons = [
            Reason::Ended(End::Echoed),
            Reason::Ended(End::LeftEarly),
            Reason::from(std::io::Error::from_raw_os_error(libc::ECONNRESET)),
            Reason::from(std::io::Error::from_raw_os_error(libc::EIO)),
            Reason::Expired(Kind::Echo),
            Reason::Expired(Kind::Linger),
            Reason::ShutDown,
        ];
        reasons.iter().for_each(|reason| stats.count_closed(reason));
        assert_eq!(
            stats.to_string(),
            "accepted 9 = open 2 + echoed 1 + left early 1 + reset 1 + failed 1 + timed out 1 \
             + lingering cut 1 + shut down 1; accept errors 0, pauses 0"
        );
    }
}
