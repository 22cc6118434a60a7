//! Clients that reset their connections, by the thousand.

use std::io::Write;
use std::net::TcpStream;

use crate::util::{
    Peer, Server, assert_echoes, assert_ends_with, assert_greeted, logging, payload, reset,
};

/// What one of a crowd does before it resets its connection, and how the counters name that.
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
    // The first round touches the memory that it needs; the same again must not need more.
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
