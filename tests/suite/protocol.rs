//! The protocol, as it is promised to every client: the shipped binary over loopback.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::util::{
    BINARY, PATIENCE, Peer, Server, TempPath, alone, assert_echoes, assert_greeted, assert_rest,
    have, have_descriptors, output, payload,
};

/// What one client sends and does, and the echo that it receives between the greeting and a clean
/// end.
struct Case {
    what: &'static str,
    client: fn(&mut TcpStream),
    echo: &'static [u8],
}

const CASES: &[Case] = &[
    Case {
        what: "a message",
        client: |s| {
            assert_greeted(s);
            s.write_all(b"hi back atcha\n").unwrap();
        },
        echo: b"hi back atcha\n",
    },
    Case {
        what: "no newline, no FIN: the server waits for neither",
        client: |s| {
            assert_greeted(s);
            s.write_all(b"h").unwrap();
        },
        echo: b"h",
    },
    Case {
        what: "a message before the greeting is read",
        client: |s| {
            s.write_all(b"early").unwrap();
            assert_greeted(s);
        },
        echo: b"early",
    },
    Case {
        what: "NULs, 0xFF, half a UTF-8 sequence",
        client: |s| {
            assert_greeted(s);
            s.write_all(b"\0\0\xff\xe2\x82").unwrap();
        },
        echo: b"\0\0\xff\xe2\x82",
    },
    Case {
        what: "FIN instead of a message",
        client: |s| {
            assert_greeted(s);
            s.half_close();
        },
        echo: b"",
    },
    Case {
        what: "FIN before the greeting is read",
        client: |s| {
            s.half_close();
            assert_greeted(s);
        },
        echo: b"",
    },
    Case {
        what: "FIN after the message",
        client: |s| {
            assert_greeted(s);
            s.write_all(b"the echo is still owed").unwrap();
            s.half_close();
        },
        echo: b"the echo is still owed",
    },
    Case {
        what: "message and FIN before the greeting is read",
        client: |s| {
            s.write_all(b"early").unwrap();
            s.half_close();
            assert_greeted(s);
        },
        echo: b"early",
    },
    Case {
        what: "a second message after the first",
        client: |s| {
            assert_greeted(s);
            s.write_all(b"one").unwrap();
            let mut echo = [0; 3];
            s.read_exact(&mut echo).unwrap();
            assert_eq!(&echo, b"one");
            for _ in 0..10 {
                s.write_all(b"and another one").unwrap();
            }
        },
        echo: b"",
    },
];

#[test]
fn one_read_one_echo_one_clean_end() {
    let server = Server::start(&[]);
    let base = server.descriptors();
    for case in CASES {
        println!("{}", case.what);
        let mut stream = server.connect();
        (case.client)(&mut stream);
        assert_rest(&mut stream, case.echo);
    }
    server.assert_descriptors_return_to(base);
}

#[test]
fn every_length_up_to_the_limit() {
    let server = Server::start(&[]);
    for length in 1..=1000 {
        assert_echoes(server.connect(), &payload(1, length));
    }
}

#[test]
fn every_byte_value() {
    let server = Server::start(&[]);
    let all: Vec<u8> = (0..=255).collect();
    assert_echoes(server.connect(), &all);
    for byte in all {
        assert_echoes(server.connect(), &[byte]);
    }
}

/// The rest is discarded without a reset, which would destroy the echo.
#[test]
fn more_than_the_limit_is_cut_to_it() {
    let server = Server::start(&[]);
    let base = server.descriptors();
    for length in [
        1001, 1460, 1999, 2000, 2001, 60_000, 65_536, 65_537, 5_000_000,
    ] {
        for fin in [false, true] {
            println!("{length} bytes, {}", if fin { "FIN" } else { "no FIN" });
            let message = payload(2, length);
            let mut stream = server.connect();
            assert_greeted(&mut stream);
            stream.write_all(&message).unwrap();
            if fin {
                stream.half_close();
            }
            assert_rest(&mut stream, &message[..1000]);
        }
    }
    server.assert_descriptors_return_to(base);
}

/// A descriptor that is passed over a Unix socket ends a receive early. Here the buffers are full,
/// so nothing new arrives to make an edge. The socket is one that was passed in, because since
/// Linux 6.16 the server's own refuse descriptors.
#[test]
fn a_passed_descriptor_hides_nothing() {
    if !have("python3") {
        return;
    }
    let path = TempPath::new("passed.sock");
    let listener = UnixListener::bind(&path.0).unwrap();
    let mut command = Command::new("sh");
    let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" 3<&0 </dev/null";
    command.args(["-c", script, BINARY]).env("RUST_LOG", "warn");
    let server = Server::spawn_with(1, command.stdin(OwnedFd::from(listener)));
    let client = "
import os, signal, socket, sys
path, server = sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_UNIX)
s.connect(path)
assert s.recv(6) == b'hello\\n'
os.kill(server, signal.SIGSTOP)
for byte in (b'a', b'b', b'c'):
    socket.send_fds(s, [byte], [0])
s.setblocking(False)
try:
    while True: s.send(b'x' * 4096)
except BlockingIOError:
    s.setblocking(True)
os.kill(server, signal.SIGCONT)
s.sendall(b'x' * 1000000)
s.shutdown(socket.SHUT_WR)
assert b''.join(iter(lambda: s.recv(4096), b'')) == b'a'
";
    let pid = server.pid().to_string();
    let output = output(Command::new("python3").args(["-c", client, path.as_str(), &pid]));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The limit itself is a setting; 1 and the maximum are its ends. (Less than half of the peer's
/// window, which is 32 KiB at first, leaves in one segment on loopback.)
#[test]
fn max_read_is_where_the_echo_ends() {
    for (max_read, length) in [
        (1, 1),
        (1, 500),
        (999, 1000),
        (1001, 1001),
        (1 << 20, 30_000),
    ] {
        let server = Server::start(&["--max-read", &max_read.to_string()]);
        let message = payload(3, length);
        let mut stream = server.connect();
        assert_greeted(&mut stream);
        stream.write_all(&message).unwrap();
        assert_rest(&mut stream, &message[..length.min(max_read)]);
    }
}

#[test]
fn the_greeting_is_what_was_asked_for() {
    for (text, greeting) in [
        ("", &b""[..]),
        (r"\x00\xff\\\r\n", b"\0\xff\\\r\n"),
        ("no 7", b"no 7"),
    ] {
        let server = Server::start(&["--greeting", text]);
        let mut stream = server.connect();
        stream.write_all(b"hi").unwrap();
        assert_rest(&mut stream, &[greeting, b"hi"].concat());
        let mut silent = server.connect();
        silent.half_close();
        assert_rest(&mut silent, greeting);
    }
}

/// A thousand at once, and each receives its own bytes.
#[test]
fn a_thousand_clients_at_once() {
    const CLIENTS: u64 = 1000;
    if !alone(a_thousand_clients_at_once) || !have_descriptors(CLIENTS + 500) {
        return;
    }
    let server = Server::start(&[]);
    let base = server.descriptors();
    let mut clients: Vec<(u64, TcpStream)> = (0..CLIENTS).map(|i| (i, server.connect())).collect();
    for (_, stream) in &mut clients {
        assert_greeted(stream);
    }
    assert_eq!(server.descriptors(), base + clients.len());
    for (i, stream) in &mut clients {
        stream.write_all(&payload(*i, 1 + *i as usize)).unwrap();
    }
    for (i, stream) in clients.iter_mut().rev() {
        assert_rest(stream, &payload(*i, 1 + *i as usize));
    }
    drop(clients);
    server.assert_descriptors_return_to(base);
}

/// A reset ends only its own connection, at whatever moment.
#[test]
fn a_reset_in_every_phase_is_that_clients_own() {
    type Phase = (&'static str, fn(&mut TcpStream));
    let phases: [Phase; 6] = [
        ("at once", |_| {}),
        ("greeted", |s| assert_greeted(s)),
        ("message sent, greeting unread", |s| {
            s.write_all(b"message").unwrap()
        }),
        ("message sent, echo unread", |s| {
            assert_greeted(s);
            s.write_all(b"message").unwrap();
        }),
        ("echoed", |s| {
            assert_greeted(s);
            s.write_all(b"message").unwrap();
            assert_rest(s, b"message");
        }),
        ("half-closed", |s| {
            s.write_all(b"message").unwrap();
            s.half_close();
        }),
    ];
    let server = Server::start(&[]);
    let base = server.descriptors();
    let mut bystander = server.connect();
    for (phase, conduct) in phases {
        println!("{phase}");
        for _ in 0..100 {
            let mut stream = server.connect();
            conduct(&mut stream);
            SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
            drop(stream);
        }
        server.assert_serves();
    }
    assert_greeted(&mut bystander);
    bystander.write_all(b"and me?").unwrap();
    assert_rest(&mut bystander, b"and me?");
    drop(bystander);
    server.assert_descriptors_return_to(base);
}

/// The server's FIN follows the echo directly. Its socket waits for the client's FIN, but not
/// longer than asked for, whether the client is silent or goes on sending.
#[test]
fn lingering_ends_in_time() {
    let server = Server::start(&["--linger", "200ms", "--timeout", "0"]);
    let base = server.descriptors();
    let mut silent = server.connect();
    assert_echoes(&mut silent, b"and then nothing");
    let mut endless = server.connect();
    assert_greeted(&mut endless);
    let start = Instant::now();
    while endless.write_all(&[b'x'; 100_000]).is_ok() {
        assert!(start.elapsed() < PATIENCE, "it is never cut off");
    }
    server.assert_descriptors_return_to(base);
}

/// Without lingering, a client that sends one message still receives its echo.
#[test]
fn linger_0_closes_at_once() {
    let server = Server::start(&["--linger", "0"]);
    let base = server.descriptors();
    let clients: Vec<TcpStream> = (0..10).map(|_| server.connect()).collect();
    for mut client in &clients {
        assert_greeted(&mut client);
        client.write_all(b"course sample").unwrap();
        assert_rest(&mut client, b"course sample");
    }
    server.assert_descriptors_return_to(base);
    drop(clients);
}
