//! What a connection sends: bytes that no other connection of the run sends. A later run with the
//! same seed sends the same bytes. Nothing is stored: every byte is computed from its place.

/// The payloads of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payloads {
    seed: u64,
    shortest: usize,
    longest: usize,
}

/// A payload consists of words of eight bytes. Each is computed from the connection's number by
/// steps that can be undone, so each word tells which connection it belongs to.
const WORD: usize = 8;

impl Payloads {
    /// Payloads of `shortest` to `longest` bytes, each length as likely as the others.
    #[must_use]
    pub fn new(seed: u64, shortest: usize, longest: usize) -> Self {
        Self {
            seed,
            shortest,
            longest: longest.max(shortest),
        }
    }

    /// The length of the shortest payload and of the longest.
    #[must_use]
    pub fn lengths(&self) -> (usize, usize) {
        (self.shortest, self.longest)
    }

    /// Those of the next run: of the same lengths, with other bytes.
    #[must_use]
    pub fn next(self) -> Self {
        Self {
            seed: mix(self.seed),
            ..self
        }
    }

    /// How many bytes connection `id` sends.
    #[must_use]
    pub fn length(&self, id: u64) -> usize {
        let choices = (self.longest - self.shortest) as u64 + 1;
        self.shortest + (mix(self.seed ^ mix(id)) % choices) as usize
    }

    /// Writes what connection `id` sends from the byte at `place` on into the buffer.
    pub fn fill(&self, id: u64, place: usize, buffer: &mut [u8]) {
        let mut place = place;
        let mut rest = buffer;
        while !rest.is_empty() {
            let word = self.word(id, place / WORD).to_le_bytes();
            let part = &word[place % WORD..];
            let n = part.len().min(rest.len());
            let (filled, unfilled) = rest.split_at_mut(n);
            filled.copy_from_slice(&part[..n]);
            rest = unfilled;
            place += n;
        }
    }

    /// The connection whose payload has these bytes from `place` on, if its number is below `end`.
    /// The bytes must contain a whole word.
    #[must_use]
    pub fn owner(&self, place: usize, bytes: &[u8], end: u64) -> Option<u64> {
        let index = place.div_ceil(WORD);
        let word = bytes.get(index * WORD - place..)?.first_chunk::<WORD>()?;
        let mixed = unmix(u64::from_le_bytes(*word)).wrapping_sub(index as u64);
        let id = unmix(mixed) ^ mix(self.seed);
        Some(id).filter(|id| *id < end)
    }

    fn word(&self, id: u64, index: usize) -> u64 {
        mix(mix(id ^ mix(self.seed)).wrapping_add(index as u64))
    }
}

pub(super) const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
const MULTIPLIERS: [u64; 2] = [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb];

/// One round of splitmix64: a different number for every number, without a visible pattern.
pub(super) fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(GAMMA);
    let z = (z ^ (z >> 30)).wrapping_mul(MULTIPLIERS[0]);
    let z = (z ^ (z >> 27)).wrapping_mul(MULTIPLIERS[1]);
    z ^ (z >> 31)
}

/// The inverse of [`mix`].
fn unmix(mixed: u64) -> u64 {
    let z = unshift(mixed, 31).wrapping_mul(inverse(MULTIPLIERS[1]));
    let z = unshift(z, 27).wrapping_mul(inverse(MULTIPLIERS[0]));
    unshift(z, 30).wrapping_sub(GAMMA)
}

/// The `z` for which `shifted` is `z ^ (z >> by)`, if `by` is from 22 to 31: each further term would be
/// shifted out.
fn unshift(shifted: u64, by: u32) -> u64 {
    shifted ^ (shifted >> by) ^ (shifted >> (2 * by))
}

/// The number that gives 1 when multiplied by `odd`, by Newton's method. Three bits are right at
/// first, and each round doubles them.
fn inverse(odd: u64) -> u64 {
    (0..5).fold(odd, |inverse, _| {
        inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(payloads: Payloads, id: u64) -> Vec<u8> {
        let mut payload = vec![0; payloads.length(id)];
        payloads.fill(id, 0, &mut payload);
        payload
    }

    #[test]
    fn a_payload_is_the_same_however_it_is_cut() {
        let payloads = Payloads::new(7, 1000, 1000);
        let whole = payload(payloads, 3);
        for size in [1, 3, 8, 13, 999] {
            for (i, part) in whole.chunks(size).enumerate() {
                let mut cut = vec![0; part.len()];
                payloads.fill(3, i * size, &mut cut);
                assert_eq!(cut, part);
            }
        }
    }

    #[test]
    fn every_connection_and_every_seed_has_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..10 {
            let payloads = Payloads::new(seed, 20, 20);
            for payloads in [payloads, payloads.next()] {
                assert!((0..1000).all(|id| seen.insert(payload(payloads, id))));
            }
        }
    }

    #[test]
    fn lengths_cover_their_range() {
        for seed in [0, 1, u64::MAX] {
            let payloads = Payloads::new(seed, 3, 6);
            let lengths: std::collections::BTreeSet<_> =
                (0..1000).map(|id| payloads.length(id)).collect();
            assert!(lengths.into_iter().eq(3..=6), "{seed}");
            assert_eq!(payloads.lengths(), (3, 6));
        }
        let payloads = Payloads::new(1, 9, 1);
        assert_eq!((payloads.length(5), payloads.lengths()), (9, (9, 9)));
    }

    #[test]
    fn every_word_of_a_payload_names_its_connection() {
        let payloads = Payloads::new(u64::MAX, 40, 40);
        for id in [0, 17, 1 << 40] {
            let payload = payload(payloads, id);
            for place in 0..=25 {
                let (bytes, end) = (&payload[place..], id + 1);
                assert_eq!(payloads.owner(place, bytes, end), Some(id), "{place}");
                assert_eq!(payloads.owner(place, bytes, id), None, "{place}");
                assert_eq!(payloads.owner(place + 1, bytes, end), None, "{place}");
                for bit in 0..8 {
                    let mut flipped = bytes.to_vec();
                    flipped[7] ^= 1 << bit;
                    assert_eq!(payloads.owner(place, &flipped, end), None, "{place} {bit}");
                }
            }
            assert_eq!(
                payloads.owner(33, &payload[33..], id + 1),
                None,
                "too short"
            );
        }
        assert_eq!(payloads.owner(0, &[0; 8], 1_000_000), None);
    }
}
