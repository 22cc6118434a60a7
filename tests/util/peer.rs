//! Peers of a server, over sockets of this process.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use socket2::SockRef;

use super::{PATIENCE, TempPath};

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A loopback address for servers that need a certain port more than once. Connections to any
/// loopback address come from 127.0.0.1, so those of other tests take no port of this one. Tests in
/// another process at the same time have another address.
pub fn own_host() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 128 | high & 63, middle, low) // a process id has 22 bits
}

pub fn connect_unix(path: &TempPath) -> UnixStream {
    let stream = UnixStream::connect(&path.0).unwrap_or_else(|e| panic!("{}: {e}", path.as_str()));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Ends it with a reset in place of a FIN, which every kernel sends for a linger time of 0.
pub fn reset(stream: TcpStream) {
    let linger = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    linger.unwrap();
}

/// A stream that can half-close, TCP or Unix.
pub trait Peer: Read + Write {
    fn half_close(&self);
}

impl Peer for TcpStream {
    fn half_close(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Peer for UnixStream {
    fn half_close(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl<P: Peer> Peer for &mut P {
    fn half_close(&self) {
        (**self).half_close();
    }
}

/// The default greeting comes, and nothing else yet.
pub fn assert_greeted(stream: &mut impl Read) {
    let mut greeting = [0; 6];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"hello\n");
}

/// Exactly these bytes are still to come, and then the end, not a reset.
pub fn assert_rest(stream: &mut impl Read, expected: &[u8]) {
    let mut rest = Vec::new();
    let end = stream.read_to_end(&mut rest);
    let both = || format!("{} bytes instead of {}", rest.len(), expected.len());
    assert!(end.is_ok(), "{end:?} after {}", both());
    assert!(
        rest == expected,
        "{}, {:?}",
        both(),
        String::from_utf8_lossy(&rest)
    );
}

/// One polite exchange: greeting, message, echo, end.
pub fn assert_echoes(mut stream: impl Peer, message: &[u8]) {
    assert_greeted(&mut stream);
    stream.write_all(message).unwrap();
    assert_rest(&mut stream, message);
}

/// Bytes that no other seed and no other length has. They contain all values.
pub fn payload(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ length as u64;
    let mut byte = || {
        // xorshift64*, whose high bits are good.
        state = state.max(1);
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    (0..length).map(|_| byte()).collect()
}
