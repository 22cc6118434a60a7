//! What the reactor needs of the system, and what the system reports to it.

use std::fmt::Display;
use std::io;
use std::time::Duration;

use mio::Interest;

use super::calls::Stream;
use super::deadlines::Moment;
use super::gate::Verdict;

/// What the reactor decides over: real sockets, or invented ones. Every call returns at once.
pub trait System {
    /// Where peers arrive. Its name is for the log.
    type Listener: Display;
    /// A peer's socket. Dropping it closes it.
    type Stream: Stream;
    /// A peer's address, for the log.
    type Peer: Display;

    /// Takes one connection from the listener's queue, as accept4(2).
    fn accept(&mut self, listener: &Self::Listener) -> io::Result<(Self::Stream, Self::Peer)>;

    /// What an error of [`accept`](Self::accept) means. The default knows the errors that every
    /// Unix has.
    fn judge(&self, error: &io::Error) -> Verdict {
        Verdict::of(error)
    }

    /// Keeps new peers out of the listener's queue. The peers in it stay, and a peer whose
    /// handshake is under way may still join for the time that is returned. `None`: the queue stays
    /// open, because another process may share it and serve the new peers.
    ///
    /// Called again when that time is over and the queue is empty. Returns zero then, unless the
    /// process that was to serve the peers under way has gone meanwhile.
    fn close_queue(&mut self, listener: &Self::Listener) -> io::Result<Option<Duration>>;

    /// Checks whether the listener's queue overflows. Called when peers are left in it. Returns
    /// when to check again, if at all, and a line for the log, if there is one.
    fn watch_queue(
        &mut self,
        listener: &Self::Listener,
        now: Moment,
    ) -> (Option<Moment>, Option<String>);

    /// Stops reporting the listener, which is dropped next.
    fn forget(&mut self, listener: &Self::Listener);

    /// Reports the listener at once if connections wait in its queue, otherwise when one arrives.
    fn rearm(&mut self, key: usize, listener: &Self::Listener) -> io::Result<()>;

    /// Reports the stream under `key`, as an edge: at once if it is ready, and whenever it becomes
    /// ready. Dropping the stream ends that.
    fn register(&mut self, key: usize, stream: &Self::Stream, interest: Interest)
    -> io::Result<()>;

    /// The same for a stream that is registered already.
    fn reregister(
        &mut self,
        key: usize,
        stream: &Self::Stream,
        interest: Interest,
    ) -> io::Result<()>;
}

/// Something that the system reports.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The key under which the listener or stream was registered.
    pub key: usize,
    /// For a stream: the peer's FIN or urgent data may be here, so more may follow a receive that
    /// comes back short. This is a hint; a receive decides. For a listener: it was shut down, by
    /// [`System::close_queue`] or by another process, so nobody can join its queue any more.
    pub fin: bool,
}
