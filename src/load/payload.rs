//! What a connection sends: bytes that no other connection of the run sends, and that the next run
//! with the same seed sends again. Nothing is stored: every byte follows from its place.

/// The payloads of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payloads {
    seed: u64,
    shortest: usize,
    longest: usize,
}

/// The first bytes of a payload name its connection, if it is that long.
const NAME: usize = 8;

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

    /// How many bytes connection `id` sends.
    #[must_use]
    pub fn length(&self, id: u64) -> usize {
        let choices = (self.longest - self.shortest) as u64 + 1;
        self.shortest + (mix(self.seed ^ mix(!id)) % choices) as usize
    }

    /// Writes what connection `id` sends from the byte at `place` on into the buffer.
    pub fn fill(&self, id: u64, place: usize, buffer: &mut [u8]) {
        let mut place = place;
        let mut rest = buffer;
        while !rest.is_empty() {
            let word = self.word(id, place / 8).to_le_bytes();
            let part = &word[place % 8..];
            let n = part.len().min(rest.len());
            let (filled, unfilled) = rest.split_at_mut(n);
            filled.copy_from_slice(&part[..n]);
            rest = unfilled;
            place += n;
        }
    }

    /// Whose payload begins with these bytes, if it is one of the connections before `end`.
    #[must_use]
    pub fn owner(&self, bytes: &[u8], end: u64) -> Option<u64> {
        let name = bytes.first_chunk::<NAME>()?;
        let id = u64::from_le_bytes(*name) ^ mix(self.seed);
        Some(id).filter(|id| *id < end)
    }

    /// Eight bytes of the payload of `id`; the first are its name.
    fn word(&self, id: u64, index: usize) -> u64 {
        match index {
            0 => id ^ mix(self.seed),
            _ => mix(mix(self.seed ^ id).wrapping_add(index as u64)),
        }
    }
}

/// One round of splitmix64: a different number for every number, without a visible pattern.
fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
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
            assert!((0..1000).all(|id| seen.insert(payload(payloads, id))));
        }
    }

    #[test]
    fn lengths_cover_their_range() {
        let payloads = Payloads::new(1, 3, 6);
        let lengths: std::collections::BTreeSet<_> =
            (0..1000).map(|id| payloads.length(id)).collect();
        assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [3, 4, 5, 6]);
        assert_eq!(Payloads::new(1, 9, 1).length(5), 9);
    }

    #[test]
    fn a_payload_names_its_connection() {
        let payloads = Payloads::new(42, 8, 8);
        assert_eq!(payloads.owner(&payload(payloads, 17), 18), Some(17));
        assert_eq!(payloads.owner(&payload(payloads, 17), 17), None);
        assert_eq!(payloads.owner(&[0; 8], 1_000_000), None);
        assert_eq!(payloads.owner(&[0; 7], 1_000_000), None);
    }
}
