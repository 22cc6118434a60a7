//! The end of `cargo test`: which tests were skipped, and what would let them run. It is a program
//! of its own, and the last one in alphabetical order, because a test cannot know that it is the
//! last.

#![allow(clippy::print_stdout, reason = "the summary")]

#[path = "util/skipped.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the tests write the notes, the summary reads them"
)]
mod skipped;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

fn main() {
    let Ok(notes) = fs::read_to_string(skipped::notes()) else {
        return; // nothing was skipped
    };
    let _ = fs::remove_file(skipped::notes());
    let mut tests_by_reason = BTreeMap::<&str, BTreeSet<&str>>::new();
    for (test, why) in notes.lines().filter_map(|line| line.split_once(": ")) {
        tests_by_reason.entry(why).or_default().insert(test);
    }
    println!("\nSKIPPED, in whole or in part:");
    for (why, tests) in tests_by_reason {
        println!("    {why}");
        for test in tests {
            println!("        {test}");
        }
    }
    println!();
}
