//! Strangers and liars: they cost little, learn nothing, and harm no conversation.

use netplay_netsim::{Conditions, Loss, Node};
use netplay_proto::Payload;
use netplay_proto::{Accept, Delivery, Endpoint, EndpointConfig, Limits, Output};

use crate::world::{Datagram, End, Fate, World, identity, path_to, seeds, terms};
use crate::{MS, SECOND, TICK};

/// Returns the first datagram of a caller at this node, who is never heard of again.
fn first_datagram(world: &mut World, node: Node, to: usize) -> Payload {
    let config = EndpointConfig {
        identity: identity(node),
        accept: None,
        limits: Limits::default(),
    };
    let mut endpoint = Endpoint::new(config, world.random_seed());
    endpoint.connect(world.timestamp(), world.call_options(to));
    match endpoint.poll_output(world.timestamp()) {
        Output::Datagram { bytes, .. } => Payload::copy_from_slice(bytes),
        other => panic!("a caller speaks first: {other:?}"),
    }
}

/// Returns how many bytes were sent to a node so far.
fn bytes_to(world: &World, node: Node) -> usize {
    world
        .tap
        .as_ref()
        .unwrap()
        .iter()
        .filter(|datagram| datagram.to == node)
        .map(|datagram| datagram.bytes.len())
        .sum()
}

#[test]
fn a_flood_of_spoofed_first_packets_locks_nobody_out_and_amplifies_nothing() {
    let mut world = World::new(Conditions::lag(20 * MS));
    world.tap = Some(Vec::new());
    let server = world.listen_with(
        Accept {
            max_peers: 100,
            ..terms()
        },
        Limits::default(),
    );
    for node in 10_000..10_300 {
        let hello = first_datagram(&mut world, node, server);
        world.inject(server, node, &hello);
        assert!(
            bytes_to(&world, node) <= hello.len(),
            "the answer is larger than the question"
        );
    }
    let client = world.caller();
    let (end, other) = world.connect(client, server);
    assert!(world.now <= SECOND, "an honest client had to wait {:?}", world.now);
    world.send(end, 1, Delivery::RELIABLE, "hello network.");
    world.run_for(60 * SECOND);
    assert_eq!(world.ledger.undelivered(), 0);
    assert_eq!(world.connected_ends(server), [other]);
    // Nobody is told more later, either.
    assert!((10_000..10_300).all(|node| bytes_to(&world, node) <= 1200));
    assert!(world.endpoint(server).stats().cookies_sent >= 300);
}

#[test]
fn a_proven_hello_is_worth_nothing_from_other_addresses() {
    let mut world = World::new(Conditions::lag(20 * MS));
    world.tap = Some(Vec::new());
    let server = world.listen_with(
        Accept {
            max_peers: 2,
            ..terms()
        },
        Limits::default(),
    );
    let client = world.caller();
    let (end, other) = world.connect(client, server);
    let spoken: Vec<_> = world
        .tap
        .as_ref()
        .unwrap()
        .iter()
        .filter(|datagram| datagram.to == world.node(server))
        .cloned()
        .collect();
    for node in 10_000..10_300 {
        let mut asked = 0;
        for datagram in &spoken {
            world.inject(server, node, &datagram.bytes);
            asked += datagram.bytes.len();
        }
        assert!(bytes_to(&world, node) <= asked);
    }
    let friend = world.caller();
    let (friend, _) = world.connect(friend, server);
    world.send(end, 1, Delivery::RELIABLE, "unharmed");
    world.send(other, 1, Delivery::RELIABLE, "unharmed");
    world.send(friend, 1, Delivery::RELIABLE, "welcome");
    world.run_until_delivered(SECOND);
    assert_eq!(world.connected_ends(server).len(), 2);
}

#[test]
fn callers_who_never_finish_do_not_keep_others_out() {
    let mut world = World::new(Conditions::lag(20 * MS));
    let server = world.listen_with(
        Accept {
            max_peers: 100,
            ..terms()
        },
        Limits::default(),
    );
    let honest = world.caller();
    let honest_node = world.node(honest);
    // They prove their address, take the reply, and then say nothing: the first byte of a Finish is 4.
    world.tamper = Some(Box::new(move |datagram: &Datagram| {
        let is_finish = datagram.bytes.first() == Some(&4) || datagram.bytes[0] >= 0x80;
        if is_finish && datagram.from > honest_node {
            Fate::Drop
        } else {
            Fate::Pass
        }
    }));
    for _ in 0..300 {
        let caller = world.caller();
        world.call(caller, server);
    }
    world.run_for(SECOND);
    let end = world.call(honest, server);
    world.run_until(10 * SECOND, |world| world.is_connected(end));
    eprintln!("300 callers hang; an honest one is in after {:?}", world.now - SECOND);
    world.run_for(60 * SECOND);
    assert_eq!(world.endpoint(server).established().count(), 1);
}

/// A conversation with something done to it at every tick; then it must have been unharmed.
fn converse(conditions: Conditions, mut disturb: impl FnMut(&mut World, u64, End, End)) -> (World, End, End) {
    let mut world = World::new(conditions);
    world.tap = Some(Vec::new());
    let server = world.listen();
    let client = world.caller();
    let (end, other) = world.connect(client, server);
    world.play(10 * SECOND, TICK, |world, tick| {
        world.send(end, (tick % 3) as u8, Delivery::RELIABLE, vec![tick as u8; 80]);
        world.send(other, (tick % 3) as u8, Delivery::RELIABLE, vec![tick as u8; 80]);
        world.send(end, 5, Delivery::LOSSY, vec![tick as u8; 30]);
        world.send(other, 6, Delivery::LOSSY_UNORDERED, vec![tick as u8; 1500]);
        disturb(world, tick, end, other);
    });
    world.run_until_delivered(3 * SECOND);
    world.run_for(10 * SECOND);
    assert_eq!(
        (world.told(end).len(), world.told(other).len()),
        (1, 1),
        "{}",
        world.story()
    );
    assert_eq!(world.connected_ends(server).len(), 1);
    assert_eq!(
        world.endpoint(server).stats().violations + world.endpoint(client).stats().violations,
        0
    );
    (world, end, other)
}

#[test]
fn garbage_from_anywhere_is_counted_and_forgotten() {
    let (mut world, end, other) = converse(Conditions::lag(30 * MS), |world, tick, end, other| {
        let (here, there) = (world.node(end.side), world.node(other.side));
        for number in 0..20 {
            let size = world.random.below(1600) as usize;
            let mut garbage = world.random_bytes(size).to_vec();
            if let Some(first) = garbage.first_mut()
                && number % 2 == 0
            {
                // Half of it begins as something of ours does.
                *first = [1, 2, 3, 4, 5, 0x80, 0x81][world.random.below(7) as usize];
            }
            world.inject(other.side, here, &garbage);
            world.inject(end.side, there, &garbage);
            world.inject(other.side, 1000 + tick, &garbage);
            world.inject(end.side, 1000 + tick, &garbage);
        }
        world.inject(other.side, here, &[]);
    });
    assert!(world.endpoint(end.side).stats().bad_datagrams > 1000);
    assert!(world.endpoint(other.side).stats().bad_datagrams > 1000);
}

#[test]
fn truncated_datagrams_harm_nothing_at_any_length() {
    // Those of the handshake too: each datagram so far, cut to every length, in both directions.
    converse(Conditions::lag(30 * MS), |world, tick, end, other| {
        let tap = world.tap.as_ref().unwrap();
        let index = if tick % 2 == 0 {
            (tick / 2) as usize % 12
        } else {
            tap.len() - 1 - (tick as usize % 7)
        };
        let Datagram { from, to, bytes, .. } = tap[index].clone();
        let side = if to == world.node(other.side) {
            other.side
        } else {
            end.side
        };
        for len in (0..bytes.len()).rev() {
            world.inject(side, from, &bytes[..len]);
        }
    });
}

#[test]
fn flipped_bits_harm_nothing() {
    let (world, end, other) = converse(Conditions::lag(30 * MS), |world, tick, end, other| {
        let tap = world.tap.as_ref().unwrap();
        let index = if tick % 4 == 0 {
            (tick / 4) as usize % 12
        } else {
            tap.len() - 1 - (tick as usize % 7)
        };
        let Datagram { from, to, bytes, .. } = tap[index].clone();
        let side = if to == world.node(other.side) {
            other.side
        } else {
            end.side
        };
        for _ in 0..40 {
            let mut flipped = bytes.to_vec();
            // Mostly near the beginning, where the headers are.
            let reach = if world.random.chance(0.7) {
                flipped.len().min(80)
            } else {
                flipped.len()
            };
            let bit = world.random.below(reach as u64 * 8) as usize;
            flipped[bit / 8] ^= 1 << (bit % 8);
            world.inject(side, from, &flipped);
        }
    });
    assert!(world.stats(end).bad_packets + world.stats(other).bad_packets > 100);
}

#[test]
fn every_datagram_flipped_or_truncated_ahead_of_itself_harms_nothing() {
    // The forged one arrives first, so a receiver that believes it has no true one yet to compare with.
    let mut seen = 0;
    converse(
        Conditions {
            loss: Loss::Independent(0.05),
            ..Conditions::lag(30 * MS)
        },
        move |world, _, end, other| {
            world.settle();
            let sent = world.tap.as_ref().unwrap()[seen..].to_vec();
            seen += sent.len();
            for Datagram { from, to, bytes, .. } in sent {
                let side = if to == world.node(other.side) {
                    other.side
                } else {
                    end.side
                };
                let mut forged = bytes.to_vec();
                let bit = world.random.below(forged.len() as u64 * 8) as usize;
                forged[bit / 8] ^= 1 << (bit % 8);
                world.inject(side, from, &forged);
                world.inject(side, from, &bytes[..bit / 8]);
            }
        },
    );
}

#[test]
fn forged_handshake_datagrams_ahead_of_the_true_ones_do_not_stop_a_call() {
    for seed in seeds(50) {
        let mut world = World::with_seed(Conditions::lag(20 * MS), seed);
        world.tap = Some(Vec::new());
        let server = world.listen();
        let client = world.caller();
        let end = world.call(client, server);
        let mut seen = 0;
        world.play(3 * SECOND, MS, |world, _| {
            world.settle();
            let sent = world.tap.as_ref().unwrap()[seen..].to_vec();
            seen += sent.len();
            for Datagram { from, to, bytes, .. } in sent {
                let side = if to == world.node(server) { server } else { client };
                // Who can see and change our datagrams can make the server refuse, in its own words, a version or a password
                // that was not ours: byte 5 of a Hello, and a Finish, which begins with 4. So can who cuts the cable.
                if bytes[0] == 4 {
                    continue;
                }
                for _ in 0..3 {
                    let mut forged = bytes.to_vec();
                    let bit = 8 * 6 + world.random.below((forged.len().min(100) as u64 - 6) * 8) as usize;
                    forged[bit / 8] ^= 1 << (bit % 8);
                    world.inject(side, from, &forged);
                }
            }
        });
        world.run_until_connected(end);
        world.send(end, 0, Delivery::RELIABLE, "hello network.");
        world.run_until_delivered(SECOND);
    }
}

#[test]
fn replayed_datagrams_are_heard_once() {
    let (world, end, other) = converse(Conditions::lag(30 * MS), |world, tick, end, other| {
        let count = world.tap.as_ref().unwrap().len() as u64;
        for number in 0..20 {
            // The handshake again, something recent, anything.
            let index = match number % 3 {
                0 => tick.min(11),
                1 => count - 1 - world.random.below(count.min(30)),
                _ => world.random.below(count),
            };
            let Datagram { at, from, to, bytes } = world.tap.as_ref().unwrap()[index as usize].clone();
            if at + 30 * MS < world.now {
                let side = if to == world.node(other.side) {
                    other.side
                } else {
                    end.side
                };
                world.inject(side, from, &bytes);
                // And from elsewhere, to lure the connection away.
                world.inject(side, 7777, &bytes);
            }
        }
    });
    assert!(world.stats(end).bad_packets + world.stats(other).bad_packets > 1000);
    assert_eq!(world.ledger.lossy_sent_and_missing(end, 5, Delivery::LOSSY).1, 0);
}

#[test]
fn a_stranger_who_copies_datagrams_does_not_move_the_connection() {
    // Copies from another address that arrive before the true ones. The true path must be in use in the end, and answers to
    // the liar's must not silence the conversation.
    let (mut world, end, other) = converse(Conditions::lag(30 * MS), |world, tick, end, other| {
        if tick % 10 == 0 {
            world.settle();
            let last = world
                .tap
                .as_ref()
                .unwrap()
                .iter()
                .rev()
                .find(|datagram| datagram.from == world.node(end.side));
            let bytes = last.unwrap().bytes.clone();
            world.inject(other.side, 7777, &bytes);
        }
    });
    let path = path_to(world.node(end.side));
    assert_eq!(world.endpoint(other.side).connection_path(other.id), Some(path));
}
