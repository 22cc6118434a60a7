//! The shipped binary as a child.

use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::*;

/// The shipped binary, running. Ends with the test.
pub struct Server {
    child: Child,
    /// What it printed after `listening on `, in order.
    pub addresses: Vec<String>,
}

impl Server {
    /// On a free port of 127.0.0.1, with these options.
    pub fn start(options: &[&str]) -> Self {
        Self::start_listening(1, &[&["--listen", "127.0.0.1:0"], options].concat())
    }

    /// With these options only, which make it listen on `listeners` addresses.
    pub fn start_listening(listeners: usize, options: &[&str]) -> Self {
        Self::spawn(listeners, Command::new(BINARY).args(options))
    }

    /// By `command`, which ends by running the binary.
    pub fn spawn(listeners: usize, command: &mut Command) -> Self {
        if !command.get_envs().any(|(name, _)| name == "RUST_LOG") {
            command.env("RUST_LOG", "warn");
        }
        Self::spawn_with(listeners, command.stdin(Stdio::null()))
    }

    /// The same with the standard input and the environment that `command` has.
    pub fn spawn_with(listeners: usize, command: &mut Command) -> Self {
        let child = command
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self::adopt(listeners, child, &format!("{command:?}"))
    }

    /// A process that ends in running the binary; its stdout is a pipe.
    pub fn adopt(listeners: usize, child: Child, name: &str) -> Self {
        let mut server = Self {
            child,
            addresses: vec![],
        }; // from here on it ends with the test
        let stdout = BufReader::new(server.child.stdout.take().unwrap());
        let lines = in_time(&format!("{name} to listen"), move || {
            stdout
                .lines()
                .take(listeners)
                .collect::<io::Result<Vec<_>>>()
        });
        let address = |line: &String| line.strip_prefix("listening on ").unwrap().to_owned();
        server.addresses = lines.unwrap().iter().map(address).collect();
        assert_eq!(server.addresses.len(), listeners, "{name} did not start");
        server
    }

    /// The address of its first listener, which is TCP.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0].parse().unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process in which a command such as strace runs the server.
    pub fn child_process(&self) -> String {
        let children = format!("/proc/{0}/task/{0}/children", self.pid());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        children.trim().to_owned()
    }

    /// Connects with a time limit on every read and write.
    pub fn connect(&self) -> TcpStream {
        connect(self.address())
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }

    /// Waits until it has as many descriptors as before. Each check is an exchange, which also
    /// shows that it still serves. Returns how many exchanges that were.
    pub fn assert_descriptors_return_to(&self, base: usize) -> u64 {
        let start = Instant::now();
        let mut exchanges = 0;
        while self.descriptors() != base {
            assert!(
                start.elapsed() < PATIENCE,
                "{} descriptors, not {base}",
                self.descriptors()
            );
            self.assert_serves();
            exchanges += 1;
        }
        exchanges
    }

    /// One polite exchange.
    pub fn assert_serves(&self) {
        assert_echoes(self.connect(), b"still there?");
    }

    /// A line of its /proc/PID/status, without its name.
    pub fn status(&self, name: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.trim_start_matches(':').trim().to_owned()
    }

    /// Its anonymous memory, in bytes.
    pub fn own_memory(&self) -> usize {
        own_memory(self.pid())
    }

    /// Sends it a signal, by name.
    pub fn signal(&self, name: &str) {
        assert!(signal(&self.pid().to_string(), name), "kill -{name}");
    }

    /// Ends its standard input, which is a pipe.
    pub fn close_stdin(&mut self) {
        self.child.stdin.take();
    }

    /// Its stderr, which is a pipe.
    pub fn stderr(&mut self) -> std::process::ChildStderr {
        self.child.stderr.take().unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// How it ended by itself, within this time.
    pub fn end_within(&mut self, patience: Duration) -> ExitStatus {
        // If it does not, the end of `self` ends it, and what it runs in.
        status_within(patience, &mut self.child).unwrap_or_else(|| panic!("it does not end"))
    }

    /// How it ended by itself, and what it said on a piped stderr.
    pub fn end(mut self) -> (ExitStatus, String) {
        let status = self.end_within(PATIENCE);
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut said).unwrap();
        }
        (status, said)
    }
}

/// A server that logs its life into a pipe.
pub fn logging(options: &[&str]) -> Server {
    let mut command = Command::new(BINARY);
    command.args(["--listen", "127.0.0.1:0"]).args(options);
    command.env("RUST_LOG", "info").stderr(Stdio::piped());
    Server::spawn(1, &mut command)
}

/// It ends by itself, well, and with these counts in its last line.
pub fn assert_ends_with(server: Server, counts: &[(&str, u64)]) {
    assert_counts(&last_line(server), counts);
}

/// The counters of a server that ends by itself without an error: its last line.
pub fn last_line(server: Server) -> String {
    let (status, said) = server.end();
    assert_eq!(status.code(), Some(0), "{said}");
    said.lines().last().unwrap().to_owned()
}

impl Drop for Server {
    fn drop(&mut self) {
        // Once it is reaped, its number may belong to another process.
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // A server under strace or in a namespace is a child of the child: end that one, too.
        for child in self.child_process().split_whitespace() {
            let _ = Command::new("sh")
                .args(["-c", &format!("kill -KILL {child}")])
                .status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
