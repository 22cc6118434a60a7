//! The small services of the RFCs, and the examples that are built on them.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Instant;

use hello_echo::Server;

use super::{NOON, NOW, SHORT, config, server, tcp};
use crate::protocols::chargen::{Chargen, character};
use crate::protocols::daytime::Daytime;
use crate::protocols::echo::Echo;
use crate::protocols::finger::{Directory, Finger, LONGEST};
use crate::protocols::talk::talk;
use crate::util::{self, Client, PATIENCE, Peer, assert_rest, connect, have, in_time, payload};

/// An example, which cargo has built beside this test.
fn example(name: &str, lines: usize) -> util::Server {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().unwrap().parent().unwrap();
    let program = built.join("examples").join(name);
    assert!(program.exists(), "cargo build --examples makes {name}");
    let mut command = Command::new(program);
    util::Server::spawn_with(lines, command.stdin(Stdio::piped()))
}

/// The services in one process, talked to with nc.
#[test]
fn the_small_services_talk_to_nc() {
    if !have("nc.openbsd") {
        return;
    }
    let mut services = example("small-services", 4);
    let ports: Vec<String> = services
        .addresses
        .iter()
        .map(|a| a.rsplit_once(':').unwrap().1.to_owned())
        .collect();
    let nc = |port: &str| Client::start("nc.openbsd", &["-N", "127.0.0.1", port]);

    let mut daytime = nc(&ports[0]);
    let (line, status) = daytime.end_input().finish();
    assert!(status.success() && line.ends_with("Z\r\n"), "{line:?}");
    assert_eq!(line.len(), "2026-11-28T12:00:00Z\r\n".len(), "{line:?}");

    let mut echo = nc(&ports[1]);
    for line in ["one\n", "two\n", "three\n"] {
        echo.send(line.as_bytes()).expect(line);
    }
    assert!(echo.end_input().finish().1.success());

    // It ends when head has enough and closes the pipe.
    let head = format!("nc.openbsd 127.0.0.1 {} </dev/null | head -c 148", ports[2]);
    let output = util::output(Command::new("sh").args(["-c", &head]));
    let expected: Vec<u8> = (0..148).map(character).collect();
    assert_eq!(output.stdout, expected);

    let mut finger = nc(&ports[3]);
    let (answer, _) = finger.send(b"ada\r\n").end_input().finish();
    assert_eq!(answer, "ada: no such user\r\n");

    services.close_stdin();
    assert!(services.end_within(PATIENCE).success());
}

/// What was received is kept when others use the scratch buffer, and every byte is sent.
#[test]
fn protocols_are_tested_without_a_socket() {
    let (echoed, end) = talk::<Echo>(&mut (), &[b"one", b"two"]);
    assert_eq!(
        (echoed.as_slice(), end),
        (&b"onetwo"[..], Some(Echo::FINISHED))
    );
    let (told, end) = talk::<Daytime>(&mut { NOON }, &[]);
    assert_eq!(
        (told.as_slice(), end),
        (&b"noon\r\n"[..], Some(Daytime::TOLD))
    );
}

#[test]
fn a_line_has_a_limit() {
    let mut directory: Directory = |name| format!("{} bytes", name.len());
    let mut ask = |pieces: &[&[u8]]| {
        let (answer, end) = talk::<Finger>(&mut directory, pieces);
        (String::from_utf8(answer).unwrap(), end)
    };
    let (longest, answered) = ([b'x'; LONGEST], Some(Finger::ANSWERED));
    let answer = format!("{LONGEST} bytes\r\n");
    assert_eq!(ask(&[&longest, b"\n"]), (answer, answered));
    assert_eq!(ask(&[b"one\ntwo\n"]), ("3 bytes\r\n".to_owned(), answered));
    let refused = (
        "the line is too long\r\n".to_owned(),
        Some(Finger::TOO_LONG),
    );
    assert_eq!(ask(&[&longest, b"x"]), refused);
    assert_eq!(ask(&[&longest, b"x\n"]), refused);
    assert_eq!(ask(&[b"no end"]), (String::new(), None));
}

#[test]
fn the_time_of_day_is_one_line_and_the_end() {
    let (mut server, address) = server::<Daytime>(NOON);
    let mut client = connect(address);
    client.write_all(b"what a client sends is ignored").unwrap();
    client.half_close();
    while server.stats().ended(Daytime::TOLD) == 0 {
        server.turn(Some(SHORT)).unwrap();
    }
    assert_rest(&mut client, b"noon\r\n");
    *server.shared_mut() = || "evening".to_owned();
    let mut late = connect(address);
    server.turn(Some(SHORT)).unwrap();
    assert_rest(&mut late, b"evening\r\n");
}

/// All that is sent comes back, however much it is and however it is cut.
#[test]
fn everything_is_echoed() {
    let (mut server, address) = server::<Echo>(());
    let handle = server.handle().unwrap();
    let serving = std::thread::spawn(move || {
        server.run().unwrap();
        server.stats().ended(Echo::FINISHED)
    });
    in_time("the echoes", move || {
        let talk = move |seed| {
            let (mut client, message) = (connect(address), payload(seed, 3_000_000));
            let mut reader = client.try_clone().unwrap();
            let expected = message.clone();
            let reading = std::thread::spawn(move || assert_rest(&mut reader, &expected));
            message
                .chunks(1 + 7777 * seed as usize)
                .for_each(|chunk| client.write_all(chunk).unwrap());
            client.half_close();
            reading.join().unwrap();
        };
        let clients: Vec<_> = (0..4)
            .map(|seed| std::thread::spawn(move || talk(seed)))
            .collect();
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
    });
    handle.shut_down();
    assert_eq!(in_time("the shutdown", || serving.join().unwrap()), 4);
}

/// Backpressure: the server does not read from a client that does not read, so it keeps little for
/// this client.
#[test]
fn a_client_that_does_not_read_is_not_read_from() {
    let (mut server, address) = server::<Echo>(());
    let mut client = connect(address);
    client.set_nonblocking(true).unwrap();
    let (message, mut sent) = (payload(1, 1 << 20), 0);
    let mut stalled = 0;
    while stalled < 100 {
        server.turn(NOW).unwrap();
        match client.write(&message[sent % message.len()..]) {
            Ok(n) => (sent, stalled) = (sent + n, 0),
            Err(e) if e.kind() == ErrorKind::WouldBlock => stalled += 1,
            Err(e) => panic!("{e}"),
        }
    }
    let kept = server.stats().bytes.received - server.stats().bytes.sent;
    assert!((1..=64 << 10).contains(&kept), "{kept} bytes are kept");
    assert!(server.stats().kept >= kept, "{} bytes", server.stats().kept);
    // Now it reads, and receives all of it.
    let mut received = 0;
    let mut buffer = vec![0; 100_000];
    let start = Instant::now();
    while received < sent {
        assert!(start.elapsed() < PATIENCE, "{received} of {sent} bytes");
        server.turn(NOW).unwrap();
        match client.read(&mut buffer) {
            Ok(n) => {
                let same =
                    |(i, byte): (usize, &u8)| *byte == message[(received + i) % message.len()];
                assert!(buffer[..n].iter().enumerate().all(same));
                received += n;
            }
            Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
        }
    }
    assert_eq!(server.stats().kept, 0);
}

/// Clients that take the characters as fast as they can slow the others down by their share of a
/// turn: an exchange beside them takes as many turns as alone.
#[test]
fn chargen_is_fair_beside_others() {
    let (mut server, address) = server::<Chargen>(());
    let echo = tcp(&server.add::<Echo>(&config(), ()).unwrap()[0]);
    for readers in [0, 1, 40] {
        let mut crowd: Vec<(TcpStream, usize)> =
            (0..readers).map(|_| (connect(address), 0)).collect();
        let mut turn = |server: &mut Server<Chargen>| {
            for (reader, received) in &mut crowd {
                reader.set_nonblocking(true).unwrap();
                let mut buffer = [0; 20_000];
                let n = reader.read(&mut buffer).unwrap_or(0);
                let expected = |place: usize| character(*received + place);
                assert!((0..n).all(|place| buffer[place] == expected(place)));
                *received += n;
                let _ = reader.write(b"this is thrown away");
            }
            let before = server.stats().bytes;
            server.turn(NOW).unwrap();
            let after = server.stats().bytes;
            let most = (1 << 20) + 256 * (64 << 10);
            assert!(
                after.sent - before.sent <= most && after.received - before.received <= 1 << 21
            );
        };
        while server.clients() < readers {
            turn(&mut server);
        }
        for _ in 0..20 {
            let mut client = connect(echo);
            turn(&mut server);
            client.write_all(b"hi").unwrap();
            turn(&mut server);
            client.read_exact(&mut [0; 2]).unwrap();
            client.half_close();
            turn(&mut server);
            assert_rest(&mut client, b"");
        }
        let least = crowd.iter().map(|(_, received)| *received).min();
        assert!(least.is_none_or(|least| least > 20_000), "{least:?} bytes");
        drop(crowd);
        let start = Instant::now();
        while server.clients() > 0 {
            assert!(
                start.elapsed() < PATIENCE,
                "a reader that is gone is still served"
            );
            server.turn(Some(SHORT)).unwrap();
        }
    }
}

/// In tokio's loop, under a load of more than one batch.
#[test]
fn it_nests_in_tokio() {
    let mut nested = example("in-tokio", 1);
    let address = nested.address();
    let clients: Vec<TcpStream> = (0..600).map(|_| connect(address)).collect();
    in_time("600 exchanges", move || {
        for mut client in &clients {
            client.write_all(b"hi").unwrap();
        }
        for mut client in clients {
            assert_rest(&mut client, b"hello\nhi");
        }
    });
    nested.close_stdin();
    assert!(nested.end_within(PATIENCE).success());
}
