//! The load client: many connections from one thread, every byte checked, every connection accounted
//! for.
//!
//! It is built like the server. A schedule says what to begin, and an [`exchange`] says what its
//! connection does next and what is wrong with it; neither knows a socket or a clock. The [`Load`]
//! polls and moves the bytes.

mod channel;
mod chart;
pub mod cli;
pub mod condition;
mod driver;
pub mod exchange;
pub mod html;
mod payload;
mod record;
pub mod report;
mod room;
mod schedule;
mod source;
mod target;
mod wakeup;

pub use driver::{Load, Options};
pub use payload::Payloads;
pub use record::{Course, Point, Record, Shortage};
pub use room::Room;
pub use schedule::{Plan, Stage};
pub use source::{ParseSourceError, Source};
