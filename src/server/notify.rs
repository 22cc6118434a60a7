//! What a service manager is told (sd_notify(3)): that the server is ready, how it is doing, that
//! it stops.
//!
//! No library does this here: the existing ones would wait for a manager that does not read. This
//! one never waits. What finds no room is sent later.

use std::env;
use std::io;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::error::explain;
use crate::reactor::{Moment, Stats};

/// Where the manager listens: a path, or `@` and a name in the abstract namespace.
const ADDRESS: &str = "NOTIFY_SOCKET";

/// How often the manager expects a sign of life, in microseconds, and from which process.
const WATCHDOG: &str = "WATCHDOG_USEC";
const WATCHED: &str = "WATCHDOG_PID";

/// How often to send the counts, while they change.
const STATUS: Duration = Duration::from_secs(2);

/// When to try again if there is no room. systemd kills a service whose READY=1 it never receives.
const RETRY: Duration = Duration::from_millis(100);

/// The manager of this process.
#[derive(Debug)]
pub(crate) struct Manager {
    socket: Socket,
    address: SockAddr,
    /// Twice as often as the manager expects a sign of life.
    watchdog: Option<Duration>,
    ping_at: Option<Moment>,
    /// What the manager knows.
    life: Option<Life>,
    counts: Stats,
    /// Since when it knows these.
    told_at: Moment,
    /// Until then there is no room.
    room_at: Moment,
    /// When to send more, if there is more.
    tell_at: Option<Moment>,
}

/// What a server sends once, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Ready,
    Stopping,
}

impl Manager {
    /// Tells the manager that the server is ready. `None` if there is no manager.
    ///
    /// # Errors
    /// One line: what the manager cannot be told, and why.
    pub(crate) fn greet(now: Moment, stats: &Stats) -> io::Result<Option<Self>> {
        let address = env::var(ADDRESS).unwrap_or_default();
        if address.is_empty() {
            return Ok(None);
        }
        let [watched, asked] = [WATCHED, WATCHDOG].map(|name| env::var(name).ok());
        let manager = Self::at(&address, watchdog(watched, asked), now);
        let greeted = manager.and_then(|mut manager| {
            manager.tell(now, stats, Life::Ready)?;
            Ok(Some(manager))
        });
        greeted.map_err(|e| explain(format!("cannot tell {address}"), &e))
    }

    fn at(address: &str, watchdog: Option<Duration>, now: Moment) -> io::Result<Self> {
        Ok(Self {
            socket: super::system::socket(Domain::UNIX, Type::DGRAM)?,
            address: super::address::unix(address.as_ref())?,
            watchdog,
            ping_at: watchdog.map(|_| now),
            life: None,
            counts: Stats::default(),
            told_at: now,
            room_at: now,
            tell_at: None,
        })
    }

    /// When to [call](Self::handle) it even if nothing happens.
    pub(crate) fn alarm(&self) -> Option<Moment> {
        [self.ping_at, self.tell_at].into_iter().flatten().min()
    }

    /// Sends what is to be sent at the end of a turn.
    pub(crate) fn handle(&mut self, now: Moment, stats: &Stats, is_stopping: bool) {
        if self.ping_at.is_some_and(|at| at <= now) {
            self.ping_at = self.watchdog.map(|every| now.after(every));
            let _ = self.send("WATCHDOG=1");
        }
        let life = if is_stopping {
            Life::Stopping
        } else {
            Life::Ready
        };
        let news = if self.life != Some(life) {
            Some(now)
        } else if self.counts != *stats {
            Some(self.told_at.after(STATUS))
        } else {
            None
        };
        self.tell_at = news.map(|at| at.max(self.room_at));
        if self.tell_at.is_some_and(|at| at <= now) {
            let _ = self.tell(now, stats, life); // one that is gone hears no more
        }
    }

    /// What finds no room is sent later.
    fn tell(&mut self, now: Moment, stats: &Stats, life: Life) -> io::Result<()> {
        let news = match life {
            life if self.life == Some(life) => "",
            Life::Ready => "READY=1\n",
            Life::Stopping if self.life.is_none() => "READY=1\nSTOPPING=1\n",
            Life::Stopping => "STOPPING=1\n",
        };
        match self.send(&format!("{news}STATUS={stats}")) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.room_at = now.after(RETRY);
                self.tell_at = Some(self.room_at);
                Ok(())
            }
            sent => {
                self.life = Some(life);
                self.counts.clone_from(stats);
                self.told_at = now;
                self.tell_at = None;
                sent
            }
        }
    }

    fn send(&self, what: &str) -> io::Result<()> {
        self.socket.send_to(what.as_bytes(), &self.address)?;
        Ok(())
    }
}

/// How often to send a sign of life: `None` if nobody waits for one. At most every millisecond,
/// whatever is asked.
fn watchdog(watched: Option<String>, asked: Option<String>) -> Option<Duration> {
    let is_us = watched.is_none_or(|pid| pid == std::process::id().to_string());
    let every = asked?.parse().ok().filter(|micros| is_us && *micros > 0)?;
    Some((Duration::from_micros(every) / 2).max(Duration::from_millis(1)))
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;

    /// A manager's end of the socket, and ours.
    fn pair(name: &str, watchdog: Option<Duration>) -> (UnixDatagram, Manager) {
        let name = format!("hello-echo-{}-{name}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let theirs = UnixDatagram::bind_addr(&address).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut ours = Manager::at(&format!("@{name}"), watchdog, at(0)).unwrap();
        let stats = Stats::default();
        ours.tell(at(0), &stats, Life::Ready).unwrap();
        assert_eq!(heard(&theirs), [format!("READY=1\nSTATUS={stats}")]);
        (theirs, ours)
    }

    fn heard(theirs: &UnixDatagram) -> Vec<String> {
        let mut datagram = [0; 1000];
        std::iter::from_fn(|| {
            let n = theirs.recv(&mut datagram).ok()?;
            Some(String::from_utf8_lossy(&datagram[..n]).into_owned())
        })
        .collect()
    }

    #[test]
    fn counts_are_sent_only_while_they_change() {
        let (theirs, mut ours) = pair("counts", None);
        let mut stats = Stats::default();
        ours.handle(at(10), &stats, false);
        assert_eq!(ours.alarm(), None, "nothing to tell");
        for accepted in 1..=3 {
            stats.accepted = accepted;
            ours.handle(at(10 + accepted), &stats, false);
            assert_eq!(ours.alarm(), Some(at(2000)));
        }
        assert_eq!(heard(&theirs), [""; 0]);
        ours.handle(at(2000), &stats, false);
        assert_eq!(heard(&theirs), [format!("STATUS={stats}")]);
        assert_eq!(ours.alarm(), None);
        stats.accepted = 4;
        ours.handle(at(9000), &stats, true);
        ours.handle(at(9001), &stats, true);
        assert_eq!(heard(&theirs), [format!("STOPPING=1\nSTATUS={stats}")]);
    }

    #[test]
    fn the_watchdog_gets_a_sign_in_half_its_time() {
        let (theirs, mut ours) = pair("watchdog", Some(Duration::from_millis(50)));
        let stats = Stats::default();
        for (now, pings) in [(0, 1), (49, 0), (50, 1), (170, 1), (219, 0), (220, 1)] {
            ours.handle(at(now), &stats, false);
            assert_eq!(heard(&theirs), vec!["WATCHDOG=1"; pings], "at {now} ms");
        }
    }

    #[test]
    fn the_watchdog_is_only_for_its_process() {
        // The tests themselves may be process 1, in a container.
        let us = std::process::id();
        let (us, other) = (us.to_string(), (us + 1).to_string());
        let in_micros = |watched: Option<&String>, asked: &str| {
            watchdog(watched.cloned(), Some(asked.to_owned())).map(|every| every.as_micros())
        };
        assert_eq!(in_micros(Some(&us), "30000000"), Some(15_000_000));
        assert_eq!(in_micros(None, "30000000"), Some(15_000_000));
        assert_eq!(in_micros(Some(&other), "30000000"), None);
        assert_eq!(in_micros(None, "1"), Some(1000));
        for no_time in ["0", "", "x", "-1", "99999999999999999999"] {
            assert_eq!(in_micros(None, no_time), None, "{no_time}");
        }
        assert_eq!(watchdog(None, None), None);
    }

    /// A manager that had no room receives everything once it has room.
    #[test]
    fn unsent_news_is_sent_later() {
        let (theirs, mut ours) = pair("full", None);
        let mut stats = Stats::default();
        while ours.send("").is_ok() {}
        stats.accepted = 1;
        ours.handle(at(10), &stats, true);
        ours.handle(at(11), &stats, true);
        assert_eq!(ours.alarm(), Some(at(110)), "no sooner");
        assert!(heard(&theirs).iter().all(String::is_empty));
        ours.handle(ours.alarm().unwrap(), &stats, true);
        assert_eq!(heard(&theirs), [format!("STOPPING=1\nSTATUS={stats}")]);
        assert_eq!(ours.alarm(), None);

        // READY=1, too; without it the manager would end the server.
        ours.life = None;
        while ours.send("").is_ok() {}
        ours.tell(at(200), &stats, Life::Ready).unwrap();
        heard(&theirs);
        ours.handle(at(300), &stats, false);
        assert_eq!(heard(&theirs), [format!("READY=1\nSTATUS={stats}")]);
    }

    /// A manager that has not heard READY=1 would take STOPPING=1 alone for a failure to start.
    #[test]
    fn a_server_that_stops_at_once_was_ready() {
        let (theirs, mut ours) = pair("at-once", None);
        ours.life = None;
        let stats = Stats::default();
        ours.handle(at(10), &stats, true);
        let news = format!("READY=1\nSTOPPING=1\nSTATUS={stats}");
        assert_eq!(heard(&theirs), [news]);
    }

    #[test]
    fn a_manager_that_has_gone_is_not_told_again() {
        let (theirs, mut ours) = pair("gone", None);
        drop(theirs);
        ours.handle(at(10), &Stats::default(), true);
        assert_eq!(ours.alarm(), None);
    }

    /// A manager that does not read, or has gone, does not delay us.
    #[test]
    fn it_never_waits() {
        let (theirs, mut ours) = pair("deaf", Some(Duration::from_nanos(1)));
        for now in 1..10_000 {
            ours.handle(at(now), &Stats::default(), false);
        }
        assert!(heard(&theirs).len() < 9_000, "its queue was never full");
        drop(theirs);
        ours.handle(at(10_000), &Stats::default(), true);
    }

    fn at(ms: u64) -> Moment {
        Moment::START.after(Duration::from_millis(ms))
    }
}
