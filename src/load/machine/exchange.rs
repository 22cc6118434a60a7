//! One exchange as its client sees it: a machine without a socket or a clock. It checks every byte.
//!
//! ```text
//!   Connecting ──► Greeting ──► Greeted ──► Echo ──► Ok, at a clean EOF
//!        │             │       (held here)    │
//!        └─────────────┴───────────┬──────────┘
//!                                  ▼ Err(Wrong): the fault, the bytes expected and received
//! ```
//!
//! How much of a payload must come back? The server reads once, at most [`Expected::max_read`] bytes,
//! so the echo has no more than these. It may have fewer, because one read returns what has arrived:
//! but the first segment arrives whole, so the echo has at least what one segment carries of the bytes
//! that the first call handed over. A payload that fits in a segment is echoed whole.

mod fault;

use std::io;

pub use fault::{Fault, Phase, Wrong};

use super::payload::Payloads;

/// What all exchanges of a run have in common.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The bytes that the server sends first.
    pub greeting: Vec<u8>,
    /// The bytes that each connection sends.
    pub payloads: Payloads,
    /// The most bytes of a payload that the server reads, and so the most that it echoes.
    pub max_read: usize,
    /// The numbers of all connections that the run has opened so far are below this. A wrong echo may
    /// belong to one of them.
    pub opened: u64,
}

/// What the driver must do next for an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Find out whether the connection is established, then [`Exchange::handle_connected`].
    Connect,
    /// Send some or all of the payload from this byte on, then [`Exchange::handle_sent`].
    Send(usize),
    /// Receive once, then [`Exchange::handle_received`].
    Receive,
}

/// One exchange, from its connect to the server's FIN.
#[derive(Debug)]
pub struct Exchange {
    id: u64,
    length: u32,
    /// The most bytes that its echo may have.
    most: u32,
    position: Position,
}

#[derive(Debug)]
enum Position {
    Connecting,
    Greeting {
        seen: u32,
    },
    Greeted,
    Echo {
        sent: u32,
        seen: u32,
        /// How many bytes the first call has handed over.
        first: u32,
    },
}

impl Exchange {
    /// The exchange of connection `id`.
    #[must_use]
    pub fn new(id: u64, expected: &Expected) -> Self {
        let payload = expected.payloads.length(id);
        Self {
            id,
            length: length(payload),
            most: length(payload.min(expected.max_read)),
            position: Position::Connecting,
        }
    }

    /// The number of its connection.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The length of its payload, in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length as usize
    }

    /// How many bytes of its payload have come back.
    #[must_use]
    pub fn echoed(&self) -> u64 {
        match self.position {
            Position::Echo { seen, .. } => seen.into(),
            Position::Connecting | Position::Greeting { .. } | Position::Greeted => 0,
        }
    }

    /// How far it has come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.position {
            Position::Connecting => Phase::Connect,
            Position::Greeting { .. } => Phase::Greeting,
            Position::Echo { seen, .. } if seen == self.most => Phase::Eof,
            Position::Greeted | Position::Echo { .. } => Phase::Echo,
        }
    }

    /// Whether a part of the greeting or of the echo has come, and the rest has not.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        match self.position {
            Position::Greeting { seen } => seen > 0,
            Position::Echo { seen, .. } => seen > 0 && seen < self.most,
            Position::Connecting | Position::Greeted => false,
        }
    }

    /// Whether it is greeted and has sent nothing yet. It may be held like this.
    #[must_use]
    pub fn is_greeted(&self) -> bool {
        matches!(self.position, Position::Greeted)
    }

    /// What to do next.
    #[must_use]
    pub fn next(&self) -> Next {
        match self.position {
            Position::Connecting => Next::Connect,
            Position::Echo { sent, .. } if sent < self.length => Next::Send(sent as usize),
            Position::Greeting { .. } | Position::Greeted | Position::Echo { .. } => Next::Receive,
        }
    }

    /// The connection is established.
    pub fn handle_connected(&mut self, expected: &Expected) {
        self.position = if expected.greeting.is_empty() {
            Position::Greeted
        } else {
            Position::Greeting { seen: 0 }
        };
    }

    /// Goes on to the payload. This has no effect unless the exchange [is
    /// greeted](Self::is_greeted).
    pub fn begin(&mut self) {
        if self.is_greeted() {
            self.position = Position::Echo {
                sent: 0,
                seen: 0,
                first: 0,
            };
        }
    }

    /// The kernel has taken `n` more bytes of the payload.
    pub fn handle_sent(&mut self, n: usize) {
        if let Position::Echo { sent, first, .. } = &mut self.position {
            if *sent == 0 {
                *first = length(n);
            }
            *sent = sent.saturating_add(length(n)).min(self.length);
        }
    }

    /// These bytes were received; there is at least one.
    ///
    /// # Errors
    /// What is wrong with the bytes. The exchange is over then.
    pub fn handle_received(&mut self, bytes: &[u8], expected: &Expected) -> Result<(), Wrong> {
        match &mut self.position {
            Position::Greeting { seen } => {
                let rest = &expected.greeting[*seen as usize..];
                if !rest.starts_with(bytes) {
                    return Err(Wrong::bytes(Fault::WrongGreeting, *seen, rest, bytes));
                }
                *seen += length(bytes.len());
                if *seen as usize == expected.greeting.len() {
                    self.position = Position::Greeted;
                }
                Ok(())
            }
            Position::Echo { seen, .. } => {
                let at = *seen as usize;
                let mut due = vec![0; bytes.len().min(self.most as usize - at)];
                expected.payloads.fill(self.id, at, &mut due);
                if bytes == due {
                    *seen += length(bytes.len());
                    return Ok(());
                }
                if let Some(extra) = bytes.strip_prefix(&due[..]).filter(|x| !x.is_empty()) {
                    *seen += length(due.len());
                    let mut wrong = Wrong::bytes(Fault::ExtraBytes, *seen, &[], extra);
                    if self.most < self.length {
                        wrong.what += &format!("; see --max-read, which is {}", self.most);
                    }
                    return Err(wrong);
                }
                Err(self.wrong_echo(at, &due, bytes, expected))
            }
            // The client has sent nothing yet, so these bytes are no echo.
            Position::Connecting | Position::Greeted => {
                let at = length(expected.greeting.len());
                Err(Wrong::bytes(Fault::WrongGreeting, at, &[], bytes))
            }
        }
    }

    /// The bytes may be the payload of another connection. Otherwise they are damaged.
    fn wrong_echo(&self, at: usize, due: &[u8], bytes: &[u8], expected: &Expected) -> Wrong {
        let right = due.iter().zip(bytes).take_while(|(due, got)| due == got);
        let place = right.count();
        let (payloads, opened) = (&expected.payloads, expected.opened);
        match payloads.owner(at + place, &bytes[place..], opened) {
            Some(owner) if owner != self.id => {
                Wrong::foreign_echo(at + place, owner, &bytes[place..])
            }
            _ => Wrong::bytes(Fault::WrongEcho, length(at), due, bytes),
        }
    }

    /// The server's FIN has come. `segment` tells how many bytes one segment of the connection
    /// carries; it is asked only if the echo is short.
    ///
    /// # Errors
    /// The FIN came too early.
    pub fn handle_eof(&self, segment: impl FnOnce() -> usize) -> Result<(), Wrong> {
        let short = |fault, seen: u32, least: u32| Wrong {
            fault,
            what: format!("the end came after {seen} of {least} bytes"),
        };
        match self.position {
            Position::Echo { seen, .. } if seen == self.most => Ok(()),
            Position::Echo { seen, first, .. } => {
                let least = self.most.min(first).min(length(segment()));
                match seen {
                    0 => Err(short(Fault::NoEcho, 0, self.most)),
                    _ if seen < least => Err(short(Fault::ShortEcho, seen, least)),
                    _ => Ok(()),
                }
            }
            Position::Greeting { seen } => Err(Wrong {
                fault: Fault::ShortGreeting,
                what: format!("the end came after {seen} bytes of the greeting"),
            }),
            Position::Connecting => Err(short(Fault::NoEcho, 0, self.most)),
            Position::Greeted => Err(Wrong {
                fault: Fault::ClosedHeld,
                what: "the end came while it was held".to_owned(),
            }),
        }
    }

    /// The socket failed.
    #[must_use]
    pub fn handle_error(&self, error: &io::Error) -> Wrong {
        use io::ErrorKind as E;
        let phase = self.phase();
        let fault = match error.kind() {
            E::ConnectionRefused => Fault::Refused,
            E::NetworkUnreachable | E::HostUnreachable | E::NetworkDown | E::AddrNotAvailable => {
                Fault::Unreachable
            }
            E::PermissionDenied if phase == Phase::Connect => Fault::Unreachable,
            E::ConnectionReset if self.is_greeted() => Fault::ClosedHeld,
            E::ConnectionReset | E::BrokenPipe | E::ConnectionAborted => Fault::Reset(phase),
            E::TimedOut => Fault::TimedOut(phase),
            _ => Fault::Failed(phase),
        };
        let what = error.to_string();
        Wrong { fault, what }
    }

    /// The exchange took longer than the timeout.
    #[must_use]
    pub fn handle_timeout(&self) -> Wrong {
        let phase = self.phase();
        Wrong {
            fault: Fault::TimedOut(phase),
            what: match self.position {
                Position::Greeting { seen } => format!("{seen} bytes of the greeting had come"),
                Position::Echo { sent, seen, .. } => {
                    format!(
                        "{sent} of {} bytes were sent, {seen} had come back",
                        self.length
                    )
                }
                Position::Connecting | Position::Greeted => "nothing had come".to_owned(),
            },
        }
    }
}

/// A length as an exchange stores it. Payloads and greetings are shorter than 4 GiB, so it fits.
fn length(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
