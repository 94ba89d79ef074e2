//! The protocol told as stories: who talks, what the network does to them, and what must still be true.
//!
//! Every story runs in virtual time in a [`World`](world::World), which checks at each event that nothing is lost, nothing comes
//! twice, order is kept and bytes are unharmed; the stories add what they are about. A failure prints the seed and the command
//! that repeats it.

#![allow(clippy::unwrap_used)]

mod attacks;
mod bounds;
mod closing;
mod connecting;
mod cutting;
mod delivery;
mod doors;
mod hostile;
mod losses;
mod paths;
mod properties;
mod rates;
mod refusals;
mod renewal;
mod rogue;
mod tunnels;
mod vanishing;
#[allow(dead_code, reason = "the model, tests/model, needs more of it")]
mod world;

use std::time::Duration;

/// A millisecond.
const MS: Duration = Duration::from_millis(1);

/// A second.
const SECOND: Duration = Duration::from_secs(1);

/// A tick of a game at 60 Hz.
const TICK: Duration = Duration::from_micros(16_667);
