//! Records are added: those of several clients, or of one client at several times. A count stays at
//! 2^64 - 1, as histograms' counts do, if its sum is more.

use std::time::Duration;

use super::{DESCRIBED, Record, Tally, Windows, add};
use crate::load::machine::schedule::Stage;

impl Record {
    /// Adds what another client has measured, which began so much later than this one. Its targets
    /// are found by their names, and those of the same name by their order.
    pub fn add(&mut self, other: &Self, later: Duration) {
        self.add_counts(other, later);
        self.add_states(other, later);
        self.add_stages(other, later);
        self.course.add(&other.course, later);
    }

    /// Adds what is a sum, whether the other measured at the same time or later.
    pub(super) fn add_counts(&mut self, other: &Self, later: Duration) {
        self.describe_more(other);
        self.outcomes.add(&other.outcomes);
        self.missed = self.missed.saturating_add(other.missed);
        let sums = self.bytes.iter_mut().chain(&mut self.echoed);
        let sums = sums.chain([&mut self.churned, &mut self.echoed_in_part, &mut self.held]);
        let others = other.bytes.iter().chain(&other.echoed);
        let others = others.chain([&other.churned, &other.echoed_in_part, &other.held]);
        for (sum, count) in sums.zip(others) {
            *sum = sum.saturating_add(*count);
        }
        self.latest = self.latest.max(other.latest);
        self.threads.extend_from_slice(&other.threads);
        self.add_times(other);
        for (place, tally) in other.by_target.iter().enumerate() {
            match same(&other.by_target, place, &self.by_target) {
                Some(ours) => self.by_target[ours].add(tally, later),
                None => self.by_target.push(tally.moved(later)),
            }
        }
        self.windows.add(&other.windows, later);
    }

    /// Takes over descriptions of the other's, as long as there are few of their fault.
    fn describe_more(&mut self, other: &Self) {
        let mut described = self.outcomes.wrong.clone();
        for (fault, text) in &other.described {
            let count = described.entry(*fault).or_default();
            *count += 1;
            if *count <= DESCRIBED {
                self.described.push((*fault, text.clone()));
            }
        }
    }

    /// Of two clients that measured at the same time, the sum of two peaks is taken as their peak, and
    /// the longer of two waits as their wait. Otherwise it is the other way round.
    fn add_states(&mut self, other: &Self, later: Duration) {
        // The clocks of two machines, or the milliseconds of a report, need not agree.
        const TOLERANCE: Duration = Duration::from_millis(10);
        let is_over = self.course.end_at() <= later + TOLERANCE;
        let [sum, longer] = [|a: Duration, b: Duration| a + b, |a: Duration, b| a.max(b)];
        let wait = if is_over { sum } else { longer };
        for (shortage, waited) in &other.waited {
            let ours = self.waited.entry(*shortage).or_default();
            *ours = wait(*ours, *waited);
        }
        self.stood_still = wait(self.stood_still, other.stood_still);
        self.most_open = match is_over {
            true => self.most_open.max(other.most_open),
            false => self.most_open.saturating_add(other.most_open),
        };
    }

    /// Opening and exchanging begin with the first that begins them, the end with the last that ends.
    fn add_stages(&mut self, other: &Self, later: Duration) {
        for (stage, at) in &other.stages {
            let at = *at + later;
            match self.stages.iter_mut().find(|(ours, _)| ours == stage) {
                Some((Stage::Ramp | Stage::Churn, ours)) => *ours = at.min(*ours),
                Some((_, ours)) => *ours = at.max(*ours),
                None => self.stages.push((*stage, at)),
            }
        }
        self.stages.sort_by_key(|(stage, _)| *stage);
    }

    fn add_times(&mut self, other: &Self) {
        let pairs = self.phases.iter_mut().zip(&other.phases);
        for (ours, others) in pairs.chain(self.held_phases.iter_mut().zip(&other.held_phases)) {
            add(ours, others);
        }
        add(&mut self.total, &other.total);
        add(&mut self.corrected, &other.corrected);
        add(&mut self.with_timed_out, &other.with_timed_out);
    }
}

/// The place among `others` of the target that has this place among `ours`. A run may have the same
/// target several times: the second of a name is the second of it there.
pub(super) fn same(ours: &[Tally], place: usize, others: &[Tally]) -> Option<usize> {
    let has_name = |tally: &Tally| tally.target == ours[place].target;
    let number = ours[..place].iter().filter(|tally| has_name(tally)).count();
    let mut of_name = (0..others.len()).filter(|i| has_name(&others[*i]));
    of_name.nth(number)
}

impl Tally {
    fn add(&mut self, other: &Self, later: Duration) {
        self.outcomes.add(&other.outcomes);
        add(&mut self.total, &other.total);
        self.windows = match (self.windows.take(), &other.windows) {
            (Some(mut ours), Some(others)) => {
                ours.add(others, later);
                Some(ours)
            }
            _ => None, // half of the exchanges would be no sample of them
        };
    }

    /// As the run sees it that began so much earlier.
    fn moved(&self, later: Duration) -> Self {
        let windows = self.windows.as_ref().map(|others| {
            let mut windows = Windows::default();
            windows.add(others, later);
            windows
        });
        Self {
            windows,
            ..self.clone()
        }
    }
}
