//! What a service manager learns of the server's life.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::util::{BINARY, PATIENCE, Peer, Server, TempPath, assert_greeted, last_line, output};

/// Receives what a server tells its manager, in order.
struct Manager {
    socket: UnixDatagram,
    path: TempPath,
}

impl Manager {
    fn listen() -> Self {
        let path = TempPath::new("notify.sock");
        let socket = UnixDatagram::bind(&path.0).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path }
    }

    fn hear(&self) -> String {
        let mut datagram = [0; 4096];
        let n = self.socket.recv(&mut datagram).unwrap();
        String::from_utf8_lossy(&datagram[..n]).into_owned()
    }

    fn hear_until(&self, end: &str) -> Vec<String> {
        let start = Instant::now();
        let mut heard = vec![];
        while heard
            .last()
            .is_none_or(|last: &String| !last.starts_with(end))
        {
            assert!(start.elapsed() < PATIENCE, "no {end} in {heard:?}");
            heard.push(self.hear());
        }
        heard
    }
}

#[test]
fn the_manager_is_told_when_it_is_ready_and_when_it_stops() {
    let manager = Manager::listen();
    let mut command = Command::new(BINARY);
    command
        .args(["--listen", "127.0.0.1:0"])
        .stderr(Stdio::piped());
    command.env("RUST_LOG", "info");
    command.env("NOTIFY_SOCKET", manager.path.as_str());
    let server = Server::spawn(1, &mut command);
    let greeting = manager.hear();
    assert!(
        greeting.starts_with("READY=1\nSTATUS=accepted 0 = open 0"),
        "{greeting}"
    );
    server.assert_serves();
    let status = manager.hear();
    assert!(status.starts_with("STATUS=accepted 1 = open "), "{status}");
    let mut flying = server.connect();
    assert_greeted(&mut flying);
    server.signal("TERM");
    manager.hear_until("STOPPING=1");
    flying.half_close();
    drop(flying);
    assert!(last_line(server).contains("accepted 2 = open 0"));
}

#[test]
fn the_watchdog_gets_signs_of_life() {
    let manager = Manager::listen();
    let mut command = Command::new(BINARY);
    command.args(["--listen", "127.0.0.1:0"]);
    command
        .env("NOTIFY_SOCKET", manager.path.as_str())
        .env("WATCHDOG_USEC", "20000");
    let server = Server::spawn(1, &mut command);
    assert!(manager.hear().starts_with("READY=1"));
    for _ in 0..20 {
        assert_eq!(manager.hear(), "WATCHDOG=1");
    }
    server.signal("STOP"); // as if it were wedged
    let quiet = Some(Duration::from_millis(100));
    manager.socket.set_read_timeout(quiet).unwrap();
    while manager.socket.recv(&mut [0; 100]).is_ok() {}
    server.signal("CONT");
    manager.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(manager.hear(), "WATCHDOG=1");
}

/// A manager that is not there, or that does not read, stops nothing.
#[test]
fn a_manager_that_does_not_read_stops_nothing() {
    let manager = Manager::listen();
    for address in [manager.path.as_str(), "/nowhere/notify.sock", "vsock:2:1"] {
        println!("{address}");
        let mut command = Command::new(BINARY);
        command.args(["--listen", "127.0.0.1:0"]);
        command
            .env("NOTIFY_SOCKET", address)
            .env("WATCHDOG_USEC", "200");
        let server = Server::spawn(1, command.stderr(Stdio::null()));
        (0..200).for_each(|_| server.assert_serves());
    }
    let told = output(
        Command::new(BINARY)
            .args(["--listen", "nowhere"])
            .env("NOTIFY_SOCKET", "/x"),
    );
    assert_eq!(told.status.code(), Some(2));
}
