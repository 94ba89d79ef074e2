//! Keys that are renewed while a game goes on: nobody notices.

use netplay_netsim::{Conditions, Loss};
use netplay_proto::wire::Chunk;
use netplay_proto::{Delivery, Event, Limits, Reason, Renewal};

use crate::rogue::{Rogue, Victim, whole};
use crate::world::{Datagram, End, World, seeds, terms};
use crate::{MS, SECOND, TICK};

/// The first byte of a packet, and the bit in it that tells the phase.
const PACKET: u8 = 0x80;
const ODD_PHASE: u8 = 0x02;

fn every(packets: u64) -> Limits {
    Limits {
        renewal: Renewal {
            packets,
            ..Renewal::default()
        },
        ..Limits::default()
    }
}

/// Lets two sides talk for ten seconds while their keys are renewed every few packets and something is done to them at every
/// tick; then all that was reliable must have arrived.
fn converse(
    conditions: Conditions,
    seed: u64,
    limits: [Limits; 2],
    mut disturb: impl FnMut(&mut World, u64, End, End),
) -> (World, End, End) {
    let mut world = World::with_seed(conditions, seed);
    world.tap = Some(Vec::new());
    let [of_server, of_client] = limits;
    let server = world.listen_with(terms(), of_server);
    let client = world.caller_with(of_client);
    let (end, other) = world.connect(client, server);
    world.play(10 * SECOND, TICK, |world, tick| {
        world.send(end, (tick % 3) as u8, Delivery::RELIABLE, vec![tick as u8; 80]);
        world.send(other, 1, Delivery::RELIABLE_UNORDERED, vec![tick as u8; 80]);
        world.send(end, 5, Delivery::LOSSY, vec![tick as u8; 30]);
        world.send(other, 6, Delivery::LOSSY_UNORDERED, vec![tick as u8; 1500]);
        if tick % 60 == 0 {
            world.send(other, 9, Delivery::RELIABLE, vec![tick as u8; 60_000]);
        }
        disturb(world, tick, end, other);
    });
    world.run_until_delivered(5 * SECOND);
    world.run_for(5 * SECOND);
    assert_eq!(
        (world.told(end).len(), world.told(other).len()),
        (1, 1),
        "{}",
        world.story()
    );
    (world, end, other)
}

#[test]
fn keys_renewed_every_few_packets_lose_nothing_on_a_clean_path() {
    let (world, end, other) = converse(Conditions::lag(20 * MS), 1, [every(5), every(7)], |_, _, _, _| ());
    let (here, there) = (world.stats(end), world.stats(other));
    // One renewal needs a round trip, of which there are 250.
    assert!(here.keys_renewed > 150, "{here:?}");
    assert!(here.keys_renewed.abs_diff(there.keys_renewed) <= 1);
    assert_eq!((here.bad_packets, there.bad_packets), (0, 0));
    assert_eq!((here.packets_lost, there.packets_lost), (0, 0));
    assert_eq!(world.ledger.lossy_sent_and_missing(end, 5, Delivery::LOSSY).1, 0);
    assert_eq!(
        world
            .ledger
            .lossy_sent_and_missing(other, 6, Delivery::LOSSY_UNORDERED)
            .1,
        0
    );
}

#[test]
fn keys_renewed_under_loss_duplication_and_reordering_lose_nothing() {
    for seed in seeds(20) {
        let conditions = Conditions {
            loss: Loss::Independent(0.15),
            duplicate: 0.1,
            reorder: 0.2,
            jitter: 30 * MS,
            ..Conditions::lag(25 * MS)
        };
        let (world, end, _) = converse(conditions, seed, [every(3), every(3)], |_, _, _, _| ());
        assert!(world.stats(end).keys_renewed > 20, "{:?}", world.stats(end));
    }
}

#[test]
fn keys_renewed_while_a_player_roams_lose_nothing() {
    let (world, end, other) = converse(
        Conditions::lag(20 * MS),
        1,
        [every(4), every(4)],
        |world, tick, end, _| {
            if tick % 50 == 49 {
                world.move_to(end.side, 100 + tick);
            }
        },
    );
    assert!(world.stats(end).keys_renewed > 100);
    assert!(world.stats(other).bad_packets < 20, "{:?}", world.stats(other));
}

#[test]
fn keys_are_renewed_in_time_however_little_is_said() {
    let mut world = World::new(Conditions::lag(20 * MS));
    let (server, client) = (world.listen(), world.caller());
    let (end, other) = world.connect(client, server);
    world.run_for(3600 * SECOND);
    let renewed = world.stats(end).keys_renewed;
    assert!(
        (28..=31).contains(&renewed),
        "{renewed} times in an hour of keep-alives"
    );
    assert_eq!(world.told(other).len(), 1);
}

#[test]
fn forged_phases_cost_a_try_each_and_change_nothing() {
    let mut seen = 0;
    let (world, end, other) = converse(
        Conditions::lag(30 * MS),
        1,
        [every(10), every(10)],
        move |world, _, end, other| {
            world.settle();
            let sent = world.tap.as_ref().unwrap()[seen..].to_vec();
            seen += sent.len();
            for Datagram { from, to, bytes, .. } in sent.into_iter().filter(|sent| sent.bytes[0] >= PACKET) {
                let side = if to == world.node(other.side) {
                    other.side
                } else {
                    end.side
                };
                let mut forged = bytes.to_vec();
                forged[0] ^= ODD_PHASE;
                // Before the true one arrives, and with a number far ahead.
                world.inject(side, from, &forged);
                forged[6] ^= 0x10;
                world.inject(side, from, &forged);
            }
        },
    );
    assert!(world.stats(other).bad_packets > 1000);
    assert_eq!((world.stats(end).packets_lost, world.stats(other).packets_lost), (0, 0));
}

#[test]
fn a_stranger_who_renews_by_the_book_of_noise_is_understood() {
    let mut victim = Victim::server(terms());
    let mut rogue = Rogue::enter(&mut victim, 10, 1 << 20);
    rogue.say(&mut victim, &[whole(Delivery::RELIABLE, 0, b"before")]);
    let said = victim.wait(20 * MS);
    assert!(!said.is_empty(), "something is said in the first phase");
    rogue.session.rekey_outgoing();
    rogue.is_odd_phase = true;
    let said = rogue.say(&mut victim, &[Chunk::Ping, whole(Delivery::RELIABLE, 1, b"after")]);
    let messages = victim
        .events
        .iter()
        .filter(|(_, event)| matches!(event, Event::Message { .. }));
    assert_eq!(messages.count(), 2, "{:?}", victim.events);
    // The answer is sealed with the new keys.
    let said = [said, victim.wait(20 * MS)].concat();
    assert!(said.iter().any(|packet| packet[0] == PACKET | ODD_PHASE), "{said:?}");
    let id = victim.endpoint.established().next().unwrap();
    assert_eq!(victim.endpoint.connection_stats(id).unwrap().keys_renewed, 1);
}

#[test]
fn one_who_renews_again_before_it_was_answered_is_not_heard() {
    let mut victim = Victim::server(terms());
    let mut rogue = Rogue::enter(&mut victim, 10, 1 << 20);
    rogue.say(&mut victim, &[Chunk::Ping]);
    let id = victim.endpoint.established().next().unwrap();
    for _ in 0..100 {
        rogue.session.rekey_outgoing();
        rogue.is_odd_phase = !rogue.is_odd_phase;
        // Nothing that asks for an answer, so that the victim says nothing in the new phase.
        let packet = rogue.packet(&[0]);
        victim.hear(rogue.path, [&packet[..]]);
    }
    assert_eq!(victim.endpoint.connection_stats(id).unwrap().keys_renewed, 1);
}

#[test]
fn a_connection_that_was_forged_at_beyond_all_measure_ends() {
    let mut victim = Victim::with_limits(Limits {
        renewal: Renewal {
            max_forgeries: 1000,
            ..Renewal::default()
        },
        ..Limits::default()
    });
    let mut rogue = Rogue::enter(&mut victim, 10, 1 << 20);
    let mut packet = rogue.packet(&[0]);
    let last = packet.len() - 1;
    packet[last] ^= 1;
    for _ in 0..999 {
        victim.hear(rogue.path, [&packet[..]]);
    }
    assert_eq!(victim.disconnected(), None);
    victim.hear(rogue.path, [&packet[..]]);
    assert_eq!(
        victim.disconnected(),
        Some((Reason::BadData, "too many packets were forged"))
    );
}
