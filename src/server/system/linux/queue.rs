//! A TCP listener's queue: how many peers wait in it, and how it is kept from making ghosts.
//!
//! When the queue is full, the kernel drops a peer's SYN, and the peer sends it again a second later.
//! All that were dropped in a burst come again in a burst. If more of them come at once than the queue
//! may have, the kernel answers the rest with SYN cookies, and drops their ACKs if the queue is full by
//! then. Such a peer is a ghost: it believes to be connected, waits for the server to speak, and the
//! server never hears of it. So after a burst newcomers' SYNs are dropped at random, so many that those
//! that come again fit into the queue.

use std::cell::Cell;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::socket::sockopt::GetStruct;
use nix::sys::socket::{GetSockOpt, getsockopt};
use socket2::{SockFilter, Socket};

use crate::reactor::Moment;
use crate::server::system::Watched;

/// The first fields of tcp_info. Of a listener, two of them say how many connections wait in its queue,
/// and how many may (tcp_get_info in the kernel).
#[derive(Clone, Copy, Debug)]
struct TcpInfo;
nix::getsockopt_impl!(
    TcpInfo,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    [u32; 8],
    GetStruct<[u32; 8]>
);
const WAITING: usize = 6;
const MOST: usize = 7;

/// SO_MEMINFO, whose last field counts the packets that the socket dropped (sk_get_meminfo). Of a
/// listener nearly all of these are SYNs.
#[derive(Clone, Copy, Debug)]
struct MemInfo;
nix::getsockopt_impl!(
    MemInfo,
    libc::SOL_SOCKET,
    SO_MEMINFO,
    [u32; 9],
    GetStruct<[u32; 9]>
);
const SO_MEMINFO: libc::c_int = 55; // asm-generic/socket.h, since Linux 4.12
const DROPS: usize = 8;

/// SO_COOKIE, of which the kernel gives nothing to somebody who has no room for 8 bytes.
#[derive(Clone, Copy, Debug)]
struct Cookie;
nix::getsockopt_impl!(
    Cookie,
    libc::SOL_SOCKET,
    libc::SO_COOKIE,
    u64,
    GetStruct<u64>
);

/// An option that is longer than 4 bytes. Under qemu-user, as in a container of another architecture, the
/// kernel is asked for 4 bytes of any option, and nix panics because the others are missing. The cookie
/// fails there, and tells that once.
fn get_long<O: GetSockOpt>(socket: &Socket, option: O) -> io::Result<O::Val> {
    static ARE_PASSED_ON: OnceLock<bool> = OnceLock::new();
    let is_ok = || getsockopt(socket, Cookie).is_ok();
    if !ARE_PASSED_ON.get_or_init(is_ok) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(getsockopt(socket, option)?)
}

/// How many peers wait in the queue of a TCP listener, and how many may.
pub(super) fn length(socket: &Socket) -> io::Result<(u32, u32)> {
    let info = get_long(socket, TcpInfo)?;
    Ok((info[WAITING], info[MOST]))
}

/// A little longer than a peer waits before it sends its SYN again, which is a second at first
/// (RFC 6298, 2.1).
const WINDOW: Duration = Duration::from_millis(1100);

/// Which newcomers may join the queue.
#[derive(Debug)]
pub(crate) struct Guard {
    state: Cell<State>,
    /// What the socket had dropped when it was looked at last.
    drops: Cell<u32>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// All of them.
    Open,
    /// Some of them: so many may come again of those that were dropped in earlier windows, and so many
    /// were dropped in this one.
    Thinned {
        before: u32,
        dropped: u32,
        ends: Moment,
    },
    /// None any more.
    Closed,
    /// All of them, until the listener is closed and other processes have its queue.
    LeftToSiblings,
}

impl Guard {
    pub(crate) fn new() -> Self {
        Self {
            state: Cell::new(State::Open),
            drops: Cell::new(0),
        }
    }

    /// Looks whether SYNs were dropped, and thins those that come again. Returns when to look again, if
    /// at all, and how full the queue is, if this begins.
    ///
    /// # Errors
    /// As getsockopt(2) and setsockopt(2).
    pub(crate) fn watch(&self, socket: &Socket, now: Moment) -> io::Result<Watched> {
        let drops = get_long(socket, MemInfo)?[DROPS];
        let news = drops.wrapping_sub(self.drops.replace(drops));
        let begins = now.after(WINDOW);
        let is_new = matches!(self.state.get(), State::Open);
        let (before, dropped, ends) = match self.state.get() {
            State::Closed | State::LeftToSiblings => return Ok(Watched::default()),
            State::Open if news == 0 => return Ok(Watched::default()),
            State::Open => (0, news, begins),
            State::Thinned {
                before,
                dropped,
                ends,
            } if now < ends => (before, dropped + news, ends),
            // All that are left have come again in this window, or, if they wait longer by now, none.
            State::Thinned { dropped, .. } if dropped + news > 0 => (dropped + news, 0, begins),
            State::Thinned { before, .. } => (fade(before), 0, begins),
        };
        if before == 0 && dropped == 0 {
            socket.detach_filter()?;
            self.state.set(State::Open);
            return Ok(Watched::default());
        }
        let (waiting, most) = length(socket)?;
        // Chance may let in more than the share, and some come for the first time.
        let room = 0.6 * f64::from(most.saturating_sub(waiting)) + 1.0;
        let share = room / f64::from(before.max(dropped));
        socket.attach_filter(&drop_syns(share))?;
        self.state.set(State::Thinned {
            before,
            dropped,
            ends,
        });
        Ok(Watched {
            again_at: Some(ends),
            began: is_new.then_some((waiting, most)),
        })
    }

    /// Keeps newcomers out from here on.
    ///
    /// # Errors
    /// As setsockopt(2).
    pub(super) fn close(&self, socket: &Socket) -> io::Result<()> {
        socket.attach_filter(&drop_syns(0.0))?;
        self.state.set(State::Closed);
        Ok(())
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state.get(), State::Closed)
    }

    /// The queue is closed by closing the listener, and other processes have it then.
    pub(super) fn leave_to_siblings(&self) {
        self.state.set(State::LeftToSiblings);
    }

    pub(super) fn is_left_to_siblings(&self) -> bool {
        matches!(self.state.get(), State::LeftToSiblings)
    }
}

/// How many may still come again after one more window. A peer waits 1 s, later 2 s, 4 s and so on.
fn fade(before: u32) -> u32 {
    before - before.div_ceil(8)
}

/// A socket filter (bpf(4) in its classic form) over the TCP header, whose byte 13 has the flags. It takes
/// this share of the SYNs, at random, and all else.
fn drop_syns(share: f64) -> [SockFilter; 7] {
    let [load_byte, load_word, and] = [0x30, 0x20, 0x54];
    let [jump_if_equal, jump_if_at_least, return_] = [0x15, 0x35, 0x06];
    let (syn, ack) = (0x02, 0x10);
    let random = 0xffff_f000 + 56; // SKF_AD_OFF + SKF_AD_RANDOM
    let least = ((1.0 - share.min(1.0)) * f64::from(u32::MAX)) as u32;
    [
        SockFilter::new(load_byte, 0, 0, 13),
        SockFilter::new(and, 0, 0, syn | ack),
        SockFilter::new(jump_if_equal, 0, 3, syn),
        SockFilter::new(load_word, 0, 0, random),
        SockFilter::new(jump_if_at_least, 1, 0, least),
        SockFilter::new(return_, 0, 0, 0),        // drop it
        SockFilter::new(return_, 0, 0, u32::MAX), // take all of it
    ]
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use socket2::{Domain, Type};

    use super::*;

    /// If none of those that were dropped comes again, fewer and fewer are expected, and in the end the
    /// filter goes.
    #[test]
    fn after_a_burst_the_queue_opens_again() {
        let socket = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let listener = socket();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        listener.bind(&any.into()).unwrap();
        listener.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let (guard, mut now) = (Guard::new(), Moment::START);
        let watch = |now| guard.watch(&listener, now).unwrap();
        assert_eq!(watch(now).again_at, None);
        let clients = [(); 12].map(|()| {
            let client = socket();
            let _in_progress = client.connect(&address);
            client
        });
        let watched = watch(now);
        assert_eq!(watched.began, Some((2, 1)), "the queue is full");
        drop(clients);
        let (mut next, mut windows) = (watched.again_at, 0);
        while let Some(at) = next {
            assert!(at > now && windows < 20, "{guard:?} at {now:?}");
            (now, windows) = (at, windows + 1);
            let watched = watch(now);
            (next, _) = (watched.again_at, assert_eq!(watched.began, None));
        }
        assert!(windows > 2, "{windows}");
        assert!(matches!(guard.state.get(), State::Open));
    }
}
