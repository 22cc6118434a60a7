//! mio as its tutorials have it: a map of connections with buffers of their own, register, greet
//! when writable, change the interest with the state, read until `WouldBlock`, deregister. It differs
//! from them in what would end the server: a peer's error ends the peer.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Instant;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};

use super::{GREETING, LINGER, MESSAGE};

const SERVER: Token = Token(0);

struct Connection {
    stream: TcpStream,
    state: State,
    outgoing: Vec<u8>,
    sent: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    Reading,
    Echoing,
    Lingering,
    Closed,
}

pub(super) fn run(listener: &std::net::TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener.try_clone()?);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(256);
    let mut connections = HashMap::new();
    let mut lingering = VecDeque::new();
    let mut next_token = SERVER.0 + 1;
    poll.registry()
        .register(&mut listener, SERVER, Interest::READABLE)?;
    loop {
        let next = lingering.front().map(|(due, _): &(Instant, Token)| *due);
        let timeout = next.map(|due| due.saturating_duration_since(Instant::now()));
        match poll.poll(&mut events, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            match event.token() {
                SERVER => accept(
                    &listener,
                    poll.registry(),
                    &mut connections,
                    &mut next_token,
                ),
                token => serve(
                    token,
                    event,
                    poll.registry(),
                    &mut connections,
                    &mut lingering,
                ),
            }
        }
        expire(poll.registry(), &mut connections, &mut lingering);
    }
}

/// Until `WouldBlock`, or whatever else there is to say about clients that have not come yet.
fn accept(
    listener: &TcpListener,
    registry: &Registry,
    connections: &mut HashMap<Token, Connection>,
    next_token: &mut usize,
) {
    while let Ok((mut stream, _)) = listener.accept() {
        let token = Token(*next_token);
        *next_token += 1;
        if registry
            .register(&mut stream, token, Interest::WRITABLE)
            .is_ok()
        {
            let connection = Connection {
                stream,
                state: State::Greeting,
                outgoing: GREETING.to_vec(),
                sent: 0,
            };
            connections.insert(token, connection);
        }
    }
}

fn serve(
    token: Token,
    event: &Event,
    registry: &Registry,
    connections: &mut HashMap<Token, Connection>,
    lingering: &mut VecDeque<(Instant, Token)>,
) {
    let Some(connection) = connections.get_mut(&token) else {
        return;
    };
    let before = connection.state;
    let handled = connection.handle(event).and_then(|()| {
        let interest = match connection.state {
            State::Greeting | State::Echoing => Interest::WRITABLE,
            State::Reading | State::Lingering | State::Closed => Interest::READABLE,
        };
        if connection.state == before || connection.state == State::Closed {
            return Ok(());
        }
        registry.reregister(&mut connection.stream, token, interest)
    });
    if handled.is_err() || connection.state == State::Closed {
        let _ = registry.deregister(&mut connection.stream);
        connections.remove(&token);
    } else if connection.state == State::Lingering && before != State::Lingering {
        lingering.push_back((Instant::now() + LINGER, token));
    }
}

fn expire(
    registry: &Registry,
    connections: &mut HashMap<Token, Connection>,
    lingering: &mut VecDeque<(Instant, Token)>,
) {
    let now = Instant::now();
    while let Some((due, token)) = lingering.front() {
        if *due > now && connections.contains_key(token) {
            return;
        }
        if let Some(mut connection) = connections.remove(token) {
            let _ = registry.deregister(&mut connection.stream);
        }
        lingering.pop_front();
    }
}

impl Connection {
    fn handle(&mut self, event: &Event) -> io::Result<()> {
        if event.is_writable() {
            self.write()?;
        }
        if event.is_readable() {
            self.read()?;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        while self.sent < self.outgoing.len() {
            match self.stream.write(&self.outgoing[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        match self.state {
            State::Greeting => self.state = State::Reading,
            State::Echoing => {
                self.stream.shutdown(Shutdown::Write)?;
                self.state = State::Lingering;
            }
            State::Reading | State::Lingering | State::Closed => {}
        }
        Ok(())
    }

    /// The first read is the message; all that follows it is discarded.
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; MESSAGE];
        loop {
            match self.stream.read(&mut buffer) {
                // After the message the echo is still owed.
                Ok(0) if self.state == State::Echoing => return Ok(()),
                Ok(0) => {
                    self.state = State::Closed;
                    return Ok(());
                }
                Ok(n) if self.state == State::Reading => {
                    self.outgoing = buffer[..n].to_vec();
                    self.sent = 0;
                    self.state = State::Echoing;
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}
