//! mio as its tutorials have it: a map of connections with buffers of their own, register, greet
//! when writable, change the interest with the state, read until `WouldBlock`, deregister. It differs
//! from them in what would end the server: a peer's error ends the peer.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

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

pub struct Server {
    poll: Poll,
    listener: TcpListener,
    connections: HashMap<Token, Connection>,
    /// When each is due, the first of them first.
    lingering: VecDeque<(Instant, Token)>,
    next_token: usize,
}

pub(super) fn run(listener: &std::net::TcpListener) -> io::Result<()> {
    let mut server = Server::new(listener.try_clone()?)?;
    let mut events = Events::with_capacity(256);
    loop {
        let timeout = server.time_left();
        server.turn(&mut events, timeout)?;
    }
}

impl Server {
    pub fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, SERVER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            connections: HashMap::new(),
            lingering: VecDeque::new(),
            next_token: SERVER.0 + 1,
        })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub fn turn(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(events, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in &*events {
            match event.token() {
                SERVER => self.accept(),
                token => self.serve(token, event),
            }
        }
        self.expire();
        Ok(())
    }

    fn time_left(&self) -> Option<Duration> {
        let (due, _) = self.lingering.front()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// Until `WouldBlock`, or another error that concerns clients that have not come yet.
    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let token = Token(self.next_token);
            self.next_token += 1;
            let registry = self.poll.registry();
            let registered = registry.register(&mut stream, token, Interest::WRITABLE);
            if registered.is_ok() {
                let connection = Connection {
                    stream,
                    state: State::Greeting,
                    outgoing: GREETING.to_vec(),
                    sent: 0,
                };
                self.connections.insert(token, connection);
            }
        }
    }

    fn serve(&mut self, token: Token, event: &Event) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        let registry = self.poll.registry();
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
            self.close(token);
        } else if connection.state == State::Lingering && before != State::Lingering {
            self.lingering.push_back((Instant::now() + LINGER, token));
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while let Some((due, token)) = self.lingering.front() {
            if *due > now && self.connections.contains_key(token) {
                return;
            }
            let token = *token;
            self.close(token);
            self.lingering.pop_front();
        }
    }

    fn close(&mut self, token: Token) {
        if let Some(mut connection) = self.connections.remove(&token) {
            let _ = self.poll.registry().deregister(&mut connection.stream);
        }
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
