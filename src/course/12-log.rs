//! A signal that interrupts the poll is no error. And it has a log.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use super::Settings;

const LISTENER: Token = Token(usize::MAX);

/// Clients that are accepted before the others have their turn.
const ACCEPTS_PER_TURN: usize = 16;

/// The length of a pause if no client leaves: another process may have caused the shortage.
const RETRY: Duration = Duration::from_millis(100);

pub struct Server {
    poll: Poll,
    listener: TcpListener,
    clients: Slab<Client>,
    settings: Settings,
    /// Accepting pauses until then, or until a client leaves.
    paused: Option<Instant>,
    /// Every client has the same time, so the first to come is the first to be due.
    deadlines: VecDeque<(Instant, usize)>,
}

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    stage: Stage,
    due: Instant,
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
            deadlines: VecDeque::new(),
        })
    }

    pub fn turn(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(events, self.timeout(timeout)) {
            // A signal, if only SIGSTOP and SIGCONT: no events, and the next turn waits.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            polled => polled?,
        }
        for event in events.iter().filter(|e| e.token() != LISTENER) {
            self.drive(event.token().0);
        }
        self.expire();
        if events.iter().any(|e| e.token() == LISTENER) {
            self.accept()?;
        }
        self.resume()
    }

    /// How many clients are connected, for the trials.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// How long the poll may sleep.
    fn timeout(&self, timeout: Option<Duration>) -> Option<Duration> {
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        let due = self.deadlines.front().map(|(due, _)| *due);
        let alarms = [timeout, self.paused.map(until), due.map(until)];
        alarms.into_iter().flatten().min()
    }

    /// Closes the clients that are due. A key may belong to another client by now, which has its
    /// own deadline.
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some((due, key)) = self.deadlines.front().copied() {
            if due > now {
                return;
            }
            self.deadlines.pop_front();
            if self
                .clients
                .get(key)
                .is_some_and(|client| client.due == due)
            {
                self.remove(key);
            }
        }
    }

    fn resume(&mut self) -> io::Result<()> {
        if self.paused.is_some_and(|at| at <= Instant::now()) {
            self.paused = None;
            self.rearm()?;
        }
        Ok(())
    }

    /// A bounded run. If it ends before nobody waits, the listener is registered again.
    fn accept(&mut self) -> io::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listener.accept() {
                Ok((stream, peer)) => {
                    if self.settings.log {
                        println!("{peer} connected");
                    }
                    self.admit(stream);
                }
                Err(e) => match e.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(()), // nobody waits
                    Some(libc::EINTR | libc::ECONNABORTED | libc::EPROTO | libc::EPERM) => {}
                    _ => {
                        self.paused = Some(Instant::now() + RETRY);
                        return Ok(());
                    }
                },
            }
        }
        self.rearm()
    }

    /// Registering again makes a new edge if clients wait.
    fn rearm(&mut self) -> io::Result<()> {
        let registry = self.poll.registry();
        registry.reregister(&mut self.listener, LISTENER, Interest::READABLE)
    }

    fn admit(&mut self, mut stream: TcpStream) {
        let due = Instant::now() + self.settings.timeout;
        let entry = self.clients.vacant_entry();
        let key = entry.key();
        let both = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(&mut stream, Token(key), both);
        if registered.is_ok() {
            entry.insert(Client {
                stream,
                buffer: vec![0; 1000],
                stage: Stage::Greeting { sent: 0 },
                due,
            });
            self.deadlines.push_back((due, key));
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
