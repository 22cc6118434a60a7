//! Where connections go to.

use std::io;
use std::net::ToSocketAddrs;

use socket2::SockAddr;

use super::source::Sources;
use crate::address::Address;

/// A server: as it was named, and where it may be found.
pub(super) struct Target {
    pub(super) name: String,
    /// All addresses of the name that one can connect to from here.
    addresses: Vec<SockAddr>,
    /// The one in use: the first that nobody has found dead.
    current: usize,
    /// Somebody has connected to it, so this is the one.
    has_answered: bool,
}

impl Target {
    /// Looks a name up.
    ///
    /// # Errors
    /// One line: it has no address, or none that one of the sources can connect to.
    pub(super) fn resolve(address: &Address, sources: &Sources) -> io::Result<Self> {
        let name = address.to_string();
        let found = match address {
            Address::Tcp { host, port } => (host.as_str(), *port)
                .to_socket_addrs()
                .map(|found| found.map(SockAddr::from).collect()),
            Address::Unix(path) => SockAddr::unix(path).map(|path| vec![path]),
        };
        let mut addresses: Vec<SockAddr> =
            found.map_err(|e| io::Error::new(e.kind(), format!("cannot resolve {name}: {e}")))?;
        if addresses.is_empty() {
            return Err(io::Error::other(format!("{name} has no address")));
        }
        addresses.retain(|address| sources.fit(address.domain()));
        if addresses.is_empty() {
            let why = "it is of another family than every --source";
            return Err(io::Error::other(format!("cannot connect to {name}: {why}")));
        }
        Ok(Self {
            name,
            addresses,
            current: 0,
            has_answered: false,
        })
    }

    /// Where to connect to.
    pub(super) fn address(&self) -> &SockAddr {
        &self.addresses[self.current]
    }

    /// Its name, and the address that it stands for if it has several.
    pub(super) fn describe(&self, address: u16) -> String {
        let shown = self.addresses.get(usize::from(address));
        match shown.and_then(SockAddr::as_socket) {
            Some(address) if self.addresses.len() > 1 => format!("{} ({address})", self.name),
            _ => self.name.clone(),
        }
    }

    /// Whether somebody has connected to it.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Which of its addresses that is.
    pub(super) fn current(&self) -> u16 {
        self.current as u16
    }

    pub(super) fn handle_connected(&mut self) {
        self.has_answered = true;
    }

    /// Nobody could connect to that one of its addresses. Returns whether there is another to try:
    /// a name may well have an address where this server does not listen, as `localhost` has two.
    pub(super) fn fall_back(&mut self, from: u16) -> bool {
        if self.current() == from && !self.has_answered && self.current + 1 < self.addresses.len() {
            self.current += 1;
        }
        self.current() != from
    }
}
