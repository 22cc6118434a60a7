//! A listening socket: how it is made, how it accepts, what it leaves behind.

mod tcp;
mod unix;

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::{SockAddr, Socket, Type};

use super::address::{Address, LocalAddr};
use super::system::{self, Guard, KERNEL, Watched};
use crate::error::{explain, invalid};
use crate::reactor::Moment;

/// One listening socket, TCP or Unix: a stream socket is all that the server needs to know.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Before the socket, so that it is dropped first: no other file has the inode of an open socket.
    _file: Option<unix::OwnFile>,
    socket: Socket,
    local_addr: LocalAddr,
    origin: Origin,
    guard: Guard,
}

#[derive(Debug)]
enum Origin {
    /// This process made it.
    Bound,
    /// A service manager made it and keeps it, with the queue, for the process after this one.
    Inherited,
}

impl Listener {
    /// Listens on `address`. A name is bound at the first of its addresses that this machine has.
    ///
    /// # Errors
    /// One line that names the address and the reason: it does not resolve, it is in use, it is
    /// not ours, the port needs privileges, the path is too long or is no socket, ...
    pub(crate) fn bind(address: &Address, backlog: u32, reuse_port: bool) -> io::Result<Self> {
        let bound = match address {
            Address::Tcp { host, port } => {
                let listening = tcp::bind(host, *port, backlog, reuse_port);
                listening.map(|(socket, local)| {
                    Self::new(socket, LocalAddr::Tcp(local), Origin::Bound, None)
                })
            }
            Address::Unix(path) => unix::bind(path, backlog).map(|(socket, file)| {
                Self::new(socket, LocalAddr::Unix(path.clone()), Origin::Bound, file)
            }),
        };
        bound.map_err(|e| explain(format!("cannot listen on {address}"), &e))
    }

    /// Takes a socket over that another process has bound, and has made listen with its own backlog. The
    /// socket is left as it is: others may have it, now or later, and would have to live with an option
    /// that is set here, and so would the connections that they accept. Only [`accept`](Self::accept)
    /// makes it non-blocking, and it stays so, because others may rely on that by then.
    ///
    /// # Errors
    /// In words: it does not listen, or its address is of another kind than ours.
    pub(crate) fn inherit(socket: Socket) -> io::Result<Self> {
        if !system::is_listener(&socket)? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it does not listen (in a systemd socket unit: ListenStream=, Accept=no)",
            ));
        }
        if socket.r#type()? != Type::STREAM {
            return Err(invalid("it is not a stream socket"));
        }
        let local_addr = LocalAddr::of(&socket.local_addr()?)
            .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        Ok(Self::new(socket, local_addr, Origin::Inherited, None))
    }

    /// Accepts a peer only when it has said something, where the peer speaks first: one that connects and
    /// is silent costs nothing then. A saving and no more, so it may fail.
    #[cfg(feature = "metrics")]
    pub(crate) fn wait_for_requests(&self) {
        if let LocalAddr::Tcp(_) = self.local_addr {
            system::wait_for_requests(&self.socket);
        }
    }

    fn new(
        socket: Socket,
        local_addr: LocalAddr,
        origin: Origin,
        file: Option<unix::OwnFile>,
    ) -> Self {
        Self {
            _file: file,
            socket,
            local_addr,
            origin,
            guard: Guard::new(),
        }
    }

    /// The address it is bound to.
    pub(crate) fn local_addr(&self) -> &LocalAddr {
        &self.local_addr
    }

    /// Takes one connection off the queue, non-blocking and close-on-exec.
    pub(crate) fn accept(&self) -> io::Result<(Socket, SockAddr)> {
        if let Origin::Inherited = self.origin {
            // Another process that has the socket may have made it block, and accept4(2) would hang if
            // nobody waits. There is no flag for one call. So this looks each time: a process would have
            // to change it between the two calls, and then we would wait for the next client.
            self.socket.set_nonblocking(true)?;
        }
        let accepted = system::accept(&self.socket)?;
        if let (Origin::Inherited, LocalAddr::Tcp(_)) = (&self.origin, &self.local_addr) {
            system::acknowledge_with_the_echo(&accepted.0);
        }
        Ok(accepted)
    }

    /// Asks for an edge whenever a connection arrives, and for one now if some are waiting.
    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).register(registry, token, Interest::READABLE)
    }

    /// Asks for the edge anew: if connections are waiting, it comes at the next poll.
    ///
    /// This is what `EPOLL_CTL_MOD` does (it polls the file and queues it if it is ready), and it
    /// makes every early end of a run of accepts safe.
    pub(crate) fn rearm(&self, registry: &Registry, token: Token) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).reregister(registry, token, Interest::READABLE)
    }

    /// Prepares for being dropped next. Where others have the socket, too, that alone would not end the
    /// edges. Where others inherit the queue, no handshake may be finished at the same moment.
    pub(crate) fn leave(&self, registry: &Registry) {
        match (&self.origin, &self.local_addr) {
            (Origin::Inherited, _) => {
                let _ = SourceFd(&self.socket.as_raw_fd()).deregister(registry);
            }
            (Origin::Bound, LocalAddr::Tcp(_)) => {
                system::leave_tcp_queue(&self.socket, &self.guard);
            }
            (Origin::Bound, LocalAddr::Unix(_)) => {}
        }
    }

    /// Looks whether the queue overflows. Returns when to look again, if at all, and what is worth a line
    /// in the log. A Unix socket has no handshake and so no ghosts, and the queue of others is theirs.
    pub(crate) fn watch_queue(&self, now: Moment) -> (Option<Moment>, Option<String>) {
        let (LocalAddr::Tcp(address), Origin::Bound) = (&self.local_addr, &self.origin) else {
            return (None, None);
        };
        let Watched { again_at, began } = self.guard.watch(&self.socket, now).unwrap_or_default();
        let why = began.map(|(waiting, most)| {
            format!(
                "clients were turned away from {address}, where {waiting} wait and {most} may: they try again"
            )
        });
        (again_at, why)
    }

    /// How many peers wait in the queue. Of a Unix socket nobody tells.
    #[cfg(feature = "metrics")]
    pub(crate) fn waiting(&self) -> u64 {
        match &self.local_addr {
            LocalAddr::Tcp(_) => system::waiting(&self.socket),
            LocalAddr::Unix(_) => 0,
        }
    }

    /// Lets no newcomer into the queue, and returns for how long a client whose handshake is under way
    /// may still join it. `None`: the queue may not be ours alone, and has to stay as it is.
    pub(crate) fn close_queue(&self) -> io::Result<Option<Duration>> {
        if let Origin::Inherited = self.origin {
            return Ok(None);
        }
        let wait = match &self.local_addr {
            LocalAddr::Tcp(address) => {
                system::close_tcp_queue(&self.socket, &self.guard, *address)?
            }
            LocalAddr::Unix(_) => system::close_unix_queue(&self.socket)?,
        };
        Ok(Some(wait))
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.local_addr.fmt(f)
    }
}

/// Non-blocking, or a connection that is reset between its edge and our accept4 would block us.
fn listen(socket: &Socket, backlog: u32) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.listen(KERNEL.backlog(backlog))
}
