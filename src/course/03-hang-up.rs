//! It accepts until nobody waits, because one event may stand for many clients.

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
    clients: Slab<TcpStream>,
    settings: Settings,
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
                Token(key) if event.is_read_closed() => {
                    self.clients.remove(key); // dropped, which closes it
                }
                Token(key) => self.echo(key)?,
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((client, _)) => self.admit(client)?,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }

    fn admit(&mut self, mut client: TcpStream) -> io::Result<()> {
        client.write_all(&self.settings.greeting)?;
        let entry = self.clients.vacant_entry();
        let token = Token(entry.key());
        self.poll
            .registry()
            .register(&mut client, token, Interest::READABLE)?;
        entry.insert(client);
        Ok(())
    }

    fn echo(&mut self, key: usize) -> io::Result<()> {
        let mut client = self.clients.remove(key);
        let mut message = [0; 1000];
        let n = client.read(&mut message)?;
        client.write_all(&message[..n])
    }
}
