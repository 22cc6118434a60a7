//! Where connections go to.

use std::io;
use std::net::ToSocketAddrs;

use socket2::SockAddr;

use crate::address::Address;

/// A server, as it was named and as it was found.
pub(super) struct Target {
    pub(super) name: String,
    pub(super) address: SockAddr,
}

impl Target {
    /// The first address of a name.
    pub(super) fn resolve(address: &Address) -> io::Result<Self> {
        let name = address.to_string();
        let found = match address {
            Address::Tcp { host, port } => (host.as_str(), *port)
                .to_socket_addrs()
                .map(|mut found| found.next().map(SockAddr::from)),
            Address::Unix(path) => SockAddr::unix(path).map(Some),
        };
        match found {
            Ok(Some(address)) => Ok(Self { name, address }),
            Ok(None) => Err(io::Error::other(format!("{name} has no address"))),
            Err(e) => Err(io::Error::new(
                e.kind(),
                format!("cannot resolve {name}: {e}"),
            )),
        }
    }
}
