//! Servers that are wrong on purpose: each is named for what it did, and for where it did it.

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::*;
use crate::util::TempPath;

/// Urgent data ends a receive early. What is behind it is there all the same, and no event tells of it.
#[test]
fn urgent_data_is_no_end() {
    let target = serve(|stream| {
        let urgent = |stream: &mut TcpStream, bytes: &[u8], place: usize| {
            stream.write_all(&bytes[..place])?;
            socket2::SockRef::from(&*stream).send_out_of_band(b"!")?;
            stream.write_all(&bytes[place..])
        };
        urgent(stream, b"hello\n", 3)?;
        let payload = receive(stream, LENGTH)?;
        urgent(stream, &payload, LENGTH / 2)
    });
    // Without a timeout, a client that waits for an event waits for ever.
    assert_right(&run("-n 40 -c 4 --timeout 0", &[&target]), 40);
    assert_right(&run("--hold 10 --timeout 0", &[&target]), 10);
}

#[test]
fn wrong_greetings() {
    let greeting = |bytes: &'static [u8]| {
        serve(move |stream| {
            stream.write_all(bytes)?;
            stream.shutdown(std::net::Shutdown::Write)?;
            hang(stream)
        })
    };
    for (bytes, kind, what) in [
        (
            &b"help!\n"[..],
            "wrong_greeting",
            r#"at byte 3 expected "lo\n", got "p!\n""#,
        ),
        (
            b"hello\nworld",
            "wrong_greeting",
            r#"at byte 6 expected nothing, got "world""#,
        ),
        (b"hel", "short_greeting", "after 3 bytes"),
        (b"", "short_greeting", "after 0 bytes"),
    ] {
        assert_wrong("-c 4", &greeting(bytes), kind, "greeting", what);
    }
}

#[test]
fn wrong_echoes() {
    let flipped = answering(|mut payload| {
        payload[700] ^= 1;
        payload
    });
    assert_wrong(
        "-c 4",
        &flipped,
        "wrong_echo",
        "echo",
        "at byte 700 expected \"",
    );
    let short = answering(|payload| payload[..999].to_vec());
    assert_wrong(
        "-c 4",
        &short,
        "short_echo",
        "echo",
        "after 999 of 1000 bytes",
    );
    let none = answering(|_| vec![]);
    assert_wrong("-c 4", &none, "no_echo", "echo", "after 0 of 1000 bytes");
    let doubled = answering(|payload| payload.repeat(2));
    let what = "at byte 1000 expected nothing, got \"";
    assert_wrong("-c 4", &doubled, "extra_bytes", "eof", what);
    let extra = answering(|payload| [&payload[..], b"bye"].concat());
    let what = "at byte 1000 expected nothing, got \"bye\"";
    assert_wrong("-c 4", &extra, "extra_bytes", "eof", what);
}

/// The echo itself is right, but it is another's.
#[test]
fn foreign_echoes() {
    let payloads = (Mutex::new(vec![]), Condvar::new());
    let server = answering(move |payload| {
        let (payloads, news) = &payloads;
        let mut payloads = payloads.lock().unwrap();
        let own = payloads.len();
        payloads.push(payload);
        news.notify_all();
        // The first has nobody before it, and takes the second's.
        let other = own.checked_sub(1).unwrap_or(1);
        let missing = |payloads: &mut Vec<Vec<u8>>| payloads.len() <= other;
        let (payloads, _) = news
            .wait_timeout_while(payloads, PATIENCE, missing)
            .unwrap();
        payloads[other].clone()
    });
    assert_wrong(
        "-c 4",
        &server,
        "foreign_echo",
        "echo",
        "the bytes of connection ",
    );
}

/// A reset may come before the client has looked whether it is connected; it is named all the same
/// for where the connection stood, and what came before it counts.
#[test]
fn resets() {
    let at_accept = serve(reset_now);
    assert_wrong(
        "-c 4",
        &at_accept,
        "reset_greeting",
        "greeting",
        "Connection reset",
    );
    let greeted = serve(|stream| {
        greet(stream)?;
        reset_now(stream)
    });
    assert_wrong("-c 4", &greeted, "reset_echo", "echo", "");
    let no_echo = serve(|stream| {
        greet(stream)?;
        receive(stream, LENGTH)?;
        reset_now(stream)
    });
    assert_wrong("-c 4", &no_echo, "reset_echo", "echo", "Connection reset");
    let no_eof = serve(|stream| {
        greet(stream)?;
        let payload = receive(stream, LENGTH)?;
        stream.write_all(&payload)?;
        reset_now(stream)
    });
    assert_wrong("-c 4", &no_eof, "reset_eof", "eof", "Connection reset");
}

/// All at once, as each of them takes the whole time.
#[test]
fn servers_that_hang() {
    let options = "-c 20 --timeout 1500ms";
    let silent = serve(hang);
    let what = "0 bytes of the greeting had come";
    assert_wrong(options, &silent, "timed_out_greeting", "greeting", what);
    let mute = serve(|stream| {
        greet(stream)?;
        receive(stream, LENGTH)?;
        hang(stream)
    });
    let what = "1000 of 1000 bytes were sent, 0 had come back";
    assert_wrong(options, &mute, "timed_out_echo", "echo", what);
    let open = serve(|stream| {
        greet(stream)?;
        let payload = receive(stream, LENGTH)?;
        stream.write_all(&payload)?;
        hang(stream)
    });
    let what = "1000 of 1000 bytes were sent, 1000 had come back";
    assert_wrong(options, &open, "timed_out_eof", "eof", what);
}

#[test]
fn targets_without_a_listener() {
    let (_bound, address) = dead_port();
    assert_wrong("-c 4", &address, "refused", "connect", "Connection refused");
    let path = TempPath::new("nobody.sock");
    let target = format!("unix:{}", path.as_str());
    assert_wrong("-c 4", &target, "failed_connect", "connect", "No such file");
}

/// A Unix socket with a full queue refuses nobody and tells nobody when there is a place again: that
/// must not keep a health check waiting for ever.
#[test]
fn a_queue_that_stays_full() {
    let path = TempPath::new("full.sock");
    let address = SockAddr::unix(&path.0).unwrap();
    let socket = || Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
    let listener = socket();
    listener.bind(&address).unwrap();
    listener.listen(0).unwrap();
    let waiting: Vec<_> = std::iter::repeat_with(socket)
        .take_while(|client| client.connect(&address).is_ok())
        .collect();
    assert!(waiting.len() < 10, "the queue takes as many as there are");
    let target = format!("unix:{}", path.as_str());
    let output = output(&mut load("--check --timeout 200ms", &[&target]));
    let [_, stderr] = said(&output);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("connect: timed_out_connect: "), "{stderr}");
    // Whoever still waits at the end says so, too.
    let (report, _) = run("-d 200ms", &[&target]);
    assert!(report["waited_s"]["queue"].as_f64() > Some(0.0), "{report}");
}

/// A segment carries more on this path, so more was there to be read.
#[test]
fn a_part_of_an_echo_is_too_little_where_a_segment_carries_more() {
    let echoing = |length: usize, echoed: usize| {
        serve(move |stream| {
            greet(stream)?;
            let payload = receive(stream, length)?;
            stream.write_all(&payload[..echoed])
        })
    };
    let what = "after 1 of 1000 bytes";
    assert_wrong(
        "--payload 1400",
        &echoing(1400, 1),
        "short_echo",
        "echo",
        what,
    );
    let options = "--payload 1400 --max-read 2000";
    let what = "after 1399 of 1400 bytes";
    assert_wrong(options, &echoing(1400, 1399), "short_echo", "echo", what);
    let what = "at byte 1000 expected nothing";
    assert_wrong(
        "--payload 1400",
        &echoing(1400, 1001),
        "extra_bytes",
        "eof",
        what,
    );
    let server = Server::start(&["--max-read", "64Ki"]);
    let target = &*server.addresses[0];
    assert_right(
        &run("-n 200 --payload 1-64Ki --max-read 64Ki", &[target]),
        200,
    );
}

/// Unusual, and right.
#[test]
fn what_looks_wrong_and_is_not() {
    let slow = serve(|stream| {
        stream.set_nodelay(true)?;
        for byte in b"hello\n" {
            std::thread::sleep(Duration::from_millis(2));
            stream.write_all(&[*byte])?;
        }
        let payload = receive(stream, LENGTH)?;
        payload
            .iter()
            .try_for_each(|byte| stream.write_all(&[*byte]))
    });
    assert_right(&run("-n 20 -c 4", &[&slow]), 20);
    let late = serve(|stream| {
        std::thread::sleep(Duration::from_millis(200));
        greet(stream)?;
        let payload = receive(stream, LENGTH)?;
        stream.write_all(&payload)
    });
    assert_right(&run("-n 20 -c 20", &[&late]), 20);
    assert_wrong(
        "-c 20 --timeout 50ms",
        &late,
        "timed_out_greeting",
        "greeting",
        "0 bytes of",
    );
    let prefix = serve(|stream| {
        greet(stream)?;
        let payload = receive(stream, 2000)?;
        stream.write_all(&payload[..1000])
    });
    let in_part = run("-n 20 -c 4 --payload 2000", &[&prefix]);
    assert_right(&in_part, 20);
    let counts = ["echoed_in_part", "bytes_of_payload", "bytes_echoed"];
    let counts = counts.map(|name| number(&in_part.0, name));
    assert_eq!(counts, [20, 40_000, 20_000]);
    // Of an echo that one segment need not have carried whole, only the FIN tells how long it is.
    let part = serve(|stream| {
        greet(stream)?;
        let payload = receive(stream, 100_000)?;
        stream.write_all(&payload[..40_000])
    });
    let in_part = run("-n 20 -c 4 --payload 100000 --max-read 100000", &[&part]);
    assert_right(&in_part, 20);
    assert_eq!(number(&in_part.0, "echoed_in_part"), 20);
    assert_eq!(in_part.0["latency_us"]["echo"]["count"], 20);
    let another = serve(|stream| {
        stream.write_all(b"220 ready\r\n")?;
        let payload = receive(stream, LENGTH)?;
        stream.write_all(&payload)
    });
    let mut command = load(
        "-n 20 -c 4 --json --greeting",
        &["220 ready\\r\\n", &another],
    );
    assert_eq!(number(&report(&output(&mut command)), "right"), 20);
}

/// The server's timeout ends those that are held.
#[test]
fn held_connections_that_are_closed_are_named() {
    let server = Server::start(&["--timeout", "100ms"]);
    let options = "--hold 5 -r 1 -d 2s";
    let (report, code) = run(options, &[&server.addresses[0]]);
    let wrong = serde_json::json!({ "closed_held": 5 });
    assert_eq!((&report["wrong"], code), (&wrong, Some(3)), "{report}");
    let described = report["described"][0].as_str().unwrap();
    assert!(
        described.contains("while it was held") || described.contains("reset"),
        "{described}"
    );
}

/// A server at a Unix socket: `conduct` is what it does with each connection, in a thread.
fn serve_at(
    path: &TempPath,
    conduct: impl Fn(&mut UnixStream) -> io::Result<()> + Send + Sync + 'static,
) -> String {
    let listener = UnixListener::bind(&path.0).unwrap();
    let conduct = Arc::new(conduct);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let conduct = conduct.clone();
            std::thread::spawn(move || conduct(&mut stream));
        }
    });
    format!("unix:{}", path.as_str())
}

/// A Unix socket hands a payload over in one piece, so the server has all of it.
#[test]
fn a_part_of_an_echo_is_too_little_on_a_unix_socket() {
    let path = TempPath::new("part.sock");
    let target = serve_at(&path, |stream| {
        let mut payload = [0; LENGTH];
        stream.write_all(b"hello\n")?;
        stream.read_exact(&mut payload)?;
        stream.write_all(&payload[..999])
    });
    let what = "after 999 of 1000 bytes";
    assert_wrong("-c 4", &target, "short_echo", "echo", what);
}

/// It receives no more than it echoes, so the client cannot send all of its payload.
#[test]
fn an_echo_that_comes_before_all_is_sent_is_right() {
    let path = TempPath::new("early.sock");
    let (over, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let target = serve_at(&path, move |stream| {
        let mut payload = [0; LENGTH];
        stream.write_all(b"hello\n")?;
        stream.read_exact(&mut payload)?;
        stream.write_all(&payload)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let _ = gate.lock().unwrap().recv(); // until the test is over
        Ok(())
    });
    assert_right(&run("-n 4 -c 4 --payload 1Mi", &[&target]), 4);
    drop(over);
}
