//! The protocol of one connection, as a state machine without a socket and without a clock.
//!
//! A session is asked what it [`want`](Session::want)s done next, somebody does it, and the session
//! is told how that went: [`handle_sent`](Session::handle_sent),
//! [`handle_received`](Session::handle_received), [`handle_half_closed`](Session::handle_half_closed).
//!
//! ```text
//!   Greeting ──► Reading ──► Echoing ──► HalfClosing ──► Lingering ──► Closed(Echoed)
//!                   │        (Kept)           │                             ▲
//!                   ▼ FIN: nothing is owed    └─────────────────────────────┘
//!                Closed(LeftEarly)              linger = 0, or the FIN is here already
//! ```
//!
//! Everything that can go wrong outside (a reset, a deadline, a full socket buffer) is the driver's
//! business: it drops the session, or leaves it as it is until the socket is ready again.

use crate::config::Config;

/// Where one connection stands in the protocol.
#[derive(Debug)]
pub struct Session(State);

/// Invariant: [`Echoing`](Self::Echoing) exists only while one driver holds the scratch buffer;
/// before anybody else may use that, [`Session::keep`] turns it into [`Kept`](Self::Kept).
#[derive(Debug)]
enum State {
    /// The greeting is going out; `sent` bytes of it are gone.
    Greeting { sent: u32 },
    /// The greeting is out, the message has not come yet.
    Reading,
    /// The message is the first `len` bytes of the scratch buffer; `sent` of them are echoed.
    Echoing { len: u32, sent: u32 },
    /// What the kernel would not take of the echo yet, on the heap until it does.
    Kept(Box<Unsent>),
    /// The echo is out, our FIN is not.
    HalfClosing,
    /// Our FIN is out; whatever still comes is discarded until the peer's FIN.
    Lingering,
    /// Nothing is left to do but to close the socket.
    Closed(End),
}

/// The rest of an echo, behind a cursor.
#[derive(Debug)]
struct Unsent {
    bytes: Box<[u8]>,
    sent: usize,
}

/// How a session that ran its course came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The message was echoed, every byte of it.
    Echoed,
    /// The peer's FIN came instead of a message.
    LeftEarly,
}

/// What a session wants done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want<'a> {
    /// Send some or all of these bytes (never none), then call [`Session::handle_sent`].
    Send {
        /// What to send.
        bytes: &'a [u8],
        /// Whether, once all of them are gone, a FIN follows at once, which may share the last
        /// segment with them (`MSG_MORE`, send(2)).
        more: bool,
    },
    /// Receive once into the scratch buffer, then call [`Session::handle_received`].
    Receive,
    /// Receive once, whatever comes and wherever it goes, then call [`Session::handle_received`].
    Discard,
    /// Shut down the sending side, then call [`Session::handle_half_closed`]. Where the peer's FIN
    /// may be here already, [`Discard`](Self::Discard) first: if it is, closing says FIN as well.
    HalfClose,
    /// Close the socket.
    Close(End),
}

impl Session {
    /// A session that has not sent anything yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self(if config.greeting.is_empty() {
            State::Reading
        } else {
            State::Greeting { sent: 0 }
        })
    }

    /// What to do next. `scratch` is the buffer that the last receive went into.
    #[must_use]
    pub fn want<'a>(&'a self, config: &'a Config, scratch: &'a [u8]) -> Want<'a> {
        match &self.0 {
            State::Greeting { sent } => Want::Send {
                bytes: &config.greeting[*sent as usize..],
                more: false,
            },
            State::Reading => Want::Receive,
            State::Lingering => Want::Discard,
            State::Echoing { len, sent } => Want::Send {
                bytes: &scratch[*sent as usize..*len as usize],
                more: true,
            },
            State::Kept(unsent) => Want::Send {
                bytes: &unsent.bytes[unsent.sent..],
                more: false,
            },
            State::HalfClosing => Want::HalfClose,
            State::Closed(end) => Want::Close(*end),
        }
    }

    /// `n` of the bytes that [`Want::Send`] offered are in the kernel's hands.
    pub fn handle_sent(&mut self, n: usize, config: &Config) {
        match &mut self.0 {
            State::Greeting { sent } => {
                *sent += length(n);
                if *sent as usize == config.greeting.len() {
                    self.0 = State::Reading;
                }
            }
            State::Echoing { len, sent } => {
                *sent += length(n);
                if sent == len {
                    self.0 = State::HalfClosing;
                }
            }
            State::Kept(unsent) => {
                unsent.sent += n;
                if unsent.sent == unsent.bytes.len() {
                    self.0 = State::HalfClosing;
                }
            }
            State::Reading | State::HalfClosing | State::Lingering | State::Closed(_) => {
                debug_assert!(
                    false,
                    "sent {n} bytes in {self:?}, which wants nothing sent"
                );
            }
        }
    }

    /// A receive brought `n` bytes; 0 is the peer's FIN.
    ///
    /// The message is what one read of `max_read` bytes would have returned. A receive may be
    /// larger: what it brought beyond those bytes is discarded, now instead of while lingering.
    pub fn handle_received(&mut self, n: usize, config: &Config) {
        match (&self.0, n) {
            (State::Reading, 0) => self.0 = State::Closed(End::LeftEarly),
            (State::Reading, n) => {
                self.0 = State::Echoing {
                    len: length(n.min(config.max_read)),
                    sent: 0,
                };
            }
            (State::HalfClosing | State::Lingering, 0) => self.0 = State::Closed(End::Echoed),
            (State::HalfClosing | State::Lingering, _) => {}
            _ => debug_assert!(false, "received {n} bytes in {self:?}, which wants none"),
        }
    }

    /// The sending side is shut down: our FIN is on its way.
    pub fn handle_half_closed(&mut self, config: &Config) {
        debug_assert!(
            matches!(self.0, State::HalfClosing),
            "half-closed in {self:?}"
        );
        self.0 = if config.linger.is_zero() {
            State::Closed(End::Echoed)
        } else {
            State::Lingering
        };
    }

    /// Takes what is still owed out of the scratch buffer, so that others may use that.
    ///
    /// This is the only allocation a session ever makes, and only a short write leads to it.
    pub fn keep(&mut self, scratch: &[u8]) {
        if let State::Echoing { len, sent } = self.0 {
            let bytes = scratch[sent as usize..len as usize].into();
            self.0 = State::Kept(Box::new(Unsent { bytes, sent: 0 }));
        }
    }

    /// Whether the next step waits for room in the socket's send buffer, not for bytes to arrive.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        matches!(
            self.0,
            State::Greeting { .. } | State::Echoing { .. } | State::Kept(_)
        )
    }

    /// Whether the echo is out and only the peer's FIN is awaited.
    #[must_use]
    pub fn is_lingering(&self) -> bool {
        matches!(self.0, State::Lingering)
    }
}

/// A length as a session stores it. Lossless: no greeting and no message is longer than
/// [`MAX_MESSAGE`](crate::config::MAX_MESSAGE).
fn length(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A session whose driver does what the script says; every step must be what it wants then.
    struct Driver {
        config: Config,
        session: Session,
        scratch: Vec<u8>,
        sent: Vec<u8>,
        lingers: bool,
    }

    impl Driver {
        fn new(config: Config) -> Self {
            Self {
                session: Session::new(&config),
                config,
                scratch: vec![0; 64],
                sent: vec![],
                lingers: false,
            }
        }

        /// `send` all that is wanted, `send:N` bytes of it, `recv:TEXT`, `fin`, `half-close`,
        /// `keep` and let somebody else have the scratch buffer.
        fn step(&mut self, step: &str) {
            let want = self.session.want(&self.config, &self.scratch);
            let (verb, operand) = step.split_once(':').unwrap_or((step, ""));
            match (verb, want) {
                ("send", Want::Send { bytes, .. }) => {
                    let n = if operand.is_empty() {
                        bytes.len()
                    } else {
                        operand.parse().unwrap()
                    };
                    self.sent.extend_from_slice(&bytes[..n]);
                    self.session.handle_sent(n, &self.config);
                }
                ("recv" | "fin", Want::Receive | Want::Discard | Want::HalfClose) => {
                    assert_eq!(verb == "fin", operand.is_empty());
                    self.scratch[..operand.len()].copy_from_slice(operand.as_bytes());
                    self.session.handle_received(operand.len(), &self.config);
                }
                ("half-close", Want::HalfClose) => self.session.handle_half_closed(&self.config),
                ("keep", _) => {
                    self.session.keep(&self.scratch);
                    self.scratch.fill(b'!');
                }
                (_, want) => panic!("{step} while it wants {want:?}"),
            }
            self.lingers |= verb == "half-close";
            let closed = matches!(self.session.0, State::Closed(_));
            assert_eq!(self.session.is_lingering(), self.lingers && !closed);
        }
    }

    /// Expected: the bytes sent, and the end if the script brings it about.
    fn check_with(config: Config, script: &str, sent: &str, end: Option<End>) {
        let mut driver = Driver::new(config);
        script.split(' ').for_each(|step| driver.step(step));
        assert_eq!(String::from_utf8_lossy(&driver.sent), sent, "{script}");
        let want = driver.session.want(&driver.config, &driver.scratch);
        let closed = if let Want::Close(end) = want {
            Some(end)
        } else {
            None
        };
        assert_eq!(closed, end, "{script}");
    }

    fn check(script: &str, sent: &str, end: Option<End>) {
        check_with(Config::default(), script, sent, end);
    }

    const ECHOED: Option<End> = Some(End::Echoed);
    const LEFT: Option<End> = Some(End::LeftEarly);

    #[test]
    fn one_read_one_echo() {
        check("keep", "", None);
        check("send", "hello\n", None);
        check("send fin", "hello\n", LEFT);
        check("send recv:hi send", "hello\nhi", None);
        check("send recv:hi send half-close", "hello\nhi", None);
        check("send recv:hi send half-close fin", "hello\nhi", ECHOED);
        check("send recv:hi send fin", "hello\nhi", ECHOED);
        check("send recv:hi send recv:more", "hello\nhi", None);
        check(
            "send recv:hi send half-close recv:more recv:andmore fin",
            "hello\nhi",
            ECHOED,
        );
        check(
            "send:1 keep send:2 keep send recv:hi keep send half-close fin",
            "hello\nhi",
            ECHOED,
        );
        check(
            "send recv:hello send:2 keep send:1 keep send half-close fin",
            "hello\nhello",
            ECHOED,
        );
    }

    #[test]
    fn the_settings_change_what_they_say() {
        let config = |set: fn(&mut Config)| {
            let mut config = Config::default();
            set(&mut config);
            config
        };
        let no_greeting = config(|c| c.greeting.clear());
        check_with(
            no_greeting.clone(),
            "recv:hi send half-close fin",
            "hi",
            ECHOED,
        );
        check_with(no_greeting, "fin", "", LEFT);
        let own_greeting = config(|c| c.greeting = b"node 7\n".to_vec());
        check_with(own_greeting, "send fin", "node 7\n", LEFT);
        let short = config(|c| c.max_read = 3);
        check_with(
            short,
            "send recv:abcdef send half-close fin",
            "hello\nabc",
            ECHOED,
        );
        let one = config(|c| c.max_read = 1);
        check_with(
            one,
            "send recv:abc keep send half-close recv:d fin",
            "hello\na",
            ECHOED,
        );
        let abrupt = config(|c| c.linger = Duration::ZERO);
        check_with(
            abrupt.clone(),
            "send recv:hi send half-close",
            "hello\nhi",
            ECHOED,
        );
        check_with(
            abrupt,
            "send recv:hi send:1 keep send half-close",
            "hello\nhi",
            ECHOED,
        );
    }

    /// Every way to cut the greeting and the echo into writes, kept after each cut or not.
    #[test]
    fn every_split_of_the_writes_sends_the_same() {
        const MESSAGE: &str = "bytes";
        let mut splits = 0;
        for greeting in compositions(6) {
            for echo in compositions(MESSAGE.len()) {
                for kept in 0..1 << echo.len() {
                    let mut driver = Driver::new(Config::default());
                    greeting
                        .iter()
                        .for_each(|n| driver.step(&format!("send:{n}")));
                    driver.step(&format!("recv:{MESSAGE}"));
                    for (i, n) in echo.iter().enumerate() {
                        if kept & 1 << i != 0 {
                            driver.step("keep");
                        }
                        driver.step(&format!("send:{n}"));
                    }
                    driver.step("half-close");
                    driver.step("fin");
                    assert_eq!(driver.sent, b"hello\nbytes");
                    splits += 1;
                }
            }
        }
        assert_eq!(
            splits,
            32 * 162,
            "2^5 splits of 6 bytes; of 5 bytes, each with 2^parts keeps"
        );
    }

    /// All the ways to write `n` as a sum of positive numbers, in order: 2^(n - 1).
    fn compositions(n: usize) -> Vec<Vec<usize>> {
        if n == 0 {
            return vec![vec![]];
        }
        let behind = |first| {
            compositions(n - first)
                .into_iter()
                .map(move |rest| (first, rest))
        };
        let join = |(first, rest): (usize, Vec<usize>)| [vec![first], rest].concat();
        (1..=n).flat_map(behind).map(join).collect()
    }
}
