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
mod cores;
mod crowd;
mod figures;
pub mod mio_tutorial;
mod tokio_tasks;

use std::io::{self, Write, stderr};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hello_echo::load::Load;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};

use crate::util::{Server, finish, load_options};

pub use cores::*;
pub use crowd::*;
pub use figures::*;

const GREETING: &[u8] = b"hello\n";
const MESSAGE: usize = 1000;
const LINGER: Duration = Duration::from_secs(2);
pub const BACKLOG: i32 = 4096;
pub const ANY_PORT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// The variable that says what this process is: a peer, by its name, or the client of a [`Crowd`].
pub const ROLE: &str = "HELLO_ECHO_ROLE";

/// A server of the protocol.
#[derive(Debug)]
pub struct Peer {
    pub name: &'static str,
    program: Program,
    /// With more clients at once it would be a different comparison.
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

/// The peer that the others are compared with: what a good C programmer writes first.
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
    // It ends with the bench, however the bench ends.
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
/// slices of a few dozen milliseconds, so whatever else the machine does meanwhile affects all of
/// them.
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

/// The places of `count` servers in a turn. The first moves on, and every other turn goes
/// backwards, so no server always follows the same one.
pub fn order(turn: usize, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.rotate_left(turn / 2 % count.max(1));
    if turn % 2 == 1 {
        order.reverse();
    }
    order
}
