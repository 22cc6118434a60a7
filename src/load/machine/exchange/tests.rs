use super::*;

const ID: u64 = 2;

fn expected(length: usize) -> Expected {
    Expected {
        greeting: b"hello\n".to_vec(),
        payloads: Payloads::new(1, length, length),
        opened: 4,
    }
}

fn payload(expected: &Expected, id: u64) -> Vec<u8> {
    let mut payload = vec![0; expected.payloads.length(id)];
    expected.payloads.fill(id, 0, &mut payload);
    payload
}

/// The result of an exchange whose server sends these bytes and then its FIN. The bytes come in
/// pieces that end at these places.
fn outcome(expected: &Expected, sent: &[u8], ends: &[usize]) -> Result<(), Fault> {
    let mut exchange = Exchange::new(ID, expected);
    exchange.handle_connected(expected);
    let mut start = 0;
    let ends = ends.iter().copied().filter(|end| *end < sent.len());
    for end in ends.chain([sent.len()]) {
        let piece = &sent[start..end];
        if !piece.is_empty() {
            let received = exchange.handle_received(piece, expected);
            received.map_err(|wrong| wrong.fault)?;
        }
        if exchange.is_greeted() {
            exchange.begin();
            exchange.handle_sent(exchange.length());
        }
        start = end;
    }
    exchange.handle_eof().map_err(|wrong| wrong.fault)
}

/// The length of the greeting. The client answers here, so a piece always ends here.
const GREETED: usize = 6;

#[test]
fn every_cut_of_the_right_bytes_is_right_and_no_prefix_is() {
    let expected = expected(20);
    let sent = [&b"hello\n"[..], &payload(&expected, ID)].concat();
    for first in 1..=GREETED {
        for second in GREETED..=sent.len() {
            let ends = [first, GREETED, second];
            assert_eq!(outcome(&expected, &sent, &ends), Ok(()), "{ends:?}");
        }
    }
    for length in 0..sent.len() {
        let fault = match length {
            0..GREETED => Fault::ShortGreeting,
            GREETED => Fault::NoEcho,
            _ => Fault::ShortEcho,
        };
        let outcome = outcome(&expected, &sent[..length], &[GREETED]);
        assert_eq!(outcome, Err(fault), "{length}");
    }
}

/// The payload is sent in two pieces.
#[test]
fn it_says_what_is_next() {
    let expected = expected(20);
    let payload = payload(&expected, ID);
    let mut exchange = Exchange::new(ID, &expected);
    let at = |exchange: &Exchange| (exchange.phase(), exchange.next());
    assert_eq!((exchange.id(), exchange.length()), (ID, 20));
    assert_eq!(at(&exchange), (Phase::Connect, Next::Connect));
    exchange.begin(); // too early, so it changes nothing
    exchange.handle_connected(&expected);
    assert_eq!(at(&exchange), (Phase::Greeting, Next::Receive));
    exchange.handle_received(b"hello\n", &expected).unwrap();
    assert_eq!(at(&exchange), (Phase::Echo, Next::Receive));
    exchange.begin();
    assert_eq!(at(&exchange), (Phase::Echo, Next::Send(0)));
    exchange.handle_sent(5);
    assert_eq!(at(&exchange), (Phase::Echo, Next::Send(5)));
    exchange.handle_sent(15);
    assert_eq!(at(&exchange), (Phase::Echo, Next::Receive));
    exchange.handle_received(&payload[..5], &expected).unwrap();
    assert_eq!(at(&exchange), (Phase::Echo, Next::Receive));
    exchange.handle_received(&payload[5..], &expected).unwrap();
    assert_eq!(at(&exchange), (Phase::Eof, Next::Receive));
    let extra = exchange.handle_received(b"x", &expected).unwrap_err();
    assert_eq!(extra.what, "at byte 20 expected nothing, got \"x\"");
}

/// The server reads once. This read may return less than the payload if the payload was sent in
/// pieces or is longer than a message.
#[test]
fn a_prefix_is_an_echo_where_more_is_not_owed() {
    let prefix = |length: usize, pieces: &[usize], seen: usize| {
        let expected = expected(length);
        let mut exchange = Exchange::new(ID, &expected);
        exchange.handle_connected(&expected);
        exchange.handle_received(b"hello\n", &expected).unwrap();
        exchange.begin();
        pieces.iter().for_each(|piece| exchange.handle_sent(*piece));
        let echo = &payload(&expected, ID)[..seen];
        exchange.handle_received(echo, &expected).unwrap();
        exchange.handle_eof().map_err(|wrong| wrong.fault)
    };
    assert_eq!(prefix(1000, &[1000], 999), Err(Fault::ShortEcho));
    assert_eq!(prefix(1000, &[1000], 1000), Ok(()));
    assert_eq!(prefix(1001, &[1001], 1000), Ok(()));
    assert_eq!(prefix(1000, &[999, 1], 1), Ok(()));
    assert_eq!(prefix(1000, &[1, 998, 1], 999), Ok(()));
}

#[test]
fn more_than_the_echo_is_too_much_however_it_is_cut() {
    let expected = expected(20);
    let sent = [&b"hello\n"[..], &payload(&expected, ID), b"x"].concat();
    for cut in GREETED..sent.len() {
        let outcome = outcome(&expected, &sent, &[GREETED, cut]);
        assert_eq!(outcome, Err(Fault::ExtraBytes), "{cut}");
    }
}

#[test]
fn every_bit_counts_however_it_is_cut() {
    let expected = expected(20);
    let right = [&b"hello\n"[..], &payload(&expected, ID)].concat();
    for place in 0..right.len() {
        let fault = match place {
            0..GREETED => Fault::WrongGreeting,
            _ => Fault::WrongEcho,
        };
        for bit in 0..8 {
            let mut sent = right.clone();
            sent[place] ^= 1 << bit;
            for cut in 1..=sent.len() {
                let mut ends = [cut, GREETED];
                ends.sort_unstable();
                let outcome = outcome(&expected, &sent, &ends);
                assert_eq!(outcome, Err(fault), "{place}, {bit}, {cut}");
            }
        }
    }
}

/// A whole word of the other payload must come in one piece.
#[test]
fn the_bytes_of_others_are_seen_from_wherever_they_begin() {
    let expected = expected(40);
    let [own, other] = [ID, 3].map(|id| payload(&expected, id));
    for from in 0..=25 {
        let sent = [&b"hello\n"[..], &own[..from], &other[from..]].concat();
        for cut in [GREETED, GREETED + from] {
            let outcome = outcome(&expected, &sent, &[GREETED, cut]);
            assert_eq!(outcome, Err(Fault::ForeignEcho), "{from}");
        }
    }
}

#[test]
fn what_comes_while_it_is_held_is_no_echo() {
    let expected = expected(9);
    let mut exchange = Exchange::new(ID, &expected);
    exchange.handle_connected(&expected);
    exchange.handle_received(b"hello\n", &expected).unwrap();
    assert!(exchange.is_greeted());
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    assert_eq!(exchange.handle_error(&reset).fault, Fault::ClosedHeld);
    assert_eq!(exchange.handle_eof().unwrap_err().fault, Fault::ClosedHeld);
    let wrong = exchange.handle_received(b"x", &expected).unwrap_err();
    assert_eq!(wrong.fault, Fault::WrongGreeting);
    assert_eq!(wrong.what, "at byte 6 expected nothing, got \"x\"");
}
