//! One connection: it drives its protocol over its socket, closes so that nothing is lost, and is
//! the only place that judges a peer's errors.
//!
//! # Why no edge is lost
//!
//! mio reports a socket once when it *becomes* ready (`EPOLLET`, `EV_CLEAR`). [`Connection::drive`]
//! may therefore stop only where another report is certain:
//! - at `WouldBlock`: the kernel reports the socket when that changes;
//! - after a receive that did not fill the buffer: the queue was empty then, so the next byte makes
//!   a new edge (epoll(7), question 9). There are three exceptions. If the event said that more is
//!   here (a FIN or urgent data), one more receive follows. If a receive may have ended early for
//!   another reason (passed descriptors, or urgent data that no event reports:
//!   [`Stream::short_is_all`]), the connection registers again. While lingering, only `WouldBlock`
//!   counts, because our half-close makes the kernel check again;
//! - before its first receive, as long as no event has been seen: registering reports what is
//!   already there;
//! - anywhere else, if it says [`Stop::Register`]: registering again makes the kernel check the
//!   socket and report it if it is ready.

use mio::Interest;

use super::calls::{Bytes, Called, Calls, Queue, Readiness, Reason, Stop, Stream};
use crate::protocol::{Deadline, End, Protocol, Want};

/// What all connections of a reactor share.
pub(super) struct Common<P: Protocol> {
    pub(super) shared: P::Shared,
    /// Where the last receive is. It belongs to the connection that is being driven, and to none in
    /// between.
    pub(super) scratch: Box<[u8]>,
    /// Whether to wait for the peer's FIN after our own.
    pub(super) lingers: bool,
    pub(super) bytes: Bytes,
    /// Bytes that all protocols together have on the heap.
    pub(super) kept: usize,
}

/// One peer: a socket, and its state.
#[derive(Debug)]
pub(super) struct Connection<S, P> {
    pub(super) stream: S,
    stage: Stage<P>,
}

#[derive(Debug)]
enum Stage<P> {
    Serving(P),
    /// The protocol has ended and our FIN is sent. What still comes is discarded until the peer's
    /// FIN: closing with unread input would send a reset, which can overtake what was sent (RFC
    /// 1122, 4.2.2.13).
    Lingering(End),
}

/// What a connection waits for. It is derived from the connection's state and stored nowhere.
#[derive(Debug)]
pub(super) struct Waits {
    pub(super) interest: Interest,
    /// Whether its registration reports that.
    pub(super) stop: Stop,
    /// The deadline that begins anew, if one does.
    pub(super) due: Option<Due>,
}

/// Which deadline a connection has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Protocol(Deadline),
    Linger,
}

impl<S: Stream, P: Protocol> Connection<S, P> {
    pub(super) fn new(stream: S, common: &mut Common<P>) -> Self {
        let protocol = P::open(&mut common.shared);
        common.kept += protocol.kept();
        let stage = Stage::Serving(protocol);
        Self { stream, stage }
    }

    pub(super) fn due(&self) -> Due {
        match &self.stage {
            Stage::Serving(protocol) => Due::Protocol(protocol.deadline()),
            Stage::Lingering(_) => Due::Linger,
        }
    }

    /// The bytes that its protocol has on the heap.
    pub(super) fn kept(&self) -> usize {
        match &self.stage {
            Stage::Serving(protocol) => protocol.kept(),
            Stage::Lingering(_) => 0,
        }
    }

    /// Takes the connection as far as it goes now. Afterwards nothing in the scratch buffer is
    /// needed. `Err`: it is over; close the socket.
    pub(super) fn drive(
        &mut self,
        common: &mut Common<P>,
        readiness: Readiness,
    ) -> Result<Waits, Reason> {
        let kept = self.kept();
        let driven = self.advance(common, readiness);
        common.kept = (common.kept + self.kept()).saturating_sub(kept);
        driven
    }

    fn advance(&mut self, common: &mut Common<P>, readiness: Readiness) -> Result<Waits, Reason> {
        let mut calls = Calls::new(readiness);
        let (due, mut begins_anew) = (self.due(), false);
        let mut stop = loop {
            let stopped = self.step(common, &mut calls)?;
            begins_anew |= match self.due() {
                Due::Protocol(Deadline { idle: true, .. }) if calls.has_moved() => true,
                now => now != due,
            };
            if let Some(stop) = stopped {
                break stop;
            }
        };
        if let Stage::Serving(protocol) = &mut self.stage {
            protocol.keep(&common.scratch);
        }
        let interest = calls.interest;
        if calls.registered != Some(interest) {
            stop = Stop::Register;
        }
        let due = begins_anew.then(|| self.due());
        Ok(Waits {
            interest,
            stop,
            due,
        })
    }

    /// Makes at most one call on the socket, and handles its result. Returns why the connection
    /// stops, if it does.
    fn step(&mut self, common: &mut Common<P>, calls: &mut Calls) -> Result<Option<Stop>, Reason> {
        let stream = &mut self.stream;
        let Common {
            shared,
            scratch,
            lingers,
            bytes,
            ..
        } = common;
        let protocol = match &mut self.stage {
            Stage::Serving(protocol) => protocol,
            Stage::Lingering(end) => {
                calls.wait_for(Interest::READABLE);
                return match calls.discard(stream, bytes)? {
                    Called::Moved(0) => Err(Reason::Ended(*end)),
                    Called::Stopped(stop) => Ok(Some(stop)),
                    Called::Moved(_) | Called::Nothing => Ok(None),
                };
            }
        };
        let want = protocol.want(shared, scratch);
        calls.wait_for(match want {
            Want::Send(_) | Want::SendLast(_) => Interest::WRITABLE,
            Want::Stream(_) => Interest::READABLE | Interest::WRITABLE,
            Want::Receive | Want::Close(_) => Interest::READABLE,
        });
        match want {
            // This is always the first call, so that a peer that sends without end is sent to, too.
            Want::Stream(_) if calls.queue == Queue::Unread && calls.count == 0 => {
                if let Called::Moved(0) = calls.discard(stream, bytes)? {
                    protocol.handle_fin(shared);
                }
            }
            Want::Send(owed) | Want::SendLast(owed) | Want::Stream(owed) => {
                let is_last = matches!(want, Want::SendLast(_));
                let reads_too = matches!(want, Want::Stream(_));
                match calls.send(stream, owed, is_last, bytes)? {
                    Called::Moved(n) => protocol.handle_sent(n, shared),
                    Called::Nothing => {}
                    Called::Stopped(Stop::Pending) if reads_too => {
                        return Ok(Some(calls.stop_for_bytes()));
                    }
                    Called::Stopped(stop) => return Ok(Some(stop)),
                }
            }
            Want::Receive if calls.queue == Queue::Finished => return Err(Reason::LeftEarly),
            Want::Receive => match calls.receive(stream, scratch, bytes)? {
                Called::Moved(0) => protocol.handle_fin(shared),
                Called::Moved(n) => protocol.handle_received(&scratch[..n], shared),
                Called::Nothing => {}
                Called::Stopped(stop) => return Ok(Some(stop)),
            },
            Want::Close(end) if calls.queue == Queue::Finished => return Err(Reason::Ended(end)),
            // The peer has sent its FIN, so close(2) is enough; a separate shutdown(2) would cost a
            // call. It checks only once: the last bytes may be held back until our FIN.
            Want::Close(_) if calls.looks_for_fin() => {
                calls.discard(stream, bytes)?;
            }
            Want::Close(end) => {
                // No event asks for this, so it is never put off. Trying shutdown(2) again would
                // change no error.
                stream.half_close()?;
                calls.half_closed(stream);
                if !*lingers {
                    return Err(Reason::Ended(end));
                }
                self.stage = Stage::Lingering(end);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod outcomes;
#[cfg(test)]
mod tests;
