//! What differs between systems. Nothing else knows which system it runs on. Linux is the
//! reference: `linux.rs` says what each function is for. On a system with kqueue(2) most functions
//! do less, because each is a saving or a check that the server can do without.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use linux::*;

#[cfg(any(
    target_os = "macos",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd"
))]
mod kqueue;
#[cfg(any(
    target_os = "macos",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd"
))]
pub(crate) use kqueue::*;

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd"
)))]
compile_error!("hello-echo runs on Linux, macOS, FreeBSD, NetBSD and OpenBSD");

mod kernel;

use crate::reactor::Moment;

/// The result of a check of a listener's queue.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// When to check again even if nothing happens.
    pub(crate) again_at: Option<Moment>,
    /// How many wait, and how many may, if the queue has just been found to drop SYNs.
    pub(crate) began: Option<(u32, u32)>,
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};
    use std::net::{Ipv4Addr, Shutdown, SocketAddr};
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    use mio::event::Source;
    use mio::unix::SourceFd;
    use mio::{Events, Interest, Poll, Token};
    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
    use socket2::{Domain, Socket, Type};

    use super::{HALF_CLOSE_REPORTS, accept, is_listener};

    /// What a poll reports about unread bytes when the socket is half-closed, after it has reported
    /// them once.
    #[test]
    fn a_half_close_reports_unread_bytes_where_the_system_says_so() {
        let (ours, peer) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
        let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(1));
        let fd = ours.as_raw_fd();
        let mut source = SourceFd(&fd);
        source
            .register(poll.registry(), Token(0), Interest::READABLE)
            .unwrap();
        peer.send(b"unread").unwrap();
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(!events.is_empty());
        ours.shutdown(Shutdown::Write).unwrap();
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(!HALF_CLOSE_REPORTS || !events.is_empty());
    }

    /// Whatever the listener is, and whatever a new socket inherits from it on this system.
    #[test]
    fn an_accepted_socket_does_not_block_and_is_not_inherited() {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        listener.bind(&any.into()).unwrap();
        assert!(!is_listener(&listener).unwrap());
        listener.listen(2).unwrap();
        assert!(is_listener(&listener).unwrap());
        for blocks in [true, false] {
            listener.set_nonblocking(!blocks).unwrap();
            listener.set_cloexec(!blocks).unwrap();
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            client.connect(&listener.local_addr().unwrap()).unwrap();
            let (mut accepted, _) = accept(&listener).unwrap();
            let status = OFlag::from_bits_truncate(fcntl(&accepted, FcntlArg::F_GETFL).unwrap());
            let flags = FdFlag::from_bits_truncate(fcntl(&accepted, FcntlArg::F_GETFD).unwrap());
            assert!(status.contains(OFlag::O_NONBLOCK) && flags.contains(FdFlag::FD_CLOEXEC));
            let read = accepted.read(&mut [0]).map_err(|e| e.kind());
            assert_eq!(read, Err(io::ErrorKind::WouldBlock));
        }
    }
}
