//! RFC 862, echo: everything comes back until the client's FIN. The server does not read from a
//! client that does not read, because it receives nothing while something is to be sent.

use hello_echo::{Deadline, End, Protocol, Unsent, Want};

/// One client: its bytes that are still to be sent, and whether its FIN has come.
#[derive(Default)]
pub struct Echo {
    owed: Unsent,
    finished: bool,
}

impl Echo {
    /// The client has received everything.
    pub const FINISHED: End = End(0);
}

impl Protocol for Echo {
    type Shared = ();
    const ENDS: &'static [&'static str] = &["finished"];

    fn open((): &mut ()) -> Self {
        Self::default()
    }

    fn want<'a>(&'a self, (): &'a (), scratch: &'a [u8]) -> Want<'a> {
        match self.owed.rest(scratch) {
            [] if self.finished => Want::Close(Self::FINISHED),
            [] => Want::Receive,
            rest => Want::Send(rest),
        }
    }

    fn handle_received(&mut self, received: &[u8], (): &mut ()) {
        self.owed = Unsent::in_scratch(received.len());
    }

    fn handle_sent(&mut self, n: usize, (): &mut ()) {
        self.owed.advance(n);
    }

    fn handle_fin(&mut self, (): &mut ()) {
        self.finished = true;
    }

    fn keep(&mut self, scratch: &[u8]) {
        self.owed.keep(scratch);
    }

    fn kept(&self) -> usize {
        self.owed.kept()
    }

    fn deadline(&self) -> Deadline {
        Deadline::idle(0)
    }
}
