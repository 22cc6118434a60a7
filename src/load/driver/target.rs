//! The servers that connections go to.

use std::io;
use std::net::ToSocketAddrs;

use socket2::SockAddr;

use super::source::Sources;
use crate::load::machine::pause::Pause;
use crate::server::address::{self, Address};

/// A server: its name and its addresses.
#[derive(Clone)]
pub(super) struct Target {
    name: String,
    /// All addresses of the name that one of the sources can connect to.
    addresses: Vec<SockAddr>,
    /// The index of the address in use. It changes until a connect succeeds.
    current: usize,
    /// How often all addresses were left because they did not answer in time.
    rounds: usize,
    /// A connect to the current address has succeeded, so the target keeps this address.
    has_answered: bool,
    /// Connections so far.
    pub(super) turn: u64,
    pub(super) pause: Pause,
}

impl Target {
    /// Looks up the addresses of a name.
    ///
    /// # Errors
    /// One line: the name has no address, or none that one of the sources can connect to.
    pub(super) fn resolve(target: &Address, sources: &Sources) -> io::Result<Self> {
        let name = target.to_string();
        let found = match target {
            Address::Tcp { host, port } => (host.as_str(), *port)
                .to_socket_addrs()
                .map(|found| found.map(SockAddr::from).collect()),
            Address::Unix(path) => address::unix(path).map(|path| vec![path]),
        };
        let mut addresses: Vec<SockAddr> =
            found.map_err(|e| io::Error::new(e.kind(), format!("cannot resolve {name}: {e}")))?;
        addresses.retain(|address| sources.fit(address.domain()));
        if addresses.is_empty() {
            let why = "it is of another family than every --source";
            return Err(io::Error::other(format!("cannot connect to {name}: {why}")));
        }
        Ok(Self {
            name,
            addresses,
            current: 0,
            rounds: 0,
            has_answered: false,
            turn: 0,
            pause: Pause::default(),
        })
    }

    /// The address in use.
    pub(super) fn address(&self) -> &SockAddr {
        &self.addresses[self.current]
    }

    /// The name of each address: the target's, with the address if there are several.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        self.addresses
            .iter()
            .map(|address| match address.as_socket() {
                Some(address) if self.has_several() => format!("{} ({address})", self.name),
                _ => self.name.clone(),
            })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The index of the address in use.
    pub(super) fn current(&self) -> u16 {
        self.current as u16
    }

    pub(super) fn has_several(&self) -> bool {
        self.addresses.len() > 1
    }

    /// How often all addresses were left, while it is not known which one answers.
    pub(super) fn unsure(&self) -> Option<usize> {
        (self.has_several() && !self.has_answered).then_some(self.rounds)
    }

    pub(super) fn handle_connected(&mut self) {
        self.has_answered = true;
        self.pause.handle_accepted();
    }

    /// A connect to the address with the index `from` has failed. Returns whether there is another
    /// to try: a server need not listen at every address of its name. `localhost`, for example,
    /// often has two.
    pub(super) fn fall_back(&mut self, from: u16) -> bool {
        if self.current() == from && !self.has_answered && self.current + 1 < self.addresses.len() {
            self.current += 1;
        }
        self.current() != from
    }

    /// The address with the index `from` has not answered yet. Other addresses are tried, and this
    /// one again after them: the network may only be slow.
    pub(super) fn leave(&mut self, from: u16) {
        if self.current() == from && !self.has_answered {
            self.current = (self.current + 1) % self.addresses.len();
            self.rounds += usize::from(self.current == 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    /// A name with so many addresses.
    fn target(addresses: u16) -> Target {
        let address = |port| SockAddr::from(SocketAddr::from(([127, 0, 0, 1], port)));
        Target {
            name: "name".to_owned(),
            addresses: (0..addresses).map(address).collect(),
            current: 0,
            rounds: 0,
            has_answered: false,
            turn: 0,
            pause: Pause::default(),
        }
    }

    #[test]
    fn a_failure_leads_to_the_next_address_and_not_beyond_the_last() {
        let mut target = target(3);
        assert!(target.fall_back(0));
        assert!(target.fall_back(0), "another connection goes on, too");
        assert_eq!(target.current(), 1);
        assert!(target.fall_back(1));
        assert!(!target.fall_back(2));
        assert_eq!(target.current(), 2);
    }

    #[test]
    fn silence_leads_around_until_one_answers() {
        assert_eq!(target(1).unsure(), None, "there is no other");
        let mut target = target(2);
        for round in 0..3 {
            assert_eq!(target.unsure(), Some(round));
            target.leave(0);
            target.leave(0); // another connection
            assert_eq!((target.current(), target.unsure()), (1, Some(round)));
            target.leave(1);
            assert_eq!(target.current(), 0);
        }
        target.handle_connected();
        assert_eq!(target.unsure(), None);
        target.leave(0);
        assert!(!target.fall_back(0));
        assert_eq!(target.current(), 0, "it answers");
    }
}
