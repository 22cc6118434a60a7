//! What becomes of a client, in the record.

use super::super::client::Client;
use super::Clients;
use crate::load::machine::exchange::{Fault, Phase, Wrong};

impl Clients {
    pub(super) fn note_right(&mut self, client: &Client) {
        let now = self.clock.now();
        let (exchange, target) = (
            &client.channel.exchange,
            self.tally(client.target as usize, client.address),
        );
        let (sent, echoed) = (exchange.length() as u64, exchange.echoed());
        self.record.right(target, sent, echoed);
        let (took, is_held) = (client.since.until(now), client.role.is_held());
        // Of an echo in part, only the FIN shows that it is over.
        let echo = (exchange.phase() == Phase::Echo).then_some(Phase::Echo);
        for phase in echo.into_iter().chain([Phase::Eof]) {
            self.record.phase(phase, is_held, took);
            if let Some(meters) = self.meters.as_ref().filter(|_| !is_held) {
                meters.phase(target, phase, took);
            }
        }
        if let Some(meters) = &self.meters {
            meters.right(target, (!is_held).then(|| client.meant.until(now)));
        }
        if !is_held {
            let [total, corrected] = [client.began, client.meant].map(|from| from.until(now));
            self.record.whole(target, total, corrected);
        }
    }

    pub(super) fn note_wrong(&mut self, client: &Client, wrong: &Wrong) {
        let now = self.clock.now();
        let exchange = &client.channel.exchange;
        let (id, phase) = (exchange.id(), exchange.phase());
        let tally = self.tally(client.target as usize, client.address);
        self.record.wrong(id, tally, phase, wrong);
        if let Some(meters) = &self.meters {
            meters.wrong(tally, wrong.fault);
        }
        let is_timeout = matches!(wrong.fault, Fault::TimedOut(_));
        if is_timeout && !client.role.is_held() {
            self.record.wait(client.meant.until(now));
        }
        let is_refused = wrong.fault == Fault::Refused || phase == Phase::Connect;
        if is_refused && !is_timeout {
            let target = &mut self.dialer.targets[client.target as usize];
            target.pause.handle_refused(client.began, now);
        }
    }
}
