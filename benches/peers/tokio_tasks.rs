//! tokio with one thread and a task for each client.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};

use super::{ANY_PORT, BACKLOG, GREETING, LINGER, MESSAGE, announce};

pub(super) fn lingering() -> io::Result<()> {
    run(true)
}

pub(super) fn closing_at_once() -> io::Result<()> {
    run(false)
}

fn run(lingers: bool) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(ANY_PORT))?;
        let listener = socket.listen(BACKLOG as u32)?;
        announce(listener.local_addr()?);
        accept(&listener, lingers).await
    })
}

async fn accept(listener: &TcpListener, lingers: bool) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, lingers));
            }
            // No descriptor is left: another moment may have one.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(mut stream: TcpStream, lingers: bool) -> io::Result<()> {
    stream.write_all(GREETING).await?;
    let mut buffer = [0; MESSAGE];
    let n = stream.read(&mut buffer).await?;
    if n == 0 {
        return Ok(());
    }
    stream.write_all(&buffer[..n]).await?;
    if !lingers {
        return Ok(());
    }
    stream.shutdown().await?;
    let discard = async {
        while stream.read(&mut buffer).await? > 0 {}
        Ok(())
    };
    timeout(LINGER, discard).await.unwrap_or(Ok(()))
}
