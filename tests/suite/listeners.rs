//! Where a server listens: a name's addresses, IPv6 that is not there, paths and abstract names.

use std::fs::{File, OpenOptions, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, IoSlice, Write};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::util::{
    BINARY, PATIENCE, Server, TempDirectory, TempPath, assert_echoes, assert_greeted, assert_rest,
    connect, have, have_strace, output, skip, with_fault,
};

/// A command that runs `script`, some lines of shell, in a network of its own, where `two.test` is ::1
/// and 127.0.0.1. `None` if no such network may be made here.
fn where_a_name_has_two_addresses(hosts: &TempPath, script: &str) -> Option<Command> {
    let tools = ["unshare", "ip", "mount", "ss"];
    if !tools.into_iter().all(have) {
        return None;
    }
    std::fs::write(&hosts.0, "::1 two.test\n127.0.0.1 two.test\n").unwrap();
    let make = format!(
        "mount --bind {} /etc/hosts\nip link set lo up",
        hosts.as_str()
    );
    let shell = |script: String| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "--mount", "sh", "-ec"]);
        command.arg(script);
        command
    };
    if !output(&mut shell(make.clone())).status.success() {
        skip("no network namespace may be made here");
        return None;
    }
    Some(shell(format!("{make}\n{script}")))
}

/// A second server does not use another address of the name, because clients would find one or the
/// other.
#[test]
fn a_name_whose_first_address_is_taken_is_in_use() {
    let hosts = TempPath::new("hosts");
    let script = "\"$0\" \"$@\" & first=$!\n\
                  trap 'kill $first' EXIT\n\
                  until ss -Hltn | grep -q ':8000 '; do kill -0 $first; done\n\
                  timeout 5 \"$0\" \"$@\"";
    let Some(mut command) = where_a_name_has_two_addresses(&hosts, script) else {
        return;
    };
    let second = output(command.args([BINARY, "-q", "-l", "two.test:8000"]));
    let said = String::from_utf8_lossy(&second.stderr);
    let line = "hello-echo: cannot listen on two.test:8000: Address already in use (os error 98)\n";
    assert_eq!(said, line);
    assert_eq!(second.status.code(), Some(1));
    let printed = String::from_utf8_lossy(&second.stdout);
    assert_eq!(printed, "listening on [::1]:8000\n", "by the first");
}

/// An address that this machine does not have is passed over.
#[test]
fn a_name_is_bound_at_the_first_address_that_is_there() {
    let hosts = TempPath::new("hosts");
    let without = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6";
    for (setup, expected) in [("true", "[::1]:8000"), (without, "127.0.0.1:8000")] {
        let script = format!("{setup}\nexec \"$0\" \"$@\"");
        let Some(mut command) = where_a_name_has_two_addresses(&hosts, &script) else {
            return;
        };
        let server = Server::spawn(1, command.args([BINARY, "-l", "two.test:8000"]));
        assert_eq!(server.addresses, [expected]);
    }
}

/// `[::]` means everybody. strace imitates a kernel that was booted with ipv6.disable=1.
#[test]
fn without_ipv6_everybody_is_0_0_0_0() {
    if !have_strace() {
        return;
    }
    let log = TempPath::new("log");
    let listen = |address: &str| {
        let mut command = with_fault("socket:error=EAFNOSUPPORT:when=1");
        command.args([BINARY, "-l", address]);
        command
    };
    for address in ["[::]:0", "[0::0]:0"] {
        let mut command = listen(address);
        let server = Server::spawn(1, command.stderr(std::fs::File::create(&log.0).unwrap()));
        assert!(server.addresses[0].starts_with("0.0.0.0:"), "{address}");
        assert_echoes(
            connect(([127, 0, 0, 1], server.address().port()).into()),
            b"four",
        );
        let said = std::fs::read_to_string(&log.0).unwrap();
        let line = format!(
            "{} instead of [::]:0, which needs IPv6: ",
            server.addresses[0]
        );
        assert!(said.contains(&line), "{said}");
    }
    let output = output(&mut listen("[::1]:0"));
    assert_eq!(output.status.code(), Some(1), "only [::] means everybody");
}

/// `unix:@name` is the abstract socket of that name, for both programs; there is no file.
#[test]
fn a_name_in_the_abstract_namespace() {
    let name = format!("hello-echo-{}-abstract", std::process::id());
    let address = format!("unix:@{name}");
    let directory = TempDirectory::new();
    let mut command = Command::new(BINARY);
    command.args(["-l", &address]).current_dir(&directory.0);
    let server = Server::spawn(1, &mut command);
    assert_eq!(server.addresses, [address.as_str()]);
    assert_eq!(directory.files(), [""; 0]);

    let theirs = SocketAddr::from_abstract_name(&name).unwrap();
    assert_echoes(UnixStream::connect_addr(&theirs).unwrap(), b"by name");
    #[cfg(feature = "load")]
    {
        let mut load = Command::new(env!("CARGO_BIN_EXE_hello-load"));
        let checked = output(load.args(["--check", &address]));
        assert!(checked.status.success(), "{checked:?}");
    }
    let second = output(Command::new(BINARY).args(["-l", &address]));
    let said = String::from_utf8_lossy(&second.stderr);
    let line = format!("cannot listen on {address}: Address already in use (os error 98)\n");
    assert!(said.ends_with(&line), "{said}");
}

/// A process that may only read the directory cannot keep the server from starting.
#[test]
fn no_lock_can_be_held_by_others() {
    let directory = TempDirectory::new();
    let path = directory.0.join("held.sock");
    let held = OpenOptions::new().read(true).open(&directory.0).unwrap();
    let _directory = Flock::lock(held, FlockArg::LockExclusiveNonblock).unwrap();
    // Earlier versions had a lock in the abstract namespace.
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    let name = format!("hello-echo-{:016x}", hasher.finish());
    let name = SocketAddr::from_abstract_name(name).unwrap();
    let _name = UnixDatagram::bind_addr(&name).unwrap();

    let server = start(&directory, "held.sock");
    assert_echoes(UnixStream::connect(&path).unwrap(), b"started");
    assert_eq!(directory.files(), ["held.sock"], "it leaves no lock");
    drop(server);
}

/// A process that was killed while it started leaves nothing that hinders others: a lock, a socket,
/// or a lock that this user may not open.
#[test]
fn the_lock_of_a_killed_server_does_not_count() {
    let directory = TempDirectory::new();
    let lock = directory.0.join(".left.sock.hello-echo-lock");
    std::fs::write(&lock, "").unwrap();
    drop(UnixListener::bind(directory.0.join("left.sock")).unwrap());
    let mut server = start(&directory, "left.sock");
    assert_eq!(directory.files(), ["left.sock"]);
    server.signal("TERM");
    server.end_within(PATIENCE);
    assert_eq!(directory.files(), [""; 0]);
}

/// Nor does a lock that another user has left, which cannot be opened. Root can open all; in a user
/// namespace it is a user like any other.
#[test]
fn the_lock_of_another_user_does_not_count_for_ever() {
    let directory = TempDirectory::new();
    let lock = directory.0.join(".left.sock.hello-echo-lock");
    std::fs::write(&lock, "").unwrap();
    std::fs::set_permissions(&lock, Permissions::from_mode(0o000)).unwrap();
    let mut probe = Command::new("unshare");
    if !have("unshare") || !output(probe.args(["--user", "true"])).status.success() {
        skip("no user namespace may be made here");
        return;
    }
    let listen = format!("unix:{}", directory.path("left.sock"));
    let mut command = Command::new("unshare");
    command.args(["--user", BINARY, "-l", &listen]);
    let _server = Server::spawn(1, &mut command);
    assert_eq!(directory.files(), ["left.sock"]);
}

/// If several servers start at once where a killed one has left its socket, exactly one starts.
#[test]
fn one_of_many_replaces_a_stale_socket() {
    const SERVERS: usize = 8;
    let directory = TempDirectory::new();
    for _ in 0..5 {
        let path = directory.0.join("stale.sock");
        let _ = std::fs::remove_file(&path);
        drop(UnixListener::bind(&path).unwrap());
        let start = |_| {
            let mut command = command(&directory, "stale.sock");
            command.stdout(Stdio::piped()).stderr(Stdio::null());
            command.spawn().unwrap()
        };
        let mut servers: Vec<_> = (0..SERVERS).map(start).collect();
        let start = Instant::now();
        while servers.len() > 1 {
            assert!(start.elapsed() < PATIENCE, "{} are left", servers.len());
            servers.retain_mut(|server| {
                let ended = server.try_wait().unwrap();
                assert_ne!(ended.and_then(|status| status.code()), Some(0));
                ended.is_none()
            });
        }
        let server = Server::adopt(1, servers.remove(0), "the one that is left");
        assert_echoes(UnixStream::connect(&path).unwrap(), b"one");
        assert_eq!(directory.files(), ["stale.sock"]);
        drop(server);
    }
}

/// A client cannot pass descriptors, which the server would have to close, because the kernel
/// refuses them. The client is served all the same.
#[test]
fn passed_descriptors_are_refused() {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse().unwrap_or(0));
    if [numbers.next(), numbers.next()] < [Some(6), Some(16)] {
        skip("the kernel is older than Linux 6.16");
        return;
    }
    let directory = TempDirectory::new();
    let path = format!("unix:{}", directory.path("rights.sock"));
    let name = format!("hello-echo-{}-rights", std::process::id());
    let server = Server::start_listening(2, &["-l", &path, "-l", &format!("unix:@{name}")]);
    let name = SocketAddr::from_abstract_name(&name).unwrap();
    let clients = [
        UnixStream::connect(directory.0.join("rights.sock")).unwrap(),
        UnixStream::connect_addr(&name).unwrap(),
    ];
    for client in clients {
        let fd = [client.as_raw_fd()];
        let bytes = [IoSlice::new(b"message")];
        let rights = [ControlMessage::ScmRights(&fd)];
        let sent = sendmsg::<()>(fd[0], &bytes, &rights, MsgFlags::empty(), None);
        assert_eq!(sent, Err(Errno::EPERM));
        assert_echoes(client, b"no descriptors");
    }
    drop(server);
}

/// From the signal on, a Unix socket refuses new clients at once, whether or not others wait in its
/// queue. A client in the queue is served.
#[test]
fn a_shutdown_refuses_newcomers_at_a_unix_socket() {
    for waiting in [0, 1, 3] {
        let (directory, log) = (TempDirectory::new(), TempPath::new("log"));
        let mut command = command(&directory, "shut.sock");
        command
            .args(["--max-connections", "1", "--backlog", "16"])
            .env("RUST_LOG", "info");
        let mut server = Server::spawn(1, command.stderr(File::create(&log.0).unwrap()));
        let path = directory.0.join("shut.sock");
        let mut flying = UnixStream::connect(&path).unwrap();
        assert_greeted(&mut flying);
        let queue: Vec<_> = (0..waiting)
            .map(|_| UnixStream::connect(&path).unwrap())
            .collect();
        server.signal("TERM");
        let start = Instant::now();
        while !std::fs::read_to_string(&log.0)
            .unwrap()
            .contains("shutting down")
        {
            assert!(start.elapsed() < PATIENCE, "it does not shut down");
        }
        for _ in 0..3 {
            let newcomer = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            newcomer.set_nonblocking(true).unwrap();
            let refused = newcomer.connect(&SockAddr::unix(&path).unwrap());
            let refused = refused.map_err(|e| e.kind());
            assert_eq!(refused, Err(ErrorKind::ConnectionRefused), "{waiting} wait");
        }
        flying.write_all(b"in flight").unwrap();
        assert_rest(&mut flying, b"in flight");
        drop(flying);
        queue
            .into_iter()
            .for_each(|client| assert_echoes(client, b"in the queue"));
        server.end_within(PATIENCE);
        assert_eq!(directory.files(), [""; 0]);
    }
}

/// The same in a storm: each client is refused or served, and none is reset.
#[test]
fn a_shutdown_in_a_storm_resets_nobody() {
    const ROUNDS: usize = 15;
    for _ in 0..ROUNDS {
        let directory = TempDirectory::new();
        let mut command = command(&directory, "storm.sock");
        let mut server = Server::spawn(1, command.args(["--max-connections", "8"]));
        let served = Arc::new(AtomicU32::new(0));
        let storm = [(); 16].map(|()| {
            let (path, served) = (directory.0.join("storm.sock"), served.clone());
            std::thread::spawn(move || {
                while let Ok(client) = UnixStream::connect(&path) {
                    client.set_read_timeout(Some(PATIENCE)).unwrap();
                    assert_echoes(client, b"in a storm");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let start = Instant::now();
        while served.load(Ordering::Relaxed) < 200 {
            assert!(start.elapsed() < PATIENCE, "{served:?} are served");
            std::thread::yield_now();
        }
        server.signal("TERM");
        storm.into_iter().for_each(|client| client.join().unwrap());
        server.end_within(PATIENCE);
    }
}

/// The server, at this path in the directory.
fn command(directory: &TempDirectory, name: &str) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["-l", &format!("unix:{}", directory.path(name))]);
    command
}

fn start(directory: &TempDirectory, name: &str) -> Server {
    Server::spawn(1, &mut command(directory, name))
}
