//! The server: a [`Reactor`] over real sockets, with the poll that tells it what is ready.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use log::{info, warn};
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::{SockAddr, Socket};

use crate::activation;
use crate::address::LocalAddr;
use crate::config::Config;
use crate::deadlines::Moment;
use crate::limits::Capacity;
use crate::listener::{Listener, effective_backlog};
use crate::notify::Manager;
use crate::reactor::{ENTRY_BYTES, Event, Reactor, SCRAPES, System};
use crate::scrape;
use crate::signals::{Request, Signals};
use crate::stats::Stats;

/// Events taken from one poll. More wait in the kernel for the next, in order.
const EVENTS_PER_TURN: usize = 256;

/// A server, bound and listening. Nothing happens until it is [run](Self::run) or
/// [turned](Self::turn).
pub struct Server {
    reactor: Reactor<Sockets>,
    events: Events,
    signals: Option<Signals>,
    manager: Option<Manager>,
    start: Instant,
}

impl Server {
    /// Listens on every address of `config`. From here on clients can connect; they are served
    /// once somebody [turns](Self::turn) the server.
    ///
    /// # Errors
    /// A setting outside its limits (`InvalidInput`), an address that cannot be listened on, or no
    /// descriptor left for the poll. The message is one line that names what failed and why.
    pub fn bind(config: &Config) -> io::Result<Self> {
        config.validate()?;
        let bind = |address| Listener::bind(address, config.backlog, config.reuse_port);
        let listeners = config.listen.iter().map(bind).collect::<io::Result<_>>()?;
        report_backlog(config.backlog);
        Self::new(listeners, config)
    }

    /// Takes the sockets over that a service manager passes in (sd_listen_fds(3)), in place of
    /// [`Config::listen`], [`Config::backlog`] and [`Config::reuse_port`], which are its business then.
    /// `None` if there are none. A [shutdown](Self::shut_down) leaves who waits in their queues to the
    /// manager's next process. To be called before there is a second thread: the variables that tell
    /// of the sockets are removed from the environment.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); or one of them is no listening stream socket, TCP or Unix.
    pub fn inherit(config: &Config) -> io::Result<Option<Self>> {
        config.validate()?;
        let inherit = |(i, socket)| {
            let inherited = Listener::inherit(socket);
            inherited.map_err(|e| context(&format!("cannot use {}", activation::name(i)), &e))
        };
        let sockets = activation::sockets()?.into_iter().enumerate();
        let listeners: Vec<_> = sockets.map(inherit).collect::<io::Result<_>>()?;
        if listeners.is_empty() {
            return Ok(None);
        }
        info!("sockets that were passed in: {}", listeners.len());
        Self::new(listeners, config).map(Some)
    }

    fn new(listeners: Vec<Listener>, config: &Config) -> io::Result<Self> {
        let poll = Poll::new().map_err(|e| context("cannot make a poll", &e))?;
        let bind = |address| Listener::bind(address, config.backlog, false);
        let metrics = config.metrics.as_ref().map(bind).transpose()?;
        for (key, listener) in listeners.iter().chain(&metrics).enumerate() {
            listener
                .register(poll.registry(), Token(key))
                .map_err(|e| context(&format!("cannot poll {listener}"), &e))?;
        }
        let kept_back = metrics.as_ref().map_or(0, |_| SCRAPES as u64 + 1);
        let capacity = Capacity::find(config.max_connections, ENTRY_BYTES, kept_back)
            .map_err(|e| context("cannot find out the descriptor limit", &e))?;
        if capacity.connections == 0 {
            return Err(io::Error::other(capacity.to_string()));
        }
        info!("{capacity}");
        if let Some(metrics) = &metrics {
            match metrics.local_addr() {
                LocalAddr::Tcp(address) => info!("metrics at http://{address}{}", scrape::PATH),
                LocalAddr::Unix(_) => info!("metrics on {metrics}, at {}", scrape::PATH),
            }
        }
        let sockets = Sockets(poll);
        Ok(Self {
            reactor: Reactor::new(sockets, listeners, metrics, capacity.connections, config),
            signals: None,
            manager: None,
            events: Events::with_capacity(EVENTS_PER_TURN),
            start: Instant::now(),
        })
    }

    /// Catches this process's signals from here on: SIGTERM and SIGINT
    /// [shut down](Self::shut_down), and the second of them, if it comes 5 ms later or more, ends the
    /// process at once, with 143 or 130; SIGUSR1 logs the [stats](Self::stats); SIGHUP and SIGXFSZ do
    /// nothing. They all do nothing once the server is dropped: what they did before is not restored.
    ///
    /// # Errors
    /// No descriptor is left for what wakes the poll, or the poll is broken.
    pub fn catch_signals(&mut self) -> io::Result<()> {
        let caught = Signals::catch(self.reactor.system.0.registry());
        self.signals = Some(caught.map_err(|e| context("cannot catch signals", &e))?);
        Ok(())
    }

    /// Tells the service manager that clients can connect, and from here on how the server is doing:
    /// its [stats](Self::stats) every two seconds while they change, the watchdog as often as it asks
    /// for it, and that it stops (sd_notify(3)). Does nothing if `NOTIFY_SOCKET` names no manager.
    /// Never waits for it.
    ///
    /// # Errors
    /// The manager cannot be told.
    pub fn notify_manager(&mut self) -> io::Result<()> {
        self.manager = Manager::greet(self.now(), self.stats())?;
        Ok(())
    }

    /// Where it listens, in the order of [`Config::listen`], with the real ports. Once it has shut
    /// down, nowhere.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<LocalAddr> {
        let listeners = self.reactor.listeners();
        listeners
            .map(|listener| listener.local_addr().clone())
            .collect()
    }

    /// Where it serves the [metrics](Config::metrics), if it does, with the real port.
    #[must_use]
    pub fn metrics_addr(&self) -> Option<LocalAddr> {
        let listener = self.reactor.metrics_listener()?;
        Some(listener.local_addr().clone())
    }

    /// How many clients are connected and accepted at present.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.reactor.clients()
    }

    /// What became of the clients so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        self.reactor.stats()
    }

    /// Begins to shut down, and the turns that follow do it: everybody who has connected by now is
    /// accepted and served, whoever comes later is not, and who is not done when [`Config::grace`] is
    /// over is closed.
    pub fn shut_down(&mut self) {
        self.reactor.shut_down(self.now());
    }

    /// Whether it has shut down: it listens nowhere, and no client is left.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.reactor.is_shut_down()
    }

    /// Serves until it has [shut down](Self::shut_down), or something fails that no turn can
    /// outlive; then logs the stats. While nobody wants anything the process sleeps in the poll;
    /// there is no tick.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn run(&mut self) -> io::Result<()> {
        let mut turned = Ok(());
        while turned.is_ok() && !self.is_shut_down() {
            turned = self.turn(None);
        }
        self.reactor.report();
        turned
    }

    /// One turn: waits until there is something to do, at most for `timeout` (`None`: for as long
    /// as it takes), and does it. Bounded work, so that the next turn is never far.
    ///
    /// # Errors
    /// The poll is broken, or a listener is no listener any more. Nothing that a peer does, no
    /// shortage and no signal is an error here.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let interrupted = self.wait(timeout)?;
        let now = self.now();
        self.handle_signals(interrupted, now);
        let events = self.events.iter().map(|event| Event {
            key: event.token().0,
            fin: event.is_read_closed(),
        });
        self.reactor.handle(events, now)?;
        if let Some(manager) = &mut self.manager {
            let is_stopping = self.reactor.is_shutting_down();
            manager.handle(now, self.reactor.stats(), is_stopping);
        }
        Ok(())
    }

    /// Sleeps until the first of: an event, an alarm, `timeout`. Returns whether a signal interrupted
    /// that.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let signals = self.signals.as_ref().and_then(Signals::alarm);
        let manager = self.manager.as_ref().and_then(Manager::alarm);
        let alarms = [self.reactor.alarm(), signals, manager];
        let alarm = alarms.into_iter().flatten().min();
        let alarm = alarm.map(|alarm| self.now().until(alarm));
        let timeout = [timeout, alarm].into_iter().flatten().min();
        match self.reactor.system.0.poll(&mut self.events, timeout) {
            // A signal, if only SIGSTOP and SIGCONT: an empty batch, and the next turn waits.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(true),
            polled => polled
                .map(|()| false)
                .map_err(|e| context("cannot poll", &e)),
        }
    }

    fn handle_signals(&mut self, interrupted: bool, now: Moment) {
        let Some(signals) = &mut self.signals else {
            return;
        };
        for request in signals.hear(interrupted, &self.events, now) {
            match request {
                Request::ShutDown => self.reactor.shut_down(now),
                Request::Report => self.reactor.report(),
                Request::HangUp | Request::Nothing => {}
            }
        }
    }

    fn now(&self) -> Moment {
        Moment::new(self.start, Instant::now())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("local_addrs", &self.local_addrs())
            .field("clients", &self.clients())
            .finish_non_exhaustive()
    }
}

/// The sockets of this process, and the poll that reports them.
pub(crate) struct Sockets(Poll);

impl System for Sockets {
    type Listener = Listener;
    type Stream = Socket;
    type Peer = Peer;

    fn accept(&mut self, listener: &Listener) -> io::Result<(Socket, Peer)> {
        let (socket, address) = listener.accept()?;
        Ok((socket, Peer(address)))
    }

    fn close_queue(&mut self, listener: &Listener) -> io::Result<Option<Duration>> {
        listener.close_queue()
    }

    fn forget(&mut self, listener: &Listener) {
        let _ = listener.deregister(self.0.registry());
    }

    fn rearm(&mut self, key: usize, listener: &Listener) -> io::Result<()> {
        listener.rearm(self.0.registry(), Token(key))
    }

    fn register(&mut self, key: usize, socket: &Socket, interest: Interest) -> io::Result<()> {
        SourceFd(&socket.as_raw_fd()).register(self.0.registry(), Token(key), interest)
    }

    fn reregister(&mut self, key: usize, socket: &Socket, interest: Interest) -> io::Result<()> {
        SourceFd(&socket.as_raw_fd()).reregister(self.0.registry(), Token(key), interest)
    }
}

/// A client's address, for the log. A Unix client seldom has one.
pub(crate) struct Peer(SockAddr);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_socket() {
            Some(address) => address.fmt(f),
            None => f.write_str("a Unix socket"),
        }
    }
}

/// What the kernel makes of the backlog, since listen(2) does not tell.
fn report_backlog(asked: u32) {
    let effective = effective_backlog(asked);
    if effective < asked {
        warn!("backlog {effective} instead of {asked}: clamped by net.core.somaxconn");
    } else {
        info!("backlog {effective}");
    }
}

/// The same error with what was tried before it.
fn context(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
