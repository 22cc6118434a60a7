//! Connects to the targets in turn and from the sources in turn, and waits during a shortage.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::options::Options;
use super::room::Room;
use super::source::Sources;
use super::target::Target;
use crate::error::explain;
use crate::load::machine::record::Shortage;
use crate::reactor::deadlines::Moment;
use crate::server::system;
use crate::server::system::take_any_port;

/// How long the run waited for what it lacked.
type Waited = BTreeMap<Shortage, Duration>;

/// How long after a shortage of ports, descriptors or places in a queue a connection is tried
/// again. No event reports that one is free.
const RETRY: Duration = Duration::from_millis(1);

/// How long a run that has only a count asks targets that all refuse.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) targets: Vec<Target>,
    sources: Sources,
    /// Zero is for ever.
    timeout: Duration,
    /// Whether a target that refuses is asked again after a pause. An open loop keeps its rate.
    pauses: bool,
    /// Whether the run ends when every target has refused for [`PATIENCE`]. A run with a duration ends
    /// by itself, and an endless one waits until they are back.
    gives_up: bool,
    /// The target whose turn is next.
    next: usize,
    /// What the next connection waits for, and since when.
    short_of: Option<(Shortage, Moment)>,
}

/// The result of a try to begin a connection.
pub(super) enum Dial {
    /// The socket, and the result of its connect so far.
    Begun(Socket, io::Result<()>),
    /// Something is lacking. It may be there at this moment.
    Later(Moment),
}

impl Dialer {
    /// # Errors
    /// One line: a target does not resolve, or sources overlap.
    pub(super) fn new(options: &Options) -> io::Result<Self> {
        let Options {
            targets,
            sources,
            plan,
            timeout,
            ..
        } = options;
        let sources = Sources::new(sources.clone())?;
        let resolve = |address| Target::resolve(address, &sources);
        Ok(Self {
            targets: targets.iter().map(resolve).collect::<io::Result<_>>()?,
            sources,
            timeout: *timeout,
            pauses: plan.rate.is_none(),
            gives_up: plan.duration.is_none() && !plan.is_endless(),
            next: 0,
            short_of: None,
        })
    }

    /// One for the thread with this place: each begins with another target and another source.
    pub(super) fn for_thread(&self, place: u64) -> Self {
        let mut own = self.clone();
        let targets = own.targets.len() as u64;
        own.next = place.checked_rem(targets).unwrap_or(0) as usize;
        own.targets
            .iter_mut()
            .for_each(|target| target.turn = place);
        own
    }

    /// How many connections there can be at once. `entry` is the size of one in the table, in
    /// bytes; so many descriptors are `kept_back`, and so many bytes of `memory`.
    pub(super) fn room(&self, entry: usize, kept_back: u64, memory: usize) -> io::Result<Room> {
        let targets: Vec<&SockAddr> = self.targets.iter().map(Target::address).collect();
        Room::find(&targets, &self.sources, entry, kept_back, memory)
    }

    /// The [names](Target::names) of all targets.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        self.targets.iter().flat_map(Target::names)
    }

    /// The target of the next connection: the next in turn that need not be left alone now. `Err`
    /// is when one may be asked again.
    ///
    /// # Errors
    /// Every target has refused for [`PATIENCE`].
    pub(super) fn choose(&mut self, now: Moment) -> io::Result<Result<usize, Moment>> {
        let is_dead = |target: &Target| target.pause.refused_for(now) >= PATIENCE;
        if self.gives_up && self.targets.iter().all(is_dead) {
            let names: Vec<&str> = self.targets.iter().map(Target::name).collect();
            let why = format!("refused for {PATIENCE:?}: {}", names.join(", "));
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, why));
        }
        let targets = self.targets.len();
        let mut soonest: Option<Moment> = None;
        for target in (self.next..targets).chain(0..self.next) {
            let pause = &mut self.targets[target].pause;
            match pause.ends(now).filter(|_| self.pauses) {
                None => {
                    pause.handle_asked(now);
                    self.next = (target + 1) % targets;
                    return Ok(Ok(target));
                }
                Some(ends) => soonest = Some(soonest.map_or(ends, |soonest| soonest.min(ends))),
            }
        }
        Ok(Err(soonest.unwrap_or(now)))
    }

    /// Begins a connection to the target.
    ///
    /// # Errors
    /// Of the system, not of this connection: the next one would meet the same error.
    pub(super) fn connect(
        &mut self,
        target: usize,
        now: Moment,
        waited: &mut Waited,
    ) -> io::Result<Dial> {
        let target = &mut self.targets[target];
        let turn = target.turn;
        target.turn += 1; // also after a shortage: another source may have ports left
        let address = target.address().clone();
        let domain = address.domain();
        let socket = match system::socket(domain, Type::STREAM) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                let later = self.wait_for(Shortage::Descriptor, now);
                return later.ok_or_else(|| explain("cannot open a socket", &e));
            }
            socket => socket.map_err(|e| explain("cannot open a socket", &e))?,
        };
        if domain != Domain::UNIX {
            take_any_port(&socket);
        }
        let source = self.sources.address(domain, turn);
        let connected = match Sources::bind(&socket, source) {
            Ok(()) => socket.connect(&address),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => Err(e),
            Err(e) => return Err(e),
        };
        let connected = match connected {
            Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
            Err(e) => match shortage(&e, &address, source) {
                None => Err(e),
                Some(shortage) => match self.wait_for(shortage, now) {
                    Some(later) => return Ok(later),
                    None => {
                        let why = shortage.to_string();
                        Err(io::Error::new(io::ErrorKind::TimedOut, why))
                    }
                },
            },
            Ok(()) => Ok(()),
        };
        self.stop_waiting(now, waited);
        Ok(Dial::Begun(socket, connected))
    }

    /// The connection of that target could not begin, so it is still the target's turn.
    pub(super) fn take_back(&mut self, target: usize) {
        self.next = target;
    }

    /// When to try again, unless the timeout is over. A connection that does not exist yet has no
    /// deadline, so the timeout is applied here.
    fn wait_for(&mut self, shortage: Shortage, now: Moment) -> Option<Dial> {
        let (_, since) = *self.short_of.get_or_insert((shortage, now));
        let waits = self.timeout.is_zero() || since.until(now) < self.timeout;
        waits.then(|| Dial::Later(now.after(RETRY)))
    }

    /// The shortage is over, or the run is.
    pub(super) fn stop_waiting(&mut self, now: Moment, waited: &mut Waited) {
        if let Some((shortage, since)) = self.short_of.take() {
            *waited.entry(shortage).or_default() += since.until(now);
        }
    }
}

/// What a connect lacked that has failed with this error, if that is the reason.
fn shortage(error: &io::Error, address: &SockAddr, source: Option<SocketAddr>) -> Option<Shortage> {
    match error.kind() {
        io::ErrorKind::WouldBlock => Some(Shortage::Queue),
        io::ErrorKind::AddrInUse => Some(Shortage::Port),
        io::ErrorKind::AddrNotAvailable if has_route(address, source) => Some(Shortage::Port),
        _ => None,
    }
}

/// Whether this machine has an address and a route to connect from. connect(2) says EADDRNOTAVAIL if
/// it has none, and also if no port is left. On a datagram socket it sends nothing and takes none of
/// TCP's ports.
fn has_route(address: &SockAddr, source: Option<SocketAddr>) -> bool {
    let connected = system::socket(address.domain(), Type::DGRAM).and_then(|socket| {
        if let Some(source) = source {
            socket.bind(&source.into())?;
        }
        socket.connect(address)
    });
    connected.map_or_else(|e| e.kind() != io::ErrorKind::AddrNotAvailable, |()| true)
}

#[cfg(test)]
mod tests {
    use crate::load::machine::payload::Payloads;
    use crate::load::machine::schedule::Plan;
    use crate::server::address::Address;

    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::START.after(Duration::from_millis(ms))
    }

    /// A closed loop of one that never ends, and these ports of this machine.
    fn options<const N: usize>(ports: [u16; N]) -> Options {
        let host = "127.0.0.1".to_owned();
        Options {
            targets: ports
                .map(|port| Address::Tcp {
                    host: host.clone(),
                    port,
                })
                .into(),
            sources: vec![],
            plan: Plan {
                hold: 0,
                ramp: None,
                exchanges: None,
                duration: None,
                concurrency: 1,
                rate: None,
                grace: None,
            },
            threads: 1,
            payloads: Payloads::new(1, 1, 1),
            max_read: 1,
            greeting: vec![],
            timeout: Duration::ZERO,
            metrics: None,
            compare: false,
        }
    }

    #[test]
    fn targets_have_their_turns() {
        let mut dialer = Dialer::new(&options([1, 2, 3])).unwrap();
        let next = |dialer: &mut Dialer| dialer.choose(at(0)).unwrap().unwrap();
        let turns = [(); 7].map(|()| next(&mut dialer));
        assert_eq!(turns, [0, 1, 2, 0, 1, 2, 0]);
        dialer.take_back(0);
        assert_eq!(next(&mut dialer), 0, "it could not begin");
    }

    /// A connect that lacks something is tried again until the timeout is over.
    #[test]
    fn a_shortage_may_last_as_long_as_the_timeout() {
        let timeout = Duration::from_secs(1);
        let options = Options {
            timeout,
            ..options([1])
        };
        let mut dialer = Dialer::new(&options).unwrap();
        let mut waited = Waited::default();
        for start in [0, 5000] {
            for (ms, waits) in [(0, true), (999, true), (1000, false)] {
                let later = dialer.wait_for(Shortage::Port, at(start + ms));
                assert_eq!(later.is_some(), waits, "after {ms} ms");
            }
            dialer.stop_waiting(at(start + 1000), &mut waited);
        }
        assert_eq!(waited[&Shortage::Port], timeout * 2);
    }

    /// EADDRNOTAVAIL is a port that is lacking, unless the source is no address of this machine.
    #[test]
    fn errors_of_connect_say_what_is_lacking() {
        let address = SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 1)));
        let source = |ip: [u8; 4]| Some(SocketAddr::from((ip, 0)));
        let lacks = |kind: io::ErrorKind, source| shortage(&kind.into(), &address, source);
        let none_left = io::ErrorKind::AddrNotAvailable;
        for (kind, source, lacking) in [
            (io::ErrorKind::WouldBlock, None, Some(Shortage::Queue)),
            (io::ErrorKind::AddrInUse, None, Some(Shortage::Port)),
            (none_left, None, Some(Shortage::Port)),
            (none_left, source([127, 0, 0, 9]), Some(Shortage::Port)),
            (none_left, source([192, 0, 2, 1]), None),
            (io::ErrorKind::ConnectionRefused, None, None),
        ] {
            assert_eq!(lacks(kind, source), lacking, "{kind} from {source:?}");
        }
    }

    /// A run that has only a count gives up after a minute, be it a closed loop or an open one.
    #[test]
    fn targets_that_refuse_end_a_run_without_a_duration() {
        let day = Some(Duration::from_secs(86_400));
        let check = |rate, exchanges, duration, gives_up: bool| {
            let mut options = options([1, 2]);
            options.plan = Plan {
                exchanges,
                duration,
                rate,
                ..options.plan
            };
            let mut dialer = Dialer::new(&options).unwrap();
            let refuses = |dialer: &mut Dialer, place: usize, ms| {
                dialer.targets[place].pause.handle_refused(at(ms), at(ms));
            };
            refuses(&mut dialer, 0, 0);
            refuses(&mut dialer, 1, 100);
            assert!(dialer.choose(at(60_099)).is_ok(), "one may still come back");
            let why = dialer.choose(at(60_100)).map_err(|e| e.to_string()).err();
            let expected = gives_up.then_some("refused for 60s: 127.0.0.1:1, 127.0.0.1:2");
            assert_eq!(why.as_deref(), expected, "{rate:?}, {duration:?}");
        };
        for rate in [None, Some(10)] {
            check(rate, Some(1000), None, true);
            check(rate, None, day, false);
            check(rate, Some(1000), day, false);
            check(rate, None, None, false);
        }
    }
}
