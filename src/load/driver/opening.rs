//! How connections are opened: when the schedule says so, and when there is room.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::event::Source as _;
use mio::unix::SourceFd;
use mio::{Interest, Token};
use socket2::{Socket, Type};

use super::{Client, Load, OPENS_PER_TURN, Role};
use crate::deadlines::{Kind, Moment, Timer};
use crate::load::channel::Channel;
use crate::load::exchange::Exchange;
use crate::load::record::Shortage;
use crate::load::schedule::Step;

/// When to try again what there is no room for.
const RETRY: Duration = Duration::from_millis(1);

impl Load {
    /// Begins what is due; returns when there will be more, if time alone tells.
    pub(super) fn begin(&mut self) -> io::Result<Option<Moment>> {
        let now = self.now();
        if let Some(at) = self.retry_at.filter(|at| *at > now) {
            return Ok(Some(at));
        }
        self.retry_at = None;
        for _ in 0..OPENS_PER_TURN {
            let now = self.now();
            let late = self.schedule.lateness(now);
            self.record.latest = self.record.latest.max(late);
            let opened = match self.schedule.step(self.counts, now) {
                Step::Wait(until) => return Ok(until),
                Step::Finish => {
                    self.finish();
                    continue;
                }
                Step::Hold => self.open(Role::Ramping, now)?,
                Step::Exchange(meant) => self.open(Role::Churning, meant)?,
            };
            if !opened {
                // There is no edge for a port, a descriptor or a place in a Unix socket's queue.
                self.schedule.take_back();
                self.retry_at = Some(self.now().after(RETRY));
                return Ok(self.retry_at);
            }
        }
        Ok(Some(now))
    }

    /// Opens a connection. `false`: not now.
    fn open(&mut self, role: Role, meant: Moment) -> io::Result<bool> {
        let id = self.record.opened;
        let target = (id % self.targets.len() as u64) as usize;
        let now = self.now();
        let Some((socket, connected)) = self.connect(id, target)? else {
            return Ok(false);
        };
        self.record.open_one();
        self.expected.opened = self.record.opened;
        let key = self.slab.insert(Client {
            channel: Channel {
                socket,
                exchange: Exchange::new(id, &self.expected),
            },
            timer: Timer::IDLE,
            role,
            target: target as u32,
            address: self.targets[target].current(),
            meant,
            began: now,
            since: now,
        });
        self.peak = self.peak.max(self.slab.len() as u64);
        *self.count(role) += 1;
        self.deadlines.set(&mut self.slab, Kind::Echo, key, now);
        self.register(key, connected);
        Ok(true)
    }

    /// A socket for connection `id`, and how its connect went so far. `None`: not now.
    ///
    /// # Errors
    /// The system's, not the connection's: with the next it would be the same.
    pub(super) fn connect(
        &mut self,
        id: u64,
        target: usize,
    ) -> io::Result<Option<(Socket, io::Result<()>)>> {
        let turn = id / self.targets.len() as u64;
        let target = &self.targets[target];
        let (address, may_wait) = (target.address(), target.has_answered());
        let domain = address.domain();
        let socket = match Socket::new(domain, Type::STREAM.nonblocking().cloexec(), None) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                return self.wait_for(Shortage::Descriptor).then_some(None).ok_or(e);
            }
            socket => socket?,
        };
        self.sources.bind(&socket, domain, turn)?;
        let connected = match socket.connect(address) {
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
            Err(e) => {
                let shortage = match e.kind() {
                    io::ErrorKind::WouldBlock => Some(Shortage::Queue),
                    // To whom somebody could connect there is a way: it is the port that is lacking.
                    io::ErrorKind::AddrNotAvailable if may_wait => Some(Shortage::Port),
                    _ => None,
                };
                match shortage {
                    Some(shortage) if self.wait_for(shortage) => return Ok(None),
                    Some(shortage) => {
                        let why = shortage.to_string();
                        Err(io::Error::new(io::ErrorKind::TimedOut, why))
                    }
                    None => Err(e),
                }
            }
            Ok(()) => Ok(()),
        };
        self.stop_waiting();
        Ok(Some((socket, connected)))
    }

    /// Whether to wait for what is short, and try again. There is no connection yet that could time
    /// out, so this says when the one to be has waited for long enough.
    fn wait_for(&mut self, shortage: Shortage) -> bool {
        let now = self.now();
        let (_, since) = *self.short_of.get_or_insert((shortage, now));
        self.timeout.is_zero() || since.until(now) < self.timeout
    }

    /// What was short is there, or is not wanted any more.
    pub(super) fn stop_waiting(&mut self) {
        if let Some((shortage, since)) = self.short_of.take() {
            let waited = since.until(self.now());
            *self.record.waited.entry(shortage).or_default() += waited;
        }
    }

    pub(super) fn register(&mut self, key: usize, connected: io::Result<()>) {
        let channel = &self.slab[key].channel;
        let registered = connected.and_then(|()| {
            let both = Interest::READABLE | Interest::WRITABLE;
            let descriptor = channel.socket.as_raw_fd();
            SourceFd(&descriptor).register(self.poll.registry(), Token(key), both)
        });
        if let Err(e) = registered {
            let wrong = channel.exchange.handle_error(&e);
            self.fail(key, wrong);
        }
    }
}
