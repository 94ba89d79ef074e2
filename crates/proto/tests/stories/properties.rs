//! For any pattern of loss, duplication and reordering that ends some day: a reliable channel is a queue, an unordered one a bag,
//! and a lossy ordered one a part of what was sent, in its order.
//!
//! The patterns are proptest's, from a fixed seed or the one in `NETPLAY_SEED`; a failure is made smaller before it is shown.

use std::collections::VecDeque;

use netplay_netsim::Conditions;
use netplay_proto::Delivery;
use netplay_proto::Payload;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::world::{Fate, World, seed_from_environment};
use crate::{MS, SECOND};

fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Pass),
        3 => Just(Fate::Drop),
        1 => Just(Fate::Double),
        2 => (0_u32..400).prop_map(|ms| Fate::Delay(MS * ms)),
    ]
}

#[derive(Clone, Debug)]
struct Sending {
    is_from_client: bool,
    channel: u8,
    delivery: Delivery,
    size: usize,
    pause_ms: u32,
}

fn any_sending() -> impl Strategy<Value = Sending> {
    let size = prop_oneof![8 => 0_usize..200, 2 => 200_usize..1_300, 1 => 1_300_usize..6_000];
    let pause = prop_oneof![2 => Just(0_u32), 2 => 1_u32..60];
    (any::<bool>(), 0_u8..3, any::<bool>(), any::<bool>(), size, pause).prop_map(
        |(is_from_client, channel, is_lossy, is_ordered, size, pause_ms)| Sending {
            is_from_client,
            channel,
            delivery: Delivery { is_lossy, is_ordered },
            size,
            pause_ms,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        rng_seed: RngSeed::Fixed(seed_from_environment().unwrap_or(1)),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn deliveries_keep_their_promises_under_any_pattern(
        fates in proptest::collection::vec(any_fate(), 0..300),
        sendings in proptest::collection::vec(any_sending(), 1..80),
    ) {
        let mut world = World::new(Conditions::lag(20 * MS));
        let server = world.listen();
        let client = world.caller();
        let (at_client, at_server) = world.connect(client, server);
        let mut fates = VecDeque::from(fates);
        world.tamper = Some(Box::new(move |_| fates.pop_front().unwrap_or(Fate::Pass)));

        let mut sent: Vec<(Sending, Payload)> = Vec::new();
        for sending in sendings {
            let data = world.random_bytes(sending.size);
            let end = if sending.is_from_client { at_client } else { at_server };
            world.send(end, sending.channel, sending.delivery, data.clone());
            world.run_for(MS * sending.pause_ms);
            sent.push((sending, data));
        }
        world.run_until_delivered(30 * SECOND);
        world.run_for(5 * SECOND);

        // The world has checked each event already. This says it again in the words of a model, from the outside.
        for (is_from_client, receiver) in [(true, at_server), (false, at_client)] {
            for channel in 0..3 {
                for delivery in [Delivery::RELIABLE, Delivery::RELIABLE_UNORDERED, Delivery::LOSSY, Delivery::LOSSY_UNORDERED] {
                    let put_in: Vec<_> = sent
                        .iter()
                        .filter(|(s, _)| (s.is_from_client, s.channel, s.delivery) == (is_from_client, channel, delivery))
                        .map(|(_, data)| data.clone())
                        .collect();
                    let got_out = world.received(receiver, channel, delivery);
                    let sorted = |messages: &[Payload]| {
                        let mut messages = messages.to_vec();
                        messages.sort_unstable_by(|one, other| one.cmp(other));
                        messages
                    };
                    match (delivery.is_lossy, delivery.is_ordered) {
                        (false, true) => prop_assert_eq!(put_in, got_out),
                        (false, false) => prop_assert_eq!(sorted(&put_in), sorted(&got_out)),
                        (true, true) => {
                            let mut rest = put_in.iter();
                            prop_assert!(got_out.iter().all(|message| rest.any(|other| other == message)));
                        }
                        (true, false) => {
                            let (mut rest, got_out) = (sorted(&put_in).into_iter(), sorted(&got_out));
                            prop_assert!(got_out.iter().all(|message| rest.any(|other| other == *message)));
                        }
                    }
                }
            }
        }
        prop_assert!(world.is_connected(at_client) && world.is_connected(at_server));
    }

    #[test]
    fn connecting_survives_any_pattern(fates in proptest::collection::vec(any_fate(), 0..30)) {
        let mut world = World::new(Conditions::lag(20 * MS));
        let server = world.listen();
        let client = world.caller();
        let mut fates = VecDeque::from(fates);
        world.tamper = Some(Box::new(move |_| fates.pop_front().unwrap_or(Fate::Pass)));
        // A server whose answers are all lost may let in a client that then begins anew, and whose goodbye is lost too.
        world.ledger.allow_late_calls();
        let end = world.call(client, server);
        world.run_until(25 * SECOND, |world| world.is_connected(end));
        world.run_for(40 * SECOND);
        let mut others = world.connected_ends(server);
        others.retain(|&other| world.is_connected(other));
        prop_assert_eq!(others.len(), 1);
        world.send(end, 0, Delivery::RELIABLE, "there");
        world.send(others[0], 0, Delivery::RELIABLE, "and back");
        world.run_for(SECOND);
        for (end, word) in [(others[0], "there"), (end, "and back")] {
            prop_assert_eq!(world.messages(end), [(0, Payload::from(word))]);
            prop_assert!(world.is_connected(end));
        }
    }
}
