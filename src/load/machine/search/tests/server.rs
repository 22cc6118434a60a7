//! Invented servers. Their latency is that of a queue with one server and random service times
//! (M/M/1), and what a window leaves over waits for the next.

use std::time::Duration;

use super::super::{Aim, Trial, Window};
use super::AIM;
use crate::load::machine::random::Random;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// Only the noise that a quantile of so many samples has.
    Quiet,
    /// Its capacity varies by 2 % from window to window.
    Noisy,
    /// Noisy, and one window of ten is spoiled: its latency is 10 times as long.
    Spoiled,
    /// Nothing is in time in the first 2 to 12 s.
    SlowStart,
    /// Its knee falls, to 60 to 95 % within a minute.
    Leaking,
    /// No latency is in time.
    Never,
}

pub(super) struct Server {
    kind: Kind,
    random: Random,
    /// Exchanges a second that it can serve at the start.
    capacity: f64,
    /// The goal: this quantile of the latency is below the limit, in seconds.
    quantile: f64,
    limit: f64,
    /// When it is warm, and what it loses of its capacity in a second.
    warm: f64,
    leak: f64,
    pub(super) now: f64,
    /// Exchanges that it still has to do.
    backlog: f64,
}

impl Server {
    pub(super) fn new(kind: Kind, seed: u64) -> Self {
        let mut random = Random(seed);
        let knee = 50.0 * 10_000_f64.powf(random.uniform());
        let quantile: f64 = random.choose(&[0.5, 0.9, 0.99, 0.999]);
        // The limit is some times the latency without load, and no more than 250 ms if possible.
        let most = (0.25 * knee / -(1.0 - quantile).ln() + 1.0).clamp(2.0, 200.0);
        let patience = 1.5 + (most - 1.5) * random.uniform().powi(2);
        let capacity = knee * patience / (patience - 1.0);
        let limit = -(1.0 - quantile).ln() * patience / capacity;
        Self {
            kind,
            capacity,
            quantile,
            limit,
            warm: 2.0 + 10.0 * random.uniform(),
            leak: knee * (0.05 + 0.35 * random.uniform()) / 60.0,
            random,
            now: 0.0,
            backlog: 0.0,
        }
    }

    fn capacity(&self) -> f64 {
        match self.kind {
            Kind::Leaking => self.capacity - self.leak * self.now,
            _ => self.capacity,
        }
    }

    pub(super) fn aim(&self) -> Aim {
        Aim {
            quantile: self.quantile,
            limit: Some(Duration::from_secs_f64(self.limit)),
            ..AIM
        }
    }

    /// The highest rate that it could keep for ever, as it is now.
    pub(super) fn knee(&self) -> f64 {
        self.capacity() + (1.0 - self.quantile).ln() / self.limit
    }

    /// A minute is too short for it: less than one exchange a second is beyond its quantile.
    pub(super) fn is_hard(&self) -> bool {
        self.knee() * (1.0 - self.quantile.max(0.95)) < 1.0
    }

    pub(super) fn run(&mut self, trial: Trial) -> Window {
        let (pause, duration) = (trial.pause.as_secs_f64(), trial.duration.as_secs_f64());
        let rate = trial.rate as f64;
        self.now += pause;
        self.backlog = (self.backlog - self.capacity() * pause).max(0.0);
        let mut capacity = self.capacity();
        if self.kind == Kind::Noisy || self.kind == Kind::Spoiled {
            capacity *= 1.0 + 0.02 * self.random.normal();
        }
        let begun = (rate * duration).ceil();
        // The backlog grows or falls evenly, so the quantile of the waiting is on this line.
        let after = (self.backlog + (rate - capacity) * duration).max(0.0);
        let (low, high) = (self.backlog.min(after), self.backlog.max(after));
        let wait = (low + (high - low) * self.quantile) / capacity;
        let grace = (trial.grace.as_secs_f64()).min(after / capacity);
        let mut latency = wait + self.own_latency(rate, capacity, duration);
        if self.kind == Kind::Spoiled && self.random.uniform() < 0.1 {
            latency *= 10.0;
        }
        if self.kind == Kind::SlowStart && self.now < self.warm || self.kind == Kind::Never {
            latency += 2.0 * self.limit;
        }
        let left = (after - capacity * grace).max(0.0);
        let right = (begun - (left - self.backlog).max(0.0)).max(0.0);
        self.backlog = left;
        self.now += duration + grace;
        Window {
            rate: trial.rate,
            achieved: right / duration,
            holds: latency <= self.limit,
            is_wrong: false,
            is_missed: false,
            samples: begun as u64,
            took: Duration::from_secs_f64(pause + duration + grace),
        }
    }

    /// The quantile of an exponential distribution, as so many samples show it: its relative error
    /// is that of the order statistic.
    fn own_latency(&mut self, rate: f64, capacity: f64, duration: f64) -> f64 {
        let q = self.quantile;
        let free = (capacity - rate).max(capacity * 0.001);
        let tail = -(1.0 - q).ln();
        let error = (q / (rate * duration * (1.0 - q))).sqrt() / tail;
        // A queue near its capacity takes long to become as long as it will be. Until then its
        // length is that of a random walk: reflected, so its quantile is that of a normal value's
        // size.
        let walk = (2.0 * duration / capacity).sqrt() * (2.0 * tail).sqrt();
        let grown = (tail / free).min(walk.max(tail / capacity));
        (grown * (1.0 + error * self.random.normal()).max(0.1)).max(0.0)
    }
}
