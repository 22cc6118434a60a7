//! What the benches over sockets share: our server and its peers as children, the load, and the
//! figures that a run of rounds comes to.
//!
//! Every peer keeps the same protocol: greet, one read of up to 1000 bytes, echo, close; in between,
//! where its name says so, discard what comes until the client's FIN, for at most 2 s. All are
//! written as those who would choose them write, built as our server is, and listen with the same
//! backlog. None of them has our `--timeout`, our counters or our log.
//!
//! Those in Rust run in this very executable, which starts itself again with [`ROLE`] set.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every bench uses its own part of this"
)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench that meets an error has no figure to give; what a child says"
)]

mod blocking;
pub mod chart;
pub mod mio_tutorial;
mod tokio_tasks;

use std::fmt;
use std::io::{self, BufRead, BufReader, Write, stderr};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use hello_echo::load::Load;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};

use crate::util::{PATIENCE, Server, finish, load_options};

const GREETING: &[u8] = b"hello\n";
const MESSAGE: usize = 1000;
const LINGER: Duration = Duration::from_secs(2);
pub const BACKLOG: i32 = 4096;
pub const ANY_PORT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// The variable that says what this process is to be: a peer, by its name, or the client of a
/// [`Crowd`].
pub const ROLE: &str = "HELLO_ECHO_ROLE";

/// A server of the protocol.
#[derive(Debug)]
pub struct Peer {
    pub name: &'static str,
    program: Program,
    /// With more clients at once it would be somebody else's case.
    pub serves_at_once: u64,
    /// How many silent clients it is measured with.
    pub holds: u64,
}

#[derive(Debug)]
enum Program {
    /// The release binary, with these options.
    Ours(&'static [&'static str]),
    /// `epoll.c`, with this argument.
    C(&'static str),
    /// This executable. It is given a listener.
    Std(fn(&TcpListener) -> io::Result<()>),
    /// This executable, which listens by itself.
    Own(fn() -> io::Result<()>),
}

/// What the others are compared with: what a good C programmer writes first.
pub const BASE: &str = "C, epoll, closes at once";

pub const PEERS: [Peer; 10] = [
    peer("hello-echo", Program::Ours(&[])),
    peer("hello-echo --linger 0", Program::Ours(&["--linger", "0"])),
    peer(BASE, Program::C("at-once")),
    peer("C, epoll, MSG_MORE and close", Program::C("more")),
    peer("C, epoll, lingers", Program::C("linger")),
    peer("mio as in its tutorials", Program::Std(mio_tutorial::run)),
    peer(
        "tokio, closes at once",
        Program::Own(tokio_tasks::closing_at_once),
    ),
    peer("tokio", Program::Own(tokio_tasks::lingering)),
    Peer {
        holds: 1_000,
        ..peer("a thread each", Program::Std(blocking::a_thread_each))
    },
    Peer {
        serves_at_once: 1,
        holds: 0,
        ..peer("one at a time", Program::Std(blocking::one_at_a_time))
    },
];

const fn peer(name: &'static str, program: Program) -> Peer {
    Peer {
        name,
        program,
        serves_at_once: u64::MAX,
        holds: 10_000,
    }
}

impl Peer {
    pub fn is_ours(&self) -> bool {
        matches!(self.program, Program::Ours(_))
    }

    /// Starts it, on a core of the servers', and has it serve until it is warm, every byte checked.
    /// `None` without a C compiler, which is said aloud.
    pub fn start(&self, cores: &Cores) -> Option<Server> {
        let mut command = match &self.program {
            Program::Ours(options) => {
                let mut ours = Command::new(crate::util::BINARY);
                ours.args(["--listen", "127.0.0.1:0"]).args(*options);
                ours
            }
            Program::C(argument) => {
                let mut c = Command::new(compiled("epoll")?);
                c.arg(argument);
                c
            }
            Program::Std(_) | Program::Own(_) => {
                let mut this = Command::new(std::env::current_exe().unwrap());
                this.env(ROLE, self.name);
                this
            }
        };
        let server = Server::spawn(1, &mut command);
        cores.pin_server(&server);
        exchanges(&server, 1_000, self.serves_at_once.min(64));
        Some(server)
    }
}

/// The C peer of this name, compiled anew.
pub fn compiled(name: &str) -> Option<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    let source = sources.join(name).with_extension("c");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(&compiler);
    command.args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-o"]);
    match command.arg(&program).arg(&source).status() {
        Ok(status) if status.success() => Some(program),
        failed => {
            let compiler = compiler.to_string_lossy();
            let _ = writeln!(stderr(), "WITHOUT the C peers: {compiler}: {failed:?}");
            None
        }
    }
}

/// Every bench begins with this: where [`ROLE`] is set the process plays it, and this does not
/// return. Otherwise it may have as many descriptors as the hard limit allows, and so may its
/// children.
pub fn begin() {
    let limit = hello_echo::raise_descriptor_limit();
    let Ok(role) = std::env::var(ROLE) else {
        limit.unwrap();
        return;
    };
    // It ends with the bench, however that ends.
    set_pdeathsig(Signal::SIGKILL).unwrap();
    if let Some(crowd) = role.strip_prefix(CROWD) {
        be_a_crowd(crowd);
    } else {
        be_a_peer(&role).unwrap();
    }
    std::process::exit(0);
}

fn be_a_peer(name: &str) -> io::Result<()> {
    let peer = PEERS.iter().find(|peer| peer.name == name).unwrap();
    match peer.program {
        Program::Std(serve) => {
            let listener = listen()?;
            announce(listener.local_addr()?);
            serve(&listener)
        }
        Program::Own(serve) => serve(),
        Program::Ours(_) | Program::C(_) => unreachable!("{name} is a program of its own"),
    }
}

/// As `std::net::TcpListener::bind` does it, with our backlog.
pub fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from(ANY_PORT).into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from(socket))
}

pub fn announce(address: SocketAddr) {
    println!("listening on {address}");
}

/// A core for the load, which is this process, and another for the servers.
pub struct Cores {
    server: Option<CpuSet>,
}

impl Cores {
    /// Takes the first two that it may have. With one, nobody is pinned, which is said aloud.
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

/// The CPU time that it has spent, in user space and in the kernel, in all its threads: those that
/// have ended, too, which no file of /proc tells to the nanosecond.
pub fn cpu_time(server: &Server) -> Duration {
    let clock = clock_getcpuclockid(pid(server)).unwrap();
    clock.now().unwrap().into()
}

/// A load on that address, from many local ones, each of which has ports of its own.
fn load(address: &str, hold: u64, exchanges: u64, at_once: u64) -> Load {
    let mut options = load_options(address, exchanges, at_once);
    options.sources = vec!["127.0.0.0/8".parse().unwrap()];
    options.plan.hold = hold;
    Load::new(options).unwrap()
}

/// So many exchanges in a closed loop, and how long they took. Every byte is checked.
pub fn exchanges(server: &Server, exchanges: u64, at_once: u64) -> Duration {
    let mut load = load(&server.addresses[0], 0, exchanges, at_once);
    finish(&mut load);
    load.elapsed()
}

/// What an exchange costs each server, in microseconds of its CPU time. They have their turns in
/// slices of a few dozen milliseconds: whatever else the machine does meanwhile, all have their part.
pub fn costs(servers: &[&Server], at_once: u64, slice: u64, slices: usize) -> Vec<f64> {
    let mut spent = vec![Duration::ZERO; servers.len()];
    for turn in 0..slices {
        for i in order(turn, servers.len()) {
            let before = cpu_time(servers[i]);
            exchanges(servers[i], slice, at_once);
            spent[i] += cpu_time(servers[i]) - before;
        }
    }
    let each = (slice * slices as u64) as f64;
    spent
        .into_iter()
        .map(|spent| micros(spent) / each)
        .collect()
}

/// The places of `count` servers in a turn: the first moves on, and every other turn goes
/// backwards, so nobody is always behind the same one.
pub fn order(turn: usize, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.rotate_left(turn / 2 % count.max(1));
    if turn % 2 == 1 {
        order.reverse();
    }
    order
}

/// Connections that are greeted and silent, in a process of their own. Ends with the bench.
pub struct Crowd(Child);

/// The role of a crowd's client begins with this; the address and the number follow.
const CROWD: &str = "crowd ";

impl Crowd {
    /// Returns when all are greeted.
    pub fn gather(server: &Server, connections: u64) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(
            ROLE,
            format!("{CROWD}{} {connections}", server.addresses[0]),
        );
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut crowd = Self(command.spawn().unwrap());
        let mut greeted = String::new();
        let mut stdout = BufReader::new(crowd.0.stdout.as_mut().unwrap());
        stdout.read_line(&mut greeted).unwrap();
        assert_eq!(greeted, "greeted\n");
        crowd
    }

    /// Each with an exchange; everything must be right.
    pub fn leave(mut self) {
        let left = self.0.wait().unwrap(); // which closes its stdin first
        assert!(left.success(), "{left}");
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Holds the connections until stdin ends.
fn be_a_crowd(role: &str) {
    let (address, connections) = role.split_once(' ').unwrap();
    let connections = connections.parse().unwrap();
    let mut load = load(address, connections, 0, 64);
    while load.record().held < connections {
        let more = load.turn(PATIENCE).unwrap();
        assert!(more, "{:?}", load.record().described);
    }
    println!("greeted");
    io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
    finish(&mut load);
}

pub fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

/// What the rounds of a measurement came to.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

impl Spread {
    /// Of one value or more.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = [sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]];
        Self {
            least: sorted[0],
            median: (middle[0] + middle[1]) / 2.0,
            most: sorted[sorted.len() - 1],
        }
    }
}

/// Shown with the precision asked for: `1.04 (1.02-1.07)`.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        let Self {
            least,
            median,
            most,
        } = self;
        let width = f.width().unwrap_or(0);
        let shown = format!("{median:.digits$} ({least:.digits$}-{most:.digits$})");
        write!(f, "{shown:>width$}")
    }
}

/// The machine in words that name nobody's, and the day.
pub fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let cores = cpus
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let of = if cpus.contains(" hypervisor") {
        " of a virtual machine"
    } else {
        ""
    };
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let release: Vec<&str> = release.split(['.', '-']).take(2).collect();
    #[allow(clippy::disallowed_methods, reason = "for the chart's date")]
    let day = humantime::format_rfc3339(SystemTime::now()).to_string();
    let (day, _) = day.split_once('T').unwrap();
    format!("{cores} cores{of}, Linux {}, {day}", release.join("."))
}
