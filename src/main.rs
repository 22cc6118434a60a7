//! The program: parse, set up logging, bind, run, exit code.

mod logging;
mod stdio;

use std::io::{self, Write};
use std::process::ExitCode;

use hello_echo::{Server, cli};
use stdio::Lines;

fn main() -> ExitCode {
    let options = cli::parse(std::env::args_os()).unwrap_or_else(|e| e.exit());
    let fail = |code, why: &str| {
        logging::fail(options.log_format, why);
        ExitCode::from(code)
    };
    if let Err(e) = logging::start(options.log_level, options.log_format) {
        return fail(2, &e);
    }
    match serve(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => fail(1, &e.to_string()),
    }
}

fn serve(options: &cli::Options) -> io::Result<()> {
    if let Err(e) = hello_echo::raise_descriptor_limit() {
        log::warn!("cannot raise the descriptor limit: {e}");
    }
    let config = &options.config;
    let inherited = Server::inherit(config)?;
    let mut server = inherited.map_or_else(|| Server::bind(config), Ok)?;
    server.catch_signals()?;
    let mut stdout = Lines::new(io::stdout());
    for address in server.local_addrs() {
        stdout.write_all(format!("listening on {address}\n").as_bytes())?;
    }
    // Clients can connect: a manager that cannot hear of it is no reason to leave them.
    if let Err(e) = server.notify_manager() {
        log::warn!("{e}");
    }
    server.run()
}
