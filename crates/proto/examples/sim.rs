//! Measures the protocol on a table of bad networks, in virtual time: `make sim`, or
//! `cargo run --release -p netplay-proto --example sim -- [--seed N] [--lag-ms N] [--seconds N]`.
//!
//! One client talks to one server: 64 bytes, reliable and ordered, on each of four channels at 60 Hz; in a scenario of its own,
//! 1 KiB lossy at 60 Hz; in another, 4 MiB through a narrow link with small messages beside it. It prints how long messages
//! were on the way, how many bytes on the wire one message cost (acknowledgements included), and how many were sent again.
//! Numbers depend on the seed and on nothing else.

#![allow(clippy::unwrap_used)]

// The stories' world is the simulation; this file only asks it for numbers.
#[allow(dead_code)]
#[path = "../tests/stories/world/mod.rs"]
mod world;

use std::time::Duration;

use netplay_netsim::{Conditions, Loss};
use netplay_proto::{Delivery, Event};

use world::World;

/// A tick of a game at 60 Hz.
const TICK: Duration = Duration::from_micros(16_667);

/// Channels of the reliable scenario.
const CHANNELS: u8 = 4;

struct Options {
    seed: u64,
    lag: Duration,
    time: Duration,
}

/// What one scenario showed.
struct Row {
    delays: Vec<Duration>,
    sent: u64,
    wire_bytes: u64,
    resent: u64,
    packets: u64,
}

fn main() {
    let options = options(std::env::args().skip(1)).unwrap_or_else(|message| {
        eprintln!("{message}\nusage: sim [--seed N] [--lag-ms N] [--seconds N]");
        std::process::exit(2);
    });
    let losses = [
        ("0 %", Loss::None),
        ("1 %", Loss::Independent(0.01)),
        ("5 %", Loss::Independent(0.05)),
        ("10 %", Loss::Independent(0.1)),
        ("30 %", Loss::Independent(0.3)),
        (
            "5 %, bursts of 3",
            Loss::Bursts {
                share: 0.05,
                mean_length: 3.0,
            },
        ),
        (
            "5 %, bursts of 10",
            Loss::Bursts {
                share: 0.05,
                mean_length: 10.0,
            },
        ),
    ];
    println!(
        "seed {}, {:?} of game time, {:?} one way",
        options.seed, options.time, options.lag
    );
    for (title, is_reliable) in [
        ("reliable, ordered: 64 B on 4 channels at 60 Hz", true),
        ("lossy, newest wins: 1 KiB at 60 Hz", false),
    ] {
        println!("\n{title}; one-way delay in ms");
        let heads = ["p50", "p99", "max", "arrived", "wire B/msg", "resent", "packets"];
        println!("{:<20}{}", "loss", heads.map(|head| format!("{head:>11}")).concat());
        for (name, loss) in losses {
            let mut row = run(&options, loss, is_reliable);
            row.delays.sort_unstable();
            let percentile = |share: f64| {
                row.delays
                    .get(((row.delays.len() as f64 * share) as usize).min(row.delays.len() - 1))
            };
            let delay =
                |share| percentile(share).map_or("-".into(), |delay| format!("{:.1}", delay.as_secs_f64() * 1e3));
            let cells = [
                delay(0.5),
                delay(0.99),
                delay(1.0),
                format!("{:.1} %", 100.0 * row.delays.len() as f64 / row.sent as f64),
                format!("{:.1}", row.wire_bytes as f64 / row.sent as f64),
                row.resent.to_string(),
                row.packets.to_string(),
            ];
            println!("{name:<20}{}", cells.map(|cell| format!("{cell:>11}")).concat());
        }
    }
    println!("\nbulk: 4 MiB through 20 Mbit/s with a queue of 128 KiB, and 64 B reliable at 60 Hz beside it");
    let heads = ["seconds", "Mbit/s", "beside p50", "beside p99"];
    println!("{:<20}{}", "loss", heads.map(|head| format!("{head:>11}")).concat());
    for (name, loss) in losses {
        run_bulk(&options, name, loss);
    }
}

/// Sends 4 MiB at once, and small reliable messages beside it, through a narrow link; prints how long both took.
fn run_bulk(options: &Options, name: &str, loss: Loss) {
    const SIZE: usize = 4 << 20;
    let narrow = Conditions {
        loss,
        rate: Some(20_000_000),
        queue_bytes: 128 << 10,
        ..Conditions::lag(options.lag)
    };
    let mut world = World::with_seed(Conditions::lag(options.lag), options.seed);
    let server = world.listen();
    let client = world.caller();
    let (end, other) = world.connect(client, server);
    world.network.set_conditions(narrow);
    let began = world.now;
    world.send(end, 9, Delivery::RELIABLE, vec![7; SIZE]);
    let is_level = |event: &Event| matches!(event, Event::Message { channel: 9, .. });
    for _ in 0..60 * 120 {
        world.send(end, 1, Delivery::RELIABLE, vec![1; 64]);
        world.run_for(TICK);
        if world.log.last().is_some_and(|h| is_level(&h.event))
            || world.log.iter().rev().take(8).any(|h| is_level(&h.event))
        {
            break;
        }
    }
    world.run_until_delivered(Duration::from_secs(60));
    let level = world
        .log
        .iter()
        .find(|h| h.end == other && is_level(&h.event))
        .and_then(|h| h.delay)
        .unwrap_or_default();
    let beside = world
        .log
        .iter()
        .filter(|h| h.end == other && h.at <= began + level && !is_level(&h.event));
    let mut delays: Vec<_> = beside.filter_map(|h| h.delay).collect();
    delays.sort_unstable();
    let at = |share: f64| {
        delays
            .get((delays.len() as f64 * share) as usize)
            .map_or(0.0, |d| d.as_secs_f64() * 1e3)
    };
    let rate = SIZE as f64 * 8e-6 / level.as_secs_f64();
    println!(
        "{name:<20}{:>11.1}{rate:>11.1}{:>11.1}{:>11.1}",
        level.as_secs_f64(),
        at(0.5),
        at(0.99)
    );
}

/// Plays one scenario.
fn run(options: &Options, loss: Loss, is_reliable: bool) -> Row {
    let mut world = World::with_seed(Conditions::lag(options.lag), options.seed);
    let server = world.listen();
    let client = world.caller();
    let (end, other) = world.connect(client, server);
    world.network.set_conditions(Conditions {
        loss,
        ..Conditions::lag(options.lag)
    });
    let before = world.traffic().1;
    let mut sent = 0;
    world.play(options.time, TICK, |world, tick| {
        if is_reliable {
            for channel in 0..CHANNELS {
                world.send(end, channel, Delivery::RELIABLE, vec![tick as u8; 64]);
                sent += 1;
            }
        } else {
            world.send(end, 0, Delivery::LOSSY, vec![tick as u8; 1024]);
            sent += 1;
        }
    });
    world.run_until_delivered(Duration::from_secs(60));
    world.run_for(options.lag);
    let messages = world
        .log
        .iter()
        .filter(|h| h.end == other && matches!(h.event, Event::Message { .. }));
    Row {
        delays: messages.filter_map(|h| h.delay).collect(),
        sent,
        wire_bytes: world.traffic().1 - before,
        resent: world.stats(end).resent,
        packets: world.stats(end).packets_sent,
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        seed: 1,
        lag: Duration::from_millis(50),
        time: Duration::from_secs(30),
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a number"))?;
        let number: u64 = value
            .parse()
            .map_err(|_| format!("{name} needs a number, not {value:?}"))?;
        match name.as_str() {
            "--seed" => options.seed = number,
            "--lag-ms" => options.lag = Duration::from_millis(number),
            "--seconds" => options.time = Duration::from_secs(number),
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(options)
}
