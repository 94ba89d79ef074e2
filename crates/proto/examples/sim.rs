//! Measures the protocol on a table of bad networks, in virtual time: `make sim`, or
//! `cargo run --release -p netplay-proto --example sim -- [--seeds N] [--seed N] [--lag-ms N] [--seconds N]`.
//!
//! The scenarios and the form of the tables are those of `crates/proto/tests/tables`, whose golden copy is read in review;
//! here one plays them with other seeds, lags and times. Numbers depend on these and on nothing else.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../tests/tables/report.rs"]
mod report;
#[path = "../tests/tables/scenarios.rs"]
mod scenarios;
// The stories' world is the simulation; this file only asks it for numbers.
#[allow(dead_code)]
#[path = "../tests/stories/world/mod.rs"]
mod world;

use std::time::Duration;

fn main() {
    let plan = options(std::env::args().skip(1)).unwrap_or_else(|message| {
        eprintln!("{message}\nusage: sim [--seeds N] [--seed N] [--lag-ms N] [--seconds N]");
        std::process::exit(2);
    });
    println!(
        "{} seeds from {}, {:?} of game time, {:?} one way\n",
        plan.seeds.len(),
        plan.seeds[0],
        plan.time,
        plan.lag
    );
    for table in report::tables(&plan) {
        println!("{}", table.markdown());
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<report::Plan, String> {
    let (mut first, mut count) = (1, 3);
    let (mut lag, mut time) = (Duration::from_millis(50), Duration::from_secs(30));
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a number"))?;
        let number: u64 = value
            .parse()
            .map_err(|_| format!("{name} needs a number, not {value:?}"))?;
        match name.as_str() {
            "--seed" => first = number,
            "--seeds" => count = number.max(1),
            "--lag-ms" => lag = Duration::from_millis(number),
            "--seconds" => time = Duration::from_secs(number.max(1)),
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(report::Plan {
        seeds: (first..first + count).collect(),
        time,
        lag,
    })
}
