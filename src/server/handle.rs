//! A server's handle, for another thread or a signal handler.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mio::{Registry, Waker};

use super::sockets::HANDLE;
use crate::reactor::Stats;

/// Shuts a [`Server`](super::Server) down, or asks for its stats, from wherever it is: it can be cloned
/// and sent to other threads.
///
/// ```
/// use hello_echo::{Config, Server, hello::Settings};
///
/// let mut config = Config::default();
/// config.listen = vec!["127.0.0.1:0".parse()?];
/// let mut server: Server = Server::bind(&config, Settings::default())?;
/// let handle = server.handle()?;
/// let serving = std::thread::spawn(move || server.run());
///
/// assert_eq!(handle.stats().open(), 0);
/// handle.shut_down();
/// serving.join().expect("it does not panic")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Handle(Arc<Control>);

#[derive(Debug)]
struct Control {
    waker: Waker,
    is_shut_down: AtomicBool,
    published: Published,
}

/// The stats of a server at the end of its last turn, because nothing changes in between; and how
/// many peers wait in its queues, if somebody asks for that.
#[derive(Clone, Debug, Default)]
pub(super) struct Published(Arc<Mutex<(Stats, u64)>>);

impl Handle {
    pub(super) fn new(registry: &Registry, published: Published) -> io::Result<Self> {
        Ok(Self(Arc::new(Control {
            waker: Waker::new(registry, HANDLE)?,
            is_shut_down: AtomicBool::new(false),
            published,
        })))
    }

    /// As [`Server::shut_down`](super::Server::shut_down). Returns at once: the server begins to
    /// shut down in its next turn, which is now if it sleeps. It only sets a flag and writes to a
    /// descriptor, so a signal handler may call it (signal-safety(7)).
    pub fn shut_down(&self) {
        self.0.is_shut_down.store(true, Ordering::Release);
        // An eventfd of ours can fail only because it is full, and then it wakes the poll as well.
        let _ = self.0.waker.wake();
    }

    /// What became of the connections by the end of the server's last turn. While the server
    /// sleeps, that is now. Do not call it in a signal handler: it takes a lock.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.published.get().0
    }

    /// Whether somebody has asked for a shutdown.
    pub(super) fn wants_shutdown(&self) -> bool {
        self.0.is_shut_down.load(Ordering::Acquire)
    }
}

impl Published {
    pub(super) fn get(&self) -> (Stats, u64) {
        let published = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        published.clone()
    }

    /// Skipped while there is no handle and no metrics page to read it.
    pub(super) fn set(&self, stats: &Stats) {
        if Arc::strong_count(&self.0) > 1 {
            let mut published = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            published.0.clone_from(stats);
        }
    }

    #[cfg(feature = "metrics")]
    pub(super) fn set_waiting(&self, waiting: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = waiting;
    }
}
