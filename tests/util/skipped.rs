//! Where skipped tests are noted, until tests/summary.rs sums them up.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// The variable that tells a test in a child process where to note what it skips.
pub(crate) const NOTES: &str = "HELLO_ECHO_TEST_NOTES";

const PREFIX: &str = "skipped-";

/// The file of this run. `cargo test` starts the tests and then the summary, so its process id is
/// known to both of them, and no other run has the same.
pub(crate) fn notes() -> PathBuf {
    let of_run = || {
        let name = format!("{PREFIX}{}", parent_id());
        [env!("CARGO_TARGET_TMPDIR"), &name].iter().collect()
    };
    std::env::var_os(NOTES).map_or_else(of_run, PathBuf::from)
}

/// Adds a line to the file.
pub(crate) fn note(line: &str) -> io::Result<()> {
    static FIRST: Once = Once::new();
    FIRST.call_once(|| {
        if std::env::var_os(NOTES).is_none() {
            remove_old();
        }
    });
    let mut file = OpenOptions::new();
    let mut file = file.create(true).append(true).open(notes())?;
    file.write_all(format!("{line}\n").as_bytes())
}

/// Runs without a summary, because a test failed or was run by itself, leave their files behind.
/// One of them may have had the process id of this run.
fn remove_old() {
    let files = fs::read_dir(env!("CARGO_TARGET_TMPDIR")).into_iter();
    for file in files.flatten().flatten().map(|file| file.path()) {
        let name = file.file_name().and_then(|name| name.to_str());
        let Some(process) = name.and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        if file == notes() || !Path::new("/proc").join(process).exists() {
            let _ = fs::remove_file(file);
        }
    }
}
