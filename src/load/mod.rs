//! The load client: it opens many connections from one thread, or from several that share nothing,
//! checks every byte, and accounts for every connection.
//!
//! It has four rooms, and each knows only those below it.
//!
//! ```text
//!    program: the command line, stdout and stderr, the exit code
//!            │                                  │
//!            ▼                                  ▼
//!    driver: sockets and a poll        report: text, JSON, a page, conditions
//!            │                                  │
//!            └────────────────┬─────────────────┘
//!                             ▼
//!    machine: the schedule, the exchange, the payload, the record
//! ```
//!
//! It is built like the server. The machine's schedule says what to begin, and an [`exchange`] says
//! what its connection does next and what is wrong with it; neither knows a socket or a clock. The
//! [`Load`] polls and moves the bytes.

pub mod cli;
mod driver;
mod machine;
pub mod program;
pub mod report;

pub use driver::{Caught, Load, Options, ParseSourceError, Room, Source};
pub use machine::compare;
pub use machine::exchange;
pub use machine::payload::Payloads;
#[cfg(any(test, fuzzing))]
pub use machine::random::Random;
pub use machine::record::{Busy, Course, Outcomes, Point, Record, Shortage, Tally, Windows};
pub use machine::schedule::{Plan, Stage};
pub use machine::search;
