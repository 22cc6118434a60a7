//! The server: reactors over real sockets, and the poll that reports what is ready.

#[cfg(feature = "activation")]
mod activation;
pub(crate) mod address;
mod bind;
pub(crate) mod config;
pub(crate) mod guest;
mod handle;
pub(crate) mod limits;
mod listener;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
mod notify;
#[cfg(feature = "cli")]
pub(crate) mod signals;
pub(crate) mod sockets;
pub(crate) mod system;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Registry};

use crate::error::explain;
use crate::protocol::Protocol;
use crate::protocol::hello::Hello;
use crate::reactor::{Moment, Reactor, Stats};
use address::LocalAddr;
use guest::{Guest, local_addrs};
use handle::Published;
#[cfg(feature = "metrics")]
use listener::Listener;
use notify::Manager;
use sockets::Sockets;

pub use handle::Handle;

/// The most events taken from one poll. Others wait in the kernel, in order, for the next.
const EVENTS_PER_TURN: usize = 256;

/// A turn's work is bounded, and takes a few milliseconds at most. If a turn takes longer than this, the
/// process was stopped, or had no processor.
const LONG_TURN: Duration = Duration::from_millis(10);

/// The limit of memory: an idle client of hello takes so many bytes of the table.
const _: () = assert!(
    Reactor::<Sockets, Hello>::ENTRY_BYTES <= 40,
    "an idle client costs more than 40 bytes"
);

/// A server of the protocol `P`, bound and listening. Nothing happens until it is [run](Self::run)
/// or [turned](Self::turn).
///
/// To nest it in another loop (epoll, tokio's `AsyncFd`, GLib), poll its descriptor, which is
/// readable when there is something to do. [Turn](Self::turn) the server then, and when its
/// [alarm](Self::alarm) is over. Edges are enough:
///
/// ```
/// use std::os::fd::{AsFd, AsRawFd};
/// use std::time::{Duration, Instant};
///
/// use hello_echo::{Config, Server, hello::Settings};
/// use mio::{Events, Interest, Poll, Token, unix::SourceFd};
///
/// let mut config = Config::default();
/// config.listen = vec!["127.0.0.1:0".parse()?];
/// let mut server: Server = Server::bind(&config, Settings::default())?;
/// let address = server.local_addrs()[0].to_string();
/// let client = std::thread::spawn(move || {
///     let mut client = std::net::TcpStream::connect(address)?;
///     std::io::copy(&mut "hi".as_bytes(), &mut client)?;
///     client.shutdown(std::net::Shutdown::Write)?;
///     std::io::read_to_string(client)
/// });
///
/// let (mut outer, mut events) = (Poll::new()?, Events::with_capacity(8));
/// let inner = server.as_fd().as_raw_fd();
/// outer.registry().register(&mut SourceFd(&inner), Token(0), Interest::READABLE)?;
/// while server.stats().closed().all(|(_, count)| count == 0) {
///     let alarm = server.alarm().map(|at| at.saturating_duration_since(Instant::now()));
///     outer.poll(&mut events, alarm)?; // and whatever else the loop waits for
///     server.turn(Some(Duration::ZERO))?;
/// }
/// assert_eq!(client.join().expect("it does not panic")?, "hello\nhi");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Server<P: Protocol = Hello> {
    poll: Poll,
    registry: Arc<Registry>,
    events: Events,
    reactor: Reactor<Sockets, P>,
    guests: Vec<Box<dyn Guest>>,
    /// A shutdown does not wait for this reactor, which runs until the others are done.
    metrics: Option<Box<dyn Guest>>,
    handle: Option<Handle>,
    published: Published,
    #[cfg(feature = "cli")]
    signals: Option<signals::Signals>,
    manager: Option<Manager>,
    /// Whether the last poll had as many events as it may have: there may be more.
    is_batch_full: bool,
    /// The connections that all reactors had closed by the end of the last turn.
    closed: u64,
    /// How many more connections the system allows than all reactors together may hold.
    spare: usize,
    start: Instant,
}

impl<P: Protocol> Server<P> {
    /// A handle that shuts this server down, or reads its stats, from elsewhere.
    ///
    /// # Errors
    /// No descriptor is left to wake the poll with.
    pub fn handle(&mut self) -> io::Result<Handle> {
        if let Some(handle) = &self.handle {
            return Ok(handle.clone());
        }
        let handle = Handle::new(&self.registry, self.published.clone());
        let handle = handle.map_err(|e| explain("cannot make a handle", &e))?;
        self.published.set(self.reactor.stats());
        self.handle = Some(handle.clone());
        Ok(handle)
    }

    /// Catches this process's signals from here on. SIGTERM and SIGINT [shut
    /// down](Self::shut_down); the second of them ends the process at once, with 143 or 130, if it
    /// comes at least 5 ms later. SIGUSR1 logs the [stats](Self::stats). SIGHUP and SIGXFSZ do
    /// nothing. Once the server is dropped all of them do nothing: their earlier actions are not
    /// restored.
    ///
    /// SIGINT and SIGHUP stay ignored if they are ignored before, as nohup(1) and shells leave
    /// them. The calling thread unblocks the signals that are caught. The other threads keep their
    /// masks. Needs the feature `cli`.
    ///
    /// # Errors
    /// No descriptor is left to wake the poll with, or the poll is broken.
    #[cfg(feature = "cli")]
    pub fn catch_signals(&mut self) -> io::Result<()> {
        let caught = signals::Signals::catch(&self.registry);
        self.signals = Some(caught.map_err(|e| explain("cannot catch signals", &e))?);
        Ok(())
    }

    /// Tells the service manager that clients can connect. From here on it also tells how the
    /// server is doing: its [stats](Self::stats) every two seconds while they change, a sign of
    /// life as often as the watchdog asks, and that it stops (sd_notify(3)). Does nothing if
    /// `NOTIFY_SOCKET` names no manager. Never waits for the manager.
    ///
    /// # Errors
    /// The manager cannot be told.
    pub fn notify_manager(&mut self) -> io::Result<()> {
        self.manager = Manager::greet(self.now(), self.stats())?;
        Ok(())
    }

    /// Where `P` listens, in the order of [`Config::listen`](crate::Config::listen), with the real
    /// ports. Empty once it has shut down.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<LocalAddr> {
        local_addrs(&self.reactor)
    }

    /// Where the [metrics](crate::Config::metrics) are served, if they are, with the real port.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics_addr(&self) -> Option<LocalAddr> {
        self.metrics.as_ref()?.local_addrs().into_iter().next()
    }

    /// How many connections of `P` are open.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.reactor.clients()
    }

    /// What became of the connections of `P` so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        self.reactor.stats()
    }

    /// What the connections of `P` share. A protocol reads some of it only when the server is
    /// bound: its [`waits`](Protocol::waits) and the length of its scratch buffer stay as they
    /// were.
    pub fn shared_mut(&mut self) -> &mut P::Shared {
        self.reactor.shared_mut()
    }

    /// Begins to shut down; the turns that follow do it. All peers that have connected by now are
    /// accepted and served. New ones are not accepted. A connection that is not done when
    /// [`Config::grace`](crate::Config::grace) is over is closed.
    pub fn shut_down(&mut self) {
        let now = self.now();
        self.reactor.shut_down(now);
        self.guests
            .iter_mut()
            .for_each(|guest| guest.shut_down(now));
    }

    /// Whether it has shut down: it listens nowhere, and no connection is left.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.reactor.is_shut_down() && self.guests.iter().all(|guest| guest.is_shut_down())
    }

    /// When it is to be [turned](Self::turn) even if its descriptor is not readable. `None`: never.
    #[must_use]
    pub fn alarm(&self) -> Option<Instant> {
        let wait = Moment::START.until(self.next_alarm()?);
        self.start.checked_add(wait)
    }

    /// Serves until it has [shut down](Self::shut_down), or until an error ends it; then logs the
    /// stats. While there is nothing to do the process sleeps in the poll, without a tick.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn run(&mut self) -> io::Result<()> {
        let mut turned = Ok(());
        while turned.is_ok() && !self.is_shut_down() {
            turned = self.turn(None);
        }
        self.report();
        turned
    }

    /// One turn: waits until there is something to do, at most for `timeout` (`None`: without a
    /// limit), and does it. The work is bounded, so the next turn is never far away.
    ///
    /// # Errors
    /// The poll is broken, or a listener does not listen any more. No peer, no shortage and no
    /// signal causes an error.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let interrupted = self.wait(timeout)?;
        let now = self.now();
        self.handle_requests(interrupted, now);
        let ours = self.reactor.system.events(&self.events);
        self.reactor.handle(ours, now)?;
        self.published.set(self.reactor.stats());
        #[cfg(feature = "metrics")]
        if self
            .metrics
            .as_ref()
            .is_some_and(|m| m.has_events(&self.events))
        {
            let waiting = self.reactor.listeners().map(Listener::waiting).sum();
            self.published.set_waiting(waiting);
        }
        for guest in self.guests.iter_mut().chain(&mut self.metrics) {
            guest.turn(&self.events, now)?;
        }
        self.release_descriptors(now);
        if let Some(manager) = &mut self.manager {
            let is_stopping = self.reactor.is_shutting_down();
            manager.handle(now, self.reactor.stats(), is_stopping);
        }
        self.restart_deadlines(now);
        Ok(())
    }

    /// If this process was stopped in the midst of the turn, which began at that moment.
    fn restart_deadlines(&mut self, began: Moment) {
        let now = self.now();
        if began.until(now) > LONG_TURN {
            self.reactor.restart_deadlines(began, now);
            for guest in self.guests.iter_mut().chain(&mut self.metrics) {
                guest.restart_deadlines(began, now);
            }
        }
    }

    /// Sleeps until the first of: an event, an alarm, `timeout`. Returns whether a signal
    /// interrupted it.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let alarm = self.next_alarm().map(|alarm| self.now().until(alarm));
        let timeout = [timeout, alarm].into_iter().flatten().min();
        match self.poll.poll(&mut self.events, timeout) {
            // A signal came, perhaps only SIGSTOP and SIGCONT. The batch is empty, and the next
            // turn waits.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(true),
            polled => {
                polled.map_err(|e| explain("cannot poll", &e))?;
                self.is_batch_full = self.events.iter().count() == EVENTS_PER_TURN;
                Ok(false)
            }
        }
    }

    fn now(&self) -> Moment {
        Moment::new(self.start, Instant::now())
    }
    /// When the next turn is due, even if there is no event.
    fn next_alarm(&self) -> Option<Moment> {
        let guests = self.guests.iter().chain(&self.metrics);
        let alarms = [
            // The poll's own descriptor makes no edge for what a batch leaves over.
            self.is_batch_full.then_some(Moment::START),
            self.reactor.alarm(),
            self.manager.as_ref().and_then(Manager::alarm),
            #[cfg(feature = "cli")]
            self.signals.as_ref().and_then(signals::Signals::alarm),
        ];
        let guests = guests.filter_map(|guest| guest.alarm());
        alarms.into_iter().flatten().chain(guests).min()
    }

    /// Does what a handle or a signal asks for.
    fn handle_requests(&mut self, interrupted: bool, now: Moment) {
        if self.handle.as_ref().is_some_and(Handle::wants_shutdown) {
            self.shut_down();
        }
        #[cfg(feature = "cli")]
        if let Some(signals) = &mut self.signals {
            for request in signals.hear(interrupted, &self.events, now) {
                match request {
                    signals::Request::ShutDown(_) => self.shut_down(),
                    signals::Request::Report => self.report(),
                    signals::Request::HangUp | signals::Request::Nothing => {}
                }
            }
        }
        #[cfg(not(feature = "cli"))]
        let _ = (interrupted, now);
    }

    /// When one reactor closes a connection, all reactors can use the descriptor.
    fn release_descriptors(&mut self, now: Moment) {
        let guests = || self.guests.iter().chain(&self.metrics);
        if guests().next().is_none() {
            return;
        }
        let closed = |stats: &Stats| stats.accepted - stats.open();
        let closed = closed(self.stats()) + guests().map(|g| closed(g.stats())).sum::<u64>();
        if std::mem::replace(&mut self.closed, closed) != closed {
            self.reactor.release_descriptor(now);
            for guest in self.guests.iter_mut().chain(&mut self.metrics) {
                guest.release_descriptor(now);
            }
        }
    }

    /// Logs what became of the connections, for each protocol.
    fn report(&self) {
        self.reactor.report();
        self.guests.iter().for_each(|guest| guest.report());
    }
}

/// Readable when there is something to do: the poll's descriptor.
impl<P: Protocol> AsFd for Server<P> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.registry.as_fd()
    }
}

impl<P: Protocol> fmt::Debug for Server<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("local_addrs", &self.local_addrs())
            .field("clients", &self.clients())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
