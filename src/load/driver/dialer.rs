//! Connects to the targets in turn and from the sources in turn, and waits during a shortage.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use socket2::{SockAddr, Socket, Type};

use super::room::Room;
use super::source::{Source, Sources};
use super::target::Target;
use crate::load::machine::record::Shortage;
use crate::reactor::deadlines::Moment;
use crate::server::address::Address;
use crate::server::system;

/// How long the run waited for what it lacked.
type Waited = BTreeMap<Shortage, Duration>;

pub(super) struct Dialer {
    pub(super) targets: Vec<Target>,
    sources: Sources,
    /// Zero is for ever.
    timeout: Duration,
    /// What the next connection waits for, and since when.
    short_of: Option<(Shortage, Moment)>,
}

impl Dialer {
    /// # Errors
    /// One line: a target does not resolve, or sources overlap.
    pub(super) fn new(
        targets: &[Address],
        sources: Vec<Source>,
        timeout: Duration,
    ) -> io::Result<Self> {
        let sources = Sources::new(sources)?;
        let resolve = |address| Target::resolve(address, &sources);
        Ok(Self {
            targets: targets.iter().map(resolve).collect::<io::Result<_>>()?,
            sources,
            timeout,
            short_of: None,
        })
    }

    /// How many connections there can be at once. `entry` is the size of one in the table, in
    /// bytes.
    pub(super) fn room(&self, entry: usize) -> io::Result<Room> {
        let targets: Vec<&SockAddr> = self.targets.iter().map(Target::address).collect();
        Room::find(&targets, &self.sources, entry)
    }

    /// The index of the target of connection `id`.
    pub(super) fn target_of(&self, id: u64) -> usize {
        (id % self.targets.len() as u64) as usize
    }

    /// A socket for connection `id`, and the result of its connect so far. `None`: there is no room
    /// for it now.
    ///
    /// # Errors
    /// Of the system, not of this connection: the next one would meet the same error.
    pub(super) fn connect(
        &mut self,
        id: u64,
        now: Moment,
        waited: &mut Waited,
    ) -> io::Result<Option<(Socket, io::Result<()>)>> {
        let turn = id / self.targets.len() as u64;
        let target = &self.targets[self.target_of(id)];
        let (address, has_answered) = (target.address(), target.has_answered());
        let domain = address.domain();
        let socket = match system::socket(domain, Type::STREAM) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                let waits = self.wait_for(Shortage::Descriptor, now);
                return waits.then_some(None).ok_or(e);
            }
            socket => socket?,
        };
        self.sources.bind(&socket, domain, turn)?;
        let connected = match socket.connect(address) {
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
            Err(e) => {
                let shortage = match e.kind() {
                    io::ErrorKind::WouldBlock => Some(Shortage::Queue),
                    // A target that has answered can be reached, so it is a port that is lacking.
                    io::ErrorKind::AddrNotAvailable if has_answered => Some(Shortage::Port),
                    _ => None,
                };
                match shortage {
                    Some(shortage) if self.wait_for(shortage, now) => return Ok(None),
                    Some(shortage) => {
                        let why = shortage.to_string();
                        Err(io::Error::new(io::ErrorKind::TimedOut, why))
                    }
                    None => Err(e),
                }
            }
            Ok(()) => Ok(()),
        };
        self.stop_waiting(now, waited);
        Ok(Some((socket, connected)))
    }

    /// Whether to wait for what is lacking and try again. A connection that does not exist yet has
    /// no deadline, so the timeout is applied here.
    fn wait_for(&mut self, shortage: Shortage, now: Moment) -> bool {
        let (_, since) = *self.short_of.get_or_insert((shortage, now));
        self.timeout.is_zero() || since.until(now) < self.timeout
    }

    /// The shortage is over, or the run is.
    pub(super) fn stop_waiting(&mut self, now: Moment, waited: &mut Waited) {
        if let Some((shortage, since)) = self.short_of.take() {
            *waited.entry(shortage).or_default() += since.until(now);
        }
    }
}
