//! macOS, whose sockets get their flags one call at a time.

use std::io;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::server::system::kernel::Kernel;

pub(crate) const KERNEL: Kernel = Kernel::MACOS;

pub(crate) fn socket(domain: Domain, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(domain, kind, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// SO_NOSIGPIPE replaces MSG_NOSIGNAL. setsockopt(2) fails with EINVAL if the client has reset its
/// connection by then: a failure after accept(2) ends this one connection and not the listener.
pub(crate) fn accept(listener: &Socket) -> io::Result<(Socket, SockAddr)> {
    let (socket, peer) = listener.accept_raw()?;
    let set = || {
        socket.set_cloexec(true)?;
        socket.set_nonblocking(true)?;
        socket.set_nosigpipe(true)
    };
    set().map_err(|_: io::Error| io::Error::from_raw_os_error(libc::ECONNABORTED))?;
    Ok((socket, peer))
}

/// Without MSG_MORE the last bytes take one segment, and the FIN another.
pub(crate) fn send(socket: &Socket, bytes: &[u8], _: bool) -> io::Result<usize> {
    socket.send(bytes)
}
