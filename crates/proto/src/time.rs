//! A moment in time, as the caller sees it: microseconds since an origin of the caller's choosing.
//!
//! The crate never asks a clock. `std::time::Instant` cannot be made from nothing, so a simulation could not use it.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A moment, in microseconds since the caller's origin. Moments passed to one endpoint must never go backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The origin.
    pub const ZERO: Self = Self(0);

    /// Makes a moment from microseconds since the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Makes a moment from milliseconds since the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1000)
    }

    /// Returns the microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns the first of these. Not by `flatten().min()`, of which the compiler makes several times as many instructions.
    pub fn first<const N: usize>(moments: [Option<Self>; N]) -> Option<Self> {
        let mut first = None;
        for moment in moments {
            first = match (first, moment) {
                (Some(one), Some(other)) if other < one => moment,
                (None, _) => moment,
                _ => first,
            };
        }
        first
    }

    /// Returns the time since `earlier`, or zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        // Not by `as_micros`: its 128 bits were a twentieth of what a packet costs.
        let micros = duration.as_secs().saturating_mul(1_000_000);
        Self(
            self.0
                .saturating_add(micros.saturating_add(u64::from(duration.subsec_micros()))),
        )
    }
}

impl AddAssign<Duration> for Timestamp {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub for Timestamp {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}
