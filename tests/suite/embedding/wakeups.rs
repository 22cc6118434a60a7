//! What a server that sleeps must not miss: more events than one batch has, the deadlines of added
//! protocols, descriptors that become free, and urgent data. And until when it is not shut down.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use hello_echo::Server;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rlimit::Resource;
use socket2::SockRef;

use super::{Dots, NOON, NOW, SHORT, config, server, tcp};
use crate::protocols::daytime::Daytime;
use crate::protocols::echo::Echo;
use crate::util::{PATIENCE, Peer, alone, assert_rest, connect, have_descriptors};

/// Turns until so many clients of the first protocol are connected.
fn accept(server: &mut Server<Echo>, clients: usize) {
    let start = Instant::now();
    while server.clients() < clients {
        assert!(start.elapsed() < PATIENCE, "{server:?}");
        server.turn(Some(SHORT)).unwrap();
    }
}

/// One echo, which shows that the client was accepted, whichever protocol echoes.
fn exchange(server: &mut Server<Echo>, client: &mut TcpStream) {
    client.write_all(b".").unwrap();
    assert_eq!(receive(server, client, 1), b".");
}

/// Turns until so many bytes have come, or the end.
fn receive(server: &mut Server<Echo>, client: &mut TcpStream, length: usize) -> Vec<u8> {
    client.set_nonblocking(true).unwrap();
    let (mut received, start) = (vec![], Instant::now());
    while received.len() < length {
        server.turn(Some(SHORT)).unwrap();
        let mut buffer = [0; 100];
        match client.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => received.extend(&buffer[..n]),
            Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
        }
        let said = String::from_utf8_lossy(&received);
        assert!(start.elapsed() < PATIENCE, "only {said:?} came back");
    }
    client.set_nonblocking(false).unwrap();
    received
}

/// The descriptor of the server's poll makes no edge for the events that a turn leaves over. The
/// alarm reports them.
#[test]
fn an_outer_loop_that_waits_for_edges_misses_no_batch() {
    const CLIENTS: usize = 600; // more than two batches
    if !alone(an_outer_loop_that_waits_for_edges_misses_no_batch) || !have_descriptors(1500) {
        return;
    }
    let mut many = config();
    many.max_connections = Some(2000);
    let mut server = Server::<Echo>::bind(&many, ()).unwrap();
    let address = tcp(&server.local_addrs()[0]);
    let (mut outer, mut events) = (Poll::new().unwrap(), Events::with_capacity(8));
    let inner = server.as_fd().as_raw_fd();
    let mut inner = SourceFd(&inner);
    let registry = outer.registry();
    registry
        .register(&mut inner, Token(0), Interest::READABLE)
        .unwrap();
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| connect(address)).collect();
    accept(&mut server, CLIENTS);
    for client in &mut clients {
        client.write_all(b"hi").unwrap();
    }
    let start = Instant::now();
    while server.stats().bytes.sent < 2 * CLIENTS as u64 {
        let alarm = server.alarm().unwrap(); // at the latest for an idle client
        let wait = alarm.saturating_duration_since(Instant::now());
        outer.poll(&mut events, Some(wait.min(PATIENCE))).unwrap();
        let sent = server.stats().bytes.sent;
        assert!(start.elapsed() < PATIENCE, "it stalls after {sent} bytes");
        server.turn(NOW).unwrap();
    }
    for client in &mut clients {
        let mut echo = [0; 2];
        client.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"hi");
    }
}

/// A server that sleeps for long wakes up when a deadline of an added protocol is over.
#[test]
fn the_deadline_of_an_added_protocol_wakes_a_server_that_sleeps() {
    let (mut server, _) = server::<Echo>(());
    let dots = tcp(&server.add::<Dots>(&config(), ()).unwrap()[0]);
    let mut client = connect(dots);
    exchange(&mut server, &mut client);
    let start = Instant::now();
    client.write_all(b"x").unwrap(); // a message, which may take three times SHORT
    client.set_nonblocking(true).unwrap();
    while client.read(&mut [0]).is_err() {
        server.turn(Some(PATIENCE)).unwrap();
        assert!(start.elapsed() < PATIENCE, "it sleeps through the deadline");
    }
    assert!(start.elapsed() >= 3 * SHORT, "too early");
}

/// Urgent data ends a receive early, and the bytes after it make no edge.
#[test]
fn bytes_after_urgent_data_are_echoed_without_another_event() {
    let (mut server, address) = server::<Echo>(());
    let mut client = connect(address);
    exchange(&mut server, &mut client);
    server.turn(NOW).unwrap(); // whatever is left of that
    client.write_all(b"abc").unwrap();
    SockRef::from(&client).send_out_of_band(b"!").unwrap();
    client.write_all(b"def").unwrap();
    assert_eq!(receive(&mut server, &mut client, 6), b"abcdef");
}

/// Descriptors belong to the whole process. When a client of one protocol leaves, the next client
/// of another protocol, which waits for a descriptor, is accepted at once and not after the pause.
#[test]
fn a_descriptor_that_comes_free_is_for_every_protocol() {
    if !alone(a_descriptor_that_comes_free_is_for_every_protocol) {
        return;
    }
    let (mut server, first) = server::<Echo>(());
    let added = tcp(&server.add::<Echo>(&config(), ()).unwrap()[0]);
    let mut inside = connect(added);
    exchange(&mut server, &mut inside);
    let (_, hard) = Resource::NOFILE.get().unwrap();
    Resource::NOFILE.set(64, hard).unwrap();
    let mut others: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    others.pop();
    let mut were_in_time = 0;
    for address in [first, added].into_iter().cycle().take(10) {
        were_in_time += u32::from(hand_over(&mut server, &mut inside, address));
    }
    assert!(were_in_time > 0, "this machine is too slow to tell");
}

/// A new client takes this process's last descriptor, and gets in when `inside`, a client of the
/// other protocol, leaves. Returns false if the pause was over by itself meanwhile, which proves
/// nothing.
fn hand_over(server: &mut Server<Echo>, inside: &mut TcpStream, address: SocketAddr) -> bool {
    let soon = || Instant::now() + Duration::from_secs(1);
    let mut newcomer = connect(address);
    let start = Instant::now();
    while server.alarm().is_none_or(|alarm| alarm > soon()) {
        assert!(
            start.elapsed() < PATIENCE,
            "no pause for want of a descriptor"
        );
        server.turn(Some(SHORT)).unwrap();
    }
    let pause_ends = server.alarm().unwrap();
    inside.half_close();
    inside.set_nonblocking(true).unwrap();
    while inside.read(&mut [0]).is_err() {
        assert!(start.elapsed() < PATIENCE, "the client does not leave");
        server.turn(Some(SHORT / 10)).unwrap();
    }
    let goes_on = server.alarm() != Some(pause_ends);
    let is_in_time = Instant::now() < pause_ends;
    assert!(goes_on || !is_in_time, "it waits for nothing");
    exchange(server, &mut newcomer);
    *inside = newcomer;
    is_in_time
}

/// Whichever protocols are done before the others.
#[test]
fn it_is_not_shut_down_while_a_client_of_any_protocol_is_left() {
    let mut patient = config();
    patient.grace = 10 * PATIENCE;
    let mut server = Server::<Echo>::bind(&patient, ()).unwrap();
    server.add::<Daytime>(&patient, NOON).unwrap();
    let echo = tcp(&server.add::<Echo>(&patient, ()).unwrap()[0]);
    server.add::<Daytime>(&patient, NOON).unwrap();
    let mut client = connect(echo);
    exchange(&mut server, &mut client);
    server.shut_down();
    let start = Instant::now();
    while !server.local_addrs().is_empty() {
        assert!(start.elapsed() < PATIENCE, "the first protocol is not done");
        server.turn(Some(SHORT)).unwrap();
    }
    for _ in 0..3 {
        assert!(!server.is_shut_down(), "a client is left");
        exchange(&mut server, &mut client);
    }
    client.half_close();
    while !server.is_shut_down() {
        assert!(start.elapsed() < PATIENCE, "nobody is left");
        server.turn(Some(SHORT)).unwrap();
    }
    assert_rest(&mut client, b"");
}
