//! How much may be under way at once: a window from the measured rate and the least round trip.
//!
//! Keeps a small standing queue at the bottleneck, as FAST TCP and TCP Vegas do, and no more: `window = rate × least round trip + reserve`.
//! Flows that share a bottleneck then share its queue, and so its rate. Loss alone changes nothing: the rate is what arrives, and
//! random loss says nothing of queues. A round trip that has grown does, also while the game says less than the window allows: what
//! a game says may be more than its path carries.
//!
//! ```text
//!  Startup ── the rate grows no more, or packets queue ──► Steady ◄──► Probing: half the window for a round trip, so that the
//!  the window doubles                                                  queue runs empty; after ten seconds in which it did
//!                                                                      not, or when the path seems to have become longer
//! ```

use std::time::Duration;

use crate::flight::AckOutcome;
use crate::rtt::RttEstimator;
use crate::time::Timestamp;
use crate::wire::MAX_DATAGRAM;

/// The window before anything is known (RFC 9002 §7.2 starts with 10 packets; games talk less, in smaller packets).
const FIRST_WINDOW: usize = 16 * MAX_DATAGRAM;

/// The least window there ever is.
const MIN_WINDOW: usize = 2 * MAX_DATAGRAM;

/// The largest window: what a 1 Gbit/s path with 100 ms holds.
const MAX_WINDOW: usize = 12 << 20;

/// The standing queue at this rate, in bytes …
const RESERVE: f64 = 10.0 * MAX_DATAGRAM as f64;

/// … of 10 Mbit/s. It grows with the root of the rate: fewer milliseconds the faster the path is, and still less for each byte
/// a second of the faster of two flows, so that they come to share their bottleneck evenly.
const RESERVE_RATE: f64 = 1.25e6;

/// The least standing queue, in bytes, and the least in time, so that a busy computer's late acknowledgements do not empty the
/// pipe of a fast path.
const MIN_RESERVE: f64 = MAX_DATAGRAM as f64;
const MIN_RESERVE_TIME: f64 = 0.004;

/// Small reliable messages may go beyond the window by what the path carries in this time, so that lossy ones never keep them
/// waiting, but at least by a packet and at most by [`FIRST_WINDOW`].
const SMALL_TIME: f64 = 0.05;

/// Startup ends when the rate has grown by less than a quarter for this many round trips (BBR, draft-ietf-ccwg-bbr §5.3.1), or for one
/// in which more than [`STARTUP_LOSS`] was lost.
const STARTUP_ROUNDS: u32 = 3;

/// See [`STARTUP_ROUNDS`]; the same draft's §5.3.1.3.
const STARTUP_LOSS: f64 = 0.02;

/// A rate sample is believed for this many round trips.
const RATE_ROUNDS: usize = 10;

/// After this many rounds in a row in which every packet took much longer than the path's own time the path is probed: either
/// the queue runs empty, or it is no queue of ours and the path has become longer …
const CONGESTED_ROUNDS: u32 = 3;

/// … but not again before this time is over.
const PROBE_AGAIN: Duration = Duration::from_secs(4);

/// How long the path may be full before its queue is let run empty, so that the least round trip is that of the path (BBR's ProbeRTT).
const PROBE_AFTER: Duration = Duration::from_secs(10);

/// Decides how many bytes may be under way.
#[derive(Debug)]
pub(crate) struct CongestionController {
    window: usize,
    /// The best rate of each of the last round trips, the current one first, in bytes a second.
    rates: [f64; RATE_ROUNDS],
    round_end: Timestamp,
    acked_in_round: u64,
    lost_in_round: u64,
    /// The least round trip in it.
    least_in_round: Duration,
    /// In the last round every packet took much longer than the path's own time: what we say queues, however little it is.
    is_congested: bool,
    /// Rounds in a row like that.
    congested_rounds: u32,
    /// None once startup is over.
    startup: Option<Startup>,
    /// When the queue has last had a chance to run empty.
    last_slack: Timestamp,
    probe: Option<Probe>,
    /// When the last probe ended.
    probed_at: Option<Timestamp>,
}

/// A time in which the queue runs empty.
#[derive(Debug)]
struct Probe {
    began: Timestamp,
    end: Timestamp,
    /// The least round trip of what was sent in it.
    least: Duration,
    is_for_length: bool,
}

#[derive(Debug, Default)]
struct Startup {
    best_rate: f64,
    rounds_without_growth: u32,
}

impl CongestionController {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            window: FIRST_WINDOW,
            rates: [0.0; RATE_ROUNDS],
            round_end: now,
            acked_in_round: 0,
            lost_in_round: 0,
            least_in_round: Duration::MAX,
            is_congested: false,
            congested_rounds: 0,
            startup: Some(Startup::default()),
            last_slack: now,
            probe: None,
            probed_at: None,
        }
    }

    /// Returns how many bytes may be under way.
    pub(crate) fn window(&self) -> usize {
        self.window
    }

    /// Returns how many may be in packets of small reliable messages.
    pub(crate) fn small_window(&self) -> usize {
        if self.startup.is_some() {
            return self.window + FIRST_WINDOW / 2;
        }
        self.window + ((self.rate() * SMALL_TIME) as usize).clamp(MAX_DATAGRAM, FIRST_WINDOW)
    }

    /// Returns how many may be in packets of small messages, if a lossy one is to be added. As long as nothing is known of the path,
    /// what a game says is not held up for what it may turn out to be.
    pub(crate) fn lossy_window(&self) -> usize {
        if self.startup.is_some() {
            return self.small_window();
        }
        self.window
    }

    /// Takes note of lost packets.
    pub(crate) fn handle_lost(&mut self, packets: u64) {
        self.lost_in_round += packets;
    }

    /// Takes in what an acknowledgement told. Returns the least round trip there is now, if the path has become longer.
    pub(crate) fn handle_ack(&mut self, now: Timestamp, outcome: &AckOutcome, rtt: &RttEstimator) -> Option<Duration> {
        if let Some(sample) = outcome.rtt_sample {
            self.least_in_round = self.least_in_round.min(rtt.latest_of_path());
            if let Some(probe) = self.probe.as_mut().filter(|probe| now - probe.began >= sample) {
                probe.least = probe.least.min(rtt.latest_of_path());
            }
        }
        let is_app_limited = outcome.rate.is_none_or(|sample| sample.is_app_limited) && !self.is_congested;
        if is_app_limited {
            self.last_slack = now;
        }
        if let Some(sample) = outcome.rate
            && (!is_app_limited || sample.rate > self.rate())
        {
            self.rates[0] = self.rates[0].max(sample.rate);
        }
        self.acked_in_round += outcome.acked_packets;
        if now >= self.round_end {
            self.round_end = now + rtt.smoothed().max(Duration::from_millis(1));
            self.end_round(is_app_limited, rtt);
        }
        let longer = self.probe(now, rtt);
        let target = self.target(outcome, is_app_limited, rtt);
        // The window follows its target at the pace of acknowledgements, so that one wild sample does not make a burst.
        let step = outcome.acked_bytes;
        self.window = target
            .clamp(self.window.saturating_sub(step), self.window + step)
            .clamp(MIN_WINDOW, MAX_WINDOW);
        longer
    }

    fn target(&self, outcome: &AckOutcome, is_app_limited: bool, rtt: &RttEstimator) -> usize {
        let queue_time = rtt.smoothed().saturating_sub(rtt.min());
        if self.startup.is_some() {
            let growth = if is_app_limited { 0 } else { outcome.acked_bytes };
            return self.window + growth;
        }
        let (rate, reserve) = (self.rate(), self.reserve());
        let path = rate * rtt.min().as_secs_f64();
        if self.probe.is_some() {
            return (path / 2.0) as usize;
        }
        if !is_app_limited && queue_time.as_secs_f64() * rate < reserve / 4.0 {
            // Nothing queues: the path has become faster, or has never been full.
            return self.window
                + outcome.acked_bytes / 4
                + (reserve * outcome.acked_bytes as f64 / path.max(1.0)) as usize;
        }
        (path + reserve) as usize
    }

    fn end_round(&mut self, is_app_limited: bool, rtt: &RttEstimator) {
        let rate = self.rate();
        let queue_time = rtt.smoothed().saturating_sub(rtt.min());
        if self.least_in_round < Duration::MAX {
            self.is_congested = self.least_in_round > rtt.min() * 3 / 2 + Duration::from_millis(20);
            self.congested_rounds = if self.is_congested {
                self.congested_rounds + 1
            } else {
                0
            };
            self.least_in_round = Duration::MAX;
        }
        let is_app_limited = is_app_limited && !self.is_congested;
        let lost = self.lost_in_round as f64;
        let lost_share = lost / (lost + self.acked_in_round as f64).max(1.0);
        (self.acked_in_round, self.lost_in_round) = (0, 0);
        if let Some(startup) = &mut self.startup
            && !is_app_limited
        {
            if rate > startup.best_rate * 1.25 {
                startup.best_rate = rate;
                startup.rounds_without_growth = 0;
            } else {
                startup.rounds_without_growth += 1;
            }
            let is_overflowing = startup.rounds_without_growth > 0 && lost_share > STARTUP_LOSS;
            let is_queueing = queue_time > rtt.min() / 4 + Duration::from_millis(8);
            if startup.rounds_without_growth >= STARTUP_ROUNDS || is_overflowing || is_queueing {
                self.startup = None;
                let path = rate * rtt.min().as_secs_f64();
                self.window = self.window.min((path + self.reserve()) as usize);
            }
        }
        // While the game sends little there is nothing newer to believe.
        if !is_app_limited {
            self.rates.rotate_right(1);
            self.rates[0] = 0.0;
        }
    }

    /// Begins and ends to let the queue run empty. Returns the least round trip there is now, if it did not become less for it.
    fn probe(&mut self, now: Timestamp, rtt: &RttEstimator) -> Option<Duration> {
        if let Some(probe) = self.probe.take_if(|probe| now >= probe.end) {
            self.last_slack = now;
            self.probed_at = Some(now);
            self.congested_rounds = 0;
            let is_longer = probe.is_for_length && probe.least < Duration::MAX && probe.least > rtt.min();
            return is_longer.then_some(probe.least);
        }
        let is_full = now - self.last_slack > PROBE_AFTER;
        let may_ask = self.probed_at.is_none_or(|at| now - at >= PROBE_AGAIN);
        let is_for_length = self.congested_rounds >= CONGESTED_ROUNDS && may_ask;
        if self.startup.is_none() && self.probe.is_none() && (is_full || is_for_length) {
            // Half a round trip more than it takes to hear of it.
            let rounds = if is_for_length { 4 } else { 3 };
            self.probe = Some(Probe {
                began: now,
                end: now + rtt.smoothed() * rounds / 2,
                least: Duration::MAX,
                is_for_length,
            });
        }
        None
    }

    fn reserve(&self) -> f64 {
        let rate = self.rate();
        let by_root = RESERVE * (rate / RESERVE_RATE).sqrt();
        by_root.max(MIN_RESERVE).max(rate * MIN_RESERVE_TIME)
    }

    fn rate(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }
}
