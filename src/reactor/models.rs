//! What each protocol promises, seen from outside: what its peers send, and what they must receive.
//! The simulation and the enumeration of outcomes check every protocol against it.

use std::sync::LazyLock;
use std::time::Duration;

use crate::protocol::hello::{Hello, Settings};
use crate::protocol::scrape::{Page, Scrape};
use crate::protocol::{End, Protocol, Want};

#[path = "../../tests/protocols/mod.rs"]
mod protocols;
mod verse;

pub(super) use protocols::chargen::{self, Chargen};
pub(super) use protocols::daytime::{self, Daytime};
pub(super) use protocols::echo::Echo;
pub(super) use verse::Verse;

/// Who makes the choices.
#[derive(Clone)]
pub(super) enum Random {
    /// splitmix64: it is small, and every seed is as good as the others.
    Seed(u64),
    /// A fuzzer. When its bytes are used up, the numbers of seed 0 follow.
    #[cfg(fuzzing)]
    Bytes(std::vec::IntoIter<u8>),
}

impl Random {
    pub(super) fn below(&mut self, n: usize) -> usize {
        let number = match self {
            Self::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ (z >> 31)
            }
            #[cfg(fuzzing)]
            Self::Bytes(bytes) => {
                let count = if n > 256 { 2 } else { 1 };
                let chosen = bytes.by_ref().take(count);
                let chosen = chosen.fold(0, |sum, byte| sum << 8 | u64::from(byte));
                if bytes.len() == 0 {
                    *self = Self::Seed(0);
                }
                chosen
            }
        };
        (number % n as u64) as usize
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(super) fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// What has happened on one peer's connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Past {
    /// Which peer it is.
    pub(super) id: usize,
    /// How many bytes the first receive brought, and how many all of them; without what was
    /// discarded.
    pub(super) first: usize,
    pub(super) received: usize,
    /// Whether a receive brought the peer's FIN.
    pub(super) fin: bool,
    /// How many bytes the kernel took.
    pub(super) sent: usize,
}

/// What the protocol must want next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owes {
    /// To send bytes, of which this is the first.
    Byte(u8),
    Receive,
    Close(End),
}

/// A protocol whose promise is known.
pub(super) trait Model: Protocol<Shared: Send> + Send {
    const NAME: &'static str;
    /// Whether it never ends by itself.
    const IS_ENDLESS: bool = false;

    /// Whether everything that was received and is not sent yet is on the heap.
    const KEEPS_ALL: bool = false;

    /// Settings, the same for the same numbers.
    fn settings(random: &mut Random) -> Self::Shared;

    /// The byte that peer `id` sends at this place. No two peers have the same sequence.
    fn byte(id: usize, place: usize) -> u8 {
        let (id, place) = (id as u64, place as u64);
        (id.wrapping_mul(0x94d0_49bb_1331_11eb) ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .to_le_bytes()[7]
    }

    fn owes(shared: &Self::Shared, past: &Past) -> Owes;

    /// Whether it discards what comes while it sends.
    fn streams(_: &Past) -> bool {
        false
    }

    /// Which deadline it has.
    fn wait(shared: &Self::Shared, past: &Past) -> Wait;
}

/// A deadline: its kind, how long it is, and what makes it begin anew.
pub(super) struct Wait {
    pub(super) kind: usize,
    pub(super) length: Duration,
    pub(super) renewal: Renewal,
}

impl Wait {
    fn new(kind: usize, length: Duration, renewal: Renewal) -> Self {
        Self {
            kind,
            length,
            renewal,
        }
    }
}

/// What makes a protocol's deadline begin anew.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewal {
    Nothing,
    Bytes,
    /// Something is to be sent, after it had waited for bytes.
    Answer,
}

impl Model for Hello {
    const NAME: &'static str = "hello";

    fn settings(random: &mut Random) -> Settings {
        Settings {
            greeting: random.choose(&["", "h", "hello\n"]).into(),
            max_read: 1 + random.below(8),
            timeout: Duration::from_millis(random.choose(&[0, 50, 1000])),
        }
    }

    fn owes(settings: &Settings, past: &Past) -> Owes {
        let message = past.first.min(settings.max_read);
        match past.sent.checked_sub(settings.greeting.len()) {
            None => Owes::Byte(settings.greeting[past.sent]),
            Some(_) if past.first == 0 => Owes::Receive,
            Some(echoed) if echoed < message => Owes::Byte(Self::byte(past.id, echoed)),
            Some(_) => Owes::Close(Self::ECHOED),
        }
    }

    fn wait(settings: &Settings, _: &Past) -> Wait {
        Wait::new(0, settings.timeout, Renewal::Nothing)
    }
}

/// What scrapers send, up to the byte at which they are answered.
const REQUESTS: [&[u8]; 3] = [
    b"GET /metrics HTTP/1.1\r\n\r\n",
    b"POST /metrics HTTP/1.1\r\n\r\n",
    b"\n\n\0",
];

/// The answers. The tests of the protocol check that they are right.
static ANSWERS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let answer = |request: &&[u8]| {
        let mut page = Scrape::settings(&mut Random::Seed(0));
        let mut scrape = Scrape::open(&mut page);
        scrape.handle_received(request, &mut page);
        match scrape.want(&page, &[]) {
            Want::SendLast(answer) => answer.to_vec(),
            want => panic!("{want:?}"),
        }
    };
    REQUESTS.iter().map(answer).collect()
});

impl Model for Scrape {
    const NAME: &'static str = "scrape";

    fn settings(_: &mut Random) -> Page {
        Box::new(|| "# HELP none\n".to_owned())
    }

    fn byte(id: usize, place: usize) -> u8 {
        let request = REQUESTS[id % REQUESTS.len()];
        request[place % request.len()]
    }

    fn owes(_: &Page, past: &Past) -> Owes {
        let kind = past.id % REQUESTS.len();
        if past.received < REQUESTS[kind].len() {
            return Owes::Receive;
        }
        match ANSWERS[kind].get(past.sent) {
            Some(byte) => Owes::Byte(*byte),
            None => Owes::Close(Self::ANSWERED),
        }
    }

    fn wait(_: &Page, past: &Past) -> Wait {
        let asked = past.received >= REQUESTS[past.id % REQUESTS.len()].len();
        Wait::new(asked.into(), Duration::from_secs(5), Renewal::Answer)
    }
}

impl Model for Daytime {
    const NAME: &'static str = "daytime";

    fn settings(random: &mut Random) -> daytime::Clock {
        random.choose(&[|| String::new(), || "noon".to_owned()])
    }

    fn owes(clock: &daytime::Clock, past: &Past) -> Owes {
        let line = clock() + "\r\n";
        match line.as_bytes().get(past.sent) {
            Some(byte) => Owes::Byte(*byte),
            None => Owes::Close(Self::TOLD),
        }
    }

    fn wait(_: &daytime::Clock, _: &Past) -> Wait {
        Wait::new(0, Duration::from_secs(60), Renewal::Nothing)
    }
}

impl Model for Echo {
    const NAME: &'static str = "echo";
    const KEEPS_ALL: bool = true;

    fn settings(_: &mut Random) {}

    fn owes((): &(), past: &Past) -> Owes {
        if past.sent < past.received {
            Owes::Byte(Self::byte(past.id, past.sent))
        } else if past.fin {
            Owes::Close(Self::FINISHED)
        } else {
            Owes::Receive
        }
    }

    fn wait((): &(), _: &Past) -> Wait {
        Wait::new(0, Duration::from_secs(60), Renewal::Bytes)
    }
}

impl Model for Chargen {
    const NAME: &'static str = "chargen";
    const IS_ENDLESS: bool = true;

    fn settings(_: &mut Random) {}

    fn owes((): &(), past: &Past) -> Owes {
        Owes::Byte(chargen::character(past.sent))
    }

    fn streams(_: &Past) -> bool {
        true
    }

    fn wait((): &(), _: &Past) -> Wait {
        Wait::new(0, Duration::from_secs(60), Renewal::Bytes)
    }
}

/// What is sent is what is owed. Of many bytes it compares the first and the last.
pub(super) fn check_sent<M: Model>(shared: &M::Shared, past: &Past, bytes: &[u8]) {
    let last = bytes.len().saturating_sub(8).max(8);
    let places = (0..bytes.len().min(8)).chain(last..bytes.len());
    for place in places {
        let sent = past.sent + place;
        let owed = M::owes(shared, &Past { sent, ..*past });
        assert_eq!(owed, Owes::Byte(bytes[place]), "byte {sent} of {past:?}");
    }
}

/// RFC 864's first two lines, as they stand there.
#[test]
fn the_pattern_is_that_of_the_rfc() {
    let mut sent = Chargen::open(&mut ());
    let Want::Stream(pattern) = sent.want(&(), &[]) else {
        panic!();
    };
    let mut lines = pattern.split_inclusive(|byte| *byte == b'\n');
    let first: &[u8] =
        br##" !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefg"##;
    assert_eq!(lines.next().unwrap(), [first, b"\r\n"].concat());
    assert_eq!(lines.next().unwrap(), [&first[1..], b"h\r\n"].concat());
    assert_eq!(pattern.last(), Some(&b'\n'), "it can be repeated");
    let (whole, second) = (pattern.len(), pattern[1]);
    sent.handle_sent(whole + 1, &mut ());
    assert!(matches!(sent.want(&(), &[]), Want::Stream([first, ..]) if *first == second));
}
