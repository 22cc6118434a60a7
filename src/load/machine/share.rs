//! What part of a run one of its threads has.

/// The part of one thread. Of everything that is counted, from 0 on, it has the numbers `place`,
/// `place + of`, `place + 2 * of` and so on. So the parts are as equal as can be, they make exactly the
/// whole, and what they begin at a common rate is even in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    place: u64,
    /// Invariant: at least 1.
    of: u64,
}

impl Share {
    /// The share of the only thread.
    #[cfg(test)]
    pub(crate) const WHOLE: Self = Self { place: 0, of: 1 };

    /// More connections than a run with threads will open: a million a second for twelve days.
    const ENDLESS: u64 = 1 << 40;

    /// The shares of so many threads.
    pub(crate) fn all(threads: u64) -> impl Iterator<Item = Self> {
        let of = threads.max(1);
        (0..of).map(move |place| Self { place, of })
    }

    pub(crate) fn place(self) -> u64 {
        self.place
    }

    /// How many of the first `count` it has.
    pub(crate) fn part(self, count: u64) -> u64 {
        count / self.of + u64::from(self.place < count % self.of)
    }

    /// The same, of counts beyond 2^64.
    pub(crate) fn part_of_many(self, count: u128) -> u128 {
        let of = u128::from(self.of);
        count / of + u128::from(u128::from(self.place) < count % of)
    }

    /// The most that it has of two counts whose sum is `count`.
    pub(crate) fn most(self, count: u64) -> u64 {
        count.div_ceil(self.of) + u64::from(self.of > 1)
    }

    /// The number, among all, of the one that has the number `own` in its part.
    pub(crate) fn number(self, own: u64) -> u64 {
        own.saturating_mul(self.of).saturating_add(self.place)
    }

    /// A bound for the numbers that all threads have used, when this one has used `own`. It does not
    /// know how far the others are.
    pub(crate) fn end(self, own: u64) -> u64 {
        match self.of {
            1 => own,
            _ => self.number(own).max(Self::ENDLESS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_make_the_whole() {
        for threads in 1..=40 {
            for count in (0..200).chain([u64::MAX - 1, u64::MAX]) {
                let parts: Vec<u64> = Share::all(threads).map(|share| share.part(count)).collect();
                let sum: u128 = parts.iter().map(|part| u128::from(*part)).sum();
                assert_eq!(sum, u128::from(count), "{threads} threads");
                let (least, most) = (parts.iter().min().unwrap(), parts.iter().max().unwrap());
                assert!(most - least <= 1, "{threads} threads: {parts:?}");
                for (share, part) in Share::all(threads).zip(parts) {
                    assert_eq!(share.part_of_many(count.into()), part.into());
                    let other = count / 3;
                    assert!(share.part(other) + share.part(count - other) <= share.most(count));
                }
            }
        }
    }

    #[test]
    fn every_number_belongs_to_one_thread() {
        for threads in 1..=20 {
            let numbers = |share: Share| (0..share.part(1000)).map(move |own| share.number(own));
            let mut all: Vec<u64> = Share::all(threads).flat_map(numbers).collect();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..1000), "{threads} threads");
            assert!(Share::all(threads).map(Share::place).eq(0..threads));
        }
    }

    /// The only thread knows which numbers are used. One of several knows its own, and that the
    /// others have not opened a million a second for twelve days.
    #[test]
    fn numbers_have_a_bound() {
        assert_eq!([0, 1, 9].map(|own| Share::WHOLE.end(own)), [0, 1, 9]);
        for share in Share::all(3) {
            assert!(share.end(1) > 1_000_000 * 86_400 * 12, "{share:?}");
            assert_eq!(share.end(1 << 50), share.number(1 << 50), "{share:?}");
        }
    }
}
