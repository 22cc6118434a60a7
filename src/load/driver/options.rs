//! What a run is to do.

use std::time::Duration;

use super::source::Source;
use crate::load::machine::payload::Payloads;
use crate::load::machine::schedule::Plan;
use crate::server::address::Address;

/// What a run is to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The servers. Connections go to them in turn.
    pub targets: Vec<Address>,
    /// The local addresses to connect from. If there are none, the kernel chooses.
    pub sources: Vec<Source>,
    /// What to begin, and when.
    pub plan: Plan,
    /// How many threads share it, at most: no more than it [can be dealt out
    /// to](Plan::most_threads).
    pub threads: u64,
    /// The bytes that each connection sends.
    pub payloads: Payloads,
    /// The most bytes of a payload that the servers read.
    pub max_read: usize,
    /// The bytes that the servers send first.
    pub greeting: Vec<u8>,
    /// How long an exchange may take, from its connect to the server's FIN. A connection that is held
    /// has so long from its connect to its greeting, and again from its payload on. Zero is for ever.
    pub timeout: Duration,
    /// Where to serve metrics while the run lasts.
    pub metrics: Option<Address>,
    /// Whether to keep what it takes to compare the targets.
    pub compare: bool,
}
