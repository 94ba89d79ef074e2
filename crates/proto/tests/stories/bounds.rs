//! What is bounded: the memory for a side that does not listen, and the noise of one that has nothing to say.

use netplay_netsim::{Conditions, Loss};
use netplay_proto::{Delivery, Event, Limits, Reason, SendError};

use crate::world::{End, World, terms};
use crate::{MS, SECOND, TICK};

fn connected(limits: Limits) -> (World, End, End) {
    let mut world = World::new(Conditions::lag(10 * MS));
    let server = world.listen_with(terms(), limits.clone());
    let client = world.caller_with(limits);
    let (end, other) = world.connect(client, server);
    (world, end, other)
}

#[test]
fn an_idle_connection_is_nearly_silent() {
    let (mut world, end, other) = connected(Limits::default());
    world.run_for(10 * SECOND);
    let (datagrams, bytes) = world.traffic();
    world.run_for(60 * SECOND);
    let (datagrams, bytes) = (world.traffic().0 - datagrams, world.traffic().1 - bytes);
    eprintln!("an idle minute: {datagrams} datagrams, {bytes} bytes");
    assert!(datagrams <= 240, "{datagrams} datagrams in an idle minute");
    assert!(bytes <= 60 * datagrams);
    assert_eq!((world.told(end).len(), world.told(other).len()), (1, 1));
}

#[test]
fn an_idle_connection_survives_an_hour_of_loss() {
    let (mut world, end, other) = connected(Limits::default());
    world.network.set_conditions(Conditions {
        loss: Loss::Independent(0.1),
        ..Conditions::lag(50 * MS)
    });
    world.run_for(3600 * SECOND);
    assert!(world.is_connected(end) && world.is_connected(other));
    world.send(end, 1, Delivery::RELIABLE, "still here");
    world.run_until_delivered(3 * SECOND);
}

#[test]
fn a_game_that_takes_nothing_for_thirty_seconds_stays_connected_and_finds_everything() {
    let (mut world, end, other) = connected(Limits::default());
    world.set_takes_events(other.side, false);
    world.play(30 * SECOND, TICK, |world, tick| {
        world.send(end, 1, Delivery::RELIABLE, tick.to_le_bytes().to_vec());
        if tick % 60 == 0 {
            let level = world.random_bytes(20_000);
            world.send(end, 2, Delivery::RELIABLE, level);
        }
    });
    world.set_takes_events(other.side, true);
    world.run_until_delivered(2 * SECOND);
    assert_eq!(
        (world.told(end).len(), world.told(other).len()),
        (1, 1),
        "{}",
        world.story()
    );
}

/// Floods a game that takes nothing with messages of one size until the sender gives up. Returns the most bytes that waited at
/// the sender and the most events that waited at the receiver.
fn flood(limits: Limits, size: usize, delivery: Delivery) -> (usize, usize) {
    let (mut world, end, other) = connected(limits.clone());
    world.set_takes_events(other.side, false);
    let (mut most_queued, mut most_waiting) = (0, 0);
    let data = world.random_bytes(size);
    'flood: for _ in 0..20_000 {
        for _ in 0..50 {
            match world.try_send(end, 1, delivery, data.clone()) {
                Ok(_) => most_queued = most_queued.max(world.stats(end).queued_bytes),
                Err(SendError::Closed) => break 'flood,
                Err(error) => panic!("{error}"),
            }
        }
        world.run_for(10 * MS);
        most_waiting = most_waiting.max(world.endpoint(other.side).events_waiting());
    }
    world.run_for(SECOND);
    let (_, event) = world.first(end, |event| matches!(event, Event::Disconnected { .. }));
    assert!(
        matches!(
            event,
            Event::Disconnected {
                reason: Reason::TooSlow,
                ..
            }
        ),
        "{event:?}"
    );
    // What has arrived is still there for a game that wakes up late; then it learns why there is no more.
    world.set_takes_events(other.side, true);
    world.run_for(60 * SECOND);
    let last = world.told(other).last().copied().cloned();
    assert!(matches!(last, Some(Event::Disconnected { .. })), "{last:?}");
    (most_queued, most_waiting)
}

#[test]
fn a_peer_that_never_takes_its_messages_costs_bounded_memory_and_is_disconnected() {
    let limits = Limits {
        send_queue: 1024 * 1024,
        ..Limits::default()
    };
    for size in [100, 1_000, 50_000] {
        let (queued, waiting) = flood(limits.clone(), size, Delivery::RELIABLE);
        eprintln!("{size} bytes each: at most {queued} bytes queued, {waiting} events waiting");
        assert!(queued <= 1024 * 1024 && queued > 900 * 1024, "{queued} bytes queued");
        assert!(
            waiting * size <= 32 * 1024 * 1024 && waiting <= 70_000,
            "{waiting} events of {size} bytes waiting"
        );
    }
}

#[test]
fn empty_messages_are_bounded_too() {
    let limits = Limits {
        send_queue: 256 * 1024,
        ..Limits::default()
    };
    let (_, waiting) = flood(limits, 0, Delivery::RELIABLE_UNORDERED);
    eprintln!("at most {waiting} empty messages waiting");
    assert!(waiting <= 300_000, "{waiting} events waiting");
}

#[test]
fn lossy_messages_for_a_game_that_takes_nothing_are_dropped_and_counted() {
    let (mut world, end, other) = connected(Limits::default());
    world.set_takes_events(other.side, false);
    let mut most_waiting = 0;
    world.play(60 * SECOND, 5 * MS, |world, _| {
        for _ in 0..4 {
            world.send(end, 1, Delivery::LOSSY, vec![7; 1000]);
        }
        most_waiting = most_waiting.max(world.endpoint(other.side).events_waiting());
    });
    eprintln!("at most {most_waiting} lossy messages waiting");
    assert!(most_waiting * 1000 <= 32 * 1024 * 1024, "{most_waiting} waiting");
    let dropped = world.stats(other).lossy_dropped + world.stats(end).lossy_dropped;
    assert!(dropped > 0);
    world.send(end, 2, Delivery::RELIABLE, "and still");
    world.set_takes_events(other.side, true);
    world.run_until_delivered(2 * SECOND);
    let (sent, missing) = world.ledger.lossy_sent_and_missing(end, 1, Delivery::LOSSY);
    let dropped = world.stats(other).lossy_dropped + world.stats(end).lossy_dropped;
    assert_eq!(
        (sent, missing),
        (48_000, dropped),
        "every message that is missing was counted"
    );
}

#[test]
fn more_lossy_messages_than_a_link_carries_do_not_pile_up() {
    // 64 kB/s are offered to a link of 16 kB/s.
    let mut world = World::new(Conditions {
        rate: Some(128_000),
        queue_bytes: 8_000,
        ..Conditions::lag(20 * MS)
    });
    let server = world.listen();
    let client = world.caller();
    let (end, other) = world.connect(client, server);
    world.play(30 * SECOND, TICK, |world, _| {
        world.send(end, 1, Delivery::LOSSY, vec![7; 1000]);
    });
    let delays = world.log.iter().filter(|h| h.end == other).filter_map(|h| h.delay);
    // The queue of the link is half a second.
    let worst = delays.max().unwrap();
    assert!(worst < 2 * SECOND, "{worst:?}");
    assert!(world.is_connected(end) && world.is_connected(other));
}

#[test]
fn a_peer_is_sent_no_more_than_the_game_allows_and_small_messages_first() {
    let limits = Limits {
        send_rate: Some(50_000),
        ..Limits::default()
    };
    let (mut world, end, other) = connected(limits);
    world.send(end, 9, Delivery::RELIABLE, vec![7; 200_000]);
    let before = world.stats(end).bytes_sent;
    world.play(3 * SECOND, TICK, |world, tick| {
        world.send(end, 1, Delivery::RELIABLE, vec![tick as u8; 20]);
    });
    let sent = world.stats(end).bytes_sent - before;
    assert!((140_000..160_000).contains(&sent), "{sent} bytes in three seconds");
    let late = world
        .log
        .iter()
        .filter(|h| h.end == other && h.delay.is_some_and(|delay| delay > 100 * MS));
    assert_eq!(late.count(), 0, "a word waited behind the level");
    world.run_until_delivered(5 * SECOND);
}

#[test]
fn what_waits_for_the_rate_goes_by_itself_while_the_game_says_nothing() {
    let limits = Limits {
        send_rate: Some(50_000),
        ..Limits::default()
    };
    let (mut world, end, other) = connected(limits);
    world.send(end, 9, Delivery::RELIABLE, vec![7; 200_000]);
    // Four seconds' worth, and the headers.
    world.run_for(4300 * MS);
    assert_eq!(
        world.messages(other).len(),
        1,
        "{} bytes sent",
        world.stats(end).bytes_sent
    );
}

#[test]
fn a_peer_that_never_reads_does_not_disturb_the_others() {
    let mut world = World::new(Conditions::lag(10 * MS));
    let limits = Limits {
        send_queue: 1024 * 1024,
        ..Limits::default()
    };
    let server = world.listen_with(terms(), limits);
    let (deaf, awake) = (world.caller(), world.caller());
    let (deaf, to_deaf) = world.connect(deaf, server);
    let (awake, to_awake) = world.connect(awake, server);
    world.set_takes_events(deaf.side, false);
    world.play(30 * SECOND, TICK, |world, _| {
        // Refused once the deaf one has been given up.
        let _ = world.try_send(to_deaf, 1, Delivery::RELIABLE, vec![1; 10_000]);
        world.send(to_awake, 1, Delivery::RELIABLE, vec![1; 200]);
    });
    world.run_for(SECOND);
    let worst = world
        .log
        .iter()
        .filter(|h| h.end == awake)
        .filter_map(|h| h.delay)
        .max()
        .unwrap();
    assert!(worst <= 15 * MS, "{worst:?}");
    assert!(!world.is_connected(to_deaf) && world.is_connected(to_awake));
}
