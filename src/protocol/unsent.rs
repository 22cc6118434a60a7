//! Bytes that a protocol owes its peer, wherever they are.

/// What is left to be sent of some bytes that were received: in the scratch buffer at first, and on
/// the heap when others need that. So only a short write leads to an allocation, and an idle
/// connection has no buffer.
#[derive(Debug, Default)]
pub struct Unsent(Place);

#[derive(Debug, Default)]
enum Place {
    #[default]
    Nowhere,
    /// The first `len` bytes of the scratch buffer, of which `sent` are gone.
    Scratch {
        len: u32,
        sent: u32,
    },
    Heap(Box<Kept>),
}

#[derive(Debug)]
struct Kept {
    bytes: Box<[u8]>,
    sent: usize,
}

impl Unsent {
    /// The first `len` bytes of the scratch buffer, all of them still to be sent.
    #[must_use]
    #[inline]
    pub fn in_scratch(len: usize) -> Self {
        // Lossless: a scratch buffer of 4 GiB is not to be had.
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        Self(Place::Scratch { len, sent: 0 })
    }

    /// What is left; nothing if all of it is sent.
    #[must_use]
    #[inline]
    pub fn rest<'a>(&'a self, scratch: &'a [u8]) -> &'a [u8] {
        match &self.0 {
            Place::Nowhere => &[],
            Place::Scratch { len, sent } => &scratch[*sent as usize..*len as usize],
            Place::Heap(kept) => &kept.bytes[kept.sent..],
        }
    }

    /// `n` bytes of the rest are sent. With the last of them the memory is freed.
    #[inline]
    pub fn advance(&mut self, n: usize) {
        let left = match &mut self.0 {
            Place::Nowhere => 0,
            Place::Scratch { len, sent } => {
                *sent = sent.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
                len.saturating_sub(*sent) as usize
            }
            Place::Heap(kept) => {
                kept.sent += n;
                kept.bytes.len().saturating_sub(kept.sent)
            }
        };
        if left == 0 {
            self.0 = Place::Nowhere;
        }
    }

    /// How many bytes are on the heap. For [`Protocol::kept`](super::Protocol::kept).
    #[must_use]
    #[inline]
    pub fn kept(&self) -> usize {
        match &self.0 {
            Place::Nowhere | Place::Scratch { .. } => 0,
            Place::Heap(kept) => kept.bytes.len(),
        }
    }

    /// Takes what is left out of the scratch buffer. For [`Protocol::keep`](super::Protocol::keep).
    #[inline]
    pub fn keep(&mut self, scratch: &[u8]) {
        if let Place::Scratch { .. } = self.0 {
            let (bytes, sent) = (self.rest(scratch).into(), 0);
            self.0 = Place::Heap(Box::new(Kept { bytes, sent }));
        }
    }
}
