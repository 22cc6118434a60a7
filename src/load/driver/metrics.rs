//! The metrics of a run, served by a reactor in the run's own poll.

use std::io;
use std::sync::Arc;

use super::Load;
use super::clients::Clients;
use super::worker::Worker;
use crate::load::machine::meters::{Meters, page};
use crate::server::address::{Address, LocalAddr};
use crate::server::guest::Guest;
use crate::server::metrics::serve as serve_page;

/// Scrapers that wait to be accepted.
const BACKLOG: u32 = 128;

/// Lets all threads count for the metrics, and listens for scrapers. The first thread serves them.
///
/// # Errors
/// The address cannot be listened on.
pub(super) fn serve(address: &Address, workers: &mut [Worker]) -> io::Result<Box<dyn Guest>> {
    let registry = Arc::new(workers[0].poll.registry().try_clone()?);
    let threads: Vec<_> = workers
        .iter_mut()
        .map(|worker| count(&mut worker.clients))
        .collect();
    serve_page(
        address,
        BACKLOG,
        &registry,
        Box::new(move || page(&threads)),
    )
}

fn count(clients: &mut Clients) -> Arc<Meters> {
    let tallies = clients.record.by_target.iter();
    let meters = Meters::new(tallies.map(|tally| tally.target.clone()));
    clients.meters = Some(meters.clone());
    meters
}

/// How many descriptors scrapers may need. One more is open while the oldest leaves.
pub(super) fn descriptors(metrics: &dyn Guest) -> u64 {
    metrics.stats().capacity + 1
}

impl Load {
    /// Where the [metrics](super::Options::metrics) are served, if they are, with the real port.
    #[must_use]
    pub fn metrics_addr(&self) -> Option<LocalAddr> {
        self.metrics.as_ref()?.local_addrs().into_iter().next()
    }
}

impl Worker {
    /// Says how the load client itself does.
    pub(super) fn update_meters(&self) {
        let Some(meters) = &self.clients.meters else {
            return;
        };
        let clock = &self.clients.clock;
        meters.keep_up(self.schedule.owed(clock.now()), clock.stood_still());
        for (shortage, waited) in &self.clients.record.waited {
            let before = self.cut.waited.get(shortage).copied();
            meters.wait(*shortage, before.unwrap_or_default() + *waited);
        }
    }
}
