//! Copies against loss: which small messages go into a packet once more before anybody knows whether they arrived.
//!
//! A lost packet costs a round trip and more if one waits for the news; a copy in the next tick's packet costs a tick. So while a
//! path shows loss, small reliable messages that are not acknowledged are sent again on a schedule: soon, against single losses,
//! and once later, because real losses come in bursts. On a clean path there are none. It must not know what a unit holds.
//!
//! Bounds: [`MAX_WAITING`] units; copied bytes by [`Limits::copies`](crate::Limits) times the fresh ones.

use std::collections::VecDeque;
use std::time::Duration;

use crate::flight::Unit;
use crate::loss::LossEstimator;
use crate::time::Timestamp;

/// Only messages up to this size are copied, in bytes: what a game says in a tick, not what it loads.
pub(crate) const MAX_COPIED: usize = 256;

/// Units waiting for a copy. A game that sends more than this in a tick gets none for the oldest: its next packets are soon.
const MAX_WAITING: usize = 256;

/// Copied bytes that may be saved up for later.
const MAX_SAVED: f64 = 8192.0;

/// After this many packets without a loss a path is clean again.
const QUIET: u64 = 500;

/// A new path is taken for lossy for this many packets, about two seconds of a game: its first loss should not wait either.
const UNKNOWN: u64 = 100;

/// The share that one packet has in the estimate.
const WEIGHT: f64 = 1.0 / 128.0;

/// One copy of a unit: it goes with any packet that leaves between the two times after the unit was first sent, and in a
/// packet of its own at the second. Sent only while the path loses at least this share.
struct Stage {
    from: Duration,
    by: Duration,
    min_loss: f64,
}

/// The times are made for games of 60 ticks a second (16.7 ms): the copies go with the next tick's packet, the second and third,
/// and the fifth; slower games pay a packet for the first. Five ticks outlast four of five bursts of three packets on average.
const STAGES: [Stage; 4] = [
    Stage::new(8, 20, 0.0),
    Stage::new(25, 40, 0.07),
    Stage::new(42, 60, 0.2),
    Stage::new(75, 95, 0.012),
];

impl Stage {
    const fn new(from_ms: u64, by_ms: u64, min_loss: f64) -> Self {
        Self {
            from: Duration::from_millis(from_ms),
            by: Duration::from_millis(by_ms),
            min_loss,
        }
    }
}

/// The units that may be copied, each waiting for its next stage.
#[derive(Debug)]
pub(crate) struct Copies {
    /// Per stage, in the order of first sending.
    waiting: [VecDeque<(Unit, Timestamp)>; STAGES.len()],
    count: usize,
    loss: LossEstimator,
    /// Packets that arrived since the last loss.
    quiet: u64,
    /// Copied bytes allowed for each fresh one, and what is left of them.
    ratio: f64,
    allowance: f64,
}

impl Copies {
    pub(crate) fn new(ratio: f64) -> Self {
        Self {
            waiting: Default::default(),
            count: 0,
            loss: LossEstimator::new(0.0, WEIGHT),
            quiet: QUIET - UNKNOWN,
            ratio,
            allowance: 0.0,
        }
    }

    /// Takes note of packets that arrived, and of those among them that had been taken for lost.
    pub(crate) fn handle_arrived(&mut self, packets: u64, late: u64) {
        self.loss.handle_arrived(packets, late);
        self.quiet = self.quiet.saturating_add(packets);
    }

    /// Takes note of lost packets.
    pub(crate) fn handle_lost(&mut self, packets: u64) {
        self.loss.handle_lost(packets);
        if packets > 0 {
            self.quiet = 0;
        }
    }

    /// Returns true while the path shows loss.
    pub(crate) fn is_active(&self) -> bool {
        self.ratio > 0.0 && self.quiet < QUIET
    }

    /// Takes note of a unit of this size that has just been sent.
    pub(crate) fn push(&mut self, now: Timestamp, unit: Unit, size: usize) {
        self.allowance = (self.allowance + size as f64 * self.ratio).min(MAX_SAVED);
        if self.count == MAX_WAITING
            && let Some(stage) = self.waiting.iter_mut().find(|stage| !stage.is_empty())
        {
            stage.pop_front();
            self.count -= 1;
        }
        self.count += 1;
        self.waiting[0].push_back((unit, now));
    }

    /// Returns when a packet must be sent for copies alone.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let stages = self.waiting.iter().zip(&STAGES);
        stages
            .filter_map(|(waiting, stage)| waiting.front().map(|(_, sent_at)| *sent_at + stage.by))
            .min()
    }

    /// Returns true if copies are due that have found no other packet to go with.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Hands over the units whose copies may go with a packet that leaves now, until `copy` says that the packet is full.
    /// `copy` returns the bytes it has written: none if the unit needs no copy any more.
    pub(crate) fn pack(&mut self, now: Timestamp, mut copy: impl FnMut(Unit) -> Option<usize>) {
        for (index, stage) in STAGES.iter().enumerate() {
            let is_wanted = self.is_active() && self.loss.share() >= stage.min_loss;
            while let Some(&(unit, sent_at)) = self.waiting[index].front()
                && sent_at + stage.from <= now
            {
                let mut is_needed = true;
                if is_wanted && self.allowance > 0.0 {
                    let Some(bytes) = copy(unit) else { return };
                    self.allowance -= bytes as f64;
                    is_needed = bytes > 0;
                }
                self.waiting[index].pop_front();
                match self.waiting.get_mut(index + 1) {
                    Some(next) if is_needed => next.push_back((unit, sent_at)),
                    _ => self.count -= 1,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(sequence_id: u64) -> Unit {
        Unit {
            lane: 0,
            index: Unit::WHOLE,
            sequence_id,
        }
    }

    /// Sends one unit at 0 and offers a packet every 1/60 s; returns the times of the copies in milliseconds.
    fn copies_of_one(copies: &mut Copies) -> Vec<u64> {
        copies.push(Timestamp::ZERO, unit(0), 64);
        let mut times = Vec::new();
        for tick in 1..20 {
            let now = Timestamp::from_micros(tick * 16_667);
            assert!(!copies.is_due(now), "a packet of its own is not needed at 60 Hz");
            copies.pack(now, |_| {
                times.push(now.as_micros() / 1000);
                Some(64)
            });
        }
        assert_eq!(copies.count, 0);
        times
    }

    #[test]
    fn the_more_a_path_loses_the_more_copies_there_are() {
        for (loss, expected) in [
            (0.01, &[16][..]),
            (0.05, &[16, 83]),
            (0.1, &[16, 33, 83]),
            (0.3, &[16, 33, 50, 83]),
        ] {
            let mut copies = Copies::new(10.0);
            copies.loss = LossEstimator::new(loss, WEIGHT);
            assert_eq!(copies_of_one(&mut copies), expected, "at {loss}");
        }
    }

    #[test]
    fn a_clean_path_stops_copies_and_a_loss_starts_them() {
        let mut copies = Copies::new(2.0);
        assert!(copies.is_active(), "nothing is known of the path yet");
        copies.handle_arrived(UNKNOWN, 0);
        assert!(!copies.is_active());
        assert_eq!(copies_of_one(&mut copies), []);
        copies.handle_lost(1);
        assert!(copies.is_active());
        copies.handle_arrived(QUIET, 0);
        assert!(!copies.is_active());
    }

    #[test]
    fn the_allowance_and_the_number_waiting_are_bounds() {
        let mut copies = Copies::new(1.0);
        copies.loss = LossEstimator::new(0.3, WEIGHT);
        assert_eq!(copies_of_one(&mut copies), [16], "as many bytes as the fresh ones");
        for sequence_id in 0..10_000 {
            copies.push(Timestamp::ZERO, unit(sequence_id), 64);
        }
        assert_eq!(copies.count, MAX_WAITING);
        assert_eq!(copies.deadline(), Some(Timestamp::from_millis(20)));
    }

    #[test]
    fn a_unit_that_arrived_is_forgotten_and_a_full_packet_waits() {
        let mut copies = Copies::new(2.0);
        copies.push(Timestamp::ZERO, unit(0), 64);
        copies.pack(Timestamp::from_millis(10), |_| None);
        assert_eq!(copies.count, 1);
        copies.pack(Timestamp::from_millis(10), |_| Some(0));
        assert_eq!((copies.count, copies.deadline()), (0, None));
    }
}
