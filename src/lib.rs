//! A reactor for protocols without sockets, and on it the first server of every sockets course: it
//! greets every client with `hello\n`, reads up to 1000 bytes, echoes them and closes. One thread
//! serves any number of clients.
//!
//! | to | begin at |
//! |---|---|
//! | embed the server | [`Server`], [`Config`] and [`hello::Settings`] |
//! | write your own protocol | [`Protocol`] |
//! | learn what goes wrong with event loops | [`course`], fifteen faults, each of them run |
//! | understand the event loop | [`reactor`] |
//! | see what an exchange costs | [`costs`] |
//! | test a server | [`load`] |
//!
//! # Embedding
//!
//! [`Server::bind`] listens, [`Server::run`] serves, and [`Server::turn`] does one round of it. A
//! [`Handle`] shuts it down from another thread. Without default features the library needs ten
//! crates: libc, log, mio, nix, rlimit, slab, socket2, and three of nix's. It logs by the crate
//! `log`, so your program decides whether its lines are written. These features add to it:
//!
//! | feature | what it adds |
//! |---|---|
//! | `metrics` | [`Config::metrics`], the counters over HTTP |
//! | `activation` | [`Server::inherit`], sockets that a service manager passes in |
//! | `cli` | both of these, [`Server::catch_signals`], and the program `hello-echo` |
//! | `json` | `cli`, and its `--log-format json` |
//! | `load` | `cli`, the module [`load`] and the program `hello-load` |
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{Shutdown, TcpStream};
//! use std::time::Duration;
//!
//! use hello_echo::{Config, Server, hello::Settings};
//!
//! let mut config = Config::default();
//! config.listen = vec!["127.0.0.1:0".parse()?]; // port 0: any that is free
//! let mut server: Server = Server::bind(&config, Settings::default())?;
//!
//! let mut client = TcpStream::connect(server.local_addrs()[0].to_string())?;
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
//! # Your own protocol
//!
//! A [`Protocol`] is a state machine for one connection. It says what it [wants](Want) done next, and
//! learns what was done. The reactor does the rest: it accepts, bounds each turn, keeps deadlines,
//! closes so that nothing is lost, shuts down without losing a client, and counts what became of
//! every connection. The page of [`Protocol`] has two whole ones, the time of day in 41 lines and
//! finger in 69.
//!
//! # The source, from the ground up
//!
//! Read it in this order: each file uses only what came before it.
//!
//! | | |
//! |---|---|
//! | `protocol/mod.rs` | [`Protocol`] and [`Want`], the seam |
//! | `protocol/unsent.rs`, `protocol/hello.rs` | [`hello`], the first protocol |
//! | `reactor/calls.rs` | the calls on one socket, and what each may do in a turn |
//! | `reactor/connection.rs` | one connection: its protocol, then the lingering close |
//! | `reactor/deadlines.rs`, `gate.rs`, `stats.rs` | which connection is due, whether to accept, what became of all |
//! | `reactor/system.rs`, `mod.rs`, `accept.rs`, `shutdown.rs` | the [`reactor`]: the turn, newcomers, the end |
//! | `server/system/`, `address.rs`, `limits.rs`, `listener.rs`, `sockets.rs` | the reactor's [`System`](reactor::System), made of real sockets |
//! | `server/config.rs`, `handle.rs`, `guest.rs`, `bind.rs`, `mod.rs` | the [`Server`]: the poll, and what embeds it |
//!
//! The folder `server` also connects a server to its system: `activation` takes sockets from a
//! service manager, `notify` tells the manager how the server is doing, `signals` says when to stop,
//! and `metrics` serves the counters with a second protocol, `protocol/scrape.rs`. `program` is the
//! command line. [`load`], behind the feature of that name, is the client.
//!
//! # Not here
//!
//! TLS, UDP, HTTP except for the metrics, several threads, allow lists, pushing from one connection to
//! another. One process has one poll on one core.

// The page names modules that are behind features.
#![cfg_attr(not(feature = "load"), allow(rustdoc::broken_intra_doc_links))]
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

// The protocols in tests/protocols are written as a user's are, and the unit tests use them, too.
#[cfg(any(test, fuzzing))]
extern crate self as hello_echo;

/// The README's example of embedding compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

pub mod costs;
pub mod course;
mod error;
#[cfg(feature = "load")]
pub mod load;
#[cfg(feature = "cli")]
#[doc(hidden)] // for the program; its types are clap's
pub mod program;
mod protocol;
pub mod reactor;
mod server;

#[cfg(any(test, feature = "metrics"))]
#[doc(hidden)] // for tests/fuzz
pub use protocol::scrape;
pub use protocol::{Deadline, End, MAX_ENDS, Protocol, Unsent, Want, hello};
#[cfg(fuzzing)]
#[doc(hidden)]
pub use reactor::simulation::choices;
pub use reactor::{Bytes, Stats};
pub use server::address::{Address, LocalAddr, ParseAddressError};
pub use server::config::Config;
pub use server::limits::raise_descriptor_limit;
#[cfg(feature = "metrics")]
pub use server::metrics::DROPPED_LOG_LINES;
pub use server::{Handle, Server};
