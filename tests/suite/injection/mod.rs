//! Every system call that the server makes in service fails, with every errno that its man page
//! lists: once, for a single client, and every fifth time under load. strace makes it fail, and
//! then the kernel does not see the call.

mod caller;
mod every_fifth;
mod once;
mod rows;
mod stage;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rows::Row;
use stage::{Play, play};

use crate::util::{PATIENCE, have_strace};

/// How many cases and faults there were, and the longest time that a single client waited for its
/// greeting, of all tests.
static CASES: AtomicUsize = AtomicUsize::new(0);
static FAULTS: AtomicUsize = AtomicUsize::new(0);
static WORST_MICROS: AtomicU64 = AtomicU64::new(0);

fn tell_totals() {
    let worst = Duration::from_micros(WORST_MICROS.load(Relaxed));
    let [cases, faults] = [&CASES, &FAULTS].map(|count| count.load(Relaxed));
    println!("so far {cases} cases, {faults} faults, a greeting after at most {worst:?}");
}

/// Runs all cases, whatever fails, and then fails with a list of the failures. Only when failures
/// have taken a whole [`PATIENCE`], the rest is not tried.
fn try_all(rows: &[Row], case: impl Fn(&Row, &str, &Play)) {
    if !have_strace() {
        return;
    }
    let mut failed = Vec::new();
    let mut lost = Duration::ZERO;
    for row in rows {
        let rehearsed = play(row, None);
        for errno in row.errnos.split_whitespace() {
            if lost > PATIENCE {
                break;
            }
            CASES.fetch_add(1, Relaxed);
            let start = Instant::now();
            if catch_unwind(AssertUnwindSafe(|| case(row, errno, &rehearsed))).is_err() {
                let (call, words, phase) = (row.call, row.words, row.phase);
                failed.push(format!("{call} {words:?} {errno}, {phase:?}"));
                lost += start.elapsed();
            }
        }
    }
    tell_totals();
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
}
