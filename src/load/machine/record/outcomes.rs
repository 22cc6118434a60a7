//! What became of connections.

use std::collections::BTreeMap;

use crate::load::machine::exchange::Fault;

/// What became of connections. Each that was opened is right, wrong with one fault, given up or still
/// open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Connections opened.
    pub opened: u64,
    /// Exchanges that were right to the last byte.
    pub right: u64,
    /// Exchanges that were wrong, by fault.
    pub wrong: BTreeMap<Fault, u64>,
    /// Connections that were given up because the run was cut short or their grace was over.
    pub given_up: u64,
}

impl Outcomes {
    /// Exchanges that were wrong, with any fault.
    #[must_use]
    pub fn wrongs(&self) -> u64 {
        sum(self.wrong.values())
    }

    /// Exchanges that took longer than the timeout, in any phase.
    #[must_use]
    pub fn timed_out(&self) -> u64 {
        let timed_out = self.wrong.iter();
        let timed_out = timed_out.filter(|(fault, _)| matches!(fault, Fault::TimedOut(_)));
        sum(timed_out.map(|(_, count)| count))
    }

    /// Connections that are still open.
    #[must_use]
    pub fn open(&self) -> u64 {
        let over = sum([&self.right, &self.wrongs(), &self.given_up]);
        self.opened.saturating_sub(over)
    }

    /// Leaves out what is still open. Returns how many that were.
    pub(super) fn close(&mut self) -> u64 {
        let open = self.open();
        self.opened -= open;
        open
    }

    /// Counts one more with the fault. Returns how many there are.
    pub(super) fn fail(&mut self, fault: Fault) -> u64 {
        let count = self.wrong.entry(fault).or_default();
        *count += 1;
        *count
    }

    pub(in crate::load) fn add(&mut self, other: &Self) {
        self.opened = sum([&self.opened, &other.opened]);
        self.right = sum([&self.right, &other.right]);
        self.given_up = sum([&self.given_up, &other.given_up]);
        for (fault, count) in &other.wrong {
            let ours = self.wrong.entry(*fault).or_default();
            *ours = sum([&*ours, count]);
        }
    }
}

fn sum<'a>(counts: impl IntoIterator<Item = &'a u64>) -> u64 {
    counts.into_iter().copied().fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::machine::exchange::Phase;

    #[test]
    fn timeouts_of_every_phase_are_counted() {
        let timed_out = Phase::ALL.map(|phase| (Fault::TimedOut(phase), 2));
        let outcomes = Outcomes {
            wrong: timed_out.into_iter().chain([(Fault::Refused, 9)]).collect(),
            ..Outcomes::default()
        };
        assert_eq!((outcomes.timed_out(), outcomes.wrongs()), (8, 17));
    }
}
