//! Other processes that listen on the same TCP port (SO_REUSEPORT), and whether the kernel gives them what a
//! listener leaves behind.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::setsockopt;
use socket2::{Domain, Socket, Type};

use super::{DeferAccept, queue};

/// Whether a listener that is closed leaves its queue, and the handshakes under way, to a process that
/// accepts them: another one listens on the same port, and the kernel moves them.
pub(super) fn inherit(socket: &Socket, address: SocketAddr) -> bool {
    let inherit = || Ok::<_, io::Error>(socket.reuse_port()? && exist(address)? && are_told()?);
    inherit().unwrap_or(false)
}

/// Makes the kernel drop the last ACK of a handshake at this listener, as TCP_DEFER_ACCEPT does. A
/// sibling finishes the handshake when the SYN-ACK has been sent again, a second later.
///
/// Without this, an ACK that one core handles while another core closes the listener loses its client
/// (seen on Linux 6.18). The kernel moves what is in the queue and what comes later. But a connection
/// that joins the queue of a closed listener is reset (inet_csk_reqsk_queue_add), and one that is cloned
/// from a listener in close(2) inherits its sk_shutdown and sends a FIN at once.
///
/// A filter that drops the ACKs would do harm: connections inherit it from the listener.
pub(super) fn finish_no_handshake(socket: &Socket) -> io::Result<()> {
    Ok(setsockopt(socket, DeferAccept, &1)?)
}

/// Whether another socket listens on this address. The kernel's table has the listeners first, so this
/// takes no longer where there are many connections.
fn exist(address: SocketAddr) -> io::Result<bool> {
    let (table, local) = match address.ip() {
        IpAddr::V4(ip) => ("/proc/net/tcp", hex(&ip.octets())),
        IpAddr::V6(ip) => ("/proc/net/tcp6", hex(&ip.octets())),
    };
    let local = format!("{local}:{:04X}", address.port());
    let mut listeners = 0;
    for line in BufReader::new(File::open(table)?).lines().skip(1) {
        let line = line?;
        let mut fields = line.split_whitespace().skip(1);
        let [at, _peer, state] = [(); 3].map(|()| fields.next());
        if state != Some("0A") {
            break;
        }
        listeners += u32::from(at == Some(&local));
    }
    Ok(listeners > 1)
}

/// An address as proc(5) writes it: words in the machine's byte order.
fn hex(octets: &[u8]) -> String {
    let words = octets.chunks_exact(4).map(|word| {
        let word = word.try_into().map_or(0, u32::from_ne_bytes);
        format!("{word:08X}")
    });
    words.collect()
}

/// Connections with which it is tried out: one at least reaches the listener that is closed, but for a
/// chance of 2^-16.
const TRIES: usize = 16;

/// Whether the kernel moves the queue of a listener that is closed (net.ipv4.tcp_migrate_req, Linux 5.14),
/// and tells the poll of the process that gets it: before the fix of CVE-2026-46015 it did not. Tried out
/// over loopback, as no setting says so.
fn are_told() -> io::Result<bool> {
    let listen = |address: SocketAddr| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(TRIES as libc::c_int)?;
        Ok::<_, io::Error>(socket)
    };
    let closed = listen((Ipv4Addr::LOCALHOST, 0).into())?;
    let address = closed.local_addr()?;
    let heir = listen(address.as_socket().ok_or(io::ErrorKind::Unsupported)?)?;
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1));
    SourceFd(&heir.as_raw_fd()).register(poll.registry(), Token(0), Interest::READABLE)?;
    let connect = |_| {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        client.set_nonblocking(true)?;
        let _in_progress = client.connect(&address);
        Ok::<_, io::Error>(client)
    };
    let _clients = (0..TRIES).map(connect).collect::<io::Result<Vec<_>>>()?;
    if queue::length(&closed)?.0 == 0 {
        return Ok(false);
    }
    poll.poll(&mut events, Some(Duration::ZERO))?; // of those that are the heir's anyway
    drop(closed);
    poll.poll(&mut events, Some(Duration::ZERO))?;
    Ok(!events.is_empty())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    /// The kernel has a table for each family.
    #[test]
    fn a_sibling_is_found() {
        for address in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
            let any = SocketAddr::new(address, 0);
            let listen = |at: SocketAddr| {
                let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
                socket.set_reuse_port(true)?;
                socket.bind(&at.into())?;
                socket.listen(1).map(|()| socket)
            };
            let Ok(alone) = listen(any) else {
                assert!(any.is_ipv6(), "not every machine has IPv6");
                continue;
            };
            let at = alone.local_addr().unwrap().as_socket().unwrap();
            assert!(!exist(at).unwrap(), "{at}");
            let _sibling = listen(at).unwrap();
            assert!(exist(at).unwrap(), "{at}");
        }
    }

    /// The clients believe to be connected, and the queue stays empty.
    #[test]
    fn a_listener_that_is_closed_next_finishes_no_handshake() {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        listener.bind(&any.into()).unwrap();
        listener.listen(4).unwrap();
        listener.set_nonblocking(true).unwrap();
        let connect = || {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            client.connect(&listener.local_addr().unwrap()).unwrap();
            client
        };
        let _before = connect();
        assert!(listener.accept().is_ok());
        finish_no_handshake(&listener).unwrap();
        let _after = connect();
        let accepted = listener.accept().map_err(|e| e.kind());
        assert_eq!(accepted.err(), Some(io::ErrorKind::WouldBlock));
    }
}
