//! A file of reports, as `--merge` and `--baseline` read it. Whatever is in it, reading takes memory in
//! proportion. A report that was read, written and read again is the same, so is its sum with itself,
//! and beside itself it is no faster and no slower.
//!
//! In place of a histogram's text, which has a checksum, the input may have a list: the digits, and
//! then the numbers that the text has for the counts.

#![no_main]

use hello_echo::load::Random;
use hello_echo::load::program::read_text;
use hello_echo::load::report::{Report, html, of_numbers};
use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target, fuzzer_mutate};
use serde_json::{Deserializer, Value, json};

/// The most bytes that reading takes: for any file, and for each of its bytes. A histogram with one
/// time is 88 bytes of text, and in memory up to 55,000 counts.
const MEMORY: usize = 16 << 20;
const MEMORY_FOR_BYTE: usize = 5_000;

fuzz_target!(|input: &[u8]| -> Corpus {
    let file = with_texts(input);
    let mut read = None;
    let cost = allocation_counter::measure(|| read = Some(read_text(&file)));
    let most = MEMORY + MEMORY_FOR_BYTE * file.len();
    assert!(cost.bytes_max <= most as u64, "{} bytes", cost.bytes_max);
    let Some(Ok(sum)) = read else {
        return Corpus::Reject; // what is made of it would be refused, too
    };
    let report = check_same(&sum); // a sum may have missed more than a number in JSON can tell exactly
    let again = check_same(&report);
    assert_eq!(again.to_string(), report.to_string());
    assert_eq!(again.markdown(), report.markdown());
    assert!(
        html::page(&again) == html::page(&report),
        "the pages differ"
    );
    check_sum(&report);
    check_beside(report);
    Corpus::Keep
});

/// The file, with texts in place of lists for histograms. What is no JSON stays as it is.
fn with_texts(input: &[u8]) -> Vec<u8> {
    let mut file = vec![];
    let mut values = Deserializer::from_slice(input).into_iter::<Value>();
    while let Some(Ok(mut value)) = values.next() {
        put_texts(&mut value, false);
        file.extend(value.to_string().into_bytes());
    }
    file.extend(&input[values.byte_offset()..]);
    file
}

fn put_texts(value: &mut Value, is_histogram: bool) {
    match value {
        Value::Array(list) if is_histogram => {
            let numbers: Option<Vec<i64>> = list.iter().map(Value::as_i64).collect();
            if let Some([digits, counts @ ..]) = numbers.as_deref() {
                *value = of_numbers(*digits as u8, counts.iter().copied()).into();
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| put_texts(value, false)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("histograms", Value::Object(all)) => {
                        all.values_mut().for_each(|value| put_texts(value, true));
                    }
                    ("histogram", value) => put_texts(value, true),
                    ("total", Value::Array(windows)) => {
                        windows.iter_mut().for_each(|value| put_texts(value, true));
                    }
                    (_, value) => put_texts(value, false),
                }
            }
        }
        _ => {}
    }
}

/// Written and read again, it has the same in every field.
fn check_same(report: &Report) -> Report {
    let json = report.json();
    let text = json.to_string();
    let again = read_text(text.as_bytes()).expect("what is written can be read");
    assert_same(&again.json(), &json);
    again
}

/// Names the field that differs, as the objects are long.
fn assert_same(found: &Value, expected: &Value) {
    for (name, value) in expected.as_object().expect("a report is an object") {
        let found = &found[name];
        assert!(is_same(found, value), "{name}: {found} is not {value}");
    }
}

/// A time of years has nanoseconds that a number in JSON cannot tell.
fn is_same(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(found), Value::Object(expected)) => {
            let is_same =
                |(name, value)| found.get(name).is_some_and(|found| is_same(found, value));
            found.len() == expected.len() && expected.iter().all(is_same)
        }
        (Value::Number(found), Value::Number(expected)) if found.is_f64() => {
            let pair = found.as_f64().zip(expected.as_f64());
            pair.is_some_and(|(a, b)| (a - b).abs() <= b.abs() * 1e-14)
        }
        (found, expected) => found == expected,
    }
}

fn check_sum(report: &Report) {
    let text = report.json().to_string();
    let sum = match read_text(text.repeat(2).as_bytes()) {
        Ok(sum) => sum,
        Err(why) => {
            let why = why.to_string();
            return assert!(why.starts_with("the sum is no report: "), "{why}");
        }
    };
    check_same(&sum);
    let (found, once) = (sum.json(), report.json());
    for name in [
        "opened",
        "right",
        "given_up",
        "held",
        "bytes_sent",
        "bytes_echoed",
    ] {
        let twice = once[name].as_u64().map(|count| count * 2);
        assert_eq!(found[name].as_u64(), twice, "{name}");
    }
    for (name, figures) in once["latency_us"].as_object().expect("it is an object") {
        let twice = figures["count"].as_u64().map(|count| count * 2);
        assert_eq!(found["latency_us"][name]["count"].as_u64(), twice, "{name}");
        assert_eq!(found["latency_us"][name]["max"], figures["max"], "{name}");
    }
}

fn check_beside(mut report: Report) {
    report.baseline = Some(Box::new(report.clone()));
    let json = report.json();
    for (name, compared) in json["baseline"]["compared"]
        .as_object()
        .expect("it is an object")
    {
        let verdict = compared["verdict"].as_str();
        let is_same = matches!(verdict, Some("no difference" | "too short to tell"));
        assert!(is_same, "{name}: {verdict:?}");
        assert_eq!(compared["ratio"], json!(1.0), "{name}");
    }
    let _ = (report.to_string(), report.markdown(), html::page(&report));
}

// Bytes that change at random are rarely JSON, and a report of another shape is refused. So most
// changes are those of a value, which may be anywhere in the first report.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random(seed.into());
    let mut values = Deserializer::from_slice(&data[..size]).into_iter::<Value>();
    let (Some(Ok(mut value)), 1..) = (values.next(), random.below(4)) else {
        return fuzzer_mutate(data, size, max_size);
    };
    let rest = values.byte_offset();
    let other = pick(&mut value, &mut random).clone();
    change(pick(&mut value, &mut random), other, &mut random);
    let mut text = value.to_string().into_bytes();
    text.extend(&data[rest..size]);
    if text.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..text.len()].copy_from_slice(&text);
    text.len()
});

fn change(value: &mut Value, other: Value, random: &mut Random) {
    const COUNTS: [u64; 6] = [0, 1, 1 << 52, 1 << 53, 1 << 63, u64::MAX];
    match (value, random.below(8)) {
        (value, 0) => *value = other,
        (value, 1) => *value = COUNTS[random.below(COUNTS.len())].into(),
        (value, 2) => {
            let exponent = random.below(24) as i32 - 27;
            *value = (random.below(1 << 53) as f64 * 10_f64.powi(exponent)).into();
        }
        (value @ Value::Number(_), at) => {
            let whole = value.as_i64().map(|n| match at {
                3 => n.wrapping_add(1).into(),
                4 => n.wrapping_neg().into(),
                _ => n.wrapping_mul(1 << random.below(9)).into(),
            });
            let halved = value.as_f64().map(|n| (n / 2.0).into());
            *value = whole.or(halved).unwrap_or(Value::Null);
        }
        (Value::Array(list), 3 | 4) if !list.is_empty() => {
            list.remove(random.below(list.len()));
        }
        (Value::Array(list), _) => {
            let place = random.below(list.len() + 1);
            let same = list.get(place).cloned().unwrap_or(other);
            list.insert(place, same);
        }
        (Value::Object(fields), _) if !fields.is_empty() => {
            let name = fields.keys().nth(random.below(fields.len())).cloned();
            let name = name.unwrap_or_default();
            fields.insert(name, other);
        }
        (value, _) => *value = other,
    }
}

/// A value at any depth.
fn pick<'a>(value: &'a mut Value, random: &mut Random) -> &'a mut Value {
    let count = match value {
        Value::Array(list) => list.len(),
        Value::Object(fields) => fields.len(),
        _ => 0,
    };
    if count == 0 || random.below(8) == 0 {
        return value;
    }
    let place = random.below(count);
    match value {
        Value::Array(list) => pick(&mut list[place], random),
        Value::Object(fields) => pick(fields.values_mut().nth(place).expect("counted"), random),
        value => value,
    }
}
