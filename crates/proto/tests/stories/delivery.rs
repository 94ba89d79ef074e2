//! What the four deliveries promise, on which sizes, and that channels do not wait for each other.

use std::time::Duration;

use netplay_netsim::{Conditions, Loss};
use netplay_proto::Payload;
use netplay_proto::message::{MAX_LOSSY_SIZE, MAX_RELIABLE_SIZE};
use netplay_proto::{Delivery, Event, Kind, Limits, Message, SendError};

use crate::world::{End, World, terms};
use crate::{MS, SECOND, TICK};

const ALL: [Delivery; 4] = [
    Delivery::RELIABLE,
    Delivery::RELIABLE_UNORDERED,
    Delivery::LOSSY,
    Delivery::LOSSY_UNORDERED,
];

fn connected(conditions: Conditions) -> (World, End, End) {
    let mut world = World::new(conditions);
    let server = world.listen();
    let client = world.caller();
    let (end, other) = world.connect(client, server);
    (world, end, other)
}

#[test]
fn every_delivery_arrives_on_a_good_link_both_ways_after_one_lag() {
    let (mut world, end, other) = connected(Conditions::lag(20 * MS));
    for delivery in ALL {
        for channel in [0, 1, 127, 128, 255] {
            world.send(end, channel, delivery, "there");
            world.send(other, channel, delivery, "and back");
        }
    }
    world.run_for(21 * MS);
    assert_eq!((world.messages(end).len(), world.messages(other).len()), (20, 20));
}

#[test]
fn all_channels_work_side_by_side_through_loss() {
    let conditions = Conditions {
        jitter: 30 * MS,
        loss: Loss::Independent(0.1),
        ..Conditions::lag(30 * MS)
    };
    let (mut world, end, other) = connected(conditions);
    world.play(20 * SECOND, 2 * TICK, |world, tick| {
        for number in 0..16 {
            let channel = (tick * 16 + number) as u8;
            for delivery in ALL {
                world.send(end, channel, delivery, vec![channel; 20]);
                world.send(other, channel, delivery, vec![channel; 20]);
            }
        }
    });
    world.run_until_delivered(5 * SECOND);
}

#[test]
fn a_message_keeps_its_kind_and_an_empty_one_arrives() {
    let (mut world, end, other) = connected(Conditions::default());
    for number in 0..16 {
        let kind = Kind::from_number(number).unwrap();
        let message = Message {
            channel: 1,
            delivery: Delivery::RELIABLE,
            kind,
            data: Payload::new(),
        };
        let now = world.timestamp();
        let sequence_id = world.endpoint(end.side).send(now, end.id, &message).unwrap();
        world.ledger.handle_send(world.now, end, &message, sequence_id);
    }
    world.run_until_delivered(SECOND);
    let kinds = world
        .log
        .iter()
        .filter(|h| h.end == other)
        .filter_map(|h| match h.event {
            Event::Message { kind, .. } => Some(kind.number()),
            _ => None,
        });
    assert_eq!(kinds.collect::<Vec<_>>(), (0..16).collect::<Vec<_>>());
}

#[test]
fn sequence_ids_count_up_for_each_channel_and_delivery() {
    let (mut world, end, _) = connected(Conditions::default());
    for expected in 0..3 {
        for delivery in ALL {
            for channel in [1, 2] {
                assert_eq!(world.send(end, channel, delivery, "x"), expected);
            }
        }
    }
}

#[test]
fn small_messages_of_a_frame_share_a_packet() {
    let (mut world, end, _) = connected(Conditions::lag(20 * MS));
    world.run_for(SECOND);
    let before = world.stats(end).packets_sent;
    for channel in 0..20 {
        world.send(
            end,
            channel,
            Delivery::RELIABLE,
            "forty bytes, give or take a few of them.",
        );
    }
    world.run_for(5 * MS);
    assert!(world.stats(end).packets_sent - before <= 2);
}

#[test]
fn a_lost_packet_on_one_channel_never_holds_up_another() {
    let lag = 50 * MS;
    let (mut world, end, other) = connected(Conditions::lag(lag));
    let (here, there) = (world.node(end.side), world.node(other.side));
    world.run_for(SECOND);
    for round in 0..20_u8 {
        // The packet with the message on channel 1 is lost.
        world.network.cut_from(here, there);
        world.send(end, 1, Delivery::RELIABLE, vec![round; 500]);
        world.run_for(5 * MS);
        world.network.restore_from(here, there);
        world.play(200 * MS, TICK, |world, _| {
            world.send(end, 2, Delivery::RELIABLE, vec![round; 50]);
        });
    }
    world.run_until_delivered(SECOND);
    let delays = |wanted: u8| {
        let messages = world
            .log
            .iter()
            .filter(move |h| matches!(h.event, Event::Message { channel, .. } if h.end == other && channel == wanted));
        messages.map(|h| h.delay.unwrap())
    };
    assert!(delays(1).all(|delay| delay > lag + 5 * MS), "the first try was lost");
    let worst = delays(2).max().unwrap();
    assert!(worst <= lag + MS, "channel 2 waited {worst:?}");
}

#[test]
fn the_newest_wins_among_lossy_ordered_messages() {
    let jitter = Conditions {
        jitter: 60 * MS,
        ..Conditions::lag(20 * MS)
    };
    let (mut world, end, other) = connected(jitter);
    world.play(10 * SECOND, 5 * MS, |world, _| {
        world.send(end, 1, Delivery::LOSSY, "position");
        world.send(end, 2, Delivery::LOSSY_UNORDERED, "spark");
    });
    world.run_for(SECOND);
    // That sequence ids grow is checked at every event. Here: the late ones are dropped, and only they.
    let (sent, stale) = world.ledger.lossy_sent_and_missing(end, 1, Delivery::LOSSY);
    assert_eq!(sent, 2000);
    assert!((200..1800).contains(&stale), "{stale} were overtaken");
    assert_eq!(
        world.ledger.lossy_sent_and_missing(end, 2, Delivery::LOSSY_UNORDERED),
        (2000, 0)
    );
    let last = world.log.iter().rev().find(|h| h.end == other).unwrap();
    assert!(matches!(last.event, Event::Message { .. }));
}

#[test]
fn lossy_messages_are_lost_and_never_late() {
    let lag = 50 * MS;
    let (mut world, end, other) = connected(Conditions {
        loss: Loss::Independent(0.2),
        ..Conditions::lag(lag)
    });
    world.play(20 * SECOND, TICK, |world, _| {
        world.send(end, 1, Delivery::LOSSY, "position");
        world.send(end, 2, Delivery::LOSSY_UNORDERED, "spark");
    });
    world.run_for(SECOND);
    for (channel, delivery) in [(1, Delivery::LOSSY), (2, Delivery::LOSSY_UNORDERED)] {
        let (sent, missing) = world.ledger.lossy_sent_and_missing(end, channel, delivery);
        let share = missing as f64 / sent as f64;
        assert!((0.1..0.3).contains(&share), "{share} of them are missing");
    }
    let worst = world
        .log
        .iter()
        .filter(|h| h.end == other)
        .filter_map(|h| h.delay)
        .max()
        .unwrap();
    assert!(worst <= lag + MS, "{worst:?}");
}

#[test]
fn sixteen_mebibytes_arrive_whole() {
    let (mut world, end, other) = connected(Conditions::lag(20 * MS));
    let level = world.random_bytes(MAX_RELIABLE_SIZE);
    world.send(end, 1, Delivery::RELIABLE, level.clone());
    world.send(end, 1, Delivery::RELIABLE, "that was the level");
    world.run_until_delivered(60 * SECOND);
    assert_eq!(world.messages(other), [(1, level), (1, "that was the level".into())]);
}

#[test]
fn large_reliable_messages_arrive_whole_through_loss_and_reordering() {
    let conditions = Conditions {
        jitter: 20 * MS,
        loss: Loss::Independent(0.05),
        duplicate: 0.02,
        reorder: 0.05,
        ..Conditions::lag(30 * MS)
    };
    let (mut world, end, _) = connected(conditions);
    for (channel, delivery) in [(1, Delivery::RELIABLE), (2, Delivery::RELIABLE_UNORDERED)] {
        for size in [1_000, 1_100, 1_150, 1_200, 1_300, 70_000, 500_000] {
            let data = world.random_bytes(size);
            world.send(end, channel, delivery, data);
        }
    }
    world.run_until_delivered(60 * SECOND);
}

#[test]
fn sizes_around_a_packet_arrive_whole() {
    let (mut world, end, _) = connected(Conditions::default());
    for size in (0..40).chain(1_080..1_260).chain(2_200..2_420) {
        for delivery in ALL {
            let data = world.random_bytes(size);
            world.send(end, 1, delivery, data);
        }
        world.run_for(50 * MS);
        for delivery in ALL.into_iter().filter(|delivery| delivery.is_lossy) {
            assert_eq!(
                world.ledger.lossy_sent_and_missing(end, 1, delivery).1,
                0,
                "of {size} bytes"
            );
        }
    }
    world.run_until_delivered(SECOND);
}

#[test]
fn a_lossy_message_of_64_kib_arrives_whole_or_not_at_all() {
    let (mut world, end, other) = connected(Conditions {
        jitter: 5 * MS,
        ..Conditions::lag(20 * MS)
    });
    let send_twenty = |world: &mut World| {
        world.play(20 * SECOND, SECOND, |world, number| {
            let data = world.random_bytes(MAX_LOSSY_SIZE - number as usize);
            let delivery = if number % 2 == 0 {
                Delivery::LOSSY
            } else {
                Delivery::LOSSY_UNORDERED
            };
            world.send(end, 1, delivery, data);
        });
        world.messages(other).len()
    };
    assert_eq!(send_twenty(&mut world), 20);
    // With 1 % loss about half of them miss one of their fragments.
    world.network.set_conditions(Conditions {
        loss: Loss::Independent(0.01),
        ..Conditions::lag(20 * MS)
    });
    let whole = send_twenty(&mut world) - 20;
    assert!((3..20).contains(&whole), "{whole} of 20 arrived");
}

#[test]
fn a_message_too_large_is_refused_with_the_limit() {
    // What one side accepts is told in the handshake and bounds what the other may send.
    let limits = Limits {
        message_size: 100_000,
        ..Limits::default()
    };
    let mut world = World::new(Conditions::default());
    let server = world.listen_with(terms(), limits);
    let client = world.caller();
    let (end, other) = world.connect(client, server);
    let too_large = |world: &mut World, end, delivery, size| match world.try_send(end, 0, delivery, vec![0; size]) {
        Err(SendError::TooLarge { size: told, limit }) if told == size => Some(limit),
        _ => None,
    };
    assert_eq!(too_large(&mut world, end, Delivery::RELIABLE, 100_001), Some(100_000));
    assert_eq!(too_large(&mut world, end, Delivery::RELIABLE, 100_000), None);
    assert_eq!(
        too_large(&mut world, end, Delivery::LOSSY, MAX_LOSSY_SIZE + 1),
        Some(MAX_LOSSY_SIZE)
    );
    assert_eq!(too_large(&mut world, end, Delivery::LOSSY, MAX_LOSSY_SIZE), None);
    assert_eq!(
        too_large(&mut world, other, Delivery::RELIABLE, MAX_RELIABLE_SIZE + 1),
        Some(MAX_RELIABLE_SIZE)
    );
    world.run_until_delivered(SECOND);
}

#[test]
fn a_message_queued_before_the_limit_was_known_harms_nothing_else() {
    let limits = Limits {
        message_size: 100_000,
        ..Limits::default()
    };
    let mut world = World::new(Conditions::lag(20 * MS));
    let server = world.listen_with(terms(), limits);
    let client = world.caller();
    let end = world.call(client, server);
    world.send(end, 0, Delivery::RELIABLE, "hello network.");
    world.send(end, 1, Delivery::RELIABLE, vec![0; 200_000]);
    world.run_for(5 * SECOND);
    // It can never be delivered, so the connection ends, with a reason that names both numbers.
    let (_, event) = world.first(end, |event| matches!(event, Event::Disconnected { .. }));
    let Event::Disconnected { detail, .. } = event else {
        unreachable!()
    };
    assert!(detail.contains("200000") && detail.contains("100000"), "{event:?}");
    assert_eq!(
        world.endpoint(server).stats().violations,
        0,
        "it is not the remote side's fault"
    );
}

#[test]
fn numbers_of_packets_and_messages_pass_their_boundaries() {
    // More packets than 16 bits count, some lost so that truncated numbers are put to the test, and more messages than the
    // two-byte and four-byte varint borders at 2^6 and 2^14.
    let (mut world, end, other) = connected(Conditions {
        loss: Loss::Independent(0.01),
        ..Conditions::lag(2 * MS)
    });
    world.play(Duration::from_secs(75), MS, |world, number| {
        world.send(end, 1, Delivery::LOSSY, "tick");
        if number % 2 == 0 {
            world.send(other, 2, Delivery::RELIABLE, "tock");
        }
        if number % 4 == 0 {
            world.send(end, 3, Delivery::RELIABLE_UNORDERED, "tack");
        }
        // The log of a long run is not needed; the ledger has seen it.
        world.log.clear();
    });
    world.run_until_delivered(SECOND);
    assert!(world.stats(end).packets_sent > 70_000, "{:?}", world.stats(end));
    assert_eq!(world.stats(end).bad_packets, 0);
    let (sent, missing) = world.ledger.lossy_sent_and_missing(end, 1, Delivery::LOSSY);
    assert!(sent == 75_000 && missing < 1_500, "{missing} of {sent} are missing");
}

#[test]
fn numbers_survive_a_silence_of_one_direction_across_their_boundary() {
    // The receiver of a long lossy stream hears nothing for a while at the place where 16 bits run over.
    let (mut world, end, other) = connected(Conditions::lag(2 * MS));
    let (here, there) = (world.node(end.side), world.node(other.side));
    let tick = |world: &mut World, _| {
        world.send(end, 1, Delivery::LOSSY, "tick");
        world.log.clear();
    };
    world.play(Duration::from_millis(65_000), MS, tick);
    world.network.cut_from(here, there);
    world.play(Duration::from_millis(1_500), MS, tick);
    world.network.restore_from(here, there);
    world.play(Duration::from_millis(1_000), MS, tick);
    let (_, missing) = world.ledger.lossy_sent_and_missing(end, 1, Delivery::LOSSY);
    assert!((1_490..=1_510).contains(&missing), "{missing} are missing");
    assert!(world.is_connected(end) && world.is_connected(other));
}

#[test]
fn large_messages_on_several_channels_do_not_stop_each_other() {
    let mut world = World::new(Conditions::lag(10 * MS));
    let limits = Limits {
        message_size: 64 * 1024,
        ..Limits::default()
    };
    let server = world.listen_with(terms(), limits);
    let client = world.caller();
    let (end, other) = world.connect(client, server);
    for channel in 0..5 {
        for size in [65_000, 5_000, 60_000] {
            let level = world.random_bytes(size);
            world.send(end, channel, Delivery::RELIABLE, level);
        }
    }
    world.run_until_delivered(5 * SECOND);
    assert_eq!(world.messages(other).len(), 15);
}
