//! Without descriptors it pauses, and looks again when a client has left.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use super::Settings;

const LISTENER: Token = Token(usize::MAX);

/// The length of a pause if no client leaves: another process may have caused the shortage.
const RETRY: Duration = Duration::from_millis(100);

pub struct Server {
    poll: Poll,
    listener: TcpListener,
    clients: Slab<Client>,
    settings: Settings,
    /// Accepting pauses until then, or until a client leaves.
    paused: Option<Instant>,
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
    Lingering,
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
            paused: None,
        })
    }

    pub fn turn(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        self.poll.poll(events, self.timeout(timeout))?;
        for event in events.iter() {
            match event.token() {
                LISTENER => self.accept(),
                Token(key) => self.drive(key),
            }
        }
        self.resume()
    }

    /// How long the poll may sleep.
    fn timeout(&self, timeout: Option<Duration>) -> Option<Duration> {
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        [timeout, self.paused.map(until)]
            .into_iter()
            .flatten()
            .min()
    }

    /// When the pause is over, registers the listener again: if clients wait, that makes a new edge.
    fn resume(&mut self) -> io::Result<()> {
        if self.paused.is_some_and(|at| at <= Instant::now()) {
            self.paused = None;
            let registry = self.poll.registry();
            registry.reregister(&mut self.listener, LISTENER, Interest::READABLE)?;
        }
        Ok(())
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(e) => match e.raw_os_error() {
                    Some(libc::EAGAIN) => return, // nobody waits
                    Some(libc::EINTR | libc::ECONNABORTED | libc::EPROTO | libc::EPERM) => {}
                    _ => {
                        self.paused = Some(Instant::now() + RETRY);
                        return;
                    }
                },
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
                self.remove(key);
            }
        }
    }

    /// The only place where a client leaves. Its descriptor is free, so a pause is over.
    fn remove(&mut self, key: usize) {
        self.clients.remove(key);
        self.paused = self.paused.map(|_| Instant::now());
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
                    self.stream.shutdown(Shutdown::Write)?;
                    self.stage = Stage::Lingering;
                }
            }
            Stage::Lingering => {
                if self.stream.read(&mut self.buffer)? == 0 {
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
