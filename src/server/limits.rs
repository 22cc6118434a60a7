//! What the system allows the server: how many connections, and which limit binds.

use std::fmt;
use std::io;

use rlimit::Resource;

use super::system::{self, DESCRIPTORS, WATCHES};

/// Raises this process's soft limit of descriptors, and so of clients, to the hard limit. Most
/// shells set the soft limit to 1024, for programs that use select(2). Returns the new limit.
///
/// # Errors
/// As setrlimit(2), or the limit is larger than the system can count.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}

/// The most entries that are reserved, whatever the limits say: in Docker RLIMIT_NOFILE can be
/// 2^30, and so many entries of 40 bytes would be 40 GB of addresses.
const CEILING: u64 = 1 << 22;

/// Descriptors kept back for the server itself, at least.
const OWN: u64 = 16;

/// Descriptors kept back beyond those that are open when the server starts: for signals, for
/// stdout, and for what a library opens for a moment.
const SPARE: u64 = 8;

/// How many connections the server can hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) connections: usize,
    /// Which limit must be raised to hold more.
    pub(crate) binds: String,
    /// How many more the system allows than were asked for.
    pub(crate) spare: usize,
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            connections, binds, ..
        } = self;
        write!(f, "can hold {connections} connections, limited by {binds}")
    }
}

impl Capacity {
    /// What the system allows at present, without the descriptors that are `kept_back`, and no more
    /// than was asked for. `entry` is the size of a connection's entry in the table, in bytes; so
    /// many bytes of `memory` are kept back, too.
    ///
    /// # Errors
    /// As getrlimit(2).
    pub(crate) fn find(
        asked: Option<u32>,
        entry: usize,
        kept_back: u64,
        memory: usize,
    ) -> io::Result<Self> {
        let (soft, hard) = Resource::NOFILE.get()?;
        let found = Found {
            soft,
            hard,
            own: descriptors_of_our_own(),
            watches: system::watches(),
        };
        let of_system = Self::least(found.limits(None, kept_back), |_| true);
        let limits = found.limits(asked, kept_back);
        let mut capacity = Self::least(limits, |connections| {
            let table = connections.saturating_mul(entry);
            fits(table.saturating_add(memory))
        });
        if capacity.binds == ASKED {
            capacity.spare = of_system.connections - capacity.connections;
        }
        Ok(capacity)
    }

    fn least(limits: Vec<(u64, String)>, fits: impl Fn(usize) -> bool) -> Self {
        let least = limits.into_iter().min_by_key(|(most, _)| *most);
        let (most, mut binds) = least.unwrap_or_default();
        let mut connections = usize::try_from(most).unwrap_or(usize::MAX);
        while connections > 0 && !fits(connections) {
            connections /= 2;
            "memory".clone_into(&mut binds);
        }
        Self {
            connections,
            binds,
            spare: 0,
        }
    }
}

/// The limit that binds if fewer connections were asked for than the system allows.
const ASKED: &str = "--max-connections";

/// What the system says about its limits.
struct Found {
    /// The limits of RLIMIT_NOFILE.
    soft: u64,
    hard: u64,
    /// How many of these descriptors this process cannot give to clients.
    own: u64,
    /// How many descriptors all processes of this user may have polled at once, if that is limited.
    watches: Option<u64>,
}

impl Found {
    /// How many connections each limit allows, without the descriptors that are `kept_back`.
    fn limits(&self, asked: Option<u32>, kept_back: u64) -> Vec<(u64, String)> {
        let Self { soft, hard, .. } = self;
        let kind = if soft < hard { "soft" } else { "hard" };
        let mut limits = vec![
            (CEILING, "the server's own ceiling".to_owned()),
            (
                soft.saturating_sub(self.own + kept_back),
                format!("RLIMIT_NOFILE ({kind} limit {soft})"),
            ),
        ];
        limits.extend(asked.map(|asked| (u64::from(asked), ASKED.to_owned())));
        // Our own are among these, too. Those of other processes are not known.
        let watched = |most: u64| (most.saturating_sub(OWN + kept_back), WATCHES.to_owned());
        limits.extend(self.watches.map(watched));
        limits
    }
}

/// How many descriptors this process cannot give to clients.
fn descriptors_of_our_own() -> u64 {
    // The listing itself is one of them while it is read.
    let open =
        std::fs::read_dir(DESCRIPTORS).map_or(0, |fds| (fds.count() as u64).saturating_sub(1));
    (open + SPARE).max(OWN)
}

/// Bytes that the table must leave for everything else.
const HEADROOM: usize = 1 << 20;

/// Whether a table of so many bytes can be allocated. A strict kernel (vm.overcommit_memory=2) or
/// a limit (RLIMIT_AS) may refuse it, and a slab that is refused memory aborts the process.
pub(crate) fn fits(bytes: usize) -> bool {
    let bytes = bytes.saturating_add(HEADROOM);
    Vec::<u8>::new().try_reserve_exact(bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_binds() {
        let check = |limits: &[(u64, &str)], fits: usize, line: &str| {
            let limits = limits.iter().map(|(n, name)| (*n, (*name).to_owned()));
            let capacity = Capacity::least(limits.collect(), |n| n <= fits);
            assert_eq!(capacity.to_string(), line);
        };
        let all = usize::MAX;
        check(
            &[(7, "a"), (5, "b"), (9, "c")],
            all,
            "can hold 5 connections, limited by b",
        );
        check(&[(0, "a")], all, "can hold 0 connections, limited by a");
        check(
            &[(u64::MAX, "a"), (CEILING, "b")],
            all,
            "can hold 4194304 connections, limited by b",
        );
        check(
            &[(CEILING, "a")],
            3_000_000,
            "can hold 2097152 connections, limited by memory",
        );
        check(
            &[(CEILING, "a")],
            0,
            "can hold 0 connections, limited by memory",
        );
    }

    #[test]
    fn every_limit_can_bind() {
        let ceiling = (4_194_304, "the server's own ceiling");
        let watches = WATCHES;
        let (docker, plenty) = (1 << 30, Some(1 << 40));
        for (soft, hard, watched, asked, (connections, binds)) in [
            (
                1024,
                4096,
                plenty,
                None,
                (987, "RLIMIT_NOFILE (soft limit 1024)"),
            ),
            (
                1024,
                1024,
                None,
                None,
                (987, "RLIMIT_NOFILE (hard limit 1024)"),
            ),
            (30, 30, plenty, None, (0, "RLIMIT_NOFILE (hard limit 30)")),
            (1024, 1024, plenty, Some(7), (7, "--max-connections")),
            (docker, docker, plenty, None, ceiling),
            (docker, docker, None, Some(u32::MAX), ceiling),
            (docker, docker, Some(500_000), None, (499_967, watches)),
            (1024, 1024, Some(3), Some(7), (0, watches)),
        ] {
            let found = Found {
                soft,
                hard,
                own: 20,
                watches: watched,
            };
            let capacity = Capacity::least(found.limits(asked, 17), |_| true);
            let Capacity {
                connections: n,
                binds: what,
                ..
            } = &capacity;
            assert_eq!((*n, what.as_str()), (connections, binds));
        }
    }

    #[test]
    fn a_lower_limit_that_was_asked_for_binds() {
        let one = Capacity::find(Some(1), 40, 0, 0).unwrap();
        assert_eq!(
            one.to_string(),
            "can hold 1 connections, limited by --max-connections"
        );
        let all = Capacity::find(None, 40, 0, 0).unwrap();
        assert!(all.connections > 1 && Capacity::find(Some(u32::MAX), 40, 0, 0).unwrap() == all);
        assert_eq!((one.spare, all.spare), (all.connections - 1, 0));
        assert!(fits(1000 * 40) && !fits((usize::MAX / 2).saturating_mul(40)));
    }
}
