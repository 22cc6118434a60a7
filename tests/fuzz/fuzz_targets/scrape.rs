//! What comes in over HTTP where the metrics are: whatever it is, and however it is cut, it has the
//! same answer, which is one, and of the kind that the first line asks for.
//!
//! The first byte of the input says how the rest is cut, which is what the peer sends.

#![no_main]

use hello_echo::scrape::{LONGEST_HEAD, Page, Scrape};
use hello_echo::{Protocol, Want};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| if let [cut, sent @ ..] = input {
    let (mut sent, mut piece) = (sent.to_vec(), usize::from(cut / 2).max(1));
    // Heads that are too long, which no input of libFuzzer's usual length would reach.
    if cut % 2 == 1 {
        sent.resize(sent.len() + LONGEST_HEAD, b'a');
        piece *= 64;
    }
    let whole = play(&sent, usize::MAX);
    assert_eq!(play(&sent, piece), whole);
    check(&sent, &whole);
});

/// Everything that a peer is sent which sends this, so many bytes at a time, and then FIN.
fn play(mut sent: &[u8], piece: usize) -> String {
    let mut page: Page = Box::new(|| "# HELP the page\n".to_owned());
    let mut scrape = Scrape::open(&mut page);
    let (mut answer, mut received, mut fin) = (Vec::new(), 0, false);
    loop {
        match scrape.want(&page, &[]) {
            Want::Receive if fin => {
                assert!(answer.is_empty());
                return String::new();
            }
            Want::Receive => {
                assert!(received < LONGEST_HEAD && answer.is_empty());
                let (now, later) = sent.split_at(piece.min(sent.len()));
                sent = later;
                received += now.len();
                if now.is_empty() {
                    scrape.handle_fin(&mut page);
                    fin = true;
                } else {
                    scrape.handle_received(now, &mut page);
                }
            }
            Want::SendLast(bytes) => {
                assert!(!bytes.is_empty());
                let n = piece.min(bytes.len());
                answer.extend_from_slice(&bytes[..n]);
                scrape.handle_sent(n, &mut page);
            }
            Want::Close(end) => {
                assert_eq!(end, Scrape::ANSWERED);
                return String::from_utf8(answer).expect("an answer is text");
            }
            Want::Send(_) | Want::Stream(_) => panic!("an answer is the last that is sent"),
        }
    }
}

/// The answer is whole, and right for the first line. None is owed before the head has an end.
fn check(sent: &[u8], answer: &str) {
    // Empty lines may come first (RFC 9112, 2.2).
    let start = sent.iter().position(|&byte| byte != b'\r' && byte != b'\n');
    let request = &sent[start.unwrap_or(sent.len())..];
    if answer.is_empty() {
        let ended = request.windows(4).any(|end| end == b"\r\n\r\n");
        return assert!(sent.len() < LONGEST_HEAD && !ended);
    }
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head has an end");
    let (status, fields) = head.split_once("\r\n").expect("a status line");
    let length = format!("\r\nContent-Length: {}\r\n", body.len());
    let is_head = request.starts_with(b"HEAD ");
    assert!(is_head && body.is_empty() || head.contains(&length));
    let status = status.strip_prefix("HTTP/1.1 ").expect("our version");
    assert_eq!(fields.starts_with("Allow: "), status == NOT_ALLOWED);
    if status != "400 Bad Request" {
        let line = request.split(|&byte| byte == b'\n').next();
        let line = String::from_utf8_lossy(line.unwrap_or_default());
        assert_eq!(status, owed(line.trim_end_matches('\r')), "{line:?}");
    }
    assert_eq!(body.starts_with("# HELP "), status == "200 OK" && !is_head);
}

const NOT_ALLOWED: &str = "405 Method Not Allowed";

/// The status for the first line of a request that is none too bad.
fn owed(line: &str) -> &'static str {
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.0" | "HTTP/1.1"] = words[..] else {
        panic!("{line:?} is no request");
    };
    let path = target.split('?').next().unwrap_or_default();
    let before = path.strip_suffix("/metrics");
    let is_host = |host: &str| {
        host.split_once("://")
            .is_some_and(|host| !host.1.contains('/'))
    };
    match method {
        _ if !before.is_some_and(|host| host.is_empty() || is_host(host)) => "404 Not Found",
        "GET" | "HEAD" => "200 OK",
        _ => NOT_ALLOWED,
    }
}
