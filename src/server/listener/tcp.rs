//! Listening at a TCP port: which of a name's addresses it uses, and what `[::]` means.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};

use log::warn;
use socket2::{Domain, Socket, Type};

use crate::server::system;

/// Listens at the first of the name's addresses that this machine has. If another server uses that
/// address, the name is in use. At the next address clients would find one server or the other,
/// whichever address they try first.
pub(super) fn bind(
    host: &str,
    port: u16,
    backlog: u32,
    reuse_port: bool,
) -> io::Result<(Socket, SocketAddr)> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match listen_at_or_on_ipv4(address, backlog, reuse_port) {
            Err(e) if is_absent(&e) => failed = e,
            listening => return listening,
        }
    }
    Err(failed)
}

/// `[::]` means everybody. So it is 0.0.0.0 on a machine without IPv6.
fn listen_at_or_on_ipv4(
    address: SocketAddr,
    backlog: u32,
    reuse_port: bool,
) -> io::Result<(Socket, SocketAddr)> {
    match listen_at(address, backlog, reuse_port) {
        Err(e) if is_absent(&e) && is_everybody(address) => {
            let everybody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            let (socket, local) = listen_at(everybody, backlog, reuse_port)?;
            warn!("{local} instead of {address}, which needs IPv6: {e}");
            Ok((socket, local))
        }
        listening => listening,
    }
}

fn listen_at(
    address: SocketAddr,
    backlog: u32,
    reuse_port: bool,
) -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if is_everybody(address) {
        // Dual-stack, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(false)?;
    }
    // The server sends the first FIN, so its port has many connections in TIME_WAIT when it
    // restarts. Without this option bind(2) would refuse the port for a minute.
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    super::listen(&socket, backlog)?;
    system::acknowledge_with_the_echo(&socket); // before that, the clients' sockets would not inherit it
    let local = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok((socket, local))
}

/// Whether it is `[::]`, every address of both families.
fn is_everybody(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

/// Whether this machine does not have the address: no interface has it (EADDRNOTAVAIL), or its
/// family is switched off (EAFNOSUPPORT).
fn is_absent(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(errno, Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_have_is_not_absent() {
        let check = |errno, expected| {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(is_absent(&error), expected, "{error}");
        };
        check(libc::EADDRNOTAVAIL, true);
        check(libc::EAFNOSUPPORT, true);
        check(libc::EADDRINUSE, false);
        check(libc::EACCES, false);
        check(libc::EMFILE, false);
    }
}
