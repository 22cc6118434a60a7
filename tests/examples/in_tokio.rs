//! A server that nests in another event loop: tokio's, which has its descriptor in an `AsyncFd`.
//!
//! `cargo run --example in-tokio [ADDRESS]` serves hello, and ends with its standard input, which another
//! task of the same thread reads.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use hello_echo::hello::Settings;
use hello_echo::{Config, Server};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe;
use tokio::time::timeout_at;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve())
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::default();
    let address = std::env::args().nth(1);
    config.listen = vec![address.as_deref().unwrap_or("127.0.0.1:0").parse()?];
    let mut server: Server = Server::bind(&config, Settings::default())?;
    for address in server.local_addrs() {
        writeln!(io::stdout(), "listening on {address}")?;
    }

    let handle = server.handle()?;
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let mut stdin = pipe::Receiver::from_owned_fd(stdin)?;
    let reads = async move {
        let _ = stdin.read_to_end(&mut Vec::new()).await;
        handle.shut_down();
    };
    let local = tokio::task::LocalSet::new();
    local.spawn_local(reads);
    local.run_until(turn(&mut server)).await?;
    let _ = writeln!(io::stderr(), "{}", server.stats());
    Ok(())
}

/// Turns the server whenever there is something to do, and leaves the thread to others in between.
async fn turn(server: &mut Server) -> io::Result<()> {
    let poll = server.as_fd().try_clone_to_owned()?;
    #[allow(
        deprecated,
        reason = "its successor is unsafe, for types whose descriptor may change; this one's does not"
    )]
    let poll = AsyncFd::with_interest(poll, Interest::READABLE)?;
    while !server.is_shut_down() {
        match server.alarm() {
            // An alarm that is over is no error: it is a reason to turn, too.
            Some(alarm) => {
                if let Ok(ready) = timeout_at(alarm.into(), poll.readable()).await {
                    ready?.clear_ready();
                }
            }
            None => poll.readable().await?.clear_ready(),
        }
        server.turn(Some(Duration::ZERO))?;
    }
    Ok(())
}
