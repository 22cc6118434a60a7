//! The loop that tutorials have: a map of connections with a buffer each, registered for both
//! directions, greeted when writable, read until there is no more, deregistered in the end.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};

const LISTENER: Token = Token(0);

pub(crate) struct Server {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    connections: HashMap<Token, Connection>,
    next: usize,
}

struct Connection {
    stream: TcpStream,
    greeted: bool,
    message: Vec<u8>,
    echoed: bool,
}

impl Server {
    pub(crate) fn bind() -> Self {
        let poll = Poll::new().unwrap();
        let mut listener = crate::listener();
        let registry = poll.registry();
        registry
            .register(&mut listener, LISTENER, Interest::READABLE)
            .unwrap();
        Self {
            poll,
            events: Events::with_capacity(1024),
            listener,
            connections: HashMap::new(),
            next: 1,
        }
    }

    fn accept(&mut self) {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) => panic!("{e}"),
            };
            let token = Token(self.next);
            self.next += 1;
            let both = Interest::READABLE | Interest::WRITABLE;
            let registry = self.poll.registry();
            registry.register(&mut stream, token, both).unwrap();
            let connection = Connection {
                stream,
                greeted: false,
                message: Vec::new(),
                echoed: false,
            };
            self.connections.insert(token, connection);
        }
    }
}

impl Connection {
    /// Returns whether it is over.
    fn handle(&mut self, event: &Event, registry: &Registry) -> bool {
        if event.is_writable() && !self.greeted {
            if self.stream.write_all(b"hello\n").is_err() {
                return true;
            }
            self.greeted = true;
            let token = event.token();
            registry
                .reregister(&mut self.stream, token, Interest::READABLE)
                .unwrap();
        }
        event.is_readable() && self.read()
    }

    fn read(&mut self) -> bool {
        loop {
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(n) => self.message.extend(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return true,
            }
        }
        if !self.message.is_empty() && !self.echoed {
            self.echoed = true;
            let echo = &self.message[..self.message.len().min(1000)];
            let echoed = self.stream.write_all(echo);
            return echoed.is_err() || self.stream.shutdown(Shutdown::Write).is_err();
        }
        false
    }
}

impl crate::Turn for Server {
    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    fn turn(&mut self) {
        self.poll
            .poll(&mut self.events, Some(Duration::ZERO))
            .unwrap();
        let mut is_waiting = false;
        for event in &self.events {
            let token = event.token();
            if token == LISTENER {
                is_waiting = true;
            } else if let Some(connection) = self.connections.get_mut(&token) {
                if connection.handle(event, self.poll.registry()) {
                    let mut over = self.connections.remove(&token).unwrap();
                    self.poll.registry().deregister(&mut over.stream).unwrap();
                }
            }
        }
        if is_waiting {
            self.accept();
        }
    }
}
