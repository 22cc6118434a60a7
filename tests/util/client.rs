//! A real client at work.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use super::{PATIENCE, end_in_time};

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
