//! A zlib stream that stores its bytes (RFC 1950, and RFC 1951, section 3.2.4).

/// Deflate, with a window of 32 KiB and no dictionary.
const HEAD: [u8; 2] = [0x78, 0x01];

/// The most bytes in a stored block.
const BLOCK: usize = 0xffff;

pub(super) fn store(bytes: &[u8]) -> Vec<u8> {
    let mut stream = HEAD.to_vec();
    let mut rest = bytes;
    loop {
        let (block, others) = rest.split_at(rest.len().min(BLOCK));
        let length = block.len() as u16;
        stream.push(u8::from(others.is_empty())); // the last one says so
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(block);
        rest = others;
        if rest.is_empty() {
            break;
        }
    }
    stream.extend(adler32(bytes).to_be_bytes());
    stream
}

/// What the stream stores. `None`: it is compressed, cut off or damaged.
pub(super) fn stored(stream: &[u8]) -> Option<Vec<u8>> {
    let mut rest = stream.strip_prefix(&HEAD)?;
    let mut bytes = vec![];
    loop {
        let (head, others) = rest.split_first_chunk::<5>()?;
        let length = u16::from_le_bytes([head[1], head[2]]);
        if head[0] > 1 || u16::from_le_bytes([head[3], head[4]]) != !length {
            return None;
        }
        let (block, others) = others.split_at_checked(length.into())?;
        bytes.extend(block);
        rest = others;
        if head[0] == 1 {
            break;
        }
    }
    (rest == adler32(&bytes).to_be_bytes()).then_some(bytes)
}

fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    let sum = |(a, b): (u32, u32), byte: &u8| {
        let a = (a + u32::from(*byte)) % MODULUS;
        (a, (b + a) % MODULUS)
    };
    let (a, b) = bytes.iter().fold((1, 0), sum);
    b << 16 | a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_stored_and_found_again() {
        for length in [0, 1, 65_535, 65_536, 200_000] {
            let bytes: Vec<u8> = (0..length).map(|n: u32| (n % 251) as u8).collect();
            assert_eq!(stored(&store(&bytes)).unwrap(), bytes);
        }
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
        let stream = store(b"hello");
        for place in 0..stream.len() {
            let mut damaged = stream.clone();
            damaged[place] ^= 0x10;
            assert_eq!(stored(&damaged), None, "{place}");
            assert_eq!(stored(&stream[..place]), None);
        }
    }
}
