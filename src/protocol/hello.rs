//! hello: greet, read once, echo, close.
//!
//! ```text
//!   Greeting ──► Reading ──► Echoing ──► Close(ECHOED)
//!                   │
//!                   └──► the peer's FIN: nothing is owed, and the driver closes
//! ```

use std::time::Duration;

use super::{End, Protocol, Unsent, Want};

/// The longest greeting and the largest [`Settings::max_read`], in bytes: 1 MiB.
pub const MAX_MESSAGE: usize = 1 << 20;

/// The settings that all clients of a hello server share. [`Settings::default`] is the course's.
///
/// ```
/// let mut settings = hello_echo::hello::Settings::default();
/// settings.greeting = b"served by node 7\n".to_vec();
/// assert!(settings.check().is_ok());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Sent to every client as soon as it is accepted. May be empty; at most [`MAX_MESSAGE`] bytes.
    /// Default: `hello\n`.
    pub greeting: Vec<u8>,
    /// The longest message that is echoed, 1 to [`MAX_MESSAGE`] bytes. Default: 1000.
    pub max_read: usize,
    /// How long a client may take from being accepted to the last byte of its echo. After that it
    /// is disconnected, whether it is silent or does not read. Traffic does not extend the time.
    /// Zero is no limit. Default: 60 s.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            greeting: b"hello\n".to_vec(),
            max_read: 1000,
            timeout: Duration::from_secs(60),
        }
    }
}

impl Settings {
    /// Checks the limits that the fields document.
    ///
    /// # Errors
    /// Names the field that lies outside its limits, in words.
    pub fn check(&self) -> Result<(), String> {
        let (greeting, max_read) = (self.greeting.len(), self.max_read);
        if greeting > MAX_MESSAGE {
            return Err(format!(
                "a greeting of {greeting} bytes, longer than {MAX_MESSAGE}"
            ));
        }
        if !(1..=MAX_MESSAGE).contains(&max_read) {
            return Err(format!("a max_read of {max_read}, not 1 to {MAX_MESSAGE}"));
        }
        Ok(())
    }
}

/// The state of one client.
#[derive(Debug)]
pub struct Hello(State);

#[derive(Debug)]
enum State {
    /// The greeting is being sent; `sent` bytes of it are sent.
    Greeting { sent: u32 },
    /// The greeting is sent; the message has not come yet.
    Reading,
    /// The message has come; this is the rest of its echo.
    Echoing(Unsent),
}

impl Hello {
    /// The whole message was echoed.
    pub const ECHOED: End = End(0);
}

impl Protocol for Hello {
    type Shared = Settings;
    const ENDS: &'static [&'static str] = &["echoed"];

    fn check(settings: &Settings) -> Result<(), String> {
        settings.check()
    }

    #[inline]
    fn open(settings: &mut Settings) -> Self {
        Self(if settings.greeting.is_empty() {
            State::Reading
        } else {
            State::Greeting { sent: 0 }
        })
    }

    #[inline]
    fn want<'a>(&'a self, settings: &'a Settings, scratch: &'a [u8]) -> Want<'a> {
        match &self.0 {
            // `sent` may lie beyond a greeting that the embedder has made shorter meanwhile.
            State::Greeting { sent } => match settings.greeting.get(*sent as usize..) {
                Some(rest @ [_, ..]) => Want::Send(rest),
                _ => Want::Receive,
            },
            State::Reading => Want::Receive,
            State::Echoing(unsent) => match unsent.rest(scratch) {
                [] => Want::Close(Self::ECHOED),
                rest => Want::SendLast(rest),
            },
        }
    }

    #[inline]
    fn handle_sent(&mut self, n: usize, settings: &mut Settings) {
        match &mut self.0 {
            State::Greeting { sent } => {
                // Lossless: no greeting is longer than MAX_MESSAGE.
                *sent += u32::try_from(n).unwrap_or(u32::MAX);
                if *sent as usize == settings.greeting.len() {
                    self.0 = State::Reading;
                }
            }
            State::Reading => debug_assert!(false, "{n} bytes are sent that nobody owes"),
            State::Echoing(unsent) => unsent.advance(n),
        }
    }

    /// The message is what one read of `max_read` bytes would return. A receive may bring more; the
    /// bytes beyond are discarded here, rather than while lingering.
    #[inline]
    fn handle_received(&mut self, received: &[u8], settings: &mut Settings) {
        let len = received.len().min(settings.max_read);
        self.0 = State::Echoing(Unsent::in_scratch(len));
    }

    #[inline]
    fn keep(&mut self, scratch: &[u8]) {
        if let State::Echoing(unsent) = &mut self.0 {
            unsent.keep(scratch);
        }
    }

    #[inline]
    fn kept(&self) -> usize {
        match &self.0 {
            State::Greeting { .. } | State::Reading => 0,
            State::Echoing(unsent) => unsent.kept(),
        }
    }

    fn most_received(settings: &Settings) -> usize {
        settings.max_read.max(64 << 10)
    }

    fn waits(settings: &Settings) -> Vec<Duration> {
        vec![settings.timeout]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drives a client as the script says, and checks before each step that the client wants this
    /// step.
    struct Driver {
        settings: Settings,
        hello: Hello,
        scratch: Vec<u8>,
        sent: Vec<u8>,
    }

    impl Driver {
        fn new(mut settings: Settings) -> Self {
            Self {
                hello: Hello::open(&mut settings),
                settings,
                scratch: vec![0; 64],
                sent: vec![],
            }
        }

        /// The steps: `send` all that is wanted, `send:N` bytes of it, `recv:TEXT`, and `keep`,
        /// after which others use the scratch buffer.
        fn step(&mut self, step: &str) {
            let want = self.hello.want(&self.settings, &self.scratch);
            let (verb, operand) = step.split_once(':').unwrap_or((step, ""));
            match (verb, want) {
                ("send", Want::Send(bytes) | Want::SendLast(bytes)) => {
                    let n = if operand.is_empty() {
                        bytes.len()
                    } else {
                        operand.parse().unwrap()
                    };
                    self.sent.extend_from_slice(&bytes[..n]);
                    self.hello.handle_sent(n, &mut self.settings);
                }
                ("recv", Want::Receive) => {
                    self.scratch[..operand.len()].copy_from_slice(operand.as_bytes());
                    let received = &self.scratch[..operand.len()];
                    self.hello.handle_received(received, &mut self.settings);
                }
                ("keep", _) => {
                    self.hello.keep(&self.scratch);
                    self.scratch.fill(b'!');
                }
                (_, want) => panic!("{step} while it wants {want:?}"),
            }
        }
    }

    /// Expected: the bytes sent, and what the client wants at the end: `recv`, `send`, `send the
    /// last`, `close`.
    fn check_with(settings: Settings, script: &str, sent: &str, then: &str) {
        let mut driver = Driver::new(settings);
        script.split(' ').for_each(|step| driver.step(step));
        assert_eq!(String::from_utf8_lossy(&driver.sent), sent, "{script}");
        let wanted = match driver.hello.want(&driver.settings, &driver.scratch) {
            Want::Receive => "recv",
            Want::Send(_) => "send",
            Want::SendLast(_) => "send the last",
            Want::Close(Hello::ECHOED) => "close",
            want => panic!("{want:?} after {script}"),
        };
        assert_eq!(wanted, then, "{script}");
    }

    fn check(script: &str, sent: &str, then: &str) {
        check_with(Settings::default(), script, sent, then);
    }

    #[test]
    fn one_read_one_echo() {
        check("keep", "", "send");
        check("send", "hello\n", "recv");
        check("send recv:hi", "hello\n", "send the last");
        check("send recv:hi send:1", "hello\nh", "send the last");
        check("send recv:hi send", "hello\nhi", "close");
        check(
            "send:1 keep send:2 keep send recv:hi keep send",
            "hello\nhi",
            "close",
        );
        check(
            "send recv:hello send:2 keep send:1 keep send",
            "hello\nhello",
            "close",
        );
    }

    #[test]
    fn a_fin_in_place_of_a_message_gets_no_echo() {
        let mut driver = Driver::new(Settings::default());
        driver.step("send");
        driver.hello.handle_fin(&mut driver.settings);
        let wanted = driver.hello.want(&driver.settings, &driver.scratch);
        assert_eq!(
            wanted,
            Want::Receive,
            "that is how a connection leaves early"
        );
    }

    #[test]
    fn the_settings_change_what_they_say() {
        let settings = |set: fn(&mut Settings)| {
            let mut settings = Settings::default();
            set(&mut settings);
            settings
        };
        let no_greeting = settings(|s| s.greeting.clear());
        check_with(no_greeting, "recv:hi send", "hi", "close");
        let own_greeting = settings(|s| s.greeting = b"node 7\n".to_vec());
        check_with(own_greeting, "send", "node 7\n", "recv");
        let short = settings(|s| s.max_read = 3);
        check_with(short, "send recv:abcdef send", "hello\nabc", "close");
        let one = settings(|s| s.max_read = 1);
        check_with(one, "send recv:abc keep send", "hello\na", "close");
    }

    /// An embedder may change the settings while clients are greeted.
    #[test]
    fn a_greeting_that_becomes_shorter_is_over() {
        for sent in ["send:4", "send:5"] {
            let mut driver = Driver::new(Settings::default());
            driver.step(sent);
            driver.settings.greeting = b"hey\n".to_vec();
            driver.step("recv:hi");
            driver.step("send");
            assert!(driver.sent.ends_with(b"hi"), "{sent}");
        }
    }

    #[test]
    fn settings_have_limits() {
        let check = |greeting, max_read| {
            let greeting = vec![b'g'; greeting];
            Hello::check(&Settings {
                greeting,
                max_read,
                ..Settings::default()
            })
        };
        assert_eq!(check(0, 1), Ok(()));
        assert_eq!(check(MAX_MESSAGE, MAX_MESSAGE), Ok(()));
        let long = "a greeting of 1048577 bytes, longer than 1048576";
        assert_eq!(check(MAX_MESSAGE + 1, 1), Err(long.to_owned()));
        for max_read in [0, MAX_MESSAGE + 1] {
            let wrong = format!("a max_read of {max_read}, not 1 to 1048576");
            assert_eq!(check(0, max_read), Err(wrong));
        }
    }

    #[test]
    fn the_rest_of_an_echo_is_kept_until_it_is_sent() {
        let mut driver = Driver::new(Settings::default());
        for (step, kept) in [
            ("keep", 0),
            ("send", 0),
            ("keep", 0),
            ("recv:hello", 0),
            ("send:1", 0),
            ("keep", 4),
            ("send:3", 4),
            ("send", 0),
        ] {
            driver.step(step);
            assert_eq!(driver.hello.kept(), kept, "{step}");
        }
    }

    #[test]
    fn a_receive_has_room_for_the_longest_message() {
        let most_received = |max_read| {
            Hello::most_received(&Settings {
                max_read,
                ..Settings::default()
            })
        };
        assert_eq!([1, 64 << 10].map(most_received), [64 << 10; 2]);
        assert_eq!(most_received(MAX_MESSAGE), MAX_MESSAGE);
    }

    /// Every way to cut the greeting and the echo into writes, kept after each cut or not.
    #[test]
    fn every_split_of_the_writes_sends_the_same() {
        const MESSAGE: &str = "bytes";
        let mut splits = 0;
        for greeting in compositions(6) {
            for echo in compositions(MESSAGE.len()) {
                for kept in 0..1 << echo.len() {
                    let mut driver = Driver::new(Settings::default());
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
