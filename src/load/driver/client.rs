//! One client's entry in the table.

use slab::Slab;

use super::channel::Channel;
use crate::reactor::deadlines::{Moment, Timer, Timers};

pub(super) struct Client {
    pub(super) channel: Channel,
    pub(super) timer: Timer,
    pub(super) role: Role,
    pub(super) target: u32,
    /// Which of the target's addresses it connects to.
    pub(super) address: u16,
    /// When it was due, when its connect began, and from when its present phases count: the connect,
    /// or the sending of its payload.
    pub(super) meant: Moment,
    pub(super) began: Moment,
    pub(super) since: Moment,
}

/// The most that an entry takes, in bytes.
pub(super) const ENTRY_BYTES: usize = 88;
const _: () = assert!(size_of::<Client>() <= ENTRY_BYTES);

/// What a client is for at present.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// One exchange, which begins as soon as it is greeted.
    Churning,
    /// It will be held once it is greeted.
    Ramping,
    /// It is held: greeted and silent.
    Held,
    /// It was held and does its exchange now.
    Finishing,
}

impl Role {
    pub(super) fn is_held(self) -> bool {
        self != Self::Churning
    }
}

impl Timers for Slab<Client> {
    fn timer(&mut self, key: usize) -> Option<&mut Timer> {
        self.get_mut(key).map(|client| &mut client.timer)
    }
}

#[cfg(test)]
mod tests {
    use allocation_counter::measure;

    use super::*;

    /// The slab's own mark of what is free needs no bytes beside it.
    #[test]
    fn an_entry_of_the_table_is_a_client() {
        const CLIENTS: usize = 1000;
        let table = measure(|| drop(Slab::<Client>::with_capacity(CLIENTS)));
        assert_eq!(table.bytes_total, (CLIENTS * ENTRY_BYTES) as u64);
    }
}
