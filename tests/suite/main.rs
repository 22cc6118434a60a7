//! The programs and the library from outside: everything that the texts promise.
//!
//! There is one binary, because each further one takes its time to link. So all tests share a
//! process, and run in threads of it: a test may not change what belongs to the process, such as
//! its signals or its environment. A test that does, or that needs thousands of descriptors, calls
//! [`util::alone`] first. Tests that count a server's turns are in tests/reactor.

#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "that is how a test fails; what is printed is shown then"
)]

mod announcement;
mod cli;
mod clients;
mod costs;
#[cfg(feature = "load")]
mod dashboard;
mod embedding;
mod explained;
mod faults;
#[cfg(feature = "load")]
mod fleet;
mod grace;
mod inherited;
mod injection;
mod limits;
mod listeners;
#[cfg(feature = "load")]
mod load;
mod manager;
mod metrics;
mod packaging;
mod protocol;
#[path = "../protocols/mod.rs"]
mod protocols;
mod queue;
mod readme;
mod restarts;
#[cfg(feature = "load")]
mod restarts_under_load;
mod settings;
mod short_writes;
mod shutdown;
mod signals;
#[cfg(feature = "load")]
mod soak;
mod stdio;
mod storms;
mod unix_sockets;
#[path = "../util/mod.rs"]
mod util;
