//! The reactors that share a server's poll: how each is made, and how the server uses it whatever
//! its protocol.

use std::io;
use std::sync::Arc;

use mio::{Events, Registry};

use super::address::LocalAddr;
use super::listener::Listener;
use super::sockets::Sockets;
use crate::error::explain;
use crate::protocol::Protocol;
use crate::reactor::{Moment, Reactor, Rules, Stats};

/// A reactor with these listeners. The poll reports them from here on.
pub(super) fn reactor<P: Protocol>(
    registry: &Arc<Registry>,
    number: usize,
    listeners: Vec<Listener>,
    shared: P::Shared,
    rules: Rules,
) -> io::Result<Reactor<Sockets, P>> {
    let sockets = Sockets::new(registry.clone(), number);
    for (key, listener) in listeners.iter().enumerate() {
        let registered = sockets.register_listener(key, listener);
        registered.map_err(|e| explain(format!("cannot poll {listener}"), &e))?;
    }
    Ok(Reactor::new(sockets, listeners, shared, rules))
}

/// What the server needs of each of its reactors.
pub(crate) trait Guest: Send {
    fn turn(&mut self, events: &Events, now: Moment) -> io::Result<()>;
    /// Whether some of these events are its own.
    #[cfg(feature = "metrics")]
    fn has_events(&self, events: &Events) -> bool;
    fn restart_deadlines(&mut self, began: Moment, now: Moment);
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

    #[cfg(feature = "metrics")]
    fn has_events(&self, events: &Events) -> bool {
        self.system.events(events).next().is_some()
    }

    fn restart_deadlines(&mut self, began: Moment, now: Moment) {
        self.restart_deadlines(began, now);
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
