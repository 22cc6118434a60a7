//! The protocol machine, driven with arbitrary outcomes and compared with a model that has no
//! states: it looks at what has happened so far and says what is owed.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use hello_echo::session::{End, Session, Want};
use hello_echo::{Config, MAX_MESSAGE};
use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|run: Run| run.play());

#[derive(Arbitrary, Debug)]
struct Run {
    greeting: Size,
    max_read: Size,
    scratch: Size,
    lingers: bool,
    steps: Vec<Step>,
}

/// What is done next. Which call that is depends on what the session wants, so every step is legal.
#[derive(Arbitrary, Debug)]
struct Step {
    /// Whether another client has the scratch buffer in between.
    keep: bool,
    /// How much is sent or received, as far as that is possible. To receive 0 is the peer's FIN.
    size: Size,
    /// Where in [`NOISE`] that begins which the peer sends.
    from: u16,
}

/// From any point in the protocol these lead to its end.
const FINISH: [Step; 5] = [WHOLE, WHOLE, WHOLE, WHOLE, FIN];
const WHOLE: Step = Step::of(MAX_MESSAGE);
const FIN: Step = Step::of(0);

/// 0 to [`MAX_MESSAGE`], every order of magnitude as likely as the others: were every size as
/// likely, nearly all would be large, and slow, and alike.
#[derive(Debug)]
struct Size(usize);

impl<'a> Arbitrary<'a> for Size {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let magnitude = u.int_in_range(0..=MAX_MESSAGE.ilog2())?;
        u.int_in_range(0..=1 << magnitude).map(Self)
    }
}

/// The bytes of greetings and messages are cut from this: what is lost, doubled or moved shows, and
/// the fuzzer need not invent a megabyte to send one.
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 1_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..MAX_MESSAGE + usize::from(u16::MAX))
        .map(|_| next())
        .collect()
});

/// What has happened on one connection.
struct Past<'a> {
    config: &'a Config,
    sent: usize,
    message: Option<&'static [u8]>,
    kept: bool,
    half_closed: bool,
    fin: bool,
}

impl Step {
    const fn of(size: usize) -> Self {
        Self {
            keep: false,
            size: Size(size),
            from: 0,
        }
    }

    fn receive(&self, scratch: &mut [u8]) -> &'static [u8] {
        let received = &NOISE[usize::from(self.from)..][..self.size.0.min(scratch.len())];
        scratch[..received.len()].copy_from_slice(received);
        received
    }
}

impl Run {
    fn config(&self) -> Config {
        let mut config = Config::default();
        config.greeting = NOISE[..self.greeting.0].to_vec();
        config.max_read = self.max_read.0.max(1);
        config.linger = Duration::from_secs(self.lingers.into());
        config
    }

    fn play(&self) {
        let config = self.config();
        let mut past = Past::new(&config);
        let mut session = Session::new(&config);
        let mut scratch = vec![b'!'; self.scratch.0.max(1)];
        for step in self.steps.iter().chain(&FINISH) {
            past.check(&session, &scratch);
            if step.keep {
                session.keep(&scratch);
                past.kept |= past.message.is_some();
                scratch.fill(b'!');
                past.check(&session, &scratch);
            }
            match session.want(&config, &scratch) {
                Want::Send { bytes, .. } => {
                    let n = step.size.0.clamp(1, bytes.len());
                    session.handle_sent(n, &config);
                    past.sent += n;
                }
                Want::Receive => {
                    let received = step.receive(&mut scratch);
                    session.handle_received(received.len(), &config);
                    past.receive(received);
                }
                Want::Discard => {
                    session.handle_received(step.size.0, &config);
                    past.fin = step.size.0 == 0;
                }
                Want::HalfClose if step.from % 2 == 1 => {
                    session.handle_received(step.size.0, &config);
                    past.fin = step.size.0 == 0;
                }
                Want::HalfClose => {
                    session.handle_half_closed(&config);
                    past.half_closed = true;
                }
                Want::Close(_) => return,
            }
        }
        past.check(&session, &scratch);
        assert!(matches!(past.owed(), Want::Close(_)), "it has no end");
    }
}

impl<'a> Past<'a> {
    fn new(config: &'a Config) -> Self {
        Self {
            config,
            sent: 0,
            message: None,
            kept: false,
            half_closed: false,
            fin: false,
        }
    }

    fn receive(&mut self, received: &'static [u8]) {
        let message = &received[..received.len().min(self.config.max_read)];
        self.fin = received.is_empty();
        self.message = Some(message).filter(|_| !self.fin);
    }

    /// What must come next.
    fn owed(&self) -> Want<'_> {
        let Some(echoed) = self.sent.checked_sub(self.config.greeting.len()) else {
            return Want::Send {
                bytes: &self.config.greeting[self.sent..],
                more: false,
            };
        };
        match self.message {
            None if self.fin => Want::Close(End::LeftEarly),
            None => Want::Receive,
            Some(message) if echoed < message.len() => Want::Send {
                bytes: &message[echoed..],
                more: !self.kept,
            },
            Some(_) if self.fin => Want::Close(End::Echoed),
            Some(_) if self.half_closed && self.config.linger.is_zero() => Want::Close(End::Echoed),
            Some(_) if self.half_closed => Want::Discard,
            Some(_) => Want::HalfClose,
        }
    }

    fn check(&self, session: &Session, scratch: &[u8]) {
        let (want, owed) = (session.want(self.config, scratch), self.owed());
        assert!(
            want == owed,
            "it wants {}, but owes {}, after {} bytes sent",
            brief(want),
            brief(owed),
            self.sent
        );
        let sends = matches!(want, Want::Send { .. });
        assert_eq!(session.wants_to_send(), sends);
        assert_eq!(session.is_lingering(), want == Want::Discard);
    }
}

/// Without the bytes, of which there may be a million.
fn brief(want: Want<'_>) -> String {
    match want {
        Want::Send { bytes, more } => format!("to send {} bytes, more: {more}", bytes.len()),
        want => format!("{want:?}"),
    }
}
