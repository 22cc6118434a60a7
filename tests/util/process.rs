//! Other programs: their output, their end, and signals for them.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

use super::PATIENCE;

/// Sends a process a signal, by name. Returns whether there was such a process.
pub fn signal(pid: &str, name: &str) -> bool {
    let kill = format!("kill -{name} {pid}");
    let killed = Command::new("sh").args(["-c", &kill]).status();
    killed.unwrap().success()
}

/// The anonymous memory (RssAnon) of a process, in bytes. This file has it page by page;
/// the kernel's counter of it may lag behind, and ours is small.
pub fn own_memory(pid: u32) -> usize {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let mut lines = rollup.lines();
    let size = lines.find_map(|line| line.strip_prefix("Anonymous:"));
    let size = size.and_then(|size| size.trim().strip_suffix(" kB"));
    1024 * size.unwrap().parse::<usize>().unwrap()
}

/// The output of a short command, which ends by itself.
pub fn output(command: &mut Command) -> Output {
    output_within(PATIENCE, command)
}

pub fn output_within(patience: Duration, command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let pid = child.id();
    let (sender, receiver) = mpsc::channel();
    // It is read meanwhile, because a pipe has little room.
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let output = receiver.recv_timeout(patience).unwrap_or_else(|_| {
        kill_group(pid);
        signal(&pid.to_string(), "KILL");
        panic!("it does not end");
    });
    output.unwrap()
}

/// How the child ended. If it does not end by itself, this fails, and the child is killed.
pub(super) fn end_in_time(child: &mut Child) -> ExitStatus {
    end_within(PATIENCE, child)
}

fn end_within(patience: Duration, child: &mut Child) -> ExitStatus {
    status_within(patience, child).unwrap_or_else(|| {
        kill_group(child.id());
        child.kill().unwrap();
        panic!("it does not end");
    })
}

/// How the child ended, if it did.
pub fn status_within(patience: Duration, child: &mut Child) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < patience {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

/// Ends everything that a command with its own process group has started. Does nothing to other
/// commands.
fn kill_group(leader: u32) {
    let kill = format!("kill -KILL -{leader}");
    let _ = Command::new("sh")
        .args(["-c", &kill])
        .stderr(Stdio::null())
        .status();
}

/// The result of `work`, which must come within [`PATIENCE`].
pub fn in_time<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver
        .recv_timeout(PATIENCE)
        .unwrap_or_else(|e| panic!("waited in vain for {what}: {e}"))
}

/// A terminal's two ends, the master first. Not by openpty(3), whose descriptors the children of all other
/// tests would inherit.
pub fn terminal() -> (OwnedFd, OwnedFd) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let mut slave = OpenOptions::new();
    slave.read(true).write(true).custom_flags(libc::O_NOCTTY);
    let slave = slave.open(ptsname_r(&master).unwrap()).unwrap();
    (master.into(), slave.into())
}
