//! What can be wrong with an exchange, and the names that reports use.

use std::fmt;

/// What is wrong with an exchange, as reports count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nobody listens at the target's address.
    Refused,
    /// There is no route to the target, or a firewall rejects the connection.
    Unreachable,
    /// The connection was reset.
    Reset(Phase),
    /// The phase took longer than the timeout.
    TimedOut(Phase),
    /// The socket returned another error.
    Failed(Phase),
    /// The greeting differs from the expected one, or something follows it.
    WrongGreeting,
    /// The server's FIN came before the whole greeting.
    ShortGreeting,
    /// The echo differs from the payload.
    WrongEcho,
    /// The echo is the payload of another connection of this run.
    ForeignEcho,
    /// The server's FIN came before the whole echo.
    ShortEcho,
    /// The server's FIN came before any byte of the echo.
    NoEcho,
    /// The server's FIN, or a reset, came while the client was greeted and had sent nothing.
    ClosedHeld,
    /// Something follows the echo.
    ExtraBytes,
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

impl Fault {
    /// The fault with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let mut all = Self::all().into_iter();
        all.find(|fault| fault.to_string() == name)
    }

    /// All of them.
    pub(crate) fn all() -> Vec<Self> {
        let phased = |fault: fn(Phase) -> Self| Phase::ALL.map(fault);
        let phased = [Self::Reset, Self::TimedOut, Self::Failed].map(phased);
        let others = [
            Self::Refused,
            Self::Unreachable,
            Self::WrongGreeting,
            Self::ShortGreeting,
            Self::WrongEcho,
            Self::ForeignEcho,
            Self::ShortEcho,
            Self::NoEcho,
            Self::ClosedHeld,
            Self::ExtraBytes,
        ];
        phased.into_iter().flatten().chain(others).collect()
    }
}

/// How far an exchange has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The connection is not established yet.
    Connect,
    /// The greeting is not complete.
    Greeting,
    /// The payload is not sent, or its echo is not complete.
    Echo,
    /// The echo is complete; the server's FIN has not come.
    Eof,
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

/// A fault, and a description that helps to find its cause.
#[derive(Clone, Debug)]
pub struct Wrong {
    /// Reports count by this.
    pub fault: Fault,
    /// One line for people. Received bytes are escaped.
    pub what: String,
}

impl Wrong {
    /// These bytes came from byte `at` on, in place of the expected ones. The description begins at
    /// the first that differs.
    pub(super) fn bytes(fault: Fault, at: u32, expected: &[u8], got: &[u8]) -> Self {
        let same = expected.iter().zip(got).take_while(|(a, b)| a == b).count();
        let at = at as usize + same;
        let (expected, got) = (Escaped(&expected[same..]), Escaped(&got[same..]));
        Self {
            fault,
            what: format!("at byte {at} expected {expected}, got {got}"),
        }
    }

    /// From byte `at` on, these bytes are those of the connection `owner`.
    pub(super) fn foreign_echo(at: usize, owner: u64, got: &[u8]) -> Self {
        let got = Escaped(got);
        Self {
            fault: Fault::ForeignEcho,
            what: format!("from byte {at} on got the bytes of connection {owner}: {got}"),
        }
    }
}

/// Received bytes for a terminal: escaped, and only the first of them.
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
