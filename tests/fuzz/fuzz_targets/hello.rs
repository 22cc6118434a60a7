//! The protocol machine, driven with arbitrary outcomes and compared with a model that has no
//! states: it looks at what has happened so far and says what is owed.

#![no_main]

use std::sync::LazyLock;

use hello_echo::hello::{Hello, MAX_MESSAGE, Settings};
use hello_echo::{Protocol, Want};
use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|run: Run| run.play());

#[derive(Arbitrary, Debug)]
struct Run {
    greeting: Size,
    max_read: Size,
    scratch: Size,
    steps: Vec<Step>,
}

/// What is done next. Which call that is depends on what the protocol wants, so every step is legal.
#[derive(Arbitrary, Debug)]
struct Step {
    /// Whether another client has the scratch buffer in between.
    keep: bool,
    /// How much is sent or received, as far as that is possible; at least one byte.
    size: Size,
    /// Where in [`NOISE`] that begins which the peer sends.
    from: u16,
}

/// From any point in the protocol these lead to its end.
const FINISH: [Step; 3] = [WHOLE, WHOLE, WHOLE];
const WHOLE: Step = Step::of(MAX_MESSAGE);

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
    settings: &'a Settings,
    sent: usize,
    message: Option<&'static [u8]>,
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
        let n = self.size.0.clamp(1, scratch.len());
        let received = &NOISE[usize::from(self.from)..][..n];
        scratch[..n].copy_from_slice(received);
        received
    }
}

impl Run {
    fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.greeting = NOISE[..self.greeting.0].to_vec();
        settings.max_read = self.max_read.0.max(1);
        settings
    }

    fn play(&self) {
        let (mut settings, unchanged) = (self.settings(), self.settings());
        let mut past = Past {
            settings: &unchanged,
            sent: 0,
            message: None,
        };
        let mut hello = Hello::open(&mut settings);
        let mut scratch = vec![b'!'; self.scratch.0.max(1)];
        for step in self.steps.iter().chain(&FINISH) {
            past.check(&hello, &scratch);
            if step.keep {
                hello.keep(&scratch);
                scratch.fill(b'!');
                past.check(&hello, &scratch);
            }
            match hello.want(&settings, &scratch) {
                Want::Send(bytes) | Want::SendLast(bytes) => {
                    let n = step.size.0.clamp(1, bytes.len());
                    hello.handle_sent(n, &mut settings);
                    past.sent += n;
                }
                Want::Receive => {
                    let received = step.receive(&mut scratch);
                    hello.handle_received(received, &mut settings);
                    past.message = Some(&received[..received.len().min(unchanged.max_read)]);
                }
                Want::Close(_) => return,
                Want::Stream(_) => panic!("hello takes its time to read"),
            }
        }
        past.check(&hello, &scratch);
        assert!(matches!(past.owed(), Want::Close(_)), "it has no end");
    }
}

impl Past<'_> {
    /// What must come next.
    fn owed(&self) -> Want<'_> {
        let Some(echoed) = self.sent.checked_sub(self.settings.greeting.len()) else {
            return Want::Send(&self.settings.greeting[self.sent..]);
        };
        match self.message {
            None => Want::Receive,
            Some(message) if echoed < message.len() => Want::SendLast(&message[echoed..]),
            Some(_) => Want::Close(Hello::ECHOED),
        }
    }

    fn check(&self, hello: &Hello, scratch: &[u8]) {
        let (want, owed) = (hello.want(self.settings, scratch), self.owed());
        assert!(
            want == owed,
            "it wants {}, but owes {}, after {} bytes sent",
            brief(want),
            brief(owed),
            self.sent
        );
    }
}

/// Without the bytes, of which there may be a million.
fn brief(want: Want<'_>) -> String {
    match want {
        Want::Send(bytes) => format!("to send {} bytes", bytes.len()),
        Want::SendLast(bytes) => format!("to send the last {} bytes", bytes.len()),
        want => format!("{want:?}"),
    }
}
