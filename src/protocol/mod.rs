//! The seam between a protocol and whatever drives it: [`Protocol`] and [`Want`].
//!
//! A protocol here is a state machine for one connection, without a socket and without a clock. It
//! says what it wants done next, the driver does that, and tells it how much was done. So a protocol
//! is tested by calling it, and the same machine runs over sockets
//! ([`Server`](crate::Server)), in the crate's simulation and in a fuzzer.
//!
//! [`hello`] is the first protocol, and the metrics' is the second. A protocol of one's own has the
//! same means as these two.

pub mod hello;
#[cfg(any(test, feature = "metrics"))]
pub mod scrape;
mod unsent;

use std::time::Duration;

pub use unsent::Unsent;

/// A protocol: the state of one connection, and what it does next.
///
/// # The order of calls
///
/// 1. The driver calls [`open`](Self::open) when it has accepted a connection.
/// 2. It calls [`want`](Self::want), does what that says, and reports it:
///
///    | wanted | done | then |
///    |---|---|---|
///    | [`Want::Send`], [`Want::SendLast`], [`Want::Stream`] | `n` bytes are in the kernel's hands | [`handle_sent(n)`](Self::handle_sent) |
///    | [`Want::Receive`] | some bytes arrived | [`handle_received(bytes)`](Self::handle_received) |
///    | [`Want::Receive`], [`Want::Stream`] | the peer has sent its FIN | [`handle_fin()`](Self::handle_fin) |
///    | [`Want::Close`] | the lingering close begins | nothing: the protocol is dropped |
///
///    Then it calls `want` again, at once or when the socket is ready.
/// 3. Before it serves another connection it calls [`keep`](Self::keep), because all connections share
///    one scratch buffer, into which bytes are received.
///
/// # What each side may assume
///
/// - The driver calls `want` as often as it likes. The answer, and that of `deadline`, change only in
///   this connection's own `handle_*` calls: not in `keep`, and not when another connection changes
///   what is shared. Otherwise the connection may wait for ever. So one connection cannot push
///   anything to another.
/// - The protocol is told of bytes in order, of each byte once. `n` is at least 1 and at most what was
///   offered. A send may be cut anywhere, and a receive may bring any number of bytes: TCP has no
///   messages.
/// - The driver does not receive while the protocol wants to send, so a peer that does not read is not
///   read from. [`Want::Stream`] is the exception.
/// - Errors, resets and deadlines are the driver's business. It drops the protocol in any state.
/// - After `Close` the driver sends a FIN, discards what the peer still sends until the peer's own FIN,
///   and closes: the lingering close, which keeps what was sent from being lost to a reset. It lasts at
///   most for [`Config::linger`](crate::Config::linger).
///
/// # Example
///
/// The time of day, as RFC 867 has it: one line, and the end. The clock is a part of what is shared,
/// so a test can set it.
///
/// ```
#[doc = include_str!("../../tests/protocols/daytime.rs")]
///
/// // It is tested by calling it.
/// let mut noon: Clock = || "Tuesday, February 22, 1982 12:00:00-PST".to_owned();
/// let mut client = Daytime::open(&mut noon);
/// assert_eq!(client.want(&noon, &[]), Want::SendLast(b"Tuesday, February 22, 1982 12:00:00-PST\r\n"));
/// client.handle_sent(39, &mut noon);
/// assert_eq!(client.want(&noon, &[]), Want::SendLast(b"\r\n"));
/// client.handle_sent(2, &mut noon);
/// assert_eq!(client.want(&noon, &[]), Want::Close(Daytime::TOLD));
/// ```
///
/// [`Server::bind`](crate::Server::bind) serves it.
pub trait Protocol: Sized {
    /// What all connections of the protocol share: settings, and state if there is some. There is one
    /// thread, so it needs no lock.
    type Shared;

    /// The names of the [`End`]s, at most [`MAX_ENDS`] (more do not compile), as the [`Stats`](crate::Stats) and the metrics
    /// have them: lower case, words with blanks between.
    const ENDS: &'static [&'static str];

    /// Whether it can be served with these settings.
    ///
    /// # Errors
    /// In words: what lies outside which limits. [`Server::bind`](crate::Server::bind) fails with them.
    fn check(shared: &Self::Shared) -> Result<(), String> {
        let _ = shared;
        Ok(())
    }

    /// A new connection, of which nothing was sent or received yet. A protocol is not told the peer's
    /// address.
    fn open(shared: &mut Self::Shared) -> Self;

    /// What to do next. The first bytes of `scratch` are those that the last
    /// [`handle_received`](Self::handle_received) was given, until [`keep`](Self::keep) is called: a
    /// protocol can offer them to be sent without a copy.
    fn want<'a>(&'a self, shared: &'a Self::Shared, scratch: &'a [u8]) -> Want<'a>;

    /// `n` of the bytes that the protocol wanted to send are in the kernel's hands.
    fn handle_sent(&mut self, n: usize, shared: &mut Self::Shared);

    /// These bytes have arrived, at least one and at most [`most_received`](Self::most_received).
    fn handle_received(&mut self, received: &[u8], shared: &mut Self::Shared);

    /// The peer has sent its FIN: no byte will come any more, but the peer may still read. May be
    /// called more than once. If the protocol goes on wanting to receive, the connection ends as
    /// "left early", which is all that most protocols need.
    fn handle_fin(&mut self, shared: &mut Self::Shared) {
        let _ = shared;
    }

    /// The scratch buffer is about to be used by others: take out of it what is still needed. Nothing to
    /// do for a protocol whose [`want`](Self::want) never looks into it.
    fn keep(&mut self, scratch: &[u8]) {
        let _ = scratch;
    }

    /// How many bytes [`keep`](Self::keep) has put on the heap, for as long as they are there. The
    /// [`Stats`](crate::Stats) have the sum.
    fn kept(&self) -> usize {
        0
    }

    /// The most that one receive may bring, in bytes: the length of the scratch buffer, of which there
    /// is one for all connections. Larger than a message usually is: a receive that comes back short
    /// shows that nothing is left, which saves a call. Called once.
    fn most_received(shared: &Self::Shared) -> usize {
        let _ = shared;
        64 << 10
    }

    /// How long the deadlines of each kind are. Zero is no deadline. A [`deadline`](Self::deadline) of a
    /// kind that is not here is of the last one. Called once.
    fn waits(shared: &Self::Shared) -> Vec<Duration> {
        let _ = shared;
        vec![Duration::from_secs(60)]
    }

    /// Which deadline the connection has at present. It begins anew when this changes, even if it
    /// changes and changes back before the driver stops. When it is over, the connection is closed. The lingering
    /// close has a deadline of its own.
    fn deadline(&self) -> Deadline {
        Deadline::absolute(0)
    }
}

/// What a protocol wants done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want<'a> {
    /// Send some or all of these bytes. There must be at least one, or the connection fails.
    Send(&'a [u8]),
    /// The same with the last bytes before [`Close`](Self::Close), so that the FIN can share their
    /// segment (`MSG_MORE`, send(2)). Not for bytes that something else follows: the kernel may hold
    /// them back for 200 ms.
    SendLast(&'a [u8]),
    /// Send as with [`Send`](Self::Send), and discard what the peer sends meanwhile. The bytes must not
    /// be in the scratch buffer.
    Stream(&'a [u8]),
    /// Receive once into the scratch buffer.
    Receive,
    /// The protocol has ended: close the connection. All that was sent arrives first.
    Close(End),
}

/// How a protocol ended: the place of a name in [`Protocol::ENDS`]. One without a name is counted as
/// failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End(pub u8);

/// The most names in [`Protocol::ENDS`].
pub const MAX_ENDS: usize = 8;

/// A deadline: its kind, and what makes it begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    pub(crate) kind: u8,
    pub(crate) idle: bool,
}

impl Deadline {
    /// Lasts for the wait at this place in [`Protocol::waits`], from the moment in which the
    /// connection has it. Traffic does not extend it.
    #[must_use]
    pub const fn absolute(kind: u8) -> Self {
        Self { kind, idle: false }
    }

    /// The same, but every byte that is sent or received makes it begin anew.
    #[must_use]
    pub const fn idle(kind: u8) -> Self {
        Self { kind, idle: true }
    }
}
