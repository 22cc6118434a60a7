//! What a machine may not have. A test that needs it is skipped then, which is said aloud.

use std::io::{self, Write};
use std::process::Command;

use super::output;

/// Whether the tool is there. If it is not, says so on the real stderr, where the test harness
/// captures nothing; in CI that is a failure.
pub fn have(tool: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).any(|path| path.join(tool).is_file());
    found || skip(&format!("{tool} is not installed"))
}

/// Whether strace is there and may trace, which containers often forbid.
pub fn have_strace() -> bool {
    have("strace")
        && (output(Command::new("strace").args(["-o", "/dev/null", "true"]))
            .status
            .success()
            || skip("strace may not trace here"))
}

/// Whether this process may have so many descriptors, once it has asked for it.
pub fn have_descriptors(count: u64) -> bool {
    rlimit::increase_nofile_limit(count).is_ok_and(|limit| limit >= count)
        || skip(&format!("fewer than {count} descriptors may be open"))
}

/// Says what is skipped and why. Always false, except in CI, where it panics.
pub fn skip(why: &str) -> bool {
    assert!(
        std::env::var_os("CI").is_none(),
        "in CI nothing is skipped, but {why}"
    );
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(io::stderr(), "SKIPPED {test}: {why}");
    false
}
