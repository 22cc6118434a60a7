//! Listening at a TCP port: which of a name's addresses it is, what `[::]` means, and how newcomers are
//! kept out in the end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use log::warn;
use socket2::{Domain, Socket, Type};

use super::siblings;
use crate::server::queue::Guard;

/// Listens at the first of the name's addresses that this machine has. If another server has that
/// one, the name is in use: at the next address, clients would find this server or the other,
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

/// `[::]` means everybody, so it is 0.0.0.0 where there is no IPv6.
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
        // Dual-stack whatever net.ipv6.bindv6only says.
        socket.set_only_v6(false)?;
    }
    // The server is the side that sends FIN first, so its port is full of TIME_WAIT when it
    // restarts; without this, bind(2) refuses it for a minute.
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    super::listen(&socket, backlog)?;
    acknowledge_with_the_echo(&socket); // before that, the clients' sockets would not inherit it
    let local = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok((socket, local))
}

/// A message is acknowledged by its echo, which follows at once, and not by a segment of its own before
/// that. Of what comes while the server lingers, every second full segment is acknowledged all the same,
/// and the last within 40 ms. It is a saving and no more, so it may fail.
pub(super) fn acknowledge_with_the_echo(socket: &Socket) {
    let _ = socket.set_tcp_quickack(false);
}

/// Whether it is `[::]`, every address of both families.
fn is_everybody(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

/// Whether this machine does not have the address: it belongs to no interface (EADDRNOTAVAIL), or
/// its family is switched off (EAFNOSUPPORT).
fn is_absent(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(errno, Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT))
}

/// TCP_DEFER_ACCEPT: the kernel keeps a peer out of the accept queue until its first bytes are here, for
/// at least so many seconds (tcp(7)).
#[cfg(feature = "metrics")]
pub(super) fn wait_for_requests(socket: &Socket) -> nix::Result<()> {
    nix::sys::socket::setsockopt(socket, DeferAccept, &REQUEST_TIMEOUT)
}

#[cfg(feature = "metrics")]
const REQUEST_TIMEOUT: libc::c_int = 5;

#[cfg(feature = "metrics")]
#[derive(Clone, Copy, Debug)]
struct DeferAccept;

#[cfg(feature = "metrics")]
nix::setsockopt_impl!(
    DeferAccept,
    libc::IPPROTO_TCP,
    libc::TCP_DEFER_ACCEPT,
    libc::c_int,
    nix::sys::socket::sockopt::SetStruct<'_, libc::c_int>
);

/// Lets no newcomer into the queue, and returns for how long a client whose handshake is under way may
/// still join it: it believes to be connected as soon as it has seen our SYN-ACK, and closing the
/// listener before its ACK has come would reset it.
///
/// Where another process inherits the queue and the handshakes, nothing needs to be done. Elsewhere
/// newcomers' SYNs are dropped and nothing else is. A newcomer sends its SYN again a second later;
/// then it is refused, or meets our successor, or another process on this port. Where no filter can be
/// attached, listen(2) with 0 lets one more in, and drops ACKs, too.
pub(super) fn close_queue(
    socket: &Socket,
    guard: &Guard,
    address: SocketAddr,
) -> io::Result<Duration> {
    if siblings::inherit(socket, address) {
        return Ok(Duration::ZERO);
    }
    if guard.close(socket).is_err() {
        socket.listen(0)?;
        return Ok(Duration::ZERO);
    }
    Ok(if address.ip().is_loopback() {
        HANDSHAKE_ON_LOOPBACK
    } else {
        HANDSHAKE
    })
}

/// How long a handshake may take: a round trip to anywhere on Earth, by cable.
const HANDSHAKE: Duration = Duration::from_millis(500);

/// The same within one kernel: its part for one packet, which is never put off, and some more for a
/// virtual machine whose core is away for a moment.
const HANDSHAKE_ON_LOOPBACK: Duration = Duration::from_millis(5);

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
