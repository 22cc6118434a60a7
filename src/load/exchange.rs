//! One exchange as its client sees it: a machine without a socket or a clock, that checks every byte.
//!
//! ```text
//!   Connecting ──► Greeting ──► Greeted ──► Echo ──► Ok, at a clean EOF
//!        │             │       (held here)    │
//!        └─────────────┴───────────┬──────────┘
//!                                  ▼ Err(Wrong): what, in which phase, expected and got
//! ```

use std::fmt;
use std::io;

use super::payload::Payloads;

/// What every exchange of a run has in common.
#[derive(Clone, Debug)]
pub struct Expected {
    /// What the server sends first.
    pub greeting: Vec<u8>,
    /// What the connections send.
    pub payloads: Payloads,
    /// How many connections there are so far: an echo may be one of theirs.
    pub opened: u64,
}

/// The longest message that a server must echo whole, in bytes, if it was sent in one piece.
pub const WHOLE: usize = 1000;

/// Where an exchange stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The connection is not established yet.
    Connect,
    /// The greeting has not come, or not all of it.
    Greeting,
    /// The payload is under way, or its echo.
    Echo,
    /// The echo is here, all of it; the end is not.
    Eof,
}

/// What is wrong with an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nobody listens there.
    Refused,
    /// There is no way there, or a firewall says so.
    Unreachable,
    /// The connection was reset.
    Reset(Phase),
    /// It took too long.
    TimedOut(Phase),
    /// Another error of the socket.
    Failed(Phase),
    /// The greeting is another, or more than it should be.
    WrongGreeting,
    /// The end came before the whole greeting.
    ShortGreeting,
    /// The echo is not what was sent.
    WrongEcho,
    /// The echo is what another connection of this run has sent.
    ForeignEcho,
    /// The end came before the whole echo.
    ShortEcho,
    /// The end came in place of the echo.
    NoEcho,
    /// The end, or a reset, came while nothing was asked of the server yet.
    ClosedHeld,
    /// Something came behind the echo.
    ExtraBytes,
}

/// What is wrong, and what one needs to find out why.
#[derive(Clone, Debug)]
pub struct Wrong {
    /// For counting.
    pub fault: Fault,
    /// For reading: one line, the bytes escaped.
    pub what: String,
}

/// What an exchange wants done next.
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
    position: Position,
}

#[derive(Debug)]
enum Position {
    Connecting,
    Greeting { seen: u32 },
    Greeted,
    Echo { sent: u32, seen: u32, pieces: bool },
}

impl Exchange {
    /// The exchange of connection `id`.
    #[must_use]
    pub fn new(id: u64, expected: &Expected) -> Self {
        Self {
            id,
            length: length(expected.payloads.length(id)),
            position: Position::Connecting,
        }
    }

    /// The number of its connection.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How much it sends, in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length as usize
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.position {
            Position::Connecting => Phase::Connect,
            Position::Greeting { .. } => Phase::Greeting,
            Position::Echo { seen, .. } if seen == self.length => Phase::Eof,
            Position::Greeted | Position::Echo { .. } => Phase::Echo,
        }
    }

    /// Whether it is greeted and has sent nothing yet: it may be held so.
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

    /// Goes on to the payload. Only for one that [is greeted](Self::is_greeted).
    pub fn begin(&mut self) {
        if self.is_greeted() {
            self.position = Position::Echo {
                sent: 0,
                seen: 0,
                pieces: false,
            };
        }
    }

    /// `n` bytes of the payload are in the kernel's hands.
    pub fn handle_sent(&mut self, n: usize) {
        if let Position::Echo { sent, pieces, .. } = &mut self.position {
            *sent = sent.saturating_add(length(n)).min(self.length);
            *pieces |= *sent < self.length;
        }
    }

    /// A receive brought these bytes, at least one.
    ///
    /// # Errors
    /// What is wrong with them. The exchange is over then.
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
                let mut due = vec![0; bytes.len().min(self.length as usize - at)];
                expected.payloads.fill(self.id, at, &mut due);
                if bytes == due {
                    *seen += length(bytes.len());
                    return Ok(());
                }
                if let Some(extra) = bytes.strip_prefix(&due[..]).filter(|x| !x.is_empty()) {
                    *seen += length(due.len());
                    return Err(Wrong::bytes(Fault::ExtraBytes, *seen, &[], extra));
                }
                Err(self.wrong_echo(at, &due, bytes, expected))
            }
            // Nothing was sent yet, so this is no echo.
            Position::Connecting | Position::Greeted => {
                let at = length(expected.greeting.len());
                Err(Wrong::bytes(Fault::WrongGreeting, at, &[], bytes))
            }
        }
    }

    fn wrong_echo(&self, at: usize, due: &[u8], bytes: &[u8], expected: &Expected) -> Wrong {
        let right = due.iter().zip(bytes).take_while(|(due, got)| due == got);
        let place = right.count();
        let (payloads, opened) = (&expected.payloads, expected.opened);
        match payloads.owner(at + place, &bytes[place..], opened) {
            Some(owner) if owner != self.id => Wrong {
                what: format!(
                    "from byte {} on got the bytes of connection {owner}: {}",
                    at + place,
                    Escaped(&bytes[place..])
                ),
                fault: Fault::ForeignEcho,
            },
            _ => Wrong::bytes(Fault::WrongEcho, length(at), due, bytes),
        }
    }

    /// The server's FIN has come.
    ///
    /// # Errors
    /// It came too early.
    pub fn handle_eof(&self) -> Result<(), Wrong> {
        let short = |fault, seen, of: usize| Wrong {
            fault,
            what: format!("the end came after {seen} of {of} bytes"),
        };
        match self.position {
            Position::Echo { seen: 0, .. } if self.length > 0 => {
                Err(short(Fault::NoEcho, 0, self.length()))
            }
            Position::Echo { seen, pieces, .. } => {
                let whole = !pieces && self.length() <= WHOLE;
                if whole && seen < self.length {
                    return Err(short(Fault::ShortEcho, seen, self.length()));
                }
                Ok(())
            }
            Position::Greeting { seen } => Err(Wrong {
                fault: Fault::ShortGreeting,
                what: format!("the end came after {seen} bytes of the greeting"),
            }),
            Position::Connecting => Err(short(Fault::NoEcho, 0, self.length())),
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

    /// Its time is over.
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

/// A length as an exchange stores it. Lossless: payloads and greetings are shorter than 4 GiB.
fn length(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Wrong {
    fn bytes(fault: Fault, at: u32, expected: &[u8], got: &[u8]) -> Self {
        let same = expected.iter().zip(got).take_while(|(a, b)| a == b).count();
        let at = at as usize + same;
        let (expected, got) = (Escaped(&expected[same..]), Escaped(&got[same..]));
        Self {
            fault,
            what: format!("at byte {at} expected {expected}, got {got}"),
        }
    }
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Greeting, Self::Echo, Self::Eof];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Greeting => "greeting",
            Self::Echo => "echo",
            Self::Eof => "eof",
        }
    }
}

impl fmt::Display for Fault {
    /// Its name in reports, such as `reset_echo`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Reset(phase) => return write!(f, "reset_{}", phase.name()),
            Self::TimedOut(phase) => return write!(f, "timed_out_{}", phase.name()),
            Self::Failed(phase) => return write!(f, "failed_{}", phase.name()),
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::WrongGreeting => "wrong_greeting",
            Self::ShortGreeting => "short_greeting",
            Self::WrongEcho => "wrong_echo",
            Self::ForeignEcho => "foreign_echo",
            Self::ShortEcho => "short_echo",
            Self::NoEcho => "no_echo",
            Self::ClosedHeld => "closed_held",
            Self::ExtraBytes => "extra_bytes",
        };
        f.write_str(name)
    }
}

/// The first bytes of what may be long and may be anything, for a terminal.
struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 24;
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        let shown = &self.0[..self.0.len().min(SHOWN)];
        write!(f, "\"{}\"", shown.escape_ascii())?;
        match self.0.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} bytes more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u64 = 2;

    fn expected(length: usize) -> Expected {
        Expected {
            greeting: b"hello\n".to_vec(),
            payloads: Payloads::new(1, length, length),
            opened: 4,
        }
    }

    fn payload(expected: &Expected, id: u64) -> Vec<u8> {
        let mut payload = vec![0; expected.payloads.length(id)];
        expected.payloads.fill(id, 0, &mut payload);
        payload
    }

    /// An exchange whose server sends this and then FIN, in pieces that end at these places.
    fn outcome(expected: &Expected, sent: &[u8], ends: &[usize]) -> Result<(), Fault> {
        let mut exchange = Exchange::new(ID, expected);
        exchange.handle_connected(expected);
        let mut start = 0;
        let ends = ends.iter().copied().filter(|end| *end < sent.len());
        for end in ends.chain([sent.len()]) {
            let piece = &sent[start..end];
            if !piece.is_empty() {
                let received = exchange.handle_received(piece, expected);
                received.map_err(|wrong| wrong.fault)?;
            }
            if exchange.is_greeted() {
                exchange.begin();
                exchange.handle_sent(exchange.length());
            }
            start = end;
        }
        exchange.handle_eof().map_err(|wrong| wrong.fault)
    }

    /// The greeting ends where the client answers, so a piece ends there at least.
    const GREETED: usize = 6;

    #[test]
    fn every_cut_of_the_right_bytes_is_right_and_no_prefix_is() {
        let expected = expected(20);
        let sent = [&b"hello\n"[..], &payload(&expected, ID)].concat();
        for first in 1..=GREETED {
            for second in GREETED..=sent.len() {
                let ends = [first, GREETED, second];
                assert_eq!(outcome(&expected, &sent, &ends), Ok(()), "{ends:?}");
            }
        }
        for length in 0..sent.len() {
            let fault = match length {
                0..GREETED => Fault::ShortGreeting,
                GREETED => Fault::NoEcho,
                _ => Fault::ShortEcho,
            };
            let outcome = outcome(&expected, &sent[..length], &[GREETED]);
            assert_eq!(outcome, Err(fault), "{length}");
        }
    }

    /// What it wants and where it stands, at each step of a payload that is sent in two pieces.
    #[test]
    fn it_says_what_it_wants() {
        let expected = expected(20);
        let payload = payload(&expected, ID);
        let mut exchange = Exchange::new(ID, &expected);
        let at = |exchange: &Exchange| (exchange.phase(), exchange.next());
        assert_eq!((exchange.id(), exchange.length()), (ID, 20));
        assert_eq!(at(&exchange), (Phase::Connect, Next::Connect));
        exchange.begin(); // too early, so it changes nothing
        exchange.handle_connected(&expected);
        assert_eq!(at(&exchange), (Phase::Greeting, Next::Receive));
        exchange.handle_received(b"hello\n", &expected).unwrap();
        assert_eq!(at(&exchange), (Phase::Echo, Next::Receive));
        exchange.begin();
        assert_eq!(at(&exchange), (Phase::Echo, Next::Send(0)));
        exchange.handle_sent(5);
        assert_eq!(at(&exchange), (Phase::Echo, Next::Send(5)));
        exchange.handle_sent(15);
        assert_eq!(at(&exchange), (Phase::Echo, Next::Receive));
        exchange.handle_received(&payload[..5], &expected).unwrap();
        assert_eq!(at(&exchange), (Phase::Echo, Next::Receive));
        exchange.handle_received(&payload[5..], &expected).unwrap();
        assert_eq!(at(&exchange), (Phase::Eof, Next::Receive));
        let extra = exchange.handle_received(b"x", &expected).unwrap_err();
        assert_eq!(extra.what, "at byte 20 expected nothing, got \"x\"");
    }

    /// One read need not bring what was sent in pieces, or more than a message.
    #[test]
    fn a_prefix_is_an_echo_where_more_is_not_owed() {
        let prefix = |length: usize, pieces: &[usize], seen: usize| {
            let expected = expected(length);
            let mut exchange = Exchange::new(ID, &expected);
            exchange.handle_connected(&expected);
            exchange.handle_received(b"hello\n", &expected).unwrap();
            exchange.begin();
            pieces.iter().for_each(|piece| exchange.handle_sent(*piece));
            let echo = &payload(&expected, ID)[..seen];
            exchange.handle_received(echo, &expected).unwrap();
            exchange.handle_eof().map_err(|wrong| wrong.fault)
        };
        assert_eq!(prefix(1000, &[1000], 999), Err(Fault::ShortEcho));
        assert_eq!(prefix(1000, &[1000], 1000), Ok(()));
        assert_eq!(prefix(1001, &[1001], 1000), Ok(()));
        assert_eq!(prefix(1000, &[999, 1], 1), Ok(()));
        assert_eq!(prefix(1000, &[1, 998, 1], 999), Ok(()));
    }

    #[test]
    fn more_than_the_echo_is_too_much_however_it_is_cut() {
        let expected = expected(20);
        let sent = [&b"hello\n"[..], &payload(&expected, ID), b"x"].concat();
        for cut in GREETED..sent.len() {
            let outcome = outcome(&expected, &sent, &[GREETED, cut]);
            assert_eq!(outcome, Err(Fault::ExtraBytes), "{cut}");
        }
    }

    #[test]
    fn every_bit_counts_however_it_is_cut() {
        let expected = expected(20);
        let right = [&b"hello\n"[..], &payload(&expected, ID)].concat();
        for place in 0..right.len() {
            let fault = match place {
                0..GREETED => Fault::WrongGreeting,
                _ => Fault::WrongEcho,
            };
            for bit in 0..8 {
                let mut sent = right.clone();
                sent[place] ^= 1 << bit;
                for cut in 1..=sent.len() {
                    let mut ends = [cut, GREETED];
                    ends.sort_unstable();
                    let outcome = outcome(&expected, &sent, &ends);
                    assert_eq!(outcome, Err(fault), "{place}, {bit}, {cut}");
                }
            }
        }
    }

    /// It takes a whole word of theirs in one piece.
    #[test]
    fn the_bytes_of_others_are_seen_from_wherever_they_begin() {
        let expected = expected(40);
        let [own, other] = [ID, 3].map(|id| payload(&expected, id));
        for from in 0..=25 {
            let sent = [&b"hello\n"[..], &own[..from], &other[from..]].concat();
            for cut in [GREETED, GREETED + from] {
                let outcome = outcome(&expected, &sent, &[GREETED, cut]);
                assert_eq!(outcome, Err(Fault::ForeignEcho), "{from}");
            }
        }
    }

    #[test]
    fn what_comes_while_it_is_held_is_no_echo() {
        let expected = expected(9);
        let mut exchange = Exchange::new(ID, &expected);
        exchange.handle_connected(&expected);
        exchange.handle_received(b"hello\n", &expected).unwrap();
        assert!(exchange.is_greeted());
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(exchange.handle_error(&reset).fault, Fault::ClosedHeld);
        assert_eq!(exchange.handle_eof().unwrap_err().fault, Fault::ClosedHeld);
        let wrong = exchange.handle_received(b"x", &expected).unwrap_err();
        assert_eq!(wrong.fault, Fault::WrongGreeting);
        assert_eq!(wrong.what, "at byte 6 expected nothing, got \"x\"");
    }
}
