//! A TCP server that greets every client with `hello\n`, reads up to 1000 bytes, echoes them and
//! closes: the first server of every sockets course, on one thread, for any number of clients.
//!
//! It is a program first (`cargo run --release`), and this library is what the program is made of:
//! a reactor to read, to embed or to test. [`Server::bind`] listens, [`Server::run`] serves, and
//! [`Server::turn`] is one round of it:
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{Shutdown, TcpStream};
//! use std::time::Duration;
//!
//! use hello_echo::{Config, LocalAddr, Server};
//!
//! let mut config = Config::default();
//! config.listen = vec!["127.0.0.1:0".parse()?]; // port 0: any that is free
//! let mut server = Server::bind(&config)?;
//! let LocalAddr::Tcp(address) = server.local_addrs()[0].clone() else { unreachable!() };
//!
//! let mut client = TcpStream::connect(address)?;
//! client.write_all(b"hi back atcha\n")?;
//! client.shutdown(Shutdown::Write)?;
//!
//! server.turn(Some(Duration::from_secs(1)))?; // accepts and greets
//! assert_eq!(server.clients(), 1);
//! while server.clients() > 0 {
//!     server.turn(Some(Duration::from_secs(1)))?; // reads, echoes, sees the FIN, closes
//! }
//!
//! let mut received = String::new();
//! client.read_to_string(&mut received)?;
//! assert_eq!(received, "hello\nhi back atcha\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # One turn
//!
//! ```text
//!             ┌────────────────────────────────────────────────────────────────┐
//!             ▼                                                                │
//!     ┌──────────────┐  events  ┌──────────────────┐    ┌────────┐   ┌─────────┴─┐
//!     │ poll: sleep  ├─────────►│ drive each client├───►│ expire ├──►│  accept,  │
//!     │ till needed  │          │ as far as it goes│    │ the due│   │   greet   │
//!     └──────────────┘          └────────┬─────────┘    └────────┘   └───────────┘
//!                                        │ by value: Pending, Register(interest), Done(reason)
//!                                        ▼
//!                         leave, register again, or close
//! ```
//!
//! The rooms, in the order in which data flows: `server` polls and tells `reactor` what is ready
//! and what time it is. The [`reactor`] (the slab, the turn; no poll, no clock) accepts through
//! `listener`, decided by `accept`, and drives each `connection` (the socket's side), which asks its
//! [`session`] (the protocol, without a socket) what to do. `deadlines` knows who is due, `stats` what
//! became of everybody, `limits` how many there may be, `signals` when to stop.
//!
//! To be at home where it runs: `activation` takes sockets over from a service manager, `notify` tells
//! it how the server is doing, and `scrape`, a second protocol for the same `connection`, answers
//! whoever asks for the `metrics`.
//!
//! `load`, behind the feature of that name, is the client: it is built in the same way, and checks
//! every byte.
//!
//! # Invariants
//!
//! - **No stale token.** Accepting is last in a turn, so a key that was freed in a batch is never
//!   handed out within it; an event for a vacant key is ignored.
//! - **No lost edge.** Whoever stops before `WouldBlock` has a reason why another edge will come, or
//!   registers again, which makes one.
//! - **An idle client costs one slab entry** of at most 40 bytes, and no buffer. A compile-time
//!   assertion holds that. All clients share one scratch buffer, and a heap buffer exists only for
//!   what the kernel would not take yet.
//! - **Every client has a deadline**, absolute: one for its echo, then one for its FIN. When it is
//!   over, the client is heard once more, and closed only if that changes nothing: this process may
//!   have been stopped, and what was asked for be there.
//! - **Bounded work.** Events, accepts, expiries, the calls for one client and the bytes that are
//!   discarded, a mebibyte in equal shares, are all bounded per turn: so a flood delays the others by
//!   its share of a turn, and any number of floods by a turn.
//! - **The books balance.** Every client that was accepted is open or closed for one reason, and is
//!   counted there: [`Stats`].
//! - **Three circles of errors.** Starting up: one line and an exit code. Accepting: on to the next,
//!   or a pause until one of ours leaves or a moment is over; only a broken listener is fatal. A
//!   peer: its connection ends.
//!
//! # Not here
//!
//! TLS, UDP, HTTP other than for the metrics, several threads, allow lists. One process is one reactor
//! on one core.

// A test may panic; that is how it fails.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::print_stdout
    )
)]

#[cfg(not(any(target_os = "linux", target_os = "android")))]
compile_error!("hello-echo is written against Linux: epoll's edges and accept4");

mod accept;
mod activation;
mod address;
#[doc(hidden)] // for the program; its types are clap's
pub mod cli;
mod config;
mod connection;
pub mod costs;
mod deadlines;
mod limits;
mod listener;
#[cfg(feature = "load")]
pub mod load;
mod metrics;
mod notify;
pub mod reactor;
#[doc(hidden)] // for tests/fuzz
pub mod scrape;
mod server;
pub mod session;
mod signals;
mod stats;

pub use address::{Address, LocalAddr, ParseAddressError};
pub use config::{Config, MAX_MESSAGE};
pub use limits::raise_descriptor_limit;
pub use metrics::DROPPED_LOG_LINES;
pub use server::Server;
pub use stats::{Bytes, Stats};
