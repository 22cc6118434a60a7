//! Carries one [`Exchange`] over a socket, one call at a time.

use std::io;
use std::mem::MaybeUninit;

use socket2::Socket;

use crate::load::machine::exchange::{Exchange, Expected, Fault, Next, Phase, Wrong};

/// A Unix socket hands over at least so many bytes of one send(2) together: Linux splits longer ones
/// (`UNIX_SKB_FRAGS_SZ` in net/unix/af_unix.c).
const UNIX_PIECE: usize = 32 << 10;

/// What a TCP segment carries where nothing else is known (RFC 9293, 3.7.1).
const LEAST_SEGMENT: usize = 536;

/// A segment of 64 KiB, as on loopback, needs a window that has grown. Linux sends none of more than
/// half the window, which is 32 KiB at first; some systems have half of that.
const SURE_SEGMENT: usize = 16 << 10;

/// A socket and its exchange.
pub(super) struct Channel {
    pub(super) socket: Socket,
    pub(super) exchange: Exchange,
}

/// What an event of the poll reports about a socket.
#[derive(Clone, Copy, Default)]
pub(super) struct Ready {
    pub(super) readable: bool,
    pub(super) fin: bool,
    pub(super) failed: bool,
}

impl Ready {
    /// No event says what it is, so everything is tried.
    pub(super) const UNKNOWN: Self = Self {
        readable: true,
        fin: true,
        failed: true,
    };
}

/// The result of one [`Channel::advance`].
pub(super) enum Advance {
    /// It can advance again at once.
    More,
    /// It must wait for the next event.
    Waiting,
    /// The exchange is over.
    Done(Result<(), Wrong>),
}

impl Channel {
    /// Does what is next for the exchange. `bytes` counts the bytes sent and received.
    pub(super) fn advance(
        &mut self,
        ready: &mut Ready,
        expected: &Expected,
        scratch: &mut [u8],
        bytes: &mut [u64; 2],
    ) -> Advance {
        let advance = match self.exchange.next() {
            Next::Connect if ready.failed => self.connect(expected),
            Next::Connect => {
                self.exchange.handle_connected(expected);
                Ok(Advance::More)
            }
            Next::Send(place) => match self.send(place, expected, scratch, bytes) {
                // The echo of the bytes sent so far may have come, and the server's FIN, too.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && ready.readable => {
                    self.receive(ready, expected, scratch, bytes)
                }
                sent => sent,
            },
            Next::Receive if !ready.readable => Ok(Advance::Waiting),
            Next::Receive => self.receive(ready, expected, scratch, bytes),
        };
        advance.unwrap_or_else(|e| match e.kind() {
            io::ErrorKind::Interrupted => Advance::More,
            io::ErrorKind::WouldBlock => Advance::Waiting,
            _ => Advance::Done(Err(self.exchange.handle_error(&e))),
        })
    }

    /// The event reports an error, so the connection was refused, or established and then reset. A
    /// socket without a peer was established if it has received something, or if its error is one
    /// that only an established connection can have.
    fn connect(&mut self, expected: &Expected) -> io::Result<Advance> {
        let found = match self.socket.peer_addr() {
            Ok(_) => Ok(0),
            Err(_) => self.socket.peek(&mut [MaybeUninit::uninit()]),
        };
        let was_connected = match &found {
            Ok(_) => true,
            Err(e) => {
                [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe].contains(&e.kind())
            }
        };
        if was_connected {
            self.exchange.handle_connected(expected);
        }
        found.map(|_| Advance::More)
    }

    /// Corrects what is wrong where only the socket shows the true fault.
    pub(super) fn judge(&self, wrong: Wrong) -> Wrong {
        // On loopback, the kernel may choose the target's port as the local port. The socket is
        // then connected to itself, and nobody listens there.
        let is_ungreeted = self.exchange.phase() == Phase::Greeting;
        let ends = || {
            Some([
                self.socket.local_addr().ok()?,
                self.socket.peer_addr().ok()?,
            ])
        };
        if is_ungreeted && ends().is_some_and(|[local, peer]| local == peer) {
            let what = "it was connected to itself, so nobody listens".to_owned();
            return Wrong {
                fault: Fault::Refused,
                what,
            };
        }
        wrong
    }

    /// How many bytes of a stream arrive together, at least.
    fn segment(&self) -> usize {
        let is_unix = self.socket.local_addr().is_ok_and(|own| own.is_unix());
        if is_unix {
            return UNIX_PIECE;
        }
        let mss = self.socket.tcp_mss();
        mss.map_or(LEAST_SEGMENT, |mss| SURE_SEGMENT.min(mss as usize))
    }

    fn send(
        &mut self,
        place: usize,
        expected: &Expected,
        scratch: &mut [u8],
        bytes: &mut [u64; 2],
    ) -> io::Result<Advance> {
        let part = scratch.len().min(self.exchange.length() - place);
        let (id, part) = (self.exchange.id(), &mut scratch[..part]);
        expected.payloads.fill(id, place, part);
        let n = self.socket.send_with_flags(part, libc::MSG_NOSIGNAL)?;
        bytes[0] += n as u64;
        self.exchange.handle_sent(n);
        Ok(Advance::More)
    }

    fn receive(
        &mut self,
        ready: &mut Ready,
        expected: &Expected,
        scratch: &mut [u8],
        bytes: &mut [u64; 2],
    ) -> io::Result<Advance> {
        let n = io::Read::read(&mut &self.socket, scratch)?;
        if n == 0 {
            return Ok(Advance::Done(self.exchange.handle_eof(|| self.segment())));
        }
        bytes[1] += n as u64;
        let received = self.exchange.handle_received(&scratch[..n], expected);
        // Urgent data and passed descriptors cut a receive short, and no event tells of what is behind
        // them. So a short one has emptied the queue only if nothing is due.
        ready.readable = ready.fin || n == scratch.len() || self.exchange.is_partial();
        Ok(match received {
            Ok(()) => Advance::More,
            Err(wrong) => Advance::Done(Err(wrong)),
        })
    }
}
