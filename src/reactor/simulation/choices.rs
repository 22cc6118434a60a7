//! The adversary's choices are a fuzzer's bytes, so that coverage guides them.

use super::super::models::{Chargen, Daytime, Echo, Verse};
use super::*;
use crate::protocol::hello::Hello;
use crate::protocol::scrape::Scrape;

/// One run. The first byte names the protocol and the poll, the others are the choices; when they are used
/// up, everybody is served, and the server shuts down. If the variable `TELL` is set, it tells the steps.
pub fn play(bytes: &[u8]) {
    let Some((first, choices)) = bytes.split_first() else {
        return;
    };
    let poll = [Poll::Epoll, Poll::Kqueue][usize::from(first % 2)];
    let protocols = [
        run::<Hello>,
        run::<Scrape>,
        run::<Daytime>,
        run::<Echo>,
        run::<Chargen>,
        run::<Verse>,
    ];
    protocols[usize::from(first / 2) % protocols.len()](choices, poll);
}

fn run<M: Model>(choices: &[u8], poll: Poll) {
    let random = Random::Bytes(choices.to_vec().into_iter());
    let tells = std::env::var_os("TELL").is_some();
    let mut simulation = Simulation::<M>::new(random, poll, tells);
    simulation.tell(|| format!("{} on {poll:?}", M::NAME));
    while matches!(simulation.world.borrow().random, Random::Bytes(_)) {
        simulation.step();
    }
    simulation.settle();
}
