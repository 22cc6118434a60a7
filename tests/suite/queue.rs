//! A queue that would overflow. No client becomes a ghost, which is connected and never served.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::util::{PATIENCE, Server, in_a_network, tcp_counter};
use socket2::{Domain, Socket, Type};

/// Many more clients at once than there is room for, in a network of their own, whose counters
/// nothing else changes: all of them are served, though the server is full all the time.
#[test]
fn a_full_queue_makes_no_ghosts() {
    if let Some(said) = in_a_network(2 * PATIENCE, "", clients_beyond_the_backlog_are_served) {
        println!("{said}");
    }
}

#[test]
#[ignore = "a_full_queue_makes_no_ghosts makes a network for it"]
fn clients_beyond_the_backlog_are_served() {
    const CLIENTS: usize = 150;
    let server = Server::start(&["--max-connections", "20", "--backlog", "50"]);
    let start = Instant::now();
    let mut waiting: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(&server)).collect();
    while !waiting.is_empty() {
        assert!(
            start.elapsed() < PATIENCE,
            "{} of {CLIENTS} clients are not served",
            waiting.len()
        );
        waiting.retain_mut(|client| !client.goes_on());
        std::thread::sleep(Duration::from_millis(1));
    }
    let overflows = tcp_counter("netstat", "TcpExt:", "ListenOverflows");
    let cookies = tcp_counter("netstat", "TcpExt:", "SyncookiesSent");
    println!(
        "{CLIENTS} clients in {:?}, {overflows} overflows, {cookies} cookies",
        start.elapsed()
    );
}

/// A client that sends its message a while after it was greeted, and leaves with its echo.
struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    greeted_at: Option<Instant>,
}

/// How long it waits before that.
const A_WHILE: Duration = Duration::from_millis(50);

impl Client {
    fn connect(server: &Server) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _in_progress = socket.connect(&server.address().into());
        Self {
            stream: socket.into(),
            received: vec![],
            greeted_at: None,
        }
    }

    /// Whether it is done.
    fn goes_on(&mut self) -> bool {
        let mut buffer = [0; 100];
        match self.stream.read(&mut buffer) {
            Ok(0) => {
                assert_eq!(self.received, b"hi");
                return true;
            }
            Ok(n) => self.received.extend_from_slice(&buffer[..n]),
            Err(e) => assert!(
                matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected),
                "{e} after {} bytes",
                self.received.len()
            ),
        }
        if self.received == b"hello\n" {
            let greeted_at = *self.greeted_at.get_or_insert_with(Instant::now);
            if greeted_at.elapsed() > A_WHILE {
                self.stream.write_all(b"hi").unwrap();
                self.received.clear(); // of what is left to come
            }
        }
        false
    }
}
