//! What stdout says: a line for each listener.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::stdio::{Stopped, Stream, one_line};
use crate::Server;

/// Lines for stdout. A reader that reads gets every line. A pipe has room for 64 KiB, so the lines
/// that it does not take at once are kept, and the server serves meanwhile, because perhaps nobody
/// reads.
pub(super) struct Announcement {
    stdout: Stream,
    text: String,
    written: usize,
}

const SERVER: Token = Token(0);
const STDOUT: Token = Token(1);

impl Announcement {
    /// Writes as many of the lines as stdout has room for.
    pub(super) fn begin(lines: impl Iterator<Item = String>) -> Self {
        let mut announcement = Self {
            stdout: Stream::new(io::stdout()),
            text: lines
                .map(|line| one_line(line.as_bytes(), libc::PIPE_BUF))
                .collect(),
            written: 0,
        };
        announcement.go_on();
        announcement
    }

    /// It writes line by line, so that no line of the log lands within one if both go into one
    /// pipe.
    fn go_on(&mut self) {
        while let Some(line) = self.text[self.written..].split_inclusive('\n').next() {
            match self.stdout.write(line.as_bytes()) {
                Ok(()) => self.written += line.len(),
                Err(Stopped { written, is_full }) if is_full => {
                    self.written += written;
                    return;
                }
                Err(_) => self.written += line.len(), // it is lost; the next may not be
            }
        }
    }

    fn is_done(&self) -> bool {
        self.written == self.text.len()
    }

    /// Serves until stdout has taken all lines, or until the server has shut down.
    ///
    /// # Errors
    /// As [`Server::turn`].
    pub(super) fn finish(&mut self, server: &mut Server) -> io::Result<()> {
        if self.is_done() {
            return Ok(());
        }
        let mut poll = match self.poll(server) {
            Ok(poll) => poll,
            Err(e) => {
                log::warn!("cannot wait for room on stdout: {e}");
                return Ok(());
            }
        };
        let mut events = Events::with_capacity(2);
        while !self.is_done() && !server.is_shut_down() {
            let alarm = server.alarm();
            let alarm = alarm.map(|at| at.saturating_duration_since(Instant::now()));
            match poll.poll(&mut events, alarm) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                polled => polled?,
            }
            if events.iter().any(|event| event.token() == STDOUT) {
                self.go_on();
            }
            server.turn(Some(Duration::ZERO))?;
        }
        Ok(())
    }

    /// What reports that the server has something to do, and that stdout has room.
    fn poll(&self, server: &Server) -> io::Result<Poll> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let fd = server.as_fd().as_raw_fd();
        SourceFd(&fd).register(registry, SERVER, Interest::READABLE)?;
        SourceFd(&self.stdout.as_raw_fd()).register(registry, STDOUT, Interest::WRITABLE)?;
        Ok(poll)
    }
}
