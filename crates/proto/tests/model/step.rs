//! The alphabet: what may happen next, and how chance chooses it.
//!
//! A step names places and connections by numbers that are taken modulo what there is, so that it means something wherever it
//! stands, and a sequence stays one when steps are left out.

use std::time::Duration;

use netplay_netsim::{Conditions, Loss, Random};
use netplay_proto::{Delivery, Reason};

use crate::MS;

/// How many processes there are; the first two listen, all call.
pub(crate) const PLACES: u64 = 4;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A game calls another one.
    Call {
        from: u64,
        to: u64,
        timeout: Duration,
        mistake: Mistake,
    },
    /// A game sends some messages, the first of this size and each next one smaller.
    Send {
        end: u64,
        channel: u8,
        delivery: Delivery,
        size: usize,
        count: u32,
    },
    /// A game closes a connection, or its netplay finds a reason to.
    Close {
        end: u64,
    },
    Abort {
        end: u64,
        reason: Reason,
    },
    /// The network changes, everywhere or from one place to another.
    ChangeAll {
        conditions: Conditions,
    },
    Change {
        from: u64,
        to: u64,
        conditions: Conditions,
    },
    Cut {
        from: u64,
        to: u64,
    },
    Restore {
        from: u64,
        to: u64,
    },
    /// A process gets another address; the old one may be somebody else's next.
    Roam {
        place: u64,
        node: u64,
    },
    /// A game takes no events, and later does again: a loading screen.
    Stall {
        place: u64,
    },
    Wake {
        place: u64,
    },
    /// A process does not run at all, and later does again: a laptop that sleeps.
    Freeze {
        place: u64,
    },
    Thaw {
        place: u64,
        are_timers_first: bool,
    },
    /// A process dies without a word, and another takes its place.
    Crash {
        place: u64,
    },
    /// Somebody who has heard a datagram says it again.
    Copy {
        which: u64,
        is_from_elsewhere: bool,
        garbled_bit: Option<u64>,
        length: Option<u64>,
        count: u32,
    },
    /// Time passes.
    Wait {
        time: Duration,
    },
}

/// What a caller may have wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    None,
    Password,
    Version,
    Key,
}

impl Step {
    /// Chooses the steps of a run. Runs have moods: in some a kind of step is frequent, in some it never happens.
    pub(crate) fn choose_many(seed: u64, count: u64) -> Vec<Self> {
        let mut random = Random::new(seed ^ 0x7374_6570);
        let weights = WEIGHTS.map(|weight| weight * [0, 1, 1, 1, 3][random.below(5) as usize]);
        // A run without calls, messages or time would show nothing.
        let weights: [u64; WEIGHTS.len()] = std::array::from_fn(|kind| {
            if kind < 3 {
                weights[kind].max(WEIGHTS[kind])
            } else {
                weights[kind]
            }
        });
        // Most begin with somebody talking.
        let first = [(1, 0), (2, 0), (3, 0), (2, 1)].map(|(from, to)| Self::Call {
            from,
            to,
            timeout: MS * 20_000,
            mistake: Mistake::None,
        });
        let mut steps: Vec<_> = first.into_iter().filter(|_| random.chance(0.7)).collect();
        steps.resize_with(count as usize, || Self::choose(&weights, &mut random));
        steps
    }

    fn choose(weights: &[u64; WEIGHTS.len()], random: &mut Random) -> Self {
        let mut left = random.below(weights.iter().sum());
        let kind = weights.iter().position(|&weight| {
            let is_chosen = left < weight;
            left = left.saturating_sub(weight);
            is_chosen
        });
        let (from, to, end) = (random.below(PLACES), random.below(PLACES), random.next_u64() >> 32);
        match kind.unwrap() {
            0 => Self::Wait { time: any_time(random) },
            1 => Self::Send {
                end,
                channel: any_channel(random),
                delivery: Delivery {
                    is_lossy: random.chance(0.4),
                    is_ordered: random.chance(0.6),
                },
                size: any_size(random),
                count: any_count(random),
            },
            2 => Self::Call {
                from,
                to: random.below(2),
                timeout: MS * (500 + random.below(20_000) as u32),
                mistake: pick(
                    random,
                    &[
                        (20, Mistake::None),
                        (1, Mistake::Password),
                        (1, Mistake::Version),
                        (1, Mistake::Key),
                    ],
                ),
            },
            3 => Self::Close { end },
            4 => Self::Abort {
                end,
                reason: pick(random, &[(1, Reason::BadData), (1, Reason::TooSlow)]),
            },
            5 => Self::ChangeAll {
                conditions: any_conditions(random),
            },
            6 => Self::Change {
                from,
                to,
                conditions: any_conditions(random),
            },
            7 => Self::Cut { from, to },
            8 => Self::Restore { from, to },
            9 => Self::Roam {
                place: from,
                node: random.below(12),
            },
            10 => Self::Stall { place: from },
            11 => Self::Wake { place: from },
            12 => Self::Freeze { place: from },
            13 => Self::Thaw {
                place: from,
                are_timers_first: random.chance(0.5),
            },
            14 => Self::Crash { place: from },
            _ => Self::Copy {
                which: random.next_u64() >> 32,
                is_from_elsewhere: random.chance(0.3),
                garbled_bit: random.chance(0.4).then(|| random.next_u64() >> 32),
                length: random.chance(0.1).then(|| random.below(1200)),
                count: 1 + random.below(4) as u32,
            },
        }
    }
}

/// How often each kind of step happens, in the order of [`Step::choose`].
const WEIGHTS: [u64; 16] = [300, 400, 30, 4, 2, 10, 15, 5, 20, 6, 5, 12, 2, 12, 1, 60];

/// Picks one of several by their weights.
fn pick<T: Copy>(random: &mut Random, choices: &[(u64, T)]) -> T {
    let mut left = random.below(choices.iter().map(|&(weight, _)| weight).sum());
    for &(weight, choice) in choices {
        if left < weight {
            return choice;
        }
        left -= weight;
    }
    unreachable!("the weights add up")
}

fn any_time(random: &mut Random) -> Duration {
    let longest_ms = pick(
        random,
        &[(60, 5), (60, 20), (40, 100), (10, 1000), (4, 5000), (1, 45_000)],
    );
    Duration::from_micros(random.below(longest_ms * 1000 + 1))
}

fn any_channel(random: &mut Random) -> u8 {
    // A few in use all the time, and now and then any.
    if random.chance(0.9) {
        random.below(4) as u8
    } else {
        random.next_u64() as u8
    }
}

fn any_size(random: &mut Random) -> usize {
    // Empty, small, around what fits into one packet, some fragments, around what may be lossy, large.
    let (low, high) = pick(
        random,
        &[
            (10, (0, 1)),
            (60, (1, 300)),
            (20, (1080, 1200)),
            (10, (1200, 8000)),
            (2, (60_000, 70_000)),
            (1, (100_000, 400_000)),
        ],
    );
    (low + random.below(high - low + 1)) as usize
}

fn any_count(random: &mut Random) -> u32 {
    let most = pick(random, &[(20, 1), (6, 10), (1, 60)]);
    1 + random.below(most) as u32
}

fn any_conditions(random: &mut Random) -> Conditions {
    let most_lag = pick(random, &[(6, 50), (3, 200), (1, 2000)]);
    let most_jitter = pick(random, &[(3, 0), (3, 20), (1, 300)]);
    let loss = pick(random, &[(2, 0.0), (3, 0.05), (2, 0.3), (1, 0.8)]);
    let share = |random: &mut Random| pick(random, &[(3, 0.0), (2, 0.05), (1, 0.5)]);
    Conditions {
        lag: MS * random.below(most_lag + 1) as u32,
        jitter: MS * random.below(most_jitter + 1) as u32,
        loss: if random.chance(0.5) {
            Loss::Independent(loss)
        } else {
            Loss::Bursts {
                share: loss,
                mean_length: 4.0,
            }
        },
        duplicate: share(random),
        reorder: share(random),
        rate: random.chance(0.2).then(|| 100_000 + random.below(5_000_000)),
        queue_bytes: 2_000 + random.below(64_000) as usize,
    }
}
