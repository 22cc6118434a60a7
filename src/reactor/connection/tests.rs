//! What a connection may do in one turn, and when its deadline begins anew.

use std::io;

use super::super::calls::{CALLS_PER_TURN, SLICE};
use super::super::models::{Chargen, Echo};
use super::*;
use crate::protocol::hello::{Hello, Settings};

/// Small, so that receives are often full.
pub(super) const SCRATCH: usize = 4;

pub(super) fn common<P: Protocol>(shared: P::Shared) -> Common<P> {
    Common {
        shared,
        scratch: [b'!'; SCRATCH].into(),
        lingers: true,
        bytes: Bytes::default(),
        kept: 0,
    }
}

/// A peer that sends without end, or reads without end. How often it was received from, how much of
/// that was discarded, and how much it was sent.
#[derive(Default)]
struct Flood {
    receives: usize,
    discarded: usize,
    sent: usize,
}

impl Stream for Flood {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receives += 1;
        Ok(buffer.len())
    }

    fn discard(&mut self, most: usize) -> io::Result<usize> {
        self.receives += 1;
        self.discarded += most.min(SLICE);
        Ok(most.min(SLICE))
    }

    fn send(&mut self, bytes: &[u8], _: bool) -> io::Result<usize> {
        self.sent += bytes.len();
        Ok(bytes.len())
    }

    fn half_close(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn short_is_all(&self) -> bool {
        true
    }
}

/// Drives it once more. It must not be done, and wants to go on without a new event.
fn flood<P: Protocol>(
    connection: &mut Connection<Flood, P>,
    common: &mut Common<P>,
    share: usize,
) -> Flood {
    connection.stream = Flood::default();
    let driven = connection.drive(common, Readiness::Event { more: false, share });
    let stop = driven.map(|waits| waits.stop);
    assert!(matches!(stop, Ok(Stop::Register)), "{stop:?}");
    std::mem::take(&mut connection.stream)
}

#[test]
fn a_flooding_peer_has_its_share_and_no_more() {
    let mut common = common::<Hello>(Settings::default());
    let mut connection = Connection::new(Flood::default(), &mut common);
    let mut drive = |share| {
        let flood = flood(&mut connection, &mut common, share);
        (flood.receives, flood.discarded)
    };
    // All calls but those that greet, echo and say FIN; then all; then all of its share.
    assert_eq!(drive(10 * SLICE), (CALLS_PER_TURN - 3, 0));
    assert_eq!(drive(10 * SLICE), (CALLS_PER_TURN, 4 * SLICE));
    assert_eq!(drive(SLICE + 1), (2, SLICE + 1));
    assert_eq!(drive(1), (1, 1));
}

#[test]
fn a_peer_that_reads_without_end_has_its_share_and_is_read_from() {
    let mut common = common::<Chargen>(());
    let mut connection = Connection::new(Flood::default(), &mut common);
    let Flood {
        receives,
        discarded,
        sent,
    } = flood(&mut connection, &mut common, 1);
    assert_eq!((receives, discarded), (1, 1));
    assert!((1..=SLICE).contains(&sent), "{sent} bytes");
    let Flood { receives, sent, .. } = flood(&mut connection, &mut common, 10 * SLICE);
    assert_eq!(receives, 1);
    assert!(sent > SLICE && sent <= 3 * SLICE, "{sent} bytes");
}

#[test]
fn an_echo_has_its_share_each_way() {
    let mut common = common::<Echo>(());
    let mut connection = Connection::new(Flood::default(), &mut common);
    let Flood { receives, sent, .. } = flood(&mut connection, &mut common, 1);
    assert_eq!((receives, sent), (1, SCRATCH));
    let Flood { receives, sent, .. } = flood(&mut connection, &mut common, SLICE);
    assert_eq!((receives, sent), (2, 2 * SCRATCH), "four calls");
}

/// A protocol that is patient between messages, and impatient within one.
struct Lines(bool);

impl Protocol for Lines {
    type Shared = ();
    const ENDS: &'static [&'static str] = &[];

    fn open((): &mut ()) -> Self {
        Self(false)
    }

    fn want<'a>(&'a self, (): &'a (), _: &'a [u8]) -> Want<'a> {
        if self.0 {
            Want::Send(b"ok\n")
        } else {
            Want::Receive
        }
    }

    fn handle_sent(&mut self, n: usize, (): &mut ()) {
        self.0 = n < 3;
    }

    fn handle_received(&mut self, _: &[u8], (): &mut ()) {
        self.0 = true;
    }

    fn kept(&self) -> usize {
        5
    }

    fn deadline(&self) -> Deadline {
        Deadline::absolute(self.0.into())
    }
}

#[test]
fn a_deadline_begins_anew_when_it_changes_there_and_back() {
    let mut common = common::<Lines>(());
    let mut connection = Connection::new(Flood::default(), &mut common);
    let event = Readiness::Event {
        more: false,
        share: 1,
    };
    let Waits { due, .. } = connection.drive(&mut common, event).unwrap();
    let patient = Due::Protocol(Deadline::absolute(0));
    assert_eq!((due, connection.due()), (Some(patient), patient));
}

/// A peer that has sent this much, and its FIN behind it.
struct Finished {
    sent: usize,
    calls: Vec<&'static str>,
}

impl Stream for Finished {
    fn recv(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.calls.push("recv");
        Ok(std::mem::take(&mut self.sent))
    }

    fn discard(&mut self, _: usize) -> io::Result<usize> {
        self.calls.push("discard");
        Ok(std::mem::take(&mut self.sent))
    }

    fn send(&mut self, bytes: &[u8], _: bool) -> io::Result<usize> {
        self.calls.push("send");
        Ok(bytes.len())
    }

    fn half_close(&mut self) -> io::Result<()> {
        self.calls.push("half-close");
        Ok(())
    }

    fn short_is_all(&self) -> bool {
        true
    }
}

fn finished<P: Protocol>(sent: usize, common: &mut Common<P>) -> Connection<Finished, P> {
    let calls = vec![];
    Connection::new(Finished { sent, calls }, common)
}

/// A protocol that goes on waiting after the peer's FIN, whatever it sent in between, ends.
#[test]
fn a_protocol_that_receives_after_the_fin_has_left_early() {
    let mut common = common::<Lines>(());
    let driven = finished(0, &mut common).drive(&mut common, Readiness::New);
    assert!(matches!(driven, Err(Reason::LeftEarly)), "{driven:?}");
}

#[test]
fn what_a_protocol_keeps_counts_from_the_start() {
    let mut common = common::<Lines>(());
    let connections = [finished(0, &mut common), finished(0, &mut common)];
    assert_eq!((common.kept, connections[0].kept()), (10, 5));
}

/// Registering reports what is here, so a new connection that has greeted makes no call to look for it.
#[test]
fn a_new_connection_greets_and_waits() {
    let mut common = common::<Hello>(Settings::default());
    let mut connection = finished(2, &mut common);
    let driven = connection.drive(&mut common, Readiness::New);
    assert!(driven.is_ok(), "{driven:?}");
    assert_eq!(connection.stream.calls, ["send"]);
}

/// If the event says that the FIN is here, one receive looks for it, and then nothing needs a half-close. A
/// new connection has not had an event.
#[test]
fn a_fin_that_is_here_saves_the_half_close() {
    let settings = || Settings {
        greeting: vec![],
        ..Settings::default()
    };
    let (more, share) = (true, SLICE);
    for (readiness, calls) in [
        (
            Readiness::Event { more, share },
            ["recv", "send", "discard"],
        ),
        (Readiness::New, ["recv", "send", "half-close"]),
    ] {
        let mut common = common::<Hello>(settings());
        common.lingers = false;
        let mut connection = finished(2, &mut common);
        let driven = connection.drive(&mut common, readiness);
        assert!(matches!(driven, Err(Reason::Ended(_))), "{driven:?}");
        assert_eq!(connection.stream.calls, calls);
    }
}

#[test]
fn a_half_close_makes_the_system_check_again_unless_it_says_otherwise() {
    assert!(Flood::default().half_close_reports());
}
