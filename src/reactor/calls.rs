//! The calls that a connection makes on its socket while it is driven once: what is known about the
//! socket, and how much may still be done.

use std::io;
use std::mem;

use mio::Interest;

use crate::protocol::End;

/// What a connection needs of its socket. No call blocks. The errors are those of the system calls.
pub trait Stream {
    /// As recv(2): 0 is the peer's FIN.
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Receives at most so many bytes, or [`SLICE`] if that is less, and discards them; 0 is the
    /// peer's FIN.
    fn discard(&mut self, most: usize) -> io::Result<usize>;
    /// As send(2), without SIGPIPE. With `more`, the last segment may wait for what follows.
    fn send(&mut self, bytes: &[u8], more: bool) -> io::Result<usize>;
    /// Sends a FIN after all that was sent.
    fn half_close(&mut self) -> io::Result<()>;
    /// Whether a receive that came back short has emptied the queue, unless the event said
    /// otherwise.
    fn short_is_all(&self) -> bool;
    /// Whether a half-close makes the system report what is unread, as epoll does.
    fn half_close_reports(&self) -> bool {
        true
    }
}

/// The most calls on its socket that a connection makes in one turn before the others have their
/// turn. An exchange needs three, and one more for a FIN that is there already. A connection needs
/// more only if its peer sends or reads faster than we do.
pub(super) const CALLS_PER_TURN: usize = 4;

/// The most bytes that one call discards, and the number that one call may send however small the
/// share is.
pub const SLICE: usize = 64 << 10;

/// The most bytes that a new connection sends before it is registered: more than any usual
/// greeting.
const GREETING: usize = 256 << 10;

/// What is known about a socket when its connection is driven. It is only a hint: the calls decide.
#[derive(Clone, Copy, Debug)]
pub(super) enum Readiness {
    /// The connection is new and not registered. It can send. A protocol that receives first checks
    /// whether something is here already.
    New,
    /// There was an event.
    Event {
        /// Whether more may follow a receive that comes back short: the peer's FIN, or urgent data.
        more: bool,
        /// How many bytes may be moved each way now: the connection's share of what a turn moves.
        /// At least 1.
        share: usize,
    },
}

/// Why a connection stops for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It waits, and its registration will report.
    Pending,
    /// Its registration does not cover what it waits for, or has reported it already.
    Register,
}

/// The result of a call.
pub(super) enum Called {
    /// So many bytes were moved. A receive of 0 is the FIN.
    Moved(usize),
    /// No bytes were moved: the call was interrupted.
    Nothing,
    /// No call was made, or it would have blocked.
    Stopped(Stop),
}

/// Why a connection is over.
#[derive(Debug)]
pub(super) enum Reason {
    /// The protocol ended.
    Ended(End),
    /// The peer's FIN came while the protocol waited for bytes.
    LeftEarly,
    /// The peer reset the connection, or had gone when something was sent.
    Reset(io::Error),
    /// The socket failed in another way.
    Failed(io::Error),
    /// The deadline of the protocol is over.
    TimedOut,
    /// The protocol had ended, and the peer's FIN did not come in time.
    LingeringCut,
    /// The server shuts down and does not wait any longer.
    ShutDown,
    /// There were too many connections, and this one was the oldest.
    MadeRoom,
}

impl Reason {
    /// What became of the connection, for the log. `ends` are the names of the protocol's own ends.
    pub(super) fn in_words(&self, ends: &[&str]) -> String {
        match self {
            Self::Ended(end) => match ends.get(usize::from(end.0)) {
                Some(name) => (*name).to_owned(),
                None => format!("ended in a way without a name, {end:?}"),
            },
            Self::LeftEarly => "left early".to_owned(),
            Self::Reset(e) => format!("was reset: {e}"),
            Self::Failed(e) => format!("failed: {e}"),
            Self::TimedOut => "timed out".to_owned(),
            Self::LingeringCut => "was served, but its FIN did not come in time".to_owned(),
            Self::ShutDown => "was cut short by the shutdown".to_owned(),
            Self::MadeRoom => "made room for a newer one".to_owned(),
        }
    }
}

impl From<io::Error> for Reason {
    /// EPIPE is send(2)'s error after a reset that an event has reported; ENOTCONN is
    /// shutdown(2)'s.
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
        match error.kind() {
            ConnectionReset | BrokenPipe | NotConnected => Self::Reset(error),
            _ => Self::Failed(error),
        }
    }
}

/// How many bytes the kernel took, and how many came from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// From peers, including what was discarded.
    pub received: u64,
    /// To peers.
    pub sent: u64,
}

/// What is known about the bytes that the peer has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// There may be some: a receive is worth a call.
    Unread,
    /// There are none, and an edge will report the next.
    Empty,
    /// There seem to be none, but this socket may hide some. Only registering tells.
    InDoubt,
    /// There are none, and the peer's FIN was received.
    Finished,
}

/// What a connection knows, and what it may still do, while it is driven once.
pub(super) struct Calls {
    /// What the connection waited for at the beginning, and what it waits for now. Both are derived
    /// from what it wanted first and last.
    pub(super) registered: Option<Interest>,
    pub(super) interest: Interest,
    is_new: bool,
    pub(super) queue: Queue,
    /// Whether more may follow a receive that comes back short.
    more: bool,
    pub(super) count: usize,
    /// How many bytes may still be received, and sent.
    to_receive: usize,
    to_send: usize,
    /// The bytes that the last call moved.
    moved: usize,
}

impl Calls {
    pub(super) fn new(readiness: Readiness) -> Self {
        let (queue, more, to_receive, to_send) = match readiness {
            Readiness::New => (Queue::Empty, false, SLICE, GREETING),
            Readiness::Event { more, share } => (Queue::Unread, more, share, share),
        };
        Self {
            registered: None,
            interest: Interest::READABLE,
            is_new: matches!(readiness, Readiness::New),
            queue,
            more,
            count: 0,
            to_receive,
            to_send,
            moved: 0,
        }
    }

    /// What the connection would wait for if it stopped here. A new one that is to receive first
    /// checks whether something is here already.
    pub(super) fn wait_for(&mut self, interest: Interest) {
        self.interest = interest;
        if self.registered.is_none() {
            self.registered = Some(interest);
            if self.is_new && interest == Interest::READABLE {
                self.queue = Queue::Unread;
            }
        }
    }

    pub(super) fn has_moved(&mut self) -> bool {
        mem::take(&mut self.moved) > 0
    }

    /// Receives into the scratch buffer.
    pub(super) fn receive(
        &mut self,
        stream: &mut impl Stream,
        scratch: &mut [u8],
        bytes: &mut Bytes,
    ) -> Result<Called, Reason> {
        let received = self.call_to_receive(|_| stream.recv(scratch), bytes)?;
        match received {
            Called::Moved(n) if n > 0 && n < scratch.len() && !self.more => {
                self.queue = if stream.short_is_all() {
                    Queue::Empty
                } else {
                    Queue::InDoubt
                };
            }
            _ => {}
        }
        Ok(received)
    }

    /// The same, and discards what it receives.
    pub(super) fn discard(
        &mut self,
        stream: &mut impl Stream,
        bytes: &mut Bytes,
    ) -> Result<Called, Reason> {
        self.call_to_receive(|most| stream.discard(most), bytes)
    }

    fn call_to_receive(
        &mut self,
        call: impl FnOnce(usize) -> io::Result<usize>,
        bytes: &mut Bytes,
    ) -> Result<Called, Reason> {
        if self.queue != Queue::Unread {
            return Ok(Called::Stopped(self.stop_for_bytes()));
        }
        if self.count >= CALLS_PER_TURN || self.to_receive == 0 {
            return Ok(Called::Stopped(Stop::Register));
        }
        self.count += 1;
        match call(self.to_receive) {
            Ok(n) => {
                if n == 0 {
                    self.queue = Queue::Finished;
                }
                self.moved = n;
                self.to_receive = self.to_receive.saturating_sub(n);
                bytes.received += n as u64;
                Ok(Called::Moved(n))
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(Called::Nothing),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.queue = Queue::Empty;
                Ok(Called::Stopped(Stop::Pending))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Sends some of the bytes that are to be sent.
    pub(super) fn send(
        &mut self,
        stream: &mut impl Stream,
        owed: &[u8],
        is_last: bool,
        bytes: &mut Bytes,
    ) -> Result<Called, Reason> {
        if self.count >= CALLS_PER_TURN || self.to_send == 0 {
            return Ok(Called::Stopped(Stop::Register));
        }
        self.count += 1;
        let slice = &owed[..owed.len().min(self.to_send.max(SLICE))];
        match stream.send(slice, is_last && slice.len() == owed.len()) {
            Ok(0) => Err(io::Error::from(io::ErrorKind::WriteZero).into()),
            Ok(n) => {
                self.moved = n;
                self.to_send = self.to_send.saturating_sub(n);
                bytes.sent += n as u64;
                Ok(Called::Moved(n))
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(Called::Nothing),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Called::Stopped(Stop::Pending)),
            Err(e) => Err(e.into()),
        }
    }

    /// How a connection that waits for bytes stops: it registers again unless an edge is certain.
    pub(super) fn stop_for_bytes(&self) -> Stop {
        match self.queue {
            Queue::Empty | Queue::Finished => Stop::Pending,
            Queue::Unread | Queue::InDoubt => Stop::Register,
        }
    }

    /// Whether the event reported that more may follow a short receive. Returns true once.
    pub(super) fn looks_for_fin(&mut self) -> bool {
        mem::take(&mut self.more)
    }

    /// Linux checks a half-closed socket again: a Unix one at once, a TCP one when our FIN is
    /// acknowledged. On other systems a queue in doubt stays in doubt.
    pub(super) fn half_closed(&mut self, stream: &impl Stream) {
        self.count += 1;
        if self.queue == Queue::InDoubt && stream.half_close_reports() {
            self.queue = Queue::Empty;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_what_became_of_a_connection() {
        let error = || io::Error::other("why");
        for (reason, words) in [
            (Reason::Ended(End(0)), "echoed"),
            (
                Reason::Ended(End(1)),
                "ended in a way without a name, End(1)",
            ),
            (Reason::LeftEarly, "left early"),
            (Reason::Reset(error()), "was reset: why"),
            (Reason::Failed(error()), "failed: why"),
            (Reason::TimedOut, "timed out"),
            (
                Reason::LingeringCut,
                "was served, but its FIN did not come in time",
            ),
            (Reason::ShutDown, "was cut short by the shutdown"),
            (Reason::MadeRoom, "made room for a newer one"),
        ] {
            assert_eq!(reason.in_words(&["echoed"]), words);
        }
    }
}
