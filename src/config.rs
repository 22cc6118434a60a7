//! What can be set, its defaults and its limits.

use std::io;
use std::time::Duration;

use crate::address::Address;

/// The longest greeting and the largest [`Config::max_read`], in bytes: 1 MiB.
pub const MAX_MESSAGE: usize = 1 << 20;

/// The settings of a [`Server`](crate::Server). [`Config::default`] is the server of the course.
///
/// ```
/// let mut config = hello_echo::Config::default();
/// config.listen = vec!["127.0.0.1:0".parse()?, "unix:/run/hello.sock".parse()?];
/// config.greeting = b"served by node 7\n".to_vec();
/// # Ok::<(), hello_echo::ParseAddressError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where to listen; at least one address. Default: `127.0.0.1:8000`.
    pub listen: Vec<Address>,
    /// Sent to every client as soon as it is accepted; may be empty, at most [`MAX_MESSAGE`] bytes.
    /// Default: `hello\n`.
    pub greeting: Vec<u8>,
    /// The longest message that is echoed, 1 to [`MAX_MESSAGE`] bytes. Default: 1000.
    pub max_read: usize,
    /// How many established connections may wait to be accepted, per listener: at least 1, at most
    /// `i32::MAX`. The kernel clamps it to `net.core.somaxconn`. Default: 4096, which is what Linux
    /// clamps to since 5.4 (listen(2)).
    pub backlog: u32,
    /// Whether other processes of this user may listen on the same TCP ports at the same time
    /// (`SO_REUSEPORT`, socket(7)); all of them must want it. The kernel deals the clients out by their
    /// addresses. Default: no.
    pub reuse_port: bool,
    /// How long a client may take from being accepted to the last byte of its echo, be it silent or
    /// slow to read; then it is closed. Traffic does not extend it. Zero is no limit. Default: 60 s.
    pub timeout: Duration,
    /// How long to wait for the client's FIN after the echo. Traffic does not extend it. Zero
    /// closes at once, as the course's sample does: a client that sends more than one message then
    /// risks a reset in place of its echo. Default: 2 s.
    pub linger: Duration,
    /// How long a shutdown waits for the clients that are connected; then they are closed. Zero does
    /// not wait. Default: 10 s.
    pub grace: Duration,
    /// How many clients there may be at once, at least 1; beyond it they wait in the backlog and are
    /// served as others leave. What the system's limits allow is less if it is less. Default: `None`,
    /// as many as the limits allow.
    pub max_connections: Option<u32>,
    /// How often to log the [`Stats`](crate::Stats), not more often than every 10 ms. Default: zero,
    /// never.
    pub stats: Duration,
    /// Where to serve the metrics, the [`Stats`](crate::Stats) among them, as Prometheus reads them:
    /// `/metrics` over HTTP. Default: `None`, nowhere.
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
            greeting: b"hello\n".to_vec(),
            max_read: 1000,
            backlog: 4096,
            reuse_port: false,
            timeout: Duration::from_secs(60),
            linger: Duration::from_secs(2),
            grace: Duration::from_secs(10),
            max_connections: None,
            stats: Duration::ZERO,
            metrics: None,
        }
    }
}

impl Config {
    /// Refuses what lies outside the limits that the fields document.
    pub(crate) fn validate(&self) -> io::Result<()> {
        let fault = if self.listen.is_empty() {
            "no address to listen on".to_owned()
        } else if self.greeting.len() > MAX_MESSAGE {
            format!(
                "a greeting of {} bytes, longer than {MAX_MESSAGE}",
                self.greeting.len()
            )
        } else if !(1..=MAX_MESSAGE).contains(&self.max_read) {
            format!("a max_read of {}, not 1 to {MAX_MESSAGE}", self.max_read)
        } else if i32::try_from(self.backlog).map_or(true, |backlog| backlog < 1) {
            format!("a backlog of {}, not 1 to {}", self.backlog, i32::MAX)
        } else if self.max_connections == Some(0) {
            "a max_connections of 0, not at least 1".to_owned()
        } else if !self.stats.is_zero() && self.stats < SHORTEST_STATS {
            format!(
                "stats every {:?}, more often than every {SHORTEST_STATS:?}",
                self.stats
            )
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, fault))
    }
}
