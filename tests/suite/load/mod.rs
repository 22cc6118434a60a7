//! The load client as it is shipped: against servers that are wrong on purpose, against the real
//! one, and in a terminal. What it says of a run is compared with what the server saw.

mod addresses;
mod compare;
mod failing_calls;
mod figures;
mod find_rate;
mod interrupted;
mod interval;
mod markdown;
mod merge;
mod metrics;
mod own_troubles;
mod page;
mod reports;
mod room;
mod targets;
mod threads;
mod wrong_servers;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, mpsc};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::util::{self, PATIENCE, Server, last_line, output, output_within, reset, signal, terms};

const LOAD: &str = env!("CARGO_BIN_EXE_hello-load");

/// How much a connection sends if nothing else is asked for.
const LENGTH: usize = 1000;

/// hello-load with these options, and its targets last.
fn load(options: &str, targets: &[&str]) -> Command {
    let mut command = Command::new(LOAD);
    command.args(options.split_whitespace()).args(targets);
    command
}

/// What a run says in JSON, and its exit code. Every connection is accounted for.
fn run(options: &str, targets: &[&str]) -> (Value, Option<i32>) {
    // The longest run is of 100,000 exchanges, which take a busy machine their time.
    let output = output_within(6 * PATIENCE, load(options, targets).arg("--json"));
    (report(&output), output.status.code())
}

fn report(output: &Output) -> Value {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
        let stderr = String::from_utf8_lossy(&output.stderr);
        panic!(
            "{e}: {:?}, {stderr}",
            String::from_utf8_lossy(&output.stdout)
        )
    });
    assert_eq!(report["version"], 1);
    let over = number(&report, "right") + wrongs(&report) + number(&report, "given_up");
    assert_eq!(number(&report, "opened"), over, "{report}");
    report
}

fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap()
}

fn wrongs(report: &Value) -> u64 {
    let wrong = report["wrong"].as_object().unwrap();
    wrong.values().map(|count| count.as_u64().unwrap()).sum()
}

fn said(output: &Output) -> [String; 2] {
    [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned())
}

/// Nothing was wrong in so many exchanges.
fn assert_right(run: &(Value, Option<i32>), exchanges: u64) {
    let (report, code) = run;
    assert_eq!(wrongs(report), 0, "{report}");
    assert_eq!((number(report, "right"), *code), (exchanges, Some(0)));
}

/// A server of the test's own: `conduct` is what it does with each connection, in a thread.
fn serve(conduct: impl Fn(&mut TcpStream) -> io::Result<()> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let conduct = Arc::new(conduct);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let conduct = conduct.clone();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            // What it cannot send is no matter: the client may have seen enough.
            std::thread::spawn(move || conduct(&mut stream));
        }
    });
    address
}

fn greet(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"hello\n")
}

/// All of a payload of `length` bytes: a close with nothing unread is a FIN, not a reset.
fn receive(stream: &mut TcpStream, length: usize) -> io::Result<Vec<u8>> {
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    Ok(payload)
}

/// Does nothing until the client leaves.
fn hang(stream: &mut TcpStream) -> io::Result<()> {
    stream.read(&mut [0]).map(drop)
}

/// Its close, which comes next, will be a reset.
fn reset_now(stream: &mut TcpStream) -> io::Result<()> {
    stream.try_clone().map(reset)
}

/// A server that greets, and answers a payload so.
fn answering(answer: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> String {
    serve(move |stream| {
        greet(stream)?;
        let payload = receive(stream, LENGTH)?;
        stream.write_all(&answer(payload))
    })
}

/// 20 exchanges, and all of them wrong in this way and no other: `wrong` is the kind, `phase` where,
/// and `what` is in the description.
fn assert_wrong(options: &str, target: &str, wrong: &str, phase: &str, what: &str) {
    println!("{wrong}: {what}");
    let (report, code) = run(&format!("-n 20 {options}"), &[target]);
    assert_eq!(
        report["wrong"],
        serde_json::json!({ wrong: 20 }),
        "{report}"
    );
    assert_eq!((number(&report, "opened"), code), (20, Some(3)));
    let described = report["described"].as_array().unwrap();
    assert_eq!(described.len(), 3, "the first of them");
    let form = format!(" to {target}, {phase}: {wrong}: ");
    for line in described.iter().map(|line| line.as_str().unwrap()) {
        assert!(line.starts_with("connection "), "{line}");
        assert!(line.contains(&form) && line.contains(what), "{line}");
    }
}

/// A server with thousands of clients at once on a busy machine: by default it would cut those whose
/// FIN takes more than two seconds.
const PATIENT: &[&str] = &["--linger", "20s"];

/// A port where nobody listens. The socket is bound to it, so nobody else has it.
fn dead_port() -> (Socket, String) {
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    bound
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    let address = bound.local_addr().unwrap().as_socket().unwrap();
    (bound, address.to_string())
}

/// What a [`PATIENT`] server says of its clients once it is told to end.
fn assert_echoed(server: Server, exchanges: u64) {
    server.signal("TERM");
    let line = last_line(server);
    assert_eq!(terms(&line), [("echoed", exchanges)], "{line}");
}

/// A right server that tells who came, and with what.
fn recorder() -> (String, mpsc::Receiver<(SocketAddr, Vec<u8>)>) {
    let (sender, receiver) = mpsc::channel();
    let address = serve(move |stream| {
        greet(stream)?;
        let payload = receive(stream, LENGTH)?;
        let _ = sender.send((stream.peer_addr()?, payload.clone()));
        stream.write_all(&payload)
    });
    (address, receiver)
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

/// Ctrl-C, and what it says then.
fn interrupt(child: Child) -> Output {
    assert!(signal(&child.id().to_string(), "INT"));
    util::in_time("the end after a SIGINT", || {
        child.wait_with_output().unwrap()
    })
}
