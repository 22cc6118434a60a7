//! Every outcome of every call on a socket, for every protocol.

use std::io;

use super::super::calls::{CALLS_PER_TURN, SLICE};
use super::super::models::{Chargen, Daytime, Echo, Model, Owes, Past, Random, Verse, check_sent};
use super::tests::{SCRATCH, common};
use super::*;
use crate::protocol::hello::Hello;
use crate::protocol::scrape::Scrape;

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

/// What the events and the socket are like in a play.
#[derive(Clone, Copy, Debug)]
struct Conditions {
    more: bool,
    share: usize,
    short_is_all: bool,
    half_close_reports: bool,
}

/// A socket that does what its script says and notes what was done to it.
struct Scripted<'a, M: Model> {
    script: std::slice::Iter<'a, Outcome>,
    used_up: bool,
    shared: M::Shared,
    conditions: Conditions,
    /// Calls since it was last driven, without the half-close, which is never put off.
    calls: usize,
    past: Past,
    discarded: usize,
    /// Whether a receive or a discard brought the peer's FIN.
    fin_came: bool,
    half_closed: bool,
    /// Whether the last send may wait for what follows.
    held_back: bool,
    /// Invariant: why a connection that waits now to send, or to receive, would be told.
    send_edge: bool,
    recv_edge: bool,
    /// Whether the half-close will make an edge that is missing.
    is_in_doubt: bool,
}

impl<M: Model> Scripted<'_, M> {
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

    /// A call that can be put off.
    fn counted_call(&mut self, all: usize) -> io::Result<usize> {
        self.calls += 1;
        assert!(self.calls <= CALLS_PER_TURN, "the others wait for it");
        self.call(all)
    }

    fn owes(&self) -> Owes {
        M::owes(&self.shared, &self.past)
    }
}

impl<M: Model> Stream for Scripted<'_, M> {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        assert_eq!(self.owes(), Owes::Receive);
        let outcome = self.counted_call(buffer.len());
        self.recv_edge = false;
        match &outcome {
            Ok(0) => {
                (self.past.fin, self.fin_came, self.recv_edge) = (true, true, true);
            }
            Ok(n) => {
                for (place, byte) in (self.past.received..).zip(&mut buffer[..*n]) {
                    *byte = M::byte(self.past.id, place);
                }
                if self.past.received == 0 {
                    self.past.first = *n;
                }
                self.past.received += n;
                let is_short = *n < buffer.len() && !self.conditions.more;
                self.recv_edge = is_short && self.conditions.short_is_all;
                self.is_in_doubt = is_short;
            }
            Err(e) => self.recv_edge = e.kind() == io::ErrorKind::WouldBlock,
        }
        outcome
    }

    fn discard(&mut self, most: usize) -> io::Result<usize> {
        assert!(most > 0, "0 bytes would be taken for the FIN");
        assert!(M::streams(&self.past) || matches!(self.owes(), Owes::Close(_)));
        let outcome = self.counted_call(most.min(SCRATCH));
        self.recv_edge = match &outcome {
            Ok(n) => *n == 0,
            Err(e) => e.kind() == io::ErrorKind::WouldBlock,
        };
        let is_fin = matches!(outcome, Ok(0));
        self.past.fin |= is_fin;
        self.fin_came |= is_fin;
        self.discarded += *outcome.as_ref().unwrap_or(&0);
        outcome
    }

    fn send(&mut self, bytes: &[u8], more: bool) -> io::Result<usize> {
        assert!(!bytes.is_empty() && !self.half_closed);
        check_sent::<M>(&self.shared, &self.past, bytes);
        let outcome = self.counted_call(bytes.len());
        let n = *outcome.as_ref().unwrap_or(&0);
        self.past.sent += n;
        self.held_back = more && n == bytes.len();
        let full = |e: &io::Error| e.kind() == io::ErrorKind::WouldBlock;
        self.send_edge = outcome.as_ref().is_err_and(full);
        outcome
    }

    fn half_close(&mut self) -> io::Result<()> {
        assert!(matches!(self.owes(), Owes::Close(_)), "FIN too early");
        assert!(!self.half_closed, "half-closed twice");
        self.call(0)?;
        self.half_closed = true;
        self.held_back = false;
        self.recv_edge |= self.is_in_doubt && self.conditions.half_close_reports;
        Ok(())
    }

    fn short_is_all(&self) -> bool {
        self.conditions.short_is_all
    }

    fn half_close_reports(&self) -> bool {
        self.conditions.half_close_reports
    }
}

/// Plays a script against a connection that is driven again whenever it waits, as the reactor does.
/// Returns whether the connection wanted more than the script has.
fn play<M: Model>(seed: u64, script: &[Outcome], conditions: Conditions) -> bool {
    let stream = Scripted::<M> {
        script: script.iter(),
        used_up: false,
        shared: M::settings(&mut Random::Seed(seed)),
        conditions,
        calls: 0,
        past: Past {
            id: 2,
            ..Past::default()
        },
        discarded: 0,
        fin_came: false,
        half_closed: false,
        held_back: false,
        send_edge: false,
        recv_edge: false,
        is_in_doubt: false,
    };
    let mut common = common::<M>(M::settings(&mut Random::Seed(seed)));
    let mut connection = Connection::<_, M>::new(stream, &mut common);
    let mut readiness = Readiness::New;
    let mut registered = Interest::READABLE;
    let done = loop {
        common.scratch.fill(b'!');
        connection.stream.calls = 0;
        let driven = connection.drive(&mut common, readiness);
        let stream = &connection.stream;
        let Waits { interest, stop, .. } = match driven {
            Ok(waits) => waits,
            Err(reason) => break reason,
        };
        // Only a registration for something else, or none yet, excuses a missing edge; and where every edge
        // is certain, registering again would cost a call for nothing.
        let sends = !registered.is_writable() || stream.send_edge;
        let receives = !registered.is_readable() || stream.recv_edge;
        let is_certain = sends && receives;
        let is_new = matches!(readiness, Readiness::New);
        if stop == Stop::Pending {
            assert!(is_new || is_certain, "a lost edge after {script:?}");
        } else {
            let is_needed = is_new || !is_certain || registered != interest;
            assert!(is_needed, "registered for nothing after {script:?}");
        }
        let waits_to_send = matches!(stream.owes(), Owes::Byte(_));
        assert_eq!(interest.is_writable(), waits_to_send, "{script:?}");
        assert_eq!(
            interest.is_readable(),
            !waits_to_send || M::streams(&stream.past),
            "{script:?}"
        );
        let lingers = connection.due() == Due::Linger;
        assert_eq!(lingers, stream.half_closed, "{script:?}");
        assert!(
            !stream.held_back,
            "the last bytes are held back: {script:?}"
        );
        let Conditions { more, share, .. } = conditions;
        readiness = Readiness::Event { more, share };
        registered = interest;
    };
    let connection_kept = connection.kept();
    let stream = connection.stream;
    let Past { received, sent, .. } = stream.past;
    assert_eq!(common.bytes.received, (received + stream.discarded) as u64);
    assert_eq!(common.bytes.sent, sent as u64);
    assert_eq!(common.kept, connection_kept, "{script:?}");
    assert_done(&stream, script, &done);
    stream.used_up
}

/// Whether that was a reason to be done.
fn assert_done<M: Model>(stream: &Scripted<M>, script: &[Outcome], done: &Reason) {
    let (owes, said) = (
        stream.owes(),
        format!("{script:?} {:?}, {done:?}", stream.past),
    );
    match done {
        Reason::Ended(end) => {
            assert_eq!(owes, Owes::Close(*end), "{said}");
            // With input unread, close(2) would lose what is held back.
            assert!(
                stream.fin_came || stream.half_closed && !stream.held_back,
                "{said}"
            );
        }
        Reason::LeftEarly => assert!(owes == Owes::Receive && stream.past.fin, "{said}"),
        Reason::Reset(_) | Reason::Failed(_) => {
            let last = script.last();
            let fatal = matches!(last, Some(Zero | WouldBlock | Reset));
            let half_closing = matches!(owes, Owes::Close(_)) && !stream.half_closed;
            assert!(stream.used_up || fatal || half_closing, "{said}");
        }
        done => panic!("{done:?} without a clock: {said}"),
    }
    if !stream.used_up {
        assert_eq!(stream.script.len(), 0, "the script is not used up: {said}");
    }
}

/// Every script of at most `depth` outcomes, each extended only where the connection asks.
fn explore(script: &mut Vec<Outcome>, depth: usize, asks: &dyn Fn(&[Outcome]) -> bool) -> usize {
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

/// In every way in which an event and a socket can be.
fn explore_all<M: Model>(seed: u64, depth: usize, at_least: usize) {
    for (more, share) in [(false, 2), (true, 2), (false, SLICE), (true, SLICE)] {
        for (short_is_all, half_close_reports) in [(true, true), (false, true), (false, false)] {
            let conditions = Conditions {
                more,
                share,
                short_is_all,
                half_close_reports,
            };
            let asks = |script: &[Outcome]| play::<M>(seed, script, conditions);
            let scripts = explore(&mut vec![], depth, &asks);
            println!("{}, {conditions:?}: {scripts} scripts", M::NAME);
            assert!(scripts > at_least);
        }
    }
}

/// A seed whose settings are a greeting of one byte and up to three bytes of a message.
fn short_hello() -> u64 {
    let is_short = |seed: &u64| {
        let settings = Hello::settings(&mut Random::Seed(*seed));
        settings.greeting.len() == 1 && settings.max_read == 3
    };
    (0..1_000).find(is_short).unwrap()
}

#[test]
fn every_outcome_of_every_call_for_hello() {
    explore_all::<Hello>(short_hello(), 8, 50_000);
}

#[test]
fn every_outcome_of_every_call_for_a_scrape() {
    explore_all::<Scrape>(0, 8, 50_000);
}

#[test]
fn every_outcome_of_every_call_for_the_three_of_the_rfcs() {
    explore_all::<Daytime>(0, 8, 1_000);
    explore_all::<Echo>(0, 8, 50_000);
    explore_all::<Chargen>(0, 8, 50_000);
}

#[test]
fn every_outcome_of_every_call_for_a_stream_that_ends() {
    explore_all::<Verse>(0, 8, 50_000);
}

#[test]
fn a_write_of_nothing_is_an_error() {
    let conditions = Conditions {
        more: false,
        share: SLICE,
        short_is_all: true,
        half_close_reports: true,
    };
    assert!(!play::<Hello>(short_hello(), &[Zero], conditions));
}
