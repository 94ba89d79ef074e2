//! Makes a failing sequence of steps shorter, by leaving out what it fails without.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;

use crate::play::Play;
use crate::step::Step;

/// How many sequences are tried.
const MOST_ATTEMPTS: u32 = 400;

/// Plays the steps; returns how many datagrams and events there were, or what failed.
pub(crate) fn attempt(seed: u64, steps: &[Step]) -> Result<(u64, u64), String> {
    static FAILURE: Mutex<String> = Mutex::new(String::new());
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|info| *FAILURE.lock().unwrap() = info.to_string()));
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut play = Play::new(seed);
        play.run(steps);
        (play.world.traffic().0, play.world.log.len() as u64)
    }));
    panic::set_hook(hook);
    outcome.map_err(|_| FAILURE.lock().unwrap().clone())
}

/// Leaves out halves, quarters and so on down to single steps, as long as what is left still fails.
pub(crate) fn shorten(seed: u64, mut steps: Vec<Step>, mut failure: String) -> (Vec<Step>, String) {
    let mut attempts = 0;
    let mut size = steps.len().div_ceil(2);
    while size > 0 && attempts < MOST_ATTEMPTS {
        let mut from = 0;
        let mut has_helped = false;
        while from < steps.len() && attempts < MOST_ATTEMPTS {
            let mut fewer = steps.clone();
            fewer.drain(from..(from + size).min(steps.len()));
            attempts += 1;
            match attempt(seed, &fewer) {
                Err(other) => (steps, failure, has_helped) = (fewer, other, true),
                Ok(_) => from += size,
            }
        }
        if size > 1 || !has_helped {
            size /= 2;
        }
    }
    (steps, failure)
}
