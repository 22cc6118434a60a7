//! What the grace of a shutdown promises if this process was stopped for longer.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::util::{PATIENCE, Peer, assert_greeted, assert_rest, last_line, logging, terms};

/// A client whose message or FIN arrived while the process was stopped is served, though the grace
/// is over by then.
#[test]
fn a_pause_that_outlasts_the_grace_resets_no_client() {
    const GRACE: Duration = Duration::from_millis(300);
    let server = logging(&["--grace", "300ms"]);
    let mut clients: Vec<TcpStream> = (0..6).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(assert_greeted);
    server.signal("TERM");
    // It has received the signal when it does not accept any more.
    let start = Instant::now();
    while TcpStream::connect_timeout(&server.address(), Duration::from_millis(50)).is_ok() {
        assert!(start.elapsed() < PATIENCE, "it still listens");
    }
    server.signal("STOP");
    for (i, client) in clients.iter_mut().enumerate() {
        client.write_all(b"in time").unwrap();
        if i % 2 == 0 {
            client.half_close();
        }
    }
    std::thread::sleep(GRACE); // to let the grace pass, not to wait for something
    server.signal("CONT");
    for client in &mut clients {
        assert_rest(client, b"in time");
    }
    let line = last_line(server);
    let mut became = terms(&line);
    // The probes, in the queue or beyond it.
    became.retain(|(what, _)| !["left early", "reset"].contains(what));
    assert_eq!(became, [("echoed", 3), ("lingering cut", 3)], "{line}");
}
