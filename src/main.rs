//! The program: parse, set up logging, bind, run, exit code.

mod logging;

use std::io::{self, Write};
use std::process::ExitCode;

use hello_echo::{Server, cli};

fn main() -> ExitCode {
    let options = cli::parse(std::env::args_os()).unwrap_or_else(|e| e.exit());
    logging::start(options.log_level);
    match serve(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // Not through the log: -q must not hide why the server is not there. A stderr that is
            // gone must not matter; eprintln would panic.
            let _ = writeln!(io::stderr(), "hello-echo: {e}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: &cli::Options) -> io::Result<()> {
    raise_descriptor_limit();
    let mut server = Server::bind(&options.config)?;
    for address in server.local_addrs() {
        // A stdout that is closed or full is somebody else's trouble: the server serves.
        let _ = writeln!(io::stdout(), "listening on {address}");
    }
    let _ = io::stdout().flush();
    server.run()
}

/// Lets the process have as many descriptors, and so clients, as its hard limit allows: the soft
/// one is 1024 in most shells, for the sake of programs that use select(2).
fn raise_descriptor_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => log::info!("at most {limit} descriptors, one for each client"),
        Err(e) => log::warn!("cannot raise the limit of descriptors: {e}"),
    }
}
