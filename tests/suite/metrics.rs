//! The metrics, as Prometheus and everybody else who finds the port sees them.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::util::{
    self, BINARY, PATIENCE, Peer, Server, TempPath, assert_echoes, assert_greeted, connect,
    connect_unix, have, in_time, reset,
};

/// A server with metrics on a port of their own, and their address from its log.
pub(crate) fn watched(options: &[&str]) -> (Server, SocketAddr) {
    spawn_watched(
        Command::new(BINARY)
            .args(["--listen", "127.0.0.1:0"])
            .args(options),
    )
}

fn spawn_watched(command: &mut Command) -> (Server, SocketAddr) {
    command
        .env("HELLO_ECHO_METRICS", "127.0.0.1:0")
        .env("RUST_LOG", "info");
    let mut server = Server::spawn(1, command.stderr(Stdio::piped()));
    let log = BufReader::new(server.stderr());
    let address = in_time("the metrics' address", move || {
        let mut lines = log.lines().map(Result::unwrap);
        let line = lines
            .find(|line| line.contains("metrics at http://"))
            .unwrap();
        std::thread::spawn(move || lines.for_each(drop)); // somebody has to read it
        let (_, address) = line.split_once("http://").unwrap();
        address.strip_suffix("/metrics").unwrap().parse().unwrap()
    });
    (server, address)
}

/// The answer to a request that is sent in one piece: the head, and the body.
fn ask(mut stream: impl Read + Write, request: &[u8]) -> (String, String) {
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let length = format!("\r\nContent-Length: {}\r\n", body.len());
    assert!(head.contains(&length), "{answer}");
    (head.to_owned(), body.to_owned())
}

const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: here\r\nAccept: */*\r\n\r\n";

pub(crate) fn page(address: SocketAddr) -> String {
    let (head, body) = ask(connect(address), REQUEST);
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4;"),
        "{head}"
    );
    body
}

/// The samples of the page, without their common prefix, and without those that are 0.
pub(crate) fn samples(page: &str) -> BTreeMap<&str, u64> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.map(|line| {
        line.strip_prefix("hello_echo_")
            .unwrap()
            .rsplit_once(' ')
            .unwrap()
    });
    let samples = samples.map(|(name, value)| (name, value.parse().unwrap()));
    samples.filter(|(_, value)| *value != 0).collect()
}

/// Every way to end that needs no waiting, and the bytes received and sent, exactly.
#[test]
fn they_say_what_became_of_the_clients() {
    // Of a Unix socket the kernel does not say how many wait in its queue.
    let unix = TempPath::new("unix.sock");
    let unix = format!("unix:{}", unix.as_str());
    let options = ["--max-connections", "77", "--timeout", "1h", "--listen"];
    let (server, metrics) = watched(&[&options[..], &[&unix]].concat());
    for length in [1, 10, 1000] {
        assert_echoes(server.connect(), &util::payload(1, length));
    }
    let mut leaving = server.connect();
    leaving.half_close();
    assert_greeted(&mut leaving);
    let mut resetting = server.connect();
    assert_greeted(&mut resetting);
    reset(resetting);
    let mut silent = server.connect();
    assert_greeted(&mut silent);
    let version = format!("build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    let expected = [
        (&*version, 1),
        ("connections_accepted_total", 6),
        ("connections_closed_total{reason=\"echoed\"}", 3),
        ("connections_closed_total{reason=\"left_early\"}", 1),
        ("connections_closed_total{reason=\"reset\"}", 1),
        ("connections_max", 77),
        ("connections_open", 1),
        ("received_bytes_total", 1011),
        ("sent_bytes_total", 6 * 6 + 1011),
    ];
    // The reset may be on its way, and the last FIN.
    let start = Instant::now();
    while samples(&page(metrics)) != expected.into() {
        assert!(start.elapsed() < PATIENCE, "{}", page(metrics));
    }
}

/// Names, units, types and help are as Prometheus' own linter wants them.
#[test]
fn the_metrics_pass_the_linter() {
    if have("promtool") {
        let (_server, metrics) = watched(&[]);
        assert_linted(&page(metrics));
    }
}

/// Prometheus' own linter has nothing to say about this text.
pub(crate) fn assert_linted(text: &str) {
    let mut linter = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = linter.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let said = linter.wait_with_output().unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
}

/// Other requests are answered with what is wrong, to the end and without a reset, however much
/// they send.
#[test]
fn other_requests_are_told_why() {
    let (server, metrics) = watched(&[]);
    let huge = [b"GET /metrics HTTP/1.1\r\nCookie: ", &[b'x'; 5_000_000][..]].concat();
    let body = [
        b"POST /metrics HTTP/1.1\r\nContent-Length: 5000000\r\n\r\n",
        &[0; 5_000_000][..],
    ]
    .concat();
    let cases: [(&[u8], &str, &str); 6] = [
        (
            b"GET / HTTP/1.1\r\n\r\n",
            "404 Not Found",
            "the metrics are at /metrics\n",
        ),
        (
            b"DELETE /metrics HTTP/1.1\r\n\r\n",
            "405 Method Not Allowed\r\nAllow: GET, HEAD",
            "GET or HEAD\n",
        ),
        (
            &body,
            "405 Method Not Allowed\r\nAllow: GET, HEAD",
            "GET or HEAD\n",
        ),
        (
            b"GET / HTTP/3.0\r\n\r\n",
            "400 Bad Request",
            "invalid HTTP version\n",
        ),
        (&huge, "400 Bad Request", "a head of more than 4096 bytes\n"),
        (&[0xff; 10_000], "400 Bad Request", "invalid token\n"),
    ];
    for (request, status, word) in cases {
        let (head, said) = ask(connect(metrics), request);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{head}"
        );
        assert_eq!(said, word, "{head}");
    }
    server.assert_serves();
    assert_eq!(
        samples(&page(metrics))["received_bytes_total"],
        12,
        "not the requests'"
    );
}

/// As many clients as allowed, some in the queue, and no descriptor left: the metrics have their
/// own.
#[test]
fn they_answer_at_the_descriptor_limit() {
    let limited = "ulimit -n 64; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", limited, "sh", BINARY, "--listen", "127.0.0.1:0"]);
    let (server, metrics) = spawn_watched(&mut command);
    let most = samples(&page(metrics))["connections_max"];
    assert!((10..64).contains(&most), "{most}");
    let mut clients: Vec<_> = (0..most).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(assert_greeted);
    let waiting = server.connect();
    // As many at once as allowed.
    let mut scrapers: Vec<_> = (0..16).map(|_| connect(metrics)).collect();
    scrapers
        .iter_mut()
        .for_each(|scraper| scraper.write_all(REQUEST).unwrap());
    for scraper in scrapers {
        let (head, page) = ask(scraper, b"");
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        let samples = samples(&page);
        assert_eq!(samples["connections_open"], most);
        assert_eq!(samples.get("accept_errors_total"), None);
    }
    clients.clear();
    assert_echoes(waiting, b"and now there is room");
}

/// Those in the queue of a server that is full.
#[test]
fn clients_that_wait_are_counted() {
    let (server, metrics) = watched(&["--max-connections", "1"]);
    let mut first = server.connect();
    assert_greeted(&mut first);
    let _waiting = [(); 3].map(|()| server.connect());
    assert_eq!(samples(&page(metrics))["connections_waiting"], 3);
}

/// Many scrapers that begin a request and do not end it block neither other scrapers nor clients,
/// and take only their 16 places.
#[test]
fn slow_requests_block_nobody() {
    let (server, metrics) = watched(&[]);
    server.assert_serves();
    let base = server.descriptors();
    let mut slow: Vec<TcpStream> = Vec::new();
    for i in 0..300 {
        let mut stream = connect(metrics);
        stream.write_all(&REQUEST[..i % REQUEST.len()]).unwrap();
        slow.push(stream);
        if i % 30 == 0 {
            assert_eq!(samples(&page(metrics)).get("connections_open"), None);
            server.assert_serves();
        }
        assert!(server.descriptors() <= base + 17);
    }
    // The last of them finishes in time.
    let mut last = slow.pop().unwrap();
    last.write_all(&REQUEST[299 % REQUEST.len()..]).unwrap();
    assert!(ask(last, b"").0.starts_with("HTTP/1.1 200 OK"));
    drop(slow);
    server.assert_descriptors_return_to(base);
}

/// All come at once and have sent a request: none makes room before it is answered.
#[test]
fn a_burst_is_answered() {
    let (server, metrics) = watched(&[]);
    server.signal("STOP");
    let mut scrapers: Vec<_> = (0..200).map(|_| connect(metrics)).collect();
    scrapers
        .iter_mut()
        .for_each(|scraper| scraper.write_all(REQUEST).unwrap());
    server.signal("CONT");
    for scraper in scrapers {
        assert!(ask(scraper, b"").0.starts_with("HTTP/1.1 200 OK"));
    }
}

/// A scraper that is too slow is closed, though bytes trickle.
#[test]
fn a_request_has_five_seconds() {
    let (_server, metrics) = watched(&[]);
    let (mut silent, start) = (connect(metrics), Instant::now());
    let mut trickling = connect(metrics);
    trickling
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    trickling
        .write_all(b"GET /metrics HTTP/1.1\r\na: ")
        .unwrap();
    let ended = loop {
        assert!(start.elapsed() < PATIENCE, "it is never over");
        let is_over = trickling.write_all(b"b").is_err();
        if is_over || trickling.read(&mut [0]).is_ok_and(|n| n == 0) {
            break start.elapsed();
        }
    };
    assert!(ended >= Duration::from_secs(5), "{ended:?}");
    assert_eq!(silent.read(&mut [0]).unwrap_or(0), 0);
}

/// Whoever drains a server can watch it drain.
#[test]
fn they_are_there_until_the_last_client_has_left() {
    let (mut server, metrics) = watched(&[]);
    let mut last = server.connect();
    assert_greeted(&mut last);
    server.signal("TERM");
    let start = Instant::now();
    while TcpStream::connect(server.address()).is_ok() {
        assert!(start.elapsed() < PATIENCE, "it still listens");
    }
    let _idle = connect(metrics); // nobody waits for this one
    assert_eq!(samples(&page(metrics))["connections_open"], 1);
    last.write_all(b"bye").unwrap();
    util::assert_rest(&mut last, b"bye");
    drop(last);
    server.end_within((PATIENCE / 4).saturating_sub(start.elapsed()));
}

#[test]
fn they_can_be_on_a_unix_socket() {
    let path = TempPath::new("metrics.sock");
    let server = Server::start(&["--metrics", &format!("unix:{}", path.as_str())]);
    let (head, page) = ask(connect_unix(&path), REQUEST);
    assert!(head.starts_with("HTTP/1.1 200 OK") && page.contains("hello_echo_build_info"));
    server.assert_serves();
}

/// Scrapers whose path takes 100 ms each way, beside 2,000 peers a second that connect and are
/// silent: none of these may push a scraper out.
#[test]
fn silent_connections_do_not_block_scrapers() {
    const ROUND_TRIP: Duration = Duration::from_millis(100);
    let (_server, address) = watched(&[]);
    let is_over = Arc::new(AtomicBool::new(false));
    let crowd = std::thread::spawn({
        let is_over = is_over.clone();
        move || {
            let (start, mut silent, mut count) = (Instant::now(), VecDeque::new(), 0);
            while !is_over.load(Ordering::Relaxed) {
                silent.push_back(connect(address));
                silent.drain(..silent.len().saturating_sub(200));
                count += 1;
                let due = Duration::from_micros(500) * count;
                std::thread::sleep(due.saturating_sub(start.elapsed()));
            }
        }
    });
    let scrape = move || {
        for _ in 0..10 {
            let mut stream = connect(address);
            std::thread::sleep(ROUND_TRIP); // what the request takes to arrive
            stream.write_all(REQUEST).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        }
    };
    let scrapers: Vec<_> = (0..10).map(|_| std::thread::spawn(scrape)).collect();
    let ends: Vec<_> = scrapers.into_iter().map(|s| s.join()).collect();
    is_over.store(true, Ordering::Relaxed);
    crowd.join().unwrap();
    assert!(ends.iter().all(Result::is_ok), "{ends:?}");
}
