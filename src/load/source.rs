//! Where connections come from: local addresses, each with ports of its own.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{IpBindAddressNoPort, SetUsize};
use socket2::{Domain, Socket};

/// An address or a network of them, as in `127.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    first: u128,
    /// How many addresses there are.
    count: u128,
    is_v4: bool,
}

/// Text that is no [`Source`], and why.
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
        let address: IpAddr = address
            .parse()
            .map_err(|_| ParseSourceError("not an IP address, with or without a /PREFIX"))?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|prefix| *prefix <= bits)
                .ok_or(ParseSourceError("a prefix length beyond the address"))?,
        };
        Ok(Self::network(address, bits - prefix))
    }
}

impl Source {
    /// The network that leaves `host` bits to its hosts. Its first and last address are nobody's,
    /// where it has more than two.
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
        }
    }

    /// How many addresses it has.
    #[must_use]
    pub fn count(&self) -> u128 {
        self.count
    }

    /// One of them; every one has its turn.
    #[must_use]
    pub fn address(&self, turn: u64) -> IpAddr {
        let number = self.first + u128::from(turn) % self.count;
        if self.is_v4 {
            Ipv4Addr::from_bits(number as u32).into()
        } else {
            Ipv6Addr::from_bits(number).into()
        }
    }
}

/// Whether one can connect from one of the sources to an address of that domain. Without a choice the
/// kernel has one, and a Unix socket needs none.
pub(super) fn fits(sources: &[Source], domain: Domain) -> bool {
    sources.is_empty() || domain == Domain::UNIX || fitting(sources, domain).next().is_some()
}

/// The sources of that domain's family.
pub(super) fn fitting(sources: &[Source], domain: Domain) -> impl Iterator<Item = &Source> + Clone {
    let is_v4 = domain == Domain::IPV4;
    sources.iter().filter(move |source| source.is_v4 == is_v4)
}

/// Gives the socket its local address. The port is chosen at connect, when the kernel knows the
/// target: a port is then taken for one target only, and each has all of them.
pub(super) fn bind(
    socket: &Socket,
    sources: &[Source],
    domain: Domain,
    turn: u64,
) -> io::Result<()> {
    if domain == Domain::UNIX {
        return Ok(());
    }
    take_any_port(socket);
    let fitting = fitting(sources, domain);
    let count = fitting.clone().count() as u64;
    let place = turn.checked_rem(count).map(|place| place as usize);
    let Some(source) = place.and_then(|place| fitting.clone().nth(place)) else {
        return Ok(()); // no choice of ours
    };
    setsockopt(socket, IpBindAddressNoPort, &true)?;
    let address = source.address(turn / count);
    socket
        .bind(&SocketAddr::new(address, 0).into())
        .map_err(|e| io::Error::new(e.kind(), format!("cannot connect from {address}: {e}")))
}

/// connect(2) looks for a port among the even ones first, and among the odd ones if all those are
/// taken: beside 15,000 connections it looks at 14,000 in vain, for 0.7 ms each time. Where the range is
/// the socket's own, it goes round all of them (Linux 6.8; before 6.3 there is no such option). It is
/// a saving and no more, so it may fail.
fn take_any_port(socket: &Socket) {
    // The highest and the lowest. What is outside of net.ipv4.ip_local_port_range has no effect.
    const RANGE: usize = 65_535 << 16 | 1;
    let _ = setsockopt(socket, LocalPortRange, &RANGE);
}

#[derive(Clone, Copy, Debug)]
struct LocalPortRange;

// IP_LOCAL_PORT_RANGE(2const), which libc does not name yet.
const IP_LOCAL_PORT_RANGE: libc::c_int = 51;
nix::setsockopt_impl!(
    LocalPortRange,
    libc::IPPROTO_IP,
    IP_LOCAL_PORT_RANGE,
    usize,
    SetUsize
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_parsed() {
        let check = |text: &str, first: &str, last: &str, count: u128| {
            let source: Source = text.parse().unwrap();
            assert_eq!(source.count(), count, "{text}");
            assert_eq!(source.address(0).to_string(), first, "{text}");
            let turn = u64::try_from(count - 1).unwrap();
            assert_eq!(source.address(turn).to_string(), last, "{text}");
            assert_eq!(source.address(turn + 1).to_string(), first, "{text}");
        };
        check("127.0.0.1", "127.0.0.1", "127.0.0.1", 1);
        check("127.0.0.0/8", "127.0.0.1", "127.255.255.254", (1 << 24) - 2);
        check("10.1.2.3/30", "10.1.2.1", "10.1.2.2", 2);
        check("10.1.2.3/31", "10.1.2.2", "10.1.2.3", 2);
        check("::1", "::1", "::1", 1);
        check("fd00::/120", "fd00::1", "fd00::fe", 254);
        for wrong in [
            "",
            "localhost",
            "127.0.0.1/33",
            "127.0.0.1/",
            "127.0.0.1/-1",
            "::/129",
            "/8",
        ] {
            assert!(wrong.parse::<Source>().is_err(), "{wrong}");
        }
        let everything: Source = "::/0".parse().unwrap();
        assert_eq!(everything.count(), u128::MAX - 2);
    }
}
