//! Under load no restart loses anybody.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hello_echo::load::Load;

use crate::restarts::activated;
use crate::util::{
    BINARY, PATIENCE, Server, TempPath, assert_greeted, counts, in_a_network, last_line,
    load_options, tcp_counter,
};

/// Under load no exchange goes wrong, whether the next server begins when the last has ended, or
/// before that.
#[test]
fn restarts_lose_no_client() {
    const RESTARTS: u64 = 20;
    let log = TempPath::new("log");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let start = || {
        let first = listener.try_clone().unwrap();
        let second = TcpListener::bind("127.0.0.1:0").unwrap();
        Server::spawn_with(2, &mut activated(first, second, &log))
    };
    let mut server = start();
    let mut load = Load::new(load_options(&address, 1 << 40, 32)).unwrap();
    for restart in 1..=RESTARTS {
        load_a_while(&mut load);
        server.signal("TERM");
        let next = (restart % 2 == 0).then(start);
        load_until_it_ends(&mut load, &mut server);
        server = next.unwrap_or_else(start);
    }
    println!(
        "{} exchanges, {RESTARTS} restarts",
        load.record().outcomes.right
    );
}

fn load_a_while(load: &mut Load) {
    let until = load.record().outcomes.right + 300;
    while load.record().outcomes.right < until {
        load.turn(PATIENCE).unwrap();
        assert_eq!(
            load.record().outcomes.wrongs(),
            0,
            "{:?}",
            load.record().described
        );
    }
}

/// Those of its clients that are in the midst of their exchange are this thread's.
fn load_until_it_ends(load: &mut Load, server: &mut Server) {
    let begun = Instant::now();
    while server.is_running() {
        assert!(begun.elapsed() < PATIENCE, "it does not end");
        load.turn(Duration::from_millis(1)).unwrap();
    }
}

/// Two processes on one port are replaced in turn, under load. A client whose SYN is dropped by the one
/// that leaves finds the other with its next SYN, a second later.
#[test]
fn a_rolling_restart_loses_no_client() {
    roll("127.0.0.1:0");
}

/// Where the kernel moves the queue of a listener to the others on its port, newcomers do not wait for a
/// second SYN, either. On every address, where handshakes would be waited for half a second otherwise.
#[test]
fn where_queues_move_a_rolling_restart_drops_no_newcomers() {
    where_queues_move(no_newcomers_are_dropped);
}

fn where_queues_move(test: impl Fn()) {
    const SWITCH: &str = "/proc/sys/net/ipv4/tcp_migrate_req";
    if !Path::new(SWITCH).exists() {
        println!("before Linux 5.14 they do not move");
        return;
    }
    let setup = format!("echo 1 >{SWITCH}");
    if let Some(said) = in_a_network(2 * PATIENCE, &setup, test) {
        println!("{said}");
    }
}

#[test]
#[ignore = "where_queues_move_a_rolling_restart_drops_no_newcomers makes a network for it"]
fn no_newcomers_are_dropped() {
    let (mut load, _servers) = roll("0.0.0.0:0");
    // The only handshakes that are put off for a second are those whose last ACK comes in the moment in
    // which a listener is closed: none as a rule, and 256 with the switch at 0.
    let put_off = || tcp_counter("netstat", "TcpExt:", "TCPDeferAcceptDrop");
    let sent_again = || tcp_counter("netstat", "TcpExt:", "TCPSynRetrans");
    let begun = Instant::now();
    while sent_again() < put_off() {
        assert!(begun.elapsed() < PATIENCE, "{} are lost", put_off());
        load_a_while(&mut load);
    }
    load_a_while(&mut load);
    println!("{} put off, {} sent again", put_off(), sent_again());
    assert!(sent_again() < AT_ONCE, "{} sent again", sent_again());
    // That it would show: without another process on the port, newcomers' SYNs are dropped.
    let before = sent_again();
    let alone = Server::start_listening(1, &["--reuse-port", "--listen", "0.0.0.0:0"]);
    let address = format!("127.0.0.1:{}", alone.address().port());
    alone.signal("TERM");
    while TcpStream::connect(&address).is_ok() {} // until it is refused
    assert_ne!(sent_again(), before);
}

/// The last process on a port has nobody to leave handshakes to, even if there was another when its
/// shutdown began. So it waits for them, and drops newcomers' SYNs meanwhile.
#[test]
fn where_queues_move_the_last_process_waits_for_handshakes() {
    where_queues_move(the_last_process_drops_syns);
}

#[test]
#[ignore = "where_queues_move_the_last_process_waits_for_handshakes makes a network for it"]
fn the_last_process_drops_syns() {
    let mut last = on("0.0.0.0:0", &["--max-connections", "1"]);
    let address = SocketAddr::from(([127, 0, 0, 1], last.address().port()));
    let mut client = TcpStream::connect(address).unwrap();
    assert_greeted(&mut client);
    let mut other = on(&last.addresses[0], &[]);

    // It is full, so it keeps its listener for now. The other leaves it what it has.
    last.signal("TERM");
    let log = BufReader::new(last.stderr()).lines();
    let mut log = log.map_while(Result::ok);
    assert!(log.any(|line| line.contains("shutting down")));
    other.signal("TERM");
    other.end_within(PATIENCE);
    let sent_again = || tcp_counter("netstat", "TcpExt:", "TCPSynRetrans");
    let before = sent_again();
    drop(client);
    while TcpStream::connect(address).is_ok() {} // until it is refused
    assert_ne!(sent_again(), before);
    last.end_within(PATIENCE);
}

/// Clients at once.
const AT_ONCE: u64 = 32;

/// One of the processes on a port.
fn on(address: &str, options: &[&str]) -> Server {
    let mut command = Command::new(BINARY);
    command.env("RUST_LOG", "info").stderr(Stdio::piped());
    command.args(["--reuse-port", "--listen", address]);
    Server::spawn(1, command.args(options))
}

pub(crate) fn roll(listen: &str) -> (Load, [Server; 2]) {
    const ROUNDS: usize = 4;
    let first = on(listen, &[]);
    let address = first.addresses[0].clone();
    let mut servers = [on(&address, &[]), first];
    let target = address.replace("0.0.0.0", "127.0.0.1");
    let mut load = Load::new(load_options(&target, 1 << 40, AT_ONCE)).unwrap();
    for round in 0..ROUNDS {
        for server in &mut servers {
            load_a_while(&mut load);
            server.signal("TERM");
            load_until_it_ends(&mut load, server);
            let line = last_line(std::mem::replace(server, on(&address, &[])));
            let served = counts(&line);
            println!("round {round}: {line}");
            assert!(round == 0 || served[0].1 > 0, "it had no share: {line}");
        }
    }
    load_a_while(&mut load);
    println!(
        "{} exchanges, {} restarts",
        load.record().outcomes.right,
        2 * ROUNDS
    );
    (load, servers)
}
