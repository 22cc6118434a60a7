//! Four of the small services that every Unix host once had, in one process, one thread and one poll:
//! daytime (RFC 867), echo (RFC 862), chargen (RFC 864) and finger (RFC 1288).
//!
//! `cargo run --example small-services [DAYTIME ECHO CHARGEN FINGER]`, where each is an address, by default a
//! free port of 127.0.0.1. It serves until its standard input ends.

#[path = "../protocols/mod.rs"]
mod protocols;

use std::io::{self, Read, Write};
use std::time::SystemTime;

use hello_echo::{Config, Server};
use protocols::chargen::Chargen;
use protocols::daytime::Daytime;
use protocols::echo::Echo;
use protocols::finger::Finger;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut addresses = std::env::args().skip(1);
    let mut config = || -> Result<Config, Box<dyn std::error::Error>> {
        let address = addresses.next();
        let mut config = Config::default();
        config.listen = vec![address.as_deref().unwrap_or("127.0.0.1:0").parse()?];
        config.max_connections = Some(1000);
        Ok(config)
    };

    let mut server = Server::<Daytime>::bind(&config()?, now)?;
    let echo = server.add::<Echo>(&config()?, ())?;
    let chargen = server.add::<Chargen>(&config()?, ())?;
    let finger = server.add::<Finger>(&config()?, whois)?;
    for address in [server.local_addrs(), echo, chargen, finger].concat() {
        writeln!(io::stdout(), "listening on {address}")?;
    }

    let handle = server.handle()?;
    std::thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        handle.shut_down();
    });
    server.run()?;
    let _ = writeln!(io::stderr(), "daytime: {}", server.stats());
    Ok(())
}

/// The time as RFC 3339 has it. RFC 867 leaves that open.
#[allow(
    clippy::disallowed_methods,
    reason = "the wall clock's time is asked for"
)]
fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// What is known about a name: nothing. RFC 1288 lets an operator refuse any question.
fn whois(name: &str) -> String {
    match name {
        "" => "nobody is logged in".to_owned(),
        name => format!("{}: no such user", name.escape_debug()),
    }
}
