//! How much may be under way at once: a window from the measured rate and the least round trip.
//!
//! Keeps a small standing queue at the bottleneck, as FAST TCP and TCP Vegas do, and no more: `window = rate × least round trip + reserve`.
//! The reserve is a few packets, so that flows which share a bottleneck hold equal parts of its queue and so equal
//! parts of its rate; on fast paths it is a few milliseconds, so that a busy computer's late acknowledgements do not empty the
//! pipe. Loss alone changes nothing: the rate is what arrives, and random loss says nothing of queues.

use std::time::Duration;

use crate::flight::AckOutcome;
use crate::rtt::RttEstimator;
use crate::time::Timestamp;
use crate::wire::MAX_DATAGRAM;

/// The window before anything is known, and the least there ever is (RFC 9002 §7.2 starts with 10 packets; games talk less, in smaller packets).
const MIN_WINDOW: usize = 16 * MAX_DATAGRAM;

/// The largest window: what a 1 Gbit/s path with 100 ms holds.
const MAX_WINDOW: usize = 12 << 20;

/// The standing queue of a slow path, in bytes.
const RESERVE: f64 = 10.0 * MAX_DATAGRAM as f64;

/// The standing queue of a fast path, in time.
const RESERVE_TIME: f64 = 0.004;

/// Startup ends when the rate has grown by less than a quarter for this many round trips (BBR, draft-ietf-ccwg-bbr §5.3.1).
const STARTUP_ROUNDS: u32 = 3;

/// A rate sample is believed for this many round trips.
const RATE_ROUNDS: usize = 10;

/// Decides how many bytes may be under way.
#[derive(Debug)]
pub(crate) struct CongestionController {
    window: usize,
    /// The best rate of each of the last round trips, the current one first, in bytes a second.
    rates: [f64; RATE_ROUNDS],
    round_end: Timestamp,
    /// None once startup is over.
    startup: Option<Startup>,
}

#[derive(Debug, Default)]
struct Startup {
    best_rate: f64,
    rounds_without_growth: u32,
}

impl CongestionController {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            window: MIN_WINDOW * 2,
            rates: [0.0; RATE_ROUNDS],
            round_end: now,
            startup: Some(Startup::default()),
        }
    }

    /// Returns how many bytes may be under way.
    pub(crate) fn window(&self) -> usize {
        self.window
    }

    /// Takes in what an acknowledgement told.
    pub(crate) fn handle_ack(&mut self, now: Timestamp, outcome: &AckOutcome, rtt: &RttEstimator) {
        let best = self.rate();
        if let Some(sample) = outcome.rate
            && (!sample.is_app_limited || sample.rate > best)
        {
            self.rates[0] = self.rates[0].max(sample.rate);
        }
        let is_app_limited = outcome.rate.is_none_or(|sample| sample.is_app_limited);
        if now >= self.round_end {
            self.round_end = now + rtt.smoothed().max(Duration::from_millis(1));
            self.end_round(is_app_limited, rtt);
        }
        let target = if self.startup.is_some() {
            if is_app_limited {
                self.window
            } else {
                self.window + outcome.acked_bytes
            }
        } else {
            let rate = self.rate();
            (rate * rtt.min().as_secs_f64() + RESERVE.max(rate * RESERVE_TIME)) as usize
        };
        // The window follows its target at the pace of acknowledgements, so that one wild sample does not make a burst.
        let step = outcome.acked_bytes;
        self.window = target
            .clamp(self.window.saturating_sub(step), self.window + step)
            .clamp(MIN_WINDOW, MAX_WINDOW);
    }

    fn end_round(&mut self, is_app_limited: bool, rtt: &RttEstimator) {
        let rate = self.rate();
        if let Some(startup) = &mut self.startup
            && !is_app_limited
        {
            if rate > startup.best_rate * 1.25 {
                startup.best_rate = rate;
                startup.rounds_without_growth = 0;
            } else {
                startup.rounds_without_growth += 1;
            }
            let is_queueing = rtt.smoothed() > rtt.min() * 3 / 2 + Duration::from_millis(8);
            if startup.rounds_without_growth >= STARTUP_ROUNDS || is_queueing {
                self.startup = None;
            }
        }
        // While the game sends little there is nothing newer to believe.
        if !is_app_limited {
            self.rates.rotate_right(1);
            self.rates[0] = 0.0;
        }
    }

    fn rate(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }
}
