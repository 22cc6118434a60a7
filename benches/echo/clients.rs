//! The clients: connections that are kept, with one message on its way on each.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::util::{Server, payload};

/// All of them are the work of one thread. Reads and writes block, for at most the tests' patience,
/// so the clients need no poll and cost less than any server.
pub(crate) struct Clients {
    clients: Vec<Client>,
    received: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    /// No other connection has these bytes, and no other message these first eight.
    message: Vec<u8>,
    sent: u64,
}

impl Clients {
    /// `size`: the bytes of a message, at least eight. The server need not accept them now: they
    /// wait in its queue.
    pub(crate) fn connect(server: &Server, count: usize, size: usize) -> Self {
        let client = |seed| Client {
            stream: server.connect(),
            message: payload(seed, size),
            sent: 0,
        };
        Self {
            clients: (0..count as u64).map(client).collect(),
            received: vec![0; size],
        }
    }

    /// The next message on each.
    pub(crate) fn send(&mut self) {
        self.clients.iter_mut().for_each(Client::send);
    }

    /// The echo of the last message on each, every byte checked.
    pub(crate) fn receive(&mut self) {
        let Self { clients, received } = self;
        clients
            .iter_mut()
            .for_each(|client| client.receive(received));
    }

    /// Both for one after the other, so that the messages of all but one are on their way.
    pub(crate) fn receive_and_send(&mut self) {
        for client in &mut self.clients {
            client.receive(&mut self.received);
            client.send();
        }
    }
}

impl Client {
    fn send(&mut self) {
        self.sent += 1;
        self.message[..8].copy_from_slice(&self.sent.to_ne_bytes());
        self.stream.write_all(&self.message).unwrap();
    }

    fn receive(&mut self, received: &mut [u8]) {
        self.stream.read_exact(received).unwrap();
        assert!(
            received == self.message,
            "message {} is echoed wrongly",
            self.sent
        );
    }
}
