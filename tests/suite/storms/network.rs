//! What goes over the wire, in networks of the tests' own: resets, losses, hosts that vanish.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::{BEARS, CROWD, PROBES, probe};
use crate::util::{
    self, PATIENCE, Peer, Server, assert_echoes, assert_ends_with, assert_greeted, assert_rest,
    connect, have, in_a_network, logging, payload, reset, tcp_counter,
};

/// A polite client, which waits for the end before it closes, however much it has sent.
fn exchange(server: &Server, length: usize, seed: u64) {
    let message = payload(seed, length);
    let mut stream = server.connect();
    assert_greeted(&mut stream);
    stream.write_all(&message).unwrap();
    assert_rest(&mut stream, &message[..length.min(1000)]);
}

/// A client that is done before it closes sees no reset, and there is none on the wire: in a
/// network of their own all that is counted is theirs.
#[test]
fn polite_clients_cause_no_reset() {
    if let Some(said) = in_a_network(PATIENCE, "", resets_are_counted) {
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

    // These counters can move: without lingering, bytes that are unread or come later cause a
    // reset.
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

/// What this network namespace has counted: sockets closed with unread data, data for a closed
/// socket, and every reset sent.
fn resets() -> [u64; 3] {
    [
        tcp_counter("netstat", "TcpExt:", "TCPAbortOnClose"),
        tcp_counter("netstat", "TcpExt:", "TCPAbortOnData"),
        tcp_counter("snmp", "Tcp:", "OutRsts"),
    ]
}

/// A good sixth of the packets with data or a FIN is lost; of the others, which are sent again only
/// after a whole second, one in twenty. Newer kernels can be made to try every second at least; but
/// without a number of tries they then give up a closed socket's FIN after the first few.
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

/// Longer than any likely row of losses.
const LOSSY: Duration = Duration::from_secs(60);

/// However packets are delayed, repeated and bunched: the whole exchange, a clean end and no reset.
#[test]
fn over_a_lossy_network() {
    if !have("nft") {
        return;
    }
    if let Some(said) = in_a_network(2 * LOSSY, LOSSES, where_packets_are_lost) {
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
    // Not the third: a packet whose copy came first may find its socket closed.
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
    // Not all at once: some comes after the echo.
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

/// Clients whose host is gone send nothing any more, no reset and no FIN. Only the deadlines end
/// them.
#[test]
fn beside_clients_that_vanish() {
    if !have("nft") {
        return;
    }
    if let Some(said) = in_a_network(PATIENCE, GONE, where_resets_are_lost) {
        println!("{said}");
    }
}

/// A host whose resets nobody receives. It has its own address, because the server still holds its
/// ports as connected, and nobody else could connect from one of these.
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
#[ignore = "beside_clients_that_vanish makes a network for it"]
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
