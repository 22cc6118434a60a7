//! The times of exchanges by when they ended: samples, to compare one run with another.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The most windows. If there are more, every two become one, so there are more than half as many.
pub(crate) const WINDOWS: usize = 80;

/// The shortest window.
const SHORTEST: Duration = Duration::from_millis(10);

/// The digits to which a window's times are exact. A figure that is read between the steps is exact to
/// more, and three digits would take eight times the memory.
const DIGITS: u8 = 2;

/// The times of a run's exchanges in windows of equal length, from its start. A window keeps all its
/// times, so windows that are joined or added have exact counts, and their percentiles are not means
/// of percentiles.
#[derive(Clone, Debug, PartialEq)]
pub struct Windows {
    length: Duration,
    times: Vec<Histogram<u64>>,
    now: Duration,
}

impl Default for Windows {
    /// A run that begins.
    fn default() -> Self {
        Self {
            length: SHORTEST,
            times: vec![],
            now: Duration::ZERO,
        }
    }
}

impl Windows {
    /// These windows, from the start of a run. `None`: no run of ours has so many, or such ones.
    pub(crate) fn new(length: Duration, times: Vec<Histogram<u64>>) -> Option<Self> {
        let is_like_ours = |window: &Histogram<u64>| window.sigfig() == DIGITS;
        let joins = length.as_nanos() / SHORTEST.as_nanos();
        let is_length = joins.is_power_of_two() && SHORTEST.as_nanos() * joins == length.as_nanos();
        (is_length && times.len() <= WINDOWS && times.iter().all(is_like_ours)).then_some(Self {
            length,
            times,
            now: Duration::ZERO,
        })
    }

    /// A window without a time. `None` never comes: two digits are a precision that there is.
    pub(crate) fn empty() -> Option<Histogram<u64>> {
        Histogram::new(DIGITS).ok()
    }

    /// How long each window is.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }

    /// The times in each window, in nanoseconds. Windows at the end without a time are left out.
    #[must_use]
    pub fn times(&self) -> &[Histogram<u64>] {
        &self.times
    }

    /// From now on exchanges end at this moment of the run.
    pub(super) fn advance(&mut self, now: Duration) {
        self.now = now;
    }

    /// The moment of the last [`advance`](Self::advance).
    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// An exchange ended that took so long.
    pub(super) fn record(&mut self, took: Duration) {
        let at = self.now;
        if let Some(window) = self.at(at) {
            super::record(window, took);
        }
    }

    /// Adds windows that began so much later. Each goes as a whole where its middle lies: exactly where
    /// it was, if both began at the same time.
    pub(super) fn add(&mut self, other: &Self, later: Duration) {
        let mut other = other.clone();
        while other.length < self.length {
            other.join();
        }
        while self.length < other.length {
            self.join();
        }
        for (i, times) in (0..)
            .zip(&other.times)
            .filter(|(_, times)| !times.is_empty())
        {
            let middle = later + other.length * i + other.length / 2;
            if let Some(window) = self.at(middle) {
                super::add(window, times);
            }
        }
        self.now = self.now.max(later + other.now);
    }

    /// The windows of at least this length, each of so many of ours that they are equally long.
    #[must_use]
    pub fn joined(&self, length: Duration) -> Self {
        let mut joined = self.clone();
        while joined.length < length {
            joined.join();
        }
        joined
    }

    /// The window of a moment. It is made if it is not there yet.
    fn at(&mut self, moment: Duration) -> Option<&mut Histogram<u64>> {
        while moment.as_nanos() >= self.length.as_nanos() * WINDOWS as u128 {
            self.join();
        }
        let place = (moment.as_nanos() / self.length.as_nanos()) as usize;
        while self.times.len() <= place {
            self.times.push(Self::empty()?);
        }
        self.times.get_mut(place)
    }

    /// Every two windows become one.
    fn join(&mut self) {
        let mut windows = std::mem::take(&mut self.times).into_iter();
        while let Some(mut window) = windows.next() {
            if let Some(next) = windows.next() {
                super::add(&mut window, &next);
            }
            self.times.push(window);
        }
        self.length *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An exchange every so many milliseconds, which takes as many microseconds as its number.
    fn windows(every: u64, count: u64) -> Windows {
        let mut windows = Windows::default();
        for number in 0..count {
            windows.advance(Duration::from_millis(number * every));
            windows.record(Duration::from_micros(number));
        }
        windows
    }

    fn counts(windows: &Windows) -> Vec<u64> {
        windows.times.iter().map(Histogram::len).collect()
    }

    #[test]
    fn windows_stay_few_and_lose_nothing() {
        for count in [1, 79, 80, 81, 1000, 100_000] {
            let windows = windows(10, count);
            let (all, most) = (counts(&windows), count.min(WINDOWS as u64));
            assert!(
                all.len() as u64 <= most && all.len() as u64 * 2 > most,
                "{all:?}"
            );
            assert_eq!(all.iter().sum::<u64>(), count);
            let each = windows.length.as_millis() as u64 / 10;
            let (last, others) = all.split_last().unwrap();
            assert!(
                *last <= each && others.iter().all(|n| *n == each),
                "{all:?}"
            );
        }
    }

    /// Two clients that began together have the windows of one that did the work of both.
    #[test]
    fn windows_of_the_same_time_are_added_exactly() {
        let mut both = windows(10, 3000);
        both.add(&windows(20, 1500), Duration::ZERO);
        let mut odd = Windows::default();
        let mut whole = Windows::default();
        for number in 0..3000 {
            for (every, took) in [(10, number), (20, number)] {
                if every == 20 && number >= 1500 {
                    continue;
                }
                whole.advance(Duration::from_millis(number * every));
                whole.record(Duration::from_micros(took));
                odd.advance(whole.now());
            }
        }
        assert_eq!((both.length, &both.times), (whole.length, &whole.times));
    }

    #[test]
    fn windows_of_two_lengths_get_the_longer_one() {
        let [short, long] = [40, 200].map(|count| windows(10, count));
        let lengths = [short.length(), long.length()].map(|length| length.as_millis());
        assert_eq!(lengths, [10, 40]);
        let joined = short.joined(long.length());
        for (one, other, count) in [
            (&short, &long, 50),
            (&long, &short, 50),
            (&short, &joined, 10),
            (&joined, &short, 10),
        ] {
            let mut sum = one.clone();
            sum.add(other, Duration::ZERO);
            let expected: Vec<u64> = (0..count).map(|i| if i < 10 { 8 } else { 4 }).collect();
            assert_eq!((sum.length(), counts(&sum)), (long.length(), expected));
        }
        for (ms, length, count) in [(10, 10, 1), (35, 40, 4), (40, 40, 4)] {
            let joined = short.joined(Duration::from_millis(ms));
            assert_eq!(joined.length(), Duration::from_millis(length), "{ms}");
            assert!(counts(&joined).iter().all(|n| *n == count), "{joined:?}");
        }
    }

    #[test]
    fn windows_that_began_later_are_moved() {
        let mut sum = windows(10, 40);
        sum.add(&windows(10, 40), Duration::from_millis(204));
        let expected: Vec<u64> = (0..60)
            .map(|i| if (20..40).contains(&i) { 2 } else { 1 })
            .collect();
        assert_eq!(counts(&sum), expected);
        // However late they are, they stay few.
        sum.add(&windows(10, 40), Duration::from_secs(u64::from(u32::MAX)));
        assert_eq!(counts(&sum).iter().sum::<u64>(), 120);
        assert!(sum.times.len() <= WINDOWS);
    }
}
