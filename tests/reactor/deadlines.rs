//! Deadlines: each has its own time, and none outlives its connection.

use std::io::ErrorKind;

use super::*;

/// Receives for ever, until a second is over. To open it takes longer than that, as if this process were
/// stopped while it accepts.
struct Stopped;

impl Protocol for Stopped {
    type Shared = ();
    const ENDS: &'static [&'static str] = &[];

    fn open((): &mut ()) -> Self {
        std::thread::sleep(SECOND + SECOND / 2);
        Self
    }

    fn want<'a>(&'a self, (): &'a (), _: &'a [u8]) -> Want<'a> {
        Want::Receive
    }

    fn handle_sent(&mut self, _: usize, (): &mut ()) {}

    fn handle_received(&mut self, _: &[u8], (): &mut ()) {}

    fn waits((): &()) -> Vec<Duration> {
        vec![SECOND]
    }
}

/// A client that the turn reaches late has all its time all the same, also that of an added protocol.
#[test]
fn a_deadline_counts_from_the_end_of_the_turn_that_set_it() {
    for is_added in [false, true] {
        let mut config = Config::default();
        config.listen = vec!["127.0.0.1:0".parse().unwrap()];
        config.max_connections = Some(10);
        let mut server: Server<Stopped> = Server::bind(&config, ()).unwrap();
        let mut addresses = server.local_addrs();
        if is_added {
            addresses = server.add::<Stopped>(&config, ()).unwrap();
        }
        let LocalAddr::Tcp(address) = addresses[0] else {
            unreachable!()
        };
        let mut client = connect(address);
        client.set_nonblocking(true).unwrap();
        for _ in 0..3 {
            server.turn(NOW).unwrap();
            let read = client.read(&mut [0]).map_err(|e| e.kind());
            assert_eq!(read, Err(ErrorKind::WouldBlock), "it is not closed");
        }
        server.turn(None).unwrap(); // sleeps until the deadline
        assert!(client.read(&mut [0]).is_ok_and(|n| n == 0), "closed");
        let timed_out = u64::from(!is_added);
        assert_eq!((server.clients(), server.stats().timed_out), (0, timed_out));
    }
}

/// From its acceptance on, whether it is silent or does not read its bytes.
#[test]
fn the_timeout_ends_a_client_that_does_not_take_its_echo() {
    let path = TempPath::new("timeout.sock");
    let mut server = server(|config, hello| {
        config.listen = vec![Address::Unix(path.0.clone())];
        hello.timeout = 2 * SHORT;
        hello.greeting = vec![b'g'; MAX_MESSAGE];
    });
    let start = Instant::now();
    let mut silent = connect_unix(&path);
    let mut reader = connect_unix(&path);
    server.turn(NOW).unwrap();
    assert_eq!(server.clients(), 2);
    // One reads a little now and then, which extends nothing.
    while server.clients() > 0 {
        assert!(start.elapsed() < PATIENCE);
        reader.read_exact(&mut [0; 10]).unwrap();
        server.turn(Some(SHORT / 10)).unwrap();
    }
    assert!(start.elapsed() >= 2 * SHORT, "too early");
    let mut received = Vec::new();
    silent.read_to_end(&mut received).unwrap();
    assert!(received.len() < MAX_MESSAGE, "the rest was not sent");
}

/// The time for the echo does not count for what follows it, nor the other way round.
#[test]
fn each_deadline_has_its_own_time() {
    let mut server = server(|config, hello| {
        hello.timeout = SHORT;
        config.linger = 3 * SHORT;
    });
    let mut lingering = client(&server);
    server.turn(NOW).unwrap();
    lingering.write_all(b"hi").unwrap();
    assert_greeted(&mut lingering);
    let start = Instant::now();
    server.turn(NOW).unwrap();
    assert_rest(&mut lingering, b"hi");
    turn_until(&mut server, 0);
    assert!(
        start.elapsed() >= 3 * SHORT,
        "it was closed before its linger was over"
    );
}

/// A client that leaves in time takes its deadline along: the next one gets the key without it.
#[test]
fn a_key_that_is_used_again_has_no_old_deadline() {
    for [timeout, linger] in [[SHORT, 100 * SHORT], [100 * SHORT, SHORT]] {
        let mut server = server(|config, hello| [hello.timeout, config.linger] = [timeout, linger]);
        let first = Instant::now();
        for echoed in [false, true] {
            let mut leaving = client(&server);
            server.turn(NOW).unwrap();
            assert_greeted(&mut leaving);
            if echoed {
                leaving.write_all(b"hi").unwrap();
                server.turn(NOW).unwrap();
                assert_rest(&mut leaving, b"hi");
            }
            drop(leaving);
            turn_until(&mut server, 0);
        }
        // Late enough that the first deadlines are over before its own is.
        server.turn(Some(SHORT / 2)).unwrap();
        let accepted = Instant::now();
        let _second = client(&server);
        server.turn(NOW).unwrap();
        while first.elapsed() < SHORT + SHORT / 4 {
            server.turn(Some(SHORT / 10)).unwrap();
        }
        let overdue = accepted.elapsed() >= timeout;
        assert!(
            server.clients() == 1 || overdue,
            "an old deadline closed it"
        );
    }
}

#[test]
fn a_timeout_of_zero_is_no_limit() {
    let mut server = server(|_, hello| hello.timeout = Duration::ZERO);
    let mut patient = client(&server);
    server.turn(NOW).unwrap();
    server.turn(Some(SHORT)).unwrap();
    assert_greeted(&mut patient);
    patient.write_all(b"hi").unwrap();
    server.turn(Some(SHORT)).unwrap();
    assert_rest(&mut patient, b"hi");
}
