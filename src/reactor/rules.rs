//! The rules of a reactor, whatever its protocol.

use std::time::Duration;

/// The rules of a reactor, whatever its protocol.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rules {
    /// The most connections at once, at least 1. There is room for them from the start.
    pub capacity: usize,
    /// What happens when there are more.
    pub full: Full,
    /// How long to wait for the peer's FIN after our own. Zero closes at once. Default: 2 s.
    pub linger: Duration,
    /// How long a shutdown waits for the connections. Zero does not wait. Default: 10 s.
    pub grace: Duration,
    /// How often to log the [`Stats`](super::Stats). Default: zero, never.
    pub stats: Duration,
}

impl Rules {
    /// The defaults, for so many connections.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            full: Full::NewcomersWait,
            linger: Duration::from_secs(2),
            grace: Duration::from_secs(10),
            stats: Duration::ZERO,
        }
    }
}

/// What happens when there are as many connections as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// Newcomers wait in the listener's queue, until a connection is closed.
    NewcomersWait,
    /// The oldest connection leaves: the one that has lingered longest, if one lingers; else the
    /// one that has had the first kind of the protocol's deadlines for longest, then the second,
    /// and so on. So slow peers cannot keep new ones out. Meanwhile one connection more than the
    /// capacity is open. A connection without a deadline never leaves: if all are without, the new
    /// one does.
    OldestLeaves,
}
