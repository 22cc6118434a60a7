//! Linux: what each function is for. The other systems have the same functions.

mod queue;
mod siblings;

use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::Interest;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SetBool;
use socket2::{Domain, SockAddr, Socket, Type};

use super::kernel::Kernel;

pub(crate) use queue::Guard;

/// What its errors mean.
pub(crate) const KERNEL: Kernel = Kernel::LINUX;

/// Whether a receive from a TCP socket that came back short has emptied its queue, unless the event said
/// otherwise: urgent data ends a receive early, and the event tells of it.
pub(crate) const SHORT_IS_ALL: bool = true;

/// Whether a half-close makes the kernel report anew what is unread.
pub(crate) const HALF_CLOSE_REPORTS: bool = true;

/// A socket that is non-blocking and close-on-exec from its first moment on.
pub(crate) fn socket(domain: Domain, kind: Type) -> io::Result<Socket> {
    Socket::new(domain, kind.nonblocking().cloexec(), None)
}

/// The address of a Unix socket in the abstract namespace.
///
/// # Errors
/// The name is too long, or the system has no such names.
pub(crate) fn abstract_name(name: &[u8]) -> io::Result<SockAddr> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    SockAddr::unix(OsStr::from_bytes(&[b"\0", name].concat()))
}

/// Takes one connection off the queue, non-blocking and close-on-exec from its first moment on:
/// accept4(2) saves the three calls that would set that afterwards.
pub(crate) fn accept(listener: &Socket) -> io::Result<(Socket, SockAddr)> {
    listener.accept4(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
}

/// Whether the socket listens, as far as the system tells.
pub(crate) fn is_listener(socket: &Socket) -> io::Result<bool> {
    socket.is_listener()
}

/// What the kernel makes of a backlog: listen(2) clamps it to [`SOMAXCONN`], silently.
pub(crate) fn effective_backlog(backlog: u32) -> u32 {
    let somaxconn = sysctl(SOMAXCONN).and_then(|most| u32::try_from(most).ok());
    backlog.min(somaxconn.unwrap_or(u32::MAX))
}

/// The setting that clamps a backlog.
pub(crate) const SOMAXCONN: &str = "net.core.somaxconn";

/// A message is acknowledged by its echo, which follows at once, and not by a segment of its own before
/// that. Of what comes while the server lingers, every second full segment is acknowledged all the same,
/// and the last within 40 ms. It is a saving and no more, so it may fail.
pub(crate) fn acknowledge_with_the_echo(socket: &Socket) {
    let _ = socket.set_tcp_quickack(false);
}

/// TCP_DEFER_ACCEPT: the kernel keeps a peer out of the accept queue until its first bytes are here, for
/// at least so many seconds (tcp(7)). A saving, too.
#[cfg(feature = "metrics")]
pub(crate) fn wait_for_requests(socket: &Socket) {
    let _ = setsockopt(socket, DeferAccept, &REQUEST_TIMEOUT);
}

#[cfg(feature = "metrics")]
const REQUEST_TIMEOUT: libc::c_int = 5;

#[derive(Clone, Copy, Debug)]
struct DeferAccept;

nix::setsockopt_impl!(
    DeferAccept,
    libc::IPPROTO_TCP,
    libc::TCP_DEFER_ACCEPT,
    libc::c_int,
    nix::sys::socket::sockopt::SetStruct<'_, libc::c_int>
);

/// Makes the kernel refuse the descriptors that a client passes: sendmsg(2) fails with EPERM there.
/// The clients' sockets inherit it. The option is there since Linux 6.16; older kernels say that they
/// do not know it, and let descriptors pass.
pub(crate) fn refuse_descriptors(socket: &Socket) {
    let _ = setsockopt(socket, PassRights, &false);
}

#[derive(Clone, Copy, Debug)]
struct PassRights;

// libc names it on SPARC only, where it has another number.
const SO_PASSRIGHTS: libc::c_int = if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) {
    0x5c
} else {
    83
};
nix::setsockopt_impl!(PassRights, libc::SOL_SOCKET, SO_PASSRIGHTS, bool, SetBool);

/// Lets no newcomer into the queue of a TCP listener, and returns for how long a client whose handshake
/// is under way may still join it: it believes to be connected as soon as it has seen our SYN-ACK, and
/// closing the listener before its ACK has come would reset it.
///
/// Where another process inherits the queue and the handshakes, nothing needs to be done; but that
/// process may end, too, so this is called again before the listener is closed. Elsewhere newcomers'
/// SYNs are dropped and nothing else is. A newcomer sends its SYN again a second later; then it is
/// refused, or meets our successor, or another process on this port. Where no filter can be attached,
/// listen(2) with 0 lets one more in, and drops ACKs, too.
pub(crate) fn close_tcp_queue(
    socket: &Socket,
    guard: &Guard,
    address: SocketAddr,
) -> io::Result<Duration> {
    if guard.is_closed() {
        return Ok(Duration::ZERO); // they have been waited for
    }
    if siblings::inherit(socket, address) {
        guard.leave_to_siblings();
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

/// Called when the listener is closed next. Where siblings inherit its handshakes, it finishes none of
/// them any more.
pub(crate) fn leave_tcp_queue(socket: &Socket, guard: &Guard) {
    if guard.is_left_to_siblings() {
        let _ = siblings::finish_no_handshake(socket); // a precaution, so it may fail
    }
}

/// How long a handshake may take: a round trip to anywhere on Earth, by cable.
const HANDSHAKE: Duration = Duration::from_millis(500);

/// The same within one kernel: its part for one packet, which is never put off, and some more for a
/// virtual machine whose core is away for a moment.
const HANDSHAKE_ON_LOOPBACK: Duration = Duration::from_millis(5);

/// The same for a Unix listener: connect(2) is refused from here on, and the clients in the queue can
/// still be accepted. (With listen(2) and 0, the kernel takes one more while the queue is empty, as it
/// compares before it counts.) The poll reports this once, as if the listener had got a FIN.
pub(crate) fn close_unix_queue(socket: &Socket) -> io::Result<Duration> {
    socket.shutdown(Shutdown::Read)?;
    Ok(Duration::ZERO) // there is no handshake that takes time
}

/// How many peers wait in the queue of a TCP listener; 0 if the system does not tell.
#[cfg(feature = "metrics")]
pub(crate) fn waiting(socket: &Socket) -> u64 {
    queue::length(socket).map_or(0, |(waiting, _)| waiting.into())
}

/// What to register for to read. Urgent data ends a receive early, with more behind it. So the event
/// has to tell of it.
pub(crate) fn to_read(interest: Interest) -> Interest {
    interest | Interest::PRIORITY
}

/// As send(2), without SIGPIPE: Rust's start-up code ignores it, but a library does not know who called
/// it. With `more` the last segment may wait for what follows.
pub(crate) fn send(socket: &Socket, bytes: &[u8], more: bool) -> io::Result<usize> {
    let more = if more { libc::MSG_MORE } else { 0 };
    socket.send_with_flags(bytes, libc::MSG_NOSIGNAL | more)
}

/// Receives what will be forgotten. With MSG_TRUNC, TCP frees what has come without copying it (tcp(7));
/// a Unix socket copies.
pub(crate) fn discard(socket: &Socket, sink: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    socket.recv_with_flags(sink, libc::MSG_TRUNC)
}

/// A setting of the kernel, such as `net.core.somaxconn`; `None` if it is not there.
fn sysctl(name: &str) -> Option<u64> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Where the kernel has its limit of what is polled.
pub(crate) const WATCHES: &str = "fs.epoll.max_user_watches";

/// How many descriptors all processes of this user may have polled at once, if that is limited.
pub(crate) fn watches() -> Option<u64> {
    sysctl(WATCHES)
}

/// The directory that lists this process's descriptors.
pub(crate) const DESCRIPTORS: &str = "/proc/self/fd";

/// Where a pipe or a terminal can be opened anew, which makes an open file of its own. `None`: nowhere.
#[cfg(feature = "cli")]
pub(crate) fn open_anew_at(descriptor: std::os::fd::RawFd) -> Option<String> {
    Some(format!("{DESCRIPTORS}/{descriptor}"))
}

/// The signals that this process ignores, a bit each and the lowest for signal 1, as proc(5) tells.
/// sigaction(2) would tell it, too, but only `unsafe` code can call it. Without /proc none is taken to
/// be ignored.
#[cfg(feature = "cli")]
pub(crate) fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(feature = "load")]
pub(crate) use client::*;

#[cfg(feature = "load")]
mod client;
