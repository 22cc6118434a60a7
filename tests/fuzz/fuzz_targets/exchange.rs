//! hello-load's exchange with a server that sends anything, in any pieces: its verdict is compared with
//! one that has no states, and looks at all that was sent and received.

#![no_main]

use std::io;

use hello_echo::load::Payloads;
use hello_echo::load::exchange::{Exchange, Expected, Fault, Next, Phase, Wrong};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|run: Run| run.play());

#[derive(Arbitrary, Debug)]
struct Run {
    greeting: Vec<u8>,
    shortest: u16,
    longest: u16,
    max_read: u16,
    seed: u64,
    id: u8,
    opened: u8,
    segment: u16,
    steps: Vec<Step>,
    end: End,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// The client goes on to its payload, if it is greeted.
    Begin,
    /// The kernel takes so many bytes of it.
    Send(u16),
    /// So many of the bytes come that are due next.
    Right(u16),
    /// The same, but for the bits of the last byte that are set here.
    Damaged(u16, u8),
    /// So many bytes of another connection's payload come.
    Foreign(u16, u8),
    /// Anything comes.
    Noise(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum End {
    Eof,
    TimedOut,
    Refused,
    Reset,
}

/// All that has happened.
struct Past<'a> {
    expected: &'a Expected,
    id: u64,
    /// The bytes of the greeting, and then of the echo, that have come; all of them are right.
    greeting: usize,
    echo: usize,
    begun: bool,
    sent: usize,
    /// How many bytes the first call handed over.
    first: usize,
}

impl Run {
    fn play(&self) {
        let id = u64::from(self.id);
        let (shortest, longest) = (self.shortest.into(), self.longest.into());
        let expected = Expected {
            greeting: self.greeting.clone(),
            payloads: Payloads::new(self.seed, shortest, longest),
            max_read: usize::from(self.max_read).max(1),
            opened: id + 1 + u64::from(self.opened),
        };
        let mut exchange = Exchange::new(id, &expected);
        let mut past = Past {
            expected: &expected,
            id,
            greeting: 0,
            echo: 0,
            begun: false,
            sent: 0,
            first: 0,
        };
        assert_eq!(exchange.next(), Next::Connect);
        exchange.handle_connected(&expected);
        past.check(&exchange);
        for step in &self.steps {
            let bytes = match step {
                Step::Begin => {
                    past.begun |= past.is_greeted();
                    exchange.begin();
                    past.check(&exchange);
                    continue;
                }
                Step::Send(n) => {
                    past.send(usize::from(*n), &mut exchange);
                    past.check(&exchange);
                    continue;
                }
                Step::Right(n) => past.due(*n),
                Step::Damaged(n, bits) => {
                    let mut bytes = past.due(*n);
                    bytes
                        .iter_mut()
                        .last()
                        .into_iter()
                        .for_each(|last| *last ^= bits);
                    bytes
                }
                Step::Foreign(n, id) => past.payload_of(u64::from(*id), past.echo, usize::from(*n)),
                Step::Noise(bytes) => bytes.clone(),
            };
            if bytes.is_empty() {
                continue; // that is the FIN, which is the end
            }
            let fault = past.receive(&bytes);
            let received = exchange.handle_received(&bytes, &expected);
            assert_eq!(seen(received), fault, "{bytes:?}");
            if fault.is_some() {
                return;
            }
            past.check(&exchange);
        }
        let phase = past.phase();
        let segment = usize::from(self.segment);
        match self.end {
            End::Eof => assert_eq!(seen(exchange.handle_eof(|| segment)), past.eof(segment)),
            End::TimedOut => {
                let fault = seen(Err(exchange.handle_timeout()));
                assert_eq!(fault, Some(Fault::TimedOut(phase)));
            }
            End::Refused => {
                let refused = io::ErrorKind::ConnectionRefused.into();
                assert_eq!(
                    seen(Err(exchange.handle_error(&refused))),
                    Some(Fault::Refused)
                );
            }
            End::Reset => {
                let held = past.is_greeted() && !past.begun;
                let fault = if held {
                    Fault::ClosedHeld
                } else {
                    Fault::Reset(phase)
                };
                let reset = io::ErrorKind::ConnectionReset.into();
                assert_eq!(seen(Err(exchange.handle_error(&reset))), Some(fault));
            }
        }
    }
}

/// The fault, whose description must be one short line.
fn seen(result: Result<(), Wrong>) -> Option<Fault> {
    let wrong = result.err()?;
    assert!(
        !wrong.what.is_empty() && wrong.what.len() < 300,
        "{}",
        wrong.what
    );
    assert!(!wrong.what.contains(char::is_control), "{:?}", wrong.what);
    Some(wrong.fault)
}

impl Past<'_> {
    fn length(&self) -> usize {
        self.expected.payloads.length(self.id)
    }

    /// The longest echo that is right.
    fn most(&self) -> usize {
        self.length().min(self.expected.max_read)
    }

    fn is_greeted(&self) -> bool {
        self.greeting == self.expected.greeting.len()
    }

    fn phase(&self) -> Phase {
        match self.begun {
            true if self.echo == self.most() => Phase::Eof,
            _ if self.is_greeted() => Phase::Echo,
            _ => Phase::Greeting,
        }
    }

    fn payload_of(&self, id: u64, place: usize, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.expected.payloads.fill(id, place, &mut bytes);
        bytes
    }

    /// At most `n` of the bytes that come next from a server that is right.
    fn due(&self, n: u16) -> Vec<u8> {
        let n = usize::from(n);
        let greeting = &self.expected.greeting[self.greeting..];
        if !greeting.is_empty() {
            greeting[..n.min(greeting.len())].to_vec()
        } else if self.begun {
            self.payload_of(self.id, self.echo, n.min(self.most() - self.echo))
        } else {
            vec![]
        }
    }

    fn send(&mut self, n: usize, exchange: &mut Exchange) {
        if let Next::Send(from) = exchange.next() {
            assert_eq!(from, self.sent);
            let n = n.clamp(1, self.length() - from);
            self.first = if from == 0 { n } else { self.first };
            self.sent += n;
            exchange.handle_sent(n);
        }
    }

    /// What is wrong with these bytes.
    fn receive(&mut self, bytes: &[u8]) -> Option<Fault> {
        if !self.begun {
            let right = self.expected.greeting[self.greeting..].starts_with(bytes);
            self.greeting += bytes.len();
            return (!right).then_some(Fault::WrongGreeting);
        }
        let due = self.payload_of(self.id, self.echo, bytes.len());
        let same = due.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        let room = self.most() - self.echo;
        if same >= bytes.len().min(room) {
            self.echo += bytes.len();
            return (bytes.len() > room).then_some(Fault::ExtraBytes);
        }
        // Eight bytes of a payload, from a place that eight divides, are no other connection's.
        let word = (self.echo + same).next_multiple_of(8);
        let rest = bytes.get(word - self.echo..).unwrap_or_default();
        let is_of = |id: &u64| rest.get(..8) == Some(&self.payload_of(*id, word, 8));
        let owner = (0..self.expected.opened).find(is_of);
        Some(match owner {
            Some(owner) if owner != self.id => Fault::ForeignEcho,
            _ => Fault::WrongEcho,
        })
    }

    /// What is wrong if the FIN comes now.
    fn eof(&self, segment: usize) -> Option<Fault> {
        match self.echo {
            _ if !self.is_greeted() => Some(Fault::ShortGreeting),
            _ if !self.begun => Some(Fault::ClosedHeld),
            echo if echo == self.most() => None,
            0 => Some(Fault::NoEcho),
            echo if echo < self.first.min(segment).min(self.most()) => Some(Fault::ShortEcho),
            _ => None,
        }
    }

    fn check(&self, exchange: &Exchange) {
        assert_eq!(exchange.is_greeted(), self.is_greeted() && !self.begun);
        assert_eq!(exchange.phase(), self.phase());
        assert_eq!(exchange.echoed(), self.echo as u64);
        let sends = self.begun && self.sent < self.length();
        let next = if sends {
            Next::Send(self.sent)
        } else {
            Next::Receive
        };
        assert_eq!(exchange.next(), next);
    }
}
