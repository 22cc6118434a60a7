//! How many connections a run can have open at once, and which limit binds.

use std::fmt;

use socket2::{Domain, SockAddr};

use super::source::Sources;
use crate::error::explain;
use crate::server::limits::Capacity;
use crate::server::system::local_ports;

/// How many connections can be open at once, and which limit must be raised for more.
#[derive(Debug)]
pub struct Room {
    /// The number of connections.
    pub connections: u64,
    binds: String,
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, binds } = self;
        write!(
            f,
            "can open {connections} connections at once, limited by {binds}"
        )
    }
}

impl Room {
    /// The smaller of what the system allows this process and of the number of local ports. `entry`
    /// is the size of a connection in the table, in bytes; so many descriptors are `kept_back`,
    /// and so many bytes of `memory`.
    pub(super) fn find(
        targets: &[&SockAddr],
        sources: &Sources,
        entry: usize,
        kept_back: u64,
        memory: usize,
    ) -> std::io::Result<Self> {
        let Capacity {
            connections, binds, ..
        } = Capacity::find(None, entry, kept_back, memory)
            .map_err(|e| explain("cannot find out the descriptor limit", &e))?;
        let process = Self {
            connections: connections as u64,
            binds,
        };
        Ok(match ports(targets, sources) {
            Some(ports) if ports.connections < process.connections => ports,
            _ => process,
        })
    }
}

/// The connections for which there are ports. Every local address has all ports of
/// `net.ipv4.ip_local_port_range` (of both families) for each target. Targets have their turns, so
/// there is no more room as soon as one of them has no port left. `None`: only Unix sockets, which
/// need no port, or the system does not tell.
fn ports(targets: &[&SockAddr], sources: &Sources) -> Option<Room> {
    let (first, last, ports) = local_ports()?;
    let tcp = targets
        .iter()
        .filter(|target| target.domain() != Domain::UNIX);
    let room = |target: &&&SockAddr| {
        let addresses = sources.count(target.domain());
        let same = targets.iter().filter(|other| other == target).count() as u128;
        (ports.saturating_mul(addresses) / same, addresses)
    };
    let (least, addresses) = tcp.map(|target| room(&target)).min()?;
    let connections = least.saturating_mul(targets.len() as u128);
    Some(Room {
        connections: u64::try_from(connections).unwrap_or(u64::MAX),
        binds: format!(
            "the ports {first} to {last} (net.ipv4.ip_local_port_range) of {addresses} address{}; \
             see --source",
            if addresses == 1 { "" } else { "es" }
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn ports_are_counted_by_source_and_target() {
        let target = |text: &str| SockAddr::from(text.parse::<SocketAddr>().unwrap());
        let (v4, v6) = (target("127.0.0.1:1"), target("[::1]:1"));
        let unix = SockAddr::unix("/nowhere").unwrap();
        let room = |targets: &[&SockAddr], sources: &[&str]| {
            let sources = sources.iter().map(|s| s.parse().unwrap()).collect();
            Some(ports(targets, &Sources::new(sources).unwrap())?.connections)
        };
        let one = room(&[&v4], &[]).unwrap();
        assert!(one > 0);
        for (targets, sources, halves) in [
            (&[&v4, &v6][..], &[][..], 4),
            (&[&v4, &v4], &[], 2),
            (&[&v4, &v4, &v6], &[], 3), // one turn of v6's for every two of v4's
            (&[&v4], &["127.0.0.1", "127.0.0.4/30"], 6),
            (&[&v4, &v6], &["127.0.0.4/30", "::1"], 4), // as many turns for the one of v6's
            (&[&unix, &v4], &[], 4),
        ] {
            let room = room(targets, sources).unwrap();
            assert!(room.abs_diff(halves * one / 2) < 3, "{targets:?}: {room}");
        }
        assert_eq!(room(&[&unix], &[]), None);
    }
}
