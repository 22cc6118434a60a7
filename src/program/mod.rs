//! The server's program: parse, set up logging, bind, run, exit code.

mod announcement;
pub mod cli;
pub mod escape;
mod logging;
pub(crate) mod stdio;
pub(crate) mod usage;
pub(crate) mod values;

use std::io;
use std::process::ExitCode;

use crate::Server;
use crate::server::limits::raise_descriptor_limit;
use announcement::Announcement;

/// Runs the program, with the arguments and the environment of this process.
pub fn main() -> ExitCode {
    let arguments = cli::parse(std::env::args_os()).unwrap_or_else(|e| e.exit());
    let fail = |code, why: &str| {
        logging::fail(arguments.log_format, why);
        ExitCode::from(code)
    };
    if let Err(e) = logging::start(arguments.log_level, arguments.log_format) {
        return fail(2, &e);
    }
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(1, &e.to_string()),
    }
}

fn serve(arguments: &cli::Arguments) -> io::Result<()> {
    if let Err(e) = raise_descriptor_limit() {
        log::warn!("cannot raise the descriptor limit: {e}");
    }
    let cli::Arguments { config, hello, .. } = arguments;
    let mut server: Server = match Server::inherit(config, hello.clone())? {
        Some(server) => server,
        None => Server::bind(config, hello.clone())?,
    };
    server.catch_signals()?;
    let addresses = server.local_addrs().into_iter();
    let mut announcement =
        Announcement::begin(addresses.map(|address| format!("listening on {address}")));
    // Clients can connect. A manager that cannot be told is no reason to leave them.
    if let Err(e) = server.notify_manager() {
        log::warn!("{e}");
    }
    announcement.finish(&mut server)?;
    server.run()
}
