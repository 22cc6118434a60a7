//! A protocol of the tests alone, with what the others do not have: it streams and ends at the peer's
//! FIN, its last answer is longer than a slice, it has deadlines of two kinds, and it receives byte by
//! byte.

use std::sync::LazyLock;
use std::time::Duration;

use super::{Model, Owes, Past, Random, Renewal, Wait};
use crate::protocol::{Deadline, End, Protocol, Want};

/// Bytes of a verse: more than two slices.
const LENGTH: usize = 150_000;

static VERSE: LazyLock<Vec<u8>> = LazyLock::new(|| (0..LENGTH).map(letter).collect());

fn letter(place: usize) -> u8 {
    (place % LENGTH % 251) as u8
}

/// Waits for a byte, repeats the verse until the peer's FIN, and then sings the last verse to its end.
pub(crate) enum Verse {
    Waiting,
    /// The place in the verse, which is less than its length.
    Repeating(usize),
    Ending(usize),
}

impl Verse {
    pub(crate) const SUNG: End = End(0);
}

impl Protocol for Verse {
    type Shared = [Duration; 2];
    const ENDS: &'static [&'static str] = &["sung"];

    fn open(_: &mut [Duration; 2]) -> Self {
        Self::Waiting
    }

    fn want<'a>(&'a self, _: &'a [Duration; 2], _: &'a [u8]) -> Want<'a> {
        match *self {
            Self::Waiting => Want::Receive,
            Self::Repeating(place) => Want::Stream(&VERSE[place..]),
            Self::Ending(0) => Want::Close(Self::SUNG),
            Self::Ending(place) => Want::SendLast(&VERSE[place..]),
        }
    }

    fn handle_sent(&mut self, n: usize, _: &mut [Duration; 2]) {
        if let Self::Repeating(place) | Self::Ending(place) = self {
            *place = (*place + n) % LENGTH;
        }
    }

    fn handle_received(&mut self, received: &[u8], _: &mut [Duration; 2]) {
        assert!(!received.is_empty());
        *self = Self::Repeating(0);
    }

    fn handle_fin(&mut self, _: &mut [Duration; 2]) {
        if let Self::Repeating(place) = *self {
            *self = Self::Ending(place);
        }
    }

    fn most_received(_: &[Duration; 2]) -> usize {
        0 // the least that anybody can say, and it is taken for 1
    }

    fn waits(waits: &[Duration; 2]) -> Vec<Duration> {
        waits.to_vec()
    }

    fn deadline(&self) -> Deadline {
        match self {
            Self::Waiting => Deadline::absolute(0),
            Self::Repeating(_) | Self::Ending(_) => Deadline::idle(1),
        }
    }
}

impl Model for Verse {
    const NAME: &'static str = "verse";

    fn settings(random: &mut Random) -> [Duration; 2] {
        [(); 2].map(|()| Duration::from_millis(random.choose(&[0, 50, 300, 1000])))
    }

    fn owes(_: &[Duration; 2], past: &Past) -> Owes {
        if past.received == 0 {
            Owes::Receive
        } else if past.fin && past.sent % LENGTH == 0 {
            Owes::Close(Self::SUNG)
        } else {
            Owes::Byte(letter(past.sent))
        }
    }

    fn streams(past: &Past) -> bool {
        past.received > 0 && !past.fin
    }

    fn wait(waits: &[Duration; 2], past: &Past) -> Wait {
        match past.received {
            0 => Wait::new(0, waits[0], Renewal::Nothing),
            _ => Wait::new(1, waits[1], Renewal::Bytes),
        }
    }
}
