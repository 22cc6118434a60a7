//! What the load client needs of Linux.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{IpBindAddressNoPort, SetUsize};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use socket2::Socket;

/// A kernel timer (timerfd_create(2)) that wakes the poll: the poll's own timeout is rounded up to the
/// next millisecond.
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

/// Lets the kernel choose the port at connect(2), when it knows the target, and not at bind(2). A port is
/// then taken for this target only, so every target can use all ports.
pub(crate) fn choose_port_late(socket: &Socket) -> io::Result<()> {
    Ok(setsockopt(socket, IpBindAddressNoPort, &true)?)
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

/// The first and the last of the ports that the kernel chooses from. `None`: the system does not tell.
pub(crate) fn local_ports() -> Option<(u128, u128)> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = range.split_whitespace().map(str::parse::<u128>);
    Some((ends.next()?.ok()?, ends.next()?.ok()?))
}
