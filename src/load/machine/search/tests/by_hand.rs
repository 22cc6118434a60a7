//! What people do: windows of 10 s, with a second between them, and bisect. It is favoured: it
//! knows the knee to a factor of 4 beforehand, and takes as long as it needs.

use std::time::Duration;

use super::super::Trial;
use super::{FRESH, Kind, Server, Tally};

pub(super) fn simulate(kind: Kind, searches: u64) -> Tally {
    let mut tally = Tally::default();
    for server in (0..searches).map(|seed| Server::new(kind, FRESH + seed)) {
        let mut server = server;
        if !server.is_hard() {
            let (rate, windows) = bisect(&mut server);
            tally.add_rate(Some(rate), server.knee(), windows, server.now);
        }
    }
    tally
}

/// Returns the rate and how many windows it took.
fn bisect(server: &mut Server) -> (u64, usize) {
    let knee = server.knee();
    let (mut floor, mut ceiling) = ((knee / 4.0) as u64, (knee * 4.0) as u64);
    let mut windows = 0;
    while ceiling as f64 > floor as f64 * 1.03 && ceiling > floor + 1 {
        let middle = (floor as f64 * ceiling as f64).sqrt() as u64;
        let rate = middle.clamp(floor + 1, ceiling - 1);
        let window = server.run(Trial {
            pause: Duration::from_secs(1),
            rate,
            duration: Duration::from_secs(10),
            grace: Duration::from_secs(1),
        });
        windows += 1;
        if window.holds {
            floor = rate;
        } else {
            ceiling = rate;
        }
    }
    (floor, windows)
}
