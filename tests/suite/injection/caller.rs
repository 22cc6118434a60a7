//! A client that accepts everything except bytes that are not its own.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::util::PATIENCE;

pub(super) const LONE: &[u8] = b"alone";
pub(super) const NEXT: &[u8] = b"next";

/// A client that accepts everything except bytes that are not its own.
pub(super) struct Caller<'a> {
    /// `None` if the connection was refused, or is over.
    pub(super) stream: Option<TcpStream>,
    pub(super) message: &'a [u8],
    pub(super) heard: Vec<u8>,
    pub(super) since: Instant,
    pub(super) greeted: Option<Duration>,
    pub(super) ended_well: bool,
}

/// What a client has received.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    /// Greeting, echo and FIN.
    pub(super) whole: bool,
    pub(super) greeted: Option<Duration>,
}

impl<'a> Caller<'a> {
    pub(super) fn connect(address: SocketAddr, message: &'a [u8]) -> Self {
        let since = Instant::now();
        let stream = TcpStream::connect(address).ok();
        if let Some(stream) = &stream {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        Self {
            stream,
            message,
            heard: vec![],
            since,
            greeted: None,
            ended_well: false,
        }
    }

    pub(super) fn exchange(&mut self) -> Heard {
        self.await_greeting();
        self.say();
        self.hear_out()
    }

    pub(super) fn await_greeting(&mut self) {
        while self.heard.len() < GREETED.len() && self.hear().is_continue() {}
    }

    pub(super) fn say(&mut self) {
        if let Some(stream) = &mut self.stream {
            let _ = stream.write_all(self.message);
        }
    }

    pub(super) fn hear_out(&mut self) -> Heard {
        while self.hear().is_continue() {}
        let all = [GREETED, self.message].concat();
        assert!(
            all.starts_with(&self.heard),
            "{:?} are not its own bytes",
            String::from_utf8_lossy(&self.heard)
        );
        Heard {
            whole: self.ended_well && self.heard == all,
            greeted: self.greeted,
        }
    }

    /// Reads once. At the end it closes, too.
    pub(super) fn hear(&mut self) -> ControlFlow<()> {
        let mut buffer = [0; 4096];
        let Some(stream) = &mut self.stream else {
            return ControlFlow::Break(());
        };
        match stream.read(&mut buffer) {
            Ok(n @ 1..) => {
                self.heard.extend(&buffer[..n]);
                if self.heard.len() >= GREETED.len() {
                    self.greeted.get_or_insert(self.since.elapsed());
                }
                return ControlFlow::Continue(());
            }
            Ok(_) => self.ended_well = true,
            // A read with a time limit is not restarted after a stop of the test (signal(7)).
            Err(e) if e.kind() == ErrorKind::Interrupted => return ControlFlow::Continue(()),
            Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset, "{e}"),
        }
        self.stream = None;
        ControlFlow::Break(())
    }
}

const GREETED: &[u8] = b"hello\n";
