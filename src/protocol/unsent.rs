//! Bytes that a protocol still has to send, wherever they are.

/// The rest of some bytes that were received and are to be sent. They are in the scratch buffer at
/// first, and on the heap when others need the buffer. So only a short write leads to an
/// allocation, and an idle connection has no buffer.
#[derive(Debug, Default)]
pub struct Unsent(Place);

#[derive(Debug, Default)]
enum Place {
    #[default]
    Nowhere,
    /// The first `len` bytes of the scratch buffer, of which `sent` are sent.
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
        // Lossless: no scratch buffer has 4 GiB.
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        Self(Place::Scratch { len, sent: 0 })
    }

    /// The rest; empty if all is sent. `scratch` is what [`Protocol::want`](super::Protocol::want) is
    /// given.
    ///
    /// # Panics
    /// If `scratch` is shorter than what was received. A test passes the bytes to `want` that it
    /// passed to [`handle_received`](super::Protocol::handle_received).
    #[must_use]
    #[inline]
    pub fn rest<'a>(&'a self, scratch: &'a [u8]) -> &'a [u8] {
        match &self.0 {
            Place::Nowhere => &[],
            Place::Scratch { len, sent } => &scratch[*sent as usize..*len as usize],
            Place::Heap(kept) => &kept.bytes[kept.sent..],
        }
    }

    /// `n` more bytes are sent, or are not to be sent: a header that is not echoed. The last of them
    /// frees the memory.
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

    /// How many bytes are on the heap, for [`Protocol::kept`](super::Protocol::kept).
    #[must_use]
    #[inline]
    pub fn kept(&self) -> usize {
        match &self.0 {
            Place::Nowhere | Place::Scratch { .. } => 0,
            Place::Heap(kept) => kept.bytes.len(),
        }
    }

    /// Copies the rest out of the scratch buffer, for [`Protocol::keep`](super::Protocol::keep).
    #[inline]
    pub fn keep(&mut self, scratch: &[u8]) {
        if let Place::Scratch { .. } = self.0 {
            let (bytes, sent) = (self.rest(scratch).into(), 0);
            self.0 = Place::Heap(Box::new(Kept { bytes, sent }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_all_cannot_be_sent() {
        let mut unsent = Unsent::in_scratch(2);
        unsent.advance(3);
        assert_eq!((unsent.rest(b"ab"), unsent.kept()), (&b""[..], 0));
        unsent.advance(1);
        unsent.keep(b"ab");
        assert_eq!((unsent.rest(b"ab"), unsent.kept()), (&b""[..], 0));
    }
}
