//! What signals mean to the server, and how they reach its poll.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use libc::c_int;
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Registry};
use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;
use signal_hook::{SigId, flag, low_level};

use super::sockets::SIGNALS as TOKEN;
use super::system::ignored_signals;
use crate::reactor::Moment;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// SIGTERM, SIGINT: shut down. Holds the signal's number.
    ShutDown(c_int),
    /// SIGUSR1: log the stats.
    Report,
    /// SIGHUP, which a terminal that closes sends. If it were not caught, it would end the process,
    /// and so would the next one.
    HangUp,
    /// SIGXFSZ, which a log file at its RLIMIT_FSIZE causes.
    Nothing,
}

impl Request {
    /// The number of the signal, if it ends a run of the load client.
    #[cfg(feature = "load")]
    pub(crate) fn ends(self) -> Option<c_int> {
        match self {
            Self::ShutDown(signal) => Some(signal),
            Self::HangUp => Some(SIGHUP),
            Self::Report | Self::Nothing => None,
        }
    }
}

/// The signals that a process catches in any case.
const ALWAYS: [c_int; 3] = [SIGTERM, SIGUSR1, SIGXFSZ];

/// The signals that stay ignored if they were ignored when the process began. nohup(1) ignores SIGHUP,
/// and a shell without job control ignores SIGINT for its background jobs.
const UNLESS_IGNORED: [c_int; 2] = [SIGINT, SIGHUP];

/// The least time between two signals that shut down. A second signal within it is ignored, because
/// timeout(1) sends one to its child and then the same to the child's process group.
pub(crate) const APART: Duration = Duration::from_millis(5);

/// The signals that this process catches. The handler writes a byte into a socket pair, whose other
/// end wakes the poll. A flag alone could be set just before the poll goes to sleep.
#[derive(Debug)]
pub(crate) struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
    /// Whether the next signal that shuts down ends the process from within the handler, with 128
    /// and its number. So, after the first one, this works whatever the server is doing.
    is_final: Arc<AtomicBool>,
    final_from: Option<Moment>,
    /// The last signal that shuts down. If two have come, the other one was the first: the delivery has
    /// them by number and not in their order.
    last: Arc<AtomicUsize>,
    registered: Vec<SigId>,
}

impl Signals {
    /// Catches them from here on. The poll reports under [`TOKEN`] when some have come.
    ///
    /// signal-hook installs a handler before it notes what the handler has to do. A signal between
    /// the two would be lost, so they are blocked meanwhile. Unblocking them afterwards also undoes
    /// a mask that the parent process has left.
    pub(crate) fn catch(registry: &Registry) -> io::Result<Self> {
        let ignored = ignored();
        let mut caught = ALWAYS.to_vec();
        caught.extend(UNLESS_IGNORED.iter().filter(|n| !ignored.contains(n)));
        let signals = caught.iter().map(|number| Signal::try_from(*number));
        let mask: SigSet = signals.collect::<Result<_, _>>()?;
        mask.thread_block()?;
        let signals = Self::set_up(registry, &caught);
        mask.thread_unblock()?;
        signals
    }

    fn set_up(registry: &Registry, caught: &[c_int]) -> io::Result<Self> {
        let (woken, waker) = UnixStream::pair()?;
        SourceFd(&woken.as_raw_fd()).register(registry, TOKEN, Interest::READABLE)?;
        let delivery = SignalDelivery::with_pipe(woken, waker, SignalOnly, caught)?;
        let is_final = Arc::new(AtomicBool::new(false));
        let last = Arc::new(AtomicUsize::new(0));
        let ends = caught
            .iter()
            .filter(|number| matches!(**number, SIGTERM | SIGINT));
        let registered = ends.flat_map(|number| {
            [
                flag::register_usize(*number, last.clone(), *number as usize),
                flag::register_conditional_shutdown(*number, 128 + number, is_final.clone()),
            ]
        });
        Ok(Self {
            delivery,
            registered: registered.collect::<io::Result<_>>()?,
            is_final,
            final_from: None,
            last,
        })
    }

    /// The signals that have come by the end of a wait, each once. A wait that was `interrupted` is
    /// a reason to check, too: the handler may have had no memory to send.
    pub(crate) fn hear(&mut self, interrupted: bool, events: &Events, now: Moment) -> Vec<Request> {
        if self.final_from.is_some_and(|from| from <= now) {
            self.is_final.store(true, Ordering::Relaxed);
        }
        if interrupted || events.iter().any(|event| event.token() == TOKEN) {
            return self.requests(now);
        }
        Vec::new()
    }

    /// From here on the next signal that shuts down ends the process, because nothing would handle
    /// it. But timeout(1) sends each signal twice, so a second one within [`APART`] is waited for.
    #[cfg(feature = "load")]
    pub(crate) fn stop_hearing(
        &mut self,
        poll: &mut mio::Poll,
        events: &mut Events,
        now: impl Fn() -> Moment,
    ) {
        while let Some(at) = self.alarm() {
            let polled = poll.poll(events, Some(now().until(at)));
            self.hear(polled.is_err(), events, now());
        }
        self.is_final.store(true, Ordering::Relaxed);
    }

    /// What has been heard so far did not end it, so the next signal does not end the process.
    #[cfg(feature = "load")]
    pub(crate) fn hear_more(&mut self) {
        self.final_from = None;
    }

    fn requests(&mut self, now: Moment) -> Vec<Request> {
        let request = |signal: c_int| match signal {
            SIGTERM | SIGINT => Request::ShutDown(signal),
            SIGUSR1 => Request::Report,
            SIGHUP => Request::HangUp,
            _ => Request::Nothing,
        };
        let mut requests: Vec<Request> = self.delivery.pending().map(request).collect();
        let last = self.last.load(Ordering::Relaxed);
        requests.sort_by_key(
            |request| matches!(request, Request::ShutDown(signal) if *signal as usize == last),
        );
        let shuts_down = |request: &Request| matches!(request, Request::ShutDown(_));
        if requests.iter().any(shuts_down) {
            self.final_from.get_or_insert(now.after(APART));
        }
        requests
    }

    /// When to [check](Self::hear) even if no signal comes.
    pub(crate) fn alarm(&self) -> Option<Moment> {
        self.final_from
            .filter(|_| !self.is_final.load(Ordering::Relaxed))
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            low_level::unregister(id);
        }
    }
}

/// The signals of [`UNLESS_IGNORED`] that this process ignores.
fn ignored() -> Vec<c_int> {
    let set = ignored_signals();
    let is_ignored = |number: &c_int| set & 1 << (number - 1) != 0;
    UNLESS_IGNORED.into_iter().filter(is_ignored).collect()
}
