//! When a client has waited long enough: for its exchange, or for an address to answer.

use std::time::Duration;

use mio::Registry;

use super::super::channel::Ready;
use super::super::client::{Client, Role};
use super::Clients;
use crate::load::machine::exchange::Phase;
use crate::reactor::deadlines::Moment;

/// The kinds of deadlines: the timeout, and how long a connect waits for an answer before it goes on
/// to the next address of its name. 250 ms is the value of RFC 8305, section 5. The wait doubles with
/// each round, so a slow network is no dead one.
pub(super) const TIMEOUT: usize = 0;
const NEXT_ADDRESS: [Duration; 4] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// A held client waits for ever. Its place among the deadlines is its place in the queue of those that
/// will be finished, so that it needs no memory beside its entry.
pub(super) const HELD: usize = TIMEOUT + 1 + NEXT_ADDRESS.len();

/// How long each kind waits.
pub(super) fn waits(timeout: Duration) -> impl Iterator<Item = Duration> {
    let first = std::iter::once(timeout).chain(NEXT_ADDRESS);
    first.chain([Duration::MAX])
}

impl Clients {
    /// Sets the deadline of a connect: of its whole exchange, or of this address.
    pub(super) fn await_connect(&mut self, key: usize, now: Moment) {
        let target = &self.dialer.targets[self.slab[key].target as usize];
        let kind = match target.unsure() {
            Some(rounds) if self.timeout.is_zero() || self.timeout > NEXT_ADDRESS[0] => {
                TIMEOUT + 1 + rounds.min(NEXT_ADDRESS.len() - 1)
            }
            _ => TIMEOUT,
        };
        self.set_deadline(kind, key, now);
    }

    pub(super) fn set_deadline(&mut self, kind: usize, key: usize, now: Moment) {
        let running = self.clock.running(now);
        self.deadlines.set(&mut self.slab, kind, key, running);
    }

    /// Handles the clients whose time is over.
    pub(in crate::load::driver) fn expire(&mut self, registry: &Registry) {
        let now = self.clock.now();
        let running = self.clock.running(now);
        while let Some((kind, key)) = self.deadlines.expired(running) {
            let waited = self.clock.running(self.slab[key].began).until(running);
            if kind == TIMEOUT || (!self.timeout.is_zero() && waited >= self.timeout) {
                self.time_out(registry, key);
            } else {
                self.leave_address(registry, key, now);
            }
        }
    }

    /// A client's address has not answered yet, so it goes on to the next one.
    fn leave_address(&mut self, registry: &Registry, key: usize, now: Moment) {
        let Client {
            target, address, ..
        } = self.slab[key];
        let target = &mut self.dialer.targets[target as usize];
        target.leave(address);
        if target.current() == address {
            self.set_deadline(TIMEOUT, key, now); // others have been answered there
        } else {
            self.dial_again(registry, key);
        }
    }

    /// Closes a client whose time is over, unless what it waits for has arrived meanwhile: this
    /// process may have been stopped, or have too much to do.
    fn time_out(&mut self, registry: &Registry, key: usize) {
        self.deadlines.cancel(&mut self.slab, key);
        let id = self.slab[key].channel.exchange.id();
        self.drive(registry, key, Ready::UNKNOWN);
        let client = self.slab.get(key);
        let client = client.filter(|client| client.channel.exchange.id() == id);
        let Some(client) = client.filter(|client| client.role != Role::Held) else {
            return;
        };
        let wrong = client.channel.exchange.handle_timeout();
        if client.channel.exchange.phase() == Phase::Connect {
            // This client has no time left for another address, but later clients try it.
            self.dialer.targets[client.target as usize].fall_back(client.address);
        }
        self.close(key, Err(wrong));
    }
}
