//! RFC 867, the time of day: one line for every client, then the end.

use hello_echo::{End, Protocol, Want};

/// Tells the time, as a line without its end.
pub type Clock = fn() -> String;

/// One client, and the text for it.
pub struct Daytime {
    line: Vec<u8>,
    sent: usize,
}

impl Daytime {
    /// The client has received the time.
    pub const TOLD: End = End(0);
}

impl Protocol for Daytime {
    type Shared = Clock;
    const ENDS: &'static [&'static str] = &["told"];

    fn open(clock: &mut Clock) -> Self {
        let line = (clock() + "\r\n").into_bytes();
        Self { line, sent: 0 }
    }

    fn want<'a>(&'a self, _: &'a Clock, _: &'a [u8]) -> Want<'a> {
        match &self.line[self.sent..] {
            [] => Want::Close(Self::TOLD),
            rest => Want::SendLast(rest),
        }
    }

    fn handle_sent(&mut self, n: usize, _: &mut Clock) {
        self.sent += n;
    }

    /// Never called, because it never wants to receive: nothing that a client sends matters (RFC 867).
    fn handle_received(&mut self, _: &[u8], _: &mut Clock) {}
}
