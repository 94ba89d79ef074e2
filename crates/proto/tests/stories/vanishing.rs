//! Links that break: how soon both sides learn of it, and what they find when it is back.

use std::time::Duration;

use netplay_netsim::Conditions;
use netplay_proto::{Delivery, Event, Limits, Reason, SendError};

use crate::world::{End, World};
use crate::{MS, SECOND, TICK};

const LAG: Duration = Duration::from_millis(30);

fn connected() -> (World, End, End) {
    let mut world = World::new(Conditions::lag(LAG));
    let server = world.listen();
    let client = world.caller();
    let (end, other) = world.connect(client, server);
    (world, end, other)
}

fn cut(world: &mut World, (end, other): (End, End)) {
    let nodes = (world.node(end.side), world.node(other.side));
    world.network.cut_between(nodes.0, nodes.1);
}

fn restore(world: &mut World, (end, other): (End, End)) {
    let nodes = (world.node(end.side), world.node(other.side));
    world.network.restore_between(nodes.0, nodes.1);
}

/// Asserts what an end is told when the link breaks for good at this moment.
#[track_caller]
fn assert_lost_then_timed_out(world: &World, end: End, cut_at: Duration) {
    let limits = Limits::default();
    let (lost_at, lost) = world.first(end, |event| matches!(event, Event::Lost { .. }));
    // The last sign of life was at most a keep-alive old when the link broke.
    let earliest = cut_at + limits.lost_after - 1500 * MS;
    assert!(
        (earliest..=cut_at + limits.lost_after + 100 * MS).contains(&lost_at),
        "lost at {lost_at:?}"
    );
    assert_eq!(
        lost,
        &Event::Lost {
            reason: Reason::TimedOut,
            time_left: limits.grace
        }
    );
    let (ended_at, ended) = world.first(end, |event| matches!(event, Event::Disconnected { .. }));
    assert!(
        matches!(
            ended,
            Event::Disconnected {
                reason: Reason::TimedOut,
                ..
            }
        ),
        "{ended:?}"
    );
    let waited = ended_at - lost_at;
    assert!(
        (limits.grace..limits.grace + 100 * MS).contains(&waited),
        "ended {waited:?} after it was lost"
    );
    assert_eq!(world.told(end).len(), 3);
}

#[test]
fn a_peer_that_vanishes_is_lost_and_then_timed_out() {
    let (mut world, end, other) = connected();
    world.run_for(5 * SECOND);
    let killed_at = world.now;
    world.kill(end.side);
    world.run_for(60 * SECOND);
    assert_lost_then_timed_out(&world, other, killed_at);
    assert!(world.endpoint(other.side).is_idle());
    assert_eq!(
        world.try_send(other, 0, Delivery::RELIABLE, "anybody?"),
        Err(SendError::Closed)
    );
}

#[test]
fn both_sides_of_a_broken_link_learn_of_it_while_they_talk() {
    let (mut world, end, other) = connected();
    let talk = |world: &mut World, tick: u64| {
        for end in [end, other] {
            // Refused once the connection has ended.
            let _ = world.try_send(end, 1, Delivery::RELIABLE, vec![tick as u8; 20]);
            let _ = world.try_send(end, 2, Delivery::LOSSY, vec![tick as u8; 20]);
        }
    };
    world.play(5 * SECOND, TICK, talk);
    let cut_at = world.now;
    cut(&mut world, (end, other));
    world.play(40 * SECOND, TICK, talk);
    for end in [end, other] {
        assert_lost_then_timed_out(&world, end, cut_at);
    }
}

#[test]
fn a_peer_that_comes_back_in_time_finds_everything_in_order() {
    for away in [5, 15, 28].map(Duration::from_secs) {
        let (mut world, end, other) = connected();
        let talk = |world: &mut World, tick: u64| {
            world.send(end, 1, Delivery::RELIABLE, tick.to_le_bytes().to_vec());
            world.send(other, 1, Delivery::RELIABLE, tick.to_le_bytes().to_vec());
            let _ = world.try_send(other, 2, Delivery::LOSSY, vec![0; 100]);
        };
        world.play(3 * SECOND, TICK, talk);
        cut(&mut world, (end, other));
        world.play(away, TICK, talk);
        restore(&mut world, (end, other));
        let restored_at = world.now;
        world.play(8 * SECOND, TICK, talk);
        world.run_until_delivered(SECOND);
        for end in [end, other] {
            let told = world.told(end);
            assert!(
                matches!(
                    told[..],
                    [Event::Connected { .. }, Event::Lost { .. }, Event::Resumed { .. }]
                ),
                "{}",
                world.story()
            );
            let (at, resumed) = world.first(end, |event| matches!(event, Event::Resumed { .. }));
            assert!(
                at - restored_at < 3 * SECOND,
                "found again only {:?} after the link was back",
                at - restored_at
            );
            let Event::Resumed { after, .. } = resumed else {
                unreachable!()
            };
            assert!(
                (away - SECOND..away + 4 * SECOND).contains(after),
                "away {away:?}, told {after:?}"
            );
        }
    }
}

#[test]
fn a_short_break_is_not_even_mentioned() {
    let (mut world, end, other) = connected();
    cut(&mut world, (end, other));
    world.play(SECOND, TICK, |world, _| {
        world.send(end, 1, Delivery::RELIABLE, "still there?");
    });
    restore(&mut world, (end, other));
    world.run_until_delivered(3 * SECOND);
    world.run_for(5 * SECOND);
    assert_eq!((world.told(end).len(), world.told(other).len()), (1, 1));
}

#[test]
fn a_link_that_breaks_in_one_direction_is_lost_and_resumed() {
    let (mut world, end, other) = connected();
    let (here, there) = (world.node(end.side), world.node(other.side));
    world.network.cut_from(here, there);
    world.play(10 * SECOND, TICK, |world, _| {
        world.send(end, 1, Delivery::RELIABLE, "you do not hear me");
        world.send(other, 1, Delivery::RELIABLE, "I hear nothing");
    });
    assert!(
        world
            .told(other)
            .iter()
            .any(|event| matches!(event, Event::Lost { .. }))
    );
    world.network.restore_from(here, there);
    world.run_until_delivered(5 * SECOND);
    world.run_for(SECOND);
    assert!(
        world
            .told(other)
            .iter()
            .any(|event| matches!(event, Event::Resumed { .. }))
    );
    assert!(world.is_connected(end) && world.is_connected(other));
}

#[test]
fn a_link_that_comes_and_goes_loses_nothing() {
    let (mut world, end, other) = connected();
    for _ in 0..6 {
        let talk = |world: &mut World, tick: u64| {
            world.send(end, 1, Delivery::RELIABLE, vec![tick as u8; 200]);
            world.send(other, 1, Delivery::RELIABLE, vec![tick as u8; 200]);
        };
        world.play(2 * SECOND, TICK, talk);
        cut(&mut world, (end, other));
        world.play(7 * SECOND, TICK, talk);
        restore(&mut world, (end, other));
    }
    world.run_until_delivered(10 * SECOND);
}

#[test]
fn a_client_that_changes_its_address_keeps_its_connection() {
    let (mut world, end, other) = connected();
    let talk = |world: &mut World, tick: u64| {
        world.send(end, 1, Delivery::RELIABLE, vec![tick as u8; 20]);
        world.send(other, 1, Delivery::RELIABLE, vec![tick as u8; 20]);
    };
    world.play(2 * SECOND, TICK, talk);
    world.move_to(end.side, 500);
    world.play(5 * SECOND, TICK, talk);
    world.run_until_delivered(3 * SECOND);
    let path = world.endpoint(other.side).connection_path(other.id).unwrap();
    assert_eq!(path, crate::world::path_to(500));
    assert_eq!(
        (world.told(end).len(), world.told(other).len()),
        (1, 1),
        "{}",
        world.story()
    );
}

/// The server talks at this tick and the client only listens, until its router gives it another address. Returns the longest
/// gap at the client after that.
fn gap_of_a_listener(lag: Duration, tick: Duration, delivery: Delivery, phase: u32) -> Duration {
    let mut world = World::new(Conditions::lag(lag));
    let (server, client) = (world.listen(), world.caller());
    let (end, other) = world.connect(client, server);
    let talk = |world: &mut World, tick: u64| {
        world.send(other, 1, delivery, vec![tick as u8; 100]);
    };
    world.play(4 * SECOND, tick, talk);
    world.run_for(tick * phase / 5);
    world.move_to(end.side, 500);
    let moved_at = world.now;
    world.play(5 * SECOND, tick, talk);
    assert_eq!(world.told(end).len() + world.told(other).len(), 2, "{}", world.story());
    let heard = world.log.iter().filter(|h| h.end == end && h.at >= moved_at);
    let (mut gap, mut last) = (Duration::ZERO, moved_at);
    for heard in heard {
        gap = gap.max(heard.at - last);
        last = heard.at;
    }
    gap
}

#[test]
fn who_only_listens_is_followed_in_two_round_trips_and_four_ticks() {
    for lag in [5, 30, 100] {
        for tick in [TICK, 33 * MS, 50 * MS, 100 * MS, 200 * MS] {
            for delivery in [Delivery::LOSSY, Delivery::RELIABLE] {
                let gaps: Vec<_> = (0..5)
                    .map(|phase| gap_of_a_listener(lag * MS, tick, delivery, phase))
                    .collect();
                let bound = 4 * lag * MS + 4 * tick + 10 * MS;
                assert!(
                    gaps.iter().all(|&gap| gap <= bound),
                    "{lag} ms, {tick:?}, {delivery:?}: {gaps:?}"
                );
            }
        }
    }
}

#[test]
fn who_listened_to_a_stream_that_has_ended_asks_once() {
    let (mut world, end, other) = connected();
    world.play(4 * SECOND, 50 * MS, |world, tick| {
        world.send(other, 1, Delivery::LOSSY, vec![tick as u8; 100]);
    });
    world.run_for(100 * MS);
    let mut sent = world.stats(end).packets_sent;
    let mut counts = Vec::new();
    for _ in 0..10 {
        world.run_for(SECOND);
        counts.push(world.stats(end).packets_sent - sent);
        sent += counts.last().unwrap();
    }
    // With that it is a connection like any other: a ping a second.
    assert!(counts.iter().all(|&count| count <= 1), "{counts:?}");
}

#[test]
fn a_client_that_moves_to_a_slower_path_is_followed() {
    let (mut world, end, other) = connected();
    world.play(2 * SECOND, TICK, |world, tick| {
        world.send(end, 1, Delivery::RELIABLE, vec![tick as u8; 20]);
    });
    let server = world.node(other.side);
    world
        .network
        .set_conditions_between(server, 500, Conditions::lag(10 * LAG));
    world.move_to(end.side, 500);
    let sent_before = world.traffic().0;
    world.send(end, 1, Delivery::RELIABLE, "I am on the train now");
    world.run_for(2 * SECOND);
    let path = world.endpoint(other.side).connection_path(other.id).unwrap();
    assert_eq!(path, crate::world::path_to(500));
    world.run_until_delivered(SECOND);
    world.run_for(20 * SECOND);
    let sent = world.traffic().0 - sent_before;
    assert!(sent < 120, "{sent} datagrams in 22 idle seconds");
    assert_eq!((world.told(end).len(), world.told(other).len()), (1, 1));
}

#[test]
fn a_client_that_moves_to_a_path_four_times_as_long_keeps_its_connection() {
    let (mut world, end, other) = connected();
    let talk = |world: &mut World, tick: u64| {
        world.send(end, 1, Delivery::RELIABLE, vec![tick as u8; 20]);
        world.send(other, 1, Delivery::RELIABLE, vec![tick as u8; 20]);
    };
    world.play(2 * SECOND, TICK, talk);
    let server = world.node(other.side);
    world
        .network
        .set_conditions_between(500, server, Conditions::lag(4 * LAG));
    world.move_to(end.side, 500);
    let moved_at = world.now;
    let mut arrived_at = None;
    world.play(3 * SECOND, TICK, |world, tick| {
        talk(world, tick);
        let path = world.endpoint(other.side).connection_path(other.id);
        if arrived_at.is_none() && path == Some(crate::world::path_to(500)) {
            arrived_at = Some(world.now);
        }
    });
    world.run_until_delivered(3 * SECOND);
    // A packet there, a check back, the answer there: one and a half round trips.
    let gap = arrived_at.expect("the server never followed") - moved_at;
    assert!(gap <= 3 * 4 * LAG + 2 * TICK, "{gap:?}");
    assert_eq!(
        (world.told(end).len(), world.told(other).len()),
        (1, 1),
        "{}",
        world.story()
    );
}

#[test]
fn times_follow_the_limits() {
    let mut world = World::new(Conditions::lag(LAG));
    let limits = Limits {
        lost_after: 6 * SECOND,
        grace: 4 * SECOND,
        ..Limits::default()
    };
    let server = world.listen_with(crate::world::terms(), limits);
    let client = world.caller();
    let (end, other) = world.connect(client, server);
    world.run_for(10 * SECOND);
    let killed_at = world.now;
    world.kill(end.side);
    world.run_for(20 * SECOND);
    let (lost_at, lost) = world.first(other, |event| matches!(event, Event::Lost { .. }));
    assert!(
        (3 * SECOND..=6 * SECOND + 100 * MS).contains(&(lost_at - killed_at)),
        "{:?}",
        lost_at - killed_at
    );
    assert_eq!(
        lost,
        &Event::Lost {
            reason: Reason::TimedOut,
            time_left: 4 * SECOND
        }
    );
    let (ended_at, _) = world.first(other, |event| matches!(event, Event::Disconnected { .. }));
    assert!((4 * SECOND..4 * SECOND + 100 * MS).contains(&(ended_at - lost_at)));
}
