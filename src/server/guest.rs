//! A reactor of a server that serves others as well, whatever its protocol.

use std::io;

use mio::Events;

use super::address::LocalAddr;
use super::sockets::Sockets;
use crate::protocol::Protocol;
use crate::reactor::{Moment, Reactor, Stats};

/// What the server needs of each of its reactors.
pub(super) trait Guest: Send {
    fn turn(&mut self, events: &Events, now: Moment) -> io::Result<()>;
    fn alarm(&self) -> Option<Moment>;
    fn shut_down(&mut self, now: Moment);
    fn is_shut_down(&self) -> bool;
    fn release_descriptor(&mut self, now: Moment);
    fn report(&self);
    fn stats(&self) -> &Stats;
    fn local_addrs(&self) -> Vec<LocalAddr>;
}

impl<P: Protocol> Guest for Reactor<Sockets, P>
where
    P: Send,
    P::Shared: Send,
{
    fn turn(&mut self, events: &Events, now: Moment) -> io::Result<()> {
        let ours = self.system.events(events);
        self.handle(ours, now)
    }

    fn alarm(&self) -> Option<Moment> {
        self.alarm()
    }

    fn shut_down(&mut self, now: Moment) {
        self.shut_down(now);
    }

    fn is_shut_down(&self) -> bool {
        self.is_shut_down()
    }

    fn release_descriptor(&mut self, now: Moment) {
        self.release_descriptor(now);
    }

    fn report(&self) {
        self.report();
    }

    fn stats(&self) -> &Stats {
        self.stats()
    }

    fn local_addrs(&self) -> Vec<LocalAddr> {
        local_addrs(self)
    }
}

pub(super) fn local_addrs<P: Protocol>(reactor: &Reactor<Sockets, P>) -> Vec<LocalAddr> {
    let listeners = reactor.listeners();
    listeners.map(|l| l.local_addr().clone()).collect()
}
