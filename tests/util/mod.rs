//! What the tests and the benches share: the shipped binary as a child, peers that check what they
//! get, and tools that may be absent.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "every crate that has this as a module uses its own part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "that is how a test fails"
)]

mod again;
mod client;
mod counts;
mod need;
mod peer;
mod process;
mod server;
mod skipped;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

#[cfg(feature = "load")]
use hello_echo::load::{Load, Options, Payloads, Plan};

pub use again::*;
pub use client::*;
pub use counts::*;
pub use need::*;
pub use peer::*;
pub use process::*;
pub use server::*;

/// How long anything may take. Only a fault makes a test wait for all of it.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const BINARY: &str = env!("CARGO_BIN_EXE_hello-echo");

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
            grace: None,
        },
        threads: 1,
        payloads: Payloads::new(exchanges, 1000, 1000),
        max_read: 1000,
        greeting: b"hello\n".to_vec(),
        metrics: None,
        timeout: PATIENCE,
        compare: false,
    }
}

/// Runs it to its end; everything must be right.
#[cfg(feature = "load")]
pub fn finish(load: &mut Load) {
    while load.turn(PATIENCE).unwrap() {}
    let record = load.record();
    assert_eq!(
        record.outcomes.right, record.outcomes.opened,
        "{:?}",
        record.described
    );
}

/// A path that no other test has.
fn temp_path(name: &str) -> std::path::PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    std::env::temp_dir().join(format!("hello-echo-{process}-{count}-{name}"))
}

/// A path for a Unix socket or a file of this test alone, free and removed at the end.
pub struct TempPath(pub std::path::PathBuf);

impl TempPath {
    pub fn new(name: &str) -> Self {
        let path = temp_path(name);
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    /// The content of the file; empty if there is none.
    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap_or_default()
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

/// A directory of this test alone, empty and removed at the end with all that is in it.
pub struct TempDirectory(pub std::path::PathBuf);

impl TempDirectory {
    pub fn new() -> Self {
        let path = temp_path("directory");
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// The names of the files in it.
    pub fn files(&self) -> Vec<String> {
        let files = std::fs::read_dir(&self.0).unwrap();
        files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

impl Drop for TempDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
