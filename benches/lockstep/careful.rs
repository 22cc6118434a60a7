//! A careful loop: greets before it registers, registers once, reads once into one buffer for all,
//! and makes no call that it need not. It closes right behind the echo.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);

pub(crate) struct Server {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    streams: Slab<TcpStream>,
    buffer: [u8; 1000],
}

impl Server {
    pub(crate) fn bind() -> Self {
        let poll = Poll::new().unwrap();
        let listener = crate::peers::listen().unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut listener = TcpListener::from_std(listener);
        let registry = poll.registry();
        registry
            .register(&mut listener, LISTENER, Interest::READABLE)
            .unwrap();
        Self {
            poll,
            events: Events::with_capacity(1024),
            listener,
            streams: Slab::new(),
            buffer: [0; 1000],
        }
    }

    fn accept(&mut self) {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) => panic!("{e}"),
            };
            if stream.write(b"hello\n").is_ok() {
                let entry = self.streams.vacant_entry();
                let token = Token(entry.key());
                let registry = self.poll.registry();
                registry
                    .register(&mut stream, token, Interest::READABLE)
                    .unwrap();
                entry.insert(stream);
            }
        }
    }

    fn echo(&mut self, key: usize) {
        match self.streams[key].read(&mut self.buffer) {
            Ok(n @ 1..) => {
                let _ = self.streams[key].write(&self.buffer[..n]);
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return,
            _ => {}
        }
        self.streams.remove(key);
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
        let tokens: Vec<Token> = self.events.iter().map(|event| event.token()).collect();
        let clients = tokens.iter().filter(|token| **token != LISTENER);
        clients.for_each(|token| self.echo(token.0));
        if tokens.contains(&LISTENER) {
            self.accept();
        }
    }
}
