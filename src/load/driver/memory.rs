//! How much memory a run takes. A failed allocation aborts the process, so a run that may lack memory
//! later is refused at the start.

use std::io;

use crate::load::machine::record::RESERVED;
use crate::server::limits::fits;

/// What the windows of a run's times grow to, if the times are about a second.
const WINDOWS: usize = 2 << 20;

/// What the times of a target grow to.
const TIMES: usize = 256 << 10;

/// The stack of a thread.
const STACK: usize = 2 << 20;

/// What is made of a record at the end: the sum, its JSON object and its page, each as large as one
/// record grows to.
const COPIES: usize = 3;

/// The memory of a run, in bytes, without the table of connections.
pub(super) struct Memory {
    /// What the threads reserve for their times.
    reserved: usize,
    /// What they and the reports take beside that.
    pub(super) later: usize,
}

impl Memory {
    pub(super) fn of(threads: u64, targets: usize, are_compared: bool) -> Self {
        let threads = usize::try_from(threads).unwrap_or(usize::MAX);
        let compared = if are_compared { targets } else { 0 };
        let windows = compared.saturating_add(1).saturating_mul(WINDOWS);
        let record = windows.saturating_add(targets.saturating_mul(TIMES));
        let records = record.saturating_mul(threads.saturating_add(COPIES));
        let stacks = threads.saturating_sub(1).saturating_mul(STACK);
        Self {
            reserved: threads.saturating_mul(RESERVED),
            later: records.saturating_add(stacks),
        }
    }

    /// # Errors
    /// One line: there is too little.
    pub(super) fn check(&self, threads: u64) -> io::Result<()> {
        let bytes = self.reserved.saturating_add(self.later);
        if fits(bytes) {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "there is too little memory: --threads {threads} takes {} MB",
            bytes.div_ceil(1_000_000)
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_and_every_target_takes_memory() {
        let mb = |threads, targets, are_compared| {
            let Memory { reserved, later } = Memory::of(threads, targets, are_compared);
            [reserved >> 20, later >> 20]
        };
        assert_eq!(mb(1, 1, false), [3, 9]);
        assert_eq!(mb(2, 1, false), [6, 13]);
        assert_eq!(mb(1, 4, false), [3, 12]);
        assert_eq!(mb(1, 4, true), [3, 44]);
        let most = Memory::of(u64::MAX, usize::MAX, true);
        assert_eq!((most.reserved, most.later), (usize::MAX, usize::MAX));
        let refused = most.check(7).unwrap_err().to_string();
        assert!(refused.contains("--threads 7 takes "), "{refused}");
        assert!(Memory::of(1, 1, true).check(1).is_ok());
    }
}
