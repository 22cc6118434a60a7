//! A TCP server that greets every client with `hello\n`, reads up to 1000 bytes, echoes them and
//! closes: the first server of every sockets course, on one thread, for any number of clients.

// A test may panic; that is how it fails.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[cfg(not(any(target_os = "linux", target_os = "android")))]
compile_error!("hello-echo is written against Linux: epoll's edges and accept4");

mod address;
mod config;
mod connection;
pub mod session;

pub use address::{Address, LocalAddr, ParseAddressError};
pub use config::{Config, MAX_MESSAGE};
