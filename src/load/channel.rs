//! Drives one [`Exchange`] over a socket: one call at a time.

use std::io;
use std::mem::MaybeUninit;

use socket2::Socket;

use super::exchange::{Exchange, Expected, Fault, Next, Phase, Wrong};

/// One connection: its socket, and where it stands.
pub(super) struct Channel {
    pub(super) socket: Socket,
    pub(super) exchange: Exchange,
}

/// What an event says.
#[derive(Clone, Copy, Default)]
pub(super) struct Ready {
    pub(super) readable: bool,
    pub(super) fin: bool,
    pub(super) failed: bool,
}

/// How far a connection got.
pub(super) enum Advance {
    More,
    Waiting,
    Done(Result<(), Wrong>),
}

impl Channel {
    /// One step of its exchange. `bytes` counts those sent and received.
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
                // The echo of what has been sent so far may be here, and so may the end.
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

    /// The event speaks of an error. A socket without a peer was refused or has been reset since:
    /// only an error that follows a connection, or what came over it, tells that there was one.
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

    /// What is wrong with it, and could not be told from what it has received.
    pub(super) fn judge(&self, wrong: Wrong) -> Wrong {
        // On loopback a connect to a port of the range that local ports are taken from may be given
        // that port, and is connected to itself: nobody listens there.
        let is_mute = self.exchange.phase() == Phase::Greeting;
        let ends = || {
            Some([
                self.socket.local_addr().ok()?,
                self.socket.peer_addr().ok()?,
            ])
        };
        if is_mute && ends().is_some_and(|[local, peer]| local == peer) {
            let what = "it was connected to itself, so nobody listens".to_owned();
            return Wrong {
                fault: Fault::Refused,
                what,
            };
        }
        wrong
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
            return Ok(Advance::Done(self.exchange.handle_eof()));
        }
        bytes[1] += n as u64;
        ready.readable = ready.fin || n == scratch.len();
        let received = self.exchange.handle_received(&scratch[..n], expected);
        Ok(match received {
            Ok(()) => Advance::More,
            Err(wrong) => Advance::Done(Err(wrong)),
        })
    }
}
