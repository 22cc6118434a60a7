//! Tests that this executable runs once more, in a process of their own.

use std::any::type_name_of_val;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};
use std::time::Duration;

use super::skipped::{NOTES, notes};
use super::{PATIENCE, have, output, output_within, skip};

/// The variable that is set where a test runs alone.
const ALONE: &str = "HELLO_ECHO_TEST_ALONE";

/// Whether this process runs this test only. If not, runs the test in a child, and fails if it
/// fails there. It is for tests that change what belongs to the process, such as its signals, or
/// that need most of its descriptors, because all other tests are threads of the same process.
///
/// Such a test begins with `if !alone(its_own_name) { return; }`.
pub fn alone(test: impl Fn()) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", path(&test), "--nocapture"]);
    let patience = 3 * PATIENCE; // a test may lose PATIENCE more than once before it fails
    run_one(patience, command.env(ALONE, "1"));
    false
}

/// Runs a test of this crate, which is ignored otherwise, in its own network namespace. This has
/// nothing but a loopback device, changed by `setup`, some lines of shell. Returns what the test
/// printed, `None` if no namespace may be made here.
pub fn in_a_network(patience: Duration, setup: &str, test: impl Fn()) -> Option<String> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--net", "--mount", "sh", "-ec"]);
    if !have("unshare") || !have("ip") {
        return None;
    }
    let mut probe = Command::new("unshare");
    if !output(probe.args(unshare.get_args()).arg("true"))
        .status
        .success()
    {
        skip("no network namespace may be made here");
        return None;
    }
    let script = format!("ip link set lo up\n{setup}\nexec \"$0\" \"$@\"");
    unshare.arg(script).arg(std::env::current_exe().unwrap());
    unshare.args(["--exact", path(&test), "--ignored", "--nocapture"]);
    Some(run_one(patience, &mut unshare))
}

/// The test harness names a test by its modules, without the crate.
fn path(test: &impl Fn()) -> &'static str {
    let (_, path) = type_name_of_val(test).split_once("::").unwrap();
    path
}

/// Returns what the test printed. It passes on what the test says of what it skips.
fn run_one(patience: Duration, command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = output_within(patience, command.env(NOTES, notes()).process_group(0));
    let [said, complaints] = [&stdout, &stderr].map(|s| String::from_utf8_lossy(s));
    assert!(
        status.success() && said.contains("1 passed"),
        "{said}{complaints}"
    );
    let _ = io::stderr().write_all(&stderr);
    said.into_owned()
}

/// What this network namespace has counted, in one of the files of /proc/net.
pub fn tcp_counter(file: &str, group: &str, name: &str) -> u64 {
    let table = std::fs::read_to_string(format!("/proc/net/{file}")).unwrap();
    let mut lines = table.lines().filter(|line| line.starts_with(group));
    let [names, values] = [(); 2].map(|()| lines.next().unwrap().split(' '));
    let (_, value) = names.zip(values).find(|(n, _)| *n == name).unwrap();
    value.parse().unwrap()
}
