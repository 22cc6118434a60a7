//! The machine: what a run does, without a socket and without a clock.
//!
//! A [schedule] says what begins when, a [share] which part of it is a thread's, a [pause] when a target that refuses is asked again, an
//! [exchange] says what its connection does next, the [payload] says which bytes it sends, and the
//! [record] counts what became of it. The driver calls these, and the report reads the record; the
//! machine knows neither. [compare] says whether two measurements differ. A part waits for its option:
//! a [search] finds the highest rate that keeps a goal.

pub mod compare;
pub mod exchange;
pub(crate) mod meters;
pub(crate) mod pause;
pub(crate) mod payload;
pub(crate) mod record;
pub(crate) mod schedule;
pub mod search;
pub(crate) mod share;
