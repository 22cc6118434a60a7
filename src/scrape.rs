//! The other protocol: one request for the metrics over HTTP/1.1 (RFC 9112), its answer, and the end.
//!
//! Like a [`Session`](crate::session::Session), it never sees a socket. It reads a request's head and no
//! more, answers it, and says FIN; whatever else comes is discarded. So the requests that are wrong, or
//! too long, hear why, and none can have more of the server than [`LONGEST_HEAD`] bytes.

pub use crate::connection::Protocol;
use crate::metrics;
use crate::session::{End, Want};
use crate::stats::Stats;

/// The longest head of a request, in bytes: Prometheus' own is about 300.
pub const LONGEST_HEAD: usize = 4096;

/// The most headers of a request.
const MOST_HEADERS: usize = 64;

/// Where they are.
pub(crate) const PATH: &str = "/metrics";

/// Where one request stands.
#[derive(Debug)]
pub struct Scrape(State);

#[derive(Debug)]
enum State {
    /// So much of the head has come.
    Reading(Vec<u8>),
    /// The answer is going out; `sent` bytes of it are gone.
    Answering { answer: Vec<u8>, sent: usize },
    /// The answer is out, our FIN is not.
    HalfClosing,
    /// Our FIN is out; whatever still comes is discarded until the peer's.
    Lingering,
    /// Nothing is left to do but to close the socket.
    Closed(End),
}

impl Scrape {
    #[allow(clippy::new_without_default, reason = "nobody wants a default one")]
    pub fn new() -> Self {
        Self(State::Reading(Vec::new()))
    }
}

impl Protocol for Scrape {
    /// What a request is answered with.
    type Context = Stats;

    fn want<'a>(&'a self, _: &'a Stats, _: &'a [u8]) -> Want<'a> {
        match &self.0 {
            State::Reading(_) => Want::Receive,
            State::Answering { answer, sent } => Want::Send {
                bytes: &answer[*sent..],
                more: false,
            },
            State::HalfClosing => Want::HalfClose,
            State::Lingering => Want::Discard,
            State::Closed(end) => Want::Close(*end),
        }
    }

    fn handle_sent(&mut self, n: usize, _: &Stats) {
        if let State::Answering { answer, sent } = &mut self.0 {
            *sent += n;
            if *sent == answer.len() {
                self.0 = State::HalfClosing;
            }
        }
    }

    fn handle_received(&mut self, received: &[u8], stats: &Stats) {
        let State::Reading(head) = &mut self.0 else {
            return;
        };
        if received.is_empty() {
            self.0 = State::Closed(End::LeftEarly);
            return;
        }
        head.extend_from_slice(&received[..received.len().min(LONGEST_HEAD - head.len())]);
        if let Some(answer) = answer(head, stats) {
            self.0 = State::Answering { answer, sent: 0 };
        }
    }

    fn handle_discarded(&mut self, n: usize, _: &Stats) {
        if n == 0 {
            self.0 = State::Closed(End::Echoed);
        }
    }

    fn handle_half_closed(&mut self, _: &Stats) {
        self.0 = State::Lingering;
    }

    /// Nothing of it is in the scratch buffer.
    fn keep(&mut self, _: &[u8]) {}

    fn wants_to_send(&self) -> bool {
        matches!(self.0, State::Answering { .. })
    }
}

/// The answer to the request that begins so, `None` if its head is not there yet.
fn answer(head: &[u8], stats: &Stats) -> Option<Vec<u8>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let (status, body) = match request.parse(head) {
        Err(e) => (BAD, format!("{e}\n")),
        Ok(parsed) if parsed.is_complete() => match (is_ours(request.path?), request.method?) {
            (false, _) => ("404 Not Found", format!("the metrics are at {PATH}\n")),
            (true, "GET" | "HEAD") => ("200 OK", metrics::page(stats)),
            (true, _) => (NOT_ALLOWED, "GET or HEAD\n".to_owned()),
        },
        Ok(_) if head.len() < LONGEST_HEAD => return None,
        Ok(_) => (BAD, format!("a head of more than {LONGEST_HEAD} bytes\n")),
    };
    let length = body.len();
    let allow = if status == NOT_ALLOWED {
        "Allow: GET, HEAD\r\n"
    } else {
        ""
    };
    let mut answer = format!(
        "HTTP/1.1 {status}\r\n{allow}Content-Type: {TEXT}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    if request.method != Some("HEAD") {
        answer.push_str(&body);
    }
    Some(answer.into_bytes())
}

const BAD: &str = "400 Bad Request";
const NOT_ALLOWED: &str = "405 Method Not Allowed";

/// Prometheus' format, which a word of complaint is, too.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether the target of a request, with a host and a query or without, is where the metrics are.
fn is_ours(target: &str) -> bool {
    let (target, _query) = target.split_once('?').unwrap_or((target, ""));
    let path = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |path| &rest[path..]),
        None => target,
    };
    path == PATH
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a request is answered with that comes in pieces of so many bytes.
    fn answered(request: &[u8], piece: usize) -> String {
        let (mut scrape, stats) = (Scrape::new(), Stats::default());
        for piece in request.chunks(piece) {
            if let Want::Receive = scrape.want(&stats, &[]) {
                scrape.handle_received(piece, &stats);
            }
        }
        let mut answer = Vec::new();
        while let Want::Send { bytes, .. } = scrape.want(&stats, &[]) {
            let n = bytes.len().min(piece);
            answer.extend_from_slice(&bytes[..n]);
            scrape.handle_sent(n, &stats);
        }
        if !answer.is_empty() {
            assert_eq!(scrape.want(&stats, &[]), Want::HalfClose);
            scrape.handle_half_closed(&stats);
            scrape.handle_discarded(1, &stats);
            assert_eq!(scrape.want(&stats, &[]), Want::Discard);
        }
        scrape.handle_discarded(0, &stats);
        assert_eq!(scrape.want(&stats, &[]), Want::Close(End::Echoed));
        String::from_utf8(answer).unwrap()
    }

    fn check(request: &str, status: &str) {
        for piece in [1, 2, 7, request.len()] {
            let answer = answered(request.as_bytes(), piece);
            let begins = format!("HTTP/1.1 {status}\r\n");
            assert!(answer.starts_with(&begins), "{request:?}: {answer}");
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let length = format!("\r\nContent-Length: {}\r\n", body.len());
            let is_head = request.starts_with("HEAD ");
            assert!(head.contains(&length) != is_head, "{request:?}: {answer}");
            assert_eq!(body.is_empty(), is_head);
        }
    }

    #[test]
    fn requests_are_answered() {
        check("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "200 OK");
        check("GET /metrics?name[]=a HTTP/1.0\r\n\r\n", "200 OK");
        check("GET http://a:1/metrics HTTP/1.1\n\n", "200 OK");
        check("GET /metrics?of=http://a/ HTTP/1.1\r\n\r\n", "200 OK");
        check("GET http://a?b=/metrics HTTP/1.1\r\n\r\n", "404 Not Found");
        check("HEAD /metrics HTTP/1.1\r\n\r\n", "200 OK");
        for target in ["/", "*", "/metrics/", "/metric", "http://a", "http://a/"] {
            check(&format!("GET {target} HTTP/1.1\r\n\r\n"), "404 Not Found");
        }
        check("HEAD /x HTTP/1.1\r\n\r\n", "404 Not Found");
        for method in ["POST", "get", "OPTIONS", "X"] {
            let request = format!("{method} /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
            check(&request, "405 Method Not Allowed\r\nAllow: GET, HEAD");
        }
    }

    #[test]
    fn what_is_no_request_hears_so() {
        for request in [
            "\0",
            "GET\r\n",
            "GET /metrics\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
        ] {
            check(request, BAD);
        }
        check(
            &format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(LONGEST_HEAD)),
            BAD,
        );
        check(
            &format!("GET / HTTP/1.1\r\n{}\r\n", "a:b\r\n".repeat(65)),
            BAD,
        );
        // The longest that is none too long.
        let longest = LONGEST_HEAD - "GET /metrics HTTP/1.1\r\na:\r\n\r\n".len();
        let with = |n| format!("GET /metrics HTTP/1.1\r\na:{}\r\n\r\n", "b".repeat(n));
        check(&with(longest), "200 OK");
        check(&with(longest + 1), BAD);
    }

    #[test]
    fn who_says_nothing_is_owed_nothing() {
        for request in ["", "GET /metrics HTTP/1.1\r\nHost: a\r\n"] {
            let (mut scrape, stats) = (Scrape::new(), Stats::default());
            if !request.is_empty() {
                scrape.handle_received(request.as_bytes(), &stats);
            }
            assert_eq!(scrape.want(&stats, &[]), Want::Receive);
            scrape.handle_received(b"", &stats);
            assert_eq!(scrape.want(&stats, &[]), Want::Close(End::LeftEarly));
        }
    }
}
