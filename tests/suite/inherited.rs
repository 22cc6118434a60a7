//! Sockets that were passed in. They are left as they were found, and other processes may do
//! anything with them.

use std::fmt::Debug;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::Command;

use crate::util::{
    BINARY, PATIENCE, Server, TempPath, assert_echoes, assert_greeted, assert_rest, connect,
    connect_unix, in_a_network, tcp_counter,
};
use nix::sys::socket::{GetSockOpt, getsockopt, sockopt};

/// A server that gets `listener` as descriptor 3.
fn activated(listener: impl Into<OwnedFd>) -> Server {
    let mut command = Command::new("sh");
    let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" 3<&0 </dev/null";
    command.args(["-c", script, BINARY]).env("RUST_LOG", "warn");
    Server::spawn_with(1, command.stdin(listener.into()))
}

/// The options that a program would notice, in words.
fn options(socket: &impl AsFd) -> Vec<String> {
    fn option<O: GetSockOpt + Debug>(socket: &impl AsFd, option: O) -> String
    where
        O::Val: Debug,
    {
        format!("{option:?}: {:?}", getsockopt(socket, option))
    }
    vec![
        option(socket, sockopt::ReceiveTimeout),
        option(socket, sockopt::SendTimeout),
        option(socket, sockopt::Linger),
        option(socket, sockopt::KeepAlive),
        option(socket, sockopt::RcvBuf),
        option(socket, sockopt::SndBuf),
        option(socket, sockopt::PassCred),
        option(socket, sockopt::Priority),
        option(socket, sockopt::ReusePort),
        option(socket, sockopt::ReuseAddr),
        option(socket, sockopt::TcpNoDelay),
        option(socket, QuickAck),
        option(socket, PassRights),
    ]
}

#[derive(Clone, Copy, Debug)]
struct QuickAck;
nix::getsockopt_impl!(
    QuickAck,
    libc::IPPROTO_TCP,
    libc::TCP_QUICKACK,
    bool,
    sockopt::GetBool
);

/// SO_PASSRIGHTS, which a kernel before Linux 6.16 does not know.
#[derive(Clone, Copy, Debug)]
struct PassRights;
const SO_PASSRIGHTS: libc::c_int = 83;
nix::getsockopt_impl!(
    PassRights,
    libc::SOL_SOCKET,
    SO_PASSRIGHTS,
    bool,
    sockopt::GetBool
);

/// However the server ends, the next program finds the socket as it was, and so are the connections
/// that it accepts. Only O_NONBLOCK stays, because others may rely on it by then.
#[test]
fn a_passed_in_socket_is_left_as_it_was() {
    let path = TempPath::new("left.sock");
    for signal in ["TERM", "KILL"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = || {
            let client = connect(address);
            (listener.accept().unwrap().0, client)
        };
        let before = (options(&listener), options(&accepted().0));
        let mut server = activated(listener.try_clone().unwrap());
        server.assert_serves();
        assert_eq!(options(&listener), before.0, "while it runs");
        server.signal(signal);
        server.end_within(PATIENCE);
        assert_eq!((options(&listener), options(&accepted().0)), before);

        let _ = std::fs::remove_file(&path.0);
        let listener = UnixListener::bind(&path.0).unwrap();
        let before = options(&listener);
        let mut server = activated(listener.try_clone().unwrap());
        assert_echoes(connect_unix(&path), b"Unix");
        server.signal(signal);
        server.end_within(PATIENCE);
        assert_eq!(options(&listener), before);
    }
}

/// Another process that has the socket makes it block, again and again, and takes clients away. The
/// server never waits, and serves its own clients.
#[test]
fn a_socket_that_others_use_does_not_block_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = activated(listener.try_clone().unwrap());
    let mut flying = server.connect();
    assert_greeted(&mut flying);
    for _ in 0..50 {
        listener.set_nonblocking(false).unwrap();
        server.assert_serves(); // its accept is followed by one that finds nobody
    }
    flying.write_all(b"not forgotten").unwrap();
    assert_rest(&mut flying, b"not forgotten");
    drop(flying);
    listener.set_nonblocking(false).unwrap();
    server.signal("TERM"); // it looks into the queue once more
    server.end_within(PATIENCE / 4);
}

/// The saving works here, too: the echo acknowledges the message.
#[test]
fn a_client_of_a_passed_in_socket_is_acknowledged_by_its_echo() {
    if let Some(said) = in_a_network(PATIENCE, "", segments_are_counted) {
        println!("{said}");
    }
}

#[test]
#[ignore = "a_client_of_a_passed_in_socket_is_acknowledged_by_its_echo makes a network for it"]
fn segments_are_counted() {
    const EXCHANGES: u64 = 100;
    let server = activated(TcpListener::bind("127.0.0.1:0").unwrap());
    let before = tcp_counter("snmp", "Tcp:", "OutSegs");
    for _ in 0..EXCHANGES {
        assert_echoes(server.connect(), &[b'x'; 1000]);
    }
    let segments = tcp_counter("snmp", "Tcp:", "OutSegs") - before;
    println!("{EXCHANGES} exchanges, {segments} segments");
    assert!(segments <= 10 * EXCHANGES, "{segments} segments");
}
