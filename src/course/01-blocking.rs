//! The server of the lesson, in a loop: one client after the other.

use std::io::{self, Read, Write};
use std::net::TcpListener;

use super::Settings;

pub fn serve(listener: TcpListener, settings: Settings) -> io::Result<()> {
    loop {
        let (mut client, _) = listener.accept()?;
        client.write_all(&settings.greeting)?;
        let mut message = [0; 1000];
        let n = client.read(&mut message)?;
        client.write_all(&message[..n])?;
    } // the client is dropped, which closes it
}
