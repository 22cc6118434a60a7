//! stdout and stderr as a server needs them: writing never blocks, never fails and never panics.
//!
//! A log whose reader has stopped reading would stop the server in write(2) as soon as the pipe is
//! full. `O_NONBLOCK` is no way out: it belongs to the open file, which others share. So each line
//! asks first whether there is room, and is dropped and counted if there is none.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use hello_echo::DROPPED_LOG_LINES;
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

/// One of the standard streams, line by line.
///
/// A pipe that has room takes 4096 bytes (`PIPE_BUF`) without blocking, and no line is longer.
pub(crate) struct Lines<S> {
    stream: S,
    /// `None` for what always has room: a file, /dev/null.
    room: Option<(Poll, Events)>,
    /// Since the last line that was written; counted if it is to be said.
    dropped: u64,
    /// Whether the last line that was begun has no end: a disk is full, and later it is not.
    is_torn: bool,
    told: Option<Told>,
}

/// The line that tells how many were dropped.
type Told = Box<dyn Fn(u64) -> String + Send>;

impl<S: Write + AsRawFd> Lines<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            room: watch(stream.as_raw_fd()).ok(),
            stream,
            dropped: 0,
            is_torn: false,
            told: None,
        }
    }

    /// The same for a log, which tells how many of its lines were dropped.
    pub(crate) fn log(stream: S, told: Told) -> Self {
        Self {
            told: Some(told),
            ..Self::new(stream)
        }
    }

    /// Whether a line can be written now, or nobody knows. Registering again has the kernel look at
    /// the stream anew.
    fn has_room(&mut self) -> bool {
        let Some((poll, events)) = &mut self.room else {
            return true;
        };
        let fd = self.stream.as_raw_fd();
        let asked = SourceFd(&fd)
            .reregister(poll.registry(), Token(0), Interest::WRITABLE)
            .and_then(|()| poll.poll(events, Some(Duration::ZERO)));
        asked.is_err() || !events.is_empty()
    }
}

impl<S: Write> Lines<S> {
    /// As `write_all`, and notes what it leaves behind.
    fn put(&mut self, lines: &[u8]) -> bool {
        let mut rest = lines;
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(n @ 1..) => rest = rest.get(n..).unwrap_or_default(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        if rest.len() < lines.len() {
            self.is_torn = !rest.is_empty();
        }
        rest.is_empty()
    }
}

fn watch(fd: RawFd) -> io::Result<(Poll, Events)> {
    let poll = Poll::new()?;
    SourceFd(&fd).register(poll.registry(), Token(0), Interest::WRITABLE)?;
    Ok((poll, Events::with_capacity(1)))
}

impl<S: Write + AsRawFd> Write for Lines<S> {
    /// Takes a whole line, whatever becomes of it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let dropped = match &self.told {
            Some(told) if self.dropped > 0 => told(self.dropped),
            _ => String::new(),
        };
        let end: &[u8] = if self.is_torn { b"\n" } else { b"" };
        let lines = [end, dropped.as_bytes(), line].concat();
        if self.has_room() && self.put(&lines) {
            let _ = self.stream.flush();
            self.dropped = 0;
        } else if self.told.is_some() {
            self.dropped += 1;
            DROPPED_LOG_LINES.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
