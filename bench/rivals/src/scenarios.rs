//! What is played: the traffic of a game on each network, and the figures that come of it.
//!
//! It knows sizes, rates and networks; it must not know any of the rivals.

use std::time::Duration;

use netplay_netsim::{Conditions, Loss};

use crate::rival::{BULK_CHANNEL, Delivery, LOSSY_CHANNEL, RELIABLE_CHANNELS, Rival, SERVER};
use crate::table::{Column, Over, Unit};
use crate::world::{CLIENT, Entry, FRAME, World};

/// One way, on every network.
pub(crate) const LAG: Duration = Duration::from_millis(50);

/// How long reliable messages are waited for before they count as never delivered.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Players that a server has room for.
const SLOTS: usize = 100;

/// Forged first packets of a flood.
const FORGED: u64 = 300;

/// The narrow link of the download.
pub(crate) const LINK_BITS_PER_SECOND: u64 = 10_000_000;

/// Frames from one position beside the download to the next: 20 Hz.
pub(crate) const POSITION_EVERY: u64 = 3;

/// How much of everything is played.
pub(crate) struct Plan {
    pub(crate) seeds: Vec<u64>,
    pub(crate) time: Duration,
    pub(crate) bulk_bytes: usize,
}

/// One scenario.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Scenario {
    /// 64 bytes, reliable and ordered, on each of so many channels in every frame.
    Reliable { loss: Loss, channels: u8 },
    /// 1 KiB, lossy, in every frame.
    Lossy { loss: Loss },
    /// A download through a narrow link, and positions beside it.
    Bulk { loss: Loss },
    /// Forged first packets, and one honest client.
    Flood,
}

/// Every scenario, in the order of the page.
pub(crate) const SCENARIOS: [Scenario; 9] = [
    reliable(Loss::None),
    reliable(Loss::Independent(0.05)),
    reliable(Loss::Independent(0.1)),
    reliable(Loss::Bursts {
        share: 0.05,
        mean_length: 3.0,
    }),
    Scenario::Reliable {
        loss: Loss::None,
        channels: 1,
    },
    Scenario::Lossy {
        loss: Loss::Independent(0.1),
    },
    Scenario::Bulk { loss: Loss::None },
    Scenario::Bulk {
        loss: Loss::Independent(0.02),
    },
    Scenario::Flood,
];

const fn reliable(loss: Loss) -> Scenario {
    Scenario::Reliable { loss, channels: 4 }
}

impl Scenario {
    pub(crate) fn title(self) -> String {
        match self {
            Self::Reliable { loss, channels: 1 } => format!("One reliable message a frame, {}", name(loss)),
            Self::Reliable { loss, .. } => format!("Reliable messages, {}", name(loss)),
            Self::Lossy { loss } => format!("Lossy snapshots, {}", name(loss)),
            Self::Bulk { loss } => format!("A download with positions beside it, {}", name(loss)),
            Self::Flood => "A flood of forged first packets".into(),
        }
    }

    /// Says what is sent through what.
    pub(crate) fn description(self, plan: &Plan) -> String {
        let seconds = plan.time.as_secs();
        match self {
            Self::Reliable { loss, channels } => {
                let channels = match channels {
                    1 => "one channel".to_owned(),
                    more => format!("each of {more} channels"),
                };
                let bursts = match loss {
                    Loss::Bursts { .. } => {
                        "\nA burst is so many packets long however slowly they come: who backs off in one stays in it longer."
                    }
                    Loss::None | Loss::Independent(_) => "",
                };
                format!(
                    "64 B reliable and ordered on {channels}, 60 times a second for {seconds} s, from client to server.{bursts}"
                )
            }
            Self::Lossy { .. } => format!("1 KiB lossy, 60 times a second for {seconds} s, from client to server."),
            Self::Bulk { .. } => format!(
                "One reliable message of {} KiB through 10 Mbit/s with a queue of 64 KiB, each way, and 32 B lossy 20 times \
                 a second beside it on the same connection.\n\
                 The link's share counts the message's own bytes.",
                plan.bulk_bytes >> 10
            ),
            Self::Flood => format!(
                "{FORGED} first packets from as many addresses at once, none of which answers, against a server with room \
                 for {SLOTS} players; an honest client comes 0.1 s later and tries for 30 s.\n\
                 Bytes are those sent to the one address that got the most, by those that came from it."
            ),
        }
    }

    pub(crate) fn columns(self) -> &'static [Column] {
        const fn column(head: &'static str, unit: Unit, over: Over) -> Column {
            Column { head, unit, over }
        }
        const P50: Column = column("delay p50, ms", Unit::Millis, Over::Median);
        const P99: Column = column("p99, ms", Unit::Millis, Over::Median);
        const MAX: Column = column("max, ms", Unit::Millis, Over::Max);
        const BYTES: Column = column("bytes on the wire per message", Unit::Number, Over::Median);
        const RELIABLE: &[Column] = &[P50, P99, MAX, BYTES];
        const LOSSY: &[Column] = &[
            P50,
            P99,
            MAX,
            column("delivered", Unit::Percent, Over::Median),
            column("datagrams that the path delivered", Unit::Percent, Over::Median),
            BYTES,
        ];
        const BULK: &[Column] = &[
            column("download, s", Unit::Number, Over::Median),
            column("share of the link", Unit::Percent, Over::Median),
            column("bytes on the wire per byte", Unit::Number, Over::Median),
            column("positions p50, ms", Unit::Millis, Over::Median),
            P99,
            column("positions delivered", Unit::Percent, Over::Median),
            column("p99 on the empty path, ms", Unit::Millis, Over::Median),
        ];
        const FLOOD: &[Column] = &[
            column("the honest client connects within, s", Unit::Number, Over::Max),
            column("bytes answered per byte asked, at most", Unit::Number, Over::Median),
        ];
        match self {
            Self::Reliable { .. } => RELIABLE,
            Self::Lossy { .. } => LOSSY,
            Self::Bulk { .. } => BULK,
            Self::Flood => FLOOD,
        }
    }

    /// Returns the network that it is played on.
    pub(crate) fn conditions(self) -> Conditions {
        match self {
            Self::Reliable { loss, .. } | Self::Lossy { loss } => Conditions {
                loss,
                ..Conditions::lag(LAG)
            },
            Self::Bulk { loss } => Conditions {
                loss,
                rate: Some(LINK_BITS_PER_SECOND),
                queue_bytes: 64 << 10,
                ..Conditions::lag(LAG)
            },
            Self::Flood => Conditions::lag(LAG),
        }
    }

    /// Plays it once and returns a figure for each column.
    pub(crate) fn play(self, rival: &Rival, seed: u64, plan: &Plan) -> Vec<f64> {
        match self {
            Self::Reliable { channels, .. } => play_reliable(&mut self.connected(rival, seed), plan, channels),
            Self::Lossy { .. } => play_lossy(&mut self.connected(rival, seed), plan),
            Self::Bulk { .. } => {
                let mut figures = play_bulk(&mut self.connected(rival, seed), plan);
                figures.push(play_positions(&mut self.connected(rival, seed), plan));
                figures
            }
            Self::Flood => play_flood(&mut World::new(rival, self.conditions(), seed, SLOTS)),
        }
    }

    /// Makes a world whose client has connected while the network was still good.
    fn connected(self, rival: &Rival, seed: u64) -> World<'_> {
        let mut world = World::new(rival, Conditions::lag(LAG), seed, SLOTS);
        let took = world.connect(Duration::from_secs(10));
        assert!(took.is_some(), "{} does not connect", rival.name);
        world.network.set_conditions(self.conditions());
        world
    }
}

fn play_reliable(world: &mut World<'_>, plan: &Plan, channels: u8) -> Vec<f64> {
    let before = world.network.stats().sent_bytes;
    for _ in 0..frames(plan.time) {
        for channel in RELIABLE_CHANNELS.take(usize::from(channels)) {
            world.send(channel, Delivery::Reliable, 64);
        }
        world.play_frame();
    }
    wait_for(world, |entry| entry.arrived_at.is_some());
    let bytes = world.network.stats().sent_bytes - before;
    reliable_figures(&world.ledger, bytes)
}

/// Returns the figures of a [`Scenario::Reliable`]. A message that never came was infinitely late.
pub(crate) fn reliable_figures(ledger: &[Entry], bytes: u64) -> Vec<f64> {
    let delays = sorted(ledger.iter().map(|entry| delay(entry).unwrap_or(f64::INFINITY)));
    vec![
        percentile(&delays, 0.5),
        percentile(&delays, 0.99),
        percentile(&delays, 1.0),
        bytes as f64 / ledger.len() as f64,
    ]
}

fn play_lossy(world: &mut World<'_>, plan: &Plan) -> Vec<f64> {
    let before = world.network.stats().sent_bytes;
    let path_before = world.network.stats_from(CLIENT, SERVER);
    for _ in 0..frames(plan.time) {
        world.send(LOSSY_CHANNEL, Delivery::Lossy, 1024);
        world.play_frame();
    }
    // A rival may still have many waiting. Bytes count until the last one arrives, not the idle talk after it.
    let mut bytes = world.network.stats().sent_bytes;
    let mut arrived = 0;
    for _ in 0..frames(Duration::from_secs(10)) {
        world.play_frame();
        let arrived_now = world.ledger.iter().filter(|entry| entry.arrived_at.is_some()).count();
        if arrived_now > arrived {
            (arrived, bytes) = (arrived_now, world.network.stats().sent_bytes);
        }
    }
    bytes -= before;
    let path = world.network.stats_from(CLIENT, SERVER);
    let lost = (path.lost - path_before.lost) as f64 / (path.sent - path_before.sent) as f64;
    let delays = sorted(world.ledger.iter().filter_map(delay));
    vec![
        percentile(&delays, 0.5),
        percentile(&delays, 0.99),
        percentile(&delays, 1.0),
        delays.len() as f64 / world.ledger.len() as f64,
        1.0 - lost,
        bytes as f64 / world.ledger.len() as f64,
    ]
}

fn play_bulk(world: &mut World<'_>, plan: &Plan) -> Vec<f64> {
    let (began, before) = (world.now, world.network.stats().sent_bytes);
    world.send(BULK_CHANNEL, Delivery::Reliable, plan.bulk_bytes);
    for frame in 0..frames(PATIENCE) {
        if frame % POSITION_EVERY == 0 {
            world.send(LOSSY_CHANNEL, Delivery::Lossy, 32);
        }
        world.play_frame();
        if world.ledger[0].arrived_at.is_some() {
            break;
        }
    }
    let bytes = world.network.stats().sent_bytes - before;
    let end = world.ledger[0].arrived_at.unwrap_or(world.now);
    for _ in 0..frames(10 * LAG) {
        world.play_frame();
    }
    let took = world.ledger[0].arrived_at.map(|at| at - began);
    let positions = world.ledger[1..].iter().filter(|entry| entry.sent_at <= end);
    bulk_figures(took, plan, bytes, positions)
}

/// Returns the figures of a [`Scenario::Bulk`], the last one excepted.
pub(crate) fn bulk_figures<'a>(
    took: Option<Duration>,
    plan: &Plan,
    bytes: u64,
    positions: impl Iterator<Item = &'a Entry> + Clone,
) -> Vec<f64> {
    let took = took.map_or(f64::INFINITY, |took| took.as_secs_f64());
    let delays = sorted(positions.clone().filter_map(delay));
    vec![
        took,
        plan.bulk_bytes as f64 * 8.0 / took / LINK_BITS_PER_SECOND as f64,
        bytes as f64 / plan.bulk_bytes as f64,
        percentile(&delays, 0.5),
        percentile(&delays, 0.99),
        delays.len() as f64 / positions.count() as f64,
    ]
}

/// Returns the 99th percentile of positions that have the path for themselves.
fn play_positions(world: &mut World<'_>, plan: &Plan) -> f64 {
    for frame in 0..frames(plan.time) {
        if frame % POSITION_EVERY == 0 {
            world.send(LOSSY_CHANNEL, Delivery::Lossy, 32);
        }
        world.play_frame();
    }
    positions_p99(&world.ledger)
}

/// Returns the 99th percentile of the delays in a ledger, of those that arrived.
pub(crate) fn positions_p99(ledger: &[Entry]) -> f64 {
    percentile(&sorted(ledger.iter().filter_map(delay)), 0.99)
}

fn play_flood(world: &mut World<'_>) -> Vec<f64> {
    let forged = || (1..=FORGED).map(|number| CLIENT + number);
    for node in forged() {
        world.forge(node);
    }
    for _ in 0..frames(2 * LAG) {
        world.play_frame();
    }
    let took = world.connect(Duration::from_secs(30));
    for _ in 0..frames(Duration::from_secs(30)) {
        world.play_frame();
    }
    let bytes = |from, to| world.network.stats_from(from, to).sent_bytes;
    let answered = sorted(forged().map(|node| bytes(SERVER, node) as f64 / bytes(node, SERVER) as f64));
    vec![
        took.map_or(f64::INFINITY, |took| took.as_secs_f64()),
        percentile(&answered, 1.0),
    ]
}

/// Goes on without sending until something is true of every message, or patience ends.
fn wait_for(world: &mut World<'_>, is_done: impl Fn(&Entry) -> bool) {
    for _ in 0..frames(PATIENCE) {
        if world.ledger.iter().all(&is_done) {
            return;
        }
        world.play_frame();
    }
}

/// Returns how many frames a time has.
pub(crate) fn frames(time: Duration) -> u64 {
    (time.as_nanos() / FRAME.as_nanos()) as u64
}

/// Returns how long a message was on the way, in milliseconds; None if it has not arrived.
fn delay(entry: &Entry) -> Option<f64> {
    let arrived_at = entry.arrived_at?;
    Some((arrived_at - entry.sent_at).as_secs_f64() * 1e3)
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// Returns the value below which this share of the sorted values lies; not a number if there are none.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let index = (sorted.len() as f64 * share) as usize;
    sorted
        .get(index.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

fn name(loss: Loss) -> String {
    match loss {
        Loss::None => "no loss".into(),
        Loss::Independent(share) => format!("{} % independent loss", share * 100.0),
        Loss::Bursts { share, mean_length } => format!("{} % loss in bursts of {mean_length} packets", share * 100.0),
    }
}
