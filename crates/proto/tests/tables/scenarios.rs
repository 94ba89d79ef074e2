//! The games that the tables measure: one client, one server, one bad path between them, virtual time.
//!
//! A scenario plays one of them from one seed and returns numbers. It must not know how they are shown, nor what is good.

use std::time::Duration;

use netplay_netsim::{Conditions, Loss};
use netplay_proto::{Delivery, Event, Limits};

use crate::world::{End, World};

/// A tick of a game at 60 Hz.
pub(crate) const TICK: Duration = Duration::from_micros(16_667);

/// Twenty positions a second.
const SLOW_TICK: Duration = Duration::from_millis(50);

/// What a game says at each tick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Talk {
    /// Says it on each of this many channels.
    pub(crate) channels: u8,
    pub(crate) size: usize,
    pub(crate) delivery: Delivery,
}

/// 64 B, reliable and ordered, on each of four channels.
pub(crate) const RELIABLE: Talk = Talk {
    channels: 4,
    size: 64,
    delivery: Delivery::RELIABLE,
};

/// 64 B, reliable and ordered, once.
pub(crate) const ONE_RELIABLE: Talk = Talk {
    channels: 1,
    ..RELIABLE
};

/// 1 KiB of which only the newest counts.
pub(crate) const SNAPSHOTS: Talk = Talk {
    channels: 1,
    size: 1024,
    delivery: Delivery::LOSSY,
};

/// What a talk came to.
#[derive(Clone, Debug)]
pub(crate) struct Talked {
    /// How long each message that arrived was on the way, shortest first.
    pub(crate) delays: Vec<Duration>,
    pub(crate) sent: u64,
    /// The share of our packets that the path lost, 0.0–1.0.
    pub(crate) path_loss: f64,
    /// UDP payload of both directions, acknowledgements and all.
    pub(crate) wire_bytes: u64,
}

/// Talks at 60 Hz for some time over a path with this lag and loss, with this limit on copies.
pub(crate) fn talk(seed: u64, talk: Talk, time: Duration, lag: Duration, loss: Loss, copies: f64) -> Talked {
    let limits = Limits {
        copies,
        ..Limits::default()
    };
    let (mut world, end, other) = meet(seed, lag, limits);
    let conditions = Conditions {
        loss,
        ..Conditions::lag(lag)
    };
    world.network.set_conditions(conditions);
    let (from, to) = (world.node(end.side), world.node(other.side));
    let (bytes_before, pipe_before) = (world.traffic().1, world.network.stats_from(from, to));
    let mut sent = 0;
    world.play(time, TICK, |world, tick| {
        for channel in 0..talk.channels {
            world.send(end, channel, talk.delivery, vec![tick as u8; talk.size]);
            sent += 1;
        }
    });
    world.run_until_delivered(Duration::from_secs(60));
    world.run_for(lag);
    let pipe = world.network.stats_from(from, to);
    Talked {
        delays: delays(&world, other, |_| true),
        sent,
        path_loss: (pipe.lost - pipe_before.lost) as f64 / (pipe.sent - pipe_before.sent) as f64,
        wire_bytes: world.traffic().1 - bytes_before,
    }
}

/// A link that a download fills.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// Bits a second.
    pub(crate) rate: u64,
    pub(crate) queue_bytes: usize,
    pub(crate) lag: Duration,
    pub(crate) loss: Loss,
}

impl Link {
    fn conditions(self) -> Conditions {
        Conditions {
            rate: Some(self.rate),
            queue_bytes: self.queue_bytes,
            loss: self.loss,
            ..Conditions::lag(self.lag)
        }
    }
}

/// What a download came to.
#[derive(Clone, Debug)]
pub(crate) struct Downloaded {
    /// From sending until it was there.
    pub(crate) took: Duration,
    /// The share of the link's rate that it reached, 0.0–1.0.
    pub(crate) share: f64,
    /// Bytes sent into the link for each byte of the message.
    pub(crate) cost: f64,
    /// The delays of what went beside it: lossy positions, small reliable messages. Shortest first.
    pub(crate) positions: Vec<Duration>,
    pub(crate) words: Vec<Duration>,
}

/// Sends one large reliable message through a link, and beside it lossy positions and small reliable messages, 20 times a
/// second each. With a size of 0 there is only what goes beside it, for ten seconds.
pub(crate) fn download(seed: u64, size: usize, link: Link) -> Downloaded {
    const LEVEL: u8 = 9;
    const POSITIONS: u8 = 1;
    const WORDS: u8 = 2;
    let (mut world, end, other) = meet(seed, link.lag, Limits::default());
    world.network.set_conditions(link.conditions());
    let (began, nodes) = (world.now, (world.node(end.side), world.node(other.side)));
    if size > 0 {
        world.send(end, LEVEL, Delivery::RELIABLE, vec![7; size]);
    }
    let mut took = None;
    for tick in 0..20 * 120 {
        world.send(end, POSITIONS, Delivery::LOSSY, vec![1; 32]);
        world.send(end, WORDS, Delivery::RELIABLE, vec![1; 32]);
        let before = world.log.len();
        world.run_for(SLOW_TICK);
        let is_level = |event: &Event| matches!(event, Event::Message { channel: LEVEL, .. });
        took = world.log[before..]
            .iter()
            .find(|h| h.end == other && is_level(&h.event))
            .map(|h| h.at - began);
        if took.is_some() || (size == 0 && tick == 200) {
            break;
        }
    }
    world.run_until_delivered(Duration::from_secs(60));
    let took = took.unwrap_or(world.now - began);
    Downloaded {
        took,
        share: (size as f64 * 8.0 / took.as_secs_f64()) / link.rate as f64,
        cost: world.network.stats_from(nodes.0, nodes.1).sent_bytes as f64 / size.max(1) as f64,
        positions: delays(&world, other, |channel| channel == POSITIONS),
        words: delays(&world, other, |channel| channel == WORDS),
    }
}

/// What came of saying more than a link carries.
#[derive(Clone, Debug)]
pub(crate) struct Crowded {
    /// The delays of the snapshots and of the small reliable messages that arrived, shortest first.
    pub(crate) snapshots: Vec<Duration>,
    pub(crate) words: Vec<Duration>,
    /// The share of the link's rate that the snapshots had, 0.0–1.0.
    pub(crate) share: f64,
    /// The share of datagrams that found the link's queue full, 0.0–1.0.
    pub(crate) overflowed: f64,
}

/// Sends 1 KiB snapshots at 60 Hz, half a megabit a second, through a link that carries less, and a small reliable message beside
/// each.
pub(crate) fn crowd(seed: u64, link: Link, time: Duration) -> Crowded {
    let (mut world, end, other) = meet(seed, link.lag, Limits::default());
    world.network.set_conditions(link.conditions());
    let nodes = (world.node(end.side), world.node(other.side));
    let began = world.now;
    world.play(time, TICK, |world, tick| {
        world.send(end, 0, Delivery::LOSSY, vec![tick as u8; 1024]);
        world.send(end, 1, Delivery::RELIABLE, vec![tick as u8; 16]);
    });
    let snapshots = delays(&world, other, |channel| channel == 0);
    let seconds = (world.now - began).as_secs_f64();
    world.run_until_delivered(Duration::from_secs(60));
    let pipe = world.network.stats_from(nodes.0, nodes.1);
    Crowded {
        share: snapshots.len() as f64 * 1024.0 * 8.0 / seconds / link.rate as f64,
        words: delays(&world, other, |channel| channel == 1),
        snapshots,
        overflowed: pipe.overflowed as f64 / pipe.sent as f64,
    }
}

/// Two connections fill one link for some time, the second begins later. Returns the bytes that each brought through in the
/// second half.
pub(crate) fn share(seed: u64, link: Link, time: Duration) -> [usize; 2] {
    let (mut world, one, _) = meet(seed, link.lag, Limits::default());
    let server = world.other(one).side;
    let (two, _) = world.connect(one.side, server);
    world.network.set_conditions(link.conditions());
    let ends = [one, two];
    let began = world.now;
    let mut wanted = [0; 2];
    while world.now < began + time {
        for (end, wanted) in ends.into_iter().zip(&mut wanted) {
            // The second comes when the first has the link to itself.
            let has_begun = end == one || world.now > began + time / 10;
            while has_begun && world.stats(end).queued_bytes < 1 << 20 {
                world.send(end, 0, Delivery::RELIABLE, vec![3; 32 << 10]);
                *wanted += 1;
            }
        }
        world.run_for(TICK);
    }
    ends.map(|end| {
        let other = world.other(end);
        let late = world.log.iter().filter(|h| h.end == other && h.at > began + time / 2);
        late.map(|h| match &h.event {
            Event::Message { data, .. } => data.len(),
            _ => 0,
        })
        .sum()
    })
}

/// Returns the value below which this share of the sorted ones is.
pub(crate) fn percentile<T: Copy + Default>(sorted: &[T], share: f64) -> T {
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

fn meet(seed: u64, lag: Duration, limits: Limits) -> (World, End, End) {
    let mut world = World::with_seed(Conditions::lag(lag), seed);
    let server = world.listen_with(crate::world::terms(), limits.clone());
    let client = world.caller_with(limits);
    let (end, other) = world.connect(client, server);
    (world, end, other)
}

fn delays(world: &World, end: End, is_wanted: impl Fn(u8) -> bool) -> Vec<Duration> {
    let arrived = world.log.iter().filter(|h| h.end == end);
    let wanted = arrived.filter(|h| matches!(h.event, Event::Message { channel, .. } if is_wanted(channel)));
    let mut delays: Vec<_> = wanted.filter_map(|h| h.delay).collect();
    delays.sort_unstable();
    delays
}
