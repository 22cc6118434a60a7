//! The sockets of this process, as the reactor sees them.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Registry, Token};
use socket2::SockAddr;

use super::listener::Listener;
use super::system::{self, HALF_CLOSE_REPORTS, KERNEL, SHORT_IS_ALL};
use crate::reactor::{Event, Moment, SLICE, Stream, System, Verdict};

/// Where a token holds the number of its reactor: above the key, which has at least 24 bits.
const SHIFT: u32 = usize::BITS - 8;

/// Tokens that belong to no reactor. They hold the number 255, which no reactor has.
#[cfg(feature = "cli")]
pub(crate) const SIGNALS: Token = Token(usize::MAX);
pub(super) const HANDLE: Token = Token(usize::MAX - 1);

/// The most reactors that share a poll.
pub(super) const MOST_REACTORS: usize = 255;

/// What reports the sockets of one reactor to it.
pub(crate) struct Sockets {
    registry: Arc<Registry>,
    /// The number of the reactor, among those that share the poll.
    number: usize,
}

impl Sockets {
    pub(super) fn new(registry: Arc<Registry>, number: usize) -> Self {
        Self { registry, number }
    }

    pub(super) fn register_listener(&self, key: usize, listener: &Listener) -> io::Result<()> {
        listener.register(&self.registry, self.token(key))
    }

    /// The events of this reactor.
    pub(super) fn events<'a>(
        &self,
        events: &'a Events,
    ) -> impl Iterator<Item = Event> + Clone + 'a {
        let number = self.number;
        let ours = events
            .iter()
            .filter(move |e| e.token().0 >> SHIFT == number);
        ours.map(|event| Event {
            key: event.token().0 & ((1 << SHIFT) - 1),
            fin: event.is_read_closed() || event.is_priority(),
        })
    }

    fn token(&self, key: usize) -> Token {
        Token(self.number << SHIFT | key)
    }
}

impl System for Sockets {
    type Listener = Listener;
    type Stream = Socket;
    type Peer = Peer;

    fn accept(&mut self, listener: &Listener) -> io::Result<(Socket, Peer)> {
        let (socket, address) = listener.accept()?;
        let is_unix = address.is_unix();
        Ok((Socket { socket, is_unix }, Peer(address)))
    }

    fn judge(&self, error: &io::Error) -> Verdict {
        KERNEL.judge(error)
    }

    fn close_queue(&mut self, listener: &Listener) -> io::Result<Option<Duration>> {
        listener.close_queue()
    }

    fn watch_queue(
        &mut self,
        listener: &Listener,
        now: Moment,
    ) -> (Option<Moment>, Option<String>) {
        listener.watch_queue(now)
    }

    fn forget(&mut self, listener: &Listener) {
        listener.leave(&self.registry);
    }

    fn rearm(&mut self, key: usize, listener: &Listener) -> io::Result<()> {
        listener.rearm(&self.registry, self.token(key))
    }

    fn register(&mut self, key: usize, stream: &Socket, interest: Interest) -> io::Result<()> {
        let fd = stream.socket.as_raw_fd();
        SourceFd(&fd).register(&self.registry, self.token(key), with_priority(interest))
    }

    fn reregister(&mut self, key: usize, stream: &Socket, interest: Interest) -> io::Result<()> {
        let fd = stream.socket.as_raw_fd();
        SourceFd(&fd).reregister(&self.registry, self.token(key), with_priority(interest))
    }
}

fn with_priority(interest: Interest) -> Interest {
    if interest.is_readable() {
        system::to_read(interest)
    } else {
        interest
    }
}

/// A connection's socket, TCP or Unix.
pub(crate) struct Socket {
    socket: socket2::Socket,
    is_unix: bool,
}

impl Stream for Socket {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut self.socket, buffer)
    }

    // Not inlined: a caller with 64 KiB on its stack would probe them page by page on every entry.
    #[inline(never)]
    fn discard(&mut self, most: usize) -> io::Result<usize> {
        let mut sink = [const { MaybeUninit::uninit() }; SLICE];
        let sink = &mut sink[..most.min(SLICE)];
        system::discard(&self.socket, sink)
    }

    fn send(&mut self, bytes: &[u8], more: bool) -> io::Result<usize> {
        system::send(&self.socket, bytes, more).map_err(|e| KERNEL.sent(e))
    }

    fn half_close(&mut self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    /// A descriptor that is passed over a Unix socket ends a receive early, and no event reports
    /// it.
    fn short_is_all(&self) -> bool {
        SHORT_IS_ALL && !self.is_unix
    }

    fn half_close_reports(&self) -> bool {
        HALF_CLOSE_REPORTS
    }
}

/// A peer's address, for the log. A Unix peer seldom has one.
pub(crate) struct Peer(SockAddr);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_socket() {
            Some(address) => address.fmt(f),
            None => f.write_str("a Unix socket"),
        }
    }
}
