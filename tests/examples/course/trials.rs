//! What each page is about, done to a server over real sockets.
//!
//! A trial fails on the program of its page, and no timing decides that: where it waits for something
//! that does not come, nothing can make it come before the trial itself goes on.

use nix::sys::signal::Signal;

use crate::stage::{Client, Options, Server, Then};
use crate::steps::Subject;
use crate::turned;

/// What a trial tells while it runs.
pub type Tell<'a> = &'a mut dyn FnMut(&str);

/// `Err`: what went wrong.
type Trial = fn(Subject, bool, Tell) -> Result<(), String>;

const TRIALS: &[Trial] = &[
    a_silent_client,
    two_at_once,
    a_message_and_a_fin,
    a_reset,
    a_long_greeting,
    a_long_message,
    no_descriptors,
    descriptors_come_free,
    silence_for_ever,
    turned::a_crowd_in_one_turn,
    stopped_and_continued,
    a_log_that_nobody_reads,
    a_signal_to_end,
    turned::a_burst,
    turned::silent_clients,
];

/// The trials from this one on turn the server by hand, or some do; earlier programs have no handle.
const FIRST_TURNED: usize = 10;

/// Runs the trial of a page. Whether all went well; `None` if this program cannot be tried so.
pub fn run(trial: usize, subject: Subject, mut tell: impl FnMut(&str)) -> Option<bool> {
    if matches!(subject, Subject::Step(step) if step < FIRST_TURNED && trial >= FIRST_TURNED) {
        return None;
    }
    // What is faulty is not waited for as patiently.
    let is_faulty = matches!(subject, Subject::Step(step) if step <= trial);
    let outcome = TRIALS[trial - 1](subject, is_faulty, &mut tell);
    match &outcome {
        Ok(()) => tell("RIGHT"),
        Err(fault) => tell(&format!("WRONG: {fault}")),
    }
    Some(outcome.is_ok())
}

const GREETING: &[u8] = b"hello\n";

/// `Ok` if it is so, and else what is wrong.
pub fn expect(is_so: bool, fault: &str) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(fault.to_owned()) }
}

/// The client is greeted, says hi, and hears that and the end.
fn exchanges(client: &mut Client) -> bool {
    client.send(b"hi");
    client.hear_to_the_end().is(b"hello\nhi", Then::End)
}

fn a_silent_client(subject: Subject, is_faulty: bool, tell: Tell) -> Result<(), String> {
    let server = Server::serving(subject, is_faulty);
    let mut first = server.connect();
    let heard = first.hear_in_the_end(GREETING.len());
    tell(&format!("client 1 connects: {heard}"));
    tell("client 1 says nothing");
    let mut second = server.connect();
    let heard = second.hear(GREETING.len());
    tell(&format!("client 2 connects: {heard}"));
    if heard.is(GREETING, Then::More) {
        return Ok(());
    }
    drop(first);
    let heard = second.hear_in_the_end(GREETING.len());
    tell(&format!("client 1 leaves, client 2: {heard}"));
    Err("one silent client stops the server for all".to_owned())
}

fn two_at_once(subject: Subject, is_faulty: bool, tell: Tell) -> Result<(), String> {
    let mut server = Server::start(subject, is_faulty, Options::default());
    tell("two clients connect before the server looks");
    let [mut first, mut second] = [server.connect(), server.connect()];
    server.go();
    let heard = first.hear_in_the_end(GREETING.len());
    tell(&format!("client 1: {heard}"));
    let heard = second.hear(GREETING.len());
    tell(&format!("client 2: {heard}"));
    if heard.is(GREETING, Then::More) {
        return Ok(());
    }
    let _third = server.connect();
    let heard = second.hear_in_the_end(GREETING.len());
    tell(&format!("a third one connects, client 2: {heard}"));
    Err("client 2 is greeted when somebody else connects, and not before".to_owned())
}

fn a_message_and_a_fin(subject: Subject, is_faulty: bool, tell: Tell) -> Result<(), String> {
    let mut server = Server::start(subject, is_faulty, Options::default());
    let mut client = server.connect();
    tell("a client sends hi and half-closes, as printf hi | nc -N does");
    client.send(b"hi");
    client.half_close();
    server.go();
    let heard = client.hear_to_the_end();
    tell(&format!("the client: {heard}"));
    let is_right = heard.is(b"hello\nhi", Then::End);
    expect(is_right, "the echo is owed, FIN or not")
}

fn a_reset(subject: Subject, is_faulty: bool, tell: Tell) -> Result<(), String> {
    let mut server = Server::serving(subject, is_faulty);
    let [mut first, mut second] = [server.connect(), server.connect()];
    for client in [&mut first, &mut second] {
        client.hear_in_the_end(GREETING.len());
    }
    tell("two clients are greeted; client 1 resets its connection");
    first.reset();
    if let Some(why) = server.end() {
        tell(&format!("the server has ended: {why}"));
        tell(&format!("client 2: {}", second.hear_to_the_end()));
        return Err("one client ends the server for all".to_owned());
    }
    second.send(b"hi");
    let heard = second.hear_to_the_end();
    tell(&format!("client 2 says hi: {heard}"));
    expect(heard.is(b"hi", Then::End), "client 2 has no echo")
}

fn a_long_greeting(subject: Subject, is_faulty: bool, tell: Tell) -> Result<(), String> {
    const LENGTH: usize = 100_000;
    let mut server = Server::start(
        subject,
        is_faulty,
        Options {
            greeting: Some("g".repeat(LENGTH)),
            ..Options::default()
        },
    );
    tell("the greeting has 100000 bytes; a client does not read for a while");
    let mut client = server.connect_with_little_room();
    server.go();
    client.wait();
    server.sleeps(); // it has sent what it could
    let heard = client.hear_in_the_end(LENGTH);
    if heard.then == Then::More {
        tell("the client reads: 100000 bytes");
        client.send(b"hi");
        let heard = client.hear_to_the_end();
        tell(&format!("it says hi: {heard}"));
        return expect(heard.is(b"hi", Then::End), "the client has no echo");
    }
    tell("the client reads: a part of the greeting, then the end");
    Err("what the kernel did not take at once is lost".to_owned())
}

fn a_long_message(subject: Subject, is_faulty: bool, tell: Tell) -> Result<(), String> {
    let mut server = Server::start(subject, is_faulty, Options::default());
    let mut client = server.connect();
    tell("a client sends 5000 bytes");
    client.send(&[b'x'; 5000]);
    server.go();
    let greeting = client.hear_in_the_end(GREETING.len());
    let heard = client.hear_to_the_end();
    tell(&format!("the client: {greeting}, {heard}"));
    let is_right = heard.is(&[b'x'; 1000], Then::End);
    expect(is_right, "a client that was served is reset")
}

/// How many descriptors the server may have, and how many clients it gets then.
const DESCRIPTORS: u64 = 24;
pub const CLIENTS: usize = 40;

/// Forty clients, greeted as far as there are descriptors. The server has done what it can.
fn crowd(subject: Subject, is_faulty: bool, tell: Tell) -> (Server, Vec<Client>) {
    let mut server = Server::start(
        subject,
        is_faulty,
        Options {
            descriptors: Some(DESCRIPTORS),
            ..Options::default()
        },
    );
    tell("the server may have 24 descriptors; 40 clients connect");
    let clients: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    server.go();
    clients[0].wait();
    (server, clients)
}

fn no_descriptors(subject: Subject, is_faulty: bool, tell: Tell) -> Result<(), String> {
    let (mut server, mut clients) = crowd(subject, is_faulty, tell);
    if let Some(why) = server.end() {
        tell(&format!("the server has ended: {why}"));
        return Err("too many clients end the server".to_owned());
    }
    tell("client 1 says hi");
    expect(exchanges(&mut clients[0]), "client 1 has no echo")
}

fn descriptors_come_free(subject: Subject, is_faulty: bool, tell: Tell) -> Result<(), String> {
    let (server, mut clients) = crowd(subject, is_faulty, tell);
    server.sleeps();
    let greeted = clients
        .iter()
        .take_while(|client| client.has_some())
        .count();
    tell("some are greeted, the others wait in the queue");
    for mut client in clients.drain(..greeted) {
        expect(exchanges(&mut client), "a client has no echo")?;
    }
    tell("the greeted clients are served, and leave");
    let next = clients.first_mut().unwrap();
    let heard = next.hear(GREETING.len());
    tell(&format!("the first of the others: {heard}"));
    if heard.is(GREETING, Then::More) {
        return Ok(());
    }
    let _stranger = server.connect();
    let heard = next.hear_in_the_end(GREETING.len());
    tell(&format!(
        "a stranger connects, the first of the others: {heard}"
    ));
    Err("descriptors are free, and nobody is accepted".to_owned())
}

fn silence_for_ever(subject: Subject, is_faulty: bool, tell: Tell) -> Result<(), String> {
    let mut server = Server::start(
        subject,
        is_faulty,
        Options {
            timeout: Some("100ms"),
            ..Options::default()
        },
    );
    let mut client = server.connect();
    server.go();
    client.hear_in_the_end(GREETING.len());
    tell("a client is greeted, and says nothing; the timeout is 100 ms");
    let heard = client.hear(1);
    tell(&format!("the client: {heard}"));
    expect(
        heard.is(b"", Then::End),
        "a silent client has its place for ever",
    )
}

fn stopped_and_continued(subject: Subject, is_faulty: bool, tell: Tell) -> Result<(), String> {
    let mut server = Server::serving(subject, is_faulty);
    let mut client = server.connect();
    client.wait();
    server.sleeps();
    tell("a client is greeted; the server is stopped and continued, as by Ctrl-Z and fg");
    server.stop();
    server.signal(Signal::SIGCONT);
    if let Some(why) = server.end() {
        tell(&format!("the server has ended: {why}"));
        return Err("a signal that nobody handles ends the server".to_owned());
    }
    client.send(b"hi");
    let heard = client.hear_to_the_end();
    tell(&format!("the client says hi: {heard}"));
    expect(heard.is(b"hello\nhi", Then::End), "the client has no echo")
}

fn a_log_that_nobody_reads(subject: Subject, is_faulty: bool, tell: Tell) -> Result<(), String> {
    let mut server = Server::start(subject, is_faulty, Options::default());
    tell("the log goes into a pipe that nobody reads, and the pipe is full");
    server.fill_log();
    server.go();
    let mut client = server.connect();
    let heard = client.hear(GREETING.len());
    tell(&format!("a client connects: {heard}"));
    if heard.is(GREETING, Then::More) {
        return Ok(());
    }
    server.read_log();
    let heard = client.hear_in_the_end(GREETING.len());
    tell(&format!("somebody reads the log, the client: {heard}"));
    Err("the reader of the log decides when clients are served".to_owned())
}

fn a_signal_to_end(subject: Subject, is_faulty: bool, tell: Tell) -> Result<(), String> {
    let mut server = Server::serving(subject, is_faulty);
    let mut first = server.connect();
    first.hear_in_the_end(GREETING.len());
    server.sleeps();
    server.stop(); // so that what follows comes at once
    let mut second = server.connect();
    second.send(b"hi");
    tell("client 1 is greeted, client 2 waits in the queue; SIGTERM");
    server.signal(Signal::SIGTERM);
    server.signal(Signal::SIGCONT);
    if server.end().is_some() {
        tell("the server has ended");
        tell(&format!("client 1: {}", first.hear_to_the_end()));
        tell(&format!("client 2: {}", second.hear_to_the_end()));
        return Err("clients that have connected are cut off".to_owned());
    }
    let heard = second.hear_to_the_end();
    tell(&format!("client 2: {heard}"));
    expect(heard.is(b"hello\nhi", Then::End), "client 2 is not served")?;
    first.send(b"hi");
    let heard = first.hear_to_the_end();
    tell(&format!("client 1 says hi: {heard}"));
    expect(heard.is(b"hi", Then::End), "client 1 has no echo")?;
    drop((first, second));
    expect(server.ends_well(), "the server does not end")?;
    tell("the server has ended by itself");
    Ok(())
}
