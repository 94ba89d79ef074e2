//! What a network of pipes promises: every packet arrives at its node, at its moment, and pairs do not disturb each other.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use netplay_netsim::{Conditions, Loss, Network, Verdict};
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

#[test]
fn packets_arrive_at_the_node_they_were_sent_to_in_the_order_of_time() {
    let mut network = Network::new(Conditions::lag(20 * MS), 1);
    network.set_conditions_from(1, 3, Conditions::lag(5 * MS));
    network.send(Duration::ZERO, 1, 2, 10, "to two");
    network.send(Duration::ZERO, 1, 3, 10, "to three");
    network.send(Duration::ZERO, 3, 1, 10, "back");
    assert_eq!(network.next_at(), Some(5 * MS));
    assert_eq!(network.receive(4 * MS), None);
    assert_eq!(network.receive(20 * MS), Some((1, 3, "to three")));
    assert_eq!(network.receive(20 * MS), Some((1, 2, "to two")));
    assert_eq!(network.receive(20 * MS), Some((3, 1, "back")));
    assert_eq!(
        (network.receive(20 * MS), network.next_at(), network.in_flight()),
        (None, None, 0)
    );
}

#[test]
fn what_others_send_changes_nothing_between_two_nodes() {
    let lossy = Conditions {
        loss: Loss::Independent(0.5),
        ..Conditions::default()
    };
    let verdicts = |others: u64| {
        let mut network = Network::new(lossy.clone(), 9);
        (0..200_u64)
            .map(|number| {
                for other in 0..others {
                    network.send(Duration::ZERO, other + 10, 2, 10, number);
                }
                network.send(Duration::ZERO, 1, 2, 10, number)
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(verdicts(0), verdicts(7));
}

#[test]
fn each_direction_has_chances_of_its_own() {
    let mut network = Network::new(
        Conditions {
            loss: Loss::Independent(0.5),
            ..Conditions::default()
        },
        9,
    );
    let mut lost = |from, to| {
        (0..200)
            .map(|n| network.send(Duration::ZERO, from, to, 10, n) == Verdict::Lost)
            .collect::<Vec<_>>()
    };
    assert_ne!(lost(1, 2), lost(2, 1));
}

#[test]
fn a_cut_holds_until_it_is_restored_and_only_where_it_was_made() {
    let mut network = Network::new(Conditions::default(), 1);
    network.cut_between(1, 2);
    assert_eq!(network.send(MS, 1, 2, 10, 'a'), Verdict::Lost);
    assert_eq!(network.send(MS, 2, 1, 10, 'b'), Verdict::Lost);
    assert_eq!(network.send(MS, 1, 3, 10, 'c'), Verdict::Passed);
    network.restore_from(1, 2);
    assert_eq!(network.send(MS, 1, 2, 10, 'd'), Verdict::Passed);
    assert_eq!(network.send(MS, 2, 1, 10, 'e'), Verdict::Lost);
    assert_eq!(network.stats_from(2, 1).lost, 2);
    assert_eq!((network.stats().sent, network.stats().lost), (5, 3));
}

#[test]
fn new_conditions_hold_for_old_pipes_and_new_ones() {
    let mut network = Network::new(Conditions::default(), 1);
    network.send(Duration::ZERO, 1, 2, 10, 'a');
    network.set_conditions(Conditions {
        loss: Loss::Independent(1.0),
        ..Conditions::default()
    });
    assert_eq!(network.send(Duration::ZERO, 1, 2, 10, 'b'), Verdict::Lost);
    assert_eq!(network.send(Duration::ZERO, 2, 1, 10, 'c'), Verdict::Lost);
    network.set_conditions_between(1, 2, Conditions::default());
    assert_eq!(network.send(Duration::ZERO, 2, 1, 10, 'd'), Verdict::Passed);
}

fn any_conditions() -> impl Strategy<Value = Conditions> {
    let loss = prop_oneof![
        Just(Loss::None),
        (0.0..=1.0).prop_map(Loss::Independent),
        (0.0..=1.0, 0.0..20.0).prop_map(|(share, mean_length)| Loss::Bursts { share, mean_length }),
    ];
    let rate = proptest::option::of(0_u64..10_000_000);
    (
        0_u64..200,
        0_u64..100,
        loss,
        0.0..=1.0,
        0.0..=1.0,
        rate,
        0_usize..20_000,
    )
        .prop_map(
            |(lag, jitter, loss, duplicate, reorder, rate, queue_bytes)| Conditions {
                lag: Duration::from_millis(lag),
                jitter: Duration::from_millis(jitter),
                loss,
                duplicate,
                reorder,
                rate,
                queue_bytes,
            },
        )
}

proptest! {
    #[test]
    fn every_packet_is_accounted_for(conditions in any_conditions(), seed: u64, sends in proptest::collection::vec((0_u64..3, 0_u64..3, 0_u64..30, 1_usize..1500), 0..300)) {
        let mut network = Network::new(conditions.clone(), seed);
        let mut now = Duration::ZERO;
        let mut expected = Vec::new();
        let mut got = Vec::new();
        for (number, &(from, to, pause, size)) in sends.iter().enumerate() {
            now += Duration::from_millis(pause);
            match network.send(now, from, to, size, number) {
                Verdict::Passed => expected.push((from, to, number)),
                Verdict::Duplicated => expected.extend([(from, to, number); 2]),
                Verdict::Lost | Verdict::Overflowed => {}
            }
            while let Some(arrival) = network.receive(now) {
                got.push(arrival);
            }
            prop_assert!(network.next_at().is_none_or(|at| at > now));
        }
        while let Some(at) = network.next_at() {
            prop_assert!(at >= now);
            now = at;
            got.push(network.receive(now).unwrap());
        }
        let stats = network.stats();
        prop_assert_eq!(stats.sent + stats.duplicated, stats.delivered + stats.lost + stats.overflowed);
        prop_assert_eq!(stats.delivered, got.len() as u64);
        let has_order = conditions.jitter.is_zero() && conditions.reorder == 0.0;
        if has_order {
            for link in (0..9).map(|link| (link / 3, link % 3)) {
                let numbers = got.iter().filter(|&&(from, to, _)| (from, to) == link).map(|&(_, _, number)| number);
                prop_assert!(numbers.is_sorted());
            }
        }
        expected.sort_unstable();
        got.sort_unstable();
        prop_assert_eq!(expected, got);
    }
}
