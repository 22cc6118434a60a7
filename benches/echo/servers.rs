//! The servers, each a process of its own that echoes as many bytes as it is told, and says what
//! CPU time that took.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hello_echo::{Config, Server};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::Notify;

use crate::echo::Echo;
use crate::peers::{ANY_PORT, BACKLOG, ROLE, announce, compiled};
use crate::util::{self, PATIENCE};

pub(crate) const OURS: &str = "ours";
pub(crate) const C: &str = "C, epoll";
pub(crate) const TOKIO: &str = "tokio";

/// One of them, running; it polls nothing until it is told to echo.
pub(crate) struct Driven {
    pub(crate) name: &'static str,
    pub(crate) server: util::Server,
    orders: UnixStream,
}

impl Driven {
    /// All that this machine can have: without a C compiler, which is said aloud, there is no
    /// [`C`].
    pub(crate) fn start_all() -> Vec<Self> {
        let this = |name| {
            let mut this = Command::new(std::env::current_exe().unwrap());
            this.env(ROLE, name);
            Self::start(name, this)
        };
        let c = compiled("echo").map(|program| Self::start(C, Command::new(program)));
        [Some(this(OURS)), c, Some(this(TOKIO))]
            .into_iter()
            .flatten()
            .collect()
    }

    fn start(name: &'static str, mut command: Command) -> Self {
        let (orders, theirs) = UnixStream::pair().unwrap();
        orders.set_read_timeout(Some(PATIENCE)).unwrap();
        command.stdin(OwnedFd::from(theirs));
        Self {
            name,
            server: util::Server::spawn_with(1, &mut command),
            orders,
        }
    }

    /// Tells it to echo so many bytes, and then no more.
    pub(crate) fn order(&mut self, bytes: usize) {
        let order = bytes as u64;
        self.orders.write_all(&order.to_ne_bytes()).unwrap();
    }

    /// Waits until it has. Returns the CPU time of its thread.
    pub(crate) fn spent(&mut self) -> Duration {
        let mut spent = [0; 8];
        self.orders.read_exact(&mut spent).unwrap();
        Duration::from_nanos(u64::from_ne_bytes(spent))
    }
}

/// If this process is to be one of those in Rust, it is, and this does not return.
pub(crate) fn begin() {
    let serve = match std::env::var(ROLE).as_deref() {
        Ok(OURS) => ours,
        Ok(TOKIO) => tokio,
        _ => return,
    };
    set_pdeathsig(Signal::SIGKILL).unwrap();
    serve().unwrap();
    std::process::exit(0);
}

/// The other end of [`Driven::order`]: calls `serve` with as many bytes as it is to echo, until the
/// bench has no more orders.
fn obey(mut serve: impl FnMut(u64) -> io::Result<()>) -> io::Result<()> {
    let mut orders = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut order = [0; 8];
    while orders.read_exact(&mut order).is_ok() {
        let start = cpu_time();
        serve(u64::from_ne_bytes(order))?;
        let spent = cpu_time() - start;
        orders.write_all(&(spent.as_nanos() as u64).to_ne_bytes())?;
    }
    Ok(())
}

/// What this thread has used, in user space and in the kernel.
fn cpu_time() -> Duration {
    let clock = ClockId::CLOCK_THREAD_CPUTIME_ID;
    clock_gettime(clock).unwrap().into()
}

fn ours() -> io::Result<()> {
    let mut config = Config::default();
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let mut server = Server::<Echo>::bind(&config, ())?;
    let address = &server.local_addrs()[0];
    println!("listening on {address}");
    obey(|bytes| {
        let until = server.stats().bytes.sent + bytes;
        while server.stats().bytes.sent < until {
            server.turn(None)?;
        }
        Ok(())
    })
}

/// How many bytes tokio's tasks still have to echo, and what wakes the main task then.
static LEFT: AtomicU64 = AtomicU64::new(0);
static DONE: Notify = Notify::const_new();

fn tokio() -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(ANY_PORT))?;
        socket.listen(BACKLOG as u32)
    })?;
    announce(listener.local_addr()?);
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    obey(|bytes| {
        LEFT.store(bytes, Ordering::Relaxed);
        runtime.block_on(DONE.notified());
        Ok(())
    })
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024]; // as in tokio's own example of an echo server
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n]).await?;
        // One thread: no atomic operation that costs anything.
        let left = LEFT.load(Ordering::Relaxed) - n as u64;
        LEFT.store(left, Ordering::Relaxed);
        if left == 0 {
            DONE.notify_one();
        }
    }
}
