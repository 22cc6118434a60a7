//! Blocking sockets: one client at a time, as the course has it, and a thread for each.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::{GREETING, LINGER, MESSAGE};

pub(super) fn one_at_a_time(listener: &TcpListener) -> io::Result<()> {
    for stream in listener.incoming() {
        // A client that resets is no reason to leave the others.
        let _ = stream.and_then(serve);
    }
    Ok(())
}

pub(super) fn a_thread_each(listener: &TcpListener) -> io::Result<()> {
    for stream in listener.incoming().flatten() {
        let _ = thread::Builder::new().spawn(move || serve(stream));
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(GREETING)?;
    let mut buffer = [0; MESSAGE];
    let n = stream.read(&mut buffer)?;
    if n == 0 {
        return Ok(());
    }
    stream.write_all(&buffer[..n])?;
    stream.shutdown(Shutdown::Write)?;
    discard(&mut stream, &mut buffer)
}

/// Until the client's FIN, for at most 2 s.
fn discard(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    let start = Instant::now();
    while let Some(left) = LINGER.checked_sub(start.elapsed()) {
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        if stream.read(buffer)? == 0 {
            break;
        }
    }
    Ok(())
}
