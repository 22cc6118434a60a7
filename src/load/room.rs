//! How many connections a run can have open at once, and what binds.

use std::fmt;

use socket2::{Domain, SockAddr};

use super::driver::ENTRY_BYTES;
use super::source::{Source, fitting};
use crate::limits::Capacity;

/// How many connections fit, and what would have to be raised for more.
#[derive(Debug)]
pub struct Room {
    /// So many.
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
    /// The least of what the system allows this process and of the ports that there are.
    pub(crate) fn find(targets: &[&SockAddr], sources: &[Source]) -> std::io::Result<Self> {
        let Capacity { connections, binds } = Capacity::find(None, ENTRY_BYTES, 0)?;
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

/// Every address has the ports of `net.ipv4.ip_local_port_range` (for both families) once for each
/// target. `None`: a Unix socket needs none.
fn ports(targets: &[&SockAddr], sources: &[Source]) -> Option<Room> {
    if targets.iter().any(|target| target.domain() == Domain::UNIX) {
        return None;
    }
    let addresses: u128 = targets
        .iter()
        .map(|target| addresses(target, sources))
        .sum();
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = range.split_whitespace().map(str::parse::<u128>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    let ports = last.checked_sub(first)? + 1;
    Some(Room {
        connections: u64::try_from(ports * addresses).unwrap_or(u64::MAX),
        binds: format!(
            "the ports {first} to {last} (net.ipv4.ip_local_port_range) of {addresses} address{}; \
             see --source",
            if addresses == 1 { "" } else { "es" }
        ),
    })
}

/// How many local addresses can connect to this target; without a choice of ours, one.
fn addresses(target: &SockAddr, sources: &[Source]) -> u128 {
    let fitting = fitting(sources, target.domain());
    let count: u128 = fitting.map(|source| source.count().min(1 << 64)).sum();
    count.clamp(1, 1 << 64)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn ports_are_counted_by_source_and_target() {
        let target = |text: &str| SockAddr::from(text.parse::<SocketAddr>().unwrap());
        let (v4, v6) = (target("127.0.0.1:1"), target("[::1]:1"));
        let count = |targets: &[&SockAddr], sources: &[&str]| {
            let sources: Vec<Source> = sources.iter().map(|s| s.parse().unwrap()).collect();
            ports(targets, &sources).unwrap().connections
        };
        let one = count(&[&v4], &[]);
        assert!(one > 0);
        assert_eq!(count(&[&v4, &v6], &[]), 2 * one);
        assert_eq!(count(&[&v4], &["127.0.0.1", "127.0.0.4/30"]), 3 * one);
        assert_eq!(count(&[&v4, &v6], &["127.0.0.4/30", "::1"]), 3 * one);
        let unix = SockAddr::unix("/nowhere").unwrap();
        assert!(ports(&[&unix], &[]).is_none());
    }
}
