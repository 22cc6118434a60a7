//! A server as a child process, and its clients.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socket2::{Domain, SockRef, Socket, Type};

use crate::steps::Subject;

/// How long something may take that is certain to come.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait for something that does not come where the fault is. Where there is no fault, it is
/// waited for with [`PATIENCE`], so a slow machine makes no test fail.
const SILENCE: Duration = Duration::from_millis(500);

/// What the child serves, and how. It takes no argument, as hello-echo would take it for its own.
pub const SERVE: &str = "COURSE_SERVE";
/// Its descriptor limit, if it has one of its own.
pub const DESCRIPTORS: &str = "COURSE_DESCRIPTORS";

/// What a server is started with.
#[derive(Default)]
pub struct Options {
    pub greeting: Option<String>,
    pub timeout: Option<&'static str>,
    pub descriptors: Option<u64>,
}

/// A server that listens, and does not serve before [`go`](Self::go). It ends with this value.
pub struct Server {
    child: Child,
    subject: Subject,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
    /// Whether this trial shows the fault of this very program.
    is_faulty: bool,
}

impl Server {
    pub fn start(subject: Subject, is_faulty: bool, options: Options) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env("HELLO_ECHO_LISTEN", "127.0.0.1:0");
        command.env("RUST_LOG", "debug").env(
            SERVE,
            match subject {
                Subject::Step(step) => step.to_string(),
                Subject::Ours => "ours".to_owned(),
            },
        );
        if let Some(greeting) = options.greeting {
            command.env("HELLO_ECHO_GREETING", greeting);
        }
        if let Some(timeout) = options.timeout {
            command.env("HELLO_ECHO_TIMEOUT", timeout);
        }
        if let Some(descriptors) = options.descriptors {
            command.env(DESCRIPTORS, descriptors.to_string());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let server = Self {
            address: line["listening on ".len()..].trim().parse().unwrap(),
            child,
            subject,
            stdout,
            is_faulty,
        };
        if subject == Subject::Ours {
            server.stop();
        }
        server
    }

    /// The same, and it serves.
    pub fn serving(subject: Subject, is_faulty: bool) -> Self {
        let mut server = Self::start(subject, is_faulty, Options::default());
        server.go();
        server
    }

    /// From here on it serves.
    pub fn go(&mut self) {
        match self.subject {
            Subject::Ours => self.signal(Signal::SIGCONT),
            Subject::Step(_) => self.child.stdin.as_ref().unwrap().write_all(b"\n").unwrap(),
        }
    }

    pub fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.address).unwrap(), self.is_faulty)
    }

    /// A client with little room for what it receives. The small segments make the kernel give the
    /// server's socket little room, too.
    pub fn connect_with_little_room(&self) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(2048).unwrap();
        socket.set_tcp_mss(536).unwrap();
        socket.connect(&self.address.into()).unwrap();
        Client::new(socket.into(), self.is_faulty)
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Stops it, as Ctrl-Z does.
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        self.wait_for_state('T');
    }

    pub fn sleeps(&self) {
        self.wait_for_state('S');
    }

    /// How it ended, if it did; where the fault is that it ends, this waits for that.
    pub fn end(&mut self) -> Option<String> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut said = String::new();
                let stderr = self.child.stderr.as_mut().unwrap();
                stderr.read_to_string(&mut said).unwrap();
                return Some(if status.success() {
                    "by itself".into()
                } else {
                    said.trim().to_owned()
                });
            }
            if !self.is_faulty || start.elapsed() > PATIENCE {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for its end, which must be a success.
    pub fn ends_well(&mut self) -> bool {
        self.is_faulty = true; // so that the end is waited for
        self.end().as_deref() == Some("by itself")
    }

    /// Fills the pipe that its log goes to. Nobody reads there until [`read_log`](Self::read_log).
    pub fn fill_log(&self) {
        let path = format!("/proc/{}/fd/{}", self.child.id(), self.log());
        let mut anew = OpenOptions::new();
        let mut pipe = anew
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .unwrap();
        for size in [4096, 1] {
            while pipe.write(&vec![b'\n'; size]).is_ok() {}
        }
    }

    /// Reads some of its log, which makes room.
    pub fn read_log(&mut self) {
        let mut some = [0; 4096];
        match self.log() {
            1 => self.stdout.read_exact(&mut some),
            _ => self.child.stderr.as_mut().unwrap().read_exact(&mut some),
        }
        .unwrap();
    }

    /// The descriptor that its log goes to.
    fn log(&self) -> u32 {
        match self.subject {
            Subject::Step(_) => 1,
            Subject::Ours => 2,
        }
    }

    fn wait_for_state(&self, state: char) {
        let start = Instant::now();
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
            let (_, behind_name) = stat.rsplit_once(") ").unwrap();
            if behind_name.starts_with([state, 'Z']) {
                return;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{} does not get to {state}",
                self.subject
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client, which speaks only when it is told to.
pub struct Client {
    stream: TcpStream,
    is_faulty: bool,
}

/// What a client has received.
#[derive(Debug, PartialEq, Eq)]
pub struct Heard {
    pub bytes: Vec<u8>,
    pub then: Then,
}

/// What follows the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// As many bytes came as were expected.
    More,
    Nothing,
    End,
    Reset,
}

impl Client {
    fn new(stream: TcpStream, is_faulty: bool) -> Self {
        Self { stream, is_faulty }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes); // the server may be gone: what is received tells
    }

    pub fn half_close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    pub fn reset(self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// Waits until something can be received.
    pub fn wait(&self) {
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.stream.peek(&mut [0]).unwrap();
    }

    /// Whether something can be received now.
    pub fn has_some(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let has_some = self.stream.peek(&mut [0]).is_ok();
        self.stream.set_nonblocking(false).unwrap();
        has_some
    }

    /// What is received, up to so many bytes.
    pub fn hear(&mut self, most: usize) -> Heard {
        let patience = if self.is_faulty { SILENCE } else { PATIENCE };
        self.hear_within(patience, most)
    }

    /// The same for something that is certain to come, fault or not.
    pub fn hear_in_the_end(&mut self, most: usize) -> Heard {
        self.hear_within(PATIENCE, most)
    }

    pub fn hear_to_the_end(&mut self) -> Heard {
        self.hear_within(PATIENCE, usize::MAX)
    }

    fn hear_within(&mut self, patience: Duration, most: usize) -> Heard {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        let then = loop {
            let room = buffer.len().min(most - bytes.len());
            if room == 0 {
                break Then::More;
            }
            match self.stream.read(&mut buffer[..room]) {
                Ok(0) => break Then::End,
                Ok(n) => bytes.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break Then::Nothing,
                Err(_) => break Then::Reset,
            }
        };
        Heard { bytes, then }
    }
}

impl Heard {
    pub fn is(&self, bytes: &[u8], then: Then) -> bool {
        self.bytes == bytes && self.then == then
    }
}

impl std::fmt::Display for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = match self.bytes.len() {
            0 => String::new(),
            1..=40 => format!("{:?}", String::from_utf8_lossy(&self.bytes)),
            n => format!("{n} bytes"),
        };
        let then = match self.then {
            Then::More => "",
            Then::Nothing => "nothing",
            Then::End => "the end",
            Then::Reset => "a reset",
        };
        let between = if bytes.is_empty() || then.is_empty() {
            ""
        } else {
            ", then "
        };
        write!(f, "{bytes}{between}{then}")
    }
}
