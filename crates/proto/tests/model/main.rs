//! The protocol against a model of it, under steps chosen by chance.
//!
//! Four processes on a bad network call each other, talk, fall silent, move, sleep, crash and close, while somebody copies and
//! garbles what they say: see [`Step`](step::Step). After every step the [`Reference`](reference::Reference) says what each game
//! may have been told by then, and the stories' world checks what arrives. In the end the network is healed, and what was
//! promised must have been kept.
//!
//! `NETPLAY_SEED` chooses one run, `NETPLAY_STEPS` how many steps all runs have together, from that seed on.
//! A run that fails is made shorter before it is shown, by leaving out steps that it fails without.

#![allow(clippy::unwrap_used)]

// The stories' world is the simulation; not all of it is needed here.
#[allow(dead_code)]
#[path = "../stories/world/mod.rs"]
mod world;

mod play;
mod reference;
mod shorten;
mod step;
mod third_party;

use std::time::Duration;

use play::Play;
use step::Step;

/// A millisecond.
const MS: Duration = Duration::from_millis(1);

/// A second.
const SECOND: Duration = Duration::from_secs(1);

/// Steps of one run. Short runs are easier to understand, and try more beginnings.
const STEPS_A_RUN: u64 = 500;

#[test]
fn no_step_breaks_a_promise() {
    let seed = world::seed_from_environment();
    let default = if seed.is_some() { STEPS_A_RUN } else { 200_000 };
    let steps = std::env::var("NETPLAY_STEPS").map_or(default, |steps| steps.parse().unwrap());
    let first = seed.unwrap_or(1);
    let (mut datagrams, mut events) = (0, 0);
    for seed in first..first + steps.div_ceil(STEPS_A_RUN) {
        let steps = Step::choose_many(seed, STEPS_A_RUN);
        let outcome = shorten::attempt(seed, &steps);
        if let Ok(counts) = outcome {
            datagrams += counts.0;
            events += counts.1;
        } else if let Err(failure) = outcome {
            let (steps, failure) = shorten::shorten(seed, steps, failure);
            let lines: Vec<_> = steps.iter().map(|step| format!("    {step:?},\n")).collect();
            panic!(
                "{failure}\nThe steps that lead there:\n{}This repeats it:\n  \
                 NETPLAY_SEED={seed} cargo test -p netplay-proto --test model",
                lines.concat()
            );
        }
    }
    println!("{steps} steps: {datagrams} datagrams, {events} events");
}

#[test]
fn the_same_seed_plays_the_same() {
    let play = || {
        let mut play = Play::new(7);
        play.run(&Step::choose_many(7, 300));
        (play.world.traffic(), play.world.log.clone())
    };
    let (one, other) = (play(), play());
    assert!(one.1.len() > 50, "something happens: {} events", one.1.len());
    assert!(one == other);
}
