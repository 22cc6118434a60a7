//! stdout and stderr as a server needs them: writing never blocks, never fails and never panics.
//!
//! A log that nobody reads would stop the server in write(2) as soon as the pipe, or the terminal,
//! is full. `O_NONBLOCK` belongs to the open file, which others share. So a pipe or a terminal is
//! opened again, which makes an open file of our own. What cannot be opened, such as a socket, is
//! asked before each line whether it has room. A line without room is dropped and counted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::escape::is_hidden;
use crate::DROPPED_LOG_LINES;
use crate::server::system;

/// One of the standard streams, line by line. Lines without room are dropped.
pub(crate) struct Lines {
    stream: Stream,
    /// How many lines were dropped since the last one that was written, if that is to be said.
    dropped: u64,
    /// Whether the last line has no end, because a disk was full for a while.
    is_torn: bool,
    told: Option<Told>,
}

/// The line that says how many were dropped.
type Told = Box<dyn Fn(u64) -> String + Send>;

impl Lines {
    pub(crate) fn new(stream: impl Write + AsRawFd + IsTerminal + Send + 'static) -> Self {
        Self {
            stream: Stream::new(stream),
            dropped: 0,
            is_torn: false,
            told: None,
        }
    }

    /// The same for a log, which says how many of its lines were dropped.
    pub(crate) fn log(
        stream: impl Write + AsRawFd + IsTerminal + Send + 'static,
        told: Told,
    ) -> Self {
        Self {
            told: Some(told),
            ..Self::new(stream)
        }
    }

    /// Writes as far as there is room, and notes the rest.
    fn put(&mut self, lines: &[u8]) -> bool {
        let written = self.stream.write(lines);
        if !matches!(written, Err(Stopped { written: 0, .. })) {
            self.is_torn = written.is_err();
        }
        written.is_ok()
    }
}

impl Write for Lines {
    /// Takes a whole line, whether or not it can be written.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let dropped = match &self.told {
            Some(told) if self.dropped > 0 => told(self.dropped),
            _ => String::new(),
        };
        let end = if self.is_torn { "\n" } else { "" };
        let longest = libc::PIPE_BUF - end.len() - dropped.len();
        let lines = [end, &dropped, &one_line(line, longest)].concat();
        if self.put(lines.as_bytes()) {
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

/// One of the standard streams, which never blocks.
pub(crate) struct Stream {
    stream: Box<dyn Write + Send>,
    fd: RawFd,
    /// `None` if it need not be asked: a file of our own, and what always has room.
    watch: Option<Watch>,
}

/// Why a stream has not taken all.
pub(crate) struct Stopped {
    /// How many bytes it has taken.
    pub(crate) written: usize,
    /// Whether it only lacks room, and becomes [writable](Stream::as_raw_fd) when it has some.
    pub(crate) is_full: bool,
}

impl Stream {
    pub(crate) fn new(stream: impl Write + AsRawFd + IsTerminal + Send + 'static) -> Self {
        match open_anew(&stream) {
            Ok(ours) => Self {
                fd: ours.as_raw_fd(),
                stream: Box::new(ours),
                watch: None,
            },
            Err(_) => Self {
                fd: stream.as_raw_fd(),
                watch: Watch::of(stream.as_raw_fd(), stream.is_terminal()).ok(),
                stream: Box::new(stream),
            },
        }
    }

    /// As `write_all`, as far as there is room.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        let mut written = 0;
        while written < bytes.len() {
            let rest = &bytes[written..];
            let room = self.watch.as_mut().map_or(rest.len(), Watch::ask);
            let stopped = |is_full| Err(Stopped { written, is_full });
            if room == 0 {
                return stopped(true);
            }
            match self.stream.write(rest.get(..room).unwrap_or(rest)) {
                Ok(n @ 1..) => written += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return stopped(e.kind() == io::ErrorKind::WouldBlock),
                Ok(_) => return stopped(false),
            }
        }
        let _ = self.stream.flush();
        Ok(())
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

/// The pipe or the terminal that the stream is, non-blocking. Not a file: another open file would
/// begin at its start, and a file has room in any case.
///
/// # Errors
/// It is something else, or cannot be opened again: a terminal of another user, for example, or
/// there is no /proc.
fn open_anew(stream: &(impl AsRawFd + IsTerminal)) -> io::Result<File> {
    let path = system::open_anew_at(stream.as_raw_fd()).ok_or(io::ErrorKind::Unsupported)?;
    if !stream.is_terminal() && !fs::metadata(&path)?.file_type().is_fifo() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

/// Asks a stream that may block whether it has room.
struct Watch {
    /// Invariant: open as long as this is there.
    fd: RawFd,
    poll: Poll,
    events: Events,
    /// How many bytes it takes if it has room: a pipe `PIPE_BUF`, a socket more. A terminal that
    /// has room for one byte says so.
    least: usize,
}

impl Watch {
    /// # Errors
    /// It always has room, as a file and /dev/null have; no poll accepts it for that reason.
    fn of(fd: RawFd, is_terminal: bool) -> io::Result<Self> {
        let poll = Poll::new()?;
        SourceFd(&fd).register(poll.registry(), Token(0), Interest::WRITABLE)?;
        Ok(Self {
            fd,
            poll,
            events: Events::with_capacity(1),
            least: if is_terminal { 1 } else { libc::PIPE_BUF },
        })
    }

    /// How many bytes can be written. Without an answer it assumes that there is room. Registering
    /// again makes the kernel check the stream again.
    fn ask(&mut self) -> usize {
        let asked = SourceFd(&self.fd)
            .reregister(self.poll.registry(), Token(0), Interest::WRITABLE)
            .and_then(|()| self.poll.poll(&mut self.events, Some(Duration::ZERO)));
        if asked.is_ok() && self.events.is_empty() {
            return 0;
        }
        self.least
    }
}

/// One line of at most `longest` bytes, whatever settings are quoted in it. A pipe would not take
/// more than `PIPE_BUF` at once, and a hidden character could make two lines of it.
pub(super) fn one_line(text: &[u8], longest: usize) -> String {
    let text = String::from_utf8_lossy(text);
    let mut line = String::with_capacity(text.len());
    for character in text.strip_suffix('\n').unwrap_or(&text).chars() {
        let whole = line.len();
        if is_hidden(character) {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
        if line.len() >= longest {
            line.truncate(whole);
            break;
        }
    }
    line.push('\n');
    line
}
