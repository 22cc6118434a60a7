//! What a machine may not have. A test that needs it is skipped, and says so aloud.

use std::io::{self, Write};
use std::process::Command;

use super::output;
use super::skipped::note;

/// With this variable the gate, .ci/run, lets a test fail in place of skipping it. (Not `CI`, which
/// other projects' gates set, too, without these tools.)
const GATE: &str = "HELLO_ECHO_GATE";

/// Whether the tool is there, in `PATH` or at the path that it is given by.
pub fn have(tool: &str) -> bool {
    let (_, name) = tool.rsplit_once('/').unwrap_or(("", tool));
    let source = source(name);
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).any(|path| path.join(tool).is_file());
    found || skip(&format!("{name} is not installed; `{source}` brings it"))
}

/// The command that installs a tool. Every tool that a test asks for has its line in `tools.txt`,
/// from which the gate installs it, too.
fn source(tool: &str) -> String {
    let mut lines = include_str!("tools.txt").lines();
    let line = lines.find_map(|line| line.strip_prefix(tool)?.strip_prefix(' '));
    let source = line.unwrap_or_else(|| panic!("{tool} is not in tools.txt"));
    match source.strip_prefix("pipx ") {
        Some(package) => format!("pipx install {package}"),
        None => format!("apt-get install {source}"),
    }
}

/// Whether strace is there and may trace, which containers often forbid.
pub fn have_strace() -> bool {
    have("strace")
        && (output(Command::new("strace").args(["-o", "/dev/null", "true"]))
            .status
            .success()
            || skip("strace may not trace here"))
}

/// strace, which injects a fault into the calls of the program that is to be added: `bind,connect:error=EINTR`.
pub fn with_fault(fault: &str) -> Command {
    let (calls, _) = fault.split_once(':').unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qqq", "-o", "/dev/null"]);
    strace.args(["-e", &format!("trace={calls}")]);
    strace.args(["-e", &format!("inject={fault}")]);
    strace
}

/// Whether this process may have so many descriptors, after asking for them.
pub fn have_descriptors(count: u64) -> bool {
    rlimit::increase_nofile_limit(count).is_ok_and(|limit| limit >= count)
        || skip(&format!("fewer than {count} descriptors may be open"))
}

/// Says at once, on the real stderr, what is skipped and why, and notes it for the summary. Always
/// false, except in the gate, where it panics.
pub fn skip(why: &str) -> bool {
    let is_gate = std::env::var_os(GATE).is_some_and(|value| !value.is_empty());
    assert!(!is_gate, "at the gate nothing is skipped, but {why}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(io::stderr(), "SKIPPED {test}: {why}");
    let _ = note(&format!("{test}: {why}"));
    false
}
