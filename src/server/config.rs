//! The settings, their defaults and their limits.

use std::time::Duration;

use super::address::Address;

/// The settings of a [`Server`](crate::Server), whatever its protocol.
///
/// ```
/// let mut config = hello_echo::Config::default();
/// config.listen = vec!["127.0.0.1:0".parse()?, "unix:/run/hello.sock".parse()?];
/// # Ok::<(), hello_echo::ParseAddressError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where to listen; at least one address. Default: `127.0.0.1:8000`.
    pub listen: Vec<Address>,
    /// How many established connections may wait to be accepted, per listener: at least 1, at most
    /// `i32::MAX`. The kernel clamps it to `net.core.somaxconn`. Default: 4096, which is what Linux
    /// clamps to since 5.4 (listen(2)).
    pub backlog: u32,
    /// Whether other processes of this user may listen on the same TCP ports at the same time
    /// (`SO_REUSEPORT`, socket(7)); all of them must ask for it. The kernel deals the clients out
    /// by their addresses. Default: no.
    pub reuse_port: bool,
    /// How long to wait for the peer's FIN after our own. Traffic does not extend it. Zero closes
    /// at once, as the course's sample does: then a client that sends more than is read risks a
    /// reset in place of its echo. Default: 2 s.
    pub linger: Duration,
    /// How long a shutdown waits for the connections that are open, before it closes them. Zero
    /// does not wait. Default: 10 s.
    pub grace: Duration,
    /// The most connections at once, at least 1. Others wait in the backlog and are served as these
    /// are closed. The system's limits may allow less. Default: `None`, as many as the limits
    /// allow.
    pub max_connections: Option<u32>,
    /// How often to log the [`Stats`](crate::Stats), at most every 10 ms. Default: zero, never.
    pub stats: Duration,
    /// Where to serve the metrics, the [`Stats`](crate::Stats) among them, as Prometheus reads them:
    /// `/metrics` over HTTP. Default: `None`, nowhere. Needs the feature `metrics`.
    #[cfg(feature = "metrics")]
    pub metrics: Option<Address>,
}

/// The shortest interval for [`Config::stats`] that is not zero.
pub(crate) const SHORTEST_STATS: Duration = Duration::from_millis(10);

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![Address::Tcp {
                host: "127.0.0.1".into(),
                port: 8000,
            }],
            backlog: 4096,
            reuse_port: false,
            linger: Duration::from_secs(2),
            grace: Duration::from_secs(10),
            max_connections: None,
            stats: Duration::ZERO,
            #[cfg(feature = "metrics")]
            metrics: None,
        }
    }
}

impl Config {
    /// Checks the limits that the fields document.
    ///
    /// # Errors
    /// Names the field that lies outside its limits, in words.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self { backlog, stats, .. } = self;
        if self.listen.is_empty() {
            return Err("no address to listen on".to_owned());
        }
        if i32::try_from(*backlog).map_or(true, |backlog| backlog < 1) {
            return Err(format!("a backlog of {backlog}, not 1 to {}", i32::MAX));
        }
        if self.max_connections == Some(0) {
            return Err("a max_connections of 0, not at least 1".to_owned());
        }
        if !stats.is_zero() && *stats < SHORTEST_STATS {
            return Err(format!(
                "stats every {stats:?}, more often than every {SHORTEST_STATS:?}"
            ));
        }
        Ok(())
    }
}
