//! How a server is made: its addresses, its limits, its reactors.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use log::{info, warn};
use mio::{Events, Poll};
use socket2::Socket;

#[cfg(feature = "activation")]
use super::activation;
use super::address::LocalAddr;
use super::config::Config;
use super::guest::reactor;
use super::handle::Published;
use super::limits::{Capacity, fits};
use super::listener::Listener;
use super::sockets::{MOST_REACTORS, Sockets};
use super::system::{SOMAXCONN, effective_backlog};
use super::{EVENTS_PER_TURN, Server};
use crate::error::{explain, invalid};
use crate::protocol::Protocol;
use crate::reactor::{Full, Reactor, Rules};

/// The number of the first reactor that is added. The numbers below it are those of `P` and of the
/// metrics.
const FIRST_GUEST: usize = 2;

impl<P: Protocol> Server<P> {
    /// Listens on every address of `config`. From here on peers can connect; they are served once
    /// somebody [turns](Self::turn) the server.
    ///
    /// # Errors
    /// A setting outside its limits (`InvalidInput`), an address that cannot be listened on, or no
    /// descriptor left for the poll. The message is one line that names what failed and why.
    pub fn bind(config: &Config, shared: P::Shared) -> io::Result<Self> {
        check::<P>(config, &shared)?;
        let listeners = listen(config)?;
        report_backlog(config.backlog);
        Self::new(listeners, config, shared)
    }

    /// Takes over the sockets that a service manager passes in (sd_listen_fds(3)), in place of
    /// [`Config::listen`], [`Config::backlog`] and [`Config::reuse_port`], which the manager
    /// decides then. `None` if there are none. The sockets are left as they are, except that they
    /// become non-blocking. A [shutdown](Self::shut_down) leaves the peers in their queues to the
    /// manager's next process. Call this before there is a second thread: it removes the variables
    /// that describe the sockets from the environment. Needs the feature `activation`.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); or one of them is not a listening stream socket, TCP or Unix.
    #[cfg(feature = "activation")]
    pub fn inherit(config: &Config, shared: P::Shared) -> io::Result<Option<Self>> {
        let sockets = activation::sockets()?;
        if sockets.is_empty() {
            check::<P>(config, &shared)?;
            return Ok(None);
        }
        info!("sockets that were passed in: {}", sockets.len());
        let sockets = sockets.into_iter().enumerate();
        let named = sockets.map(|(i, socket)| (activation::name(i), socket));
        Self::listen_on(named, config, shared).map(Some)
    }

    /// Listens on sockets that others have bound, in place of [`Config::listen`],
    /// [`Config::backlog`] and [`Config::reuse_port`]. Other processes may share them. So the
    /// sockets are left as they are, except that they become non-blocking, and a
    /// [shutdown](Self::shut_down) leaves the peers that join their queues afterwards to the other
    /// processes.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); or one of them is not a listening stream socket, TCP or Unix.
    pub fn adopt(
        sockets: impl IntoIterator<Item = OwnedFd>,
        config: &Config,
        shared: P::Shared,
    ) -> io::Result<Self> {
        let sockets = sockets.into_iter().map(Socket::from);
        let named = sockets.map(|s| (format!("descriptor {}", s.as_raw_fd()), s));
        Self::listen_on(named, config, shared)
    }

    fn listen_on(
        sockets: impl Iterator<Item = (String, Socket)>,
        config: &Config,
        shared: P::Shared,
    ) -> io::Result<Self> {
        check::<P>(config, &shared)?;
        let inherit = |(name, socket)| {
            let inherited = Listener::inherit(socket);
            inherited.map_err(|e| explain(format!("cannot use {name}"), &e))
        };
        let listeners: Vec<_> = sockets.map(inherit).collect::<io::Result<_>>()?;
        if listeners.is_empty() {
            return Err(invalid("no socket to listen on"));
        }
        Self::new(listeners, config, shared)
    }

    fn new(listeners: Vec<Listener>, config: &Config, shared: P::Shared) -> io::Result<Self> {
        let poll = Poll::new().map_err(|e| explain("cannot make a poll", &e))?;
        let registry = poll.registry().try_clone();
        let registry = Arc::new(registry.map_err(|e| explain("cannot share the poll", &e))?);
        let published = Published::default();
        #[cfg(feature = "metrics")]
        let metrics = super::metrics::guest(config, &registry, &published)?;
        #[cfg(not(feature = "metrics"))]
        let metrics: Option<Box<dyn super::guest::Guest>> = None;
        // One more is open while the oldest leaves.
        let kept_back = metrics.as_ref().map_or(0, |m| m.stats().capacity + 1);
        let entry = Reactor::<Sockets, P>::ENTRY_BYTES;
        let capacity = Capacity::find(config.max_connections, entry, kept_back, 0)
            .map_err(|e| explain("cannot find out the descriptor limit", &e))?;
        if capacity.connections == 0 {
            return Err(io::Error::other(capacity.to_string()));
        }
        info!("{capacity}");
        let rules = rules(config, capacity.connections);
        Ok(Self {
            reactor: reactor(&registry, 0, listeners, shared, rules)?,
            poll,
            registry,
            events: Events::with_capacity(EVENTS_PER_TURN),
            guests: vec![],
            metrics,
            handle: None,
            published,
            #[cfg(feature = "cli")]
            signals: None,
            manager: None,
            is_batch_full: false,
            closed: 0,
            spare: capacity.spare,
            start: Instant::now(),
        })
    }

    /// Serves another protocol as well, on the addresses of `config`, with its own rules. Its
    /// [`max_connections`](Config::max_connections) must be given. Its connections use the
    /// descriptors that `P` leaves over. If these are too few, `P` may hold fewer from here on.
    /// Returns where it listens.
    ///
    /// A [shutdown](Self::shut_down) shuts it down, too. Its counters are only in the log: the
    /// [stats](Self::stats), the [metrics](Config::metrics) and the [handle](Self::handle) have
    /// those of `P`.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn add<Q>(&mut self, config: &Config, shared: Q::Shared) -> io::Result<Vec<LocalAddr>>
    where
        Q: Protocol + Send + 'static,
        Q::Shared: Send,
    {
        check::<Q>(config, &shared)?;
        #[cfg(feature = "metrics")]
        if config.metrics.is_some() {
            return Err(invalid("a protocol that is added has metrics of its own"));
        }
        if self.reactor.is_shutting_down() {
            return Err(invalid("a protocol is added to a server that shuts down"));
        }
        let number = FIRST_GUEST + self.guests.len();
        let Some(capacity) = config.max_connections else {
            return Err(invalid("a protocol that is added has no max_connections"));
        };
        if number >= MOST_REACTORS {
            return Err(invalid(format!("more than {MOST_REACTORS} protocols")));
        }
        let (capacity, listeners) = (capacity as usize, listen(config)?);
        let needed = capacity + listeners.len();
        let taken = needed.saturating_sub(self.spare);
        let table = capacity.saturating_mul(Reactor::<Sockets, Q>::ENTRY_BYTES);
        if taken >= self.reactor.stats().capacity as usize || !fits(table) {
            let why = format!("no room for {capacity} connections of another protocol");
            return Err(invalid(why));
        }
        let rules = rules(config, capacity);
        let guest = reactor::<Q>(&self.registry, number, listeners, shared, rules)?;
        self.spare = self.spare.saturating_sub(needed);
        self.reactor.reduce_capacity(taken);
        self.guests.push(Box::new(guest));
        Ok(self
            .guests
            .last()
            .map_or(vec![], |guest| guest.local_addrs()))
    }
}

/// Refuses settings outside their limits.
fn check<P: Protocol>(config: &Config, shared: &P::Shared) -> io::Result<()> {
    config
        .check()
        .and_then(|()| P::check(shared))
        .map_err(invalid)
}

fn listen(config: &Config) -> io::Result<Vec<Listener>> {
    let bind = |address| Listener::bind(address, config.backlog, config.reuse_port);
    config.listen.iter().map(bind).collect()
}

fn rules(config: &Config, capacity: usize) -> Rules {
    Rules {
        full: Full::NewcomersWait,
        linger: config.linger,
        grace: config.grace,
        stats: config.stats,
        ..Rules::new(capacity)
    }
}

/// How the kernel changes the backlog, because listen(2) does not say.
fn report_backlog(asked: u32) {
    let effective = effective_backlog(asked);
    if effective < asked {
        warn!("backlog {effective} instead of {asked}: clamped by {SOMAXCONN}");
    } else {
        info!("backlog {effective}");
    }
}
