//! The local addresses that connections come from. Each has its own ports.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

use nix::net::if_::if_nametoindex;
use socket2::{Domain, Socket};

use crate::program::values::is_digits;
use crate::server::system::choose_port_late;

/// An address, or a network of addresses such as `127.0.0.0/8`. A link-local address of IPv6 has its
/// interface: `fe80::1%eth0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    first: u128,
    /// How many addresses there are.
    count: u128,
    is_v4: bool,
    /// The interface of a link-local address, or 0.
    scope: u32,
}

/// Why a text is not a [`Source`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseSourceError(&'static str);

impl fmt::Display for ParseSourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for ParseSourceError {}

impl FromStr for Source {
    type Err = ParseSourceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let (address, scope) = match address.split_once('%') {
            Some((address, interface)) => (address, Some(interface)),
            None => (address, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| ParseSourceError("not an IP address, with or without a /PREFIX"))?;
        let scope = match scope {
            None => 0,
            Some(_) if address.is_ipv4() => {
                return Err(ParseSourceError("an IPv4 address has no %INTERFACE"));
            }
            Some(interface) => {
                index_of(interface).ok_or(ParseSourceError("there is no such interface"))?
            }
        };
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            // A sign, which u32's own parser would take, is none of a prefix.
            Some(prefix) => Some(prefix)
                .filter(|prefix| is_digits(prefix))
                .and_then(|prefix| prefix.parse().ok())
                .filter(|prefix| *prefix <= bits)
                .ok_or(ParseSourceError("a prefix length beyond the address"))?,
        };
        let network = Self::network(address, bits - prefix);
        Ok(Self { scope, ..network })
    }
}

impl Source {
    /// The network with `host` bits for its hosts. If it has more than two addresses, the first and
    /// the last are reserved and left out.
    fn network(address: IpAddr, host: u32) -> Self {
        let number = match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let last = 1_u128.checked_shl(host).map_or(u128::MAX, |size| size - 1);
        let (first, count) = (number & !last, last.saturating_add(1));
        let ends = if count > 2 { 1 } else { 0 };
        Self {
            first: first + ends,
            count: count - 2 * ends,
            is_v4: address.is_ipv4(),
            scope: 0,
        }
    }

    /// How many addresses it has.
    #[must_use]
    pub fn count(&self) -> u128 {
        self.count
    }

    /// The address at this place; 0 is the first.
    #[must_use]
    pub fn address(&self, place: u128) -> IpAddr {
        let number = self.first + place % self.count;
        if self.is_v4 {
            Ipv4Addr::from_bits(number as u32).into()
        } else {
            Ipv6Addr::from_bits(number).into()
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        let within = |a: &Self, b: &Self| (b.first..=b.first + (b.count - 1)).contains(&a.first);
        let is_same = self.is_v4 == other.is_v4 && self.scope == other.scope;
        is_same && (within(self, other) || within(other, self))
    }
}

/// The index of an interface, by its name or its number.
fn index_of(interface: &str) -> Option<u32> {
    if is_digits(interface) {
        return interface.parse().ok();
    }
    if_nametoindex(interface).ok()
}

/// All sources of a run. Their addresses have their turns, so that each uses the same share of its
/// ports.
#[derive(Clone, Debug)]
pub(super) struct Sources(Vec<Source>);

impl Sources {
    /// # Errors
    /// One line: an address is in two sources.
    pub(super) fn new(sources: Vec<Source>) -> io::Result<Self> {
        for (i, one) in sources.iter().enumerate() {
            if let Some(other) = sources[..i].iter().find(|other| one.overlaps(other)) {
                let both = one.first.max(other.first) - one.first;
                let why = format!("{} is in more than one --source", one.address(both));
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
        }
        Ok(Self(sources))
    }

    /// Whether one of the sources can connect to an address of this domain. Without any source the
    /// kernel chooses, and a Unix socket needs none.
    pub(super) fn fit(&self, domain: Domain) -> bool {
        self.0.is_empty() || domain == Domain::UNIX || self.of(domain).next().is_some()
    }

    /// How many addresses connections of this domain can come from. Without any source it is one.
    pub(super) fn count(&self, domain: Domain) -> u128 {
        let counts = self.of(domain).map(Source::count);
        counts.fold(0, u128::saturating_add).max(1)
    }

    fn of(&self, domain: Domain) -> impl Iterator<Item = &Source> {
        let is_v4 = domain == Domain::IPV4;
        self.0.iter().filter(move |source| source.is_v4 == is_v4)
    }

    /// The local address of this turn, or `None` if the kernel chooses.
    pub(super) fn address(&self, domain: Domain, turn: u64) -> Option<SocketAddr> {
        if domain == Domain::UNIX {
            return None;
        }
        let mut place = u128::from(turn) % self.count(domain);
        for source in self.of(domain) {
            if place < source.count {
                return Some(match source.address(place) {
                    IpAddr::V4(address) => (address, 0).into(),
                    IpAddr::V6(address) => SocketAddrV6::new(address, 0, 0, source.scope).into(),
                });
            }
            place -= source.count;
        }
        None
    }

    /// Gives the socket its local address. The port is chosen later, at connect.
    pub(super) fn bind(socket: &Socket, source: Option<SocketAddr>) -> io::Result<()> {
        let Some(source) = source else {
            return Ok(());
        };
        choose_port_late(socket).map_err(|e| named("cannot choose the port at connect", e))?;
        socket
            .bind(&source.into())
            .map_err(|e| named(&format!("cannot connect from {}", source.ip()), e))
    }
}

fn named(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_parsed() {
        let check = |text: &str, first: &str, last: &str, count: u128| {
            let source: Source = text.parse().unwrap();
            assert_eq!(source.count(), count, "{text}");
            assert_eq!(source.address(0).to_string(), first, "{text}");
            assert_eq!(source.address(count - 1).to_string(), last, "{text}");
        };
        check("127.0.0.1", "127.0.0.1", "127.0.0.1", 1);
        check("127.0.0.0/8", "127.0.0.1", "127.255.255.254", (1 << 24) - 2);
        check("10.1.2.3/30", "10.1.2.1", "10.1.2.2", 2);
        check("10.1.2.3/31", "10.1.2.2", "10.1.2.3", 2);
        check("::1", "::1", "::1", 1);
        check("fd00::/120", "fd00::1", "fd00::fe", 254);
        check("fe80::1%7", "fe80::1", "fe80::1", 1);
        for wrong in [
            "",
            "localhost",
            "127.0.0.1/33",
            "127.0.0.1/",
            "127.0.0.1/-1",
            "::/129",
            "/8",
            "127.0.0.1%1",
            "fe80::1%4294967296",
        ] {
            assert!(wrong.parse::<Source>().is_err(), "{wrong}");
        }
        let error = |text: &str| text.parse::<Source>().unwrap_err().to_string();
        assert_eq!(error("127.0.0.1%lo"), "an IPv4 address has no %INTERFACE");
        assert_eq!(error("fe80::1%no-such"), "there is no such interface");
        let link: Source = "fe80::1%7".parse().unwrap();
        let links = Sources::new(vec![link]).unwrap();
        let address = links.address(Domain::IPV6, 0).unwrap();
        assert_eq!(address.to_string(), "[fe80::1%7]:0");
        let everything: Source = "::/0".parse().unwrap();
        assert_eq!(everything.count(), u128::MAX - 2);
    }

    fn sources(texts: &[&str]) -> io::Result<Sources> {
        Sources::new(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn every_address_has_its_turn() {
        let sources = sources(&["10.0.0.9", "::1", "10.1.2.4/30"]).unwrap();
        let turns = |domain| {
            let turn = |turn| sources.address(domain, turn).unwrap().ip().to_string();
            (0..4).map(turn).collect::<Vec<_>>()
        };
        assert_eq!(
            turns(Domain::IPV4),
            ["10.0.0.9", "10.1.2.5", "10.1.2.6", "10.0.0.9"]
        );
        assert_eq!(turns(Domain::IPV6), ["::1"; 4]);
        assert_eq!(
            (sources.count(Domain::IPV4), sources.count(Domain::IPV6)),
            (3, 1)
        );
        assert!(sources.fit(Domain::IPV4) && sources.fit(Domain::UNIX));
    }

    #[test]
    fn no_address_is_counted_twice() {
        let overlap = |texts| sources(texts).err().map(|e| e.to_string());
        let twice = |address: &str| Some(format!("{address} is in more than one --source"));
        assert_eq!(overlap(&["127.0.0.1", "127.0.0.1"]), twice("127.0.0.1"));
        assert_eq!(overlap(&["127.0.0.9", "127.0.0.0/8"]), twice("127.0.0.9"));
        assert_eq!(overlap(&["127.0.0.0/8", "127.0.0.9"]), twice("127.0.0.9"));
        assert_eq!(overlap(&["::/0", "0.0.0.0/0"]), None);
        assert_eq!(overlap(&["127.0.0.1", "127.0.0.2"]), None);
        assert_eq!(overlap(&["127.0.0.0/30", "127.0.0.4/30"]), None);
        assert_eq!(overlap(&["fe80::1%7", "fe80::1%8"]), None);
    }

    #[test]
    fn without_a_choice_the_kernel_chooses() {
        let none = sources(&[]).unwrap();
        assert_eq!(
            (none.count(Domain::IPV4), none.address(Domain::IPV4, 7)),
            (1, None)
        );
        assert!(none.fit(Domain::IPV6));
        assert!(!sources(&["::1"]).unwrap().fit(Domain::IPV4));
    }
}
