//! macOS, FreeBSD, NetBSD and OpenBSD. `linux.rs` says what each function is for; a comment here
//! says what a function cannot do. Nothing here was ever run: it is compiled, and follows the
//! manuals.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::time::Duration;

use mio::Interest;
use nix::errno::Errno;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::AcceptConn;
use socket2::{SockAddr, Socket};

use super::Watched;
use crate::reactor::Moment;

#[cfg(not(target_os = "macos"))]
mod bsd;
#[cfg(not(target_os = "macos"))]
pub(crate) use bsd::*;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
pub(crate) use macos::*;

/// kqueue(2) does not report urgent data, which ends a receive early. So a short receive is no
/// proof.
pub(crate) const SHORT_IS_ALL: bool = false;

/// A half-close wakes only threads that wait to send.
pub(crate) const HALF_CLOSE_REPORTS: bool = false;

pub(crate) fn abstract_name(_: &[u8]) -> io::Result<SockAddr> {
    let why = "only Linux has names in an abstract namespace";
    Err(io::Error::new(io::ErrorKind::Unsupported, why))
}

/// Where the kernel does not say, it is assumed to be one: accept(2) fails if it is not.
pub(crate) fn is_listener(socket: &Socket) -> io::Result<bool> {
    match getsockopt(socket, AcceptConn) {
        Err(Errno::ENOPROTOOPT) => Ok(true),
        listens => Ok(listens?),
    }
}

/// Only sysctl(3) knows the setting, and calling it takes `unsafe` code. So the clamp is not
/// logged.
pub(crate) fn effective_backlog(backlog: u32) -> u32 {
    KERNEL.backlog(backlog).unsigned_abs()
}

pub(crate) const SOMAXCONN: &str = "what listen(2) can take";

/// Does nothing: delayed acknowledgements wait for the echo anyway.
pub(crate) fn acknowledge_with_the_echo(_: &Socket) {}

/// Does nothing: a silent scraper costs a descriptor until its time is over.
#[cfg(feature = "metrics")]
pub(crate) fn wait_for_requests(_: &Socket) {}

/// Does nothing: descriptors that are passed are closed when their bytes are received without room
/// for them.
pub(crate) fn refuse_descriptors(_: &Socket) {}

/// listen(2) makes the queue as short as it can be: 0 means the longest there. A client that joins
/// after the queue has been found empty, and before the listener is closed, is reset.
pub(crate) fn close_tcp_queue(socket: &Socket, _: &Guard, _: SocketAddr) -> io::Result<Duration> {
    socket.listen(1)?;
    Ok(Duration::ZERO)
}

/// Nothing: no other process has the queue afterwards.
pub(crate) fn leave_tcp_queue(_: &Socket, _: &Guard) {}

/// The same as for TCP. shutdown(2) has no meaning for a listener there.
pub(crate) fn close_unix_queue(socket: &Socket) -> io::Result<Duration> {
    socket.listen(1)?;
    Ok(Duration::ZERO)
}

#[cfg(feature = "metrics")]
pub(crate) fn waiting(_: &Socket) -> u64 {
    0
}

/// Does nothing: a listener can have no filter, and there are no SYN cookies that make ghosts of
/// clients whose ACK finds the queue full.
#[derive(Debug)]
pub(crate) struct Guard;

impl Guard {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn watch(&self, _: &Socket, _: Moment) -> io::Result<Watched> {
        Ok(Watched::default())
    }
}

pub(crate) fn to_read(interest: Interest) -> Interest {
    interest
}

/// Copies what comes: there, MSG_TRUNC only reports.
pub(crate) fn discard(socket: &Socket, sink: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    socket.recv(sink)
}

pub(crate) const WATCHES: &str = "kqueue(2)";

/// As many as are open.
pub(crate) fn watches() -> Option<u64> {
    None
}

/// Without fdescfs(5) FreeBSD lists only the first three.
pub(crate) const DESCRIPTORS: &str = "/dev/fd";

/// Nowhere: opening /dev/fd/N duplicates the descriptor, and shares its open file.
#[cfg(feature = "cli")]
pub(crate) fn open_anew_at(_: std::os::fd::RawFd) -> Option<String> {
    None
}

/// Only sigaction(2) tells. So SIGINT and SIGHUP are caught even if they were ignored.
#[cfg(feature = "cli")]
pub(crate) fn ignored_signals() -> u64 {
    0
}

#[cfg(feature = "load")]
pub(crate) use client::*;

#[cfg(feature = "load")]
mod client {
    use std::io;
    use std::time::Duration;

    use mio::{Registry, Token};
    use socket2::Socket;

    /// Returns false: kevent(2) takes its timeout in nanoseconds.
    #[derive(Debug)]
    pub(crate) struct Timer;

    impl Timer {
        pub(crate) fn new(_: &Registry, _: Token) -> io::Result<Self> {
            Ok(Self)
        }

        pub(crate) fn set(&mut self, _: Duration) -> io::Result<bool> {
            Ok(false)
        }
    }

    /// Does nothing: a port that bind(2) chooses is taken for all targets. So a run from a source
    /// has fewer.
    pub(crate) fn choose_port_late(_: &Socket) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn take_any_port(_: &Socket) {}

    pub(crate) fn local_ports() -> Option<(u128, u128, u128)> {
        None
    }
}
