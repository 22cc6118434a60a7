//! Restarts that lose no client: sockets that a service manager passes in and keeps, and several
//! processes on one port.

use std::fs::File;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};
use std::time::Instant;

use socket2::SockRef;

use crate::util::{
    self, BINARY, PATIENCE, Server, TempPath, assert_echoes, assert_greeted, assert_rest, connect,
    connect_unix, have, output, own_host,
};

/// A server that gets `first` and `second` as descriptors 3 and 4. At first they are the shell's
/// standard input and error, because no others can be passed to it.
pub(crate) fn activated(
    first: impl Into<OwnedFd>,
    second: impl Into<OwnedFd>,
    log: &TempPath,
) -> Command {
    let mut command = Command::new("sh");
    let script = "exec env LISTEN_PID=$$ \"$@\" 3<&0 4<&2 </dev/null 2>>\"$0\"";
    command.args(["-c", script, log.as_str(), BINARY]);
    command.stdin(first.into()).stderr(second.into());
    command.env("LISTEN_FDS", "2").env("RUST_LOG", "info");
    command
}

fn nothing() -> File {
    File::open("/dev/null").unwrap()
}

/// One socket of each kind; `--listen` is not used.
#[test]
fn sockets_that_are_passed_in_are_used() {
    let (log, path) = (TempPath::new("log"), TempPath::new("passed.sock"));
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(&path.0).unwrap();
    let expected = [
        tcp.local_addr().unwrap().to_string(),
        format!("unix:{}", path.as_str()),
    ];
    let mut command = activated(tcp.try_clone().unwrap(), unix.try_clone().unwrap(), &log);
    let mut server = Server::spawn_with(2, command.args(["--listen", "192.0.2.1:1"]));
    assert_eq!(server.addresses, expected);
    server.assert_serves();
    assert_echoes(connect_unix(&path), b"by the other");

    server.signal("TERM");
    server.end_within(PATIENCE);
    assert!(path.0.exists(), "the file is the manager's");
    let log = std::fs::read_to_string(&log.0).unwrap();
    assert!(log.contains("sockets that were passed in: 2"), "{log}");
    assert!(log.contains("echoed 2"), "{log}");
    // Nobody serves now, but a client that comes can wait for the next server.
    assert!(TcpStream::connect(tcp.local_addr().unwrap()).is_ok());
}

/// A client that is connected when a server ends is served by it. A client that comes while there
/// is no server is served by the next.
#[test]
fn the_queue_outlives_the_server() {
    const CLIENTS: usize = 100;
    let log = TempPath::new("log");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let spare = TcpListener::bind("127.0.0.1:0").unwrap();
    let start = || {
        let (first, second) = (listener.try_clone().unwrap(), spare.try_clone().unwrap());
        Server::spawn_with(2, &mut activated(first, second, &log))
    };
    let mut first = start();
    let mut flying = first.connect();
    assert_greeted(&mut flying);
    first.signal("TERM");
    flying.write_all(b"in flight").unwrap();
    assert_rest(&mut flying, b"in flight");
    drop(flying);
    first.end_within(PATIENCE);
    let waiting: Vec<_> = (0..CLIENTS).map(|_| connect(address)).collect();
    let _second = start();
    for (client, seed) in waiting.into_iter().zip(0..) {
        assert_echoes(client, &util::payload(seed, 500));
    }
}

/// There may be no manager that keeps the socket, as after systemd-socket-activate, which has
/// become the server. So the clients in the queue are served before the end, as room becomes free.
#[test]
fn a_queue_that_nobody_else_has_is_served() {
    for most in ["1", "1000"] {
        let log = TempPath::new("log");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let spare = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut command = activated(listener, spare, &log);
        let mut server = Server::spawn_with(2, command.args(["--max-connections", most]));
        drop(command); // and with it our copies of the sockets
        server.signal("STOP");
        let clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
        server.signal("TERM");
        server.signal("CONT");
        for (client, seed) in clients.into_iter().zip(0..) {
            assert_echoes(client, &util::payload(seed, 300));
        }
        server.end_within(PATIENCE / 4);
    }
}

/// Whether accept4 waits is a property that all owners of the socket share, and each can change.
#[test]
fn a_socket_that_others_make_block_does_not_block_it() {
    let log = TempPath::new("log");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let spare = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = activated(listener.try_clone().unwrap(), spare, &log);
    let mut server = Server::spawn_with(2, &mut command);
    let mut before = server.connect();
    assert_greeted(&mut before);
    listener.set_nonblocking(false).unwrap();
    for _ in 0..3 {
        server.assert_serves(); // each accept is followed by one that finds nobody
    }
    before.write_all(b"not forgotten").unwrap();
    assert_rest(&mut before, b"not forgotten");
    drop(before);
    server.signal("TERM");
    server.end_within(PATIENCE / 4);
}

/// Any owner of a socket can shut it down, and then nobody can connect any more. The server ends,
/// so a supervisor notices.
#[test]
fn a_socket_that_others_shut_down_ends_the_server() {
    let path = TempPath::new("shut.sock");
    let unix = UnixListener::bind(&path.0).unwrap();
    let [tcp, spare] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let cases = [
        (OwnedFd::from(unix), format!("unix:{}", path.as_str())),
        (
            tcp.try_clone().unwrap().into(),
            tcp.local_addr().unwrap().to_string(),
        ),
    ];
    for (listener, address) in cases {
        let log = TempPath::new("log");
        let spare = spare.try_clone().unwrap();
        let mut command = activated(listener.try_clone().unwrap(), spare, &log);
        let mut server = Server::spawn_with(2, &mut command);
        SockRef::from(&listener).shutdown(Shutdown::Read).unwrap();
        let status = server.end_within(PATIENCE);
        let log = std::fs::read_to_string(&log.0).unwrap();
        assert_eq!(status.code(), Some(1), "{log}");
        let line = format!("hello-echo: cannot accept on {address}: ");
        assert!(log.lines().last().unwrap().starts_with(&line), "{log}");
    }
}

#[test]
fn a_port_is_shared_only_if_all_say_so() {
    let alone = Server::start(&[]);
    for options in [&["--reuse-port"][..], &[]] {
        let mut command = Command::new(BINARY);
        let second = output(
            command
                .args(["--listen", &alone.addresses[0]])
                .args(options),
        );
        assert_eq!(second.status.code(), Some(1));
        let said = String::from_utf8_lossy(&second.stderr);
        assert!(said.contains("Address already in use"), "{said}");
    }
}

#[test]
fn an_address_that_cannot_be_listened_on_is_named() {
    let connected = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        OwnedFd::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap())
    };
    let listener = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    let cases = [
        (
            listener(),
            OwnedFd::from(nothing()),
            "descriptor 4 of LISTEN_FDS is not a stream socket",
        ),
        (
            OwnedFd::from(UnixDatagram::unbound().unwrap()),
            listener(),
            "descriptor 3 of LISTEN_FDS is not a stream socket, TCP or Unix",
        ),
        (
            listener(),
            connected(),
            "cannot use descriptor 4 of LISTEN_FDS: it does not listen (in a systemd socket unit: \
             ListenStream=, Accept=no)",
        ),
    ];
    for (first, second, complaint) in cases {
        let log = TempPath::new("log");
        let status = activated(first, second, &log).status().unwrap();
        let said = std::fs::read_to_string(&log.0).unwrap();
        assert_eq!(status.code(), Some(1), "{said}");
        let last = said.lines().last().unwrap();
        assert!(
            last.starts_with("hello-echo: ") && last.contains(complaint),
            "{said}"
        );
    }
    for count in ["x", "-1", "99999999999999999999", "70000"] {
        let log = TempPath::new("log");
        let mut command = activated(listener(), listener(), &log);
        let status = command.env("LISTEN_FDS", count).status().unwrap();
        let said = std::fs::read_to_string(&log.0).unwrap();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("LISTEN_FDS={count}: ")), "{said}");
    }
}

/// Sockets for another process, such as the shell that started this one, are not taken.
#[test]
fn sockets_for_another_process_are_not_used() {
    let mut command = Command::new(BINARY);
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let server = Server::spawn(1, command.args(["--listen", "127.0.0.1:0"]));
    server.assert_serves();
}

/// By the tool that comes with systemd.
#[test]
fn systemd_socket_activate() {
    const TOOL: &str = "systemd-socket-activate";
    if !have(TOOL) {
        return;
    }
    // It accepts no port 0, and listens at once on the port that it is given.
    let address = SocketAddr::from((own_host(), 8000));
    let path = TempPath::new("activated.sock");
    let mut command = Command::new(TOOL);
    command.args([
        "--listen",
        &address.to_string(),
        "--listen",
        path.as_str(),
        BINARY,
    ]);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let mut waker = None;
    let server = {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let start = Instant::now();
        while waker.is_none() {
            assert!(start.elapsed() < PATIENCE && child.try_wait().unwrap().is_none());
            waker = TcpStream::connect(address).ok();
        }
        Server::adopt(2, child, TOOL)
    };
    assert_echoes(waker.unwrap(), b"who woke it up");
    assert_echoes(connect(address), b"the next");
    assert_echoes(connect_unix(&path), b"a Unix one");
    server.signal("TERM");
}
