//! Crowds of bad clients, and a bad network: what they do to the server, and to a polite client
//! beside them. Counts decide; times are only printed. What a crowd may cost an exchange beside it, in
//! turns and bytes, is in `tests/reactor.rs`.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "that is how a test fails")]
#![allow(clippy::print_stdout, reason = "figures, and shown where a test fails")]

mod util;

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use util::{
    BINARY, PATIENCE, Peer, Server, TempPath, assert_counts, assert_echoes, assert_ends_with,
    assert_greeted, assert_rest, connect, have, have_strace, in_a_network, last_line, logging,
    payload, reset, tcp_counter, terms,
};

/// What one of a crowd does before it resets its connection, and how the books name that.
struct Phase {
    what: &'static str,
    /// Whether the server is stopped meanwhile, so that it finds everything at once.
    stopped: bool,
    conduct: fn(&mut TcpStream),
    ends: &'static str,
}

const PHASES: &[Phase] = &[
    Phase {
        what: "in the queue",
        stopped: true,
        conduct: |_| {},
        ends: "reset",
    },
    Phase {
        what: "in the queue, with a message and a FIN",
        stopped: true,
        conduct: |s| {
            s.write_all(b"message").unwrap();
            s.half_close();
        },
        ends: "reset",
    },
    Phase {
        what: "at once",
        stopped: false,
        conduct: |_| {},
        ends: "reset",
    },
    Phase {
        what: "greeted",
        stopped: false,
        conduct: |s| assert_greeted(s),
        ends: "reset",
    },
    Phase {
        what: "message sent",
        stopped: false,
        conduct: |s| {
            assert_greeted(s);
            s.write_all(b"message").unwrap();
        },
        ends: "reset",
    },
    Phase {
        what: "2500 of 5000 bytes sent",
        stopped: false,
        conduct: |s| (0..5).for_each(|_| s.write_all(&[b'x'; 500]).unwrap()),
        ends: "reset",
    },
    Phase {
        what: "while it lingers",
        stopped: false,
        conduct: |s| assert_echoes(s, b"message"),
        ends: "reset",
    },
    // The FIN is there first, whatever follows.
    Phase {
        what: "half-closed",
        stopped: false,
        conduct: |s| {
            assert_greeted(s);
            s.half_close();
        },
        ends: "left early",
    },
];

/// A thousand in each phase, a hundred at a time, and a polite client in the midst of each hundred:
/// all of them are counted, none leaves anything behind, and the polite ones notice nothing.
#[test]
fn resets_by_the_thousand_in_every_phase() {
    let server = logging(&["--linger", "60s"]);
    let base = server.descriptors();
    let mut polite = 0;
    let mut round = || {
        for phase in PHASES {
            println!("{}", phase.what);
            for hundred in 0..10 {
                hundred_resets(&server, phase, hundred);
            }
        }
        polite += 10 * PHASES.len() as u64 + server.assert_descriptors_return_to(base);
        let anonymous = server.status("RssAnon");
        anonymous.trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    // The first round touches what it needs; the same again must not need more.
    let [first, second, third] = [round(), round(), round()];
    println!("RssAnon {first} kB, {second} kB, {third} kB");
    assert!(
        third <= second + 16,
        "{} kB for 8,000 resets",
        third - second
    );
    let thousands = |end| 3000 * PHASES.iter().filter(|phase| phase.ends == end).count() as u64;
    let [left, reset] = ["left early", "reset"].map(|end| (end, thousands(end)));
    server.signal("TERM");
    assert_ends_with(server, &[("echoed", polite), left, reset]);
}

fn hundred_resets(server: &Server, phase: &Phase, seed: u64) {
    if phase.stopped {
        server.signal("STOP");
    }
    let crowd = || {
        let mut stream = server.connect();
        (phase.conduct)(&mut stream);
        stream
    };
    let mut clients: Vec<_> = (0..50).map(|_| crowd()).collect();
    let polite = server.connect();
    clients.extend((0..50).map(|_| crowd()));
    clients.into_iter().for_each(reset);
    if phase.stopped {
        server.signal("CONT");
    }
    assert_echoes(polite, &payload(seed, 777));
}

const CROWD: u64 = 64;
const PROBES: u64 = 200;

/// How long the server bears with them: long enough for a probe on a machine that others use.
const BEARS: &[&str] = &["--timeout", "4s", "--linger", "4s"];

#[test]
fn beside_those_that_send_without_end() {
    let begin = |stream: &mut TcpStream| stream.write_all(&[b'x'; 1000]).unwrap();
    let flood = |crowd| send_until_cut(crowd, &[b'x'; 1 << 16], Duration::ZERO);
    beside("64 that send without end", begin, flood, "lingering cut");
}

#[test]
fn beside_those_that_trickle() {
    let begin = |stream: &mut TcpStream| stream.write_all(b"x").unwrap();
    let flood = |crowd| send_until_cut(crowd, b"x", Duration::from_millis(1));
    beside("64 that trickle", begin, flood, "lingering cut");
}

#[test]
fn beside_those_that_are_silent() {
    let flood = |mut crowd: Vec<TcpStream>| crowd.iter_mut().for_each(|s| assert_rest(s, b""));
    beside("64 silent ones", assert_greeted, flood, "timed out");
}

/// A crowd, of whom each begins like that and all go on together, costs the probe nothing: it is
/// served each time. In the end all of them are gone, for that one reason.
fn beside(what: &str, begin: fn(&mut TcpStream), flood: fn(Vec<TcpStream>), end: &str) {
    let server = logging(BEARS);
    let base = server.descriptors();
    let crowd = || {
        let mut stream = server.connect();
        begin(&mut stream);
        stream
    };
    let crowd: Vec<_> = (0..CROWD).map(|_| crowd()).collect();
    thread::scope(|scope| {
        scope.spawn(|| flood(crowd));
        probe(what, &server, b"hello\n");
    });
    let probes = PROBES + server.assert_descriptors_return_to(base);
    server.signal("TERM");
    let books = last_line(server);
    assert_counts(&books, &[("echoed", probes), (end, CROWD)]);
    assert!(books.ends_with("; accept errors 0, pauses 0"), "{books}");
}

/// In turns, as much as each connection takes, until the last of them is cut off.
fn send_until_cut(mut crowd: Vec<TcpStream>, chunk: &[u8], pause: Duration) {
    let (start, mut sent) = (Instant::now(), 0);
    crowd.iter().for_each(|s| s.set_nonblocking(true).unwrap());
    while !crowd.is_empty() {
        assert!(start.elapsed() < PATIENCE, "{} are not cut", crowd.len());
        crowd.retain_mut(|stream| match stream.write(chunk) {
            Ok(n) => {
                sent += n;
                true
            }
            Err(e) => e.kind() == ErrorKind::WouldBlock,
        });
        thread::sleep(pause); // of zero: none
    }
    println!("{sent} bytes sent in {:?}", start.elapsed());
}

/// Exchanges one after the other, each exact and with a clean end, and none of which takes long enough
/// to be given up.
fn probe(beside: &str, server: &Server, greeting: &[u8]) {
    let exchange = |seed| {
        let (start, message) = (Instant::now(), payload(seed, 1 + seed as usize * 4));
        let mut stream = server.connect();
        let mut greeted = vec![0; greeting.len()];
        stream.read_exact(&mut greeted).unwrap();
        assert!(greeted == greeting);
        stream.write_all(&message).unwrap();
        assert_rest(&mut stream, &message);
        start.elapsed()
    };
    let mut times: Vec<_> = (0..PROBES).map(exchange).collect();
    times.sort();
    let [half, most, all] = [50, 99, 100].map(|share| times[times.len() * share / 100 - 1]);
    println!("{PROBES} exchanges beside {beside}: p50 {half:?}, p99 {most:?}, max {all:?}");
}

/// Those that never read keep the server from sending, until their time is over. (Small segments
/// keep its send buffer small, which must not hold the whole greeting.)
#[test]
fn beside_those_that_never_read() {
    let greeting = "g".repeat(100_000);
    let server = logging(&[BEARS, &["--greeting", &greeting]].concat());
    let base = server.descriptors();
    let unread = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(2048).unwrap();
        socket.set_tcp_mss(536).unwrap();
        socket.connect(&server.address().into()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        TcpStream::from(socket)
    };
    let crowd: Vec<_> = (0..CROWD).map(|_| unread()).collect();
    probe("64 that never read", &server, greeting.as_bytes());
    let start = Instant::now();
    while server.descriptors() != base {
        assert!(start.elapsed() < PATIENCE, "they are not cut");
        thread::sleep(Duration::from_millis(1)); // not to keep a processor from it
    }
    for mut stream in crowd {
        let mut received = Vec::new();
        let _ = stream.read_to_end(&mut received);
        assert!(received.len() < greeting.len(), "it was never kept from it");
    }
    server.signal("TERM");
    assert_ends_with(server, &[("echoed", PROBES), ("timed out", CROWD)]);
}

/// Those that connect and close at once are taken for what they are, whether their FIN or the
/// reset for our greeting is first. Their number is bounded by an exchange after each fifty: a
/// queue that overflows loses some of them, which is the kernel's doing.
#[test]
fn beside_those_that_come_and_go() {
    let server = logging(BEARS);
    let base = server.descriptors();
    let stop = AtomicBool::new(false);
    let churn = || {
        let mut rounds = 0;
        while rounds < 500 && !stop.load(Ordering::Relaxed) {
            (0..50).for_each(|_| drop(server.connect()));
            server.assert_serves();
            rounds += 1;
        }
        rounds
    };
    let rounds: u64 = thread::scope(|scope| {
        let churns = [scope.spawn(churn), scope.spawn(churn)];
        probe("2 that come and go", &server, b"hello\n");
        stop.store(true, Ordering::Relaxed);
        churns.map(|churn| churn.join().unwrap()).iter().sum()
    });
    let (gone, polite) = (50 * rounds, PROBES + rounds);
    println!("{gone} came and went");
    let polite = polite + server.assert_descriptors_return_to(base);
    server.signal("TERM");
    let books = last_line(server);
    let counts: HashMap<&str, u64> = terms(&books).into_iter().collect();
    let count = |name| counts.get(name).unwrap_or(&0);
    assert_eq!(*count("echoed"), polite, "{books}");
    assert_eq!(count("left early") + count("reset"), gone, "{books}");
    assert_eq!(counts.values().sum::<u64>(), polite + gone, "{books}");
}

/// What one client, or all who wait in the queue, may cost the others before it is their turn,
/// counted in system calls: the server is slowed by strace until it cannot keep up with anybody.
#[test]
fn a_turn_is_bounded() {
    if !have_strace() {
        return;
    }
    let (trace, stop) = (TempPath::new("trace"), AtomicBool::new(false));
    let mut command = Command::new("strace");
    command.args(["-f", "-qqq", "-o", trace.as_str(), "-e"]);
    command.arg("trace=/^epoll_p?wait,accept4,close,sendto,recvfrom,shutdown");
    command.args([BINARY, "-qq", "--listen", "127.0.0.1:0", "--linger", "1h"]);
    let server = Server::spawn(1, &mut command);
    let flood = || {
        let mut crowd: Vec<_> = (0..8).map(|_| server.connect()).collect();
        crowd.iter().for_each(|s| s.set_nonblocking(true).unwrap());
        let start = Instant::now();
        while !stop.load(Ordering::Relaxed) && start.elapsed() < PATIENCE {
            for stream in &mut crowd {
                let _ = stream.write(&[b'x'; 1 << 16]);
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(flood);
        for seed in 0..20 {
            let burst: Vec<_> = (0..50).map(|_| server.connect()).collect();
            assert_echoes(server.connect(), &payload(seed, 500));
            burst.into_iter().for_each(reset);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let trace = std::fs::read_to_string(&trace.0).unwrap();
    let (calls, accepts, discarded) = most_in_a_turn(&trace);
    println!("at most {calls} calls on a socket and {accepts} accepts in a turn");
    println!("at most {discarded} bytes are discarded in a turn");
    // Four, as it says, and a FIN that is not put off.
    assert!(calls <= 5, "{calls} calls on one socket in one turn");
    assert!(accepts <= 16, "{accepts} accepts in one turn");
    // A mebibyte, as it says, and what is lost by dividing it among the events of a turn.
    assert!(discarded < (1 << 20) + 256, "{discarded} bytes in one turn");
}

/// The most calls on one socket, the most accepts, and the most bytes discarded, between two polls.
fn most_in_a_turn(trace: &str) -> (usize, usize, usize) {
    let (mut calls, mut accepts, mut discarded) = (HashMap::new(), 0, 0);
    let mut most = (0, 0, 0);
    for line in trace.lines() {
        let Some((call, arguments)) = line.split_once('(') else {
            continue; // a signal
        };
        let descriptor = arguments.split([',', ')']).next().unwrap();
        match call.split_whitespace().last().unwrap() {
            "epoll_wait" | "epoll_pwait" => (calls, accepts, discarded) = (HashMap::new(), 0, 0),
            "accept4" => accepts += 1,
            "close" => _ = calls.remove(descriptor),
            _ => *calls.entry(descriptor).or_insert(0) += 1,
        }
        if arguments.contains("MSG_TRUNC") {
            let (_, n) = line.rsplit_once(" = ").unwrap();
            discarded += n.parse().unwrap_or(0); // of an error: none
        }
        most.0 = calls.values().copied().fold(most.0, usize::max);
        most.1 = accepts.max(most.1);
        most.2 = discarded.max(most.2);
    }
    most
}

/// A polite client, who waits for the end before it closes, however much it has sent.
fn exchange(server: &Server, length: usize, seed: u64) {
    let message = payload(seed, length);
    let mut stream = server.connect();
    assert_greeted(&mut stream);
    stream.write_all(&message).unwrap();
    assert_rest(&mut stream, &message[..length.min(1000)]);
}

/// A client that is done before it closes sees no reset, and neither does anybody on the way: in a
/// network of their own, where whatever is counted is theirs.
#[test]
fn polite_clients_cause_no_reset() {
    if let Some(said) = in_a_network(PATIENCE, "", "resets_are_counted") {
        println!("{said}");
    }
}

#[test]
#[ignore = "polite_clients_cause_no_reset makes a network for it"]
fn resets_are_counted() {
    let server = Server::start(&[]);
    thread::scope(|scope| {
        for seed in 0..8 {
            let server = &server;
            scope.spawn(move || {
                for length in [1, 999, 1000, 1001, 5000, 100_000].repeat(10) {
                    exchange(server, length, seed);
                }
            });
        }
    });
    println!("480 exchanges: {:?}", resets());
    assert_eq!(resets(), [0, 0, 0]);

    // That these can move at all: without lingering, what is not read, or comes later, is a reset.
    let hasty = Server::start(&["--linger", "0"]);
    let mut unread = hasty.connect();
    hasty.signal("STOP");
    unread.write_all(&[b'x'; 100_000]).unwrap();
    hasty.signal("CONT");
    let _ = unread.read_to_end(&mut Vec::new());
    let mut late = hasty.connect();
    late.write_all(&[b'x'; 1000]).unwrap();
    assert_greeted(&mut late);
    assert_rest(&mut late, &[b'x'; 1000]);
    late.write_all(&[b'x'; 4000]).unwrap();
    let start = Instant::now(); // its FIN is here, its close may not be
    while resets()[2] < 2 {
        assert!(start.elapsed() < PATIENCE, "{:?}", resets());
    }
    println!("without lingering: {:?}", resets());
    assert!(resets()[0] >= 1);
}

/// What this network namespace has counted: closed with unread data, data for a closed socket, and
/// every reset that was sent.
fn resets() -> [u64; 3] {
    [
        tcp_counter("netstat", "TcpExt:", "TCPAbortOnClose"),
        tcp_counter("netstat", "TcpExt:", "TCPAbortOnData"),
        tcp_counter("snmp", "Tcp:", "OutRsts"),
    ]
}

/// Of what carries data or a FIN, a good sixth is lost; of the rest, which waits for a whole second
/// before it is tried again, one in twenty. Newer kernels can be made to try every second at least;
/// but without a number of tries they then give up a closed socket's FIN after the first few.
const LOSSES: &str = "
    echo 1000 > /proc/sys/net/ipv4/tcp_rto_max_ms || true
    echo 15 > /proc/sys/net/ipv4/tcp_orphan_retries
    nft -f - <<end
    table inet loss {
        counter lost { }
        chain input {
            type filter hook input priority 0;
            tcp flags & (psh | fin) != 0 numgen random mod 100 < 15 counter name lost drop
            numgen random mod 100 < 5 counter name lost drop
        }
    }
end";

/// Longer than any row of losses that is likely to come.
const LOSSY: Duration = Duration::from_secs(60);

/// However packets are delayed, repeated and bunched: the whole exchange, a clean end and no reset.
#[test]
fn over_a_lossy_network() {
    if !have("nft") {
        return;
    }
    if let Some(said) = in_a_network(2 * LOSSY, LOSSES, "where_packets_are_lost") {
        println!("{said}");
    }
}

#[test]
#[ignore = "over_a_lossy_network makes a network for it"]
fn where_packets_are_lost() {
    const CLIENTS: u64 = 128;
    let server = logging(&["--timeout", "5min", "--linger", "5min"]);
    let (start, base) = (Instant::now(), server.descriptors());
    thread::scope(|scope| {
        for first in 0..32 {
            let address = server.address();
            scope.spawn(move || (first..CLIENTS).step_by(32).for_each(|i| lossy(address, i)));
        }
    });
    println!("{CLIENTS} exchanges in {:?}", start.elapsed());
    while server.descriptors() != base {
        assert!(start.elapsed() < LOSSY, "their FINs do not come");
        thread::sleep(Duration::from_millis(1)); // not to keep a processor from it
    }
    server.signal("TERM");
    assert_ends_with(server, &[("echoed", CLIENTS)]);
    let (lost, of) = (nft_count("lost"), tcp_counter("snmp", "Tcp:", "OutSegs"));
    println!("{lost} of {of} packets lost, {:?} resets", resets());
    assert!(lost > 0);
    // Not the third: a packet of which the copy came first may find its socket closed.
    assert_eq!(resets()[..2], [0, 0]);
}

fn nft_count(name: &str) -> u64 {
    let list = ["list", "counter", "inet", "loss", name];
    let list = util::output(Command::new("nft").args(list)).stdout;
    let list = String::from_utf8(list).unwrap();
    let mut words = list
        .split_whitespace()
        .skip_while(|word| *word != "packets");
    words.nth(1).unwrap().parse().unwrap()
}

/// Each in another way: one waits for the greeting, one does not, one sends its FIN too, and one
/// sends more than is echoed.
fn lossy(address: SocketAddr, i: u64) {
    let length = if i % 4 == 3 {
        5000
    } else {
        1 + i as usize * 7 % 1000
    };
    let message = payload(i, length);
    let mut stream = connect(address);
    stream.set_read_timeout(Some(LOSSY)).unwrap();
    if i % 4 == 0 {
        assert_greeted(&mut stream);
    }
    // Not at one go: some comes after the echo.
    let parts = message.chunks(1000);
    parts.for_each(|part| stream.write_all(part).unwrap());
    if i % 4 == 2 {
        stream.half_close();
    }
    if i % 4 != 0 {
        assert_greeted(&mut stream);
    }
    assert_rest(&mut stream, &message[..length.min(1000)]);
}

/// Those whose host is gone say nothing any more, no reset and no FIN: only the deadlines end them.
#[test]
fn beside_those_that_vanish() {
    if !have("nft") {
        return;
    }
    if let Some(said) = in_a_network(PATIENCE, GONE, "where_resets_are_lost") {
        println!("{said}");
    }
}

/// A host whose resets nobody hears. It has an address of its own, as the server holds its ports for
/// connected: from one of these nobody else could connect.
const GONE: &str = "
    nft -f - <<end
    table inet gone {
        chain input {
            type filter hook input priority 0;
            ip saddr 127.0.0.2 tcp flags & rst != 0 drop
        }
    }
end";

#[test]
#[ignore = "beside_those_that_vanish makes a network for it"]
fn where_resets_are_lost() {
    let server = logging(BEARS);
    let base = server.descriptors();
    let crowd = || (0..CROWD).map(|_| from_elsewhere(&server)).collect();
    let (mut silent, mut lingering): (Vec<_>, Vec<_>) = (crowd(), crowd());
    silent.iter_mut().for_each(assert_greeted);
    let echoes = |stream: &mut TcpStream| assert_echoes(stream, b"and then");
    lingering.iter_mut().for_each(echoes);
    silent.into_iter().chain(lingering).for_each(reset);
    probe("128 that vanish", &server, b"hello\n");
    let probes = PROBES + server.assert_descriptors_return_to(base);
    server.signal("TERM");
    let counts = [
        ("echoed", probes),
        ("timed out", CROWD),
        ("lingering cut", CROWD),
    ];
    assert_ends_with(server, &counts);
}

fn from_elsewhere(server: &Server) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let here = SocketAddr::from(([127, 0, 0, 2], 0));
    socket.bind(&here.into()).unwrap();
    socket.connect(&server.address().into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    TcpStream::from(socket)
}
