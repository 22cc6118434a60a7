//! Drives one protocol over a socket, and is the one judge of a peer's errors.
//!
//! # Why no edge is lost
//!
//! mio reports a socket once when it *becomes* ready (`EPOLLET`). [`Connection::drive`] may
//! therefore stop only where another report is certain:
//! - at `WouldBlock`: the kernel reports the socket when that changes;
//! - after a message that came back short of the buffer, unless the event said that the peer's FIN
//!   is here too: the queue was empty then, so whatever comes next makes a new edge (epoll(7),
//!   question 9). Urgent data (TCP) or a passed descriptor (Unix) can end a receive early with more
//!   to come; the half-close that follows has the kernel look anew (Unix at once, TCP when our FIN
//!   is acknowledged), and while lingering only `WouldBlock` counts;
//! - before its first receive, as long as no event has been seen: registering reports what is
//!   already there;
//! - anywhere else, if it says [`Progress::Register`]: registering again has the kernel look at the
//!   socket anew and report it if it is ready.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;

use mio::Interest;

use crate::config::Config;
use crate::deadlines::Kind;
use crate::session::{End, Session, Want};

/// What a connection needs of its protocol: what it [wants](Want) done next, and what to tell it once
/// that is done. [`Session`] has the words.
#[allow(missing_docs, reason = "they are a Session's")]
pub trait Protocol {
    /// What all connections of the protocol share.
    type Context;

    fn want<'a>(&'a self, context: &'a Self::Context, scratch: &'a [u8]) -> Want<'a>;
    fn handle_sent(&mut self, n: usize, context: &Self::Context);
    /// Nothing received is the peer's FIN; so it is for what is discarded.
    fn handle_received(&mut self, received: &[u8], context: &Self::Context);
    fn handle_discarded(&mut self, n: usize, context: &Self::Context);
    fn handle_half_closed(&mut self, context: &Self::Context);
    fn keep(&mut self, scratch: &[u8]);
    fn wants_to_send(&self) -> bool;
}

impl Protocol for Session {
    type Context = Config;

    fn want<'a>(&'a self, config: &'a Config, scratch: &'a [u8]) -> Want<'a> {
        self.want(config, scratch)
    }

    fn handle_sent(&mut self, n: usize, config: &Config) {
        self.handle_sent(n, config);
    }

    fn handle_received(&mut self, received: &[u8], config: &Config) {
        self.handle_received(received.len(), config);
    }

    fn handle_discarded(&mut self, n: usize, config: &Config) {
        self.handle_received(n, config);
    }

    fn handle_half_closed(&mut self, config: &Config) {
        self.handle_half_closed(config);
    }

    fn keep(&mut self, scratch: &[u8]) {
        self.keep(scratch);
    }

    fn wants_to_send(&self) -> bool {
        self.wants_to_send()
    }
}

/// What a connection needs of its socket, all of it non-blocking. The errors are those of the system
/// calls.
pub trait Stream {
    /// As recv(2): 0 is the peer's FIN.
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Receives so many bytes at most, or 64 KiB if that is less, and forgets them; 0 is the peer's
    /// FIN.
    fn discard(&mut self, most: usize) -> io::Result<usize>;
    /// As send(2), and without SIGPIPE. With `more` the last segment may wait for what follows.
    fn send(&mut self, bytes: &[u8], more: bool) -> io::Result<usize>;
    /// Sends FIN after all that was sent.
    fn half_close(&mut self) -> io::Result<()>;
}

impl Stream for socket2::Socket {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        io::Read::read(self, buffer)
    }

    // Not inlined: so much on the stack is probed page by page on entry, of whoever has it.
    #[inline(never)]
    fn discard(&mut self, most: usize) -> io::Result<usize> {
        // With MSG_TRUNC, TCP frees what has come without copying it (tcp(7)); a Unix socket copies.
        let mut sink = [const { MaybeUninit::uninit() }; DISCARD];
        self.recv_with_flags(&mut sink[..most.min(DISCARD)], libc::MSG_TRUNC)
    }

    fn send(&mut self, bytes: &[u8], more: bool) -> io::Result<usize> {
        // Rust's start-up code ignores SIGPIPE, but a library does not know who called it.
        let more = if more { libc::MSG_MORE } else { 0 };
        self.send_with_flags(bytes, libc::MSG_NOSIGNAL | more)
    }

    fn half_close(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// How many calls on its socket a connection may make in one turn before the others have theirs. An
/// exchange needs three, and one more for a FIN that is there already. What needs more is a peer
/// that sends faster than we discard.
const CALLS_PER_TURN: usize = 4;

/// How much is discarded in one call at most, in bytes.
pub(crate) const DISCARD: usize = 64 << 10;

/// What an event tells about reading. Only a hint: whatever it claims, the calls decide.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Readiness {
    /// There was no event yet: send, but do not receive.
    Unknown,
    /// There was an event.
    Event {
        /// Whether the peer is said to have sent its FIN, or to be gone: then a receive that comes
        /// back short has one more to follow.
        fin: bool,
        /// How many bytes may be discarded now, at least one: its share of what a turn discards.
        share: usize,
    },
}

/// How far a connection got.
#[derive(Debug)]
pub(crate) enum Progress {
    /// It waits, and its registration will tell.
    Pending,
    /// It waits for this, which its registration does not tell or has told already.
    Register(Interest),
    /// It is over: close the socket.
    Done(Reason),
}

/// Why a connection is over.
#[derive(Debug)]
pub(crate) enum Reason {
    /// The session ran its course.
    Ended(End),
    /// The peer reset the connection, or was gone when we sent.
    Reset(io::Error),
    /// The socket failed in another way.
    Failed(io::Error),
    /// A deadline is over.
    Expired(Kind),
    /// The server shuts down and waits no longer.
    ShutDown,
}

impl From<io::Error> for Reason {
    /// EPIPE is what send(2) says of a reset that an event reported before, ENOTCONN what
    /// shutdown(2) says of it.
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
        match error.kind() {
            ConnectionReset | BrokenPipe | NotConnected => Self::Reset(error),
            _ => Self::Failed(error),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(End::Echoed) => f.write_str("echoed"),
            Self::Ended(End::LeftEarly) => f.write_str("left early"),
            Self::Reset(e) => write!(f, "was reset: {e}"),
            Self::Failed(e) => write!(f, "failed: {e}"),
            Self::Expired(Kind::Echo) => f.write_str("timed out"),
            Self::Expired(Kind::Linger) => f.write_str("echoed, but its FIN did not come in time"),
            Self::ShutDown => f.write_str("cut short by the shutdown"),
        }
    }
}

/// One peer: a socket, and where it stands in its protocol.
#[derive(Debug)]
pub(crate) struct Connection<S, P> {
    stream: S,
    session: P,
}

/// How many bytes were handed to the kernel, and how many came from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// From peers, with what was discarded.
    pub received: u64,
    /// To peers.
    pub sent: u64,
}

impl<S: Stream, P: Protocol> Connection<S, P> {
    pub(crate) fn new(stream: S, session: P) -> Self {
        Self { stream, session }
    }

    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    /// What it waits for. Derived from where it stands, stored nowhere.
    pub(crate) fn interest(&self) -> Interest {
        if self.session.wants_to_send() {
            Interest::WRITABLE
        } else {
            Interest::READABLE
        }
    }

    /// Takes the session as far as it goes now. Nothing in `scratch` is needed afterwards.
    pub(crate) fn drive(
        &mut self,
        context: &P::Context,
        scratch: &mut [u8],
        readiness: Readiness,
        bytes: &mut Bytes,
    ) -> Progress {
        let registered = self.interest();
        let stopped = self.advance(context, scratch, readiness, bytes);
        self.session.keep(scratch);
        match stopped {
            Stop::Done(reason) => Progress::Done(reason),
            Stop::Waiting if self.interest() == registered => Progress::Pending,
            Stop::Waiting | Stop::HadItsShare => Progress::Register(self.interest()),
        }
    }

    fn advance(
        &mut self,
        context: &P::Context,
        scratch: &mut [u8],
        readiness: Readiness,
        bytes: &mut Bytes,
    ) -> Stop {
        let (mut readable, mut fin, mut share) = match readiness {
            Readiness::Unknown => (false, false, 0),
            Readiness::Event { fin, share } => (true, fin, share),
        };
        let mut calls = 0;
        loop {
            let outcome = match self.session.want(context, scratch) {
                Want::Receive | Want::Discard if !readable => return Stop::Waiting,
                Want::Send { .. } | Want::Receive | Want::Discard if calls == CALLS_PER_TURN => {
                    return Stop::HadItsShare;
                }
                Want::Discard if share == 0 => return Stop::HadItsShare,
                Want::Send { bytes: owed, more } => match self.stream.send(owed, more) {
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Stop::Waiting,
                    Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                    sent => sent.map(|n| {
                        bytes.sent += n as u64;
                        self.session.handle_sent(n, context);
                    }),
                },
                Want::Receive => self.stream.recv(scratch).map(|n| {
                    readable = fin || n == scratch.len();
                    bytes.received += n as u64;
                    self.session.handle_received(&scratch[..n], context);
                }),
                // Whose FIN is here needs none of ours but that of close(2). One look, no more: the
                // echo may be held back until the FIN.
                Want::HalfClose if std::mem::take(&mut fin) && calls < CALLS_PER_TURN => {
                    self.discard(context, &mut share, bytes)
                }
                Want::Discard => self.discard(context, &mut share, bytes),
                // No event asks for these two, so they are not put off, whatever was spent so far.
                // Of the errors of shutdown(2) none goes away by trying again.
                Want::HalfClose => {
                    if let Err(e) = self.stream.half_close() {
                        return Stop::Done(e.into());
                    }
                    self.session.handle_half_closed(context);
                    Ok(())
                }
                Want::Close(end) => return Stop::Done(Reason::Ended(end)),
            };
            calls += 1;
            match outcome {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => readable = false,
                Err(e) => return Stop::Done(e.into()),
            }
        }
    }

    fn discard(
        &mut self,
        context: &P::Context,
        share: &mut usize,
        bytes: &mut Bytes,
    ) -> io::Result<()> {
        let n = self.stream.discard(*share)?;
        *share = share.saturating_sub(n);
        bytes.received += n as u64;
        self.session.handle_discarded(n, context);
        Ok(())
    }
}

impl<S> Connection<S, Session> {
    /// Whether its echo is out and only the peer's FIN is awaited.
    pub(crate) fn is_lingering(&self) -> bool {
        self.session.is_lingering()
    }
}

/// Why [`Connection::advance`] went no further.
enum Stop {
    Waiting,
    HadItsShare,
    Done(Reason),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape::Scrape;
    use crate::stats::Stats;

    const SCRATCH: usize = 4;
    /// What a client sends, in this order, however it is cut; more of it than a message may have.
    const CLIENT: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
    /// What a scraper does, which is refused at the first byte that is no end of a line.
    const SCRAPER: &[u8] = b"\n\n\0abcdefghijklmnopqrstuvwxyz";

    /// How one call on the socket turns out.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Outcome {
        /// As much as the buffer holds; FIN sent.
        All,
        /// One byte of it, or none where none is possible: 0 is the peer's FIN.
        One,
        Zero,
        WouldBlock,
        Interrupted,
        Reset,
    }
    use Outcome::*;
    const OUTCOMES: [Outcome; 6] = [All, One, Zero, WouldBlock, Interrupted, Reset];

    /// A socket that does what its script says and notes what was done to it.
    struct Scripted<'a> {
        script: std::slice::Iter<'a, Outcome>,
        used_up: bool,
        greeting: &'static [u8],
        peer: &'static [u8],
        sent: Vec<u8>,
        received: usize,
        /// How much the first receive brought.
        first: usize,
        fin: bool,
        half_closed: bool,
        /// Whether the last send may wait for what follows, and the last receive brought the FIN.
        held_back: bool,
        fin_came: bool,
        /// Invariant: why a connection that waits now to send, or to receive, would be told.
        send_edge: bool,
        recv_edge: bool,
    }

    impl Scripted<'_> {
        fn call(&mut self, all: usize) -> io::Result<usize> {
            let Some(outcome) = self.script.next() else {
                self.used_up = true;
                return Err(io::ErrorKind::Other.into());
            };
            match outcome {
                All => Ok(all),
                One => Ok(all.min(1)),
                Zero => Ok(0),
                WouldBlock => Err(io::ErrorKind::WouldBlock.into()),
                Interrupted => Err(io::ErrorKind::Interrupted.into()),
                Reset => Err(io::ErrorKind::ConnectionReset.into()),
            }
        }
    }

    impl Stream for Scripted<'_> {
        fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            assert!(
                self.sent.starts_with(self.greeting),
                "received before the greeting was out"
            );
            let outcome = self.call(buffer.len());
            if let Ok(n) = outcome {
                buffer[..n].copy_from_slice(&self.peer[self.received..self.received + n]);
                if self.received == 0 {
                    self.first = n;
                }
                self.received += n;
                self.fin_came = n == 0;
            }
            self.recv_edge = match &outcome {
                Ok(n) => *n < buffer.len() && !self.fin && !self.half_closed,
                Err(e) => e.kind() == io::ErrorKind::WouldBlock,
            };
            outcome
        }

        fn discard(&mut self, most: usize) -> io::Result<usize> {
            assert!(most > 0, "0 bytes would be taken for the FIN");
            self.recv(&mut [0; SCRATCH][..most.min(SCRATCH)])
        }

        fn send(&mut self, bytes: &[u8], more: bool) -> io::Result<usize> {
            assert!(!bytes.is_empty() && !self.half_closed);
            let outcome = self.call(bytes.len());
            self.sent
                .extend_from_slice(&bytes[..*outcome.as_ref().unwrap_or(&0)]);
            self.held_back = more && outcome.as_ref().is_ok_and(|n| *n == bytes.len());
            let full = |e: &io::Error| e.kind() == io::ErrorKind::WouldBlock;
            self.send_edge = outcome.as_ref().is_err_and(full);
            outcome
        }

        fn half_close(&mut self) -> io::Result<()> {
            assert!(
                !std::mem::replace(&mut self.half_closed, true),
                "half-closed twice"
            );
            self.held_back = false;
            self.call(0)
                .map(|_| ())
                .inspect_err(|_| self.half_closed = false)
        }
    }

    fn config() -> Config {
        Config {
            greeting: b"hi".to_vec(),
            max_read: 3,
            ..Config::default()
        }
    }

    /// Plays one script for a client. Returns whether the connection wanted more than the script has.
    fn play_client(script: &[Outcome], fin: bool, share: usize) -> bool {
        let config = config();
        let owed = |stream: &Scripted| {
            let message = &CLIENT[..stream.first.min(config.max_read)];
            [&config.greeting[..], message].concat()
        };
        let session = Session::new(&config);
        play(
            script,
            (fin, share),
            (b"hi", CLIENT),
            session,
            &config,
            owed,
        )
    }

    /// The same for a scraper.
    fn play_scraper(script: &[Outcome], fin: bool, share: usize) -> bool {
        let (mut refused, stats) = (Scrape::new(), Stats::default());
        refused.handle_received(SCRAPER, &stats);
        let Want::Send { bytes: answer, .. } = refused.want(&stats, &[]) else {
            panic!("{refused:?}");
        };
        let owed = |stream: &Scripted| match stream.received {
            ..=2 => vec![],
            _ => answer.to_vec(),
        };
        play(
            script,
            (fin, share),
            (b"", SCRAPER),
            Scrape::new(),
            &stats,
            owed,
        )
    }

    /// Plays a script against a connection that is driven again whenever it waits, as the server does.
    fn play<P: Protocol>(
        script: &[Outcome],
        (fin, share): (bool, usize),
        (greeting, peer): (&'static [u8], &'static [u8]),
        protocol: P,
        context: &P::Context,
        owed: impl Fn(&Scripted) -> Vec<u8>,
    ) -> bool {
        let stream = Scripted {
            script: script.iter(),
            used_up: false,
            greeting,
            peer,
            sent: vec![],
            received: 0,
            first: 0,
            fin,
            half_closed: false,
            held_back: false,
            fin_came: false,
            send_edge: false,
            recv_edge: false,
        };
        let mut connection = Connection::new(stream, protocol);
        let mut bytes = Bytes::default();
        let mut readiness = Readiness::Unknown;
        let done = loop {
            let mut scratch = [b'!'; SCRATCH];
            let registered = connection.interest();
            let progress = connection.drive(context, &mut scratch, readiness, &mut bytes);
            let stream = &connection.stream;
            match progress {
                Progress::Done(reason) => break reason,
                // Only a registration for the other direction, or none yet, excuses a missing edge.
                Progress::Pending => assert!(
                    matches!(readiness, Readiness::Unknown)
                        || registered.is_writable() && stream.send_edge
                        || registered.is_readable() && stream.recv_edge,
                    "a lost edge after {script:?}"
                ),
                Progress::Register(interest) => match connection.session.want(context, &scratch) {
                    Want::Send { .. } => assert!(interest.is_writable(), "{script:?}"),
                    Want::Receive | Want::Discard => {
                        assert!(interest.is_readable(), "{script:?}");
                    }
                    want => panic!("{want:?} waits for an event that never comes: {script:?}"),
                },
            }
            let lingers = connection.session.want(context, &scratch) == Want::Discard;
            assert_eq!(lingers, stream.half_closed, "{script:?}");
            assert!(!stream.held_back, "the echo is held back: {script:?}");
            readiness = Readiness::Event { fin, share };
        };
        let Connection { stream, session } = connection;
        assert_eq!(bytes.received, stream.received as u64);
        assert_eq!(bytes.sent, stream.sent.len() as u64);
        let owed = owed(&stream);
        let said = format!(
            "{script:?} sent {:?}, {done}",
            String::from_utf8_lossy(&stream.sent)
        );
        assert!(
            owed.starts_with(&stream.sent),
            "not a prefix of what is owed: {said}"
        );
        assert!(
            !stream.half_closed || stream.sent == owed,
            "half-closed too early: {said}"
        );
        match done {
            // With input unread, close(2) would lose what is held back.
            Reason::Ended(End::Echoed) if stream.held_back => assert!(stream.fin_came, "{said}"),
            Reason::Ended(End::Echoed) => assert!(stream.half_closed || stream.fin_came, "{said}"),
            Reason::Ended(End::LeftEarly) => assert_eq!(owed, greeting, "{said}"),
            Reason::Reset(_) | Reason::Failed(_) => {
                let last = script.last().copied();
                let fatal = last.is_some_and(|last| matches!(last, Zero | WouldBlock | Reset));
                let wants = session.want(context, b"!!!!");
                let half_closing = wants == Want::HalfClose;
                assert!(stream.used_up || fatal || half_closing, "{said}");
                assert!(!matches!(wants, Want::Close(_)), "{said}");
            }
            Reason::Expired(_) | Reason::ShutDown => panic!("without a clock: {said}"),
        }
        if !stream.used_up {
            assert_eq!(stream.script.len(), 0, "the script is not used up: {said}");
        }
        stream.used_up
    }

    /// Every script of at most `depth` outcomes, each extended only where the connection asks.
    fn explore(
        script: &mut Vec<Outcome>,
        depth: usize,
        asks: &dyn Fn(&[Outcome]) -> bool,
    ) -> usize {
        if !asks(script) || script.len() == depth {
            return 1;
        }
        let mut scripts = 1;
        for outcome in OUTCOMES {
            script.push(outcome);
            scripts += explore(script, depth, asks);
            script.pop();
        }
        scripts
    }

    #[test]
    fn every_outcome_of_every_call() {
        for (fin, share) in [(false, 2), (true, 2), (false, DISCARD), (true, DISCARD)] {
            for play in [play_client, play_scraper] {
                let scripts = explore(&mut vec![], 8, &|script| play(script, fin, share));
                println!("{scripts} scripts");
                assert!(scripts > 50_000);
            }
        }
    }

    #[test]
    fn a_flooding_peer_has_its_share_and_no_more() {
        /// How often it was received from, and how much of that was discarded.
        struct Flood(usize, usize);
        impl Stream for Flood {
            fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                Ok(buffer.len())
            }
            fn discard(&mut self, most: usize) -> io::Result<usize> {
                self.0 += 1;
                self.1 += most.min(DISCARD);
                Ok(most.min(DISCARD))
            }
            fn send(&mut self, bytes: &[u8], _: bool) -> io::Result<usize> {
                Ok(bytes.len())
            }
            fn half_close(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let config = Config::default();
        let mut connection = Connection::new(Flood(0, 0), Session::new(&config));
        let mut bytes = Bytes::default();
        let mut drive = |share| {
            connection.stream = Flood(0, 0);
            let event = Readiness::Event { fin: false, share };
            let progress = connection.drive(&config, &mut [0; SCRATCH], event, &mut bytes);
            assert!(
                matches!(progress, Progress::Register(interest) if interest.is_readable()),
                "{progress:?}"
            );
            let Flood(receives, discarded) = connection.stream;
            (receives, discarded)
        };
        // All calls but those that greet, echo and say FIN; then all; then all of its share.
        assert_eq!(drive(10 * DISCARD), (CALLS_PER_TURN - 3, 0));
        assert_eq!(drive(10 * DISCARD), (CALLS_PER_TURN, 4 * DISCARD));
        assert_eq!(drive(DISCARD + 1), (2, DISCARD + 1));
        assert_eq!(drive(1), (1, 1));
    }

    #[test]
    fn a_write_of_nothing_is_an_error() {
        assert!(!play_client(&[Zero], false, DISCARD));
    }
}
