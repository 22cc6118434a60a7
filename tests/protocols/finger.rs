//! RFC 1288, finger: a client sends a line, and the server answers. The line may arrive in any number
//! of pieces, and has a limit.

use hello_echo::{End, Protocol, Want};

/// Answers a line.
pub type Directory = fn(&str) -> String;

/// The longest line, in bytes.
pub const LONGEST: usize = 512;

/// One client: what has arrived of its line, then its answer.
pub enum Finger {
    Asking(Vec<u8>),
    Answering {
        answer: Vec<u8>,
        sent: usize,
        end: End,
    },
}

impl Finger {
    /// The client has received its answer.
    pub const ANSWERED: End = End(0);
    /// The client sent too much, and was told so.
    pub const TOO_LONG: End = End(1);
}

impl Protocol for Finger {
    type Shared = Directory;
    const ENDS: &'static [&'static str] = &["answered", "too long"];

    fn open(_: &mut Directory) -> Self {
        Self::Asking(Vec::new())
    }

    fn want<'a>(&'a self, _: &'a Directory, _: &'a [u8]) -> Want<'a> {
        match self {
            Self::Asking(_) => Want::Receive,
            Self::Answering { answer, sent, end } => match &answer[*sent..] {
                [] => Want::Close(*end),
                rest => Want::SendLast(rest),
            },
        }
    }

    fn handle_received(&mut self, received: &[u8], directory: &mut Directory) {
        let Self::Asking(line) = self else {
            return; // never: it does not want to receive
        };
        line.extend_from_slice(received);
        let (answer, end) = match line.iter().position(|byte| *byte == b'\n') {
            Some(len) if len <= LONGEST => {
                let line = String::from_utf8_lossy(&line[..len]);
                (directory(line.trim_end()), Self::ANSWERED)
            }
            None if line.len() <= LONGEST => return, // there is more to come
            _ => ("the line is too long".to_owned(), Self::TOO_LONG),
        };
        let (answer, sent) = ((answer + "\r\n").into_bytes(), 0);
        *self = Self::Answering { answer, sent, end };
    }

    fn handle_sent(&mut self, n: usize, _: &mut Directory) {
        if let Self::Answering { sent, .. } = self {
            *sent += n;
        }
    }
}
