//! FreeBSD, NetBSD and OpenBSD, which have accept4(2) and MSG_NOSIGNAL.

use std::io;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::server::system::kernel::Kernel;

pub(crate) const KERNEL: Kernel = Kernel::BSD;

pub(crate) fn socket(domain: Domain, kind: Type) -> io::Result<Socket> {
    Socket::new(domain, kind.nonblocking().cloexec(), None)
}

/// With accept(2), the new socket would inherit O_NONBLOCK on some of them and not on others.
pub(crate) fn accept(listener: &Socket) -> io::Result<(Socket, SockAddr)> {
    listener.accept4(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
}

/// Without MSG_MORE the last bytes take one segment, and the FIN another.
pub(crate) fn send(socket: &Socket, bytes: &[u8], _: bool) -> io::Result<usize> {
    socket.send_with_flags(bytes, libc::MSG_NOSIGNAL)
}
