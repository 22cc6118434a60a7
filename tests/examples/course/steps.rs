//! The programs of the course, one for each page but the last, and hello-echo itself beside them.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::time::Duration;

#[path = "../../../src/course/01-blocking.rs"]
mod step_01;
#[path = "../../../src/course/02-one-accept.rs"]
mod step_02;
#[path = "../../../src/course/03-hang-up.rs"]
mod step_03;
#[path = "../../../src/course/04-question-mark.rs"]
mod step_04;
#[path = "../../../src/course/05-write-all.rs"]
mod step_05;
#[path = "../../../src/course/06-unread.rs"]
mod step_06;
#[path = "../../../src/course/07-accept-error.rs"]
mod step_07;
#[path = "../../../src/course/08-lost-edge.rs"]
mod step_08;
#[path = "../../../src/course/09-silence.rs"]
mod step_09;
#[path = "../../../src/course/10-starvation.rs"]
mod step_10;
#[path = "../../../src/course/11-interrupted.rs"]
mod step_11;
#[path = "../../../src/course/12-log.rs"]
mod step_12;
#[path = "../../../src/course/13-terminated.rs"]
mod step_13;
#[path = "../../../src/course/14-backlog.rs"]
mod step_14;
#[path = "../../../src/course/15-buffers.rs"]
mod step_15;

const SERVE: &[fn(TcpListener, Settings) -> io::Result<()>] = &[
    step_01::serve,
    step_02::serve,
    step_03::serve,
    step_04::serve,
    step_05::serve,
    step_06::serve,
    step_07::serve,
    step_08::serve,
    step_09::serve,
    step_10::serve,
    step_11::serve,
    step_12::serve,
    step_13::serve,
    step_14::serve,
    step_15::serve,
];

/// How many programs there are.
pub const STEPS: usize = SERVE.len();

/// What can be set in a program of the course.
pub struct Settings {
    pub greeting: Vec<u8>,
    /// How long a client may stay. Used from program 10 on.
    pub timeout: Duration,
    /// Whether to log connections. Used from program 12 on.
    pub log: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            greeting: b"hello\n".to_vec(),
            timeout: Duration::from_secs(60),
            log: true,
        }
    }
}

/// A server that can be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The program of this page.
    Step(usize),
    /// hello-echo.
    Ours,
}

impl Subject {
    /// `1` to `15`, also as `01`, or `ours`.
    pub fn parse(name: &str) -> Option<Self> {
        match name.parse() {
            Ok(step @ 1..=STEPS) => Some(Self::Step(step)),
            _ => (name == "ours").then_some(Self::Ours),
        }
    }

    /// Serves until it ends by itself.
    pub fn serve(self, listener: TcpListener, settings: Settings) -> io::Result<()> {
        match self {
            Self::Step(step) => SERVE[step - 1](listener, settings),
            Self::Ours => Err(io::Error::other("cargo run starts it")),
        }
    }

    /// The server in this process, to be turned by hand.
    pub fn turning(self) -> io::Result<Box<dyn Turns>> {
        macro_rules! stepped {
            ($($number:literal $name:ident)*) => {
                match self {
                    $(Self::Step($number) => {
                        let listener = TcpListener::bind("127.0.0.1:0")?;
                        let address = listener.local_addr()?;
                        let server = $name::Server::new(listener, quiet())?;
                        Ok(Box::new(Stepped { server, address }))
                    })*
                    Self::Step(_) => Err(io::Error::other("it cannot be turned by hand")),
                    Self::Ours => Ok(Box::new(ours()?)),
                }
            };
        }
        stepped! { 10 step_10 11 step_11 12 step_12 13 step_13 14 step_14 15 step_15 }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(step) => write!(f, "program {step}"),
            Self::Ours => f.write_str("hello-echo"),
        }
    }
}

fn quiet() -> Settings {
    let log = false;
    Settings {
        log,
        ..Settings::default()
    }
}

/// A server that is turned by hand.
pub trait Turns {
    fn address(&self) -> std::net::SocketAddr;
    fn turn(&mut self) -> io::Result<()>;
    fn clients(&self) -> usize;
}

/// A turn that finds nothing to do ends after this.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(10));

struct Stepped<S> {
    server: S,
    address: std::net::SocketAddr,
}

macro_rules! turns {
    ($($name:ident)*) => {
        $(impl Turns for Stepped<$name::Server> {
            fn address(&self) -> std::net::SocketAddr {
                self.address
            }

            fn turn(&mut self) -> io::Result<()> {
                self.server.turn(&mut mio::Events::with_capacity(256), PATIENCE)
            }

            fn clients(&self) -> usize {
                self.server.clients()
            }
        })*
    };
}

turns! { step_10 step_11 step_12 step_13 step_14 step_15 }

fn ours() -> io::Result<hello_echo::Server> {
    let mut config = hello_echo::Config::default();
    config.listen = vec!["127.0.0.1:0".parse().map_err(io::Error::other)?];
    config.max_connections = Some(1000);
    hello_echo::Server::bind(&config, hello_echo::hello::Settings::default())
}

impl Turns for hello_echo::Server {
    fn address(&self) -> std::net::SocketAddr {
        match self.local_addrs()[..] {
            [hello_echo::LocalAddr::Tcp(address)] => address,
            ref other => panic!("{other:?}"),
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        hello_echo::Server::turn(self, PATIENCE)
    }

    fn clients(&self) -> usize {
        hello_echo::Server::clients(self)
    }
}
