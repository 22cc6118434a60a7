//! Particular cases.

use super::*;
use crate::protocol::Deadline;
use crate::protocol::hello::{Hello, Settings};
use crate::protocol::scrape::Scrape;

/// Where the oldest leaves, one that lingers leaves first, then one that has not asked. One that has asked,
/// and is slow to take its answer, is the last.
#[test]
fn scrapers_that_have_asked_stay_longest() {
    let mut rules = Rules::new(2);
    rules.full = Full::OldestLeaves;
    let page = || Scrape::settings(&mut Random::Seed(0));
    let world = World::<Scrape>::new(Random::Seed(0), page(), rules, 1);
    let mut simulation = Simulation::with(world, page(), false);
    let arrive = |simulation: &mut Simulation<Scrape>, room, asks: bool| {
        let world = &mut *simulation.world.borrow_mut();
        let id = world.sockets.len();
        world.arrive(0, room);
        world.sockets[id].sent = if asks { 100 } else { 0 };
    };
    let open = |simulation: &Simulation<Scrape>| -> Vec<usize> {
        simulation.world.borrow().open.iter().copied().collect()
    };
    for (room, asks, left) in [
        (0, true, &[0][..]),   // has asked, and takes nothing
        (0, false, &[0, 1]),   // has not asked
        (0, false, &[0, 2]),   // a newcomer: the second leaves
        (1000, true, &[0, 3]), // is answered at once, and lingers
        (0, false, &[0, 4]),   // the one that lingers leaves
        (0, true, &[0, 5]),    // has asked, too
        (0, false, &[5, 6]),   // all that are left have asked: the oldest of them
    ] {
        arrive(&mut simulation, room, asks);
        (0..3).for_each(|_| simulation.turn(false));
        assert_eq!(open(&simulation), left);
    }
    simulation.settle();
}

/// A calm world with one listener or more, for so many connections.
fn calm(listeners: usize, capacity: usize) -> Simulation<Hello> {
    let settings = Settings::default();
    let world = World::new(
        Random::Seed(0),
        settings.clone(),
        Rules::new(capacity),
        listeners,
    );
    Simulation::with(world, settings, false)
}

/// A hundred thousand silent clients whose time is over at the same moment are closed in runs, and
/// whoever comes meanwhile is greeted in the very turn.
#[test]
fn many_expiries_at_once_delay_nobody() {
    const CLIENTS: usize = 100_000;
    const EXPIRED_PER_TURN: usize = 256; // what others wait for, and so not whatever the code says
    let mut simulation = calm(1, CLIENTS + 1);
    for accepted in (0..CLIENTS).step_by(ACCEPTS_PER_TURN) {
        assert_eq!(simulation.reactor.clients(), accepted);
        (0..ACCEPTS_PER_TURN).for_each(|_| simulation.world.borrow_mut().arrive(0, 6));
        simulation.turn(false);
    }
    let mut end = simulation
        .world
        .borrow()
        .now
        .after(Settings::default().timeout);
    let mut turns = 0;
    while simulation.reactor.stats().timed_out < CLIENTS as u64 {
        // The time that each turn takes does not lead to more work in the next.
        end = end.after(Duration::from_millis(1));
        simulation.world.borrow_mut().now = end;
        simulation.world.borrow_mut().arrive(0, 6);
        simulation.turn(false);
        turns += 1;
        assert_eq!(
            simulation.reactor.stats().timed_out,
            (turns * EXPIRED_PER_TURN).min(CLIENTS) as u64
        );
        let world = simulation.world.borrow();
        assert_eq!(
            world.sockets[CLIENTS + turns - 1].past.sent,
            6,
            "a newcomer waits"
        );
    }
    assert_eq!(turns, CLIENTS.div_ceil(EXPIRED_PER_TURN));
    simulation.settle();
}

/// This process is stopped until the linger of everybody is over. All have much unread by then, and
/// every second one's FIN is behind it: nobody of these is cut, and no turn is long.
#[test]
fn late_clients_are_driven_once_more_in_turns() {
    const CLIENTS: usize = 1000;
    const UNREAD: usize = 150_000;
    let mut simulation = calm(1, CLIENTS);
    (0..CLIENTS).for_each(|_| simulation.world.borrow_mut().arrive(0, 1000));
    while simulation.reactor.clients() < CLIENTS {
        simulation.turn(false);
    }
    let send = |simulation: &Simulation<Hello>, n, fin: fn(usize) -> bool| {
        let world = &mut *simulation.world.borrow_mut();
        for id in 0..CLIENTS {
            world.sockets[id].sent += n;
            world.sockets[id].fin = fin(id);
            world.wake(id, Side::Read);
        }
    };
    send(&simulation, 10, |_| false);
    simulation.turn(false);
    send(&simulation, UNREAD, |id| id % 2 == 0);
    let mut world = simulation.world.borrow_mut();
    let linger = world.rules.linger;
    world.now = world.now.after(linger);
    world.ready.clear(); // none of it is reported in time
    drop(world);
    while simulation.reactor.clients() > 0 {
        simulation.turn(false);
        let late = simulation.world.borrow().late;
        let heard = late >= UNREAD.min(simulation.reactor.clients());
        assert!(heard && late < (1 << 20) + UNREAD, "{late} bytes in a turn");
    }
    let stats = simulation.reactor.stats();
    assert_eq!(
        [stats.ended(Hello::ECHOED), stats.lingering_cut],
        [500, 500]
    );
    simulation.settle();
}

/// A listener that nobody can reach any more ends the server, not before all are accepted who could.
#[test]
fn a_listener_that_was_shut_down_is_fatal_when_its_queue_is_empty() {
    let Simulation {
        world, mut reactor, ..
    } = calm(2, 100);
    (0..20).for_each(|_| world.borrow_mut().arrive(1, 6));
    let mut turn = |key| {
        let event = Event { key, fin: key == 1 };
        let ended = reactor.handle([event].into_iter(), Moment::START);
        (reactor.clients(), ended.map_err(|e| e.to_string()))
    };
    assert_eq!(turn(1), (16, Ok(())));
    assert_eq!(turn(0), (16, Ok(())));
    let ended = Err("cannot accept on listener 1: it was shut down".to_owned());
    assert_eq!(turn(1), (20, ended));
    world.borrow_mut().grace_ends = Some(Moment::START); // that is the end of all of them
}

/// With less room than clients, the listeners have their turns.
#[test]
fn no_listener_starves() {
    for capacity in [1, 2, 3, 20] {
        let mut simulation = calm(3, capacity);
        (0..100).for_each(|_| simulation.world.borrow_mut().arrive(0, 6));
        simulation.turn(false);
        let lone = 100;
        simulation.world.borrow_mut().arrive(2, 6);
        for departures in 0.. {
            assert!(departures <= 2, "with room for {capacity}");
            (0..4).for_each(|_| simulation.turn(false));
            assert!(simulation.world.borrow().ready.is_empty(), "it spins");
            let mut world = simulation.world.borrow_mut();
            if world.sockets[lone].past.sent > 0 {
                break;
            }
            let leaving = *world.open.first().unwrap();
            world.sockets[leaving].fin = true;
            world.wake(leaving, Side::Read);
        }
        simulation.settle();
    }
}

/// Turns until nothing is reported, and returns how many turns that took. Then it sleeps until its alarm.
fn turns_until_it_sleeps(simulation: &mut Simulation<Hello>) -> usize {
    let mut turns = 0;
    while turns == 0 || !simulation.world.borrow().ready.is_empty() {
        simulation.turn(false);
        simulation.check();
        turns += 1;
        assert!(turns < STEPS, "it never sleeps");
    }
    let alarm = simulation.reactor.alarm().expect("it sleeps for ever");
    simulation.world.borrow_mut().now = alarm;
    turns
}

/// A run of accepts of which nothing comes ends in a pause, though each error is one connection's.
#[test]
fn a_storm_of_lost_connections_does_not_keep_it_awake() {
    const LOST: usize = 1_000;
    let mut simulation = calm(1, 10);
    simulation.world.borrow_mut().arrive(0, 6);
    simulation.world.borrow_mut().accept_errors = vec![libc::ECONNABORTED; LOST];
    let mut sleeps = 0;
    while simulation.reactor.clients() == 0 {
        let turns = turns_until_it_sleeps(&mut simulation);
        assert!(turns <= 2, "{turns} turns without a sleep"); // re-arms, and accepts
        sleeps += 1;
        assert!(sleeps < LOST, "nobody is accepted any more");
    }
    let stats = simulation.reactor.stats();
    assert_eq!(stats.accept_errors, LOST as u64);
    assert_eq!(stats.pauses, (LOST / ACCEPTS_PER_TURN) as u64);
    simulation.settle();
}

/// Where nothing can be registered, the peers wait in the queue: each pause costs one of them at most.
#[test]
fn a_poll_without_room_costs_one_peer_a_pause() {
    let mut simulation = calm(1, 100);
    (0..100).for_each(|_| simulation.world.borrow_mut().arrive(0, 6));
    simulation.world.borrow_mut().poll_faults = 1; // each time
    for _ in 0..20 {
        let turns = turns_until_it_sleeps(&mut simulation);
        assert!(turns <= 2, "{turns} turns without a sleep");
        let stats = simulation.reactor.stats();
        assert!((1..=stats.pauses).contains(&stats.failed), "{stats}");
        assert_eq!(stats.accepted, stats.failed);
    }
    simulation.settle();
}

/// Peers in a queue that others have, too, are left to these at half of the grace, and not before.
#[test]
fn a_shared_queue_is_left_to_others_at_half_of_the_grace() {
    let mut simulation = calm(2, 1);
    simulation.world.borrow_mut().are_shared = true;
    for index in [0, 0, 1] {
        simulation.world.borrow_mut().arrive(index, 6);
    }
    simulation.turn(false);
    simulation.shut_down();
    let half = Moment::START.after(Rules::new(1).grace / 2);
    let is_left = |simulation: &Simulation<Hello>| {
        let world = simulation.world.borrow();
        [0, 1].map(|index| world.queues[index].dropped)
    };
    loop {
        simulation.turn(false);
        simulation.check();
        let alarm = simulation.reactor.alarm().unwrap();
        assert!(alarm <= half, "it would sleep for too long");
        assert_eq!(is_left(&simulation), [false; 2], "too early");
        simulation.world.borrow_mut().now = alarm;
        if alarm == half {
            break;
        }
    }
    simulation.turn(false);
    assert_eq!(is_left(&simulation), [true; 2]);
    assert_eq!(simulation.reactor.clients(), 1, "it has the other half");
    simulation.settle();
}

/// Descriptors that others take leave room for one client at least.
#[test]
fn with_less_capacity_fewer_are_accepted() {
    for (taken, left) in [(0, 3), (2, 1), (3, 1), (9, 1)] {
        let mut simulation = calm(1, 3);
        simulation.reactor.reduce_capacity(taken);
        (0..3).for_each(|_| simulation.world.borrow_mut().arrive(0, 6));
        simulation.turn(false);
        assert_eq!(simulation.reactor.clients(), left);
        assert_eq!(simulation.reactor.stats().capacity, left as u64);
        simulation.settle();
    }
}

/// A protocol that asks for a deadline that it does not have gets its last one.
#[test]
fn every_deadline_has_a_kind() {
    let mut simulation = calm(1, 1);
    let kind = |due| simulation.reactor.kind(due);
    let of_protocol = [0, 1, 255].map(|kind| Due::Protocol(Deadline::absolute(kind)));
    assert_eq!(of_protocol.map(kind), [LINGER + 1; 3]);
    assert_eq!(kind(Due::Linger), LINGER);
    simulation.settle();
}

/// Queues in which peers are left are watched at once, and again when the system asks for that.
#[test]
fn queues_are_watched_while_peers_are_left() {
    for (capacity, peers) in [(1, 2), (100, ACCEPTS_PER_TURN + 1)] {
        let mut simulation = calm(2, capacity);
        let watches = |simulation: &Simulation<Hello>| simulation.world.borrow().watches;
        (0..peers).for_each(|_| simulation.world.borrow_mut().arrive(0, 6));
        simulation.turn(false);
        assert!(watches(&simulation) > 0, "peers are left");
        while !simulation.world.borrow().ready.is_empty() {
            simulation.turn(false);
        }
        let again_at = Moment::START.after(Duration::from_millis(1));
        simulation.reactor.watch_at = Some(again_at);
        let before = watches(&simulation);
        simulation.turn(false);
        assert_eq!(watches(&simulation), before, "it is too early");
        assert_eq!(simulation.reactor.alarm(), Some(again_at));
        simulation.world.borrow_mut().now = again_at;
        simulation.turn(false);
        assert_eq!(watches(&simulation), before + 2, "all queues");
        assert!(simulation.reactor.alarm() > Some(again_at), "it would spin");
        simulation.settle();
    }
}

/// Peers may come as fast as they are accepted, so the end of the grace takes as many as one long queue has.
#[test]
fn the_end_of_the_grace_ends() {
    const LONGEST_QUEUE: usize = 4096; // what others wait for, and so not whatever the code says
    let mut simulation = calm(1, 100);
    simulation.world.borrow_mut().are_shared = true;
    (0..=LONGEST_QUEUE).for_each(|_| simulation.world.borrow_mut().arrive(0, 6));
    simulation.shut_down();
    let end = Moment::START.after(Rules::new(1).grace);
    simulation.world.borrow_mut().now = end;
    simulation.turn(false);
    assert!(simulation.reactor.is_shut_down());
    assert_eq!(simulation.reactor.stats().accepted, LONGEST_QUEUE as u64);
    simulation.settle();
}
