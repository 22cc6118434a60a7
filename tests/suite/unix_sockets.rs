//! Whose a Unix socket's file is, when a server starts and when it ends.

use std::os::unix::net::UnixListener;
use std::time::Instant;

use hello_echo::hello::{Hello, Settings};
use hello_echo::{Address, Config};

use crate::cli::assert_cannot_run;
use crate::util::{
    BINARY, PATIENCE, Server, TempDirectory, TempPath, assert_echoes, connect_unix, have_strace,
    output, with_fault,
};

/// What a killed server leaves behind is replaced; what is alive, or is no socket, is not.
#[test]
fn only_a_stale_unix_socket_is_replaced() {
    let path = TempPath::new("stale.sock");
    let address = format!("unix:{}", path.as_str());
    let in_use = format!("cannot listen on {address}: Address already in use (os error 98)");
    drop(Server::start_listening(1, &["-l", &address]));
    assert!(path.0.exists(), "it was killed");

    let server = Server::start_listening(1, &["-l", &address]);
    assert_echoes(connect_unix(&path), b"replaced");
    assert_cannot_run(&["-l", &address], &in_use);
    assert_echoes(connect_unix(&path), b"alive");
    drop(server);

    std::fs::remove_file(&path.0).unwrap();
    std::fs::write(&path.0, "a file").unwrap();
    assert_cannot_run(&["-l", &address], &in_use);
    assert_eq!(std::fs::read_to_string(&path.0).unwrap(), "a file");
}

/// Nor is the socket of a server that is only just starting, which does not listen yet.
#[test]
fn a_starting_server_keeps_its_unix_socket() {
    if !have_strace() {
        return;
    }
    let path = TempPath::new("start.sock");
    let address = format!("unix:{}", path.as_str());
    let mut slow = with_fault("listen:delay_enter=300000");
    slow.args([BINARY, "-l", &address]);
    let starting = std::thread::spawn(move || Server::spawn(1, &mut slow));
    let start = Instant::now();
    while !path.0.exists() {
        assert!(start.elapsed() < PATIENCE, "it is not bound");
    }
    let in_use = format!("cannot listen on {address}: Address already in use (os error 98)");
    assert_cannot_run(&["-l", &address], &in_use);
    let _server = starting.join().unwrap();
    assert_echoes(connect_unix(&path), b"started");
}

/// The lock has a name that anybody may have taken who can make files there. It follows no link, waits for
/// no pipe, and removes nothing that it can open.
#[test]
fn what_has_the_name_of_the_lock_is_left_alone() {
    let folder = TempDirectory::new();
    let address = format!("unix:{}", folder.path("a.sock"));
    let lock = folder.path(".a.sock.hello-echo-lock");
    let elsewhere = folder.path("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, &lock).unwrap();
    let why =
        format!("cannot listen on {address}: Too many levels of symbolic links (os error 40)");
    assert_cannot_run(&["-l", &address], &why);
    assert_eq!(folder.files(), [".a.sock.hello-echo-lock"], "the link");

    std::fs::remove_file(&lock).unwrap();
    nix::unistd::mkfifo(&*lock, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let why = format!("cannot listen on {address}: No such device or address (os error 6)");
    assert_cannot_run(&["-l", &address], &why);
    assert_eq!(folder.files(), [".a.sock.hello-echo-lock"], "the pipe");
}

/// Some file systems have no locks.
#[test]
fn a_lock_that_cannot_be_had_is_an_error() {
    if !have_strace() {
        return;
    }
    let path = TempPath::new("lock.sock");
    let address = format!("unix:{}", path.as_str());
    let output = output(with_fault("flock:error=ENOLCK").args([BINARY, "-l", &address]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let line =
        format!("hello-echo: cannot listen on {address}: No locks available (os error 37)\n");
    assert!(said.ends_with(&line), "{said}");
}

/// A server that ends in order takes its socket with it, but not somebody else's at its path.
#[test]
fn a_unix_socket_goes_with_its_server() {
    let path = TempPath::new("mine.sock");
    let mut config = Config::default();
    config.listen = vec![Address::Unix(path.0.clone())];
    let server = hello_echo::Server::<Hello>::bind(&config, Settings::default()).unwrap();
    assert!(path.0.exists());
    drop(server);
    assert!(!path.0.exists());

    let server = hello_echo::Server::<Hello>::bind(&config, Settings::default()).unwrap();
    std::fs::remove_file(&path.0).unwrap();
    let _other = UnixListener::bind(&path.0).unwrap();
    drop(server);
    assert!(path.0.exists(), "it was the other's");
}
