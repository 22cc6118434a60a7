//! The machine: what a run does, without a socket and without a clock.
//!
//! A [schedule] says what begins when, a [share] which part of it is a thread's, and a [pause] when a
//! target that refuses is asked again. An [exchange] says what its connection does next, the [payload]
//! says which bytes it sends, and the [record] counts what became of it. [meters] count while the run
//! lasts. The driver calls these, and the report reads the record; the
//! machine knows neither. A [search] finds the highest rate that keeps a goal, by several runs, and
//! [compare] says whether two measurements differ.

pub mod compare;
pub mod exchange;
pub(crate) mod meters;
pub(crate) mod pause;
pub(crate) mod payload;
#[cfg(any(test, fuzzing))]
pub(crate) mod random;
pub(crate) mod record;
pub(crate) mod schedule;
pub mod search;
pub(crate) mod share;
