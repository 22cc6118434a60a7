//! RFC 864, the character generator: lines without an end, for as long as the client takes them.
//! What a client sends is discarded.

use std::sync::LazyLock;

use hello_echo::{Deadline, Protocol, Want};

/// Characters in a line, before its end.
const LINE: usize = 72;

/// Where the pattern repeats: each line begins one character later than the one before.
const PERIOD: usize = LINES * (LINE + 2);
const LINES: usize = 95;

/// The pattern, several times, so that each send has many bytes.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| (0..8 * PERIOD).map(character).collect());

/// The character at this place of a client's stream.
pub fn character(place: usize) -> u8 {
    match (place / (LINE + 2) % LINES, place % (LINE + 2)) {
        (_, LINE) => b'\r',
        (_, column) if column > LINE => b'\n',
        (line, column) => b' ' + ((line + column) % LINES) as u8,
    }
}

/// One client, and its place in the pattern.
pub struct Chargen(usize);

impl Protocol for Chargen {
    type Shared = ();
    const ENDS: &'static [&'static str] = &[]; // only the client ends it

    fn open((): &mut ()) -> Self {
        Self(0)
    }

    fn want<'a>(&'a self, (): &'a (), _: &'a [u8]) -> Want<'a> {
        Want::Stream(&PATTERN[self.0..])
    }

    fn handle_sent(&mut self, n: usize, (): &mut ()) {
        self.0 = (self.0 + n) % PERIOD;
    }

    fn handle_received(&mut self, _: &[u8], (): &mut ()) {}

    fn deadline(&self) -> Deadline {
        Deadline::idle(0)
    }
}
