//! What the reactor needs of a poll, checked on the poll of this machine: epoll on Linux, kqueue on
//! macOS and the BSDs. The argument at the top of `src/reactor/connection.rs`, that no edge is
//! lost, rests on these. If the server hangs on some system, begin here: `cargo test --test edges`.
//!
//! A poll that reports more often than this, or reports twice what it could report once, is as
//! good.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "that is how a test fails"
)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, SockAddr, Socket, Type};

/// How long an edge may take.
const PATIENCE: Duration = Duration::from_secs(10);

const READ: Interest = Interest::READABLE;
const WRITE: Interest = Interest::WRITABLE;

/// What the poll has reported about a socket, in one event or in several.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    readable: bool,
    writable: bool,
    fin: bool,
}

struct Watch(Poll, Events);

impl Watch {
    fn new() -> Self {
        Self(Poll::new().unwrap(), Events::with_capacity(8))
    }

    fn register(&self, socket: &Socket, interest: Interest) {
        let fd = socket.as_raw_fd();
        let mut source = SourceFd(&fd);
        source
            .register(self.0.registry(), Token(7), interest)
            .unwrap();
    }

    fn reregister(&self, socket: &Socket, interest: Interest) {
        let fd = socket.as_raw_fd();
        let mut source = SourceFd(&fd);
        source
            .reregister(self.0.registry(), Token(7), interest)
            .unwrap();
    }

    /// Polls once.
    fn poll(&mut self, timeout: Duration) -> Said {
        self.0.poll(&mut self.1, Some(timeout)).unwrap();
        self.1.iter().fold(Said::default(), |said, event| {
            assert_eq!(event.token(), Token(7));
            Said {
                readable: said.readable || event.is_readable(),
                writable: said.writable || event.is_writable(),
                fin: said.fin || event.is_read_closed(),
            }
        })
    }

    /// Polls until it has reported what is hoped for.
    fn until(&mut self, what: &str, hoped: impl Fn(&Said) -> bool) {
        let start = Instant::now();
        let mut said = Said::default();
        while !hoped(&said) {
            let left = PATIENCE.saturating_sub(start.elapsed());
            assert!(!left.is_zero(), "no edge {what}: {said:?}");
            said = self.poll(left);
        }
    }

    fn until_readable(&mut self, what: &str) {
        self.until(what, |said| said.readable);
    }

    fn until_writable(&mut self, what: &str) {
        self.until(what, |said| said.writable);
    }
}

/// A listener that does not block, and its address.
fn listener() -> (Socket, SockAddr) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    listener.bind(&any.into()).unwrap();
    listener.listen(8).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn client(address: &SockAddr) -> Socket {
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    client.connect(address).unwrap();
    client
}

/// Our end, which does not block, and the peer's, which does.
fn tcp() -> (Socket, Socket) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    listener.bind(&any.into()).unwrap();
    listener.listen(1).unwrap();
    let peer = client(&listener.local_addr().unwrap());
    peer.set_tcp_nodelay(true).unwrap();
    let (ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    (ours, peer)
}

fn unix() -> (Socket, Socket) {
    let (ours, peer) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
    ours.set_nonblocking(true).unwrap();
    (ours, peer)
}

/// Each test with a TCP connection, and with a Unix one.
fn with_each(test: impl Fn(&str, Socket, Socket)) {
    for (kind, (ours, peer)) in [("TCP", tcp()), ("Unix", unix())] {
        test(kind, ours, peer);
    }
}

fn send(mut peer: &Socket, n: usize) {
    peer.write_all(&vec![b'x'; n]).unwrap();
}

fn receive(mut ours: &Socket, room: usize) -> io::Result<usize> {
    ours.read(&mut vec![0; room])
}

/// Receives to WouldBlock.
fn drain(ours: &Socket) {
    let failed = loop {
        match receive(ours, 1 << 16) {
            Ok(n) => assert!(n > 0, "the FIN"),
            Err(e) => break e,
        }
    };
    assert_eq!(failed.kind(), ErrorKind::WouldBlock);
}

/// Sends to WouldBlock, and returns how many bytes went out.
fn fill(mut ours: &Socket) -> usize {
    let mut sent = 0;
    loop {
        match ours.write(&[b'x'; 1 << 16]) {
            Ok(n) => sent += n,
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::WouldBlock);
                return sent;
            }
        }
    }
}

#[test]
fn registering_reports_what_is_there() {
    with_each(|kind, ours, peer| {
        send(&peer, 10);
        let mut watch = Watch::new();
        watch.register(&ours, READ);
        watch.until_readable(&format!("at registration, {kind}"));
    });
    with_each(|kind, ours, peer| {
        drop(peer);
        let mut watch = Watch::new();
        watch.register(&ours, READ);
        let what = format!("of the FIN at registration, {kind}");
        watch.until(&what, |said| said.readable && said.fin);
    });
    with_each(|kind, ours, _peer| {
        let mut watch = Watch::new();
        watch.register(&ours, READ | WRITE);
        watch.until_writable(&format!("for room at registration, {kind}"));
    });
    let (listener, address) = listener();
    let _client = client(&address);
    let mut watch = Watch::new();
    watch.register(&listener, READ);
    watch.until_readable("for the listener at registration");
}

#[test]
fn bytes_after_would_block_make_an_edge() {
    with_each(|kind, ours, peer| {
        let mut watch = Watch::new();
        watch.register(&ours, READ);
        for _ in 0..3 {
            drain(&ours);
            send(&peer, 10);
            watch.until_readable(&format!("after WouldBlock, {kind}"));
        }
    });
    let (listener, address) = listener();
    let mut watch = Watch::new();
    watch.register(&listener, READ);
    for _ in 0..3 {
        let _client = client(&address);
        watch.until_readable("for a newcomer");
        while listener.accept().is_ok() {}
    }
}

#[test]
fn room_after_would_block_makes_an_edge() {
    with_each(|kind, ours, mut peer| {
        let mut watch = Watch::new();
        watch.register(&ours, READ | WRITE);
        watch.poll(Duration::ZERO);
        let mut sent = fill(&ours);
        watch.poll(Duration::ZERO); // of room that was there in between
        sent += fill(&ours);
        let mut all = vec![0; sent];
        peer.read_exact(&mut all).unwrap();
        watch.until_writable(&format!("for room, {kind}"));
    });
}

/// A receive that does not fill its buffer has emptied the queue, and nobody asks again.
#[test]
fn bytes_after_a_short_receive_make_an_edge() {
    with_each(|kind, ours, peer| {
        let mut watch = Watch::new();
        watch.register(&ours, READ);
        for _ in 0..3 {
            send(&peer, 10);
            watch.until_readable(&format!("after a short receive, {kind}"));
            assert_eq!(receive(&ours, 100).unwrap(), 10, "{kind}");
        }
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        let what = format!("of the FIN after a short receive, {kind}");
        watch.until(&what, |said| said.readable && said.fin);
        assert_eq!(receive(&ours, 100).unwrap(), 0, "{kind}");
    });
}

#[test]
fn registering_again_reports_what_is_left() {
    with_each(|kind, ours, peer| {
        let mut watch = Watch::new();
        watch.register(&ours, READ);
        send(&peer, 10);
        watch.until_readable(&format!("at first, {kind}"));
        for interest in [READ, READ | WRITE, READ] {
            assert_eq!(receive(&ours, 1).unwrap(), 1, "{kind}");
            watch.reregister(&ours, interest);
            watch.until_readable(&format!("at re-registration for {interest:?}, {kind}"));
        }
        watch.reregister(&ours, WRITE);
        watch.until_writable(&format!("for room at re-registration, {kind}"));
        watch.reregister(&ours, READ);
        watch.until_readable(&format!("after a change there and back, {kind}"));
    });
    let (listener, address) = listener();
    let mut watch = Watch::new();
    watch.register(&listener, READ);
    let _clients = [(); 4].map(|()| client(&address));
    watch.until_readable("for the listener");
    for _ in 0..3 {
        listener.accept().unwrap();
        watch.reregister(&listener, READ);
        watch.until_readable("for the listener at re-registration");
    }
}

/// kqueue reports the FIN with the data before it. The event must report it in any case, because
/// otherwise a receive that does not fill its buffer is the last one.
#[test]
fn a_fin_after_unread_bytes_is_reported() {
    with_each(|kind, ours, peer| {
        send(&peer, 10);
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        let mut watch = Watch::new();
        watch.register(&ours, READ);
        let what = format!("of a FIN behind bytes, {kind}");
        watch.until(&what, |said| said.readable && said.fin);
        assert_eq!(receive(&ours, 100).unwrap(), 10, "{kind}");
        assert_eq!(receive(&ours, 100).unwrap(), 0, "{kind}");
    });
}

#[test]
fn a_reset_is_reported_whatever_the_socket_waits_for() {
    for interest in [READ, WRITE, READ | WRITE] {
        let (ours, peer) = tcp();
        fill(&ours);
        let mut watch = Watch::new();
        watch.register(&ours, interest);
        watch.poll(Duration::ZERO);
        peer.set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        let what = format!("of a reset, registered for {interest:?}");
        watch.until(&what, |said| said.readable || said.writable);
        let failed = receive(&ours, 100).unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::ConnectionReset);
    }
}

/// So a token is free as soon as its socket is closed.
#[test]
fn a_socket_that_is_closed_is_not_reported() {
    with_each(|kind, ours, peer| {
        let mut watch = Watch::new();
        watch.register(&ours, READ);
        send(&peer, 10);
        watch.until_readable(kind);
        send(&peer, 10);
        drop(ours);
        let said = watch.poll(Duration::ZERO);
        assert!(!said.readable && !said.fin, "{kind}: {said:?}");
    });
}
