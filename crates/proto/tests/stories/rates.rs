//! Players who send more than the game allows.

use netplay_netsim::{Conditions, Loss};
use netplay_proto::wire::{Chunk, FRAGMENT_SIZE, MessageChunk, Part, SeatClaim};
use netplay_proto::{Delivery, Event, IncomingRate, Kind, Limits, Reason};

use crate::rogue::{Rogue, Victim, whole};
use crate::world::{End, World, path_to, terms};
use crate::{MS, SECOND, TICK};

/// Connects a client to a server that allows so many messages and bytes a second.
fn connected(conditions: Conditions, messages: Option<u64>, bytes: Option<u64>) -> (World, End, End) {
    let mut world = World::new(conditions);
    let limits = Limits {
        incoming: IncomingRate { messages, bytes },
        ..Limits::default()
    };
    let server = world.listen_with(terms(), limits);
    let client = world.caller();
    let (end, other) = world.connect(client, server);
    (world, end, other)
}

fn lossy(world: &World, other: End) -> usize {
    world.received(other, 1, Delivery::LOSSY).len()
}

#[test]
fn lossy_messages_beyond_the_bound_are_dropped_and_counted() {
    let (mut world, end, other) = connected(Conditions::lag(20 * MS), Some(100), None);
    // Once and a half what is allowed, for a minute.
    world.play(60 * SECOND, SECOND / 150, |world, _| {
        world.send(end, 1, Delivery::LOSSY, vec![1; 20]);
    });
    world.run_for(SECOND);
    let dropped = world.stats(other).over_rate as usize;
    let (sent, missing) = world.ledger.lossy_sent_and_missing(end, 1, Delivery::LOSSY);
    assert_eq!(missing as usize, dropped, "each that is missing was counted");
    assert_eq!(lossy(&world, other), sent as usize - dropped);
    assert!(
        (6000..=6300).contains(&lossy(&world, other)),
        "{dropped} of {sent} dropped"
    );
    assert!(world.is_connected(end));
}

#[test]
fn bytes_are_bounded_as_messages_are() {
    let (mut world, end, other) = connected(Conditions::lag(20 * MS), None, Some(20_000));
    world.play(60 * SECOND, SECOND / 10, |world, _| {
        world.send(end, 1, Delivery::LOSSY, vec![1; 3000]);
    });
    world.run_for(SECOND);
    let bytes = lossy(&world, other) * 3000;
    assert!((1_200_000..=1_250_000).contains(&bytes), "{bytes} bytes in a minute");
    assert!(world.stats(other).over_rate > 0);
}

#[test]
fn a_message_larger_than_the_bound_is_let_in_when_little_else_comes() {
    let (mut world, end, other) = connected(Conditions::lag(20 * MS), None, Some(10_000));
    for _ in 0..5 {
        world.send(end, 1, Delivery::LOSSY, vec![1; 15_000]);
        world.run_for(10 * SECOND);
    }
    assert_eq!(lossy(&world, other), 5);
}

#[test]
fn reliable_messages_are_never_dropped() {
    let (mut world, end, other) = connected(Conditions::lag(20 * MS), Some(60), None);
    world.play(30 * SECOND, SECOND / 110, |world, _| {
        world.send(end, 1, Delivery::RELIABLE, vec![1; 20]);
    });
    world.run_until_delivered(SECOND);
    assert!(world.is_connected(end) && world.is_connected(other));
    assert_eq!(world.stats(other).over_rate, 0);
}

#[test]
fn what_piled_up_in_an_outage_may_come_at_once() {
    let (mut world, end, other) = connected(Conditions::lag(20 * MS), Some(60), Some(6000));
    let (here, there) = (world.node(end.side), world.node(other.side));
    world.play(60 * SECOND, TICK, |world, tick| {
        match tick {
            600 => world.network.cut_between(here, there),
            2400 => world.network.restore_between(here, there),
            _ => (),
        }
        world.send(end, 2, Delivery::RELIABLE, vec![tick as u8; 100]);
    });
    world.run_until_delivered(5 * SECOND);
    assert!(
        world.is_connected(end) && world.is_connected(other),
        "{}",
        world.story()
    );
}

#[test]
fn copies_and_what_is_sent_again_do_not_count() {
    let conditions = Conditions {
        loss: Loss::Independent(0.25),
        duplicate: 0.2,
        ..Conditions::lag(30 * MS)
    };
    let (mut world, end, other) = connected(conditions, Some(60), Some(6000));
    world.play(60 * SECOND, TICK, |world, tick| {
        world.send(end, 2, Delivery::RELIABLE, vec![tick as u8; 100]);
    });
    world.run_until_delivered(10 * SECOND);
    assert!(world.stats(end).copied > 500, "{:?}", world.stats(end));
    assert!(
        world.is_connected(end) && world.is_connected(other),
        "{}",
        world.story()
    );
}

#[test]
fn one_who_sends_far_too_much_for_long_is_closed_and_told_why() {
    for delivery in [Delivery::LOSSY, Delivery::RELIABLE] {
        let (mut world, end, other) = connected(Conditions::lag(20 * MS), Some(100), None);
        let began = world.now;
        world.play(30 * SECOND, SECOND / 500, |world, _| {
            let _ = world.try_send(end, 1, delivery, vec![1; 20]);
        });
        for end in [end, other] {
            let (at, event) = world.first(end, |event| matches!(event, Event::Disconnected { .. }));
            let Event::Disconnected { reason, detail } = event else {
                panic!("{event:?}")
            };
            assert_eq!(*reason, Reason::TooFast);
            assert!(detail.contains("100 messages a second"), "{detail}");
            // Five times the bound: three times of it are too much, and 35 seconds' worth are forgiven.
            let after = at - began;
            assert!((11 * SECOND..13 * SECOND).contains(&after), "after {after:?}");
        }
        assert_eq!(world.endpoint(other.side).stats().too_fast, 1);
        assert_eq!(world.endpoint(other.side).stats().violations, 0);
    }
}

#[test]
fn messages_of_which_only_the_last_fragment_comes_count_and_each_that_is_given_up_too() {
    let mut victim = Victim::with_limits(Limits::default());
    let mut rogue = Rogue::enter(&mut victim, 10, 1 << 20);
    let id = victim.events[0].0;
    let size = 59 * FRAGMENT_SIZE + 1;
    let fragments = |sequence_ids: std::ops::Range<u64>| -> Vec<_> {
        let fragment = |sequence_id| MessageChunk {
            channel: 1,
            delivery: Delivery::LOSSY_UNORDERED,
            kind: Kind::BYTES,
            sequence_id,
            part: Part::Fragment { size, index: 59 },
            data: &[1],
        };
        sequence_ids
            .map(|sequence_id| Chunk::Message(fragment(sequence_id)))
            .collect()
    };
    rogue.say(&mut victim, &fragments(0..100));
    let kept = (512 << 10) / size as u64;
    assert_eq!(
        victim.endpoint.connection_stats(id).unwrap().lossy_unfinished,
        100 - kept
    );
    assert_eq!(victim.disconnected(), None);
    // The same, where 10 messages a second are allowed: so much is sent at once only after an outage.
    let incoming = IncomingRate {
        messages: Some(10),
        bytes: None,
    };
    let mut victim = Victim::with_limits(Limits {
        incoming,
        ..Limits::default()
    });
    let mut rogue = Rogue::enter(&mut victim, 10, 1 << 20);
    for _ in 0..10 {
        rogue.say(&mut victim, &fragments(0..100));
    }
    assert_eq!(victim.disconnected().map(|(reason, _)| reason), Some(Reason::TooFast));
}

#[test]
fn one_who_begins_anew_again_and_again_has_one_rate() {
    let incoming = IncomingRate {
        messages: Some(100),
        bytes: None,
    };
    let mut victim = Victim::with_limits(Limits {
        incoming,
        ..Limits::default()
    });
    let mut seat = SeatClaim::None;
    for life in 0..60 {
        let Some((mut rogue, _, offered)) = Rogue::come_back(&mut victim, path_to(10), life, seat) else {
            panic!("not answered in life {life}")
        };
        if seat == SeatClaim::None {
            seat = SeatClaim::Fresh(offered);
        }
        rogue.say(&mut victim, &vec![whole(Delivery::LOSSY_UNORDERED, 0, b"x"); 100]);
        rogue.say(&mut victim, &vec![whole(Delivery::LOSSY_UNORDERED, 0, b"x"); 100]);
        victim.now += 125 * MS;
    }
    let events = || victim.events.iter().map(|(_, event)| event);
    let delivered = events().filter(|event| matches!(event, Event::Message { .. })).count();
    assert!(delivered <= 200 + 750, "{delivered} messages in 7.5 s");
    assert_eq!(victim.disconnected().map(|(reason, _)| reason), Some(Reason::TooFast));
    let connected = events()
        .filter(|event| matches!(event, Event::Connected { .. }))
        .count();
    assert_eq!(connected, 1, "it got in again after it was closed");
}

#[test]
fn without_a_bound_nothing_is_dropped() {
    let (mut world, end, other) = connected(Conditions::lag(MS), None, None);
    world.play(2 * SECOND, MS, |world, _| {
        for _ in 0..20 {
            world.send(end, 1, Delivery::LOSSY, vec![1; 20]);
        }
    });
    world.run_for(SECOND);
    assert_eq!(lossy(&world, other), 40_000);
    assert_eq!(world.stats(other).over_rate, 0);
}
