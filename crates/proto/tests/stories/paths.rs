//! Long paths, and paths that become long under the game: what is said goes on arriving, and nothing is said twice for it.

use std::time::Duration;

use netplay_netsim::Conditions;
use netplay_proto::{Delivery, Event};

use crate::world::{End, Fate, World};
use crate::{MS, SECOND, TICK};

fn connected(lag: Duration) -> (World, End, End) {
    let mut world = World::new(Conditions::lag(lag));
    let (server, client) = (world.listen(), world.caller());
    let (end, other) = world.connect(client, server);
    (world, end, other)
}

/// Plays with snapshots of 1 KiB from the server in each tick, and a word of the client's. Returns how many arrived in each
/// second, and the median of how long they took.
fn snapshots(world: &mut World, (end, other): (End, End), seconds: u32) -> Vec<(usize, Duration)> {
    let began = world.now;
    world.play(seconds * SECOND, TICK, |world, tick| {
        world.send(other, 1, Delivery::LOSSY, vec![tick as u8; 1024]);
        world.send(end, 2, Delivery::RELIABLE, vec![tick as u8; 32]);
    });
    let of_second = |second| {
        let from = began + second * SECOND;
        let in_it = world
            .log
            .iter()
            .filter(|h| h.end == end && h.at >= from && h.at < from + SECOND);
        let mut delays: Vec<_> = in_it
            .filter(|h| matches!(h.event, Event::Message { channel: 1, .. }))
            .map(|h| h.delay.unwrap())
            .collect();
        delays.sort_unstable();
        (delays.len(), delays.get(delays.len() / 2).copied().unwrap_or_default())
    };
    (0..seconds).map(of_second).collect()
}

/// Checks that from this second on they come as they were said, in the time the path takes.
fn assert_flowing(seconds: &[(usize, Duration)], from: usize, lag: Duration) {
    let is_fine = |&(count, delay): &(usize, Duration)| count >= 57 && delay <= lag + 5 * MS;
    assert!(seconds[from..].iter().all(is_fine), "{seconds:?}");
}

#[test]
fn a_long_path_carries_snapshots_from_the_beginning() {
    for lag in [120, 130, 150, 200, 400] {
        let (mut world, end, other) = connected(lag * MS);
        let seconds = snapshots(&mut world, (end, other), 20);
        assert_flowing(&seconds, 2, lag * MS);
    }
}

#[test]
fn a_lost_datagram_of_the_handshake_does_not_spoil_the_beginning() {
    for lost in 1..=4 {
        let mut world = World::new(Conditions::lag(100 * MS));
        let (server, client) = (world.listen(), world.caller());
        let mut seen = 0;
        world.tamper = Some(Box::new(move |_| {
            seen += 1;
            if seen == lost { Fate::Drop } else { Fate::Pass }
        }));
        let (end, other) = world.connect(client, server);
        let seconds = snapshots(&mut world, (end, other), 20);
        assert_flowing(&seconds, 1, 100 * MS);
    }
}

#[test]
fn nothing_is_sent_again_on_a_long_path_that_loses_nothing() {
    for lag in [130, 150, 250, 400] {
        let (mut world, end, other) = connected(lag * MS);
        world.send(other, 1, Delivery::RELIABLE, vec![1; 600]);
        world.send(end, 1, Delivery::RELIABLE, vec![1; 600]);
        world.run_for(5 * SECOND);
        assert_eq!((world.stats(end).resent, world.stats(other).resent), (0, 0), "{lag} ms");
    }
}

#[test]
fn snapshots_go_on_when_the_path_becomes_longer() {
    for (before, after) in [(10, 60), (30, 60), (10, 150), (50, 80)] {
        for is_move in [false, true] {
            let (mut world, end, other) = connected(before * MS);
            assert_flowing(&snapshots(&mut world, (end, other), 15), 1, before * MS);
            let server = world.node(other.side);
            let client = if is_move { 500 } else { world.node(end.side) };
            world
                .network
                .set_conditions_between(server, client, Conditions::lag(after * MS));
            if is_move {
                world.move_to(end.side, client);
            }
            let seconds = snapshots(&mut world, (end, other), 20);
            assert_flowing(&seconds, 3, after * MS);
        }
    }
}

#[test]
fn a_download_goes_on_when_the_path_becomes_longer() {
    let link = |lag| Conditions {
        rate: Some(10_000_000),
        queue_bytes: 64 << 10,
        ..Conditions::lag(lag)
    };
    for is_move in [false, true] {
        let mut world = World::new(link(10 * MS));
        let (server, client) = (world.listen(), world.caller());
        let (end, other) = world.connect(client, server);
        let fill = |world: &mut World, _: u64| {
            if world.stats(other).queued_bytes < 2 << 20 {
                world.send(other, 1, Delivery::RELIABLE, vec![1; 100_000]);
            }
        };
        world.play(15 * SECOND, TICK, fill);
        let node = if is_move { 500 } else { world.node(end.side) };
        let server = world.node(server);
        world.network.set_conditions_between(server, node, link(60 * MS));
        if is_move {
            world.move_to(end.side, node);
        }
        let moved_at = world.now;
        world.play(20 * SECOND, TICK, fill);
        let of_second = |second| {
            let from = moved_at + second * SECOND;
            let is_in_it = |at| at >= from && at < from + SECOND;
            let told = world.log.iter().filter(|h| h.end == end && is_in_it(h.at));
            told.filter(|h| matches!(h.event, Event::Message { .. })).count() * 100
        };
        let kilobytes: Vec<usize> = (0..20).map(of_second).collect();
        assert!(kilobytes[3..].iter().all(|&count| count >= 1000), "{kilobytes:?}");
    }
}
