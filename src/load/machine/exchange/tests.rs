use super::*;

const ID: u64 = 2;

fn expected(length: usize) -> Expected {
    Expected {
        greeting: b"hello\n".to_vec(),
        payloads: Payloads::new(1, length, length),
        max_read: 1000,
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
    exchange.handle_eof(|| 1460).map_err(|wrong| wrong.fault)
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
    assert_eq!(exchange.echoed(), 0);
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

/// A server may greet with nothing. Then the connect is all that the client waits for.
#[test]
fn an_empty_greeting_is_not_waited_for() {
    let mut expected = expected(20);
    expected.greeting.clear();
    let mut exchange = Exchange::new(ID, &expected);
    exchange.handle_connected(&expected);
    assert!(exchange.is_greeted());
}

/// The server reads once, at most `--max-read` bytes. What arrives together is echoed together.
#[test]
fn an_echo_has_what_one_segment_carries_at_least_and_what_one_read_takes_at_most() {
    const WHOLE: Option<Fault> = None;
    const SHORT: Option<Fault> = Some(Fault::ShortEcho);
    const EXTRA: Option<Fault> = Some(Fault::ExtraBytes);
    // The payload, --max-read, what each call handed over, and the segment; then some echoes.
    for (payload_length, max_read, pieces, segment, echoes) in [
        (
            1400,
            1000,
            &[1400][..],
            1460,
            &[(1, SHORT), (999, SHORT), (1000, WHOLE), (1001, EXTRA)][..],
        ),
        (
            1400,
            2000,
            &[1400],
            1460,
            &[(1000, SHORT), (1399, SHORT), (1400, WHOLE)],
        ),
        (
            4000,
            4000,
            &[4000],
            1460,
            &[(1459, SHORT), (1460, WHOLE), (4000, WHOLE)],
        ),
        (1000, 1000, &[1000], 536, &[(535, SHORT), (536, WHOLE)]),
        (1000, 1000, &[999, 1], 1460, &[(998, SHORT), (999, WHOLE)]),
        (1000, 1000, &[1, 998, 1], 1460, &[(1, WHOLE), (999, WHOLE)]),
        (9, 1, &[9], 1460, &[(1, WHOLE), (2, EXTRA)]),
    ] {
        for (seen, fault) in echoes {
            let mut expected = expected(payload_length);
            expected.max_read = max_read;
            let mut exchange = Exchange::new(ID, &expected);
            exchange.handle_connected(&expected);
            exchange.handle_received(b"hello\n", &expected).unwrap();
            exchange.begin();
            pieces.iter().for_each(|piece| exchange.handle_sent(*piece));
            let echo = &payload(&expected, ID)[..*seen];
            let received = exchange.handle_received(echo, &expected);
            let ended = received.and_then(|()| exchange.handle_eof(|| segment));
            let case = format!("{seen} of {payload_length}, {max_read}, {pieces:?}, {segment}");
            assert_eq!(ended.err().map(|wrong| wrong.fault), *fault, "{case}");
        }
    }
}

/// Asking costs a system call, so a whole echo asks nothing.
#[test]
fn the_segment_matters_only_to_a_short_echo() {
    let expected = expected(1400);
    let mut exchange = Exchange::new(ID, &expected);
    exchange.handle_connected(&expected);
    exchange.handle_received(b"hello\n", &expected).unwrap();
    exchange.begin();
    exchange.handle_sent(1400);
    let echo = payload(&expected, ID);
    exchange.handle_received(&echo[..1000], &expected).unwrap();
    assert_eq!((exchange.phase(), exchange.echoed()), (Phase::Eof, 1000));
    exchange.handle_eof(|| panic!("it was asked")).unwrap();
    let more = exchange
        .handle_received(&echo[1000..], &expected)
        .unwrap_err();
    assert!(
        more.what.ends_with("; see --max-read, which is 1000"),
        "{more:?}"
    );
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
fn foreign_bytes_are_found_wherever_they_begin() {
    let expected = expected(40);
    let [own, other] = [ID, 3].map(|id| payload(&expected, id));
    for from in 0..=25 {
        let sent = [&b"hello\n"[..], &own[..from], &other[from..]].concat();
        for cut in [GREETED, GREETED + from] {
            let outcome = outcome(&expected, &sent, &[GREETED, cut]);
            assert_eq!(outcome, Err(Fault::ForeignEcho), "{from}");
        }
    }
    let mut exchange = Exchange::new(ID, &expected);
    exchange.handle_connected(&expected);
    exchange.handle_received(b"hello\n", &expected).unwrap();
    exchange.begin();
    exchange.handle_received(&own[..5], &expected).unwrap();
    let mixed = [&own[5..8], &other[8..]].concat();
    let wrong = exchange.handle_received(&mixed, &expected).unwrap_err();
    let what = "from byte 8 on got the bytes of connection 3: ";
    assert!(wrong.what.starts_with(what), "{wrong:?}");
}

#[test]
fn bytes_during_the_hold_are_no_echo() {
    let expected = expected(9);
    let mut exchange = Exchange::new(ID, &expected);
    exchange.handle_connected(&expected);
    exchange.handle_received(b"hello\n", &expected).unwrap();
    assert!(exchange.is_greeted());
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    assert_eq!(exchange.handle_error(&reset).fault, Fault::ClosedHeld);
    assert_eq!(
        exchange.handle_eof(|| 1460).unwrap_err().fault,
        Fault::ClosedHeld
    );
    let wrong = exchange.handle_received(b"x", &expected).unwrap_err();
    assert_eq!(wrong.fault, Fault::WrongGreeting);
    assert_eq!(wrong.what, "at byte 6 expected nothing, got \"x\"");
}

/// Each row: how far the exchange is, what failed, and the fault.
#[test]
fn an_error_of_the_socket_is_a_fault() {
    use io::ErrorKind as E;
    let expected = expected(9);
    let at = |phase| {
        let mut exchange = Exchange::new(ID, &expected);
        if phase >= Phase::Greeting {
            exchange.handle_connected(&expected);
        }
        if phase >= Phase::Echo {
            exchange.handle_received(b"hello\n", &expected).unwrap();
            exchange.begin();
        }
        exchange
    };
    for (phase, kind, fault) in [
        (Phase::Connect, E::ConnectionRefused, Fault::Refused),
        (Phase::Connect, E::NetworkUnreachable, Fault::Unreachable),
        (Phase::Connect, E::PermissionDenied, Fault::Unreachable),
        (
            Phase::Greeting,
            E::PermissionDenied,
            Fault::Failed(Phase::Greeting),
        ),
        (Phase::Greeting, E::HostUnreachable, Fault::Unreachable),
        (
            Phase::Greeting,
            E::ConnectionReset,
            Fault::Reset(Phase::Greeting),
        ),
        (Phase::Echo, E::BrokenPipe, Fault::Reset(Phase::Echo)),
        (Phase::Echo, E::TimedOut, Fault::TimedOut(Phase::Echo)),
        (Phase::Echo, E::Other, Fault::Failed(Phase::Echo)),
    ] {
        let wrong = at(phase).handle_error(&io::Error::from(kind));
        assert_eq!(wrong.fault, fault, "{phase:?} {kind:?}");
    }
    for (phase, what) in [
        (Phase::Connect, "nothing had come"),
        (Phase::Greeting, "0 bytes of the greeting had come"),
        (Phase::Echo, "0 of 9 bytes were sent, 0 had come back"),
    ] {
        let wrong = at(phase).handle_timeout();
        assert_eq!((wrong.fault, &*wrong.what), (Fault::TimedOut(phase), what));
    }
}

/// Reports are read again, so the names stay as they are.
#[test]
fn every_fault_has_a_name() {
    let names: Vec<String> = Fault::all().iter().map(Fault::to_string).collect();
    assert_eq!(
        names.join(" "),
        "reset_connect reset_greeting reset_echo reset_eof \
         timed_out_connect timed_out_greeting timed_out_echo timed_out_eof \
         failed_connect failed_greeting failed_echo failed_eof \
         refused unreachable wrong_greeting short_greeting wrong_echo foreign_echo short_echo \
         no_echo closed_held extra_bytes"
    );
    for fault in Fault::all() {
        assert_eq!(Fault::named(&fault.to_string()), Some(fault));
    }
    assert_eq!(Fault::named("none"), None);
}

/// At most 24 bytes of what came are shown.
#[test]
fn what_was_wrong_begins_at_the_first_byte_that_differs() {
    for (got, what) in [
        (&b"help"[..], "at byte 13 expected \"lo\", got \"p\""),
        (b"hel", "at byte 13 expected \"lo\", got nothing"),
        (
            &[7; 24],
            &format!(
                "at byte 10 expected \"hello\", got \"{}\"",
                "\\x07".repeat(24)
            ),
        ),
        (
            &[7; 26],
            &format!(
                "at byte 10 expected \"hello\", got \"{}\" and 2 bytes more",
                "\\x07".repeat(24)
            ),
        ),
    ] {
        assert_eq!(Wrong::bytes(Fault::WrongEcho, 10, b"hello", got).what, what);
    }
    let foreign = Wrong::foreign_echo(3, 9, b"x");
    assert_eq!(
        foreign.what,
        "from byte 3 on got the bytes of connection 9: \"x\""
    );
}

/// The kernel tells no FIN of a connection that was never established; the machine stands it all the same.
#[test]
fn an_end_before_the_connect_is_a_fault() {
    let exchange = Exchange::new(ID, &expected(9));
    let wrong = exchange.handle_eof(|| 1460).unwrap_err();
    assert_eq!(wrong.fault, Fault::NoEcho);
}
