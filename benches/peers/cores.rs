//! A core for the load, and another for the servers; and how much a server has used of its own.

use std::io::{Write, stderr};
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

use crate::util::Server;

/// A core for the load, which is this process, and another for the servers.
pub struct Cores {
    server: Option<CpuSet>,
}

impl Cores {
    /// Takes the first two that it may have. With only one, nothing is pinned, and it says so
    /// aloud.
    pub fn take() -> Self {
        let this = Pid::from_raw(0);
        let allowed = sched_getaffinity(this).unwrap();
        let mut allowed = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap());
        let (load, Some(server)) = (allowed.next().unwrap(), allowed.next()) else {
            let _ = writeln!(
                stderr(),
                "ONE CORE for client and server: the figures are rough"
            );
            return Self { server: None };
        };
        sched_setaffinity(this, &only(load)).unwrap();
        Self {
            server: Some(only(server)),
        }
    }

    /// The threads that it starts from here on are pinned with it.
    pub fn pin_server(&self, server: &Server) {
        if let Some(core) = &self.server {
            sched_setaffinity(pid(server), core).unwrap();
        }
    }
}

/// Pins this thread to the last core that it may have.
pub fn pin() {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).unwrap();
    let last = (0..CpuSet::count()).rfind(|core| allowed.is_set(*core).unwrap());
    sched_setaffinity(this, &only(last.unwrap())).unwrap();
}

fn only(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core).unwrap();
    set
}

fn pid(server: &Server) -> Pid {
    Pid::from_raw(i32::try_from(server.pid()).unwrap())
}

/// The CPU time that it has spent, in user space and in the kernel, in all its threads, including
/// those that have ended, which no file of /proc tells to the nanosecond.
pub fn cpu_time(server: &Server) -> Duration {
    let clock = clock_getcpuclockid(pid(server)).unwrap();
    clock.now().unwrap().into()
}
