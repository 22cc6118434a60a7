//! What the program says beside its report. It never holds the run up: a terminal can be stopped
//! (Ctrl-S), slow or not read at all.

use std::io::{self, IsTerminal};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::program::escape::escape;
use crate::program::stdio::{Stopped, Stream};

/// How long the end of the program waits for room on stderr.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Stderr {
    stream: Stream,
    is_terminal: bool,
    /// What had no room yet.
    kept: Vec<u8>,
}

impl Stderr {
    pub(super) fn new() -> Self {
        Self {
            stream: Stream::new(io::stderr()),
            is_terminal: io::stderr().is_terminal(),
            kept: vec![],
        }
    }

    /// Whether it can show a picture: a terminal that knows how a line is taken away.
    pub(super) fn shows_pictures(&self) -> bool {
        self.is_terminal && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// Writes as much as there is room for, and keeps the rest.
    pub(super) fn show(&mut self, text: &str) {
        self.kept.extend_from_slice(text.as_bytes());
        self.go_on();
    }

    /// The same for a line that says what is wrong.
    pub(super) fn complain(&mut self, why: &str) {
        self.show(&format!("hello-load: {}\n", escape(why)));
    }

    /// The same for a picture, of which only the latest matters. It is dropped while something else
    /// waits.
    pub(super) fn draw(&mut self, picture: &str) {
        self.go_on();
        if self.kept.is_empty() {
            self.show(picture);
        }
    }

    /// Takes the picture away. What is kept of it is not shown any more.
    pub(super) fn clear(&mut self, clear: &str) {
        self.kept.clear();
        self.show(clear);
    }

    /// Waits a moment for room for what is kept.
    pub(super) fn finish(mut self) {
        if !self.kept.is_empty() {
            let _ = self.await_room(); // without a poll there is nothing to wait with
        }
    }

    fn await_room(&mut self) -> io::Result<()> {
        let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1));
        let fd = self.stream.as_raw_fd();
        SourceFd(&fd).register(poll.registry(), Token(0), Interest::WRITABLE)?;
        let until = Instant::now() + PATIENCE;
        while !self.kept.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            poll.poll(&mut events, Some(left))?;
            self.go_on();
        }
        Ok(())
    }

    fn go_on(&mut self) {
        match self.stream.write(&self.kept) {
            Err(Stopped {
                written,
                is_full: true,
            }) => drop(self.kept.drain(..written)),
            _ => self.kept.clear(),
        }
    }
}
