//! Bad networks: everything reliable still arrives, once and in order, and not much later than it must.

use std::time::{Duration, Instant};

use netplay_netsim::{Conditions, Loss};
use netplay_proto::{Delivery, Event, Limits};

use crate::world::{End, World, seeds, terms};
use crate::{MS, SECOND, TICK};

/// Half a minute of a game in both directions on four channels, then everything must have arrived.
fn play(conditions: Conditions, seed: u64) -> (World, End, End) {
    let mut world = World::with_seed(conditions, seed);
    let server = world.listen();
    let client = world.caller();
    let (end, other) = world.connect(client, server);
    world.play(30 * SECOND, 2 * TICK, |world, tick| {
        let channel = (tick % 4) as u8;
        world.send(end, channel, Delivery::RELIABLE, vec![tick as u8; 64]);
        world.send(other, channel, Delivery::RELIABLE, vec![tick as u8; 64]);
        world.send(end, 10, Delivery::LOSSY, vec![tick as u8; 32]);
        if tick % 10 == 0 {
            let data = world.random_bytes(300);
            world.send(other, 11, Delivery::RELIABLE_UNORDERED, data);
        }
        if tick % 100 == 0 {
            let data = world.random_bytes(5_000);
            world.send(end, 12, Delivery::RELIABLE, data);
        }
    });
    world.run_until_delivered(30 * SECOND);
    (world, end, other)
}

/// Returns the median and the 99th percentile of how long reliable ordered messages were on the way.
fn delays(world: &World) -> (Duration, Duration) {
    let reliable = world
        .log
        .iter()
        .filter(|h| matches!(h.event, Event::Message { delivery: Delivery::RELIABLE, channel, .. } if channel < 4));
    let mut delays: Vec<_> = reliable.map(|h| h.delay.unwrap()).collect();
    delays.sort_unstable();
    (delays[delays.len() / 2], delays[delays.len() * 99 / 100])
}

#[test]
fn a_clean_path_sends_nothing_twice_and_delivers_after_one_lag() {
    let (world, end, other) = play(Conditions::lag(50 * MS), 1);
    let (median, p99) = delays(&world);
    assert!(median <= 51 * MS && p99 <= 52 * MS, "{median:?} {p99:?}");
    assert_eq!((world.stats(end).resent, world.stats(other).resent), (0, 0));
    assert_eq!((world.stats(end).packets_lost, world.stats(other).packets_lost), (0, 0));
    let rtt = world.stats(end).rtt;
    assert!((100 * MS..130 * MS).contains(&rtt), "{rtt:?}");
}

/// A game in turns, a message a second, of so many. Returns how many copies there were, and how long the latest message took.
fn turns(world: &mut World, end: End, count: u32) -> (u64, Duration) {
    let (copied, told) = (world.stats(end).copied, world.log.len());
    world.play(count * SECOND, SECOND, |world, tick| {
        world.send(end, 1, Delivery::RELIABLE, vec![tick as u8; 100]);
    });
    world.run_until_delivered(SECOND);
    let delays = world.log[told..].iter().filter_map(|heard| heard.delay);
    (world.stats(end).copied - copied, delays.max().unwrap_or_default())
}

#[test]
fn a_clean_path_carries_no_copies() {
    let play = |copies| {
        let limits = Limits {
            copies,
            ..Limits::default()
        };
        let mut world = World::new(Conditions::lag(30 * MS));
        let server = world.listen_with(terms(), limits.clone());
        let client = world.caller_with(limits);
        let (end, _) = world.connect(client, server);
        let before = world.traffic().1;
        let copied = [turns(&mut world, end, 2).0, turns(&mut world, end, 48).0];
        (copied, world.traffic().1 - before)
    };
    let (copied, bytes) = play(Limits::default().copies);
    assert!(copied[0] > 0, "nothing is known of the path yet");
    assert_eq!(copied[1], 0, "of 48 messages");
    let (_, bare) = play(0.0);
    eprintln!("a message a second, no loss: {bytes} bytes, {bare} without copies");
    assert!(bytes * 10 <= bare * 11);
}

#[test]
fn one_loss_is_forgotten_as_soon_in_a_slow_game() {
    let lossless = Conditions::lag(30 * MS);
    let mut world = World::new(lossless.clone());
    let (server, client) = (world.listen(), world.caller());
    let (end, _) = world.connect(client, server);
    turns(&mut world, end, 20);
    world.network.set_conditions(Conditions {
        loss: Loss::Independent(1.0),
        ..lossless.clone()
    });
    world.send(end, 1, Delivery::RELIABLE, "lost");
    world.run_for(MS);
    world.network.set_conditions(lossless);
    let copied = [turns(&mut world, end, 11).0, turns(&mut world, end, 49).0];
    assert!(copied[0] >= 10 && copied[1] == 0, "{copied:?}");
}

#[test]
fn a_slow_game_has_its_copies_on_a_lossy_path() {
    for seed in seeds(5) {
        let mut world = World::with_seed(Conditions::lag(30 * MS), seed);
        let (server, client) = (world.listen(), world.caller());
        let (end, _) = world.connect(client, server);
        world.network.set_conditions(Conditions {
            loss: Loss::Independent(0.05),
            ..Conditions::lag(30 * MS)
        });
        turns(&mut world, end, 200);
        let (copied, latest) = turns(&mut world, end, 300);
        eprintln!("a message a second, 5 %: {copied} copies of 300, the latest after {latest:?}");
        assert!(
            copied >= 540,
            "{copied} copies of 300 messages, two of each while it is known to be lossy"
        );
    }
}

#[test]
fn reliable_channels_survive_thirty_percent_loss_with_jitter() {
    for seed in seeds(10) {
        let conditions = Conditions {
            jitter: 100 * MS,
            loss: Loss::Independent(0.3),
            ..Conditions::lag(50 * MS)
        };
        let (world, end, _) = play(conditions, seed);
        let loss = world.stats(end).loss;
        // Jitter makes packets overtake each other, and some that are only late count as lost.
        assert!((0.15..0.7).contains(&loss), "thirty percent are estimated as {loss}");
        let (median, p99) = delays(&world);
        eprintln!("30 % loss, 50 to 150 ms: median {median:?}, p99 {p99:?}");
        assert!(median < 400 * MS && p99 < 2 * SECOND, "{median:?} {p99:?}");
    }
}

#[test]
fn loss_without_jitter_is_estimated_for_what_it_is() {
    for (share, range) in [(0.05, 0.0..0.15), (0.3, 0.15..0.45)] {
        let (world, end, _) = play(
            Conditions {
                loss: Loss::Independent(share),
                ..Conditions::lag(50 * MS)
            },
            1,
        );
        let stats = world.stats(end);
        assert!(range.contains(&stats.loss), "{share} is estimated as {}", stats.loss);
        let counted = stats.packets_lost as f64 / stats.packets_sent as f64;
        assert!(
            counted <= share * 1.2,
            "{} of {} packets count as lost",
            stats.packets_lost,
            stats.packets_sent
        );
    }
}

#[test]
fn jitter_alone_is_not_taken_for_loss() {
    let (world, end, _) = play(
        Conditions {
            jitter: 100 * MS,
            ..Conditions::lag(50 * MS)
        },
        1,
    );
    let stats = world.stats(end);
    assert!(stats.loss < 0.05, "estimated as {}", stats.loss);
    assert!(
        stats.packets_lost * 20 < stats.packets_sent,
        "{} of {}",
        stats.packets_lost,
        stats.packets_sent
    );
}

#[test]
fn reliable_channels_survive_bursts() {
    for seed in seeds(10) {
        let loss = Loss::Bursts {
            share: 0.05,
            mean_length: 5.0,
        };
        let (world, ..) = play(
            Conditions {
                loss,
                ..Conditions::lag(50 * MS)
            },
            seed,
        );
        let (median, p99) = delays(&world);
        eprintln!("5 % bursts, 50 ms: median {median:?}, p99 {p99:?}");
        assert!(median <= 60 * MS && p99 < 1200 * MS, "{median:?} {p99:?}");
    }
}

#[test]
fn a_message_that_lost_every_copy_is_made_from_the_sum_of_several() {
    let conditions = Conditions {
        loss: Loss::Bursts {
            share: 0.05,
            mean_length: 3.0,
        },
        ..Conditions::lag(50 * MS)
    };
    let mut world = World::new(conditions);
    let server = world.listen();
    let client = world.caller();
    let (end, other) = world.connect(client, server);
    world.play(60 * SECOND, TICK, |world, tick| {
        for channel in 0..3 {
            world.send(
                end,
                channel,
                Delivery::RELIABLE,
                vec![tick as u8; 10 + 20 * usize::from(channel)],
            );
        }
        world.send(end, 3, Delivery::RELIABLE_UNORDERED, vec![tick as u8; 30]);
    });
    world.run_until_delivered(5 * SECOND);
    assert!(world.stats(other).recovered > 0, "{:?}", world.stats(other));
}

#[test]
fn reliable_channels_survive_duplication() {
    let (world, ..) = play(
        Conditions {
            duplicate: 0.5,
            jitter: 20 * MS,
            ..Conditions::lag(30 * MS)
        },
        1,
    );
    assert_eq!(world.ledger.undelivered(), 0);
}

#[test]
fn reliable_channels_survive_reordering() {
    let (world, ..) = play(
        Conditions {
            reorder: 0.3,
            ..Conditions::lag(30 * MS)
        },
        1,
    );
    let (_, p99) = delays(&world);
    // A message waits at most for one that is held back.
    assert!(p99 <= 100 * MS, "{p99:?}");
}

#[test]
fn reliable_channels_survive_everything_at_once() {
    for seed in seeds(10) {
        let conditions = Conditions {
            lag: 80 * MS,
            jitter: 60 * MS,
            loss: Loss::Bursts {
                share: 0.2,
                mean_length: 3.0,
            },
            duplicate: 0.1,
            reorder: 0.1,
            rate: Some(500_000),
            queue_bytes: 20_000,
        };
        play(conditions, seed);
    }
}

#[test]
fn a_link_that_changes_under_the_game_loses_nothing() {
    let mut world = World::new(Conditions::lag(20 * MS));
    let server = world.listen();
    let client = world.caller();
    let (end, other) = world.connect(client, server);
    world.play(40 * SECOND, TICK, |world, tick| {
        if tick % 120 == 0 {
            let loss = Loss::Independent(world.random.fraction() * 0.4);
            let lag = MS * world.random.below(300) as u32;
            world.network.set_conditions(Conditions {
                loss,
                ..Conditions::lag(lag)
            });
        }
        world.send(end, (tick % 3) as u8, Delivery::RELIABLE, vec![tick as u8; 40]);
        world.send(other, (tick % 3) as u8, Delivery::RELIABLE, vec![tick as u8; 40]);
    });
    world.network.set_conditions(Conditions::lag(20 * MS));
    world.run_until_delivered(10 * SECOND);
}

#[test]
fn a_download_does_not_delay_the_next_position() {
    // 5 MB over 8 Mbit/s takes five seconds at best; the queue of this link alone is 64 ms.
    let conditions = Conditions {
        rate: Some(8_000_000),
        queue_bytes: 64_000,
        ..Conditions::lag(20 * MS)
    };
    let mut world = World::new(conditions);
    let server = world.listen();
    let client = world.caller();
    let (end, other) = world.connect(client, server);
    world.run_for(SECOND);
    let level = world.random_bytes(5_000_000);
    world.send(other, 9, Delivery::RELIABLE, level);
    world.play(5 * SECOND, TICK, |world, tick| {
        world.send(other, 1, Delivery::LOSSY, vec![tick as u8; 32]);
        world.send(other, 2, Delivery::RELIABLE, vec![tick as u8; 32]);
    });
    world.run_until_delivered(60 * SECOND);
    let took = world.now;
    let mut small: Vec<_> = world
        .log
        .iter()
        .filter(|h| matches!(h.event, Event::Message { channel: 1 | 2, .. } if h.end == end))
        .map(|h| h.delay.unwrap())
        .collect();
    small.sort_unstable();
    let (median, p99) = (small[small.len() / 2], small[small.len() * 99 / 100]);
    eprintln!("beside 5 MB over 8 Mbit/s (done at {took:?}): median {median:?}, p99 {p99:?}");
    assert!(median < 120 * MS && p99 < 400 * MS, "{median:?} {p99:?}");
    assert!(took < 20 * SECOND, "the download itself took {took:?}");
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "a person is told how long it took; nothing depends on it"
)]
fn ten_minutes_of_a_game_take_seconds() {
    // Printed for a person, with --nocapture; no claim is made about the real clock.
    let real = Instant::now();
    let conditions = Conditions {
        jitter: 10 * MS,
        loss: Loss::Independent(0.05),
        ..Conditions::lag(40 * MS)
    };
    let mut world = World::new(conditions);
    let server = world.listen();
    let clients: Vec<_> = (0..4).map(|_| world.caller()).collect();
    let ends: Vec<_> = clients.iter().map(|&client| world.connect(client, server)).collect();
    world.play(Duration::from_secs(600), 50 * MS, |world, tick| {
        for &(end, other) in &ends {
            world.send(end, 1, Delivery::LOSSY, vec![tick as u8; 32]);
            world.send(other, 2, Delivery::LOSSY, vec![tick as u8; 256]);
            if tick % 20 == 0 {
                world.send(end, 3, Delivery::RELIABLE, "something said");
                world.send(other, 3, Delivery::RELIABLE, "something answered");
            }
        }
        world.log.clear();
    });
    world.run_until_delivered(5 * SECOND);
    let (datagrams, bytes) = world.traffic();
    eprintln!(
        "ten minutes, four clients: {datagrams} datagrams, {bytes} bytes, {:?} of real time",
        real.elapsed()
    );
}

#[test]
fn the_same_seed_gives_the_same_datagrams_to_the_byte() {
    let trace = |seed| {
        let conditions = Conditions {
            jitter: 50 * MS,
            loss: Loss::Independent(0.1),
            duplicate: 0.05,
            reorder: 0.05,
            ..Conditions::lag(50 * MS)
        };
        let mut world = World::with_seed(conditions, seed);
        world.tap = Some(Vec::new());
        let server = world.listen();
        let clients = [world.caller(), world.caller()];
        let ends = clients.map(|client| world.connect(client, server));
        world.play(10 * SECOND, TICK, |world, tick| {
            for (end, other) in ends {
                world.send(end, (tick % 4) as u8, Delivery::RELIABLE, vec![tick as u8; 64]);
                world.send(other, 1, Delivery::LOSSY, vec![tick as u8; 1000]);
            }
        });
        (world.tap.take().unwrap(), std::mem::take(&mut world.log))
    };
    assert!(trace(5) == trace(5), "the same seed, another trace");
    assert!(trace(5).0 != trace(6).0, "another seed, the same trace");
}
