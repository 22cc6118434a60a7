//! Where tests that are skipped are noted, until tests/summary.rs sums them up.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::parent_id;
use std::path::PathBuf;
use std::sync::Once;

/// The variable that tells a test that runs in a child where to note what it skips.
pub const NOTES: &str = "HELLO_ECHO_TEST_NOTES";

/// The file of this run. `cargo test` starts the tests and then the summary, so its process id is
/// known to both of them, and no other run has the same.
pub fn notes() -> PathBuf {
    let of_run = || {
        let name = format!("skipped-{}", parent_id());
        [env!("CARGO_TARGET_TMPDIR"), &name].iter().collect()
    };
    std::env::var_os(NOTES).map_or_else(of_run, PathBuf::from)
}

/// Adds a line to the file.
pub fn note(line: &str) -> io::Result<()> {
    static FIRST: Once = Once::new();
    // An older run may have failed before its summary, and may have had this process id.
    FIRST.call_once(|| {
        if std::env::var_os(NOTES).is_none() {
            let _ = fs::remove_file(notes());
        }
    });
    let mut file = OpenOptions::new();
    let mut file = file.create(true).append(true).open(notes())?;
    file.write_all(format!("{line}\n").as_bytes())
}
