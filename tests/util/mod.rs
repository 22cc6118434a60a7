//! What the tests share: the shipped binary as a child, peers that check what they get, and tools
//! that may be absent.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test crate uses its own part of this"
)]
#![allow(clippy::panic, reason = "that is how a test fails")]

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

#[cfg(feature = "load")]
use hello_echo::load::{Load, Options, Payloads, Plan};
use socket2::SockRef;

/// How long anything may take. Never waited for in full unless something is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

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

    /// By `command`, which ends in running the binary.
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

    /// The process that a command such as strace runs the server in.
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

    /// Waits until it has as many descriptors as before. Each look is an exchange, which also
    /// shows that it still serves. Returns how many that were.
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

    /// Its anonymous memory, RssAnon in other words, in bytes. This file has it page by page; the
    /// kernel's counter of it may lag behind, and ours is small.
    pub fn own_memory(&self) -> usize {
        let path = format!("/proc/{}/smaps_rollup", self.pid());
        let rollup = std::fs::read_to_string(path).unwrap();
        let mut lines = rollup.lines();
        let size = lines.find_map(|line| line.strip_prefix("Anonymous:"));
        let size = size.and_then(|size| size.trim().strip_suffix(" kB"));
        1024 * size.unwrap().parse::<usize>().unwrap()
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

/// The books of a server that ends by itself, and well: its last line.
pub fn last_line(server: Server) -> String {
    let (status, said) = server.end();
    assert_eq!(status.code(), Some(0), "{said}");
    said.lines().last().unwrap().to_owned()
}

/// Sends a process a signal, by name. Whether there was such a process.
pub fn signal(pid: &str, name: &str) -> bool {
    let kill = format!("kill -{name} {pid}");
    let killed = Command::new("sh").args(["-c", &kill]).status();
    killed.unwrap().success()
}

/// The line's equation holds, and has these terms; what is not named is 0.
pub fn assert_counts(line: &str, counts: &[(&str, u64)]) {
    assert_eq!(terms(line), counts, "{line}");
}

/// The terms of the line's equation that are not 0. It holds.
pub fn terms(line: &str) -> Vec<(&str, u64)> {
    let terms = counts(line).into_iter().skip(1);
    terms.filter(|(_, n)| *n != 0).collect()
}

/// What the line says of the clients: `accepted`, and then the terms that it is the sum of.
pub fn counts(line: &str) -> Vec<(&str, u64)> {
    let (_, equation) = line.split_once("] accepted ").unwrap();
    let (equation, _) = equation.split_once(';').unwrap();
    let (accepted, terms) = equation.split_once(" = ").unwrap();
    let terms = terms
        .split(" + ")
        .map(|term| term.rsplit_once(' ').unwrap());
    let accepted = ("accepted", accepted.parse().unwrap());
    let mut counts = vec![accepted];
    counts.extend(terms.map(|(name, n)| (name, n.parse::<u64>().unwrap())));
    let sum: u64 = counts[1..].iter().map(|(_, n)| n).sum();
    assert_eq!(accepted.1, sum, "{line}");
    counts
}

/// What a command of few words said, which ends by itself.
pub fn output(command: &mut Command) -> Output {
    output_within(PATIENCE, command)
}

fn output_within(patience: Duration, command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    end_within(patience, &mut child);
    child.wait_with_output().unwrap()
}

/// How the child ended. If it does not end by itself, that is a failure, and it is killed.
fn end_in_time(child: &mut Child) -> ExitStatus {
    end_within(PATIENCE, child)
}

fn end_within(patience: Duration, child: &mut Child) -> ExitStatus {
    status_within(patience, child).unwrap_or_else(|| {
        kill_group(child.id());
        child.kill().unwrap();
        panic!("it does not end");
    })
}

/// How the child ended, if it did.
pub fn status_within(patience: Duration, child: &mut Child) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < patience {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

/// Ends whatever a command with a process group of its own has started; does nothing to another.
fn kill_group(leader: u32) {
    let kill = format!("kill -KILL -{leader}");
    let _ = Command::new("sh")
        .args(["-c", &kill])
        .stderr(Stdio::null())
        .status();
}

impl Drop for Server {
    fn drop(&mut self) {
        // Once it is reaped, its number may be somebody else's.
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // A server under strace or in a namespace is a child of the child: end that one too.
        for child in self.child_process().split_whitespace() {
            let _ = Command::new("sh")
                .args(["-c", &format!("kill -KILL {child}")])
                .status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub const BINARY: &str = env!("CARGO_BIN_EXE_hello-echo");

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub fn connect_unix(path: &TempPath) -> UnixStream {
    let stream = UnixStream::connect(&path.0).unwrap_or_else(|e| panic!("{}: {e}", path.as_str()));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Ends it with a reset instead of a FIN, which every kernel sends for a linger time of 0.
pub fn reset(stream: TcpStream) {
    let linger = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    linger.unwrap();
}

/// A stream that knows half-closing, TCP or Unix.
pub trait Peer: Read + Write {
    fn half_close(&self);
}

impl Peer for TcpStream {
    fn half_close(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Peer for UnixStream {
    fn half_close(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl<P: Peer> Peer for &mut P {
    fn half_close(&self) {
        (**self).half_close();
    }
}

/// The default greeting comes, and nothing else yet.
pub fn assert_greeted(stream: &mut impl Read) {
    let mut greeting = [0; 6];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"hello\n");
}

/// What is left to come is exactly this, and then the end; not a reset.
pub fn assert_rest(stream: &mut impl Read, expected: &[u8]) {
    let mut rest = Vec::new();
    let end = stream.read_to_end(&mut rest);
    let both = || format!("{} bytes instead of {}", rest.len(), expected.len());
    assert!(end.is_ok(), "{end:?} after {}", both());
    assert!(
        rest == expected,
        "{}, {:?}",
        both(),
        String::from_utf8_lossy(&rest)
    );
}

/// One polite exchange: greeting, message, echo, end.
pub fn assert_echoes(mut stream: impl Peer, message: &[u8]) {
    assert_greeted(&mut stream);
    stream.write_all(message).unwrap();
    assert_rest(&mut stream, message);
}

/// Bytes that no other seed and no other length has, all values among them.
pub fn payload(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ length as u64;
    let mut byte = || {
        // xorshift64*, whose high bits are the good ones.
        state = state.max(1);
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    (0..length).map(|_| byte()).collect()
}

/// The result of `work`, which must come within [`PATIENCE`].
pub fn in_time<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver
        .recv_timeout(PATIENCE)
        .unwrap_or_else(|e| panic!("waited in vain for {what}: {e}"))
}

/// Whether the tool is there. If it is not, says so on the real stderr, where the test harness
/// captures nothing; in CI that is a failure.
pub fn have(tool: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).any(|path| path.join(tool).is_file());
    found || skip(&format!("{tool} is not installed"))
}

/// Whether strace is there and may trace, which containers often forbid.
pub fn have_strace() -> bool {
    have("strace")
        && (output(Command::new("strace").args(["-o", "/dev/null", "true"]))
            .status
            .success()
            || skip("strace may not trace here"))
}

/// Whether this process may have so many descriptors, once it has asked for it.
pub fn have_descriptors(count: u64) -> bool {
    rlimit::increase_nofile_limit(count).is_ok_and(|limit| limit >= count)
        || skip(&format!("fewer than {count} descriptors may be open"))
}

/// Says what is skipped and why. Always false, except in CI, where it panics.
pub fn skip(why: &str) -> bool {
    assert!(
        std::env::var_os("CI").is_none(),
        "in CI nothing is skipped, but {why}"
    );
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(io::stderr(), "SKIPPED {test}: {why}");
    false
}

/// Runs a test of this crate, which is ignored otherwise, in a network namespace of its own: nothing
/// but a loopback device, as `setup`, some lines of shell, leaves it. Returns what it printed, `None`
/// if no namespace may be made here.
pub fn in_a_network(patience: Duration, setup: &str, test: &str) -> Option<String> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--net", "sh", "-ec"]);
    if !have("unshare") || !have("ip") {
        return None;
    }
    let mut probe = Command::new("unshare");
    if !output(probe.args(unshare.get_args()).arg("true"))
        .status
        .success()
    {
        skip("no network namespace may be made here");
        return None;
    }
    let script = format!("ip link set lo up\n{setup}\nexec \"$0\" \"$@\"");
    unshare.arg(script).arg(std::env::current_exe().unwrap());
    unshare.args(["--exact", test, "--ignored", "--nocapture"]);
    let output = output_within(patience, unshare.process_group(0));
    let [said, complaints] = [&output.stdout, &output.stderr].map(|s| String::from_utf8_lossy(s));
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{complaints}"
    );
    Some(said.into_owned())
}

/// What this network namespace has counted, in one of the files of /proc/net.
pub fn tcp_counter(file: &str, group: &str, name: &str) -> u64 {
    let table = std::fs::read_to_string(format!("/proc/net/{file}")).unwrap();
    let mut lines = table.lines().filter(|line| line.starts_with(group));
    let [names, values] = [(); 2].map(|()| lines.next().unwrap().split(' '));
    let (_, value) = names.zip(values).find(|(n, _)| *n == name).unwrap();
    value.parse().unwrap()
}

/// A closed loop of exchanges of 1000 bytes, to begin with.
#[cfg(feature = "load")]
pub fn load_options(address: &str, exchanges: u64, at_once: u64) -> Options {
    Options {
        targets: vec![address.parse().unwrap()],
        sources: vec![],
        plan: Plan {
            hold: 0,
            ramp: None,
            exchanges: Some(exchanges),
            duration: None,
            concurrency: at_once,
            rate: None,
        },
        payloads: Payloads::new(exchanges, 1000, 1000),
        greeting: b"hello\n".to_vec(),
        timeout: PATIENCE,
    }
}

/// Runs it to its end; everything must be right.
#[cfg(feature = "load")]
pub fn finish(load: &mut Load) {
    while load.turn(PATIENCE).unwrap() {}
    let record = load.record();
    assert_eq!(record.right, record.opened, "{:?}", record.described);
}

/// A real client at work.
pub struct Client {
    child: Child,
    stdin: Option<std::process::ChildStdin>,
    received: mpsc::Receiver<Vec<u8>>,
    output: Vec<u8>,
}

impl Client {
    pub fn start(program: &str, arguments: &[impl AsRef<OsStr>]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{program}: {e}"));
        let (sender, received) = mpsc::channel();
        let mut stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = stdout.read(&mut chunk) {
                let _ = sender.send(chunk[..n].to_vec());
            }
        });
        let stdin = child.stdin.take();
        Self {
            child,
            stdin,
            received,
            output: vec![],
        }
    }

    /// Types this.
    pub fn send(&mut self, text: &[u8]) -> &mut Self {
        self.stdin.as_mut().unwrap().write_all(text).unwrap();
        self
    }

    /// Waits until its output holds this.
    pub fn expect(&mut self, text: &str) -> &mut Self {
        while !String::from_utf8_lossy(&self.output).contains(text) {
            let more = self.received.recv_timeout(PATIENCE);
            let seen = String::from_utf8_lossy(&self.output);
            self.output
                .extend(more.unwrap_or_else(|e| panic!("{e}, no {text:?} in {seen:?}")));
        }
        self
    }

    /// Ends its input.
    pub fn end_input(&mut self) -> &mut Self {
        self.stdin = None;
        self
    }

    /// All that it printed until it closed its output by itself, and its exit status.
    pub fn finish(&mut self) -> (String, ExitStatus) {
        loop {
            match self.received.recv_timeout(PATIENCE) {
                Ok(more) => self.output.extend(more),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(e) => panic!("{e}, after {:?}", String::from_utf8_lossy(&self.output)),
            }
        }
        // Its output has ended; ncat stays until its input has, too.
        self.stdin = None;
        let status = end_in_time(&mut self.child);
        (String::from_utf8_lossy(&self.output).into_owned(), status)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A path for a Unix socket or a file of this test alone, free and removed in the end.
pub struct TempPath(pub std::path::PathBuf);

impl TempPath {
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("hello-echo-{process}-{count}-{name}"));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
