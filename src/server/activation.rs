//! Sockets that a service manager passes in (sd_listen_fds(3)). The manager keeps them open while
//! no server runs, so a restart loses no client.

use std::env;
use std::io;

use listenfd::ListenFd;
use socket2::Socket;

use crate::error::invalid;

/// The variables that say how many there are, from descriptor 3 on, and for which process.
const COUNT: &str = "LISTEN_FDS";
const PROCESS: &str = "LISTEN_PID";

/// The sockets that were passed to this process. It can take them only once, because the variables
/// are removed.
///
/// # Errors
/// One line: a variable is not a number, or a descriptor is not a stream socket, TCP or Unix.
pub(crate) fn sockets() -> io::Result<Vec<Socket>> {
    let [Some(count), Some(process)] = [COUNT, PROCESS].map(env::var_os) else {
        return Ok(Vec::new());
    };
    if count.is_empty() {
        return Ok(Vec::new());
    }
    if process.to_str() != Some(&std::process::id().to_string()) {
        return Ok(Vec::new());
    }
    // A number larger than a process can have descriptors would reserve as much memory.
    let count = count.to_string_lossy();
    let checked = count.parse::<u16>();
    checked.map_err(|e| invalid(format!("{COUNT}={count}: {e}")))?;
    let mut passed = ListenFd::from_env();
    (0..passed.len())
        .map(|i| {
            let tcp = passed.take_tcp_listener(i);
            let tcp = tcp.map(|listener| listener.map(Socket::from));
            let socket = tcp.or_else(|_| {
                let unix = passed.take_unix_listener(i);
                unix.map(|listener| listener.map(Socket::from))
            });
            let why = || invalid(format!("{} is not a stream socket, TCP or Unix", name(i)));
            socket.ok().flatten().ok_or_else(why)
        })
        .collect()
}

/// The name of the `i`th of them in an error.
pub(crate) fn name(i: usize) -> String {
    format!("descriptor {} of {COUNT}", 3 + i)
}
