//! The metrics' protocol: one request over HTTP/1.1 (RFC 9112), its answer, and the end.
//!
//! It reads only the head of a request. A request that is wrong or too long is answered with the
//! reason, and none takes more than [`LONGEST_HEAD`] bytes of the server.

use std::time::Duration;

use super::{Deadline, End, Protocol, Want};

/// The longest head of a request, in bytes: Prometheus' own is about 300.
pub const LONGEST_HEAD: usize = 4096;

/// The most headers of a request.
const MOST_HEADERS: usize = 64;

/// How long a scraper may take from being accepted to the end of its request, and from there to the
/// last byte of its answer. These are two kinds, so that a scraper that has asked stays longer
/// where the oldest leaves.
const TIMEOUTS: [Duration; 2] = [Duration::from_secs(5); 2];

/// The path of the metrics.
pub const PATH: &str = "/metrics";

/// Makes the text of the answer.
pub type Page = Box<dyn Fn() -> String + Send>;

/// The state of one request.
#[derive(Debug)]
pub enum Scrape {
    /// This much of the head has come.
    Reading(Vec<u8>),
    /// The answer is being sent.
    Answering {
        /// The whole answer.
        answer: Vec<u8>,
        /// How many bytes of it are sent.
        sent: usize,
    },
}

impl Scrape {
    /// The request was answered, if only with an error.
    pub const ANSWERED: End = End(0);
}

impl Protocol for Scrape {
    type Shared = Page;
    const ENDS: &'static [&'static str] = &["answered"];

    fn open(_: &mut Page) -> Self {
        Self::Reading(Vec::new())
    }

    fn want<'a>(&'a self, _: &'a Page, _: &'a [u8]) -> Want<'a> {
        match self {
            Self::Reading(_) => Want::Receive,
            Self::Answering { answer, sent } => match &answer[*sent..] {
                [] => Want::Close(Self::ANSWERED),
                rest => Want::SendLast(rest),
            },
        }
    }

    fn handle_sent(&mut self, n: usize, _: &mut Page) {
        if let Self::Answering { sent, .. } = self {
            *sent += n;
        }
    }

    fn handle_received(&mut self, received: &[u8], page: &mut Page) {
        if let Self::Reading(head) = self {
            head.extend_from_slice(&received[..received.len().min(LONGEST_HEAD - head.len())]);
            if let Some(answer) = answer(head, page) {
                *self = Self::Answering { answer, sent: 0 };
            }
        }
    }

    fn kept(&self) -> usize {
        match self {
            Self::Reading(bytes) | Self::Answering { answer: bytes, .. } => bytes.len(),
        }
    }

    fn waits(_: &Page) -> Vec<Duration> {
        TIMEOUTS.to_vec()
    }

    fn deadline(&self) -> Deadline {
        Deadline::absolute(match self {
            Self::Reading(_) => 0,
            Self::Answering { .. } => 1,
        })
    }
}

/// The answer to a request that begins with these bytes. `None` if its head is not complete.
fn answer(head: &[u8], page: &Page) -> Option<Vec<u8>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let (status, body) = match request.parse(head) {
        Err(e) => (BAD, format!("{e}\n")),
        Ok(parsed) if parsed.is_complete() => match (is_ours(request.path?), request.method?) {
            (false, _) => ("404 Not Found", format!("the metrics are at {PATH}\n")),
            (true, "GET" | "HEAD") => ("200 OK", page()),
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

/// The content type of Prometheus' text format. An error has it, too.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether the target of a request names the metrics, with or without a host and a query.
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

    fn page() -> Page {
        Box::new(|| "# HELP a page\n".to_owned())
    }

    /// The answer to a request that comes in pieces of so many bytes.
    fn answered(request: &[u8], piece: usize) -> String {
        let mut page = page();
        let mut scrape = Scrape::open(&mut page);
        for piece in request.chunks(piece) {
            if scrape.want(&page, &[]) == Want::Receive {
                scrape.handle_received(piece, &mut page);
            }
        }
        let mut answer = Vec::new();
        while let Want::SendLast(rest) = scrape.want(&page, &[]) {
            let n = rest.len().min(piece);
            answer.extend_from_slice(&rest[..n]);
            scrape.handle_sent(n, &mut page);
        }
        assert_eq!(scrape.kept(), answer.len());
        assert_eq!(scrape.want(&page, &[]), Want::Close(Scrape::ANSWERED));
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
    fn a_wrong_request_is_told_so() {
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
        // The longest head that is not too long.
        let longest = LONGEST_HEAD - "GET /metrics HTTP/1.1\r\na:\r\n\r\n".len();
        let with = |n| format!("GET /metrics HTTP/1.1\r\na:{}\r\n\r\n", "b".repeat(n));
        check(&with(longest), "200 OK");
        check(&with(longest + 1), BAD);
    }

    #[test]
    fn a_request_without_an_end_is_not_answered() {
        let mut page = page();
        let mut scrape = Scrape::open(&mut page);
        let request = b"GET /metrics HTTP/1.1\r\nHost: a\r\n";
        scrape.handle_received(request, &mut page);
        assert_eq!(scrape.want(&page, &[]), Want::Receive);
        assert_eq!(scrape.kept(), request.len());
        scrape.handle_fin(&mut page);
        assert_eq!(scrape.want(&page, &[]), Want::Receive, "it left early");
    }
}
