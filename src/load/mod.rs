//! The load client: many connections from one thread, every byte checked, every connection accounted
//! for.
//!
//! The same build as the server's: a schedule that says what to begin and an [`exchange`] that
//! says what a connection wants and what is wrong with it, neither with a socket or a clock; and the
//! [`Load`], which polls and moves the bytes.

mod alarm;
mod chart;
pub mod cli;
pub mod condition;
mod connection;
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

pub use driver::{Load, Options};
pub use payload::Payloads;
pub use record::{Course, Point, Record, Shortage};
pub use room::Room;
pub use schedule::{Plan, Stage};
pub use source::{ParseSourceError, Source};
