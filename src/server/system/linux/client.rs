//! What the load client needs of Linux.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{IpBindAddressNoPort, SetUsize};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use socket2::Socket;

/// A kernel timer (timerfd_create(2)) that wakes the poll. The poll's own timeout is rounded up to
/// the next millisecond.
#[derive(Debug)]
pub(crate) struct Timer(TimerFd);

impl Timer {
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        SourceFd(&timer.as_fd().as_raw_fd()).register(registry, token, Interest::READABLE)?;
        Ok(Self(timer))
    }

    /// Wakes the poll once, so long from now. The timer's count need not be read: setting the timer resets
    /// the count, so the next expiry is a new edge. Returns whether the system has such timers: if not,
    /// the poll's own timeout is exact.
    pub(crate) fn set(&mut self, wait: Duration) -> io::Result<bool> {
        // A wait of zero would disarm the timer.
        let wait = wait.max(Duration::from_nanos(1));
        let once = Expiration::OneShot(TimeSpec::from_duration(wait));
        self.0.set(once, TimerSetTimeFlags::empty())?;
        Ok(true)
    }
}

/// Lets the kernel choose the port at connect(2), when it knows the target, and not at bind(2).
/// Then a port is taken for this target only, so every target can use all ports. Linux before 4.2
/// and gVisor lack the option; there bind(2) chooses.
pub(crate) fn choose_port_late(socket: &Socket) -> io::Result<()> {
    match setsockopt(socket, IpBindAddressNoPort, &true) {
        Err(Errno::ENOPROTOOPT | Errno::EOPNOTSUPP) => Ok(()),
        set => Ok(set?),
    }
}

/// connect(2) tries the even ports first, and the odd ports if all even ones are taken: beside
/// 15,000 connections it tries 14,000 ports in vain, for 0.7 ms each time. If the socket has a port
/// range of its own, connect(2) tries all ports alike (since Linux 6.8; the option exists since
/// 6.3). The option only saves time, so a failure is ignored.
pub(crate) fn take_any_port(socket: &Socket) {
    // The highest and the lowest port. Ports outside of net.ipv4.ip_local_port_range are never
    // used.
    const RANGE: usize = 65_535 << 16 | 1;
    let _ = setsockopt(socket, LocalPortRange, &RANGE);
}

#[derive(Clone, Copy, Debug)]
struct LocalPortRange;

// IP_LOCAL_PORT_RANGE(2const), which libc does not name yet.
const IP_LOCAL_PORT_RANGE: libc::c_int = 51;
nix::setsockopt_impl!(
    LocalPortRange,
    libc::IPPROTO_IP,
    IP_LOCAL_PORT_RANGE,
    usize,
    SetUsize
);

/// The first and the last of the ports that the kernel chooses from, and how many there are. `None`
/// if the system does not say.
pub(crate) fn local_ports() -> Option<(u128, u128, u128)> {
    let setting = |name| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
    let range = setting("ip_local_port_range").ok()?;
    let mut ends = range.split_whitespace().map(str::parse::<u128>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    let reserved = setting("ip_local_reserved_ports").unwrap_or_default();
    let ports = (last + 1).checked_sub(first)?;
    Some((
        first,
        last,
        ports.saturating_sub(reserved_within(&reserved, first, last)),
    ))
}

/// How many ports from `first` to `last` are in this list of ports and ranges, such as
/// `8080,9000-9010`. The kernel gives none of them to a connect.
fn reserved_within(list: &str, first: u128, last: u128) -> u128 {
    let within = |entry: &str| {
        let (from, to) = entry.split_once('-').unwrap_or((entry, entry));
        let (from, to): (u128, u128) = (from.parse().ok()?, to.parse().ok()?);
        (to.min(last) + 1).checked_sub(from.max(first))
    };
    list.trim().split(',').filter_map(within).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_are_left_out() {
        let reserved = |list| reserved_within(list, 40_000, 40_019);
        assert_eq!(reserved("\n"), 0);
        assert_eq!(reserved("40000\n"), 1);
        assert_eq!(reserved("8080,39990-40004,40010,40018-41000\n"), 5 + 1 + 2);
        assert_eq!(reserved("1-65535"), 20);
    }
}
