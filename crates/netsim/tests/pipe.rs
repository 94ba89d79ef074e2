//! What a pipe promises: the seed decides, conditions do what they say, and nothing else happens to a packet.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use netplay_netsim::pipe::{HOLD_BACK, MAX_IN_FLIGHT};
use netplay_netsim::{Conditions, Loss, Pipe, Verdict};

const MS: Duration = Duration::from_millis(1);

/// Sends numbered packets at a steady pace and returns what came out, with the moment of each.
fn run(
    conditions: Conditions,
    seed: u64,
    count: u64,
    every: Duration,
    size: usize,
) -> (Pipe<u64>, Vec<(Duration, u64)>) {
    let mut pipe = Pipe::new(conditions, seed);
    let mut arrivals = Vec::new();
    for number in 0..count {
        let now = every * u32::try_from(number).unwrap();
        drain(&mut pipe, now, &mut arrivals);
        pipe.send(now, size, number);
    }
    drain(&mut pipe, Duration::MAX, &mut arrivals);
    (pipe, arrivals)
}

/// Takes out what is due, each at its own moment.
fn drain(pipe: &mut Pipe<u64>, now: Duration, arrivals: &mut Vec<(Duration, u64)>) {
    while let Some(at) = pipe.next_at().filter(|&at| at <= now) {
        arrivals.push((at, pipe.receive(at).unwrap()));
    }
}

fn numbers(arrivals: &[(Duration, u64)]) -> Vec<u64> {
    arrivals.iter().map(|&(_, number)| number).collect()
}

fn bad() -> Conditions {
    Conditions {
        lag: 50 * MS,
        jitter: 30 * MS,
        loss: Loss::Bursts {
            share: 0.1,
            mean_length: 3.0,
        },
        duplicate: 0.05,
        reorder: 0.05,
        rate: Some(1_000_000),
        queue_bytes: 10_000,
    }
}

#[test]
fn a_perfect_pipe_delivers_at_once_and_in_order() {
    let (pipe, arrivals) = run(Conditions::default(), 1, 1000, MS, 100);
    assert_eq!(numbers(&arrivals), (0..1000).collect::<Vec<_>>());
    assert!(arrivals.iter().all(|&(at, number)| at == MS * number as u32));
    assert_eq!(pipe.stats().sent, 1000);
    assert_eq!(pipe.stats().sent_bytes, 100_000);
    assert_eq!(pipe.stats().delivered, 1000);
}

#[test]
fn nothing_comes_out_before_it_is_due() {
    let mut pipe = Pipe::new(Conditions::lag(20 * MS), 1);
    assert_eq!(pipe.send(5 * MS, 10, 'a'), Verdict::Passed);
    assert_eq!(pipe.next_at(), Some(25 * MS));
    assert_eq!(pipe.receive(25 * MS - Duration::from_nanos(1)), None);
    assert_eq!(pipe.receive(25 * MS), Some('a'));
    assert_eq!((pipe.receive(Duration::MAX), pipe.next_at()), (None, None));
}

#[test]
fn the_same_seed_gives_the_same_outcome_and_another_seed_another() {
    let outcome = |seed| run(bad(), seed, 5000, MS, 100).1;
    assert_eq!(outcome(7), outcome(7));
    assert_ne!(outcome(7), outcome(8));
}

#[test]
fn one_condition_leaves_the_others_alone() {
    let lost = |conditions| {
        let mut pipe = Pipe::new(conditions, 3);
        (0..5000_u32)
            .filter(|&n| pipe.send(MS * n, 100, n) == Verdict::Lost)
            .collect::<Vec<_>>()
    };
    let only_loss = Conditions {
        loss: Loss::Independent(0.1),
        ..Conditions::default()
    };
    let loss_and_more = Conditions {
        jitter: 20 * MS,
        duplicate: 0.2,
        reorder: 0.1,
        ..only_loss.clone()
    };
    assert_eq!(lost(only_loss), lost(loss_and_more));
}

#[test]
fn jitter_stays_in_its_range_and_may_reorder() {
    let conditions = Conditions {
        lag: 50 * MS,
        jitter: 20 * MS,
        ..Conditions::default()
    };
    let (_, arrivals) = run(conditions, 4, 10_000, 5 * MS, 100);
    let delays: Vec<_> = arrivals
        .iter()
        .map(|&(at, number)| at - 5 * MS * number as u32)
        .collect();
    assert!(delays.iter().all(|delay| (50 * MS..70 * MS).contains(delay)));
    assert!(delays.iter().any(|delay| *delay < 51 * MS) && delays.iter().any(|delay| *delay > 69 * MS));
    assert!(!arrivals.is_sorted_by_key(|&(_, number)| number));
    assert_eq!(arrivals.len(), 10_000);
}

#[test]
fn jitter_shorter_than_the_pace_keeps_the_order() {
    let conditions = Conditions {
        jitter: 5 * MS,
        ..Conditions::default()
    };
    let (_, arrivals) = run(conditions, 4, 10_000, 5 * MS, 100);
    assert_eq!(numbers(&arrivals), (0..10_000).collect::<Vec<_>>());
}

#[test]
fn independent_loss_loses_its_share_one_by_one() {
    for share in [0.01, 0.05, 0.3] {
        let conditions = Conditions {
            loss: Loss::Independent(share),
            ..Conditions::default()
        };
        let (lost_share, mean_burst) = losses(conditions, 200_000);
        assert!((lost_share - share).abs() < 0.1 * share, "{lost_share} of {share}");
        // A run of independent losses ends with probability 1 − share.
        let expected = 1.0 / (1.0 - share);
        assert!(
            (mean_burst - expected).abs() < 0.1 * expected,
            "{mean_burst} of {expected}"
        );
    }
}

#[test]
fn bursts_lose_their_share_in_runs_of_their_length() {
    for (share, mean_length) in [(0.05, 4.0), (0.05, 10.0), (0.3, 2.0)] {
        let conditions = Conditions {
            loss: Loss::Bursts { share, mean_length },
            ..Conditions::default()
        };
        let (lost_share, mean_burst) = losses(conditions, 400_000);
        assert!((lost_share - share).abs() < 0.1 * share, "{lost_share} of {share}");
        assert!(
            (mean_burst - mean_length).abs() < 0.1 * mean_length,
            "{mean_burst} of {mean_length}"
        );
    }
}

/// Returns the share of packets lost and the mean length of a run of losses.
fn losses(conditions: Conditions, count: u32) -> (f64, f64) {
    let mut pipe = Pipe::new(conditions, 5);
    let (mut lost, mut runs, mut was_lost) = (0, 0, false);
    for number in 0..count {
        let is_lost = pipe.send(Duration::ZERO, 100, number) == Verdict::Lost;
        pipe.receive(Duration::ZERO);
        lost += u32::from(is_lost);
        runs += u32::from(is_lost && !was_lost);
        was_lost = is_lost;
    }
    assert_eq!(pipe.stats().lost, u64::from(lost));
    (f64::from(lost) / f64::from(count), f64::from(lost) / f64::from(runs))
}

#[test]
fn a_loss_of_one_loses_everything() {
    for loss in [
        Loss::Independent(1.0),
        Loss::Bursts {
            share: 1.0,
            mean_length: 5.0,
        },
    ] {
        let (pipe, arrivals) = run(
            Conditions {
                loss,
                ..Conditions::default()
            },
            1,
            1000,
            MS,
            100,
        );
        assert_eq!((pipe.stats().lost, arrivals.len()), (1000, 0));
    }
}

#[test]
fn duplicates_come_twice_and_are_counted() {
    let conditions = Conditions {
        duplicate: 0.1,
        ..Conditions::default()
    };
    let (pipe, arrivals) = run(conditions, 6, 50_000, MS, 100);
    let copies = arrivals.len() as u64 - 50_000;
    assert_eq!(pipe.stats().duplicated, copies);
    assert!(copies.abs_diff(5_000) < 500, "{copies}");
    let mut once = numbers(&arrivals);
    once.dedup();
    assert_eq!(once, (0..50_000).collect::<Vec<_>>());
}

#[test]
fn reordered_packets_are_overtaken_by_the_next_tick_and_not_held_forever() {
    let tick = Duration::from_micros(16_667);
    let conditions = Conditions {
        lag: 30 * MS,
        reorder: 0.1,
        ..Conditions::default()
    };
    let (pipe, arrivals) = run(conditions, 7, 10_000, tick, 100);
    let late: Vec<_> = arrivals
        .iter()
        .filter(|&&(at, number)| at > tick * number as u32 + 30 * MS)
        .collect();
    assert_eq!(late.len() as u64, pipe.stats().held_back);
    assert!(late.len().abs_diff(1000) < 150, "{}", late.len());
    for (at, number) in late {
        let held_for = *at - tick * *number as u32 - 30 * MS;
        assert!(HOLD_BACK.contains(&held_for));
    }
    assert!(!arrivals.is_sorted_by_key(|&(_, number)| number));
    assert_eq!(arrivals.len(), 10_000);
}

#[test]
fn a_rate_holds_and_its_queue_drops_the_tail() {
    // 1 Mbit/s carries 125 bytes per millisecond; twice that is offered.
    let conditions = Conditions {
        rate: Some(1_000_000),
        queue_bytes: 12_500,
        ..Conditions::default()
    };
    let (pipe, arrivals) = run(conditions, 8, 10_000, MS, 250);
    let stats = pipe.stats();
    assert_eq!(stats.overflowed + arrivals.len() as u64, 10_000);
    assert!(arrivals.len().abs_diff(5_000) < 100, "{}", arrivals.len());
    assert!(arrivals.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 2 * MS));
    // A full queue of 12,500 bytes is 100 ms, plus the packet's own 2.
    let longest = arrivals
        .iter()
        .map(|&(at, number)| at - MS * number as u32)
        .max()
        .unwrap();
    assert!((98 * MS..=102 * MS).contains(&longest), "{longest:?}");
    assert!(arrivals.is_sorted_by_key(|&(_, number)| number));
}

#[test]
fn an_idle_link_passes_a_packet_larger_than_its_queue() {
    let conditions = Conditions {
        rate: Some(8_000),
        queue_bytes: 10,
        ..Conditions::default()
    };
    let mut pipe = Pipe::new(conditions, 1);
    assert_eq!(pipe.send(MS, 1000, 'a'), Verdict::Passed);
    assert_eq!(pipe.next_at(), Some(1001 * MS));
    assert_eq!(pipe.send(2 * MS, 1000, 'b'), Verdict::Overflowed);
    assert_eq!(pipe.send(1001 * MS, 1000, 'c'), Verdict::Passed);
}

#[test]
fn a_cut_pipe_loses_what_is_sent_and_delivers_what_was_on_the_way() {
    let mut pipe = Pipe::new(Conditions::lag(50 * MS), 1);
    pipe.send(Duration::ZERO, 10, 'a');
    pipe.set_cut(true);
    assert_eq!(pipe.send(10 * MS, 10, 'b'), Verdict::Lost);
    pipe.set_cut(false);
    pipe.send(20 * MS, 10, 'c');
    assert_eq!(
        (pipe.receive(50 * MS), pipe.receive(60 * MS), pipe.receive(70 * MS)),
        (Some('a'), None, Some('c'))
    );
    assert_eq!(pipe.stats().lost, 1);
}

#[test]
fn conditions_change_for_packets_sent_later() {
    let mut pipe = Pipe::new(Conditions::lag(50 * MS), 1);
    pipe.send(Duration::ZERO, 10, 'a');
    pipe.set_conditions(Conditions::lag(10 * MS));
    pipe.send(MS, 10, 'b');
    assert_eq!((pipe.receive(11 * MS), pipe.receive(50 * MS)), (Some('b'), Some('a')));
}

#[test]
fn a_pipe_holds_no_more_than_its_bound() {
    let mut pipe = Pipe::new(
        Conditions {
            duplicate: 1.0,
            ..Conditions::lag(Duration::MAX)
        },
        1,
    );
    let overflowed = (0..MAX_IN_FLIGHT)
        .filter(|_| pipe.send(Duration::ZERO, 10, ()) == Verdict::Overflowed)
        .count();
    assert_eq!(overflowed, MAX_IN_FLIGHT / 2);
    assert!(pipe.in_flight() <= MAX_IN_FLIGHT + 1);
    pipe.clear();
    assert_eq!((pipe.in_flight(), pipe.next_at()), (0, None));
}
