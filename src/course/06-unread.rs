//! It remembers how much of a message is sent, and goes on when there is room for more.

use std::io::{self, Read, Write};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use super::Settings;

const LISTENER: Token = Token(usize::MAX);

pub struct Server {
    poll: Poll,
    listener: TcpListener,
    clients: Slab<Client>,
    settings: Settings,
}

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    stage: Stage,
}

/// How far a client has come.
enum Stage {
    Greeting { sent: usize },
    Reading,
    Echoing { sent: usize, len: usize },
}

/// What became of a client that was driven as far as it goes.
enum Driven {
    Waits,
    Done,
}

pub fn serve(listener: std::net::TcpListener, settings: Settings) -> io::Result<()> {
    let mut server = Server::new(listener, settings)?;
    let mut events = Events::with_capacity(256);
    loop {
        server.turn(&mut events, None)?;
    }
}

impl Server {
    pub fn new(listener: std::net::TcpListener, settings: Settings) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            clients: Slab::new(),
            settings,
        })
    }

    pub fn turn(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        self.poll.poll(events, timeout)?;
        for event in events.iter() {
            match event.token() {
                LISTENER => self.accept()?,
                Token(key) => self.drive(key),
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }

    fn admit(&mut self, mut stream: TcpStream) {
        let entry = self.clients.vacant_entry();
        let key = entry.key();
        let both = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(&mut stream, Token(key), both);
        if registered.is_ok() {
            entry.insert(Client {
                stream,
                buffer: vec![0; 1000],
                stage: Stage::Greeting { sent: 0 },
            });
            self.drive(key);
        }
    }

    /// Takes a client as far as it goes, and lets it go when it is done, or when its socket fails.
    fn drive(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else {
            return; // it left earlier in this batch
        };
        match client.drive(&self.settings.greeting) {
            Ok(Driven::Waits) => {}
            Ok(Driven::Done) | Err(_) => {
                self.clients.remove(key);
            }
        }
    }
}

impl Client {
    /// Until a call would block, which is when the next edge is certain to come.
    fn drive(&mut self, greeting: &[u8]) -> io::Result<Driven> {
        loop {
            match self.step(greeting) {
                Ok(Some(driven)) => return Ok(driven),
                Ok(None) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Driven::Waits),
                Err(e) => return Err(e),
            }
        }
    }

    /// One call, and what follows from it.
    fn step(&mut self, greeting: &[u8]) -> io::Result<Option<Driven>> {
        match &mut self.stage {
            Stage::Greeting { sent } => {
                *sent += send(&mut self.stream, &greeting[*sent..])?;
                if *sent == greeting.len() {
                    self.stage = Stage::Reading;
                }
            }
            Stage::Reading => match self.stream.read(&mut self.buffer)? {
                0 => return Ok(Some(Driven::Done)),
                len => self.stage = Stage::Echoing { sent: 0, len },
            },
            Stage::Echoing { sent, len } => {
                *sent += send(&mut self.stream, &self.buffer[*sent..*len])?;
                if sent == len {
                    return Ok(Some(Driven::Done));
                }
            }
        }
        Ok(None)
    }
}

fn send(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes)? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        n => Ok(n),
    }
}
