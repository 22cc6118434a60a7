//! Histograms as text, in HdrHistogram's V2 encoding: a header, then the counts in order, each as a
//! ZigZag LEB128 number, a run of zeros as its negative length. Around it are a zlib stream, a second
//! header and base64. It is the text that the tools of all languages read, as it is in the logs of
//! HdrHistogram.
//!
//! The zlib stream is a stored one, which every inflater reads: an own compressor would be code, and
//! somebody else's is five crates. Runs of zeros have become short already.
//! <https://github.com/HdrHistogram/HdrHistogram/blob/master/src/main/java/org/HdrHistogram/EncodableHistogram.java>

mod base64;
mod zlib;

use hdrhistogram::Histogram;

/// What the two headers begin with.
const COMPRESSED: u32 = 0x1c84_9314;
const COUNTS: u32 = 0x1c84_9313;

/// The most times that a histogram may count: what JSON's numbers have exactly. Sums of a few have
/// room to be multiplied.
pub(super) const MOST: u64 = 1 << 53;

/// The histogram as text.
pub(super) fn encode(histogram: &Histogram<u64>) -> String {
    seal(histogram.sigfig(), histogram.max(), &counts(histogram))
}

/// The histogram with these numbers for its counts, which need not make sense, as text.
#[cfg(fuzzing)]
pub fn of_numbers(digits: u8, numbers: impl IntoIterator<Item = i64>) -> String {
    let mut counts = vec![];
    numbers
        .into_iter()
        .for_each(|number| put(&mut counts, number));
    seal(digits, 0, &counts)
}

fn seal(digits: u8, max: u64, counts: &[u8]) -> String {
    let mut plain = COUNTS.to_be_bytes().to_vec();
    plain.extend((counts.len() as u32).to_be_bytes());
    plain.extend(0_u32.to_be_bytes()); // no normalizing offset
    plain.extend(u32::from(digits).to_be_bytes());
    plain.extend(1_u64.to_be_bytes()); // the lowest value
    let highest = u64::MAX >> (max | 2).leading_zeros();
    plain.extend(highest.to_be_bytes());
    plain.extend(1.0_f64.to_be_bytes()); // no conversion to doubles
    plain.extend(counts);
    let stream = zlib::store(&plain);
    let mut whole = COMPRESSED.to_be_bytes().to_vec();
    whole.extend((stream.len() as u32).to_be_bytes());
    whole.extend(stream);
    base64::encode(&whole)
}

/// The histogram of the text.
///
/// # Errors
/// It is no such text, or of another precision than ours; or it counts too much.
pub(super) fn decode(text: &str, digits: u8) -> Result<Histogram<u64>, &'static str> {
    const CUT: &str = "it is cut off";
    let whole = base64::decode(text).ok_or("it is not base64")?;
    let (head, stream) = whole.split_first_chunk::<8>().ok_or(CUT)?;
    if word(head, 0) != Some(COMPRESSED) {
        return Err("it is no V2 histogram");
    }
    if word(head, 4) != u32::try_from(stream.len()).ok() {
        return Err(CUT);
    }
    let plain = zlib::stored(stream).ok_or("its zlib stream is not a stored one, or is damaged")?;
    let (head, counts) = plain.split_first_chunk::<40>().ok_or(CUT)?;
    let is_ours = word(head, 0) == Some(COUNTS)
        && word(head, 8) == Some(0)
        && word(head, 12) == Some(u32::from(digits))
        && head[16..24] == 1_u64.to_be_bytes();
    if !is_ours {
        return Err("it is of another kind or precision");
    }
    if word(head, 4) != u32::try_from(counts.len()).ok() {
        return Err(CUT);
    }
    let mut histogram = Histogram::new(digits).map_err(|_| "there is no such precision")?;
    fill(&mut histogram, counts)?;
    Ok(histogram)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

fn counts(histogram: &Histogram<u64>) -> Vec<u8> {
    let (mut counts, mut next) = (vec![], 0);
    for recorded in histogram.iter_recorded() {
        let index = index(histogram.sigfig(), recorded.value_iterated_to());
        if index > next {
            put(&mut counts, -((index - next) as i64));
        }
        put(&mut counts, recorded.count_at_value() as i64);
        next = index + 1;
    }
    counts
}

fn fill(histogram: &mut Histogram<u64>, mut counts: &[u8]) -> Result<(), &'static str> {
    let (mut index, mut all) = (0_u64, 0_u64);
    while !counts.is_empty() {
        let number = take(&mut counts).ok_or("it ends in the middle of a number")?;
        let Ok(count) = u64::try_from(number) else {
            index = index.saturating_add(number.unsigned_abs());
            continue;
        };
        all = all.saturating_add(count);
        if all > MOST {
            return Err("it counts more than 2^53");
        }
        if count > 0 {
            let value = value(histogram.sigfig(), index).ok_or("it has a time beyond 2^63")?;
            let _ = histogram.record_n(value, count); // its memory is bounded by the largest value
        }
        index = index.saturating_add(1);
    }
    Ok(())
}

/// How many values have counts of their own before the steps begin to double.
fn exact(digits: u8) -> u64 {
    (2 * 10_u64.pow(u32::from(digits))).next_power_of_two()
}

/// The place of a value among the counts.
fn index(digits: u8, value: u64) -> u64 {
    let exact = exact(digits);
    let doublings = (value / exact).checked_ilog2().map_or(0, |log| log + 1);
    u64::from(doublings) * (exact / 2) + (value >> doublings)
}

/// The least value that is counted at a place.
fn value(digits: u8, index: u64) -> Option<u64> {
    let half = exact(digits) / 2;
    let doublings = (index / half).saturating_sub(1);
    let value = u128::from(index - doublings * half) << u32::try_from(doublings.min(64)).ok()?;
    u64::try_from(value).ok().filter(|value| *value < 1 << 63)
}

/// ZigZag and LEB128, of nine bytes at most: the last one has eight bits.
fn put(bytes: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    for _ in 0..8 {
        if rest < 0x80 {
            break;
        }
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

fn take(bytes: &mut &[u8]) -> Option<i64> {
    let mut zigzag = 0;
    for place in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if place == 8 || *byte < 0x80 {
            zigzag |= u64::from(*byte) << (7 * place);
            break;
        }
        zigzag |= u64::from(byte & 0x7f) << (7 * place);
    }
    Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(digits: u8, values: &[(u64, u64)]) -> Histogram<u64> {
        let mut histogram = Histogram::new(digits).unwrap();
        for (value, count) in values {
            histogram.record_n(*value, *count).unwrap();
        }
        histogram
    }

    /// What is read back has every count where it was.
    #[test]
    fn histograms_are_read_back() {
        let check = |values: &[(u64, u64)]| {
            for digits in [2, 3] {
                let histogram = histogram(digits, values);
                let text = encode(&histogram);
                let read = decode(&text, digits).unwrap();
                assert_eq!(read, histogram, "{values:?}");
                assert_eq!(encode(&read), text);
            }
        };
        check(&[]);
        check(&[(0, 1)]);
        check(&[(0, 3), (1, 1), (2047, 1), (2048, 1), (2049, 1), (4096, 1)]);
        check(&[(1, MOST)]);
        check(&[((1 << 63) - 1, 1)]);
        let many: Vec<(u64, u64)> = (1..5000).map(|n| (n * n * 977, n)).collect();
        check(&many);
        let doublings: Vec<(u64, u64)> = (0..63).map(|n| (1 << n, 1 << (n % 40))).collect();
        check(&doublings);
    }

    /// Python's package hdrhistogram makes the same of 1, 1000, 1000 and 70000, before it compresses it.
    #[test]
    fn the_encoding_is_that_of_others() {
        let histogram = histogram(3, &[(1, 1), (1000, 2), (70_000, 1)]);
        let whole = base64::decode(&encode(&histogram)).unwrap();
        let plain = zlib::stored(&whole[8..]).unwrap();
        assert_eq!(plain[40..], [1, 2, 203, 15, 4, 183, 97, 2]);
    }

    #[test]
    fn numbers_are_read_back() {
        for number in [
            0,
            1,
            -1,
            63,
            64,
            -64,
            -65,
            300,
            i64::MAX,
            i64::MIN,
            1 << 55,
            1 << 56,
        ] {
            let mut bytes = vec![];
            put(&mut bytes, number);
            assert!(bytes.len() <= 9);
            let mut rest = &bytes[..];
            assert_eq!((take(&mut rest), rest.len()), (Some(number), 0));
        }
        assert_eq!(take(&mut &[0x80, 0x80][..]), None);
    }

    #[test]
    fn damaged_text_is_refused() {
        let text = encode(&histogram(3, &[(1, 1), (70_000, 5)]));
        for end in 0..text.len() {
            assert!(decode(&text[..end], 3).is_err(), "{end}");
        }
        assert!(decode(&text, 2).is_err(), "another precision");
        for place in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[place] = if damaged[place] == b'A' { b'B' } else { b'A' };
            let damaged = String::from_utf8(damaged).unwrap();
            let read = decode(&damaged, 3); // but for what it says of its highest value
            assert!(read.is_err() || read == decode(&text, 3), "{place}");
        }
        let whole = base64::decode(&text).unwrap();
        let mut plain = zlib::stored(&whole[8..]).unwrap();
        plain.push(0); // one more than it says
        let stream = zlib::store(&plain);
        let length = (stream.len() as u32).to_be_bytes();
        let longer = [&whole[..4], &length, &stream].concat();
        assert_eq!(decode(&base64::encode(&longer), 3), Err("it is cut off"));
        let too_many = encode(&histogram(3, &[(1, MOST), (70_000, 1)]));
        assert_eq!(decode(&too_many, 3), Err("it counts more than 2^53"));
    }
}
