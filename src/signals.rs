//! What signals mean to the server, and how they reach its poll.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use libc::c_int;
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// SIGTERM, SIGINT: shut down.
    ShutDown,
    /// SIGUSR1: log the stats.
    Report,
    /// SIGHUP, as a terminal that closes sends it; SIGXFSZ, as a log file at its RLIMIT_FSIZE does.
    /// They would end the process if nobody caught them.
    Nothing,
}

/// The signals that this process catches. The handler writes a byte into a socket pair, whose other
/// end wakes the poll: a flag alone could be set just before the poll goes to sleep.
#[derive(Debug)]
pub(crate) struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    /// Catches them from here on, and reports under `token` when some have come.
    ///
    /// The second of those that shut down ends the process, with 128 and its number, from within
    /// the handler: that needs no turn, so it works whatever the server is doing.
    pub(crate) fn catch(registry: &Registry, token: Token) -> io::Result<Self> {
        let is_second = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            // In this order: the condition is looked at before it comes true.
            flag::register_conditional_shutdown(signal, 128 + signal, is_second.clone())?;
            flag::register(signal, is_second.clone())?;
        }
        let (woken, waker) = UnixStream::pair()?;
        let all = [SIGTERM, SIGINT, SIGUSR1, SIGHUP, SIGXFSZ];
        let delivery = SignalDelivery::with_pipe(woken, waker, SignalOnly, all)?;
        let fd = delivery.get_read().as_raw_fd();
        SourceFd(&fd).register(registry, token, Interest::READABLE)?;
        Ok(Self(delivery))
    }

    /// Those that came since the last call, each once.
    pub(crate) fn requests(&mut self) -> impl Iterator<Item = Request> {
        self.0.pending().map(|signal: c_int| match signal {
            SIGTERM | SIGINT => Request::ShutDown,
            SIGUSR1 => Request::Report,
            _ => Request::Nothing,
        })
    }
}
