//! A server of which every exchange is simulated: each waits until the one before is done
//! (Lindley's recursion), arrives at random and takes a random time (M/M/1).

use std::time::Duration;

use super::super::{Aim, Trial, Window};
use super::AIM;
use crate::load::machine::random::Random;

pub(super) struct Queue {
    random: Random,
    capacity: f64,
    quantile: f64,
    limit: f64,
    pub(super) now: f64,
    /// How long it needs for what it still has to do, in seconds.
    work: f64,
}

impl Queue {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let capacity = 300.0 * 30_f64.powf(random.uniform());
        let quantile: f64 = random.choose(&[0.9, 0.99]);
        let patience = 1.5 + 10.0 * random.uniform();
        Self {
            random,
            capacity,
            quantile,
            limit: -(1.0 - quantile).ln() * patience / capacity,
            now: 0.0,
            work: 0.0,
        }
    }

    pub(super) fn aim(&self) -> Aim {
        Aim {
            quantile: self.quantile,
            limit: Some(Duration::from_secs_f64(self.limit)),
            ..AIM
        }
    }

    pub(super) fn knee(&self) -> f64 {
        self.capacity + (1.0 - self.quantile).ln() / self.limit
    }

    pub(super) fn run(&mut self, trial: Trial) -> Window {
        let (pause, duration) = (trial.pause.as_secs_f64(), trial.duration.as_secs_f64());
        self.work = (self.work - pause).max(0.0);
        let (mut at, mut latencies, mut right) = (0.0, vec![], 0);
        loop {
            let gap = self.exponential(trial.rate as f64);
            self.work = (self.work - gap).max(0.0);
            at += gap;
            if at > duration {
                break;
            }
            self.work += self.exponential(self.capacity);
            right += u64::from(at + self.work < duration + trial.grace.as_secs_f64());
            latencies.push(self.work);
        }
        self.now += pause + duration + trial.grace.as_secs_f64();
        self.work = (self.work - trial.grace.as_secs_f64()).max(0.0);
        let place = (latencies.len() as f64 * self.quantile) as usize;
        latencies.sort_by(f64::total_cmp);
        Window {
            rate: trial.rate,
            // Their number is random, too, but that is not the server's doing.
            achieved: trial.rate as f64 * right as f64 / latencies.len().max(1) as f64,
            holds: latencies
                .get(place)
                .is_some_and(|latency| *latency <= self.limit),
            is_wrong: false,
            is_missed: false,
            samples: latencies.len() as u64,
            took: trial.takes(),
        }
    }

    fn exponential(&mut self, rate: f64) -> f64 {
        -(1.0 - self.random.uniform()).ln() / rate
    }
}
