//! What many searches came to.

use std::fmt;

use super::super::Found;

#[derive(Default)]
pub(super) struct Tally {
    /// What was found, as a multiple of the knee.
    ratios: Vec<f64>,
    nothing: usize,
    confirmed: usize,
    windows: Vec<f64>,
    seconds: Vec<f64>,
    pub(super) most: f64,
}

impl Tally {
    pub(super) fn add(&mut self, found: Option<Found>, knee: f64, windows: usize, seconds: f64) {
        self.confirmed += usize::from(found.is_some_and(|found| found.is_confirmed));
        self.add_rate(found.map(|found| found.rate), knee, windows, seconds);
    }

    pub(super) fn add_rate(&mut self, rate: Option<u64>, knee: f64, windows: usize, seconds: f64) {
        self.windows.push(windows as f64);
        self.seconds.push(seconds);
        match rate {
            Some(rate) => self.ratios.push(rate as f64 / knee),
            None => self.nothing += 1,
        }
        self.most = self.ratios.iter().copied().fold(0.0, f64::max);
    }

    /// How many are within 10 % of the knee.
    pub(super) fn share(&self) -> f64 {
        let close = self
            .ratios
            .iter()
            .filter(|ratio| (0.9..=1.1).contains(*ratio));
        close.count() as f64 / self.windows.len() as f64
    }

    pub(super) fn is_faster_than(&mut self, other: &mut Self) -> bool {
        part(&self.seconds, 0.5) < part(&other.seconds, 0.5)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ratios,
            windows,
            seconds,
            ..
        } = self;
        let parts = |values| [0.5, 0.95, 1.0].map(|p| part(values, p).round());
        write!(
            f,
            "{} searches, {:.1} % within 10 %, 1 % and 99 % of them at {:.2} and {:.2} of the knee, \
             least {:.2}, most {:.2}, nothing {}, confirmed {}, windows at 50, 95 and 100 % {:?}, seconds {:?}",
            windows.len(),
            100.0 * self.share(),
            part(ratios, 0.01),
            part(ratios, 0.99),
            part(ratios, 0.0),
            self.most,
            self.nothing,
            self.confirmed,
            parts(windows),
            parts(seconds),
        )
    }
}

/// The value that this part of them are at or below. 0 if there are none.
fn part(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (part * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(place).copied().unwrap_or(0.0)
}
