//! The trials that turn a server by hand, in this process.

use std::time::{Duration, Instant};

use allocation_counter::measure;
use socket2::{Domain, Socket, Type};

use crate::stage::PATIENCE;
use crate::steps::Subject;
use crate::trials::{CLIENTS, Tell, expect};

pub fn a_crowd_in_one_turn(subject: Subject, _: bool, tell: Tell) -> Result<(), String> {
    let mut server = subject.turning().map_err(|e| e.to_string())?;
    let address = server.address();
    let connect = |_| std::net::TcpStream::connect(address).unwrap();
    let clients: Vec<_> = (0..CLIENTS).map(connect).collect();
    tell("40 clients connect");
    let mut accepted = Vec::new();
    for turn in 1..=3 {
        server.turn().map_err(|e| e.to_string())?;
        accepted.push(server.clients());
        tell(&format!(
            "after turn {turn} of the server {} are accepted",
            server.clients()
        ));
        if server.clients() == clients.len() {
            break;
        }
    }
    expect(
        accepted[0] < clients.len(),
        "a turn lasts for as long as clients come",
    )?;
    expect(
        accepted.last() == Some(&clients.len()),
        "some are left in the queue",
    )
}

pub fn a_burst(subject: Subject, is_faulty: bool, tell: Tell) -> Result<(), String> {
    const BURST: usize = 300;
    /// What fits into a queue with a backlog of 128: one more.
    const DEFAULT: usize = 129;
    let server = subject.turning().map_err(|e| e.to_string())?;
    tell("300 clients connect while the server is busy");
    let connect = |_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
        let _ = socket.connect(&server.address().into()); // in progress
        socket
    };
    let clients: Vec<Socket> = (0..BURST).map(connect).collect();
    let connected = || {
        clients
            .iter()
            .filter(|client| client.peer_addr().is_ok())
            .count()
    };
    let expected = if is_faulty { DEFAULT } else { BURST };
    let start = Instant::now();
    while connected() < expected && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    let connected = connected();
    tell(&format!("{connected} are connected"));
    if connected < BURST {
        tell("the SYNs of the others were dropped");
    }
    expect(connected == BURST, "most of a burst is kept waiting")
}

pub fn silent_clients(subject: Subject, _: bool, tell: Tell) -> Result<(), String> {
    const NEWCOMERS: usize = 16;
    let mut server = subject.turning().map_err(|e| e.to_string())?;
    let address = server.address();
    let mut clients = Vec::new();
    let mut allocated = 0;
    // The first of them make the tables grow.
    for _ in 0..2 {
        clients.extend((0..NEWCOMERS).map(|_| std::net::TcpStream::connect(address).unwrap()));
        allocated = measure(|| {
            while server.clients() < clients.len() {
                server.turn().unwrap();
            }
        })
        .bytes_total;
    }
    tell("16 clients connect, and say nothing");
    let each = allocated / NEWCOMERS as u64;
    tell(&match each {
        0 => "nothing is allocated for them".to_owned(),
        _ => "more than 1000 bytes are allocated for each".to_owned(),
    });
    expect(
        each < 1000,
        "a buffer for each client that may speak, though nobody does",
    )
}
