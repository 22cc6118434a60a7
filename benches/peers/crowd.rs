//! Clients that are there and do nothing, in a process of their own.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::{ROLE, load};
use crate::util::{PATIENCE, Server, finish};

/// Connections that are greeted and silent, in a process of their own. Ends with the bench.
pub struct Crowd(Child);

/// The role of a crowd's client begins with this; the address and the number follow.
pub(super) const CROWD: &str = "crowd ";

impl Crowd {
    /// Returns when all are greeted.
    pub fn gather(server: &Server, connections: u64) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(
            ROLE,
            format!("{CROWD}{} {connections}", server.addresses[0]),
        );
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut crowd = Self(command.spawn().unwrap());
        let mut greeted = String::new();
        let mut stdout = BufReader::new(crowd.0.stdout.as_mut().unwrap());
        stdout.read_line(&mut greeted).unwrap();
        assert_eq!(greeted, "greeted\n");
        crowd
    }

    /// Each with an exchange; everything must be right.
    pub fn leave(mut self) {
        let left = self.0.wait().unwrap(); // which closes its stdin first
        assert!(left.success(), "{left}");
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Holds the connections until stdin ends.
pub(super) fn be_a_crowd(role: &str) {
    let (address, connections) = role.split_once(' ').unwrap();
    let connections = connections.parse().unwrap();
    let mut load = load(address, connections, 0, 64);
    while load.record().held < connections {
        let more = load.turn(PATIENCE).unwrap();
        assert!(more, "{:?}", load.record().described);
    }
    println!("greeted");
    io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
    finish(&mut load);
}
