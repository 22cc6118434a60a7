//! The seam between a protocol and whatever drives it: [`Protocol`] and [`Want`].
//!
//! A protocol here is a state machine for one connection, without a socket and without a clock. It
//! says what it wants done next; the driver does it and reports how much was done. So a test only
//! calls it, and the same machine runs over sockets ([`Server`](crate::Server)), in the crate's
//! simulation and in a fuzzer.
//!
//! [`hello`] is the first protocol, the metrics' is the second. Your own protocol can do all that
//! these two can.

pub mod hello;
#[cfg(any(test, feature = "metrics"))]
pub mod scrape;
mod unsent;

use std::time::Duration;

pub use unsent::Unsent;

/// The state of one connection, and what it wants done next.
///
/// # The order of calls
///
/// 1. The driver calls [`open`](Self::open) when it has accepted a connection.
/// 2. It calls [`want`](Self::want), does what the answer says, and reports it:
///
///    | wanted | done | then |
///    |---|---|---|
///    | [`Want::Send`], [`Want::SendLast`], [`Want::Stream`] | `n` bytes are in the kernel's hands | [`handle_sent(n)`](Self::handle_sent) |
///    | [`Want::Receive`] | some bytes arrived | [`handle_received(bytes)`](Self::handle_received) |
///    | [`Want::Receive`], [`Want::Stream`] | the peer has sent its FIN | [`handle_fin()`](Self::handle_fin) |
///    | [`Want::Close`] | the lingering close begins | nothing: the protocol is dropped |
///
///    Then it calls `want` again, at once or when the socket is ready.
/// 3. Before it serves another connection it calls [`keep`](Self::keep), because all connections
///    share one scratch buffer, into which bytes are received.
///
/// # What each side may assume
///
/// - The driver calls `want` and `deadline` as often as it likes. Their answers may change only in
///   this connection's own `handle_*` calls: not in `keep`, and not when another connection changes
///   what is shared. Otherwise the connection may wait for ever. So one connection cannot push
///   anything to another.
/// - The driver reports bytes in order, each byte once. `n` is at least 1 and at most what was
///   offered. A send may be cut anywhere, and a receive may bring any number of bytes: TCP has no
///   messages.
/// - The driver does not receive while the protocol wants to send. So it does not read from a peer
///   that does not read. [`Want::Stream`] is the exception.
/// - The driver handles errors, resets, deadlines and the shutdown. It may drop the protocol in any
///   state, and does not tell it why. So a protocol cannot send a last word when its time is over.
/// - After `Close` the driver sends a FIN, discards what the peer still sends until the peer's own
///   FIN, and closes. This lingering close keeps a reset from destroying what was sent. It lasts at
///   most [`Config::linger`](crate::Config::linger).
///
/// # Example
///
/// The time of day (RFC 867): one line, then the end. The clock is part of what is shared, so a
/// test can set it.
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
///
/// # Messages in pieces
///
/// A receive may bring half a line, or two. So a protocol collects what has arrived, and limits how
/// much that is. This is finger (RFC 1288):
///
/// ```
/// # mod finger {
#[doc = include_str!("../../tests/protocols/finger.rs")]
/// # }
/// # mod talk {
#[doc = include_str!("../../tests/protocols/talk.rs")]
/// # }
/// // It is tested with its messages cut anywhere.
/// use finger::{Directory, Finger};
/// use talk::talk;
///
/// let mut directory: Directory = |name| format!("{name} is not here");
/// let question = b"ada\r\n";
/// for cut in 0..question.len() {
///     let (first, rest) = question.split_at(cut);
///     let (answer, end) = talk::<Finger>(&mut directory, &[first, rest]);
///     assert_eq!(answer, b"ada is not here\r\n");
///     assert_eq!(end, Some(Finger::ANSWERED));
/// }
/// ```
///
/// The function `talk` is a client without a socket, for any protocol that comes to an end. Copy it:
/// it also finds a [`keep`](Self::keep) that was forgotten.
pub trait Protocol: Sized {
    /// What all connections of the protocol share: settings, and state if there is some. It needs
    /// no lock, because there is one thread.
    type Shared;

    /// The names of the [`End`]s, as the [`Stats`](crate::Stats) and the metrics show them: lower
    /// case, words with blanks between them. At most [`MAX_ENDS`]; more do not compile.
    const ENDS: &'static [&'static str];

    /// Checks whether the protocol can be served with these settings. Default: it can.
    ///
    /// # Errors
    /// Says in words what lies outside which limits. [`Server::bind`](crate::Server::bind) fails
    /// with this text.
    fn check(shared: &Self::Shared) -> Result<(), String> {
        let _ = shared;
        Ok(())
    }

    /// Begins a new connection; nothing was sent or received on it yet. A protocol does not learn
    /// the peer's address.
    fn open(shared: &mut Self::Shared) -> Self;

    /// What to do next. `scratch` begins with the bytes of the last
    /// [`handle_received`](Self::handle_received), until [`keep`](Self::keep) is called. So a
    /// protocol can offer them to be sent without a copy.
    fn want<'a>(&'a self, shared: &'a Self::Shared, scratch: &'a [u8]) -> Want<'a>;

    /// The kernel has taken `n` of the bytes that the protocol wanted to send.
    fn handle_sent(&mut self, n: usize, shared: &mut Self::Shared);

    /// These bytes have arrived: at least one, at most [`most_received`](Self::most_received).
    fn handle_received(&mut self, received: &[u8], shared: &mut Self::Shared);

    /// The peer has sent its FIN: no more bytes will come, but the peer may still read. May be
    /// called more than once. If the protocol still wants to receive afterwards, the connection
    /// ends as "left early"; most protocols need no more than that. Default: nothing.
    fn handle_fin(&mut self, shared: &mut Self::Shared) {
        let _ = shared;
    }

    /// Others are about to use the scratch buffer: take out of it what is still needed. A protocol
    /// whose [`want`](Self::want) never looks into it has nothing to do. Default: nothing.
    fn keep(&mut self, scratch: &[u8]) {
        let _ = scratch;
    }

    /// How many bytes the protocol has on the heap now, as those that [`keep`](Self::keep) put there.
    /// The [`Stats`](crate::Stats) have the sum. Default: 0.
    fn kept(&self) -> usize {
        0
    }

    /// The most bytes that one receive may bring: the length of the scratch buffer, which all
    /// connections share. Choose it larger than a message usually is: a receive that comes back
    /// short shows that nothing is left, which saves a call. Called once. Default: 64 KiB.
    fn most_received(shared: &Self::Shared) -> usize {
        let _ = shared;
        64 << 10
    }

    /// How long the deadlines of each kind are. Zero is no deadline. If a
    /// [`deadline`](Self::deadline) asks for a kind that is not here, it gets the last one. Called
    /// once. Default: one kind, 60 s.
    fn waits(shared: &Self::Shared) -> Vec<Duration> {
        let _ = shared;
        vec![Duration::from_secs(60)]
    }

    /// The deadline that the connection has at present. It begins anew when this changes, even if
    /// it changes and changes back before the driver stops. When it is over, the connection is
    /// closed at once and counted as "timed out". The lingering close has its own deadline. Default:
    /// [`Deadline::absolute(0)`](Deadline::absolute), so a connection lasts for 60 s at most.
    ///
    /// A protocol with a time for each message, however slowly its bytes come, has two kinds of the
    /// same length. It asks for one while it receives, and for the other while it sends.
    fn deadline(&self) -> Deadline {
        Deadline::absolute(0)
    }
}

/// What a protocol wants done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want<'a> {
    /// Send some or all of these bytes. There must be at least one, or the connection fails.
    Send(&'a [u8]),
    /// Send these as the last bytes before [`Close`](Self::Close), so that the FIN can share their
    /// segment (`MSG_MORE`, send(2)). Use [`Send`](Self::Send) for bytes that others follow: the
    /// kernel may hold the last ones back for 200 ms.
    SendLast(&'a [u8]),
    /// As [`Send`](Self::Send), and discard what the peer sends meanwhile. The bytes must not be in
    /// the scratch buffer.
    Stream(&'a [u8]),
    /// Receive once into the scratch buffer.
    Receive,
    /// The protocol has ended: close the connection, after all that was sent has arrived.
    Close(End),
}

/// How a protocol ended: the index of a name in [`Protocol::ENDS`]. One without a name is counted
/// as failed.
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
    /// Lasts for the time at this index in [`Protocol::waits`], from the moment in which the
    /// connection asks for it. Traffic does not extend it.
    #[must_use]
    pub const fn absolute(kind: u8) -> Self {
        Self { kind, idle: false }
    }

    /// The same, but it begins anew with every byte that is sent or received.
    #[must_use]
    pub const fn idle(kind: u8) -> Self {
        Self { kind, idle: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A protocol that says no more than it must.
    struct Silent;

    impl Protocol for Silent {
        type Shared = ();
        const ENDS: &'static [&'static str] = &[];

        fn open((): &mut ()) -> Self {
            Self
        }

        fn want<'a>(&'a self, (): &'a (), _: &'a [u8]) -> Want<'a> {
            Want::Receive
        }

        fn handle_sent(&mut self, _: usize, (): &mut ()) {}

        fn handle_received(&mut self, _: &[u8], (): &mut ()) {}
    }

    #[test]
    fn a_protocol_has_a_deadline_and_a_buffer_without_asking() {
        assert_eq!(Silent::check(&()), Ok(()));
        assert_eq!(Silent::most_received(&()), 64 << 10);
        assert_eq!(Silent::waits(&()), [Duration::from_secs(60)]);
        assert_eq!(Silent.deadline(), Deadline::absolute(0));
        assert_eq!(Silent.kept(), 0);
    }
}
