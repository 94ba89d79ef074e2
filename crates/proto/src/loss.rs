//! What a path loses: how much of late, how much over a longer time, and whether in bursts.
//!
//! Told of packets that arrived and of packets that were lost, in the order in which that becomes known. It must not know what
//! anybody does about it.

use std::time::Duration;

use crate::time::Timestamp;

/// The most packets counted at once; more say nothing new.
const MAX_AT_ONCE: u64 = 1024;

/// The share that one packet has in the recent estimate: half of it is forgotten after 89 packets.
const RECENT_WEIGHT: f64 = 1.0 / 128.0;

/// The lasting estimate is a mean over this many packets, about a quarter of a minute of a game. A path that lost packets in
/// bursts is still one between two of them.
const LASTING: u64 = 1024;

/// A new path counts as one that has carried this many packets …
const PRIOR: u64 = 64;

/// … and lost this share of them: what a bad one loses, as long as nothing is known.
const PRIOR_LOSS: f64 = 0.03;

/// The estimate of bursts is a mean over this many lost packets.
const BURST_LASTING: u64 = 32;

/// It begins as if this many had been lost one by one: the first burst of three is believed.
const BURST_PRIOR: u64 = 2;

/// Losses come in bursts when more than this share of them follow another: one in a row and a half on average.
const BURSTY: f64 = 0.3;

/// … and when that is this many times what chance alone would do.
const BURSTY_TIMES: f64 = 2.0;

/// After this many packets without a loss a path is clean again …
const QUIET: u64 = 500;

/// … or after this time, which is a little more for a game at 60 Hz, unless it has lost more than [`SLIGHT`] of late.
const QUIET_TIME: Duration = Duration::from_secs(10);

/// What a path may have lost of late and yet be clean after a while: more than one loss comes to. A slow game has few packets in any
/// time, so time alone says little of a path that loses one in twenty.
const SLIGHT: f64 = 0.01;

/// A new path is taken for lossy for this many packets, about a second of a game: its first loss should not wait either …
const UNKNOWN: u64 = 60;

/// … or for this time and a round trip, until what was said in it is acknowledged: where less is said, less is known then, but it
/// is not a beginning any more.
const UNKNOWN_TIME: Duration = Duration::from_secs(1);

/// Estimates of what a path loses.
#[derive(Clone, Debug)]
pub(crate) struct PathLoss {
    recent: f64,
    lasting: f64,
    /// Packets in the lasting estimate.
    counted: u64,
    /// The share of lost packets whose predecessor was lost too.
    following: f64,
    /// Lost packets in that estimate.
    followed: u64,
    /// Packets that arrived since the last loss.
    quiet: u64,
    /// When a path that has lost little of late is clean again.
    quiet_until: Timestamp,
}

/// Packets found lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) packets: u64,
    /// Those among them whose predecessor was lost too.
    pub(crate) following: u64,
}

impl PathLoss {
    /// Begins with a path of which nothing can be known before this, when the first acknowledgement may come.
    pub(crate) fn new(begins_at: Timestamp) -> Self {
        Self {
            recent: 0.0,
            lasting: PRIOR_LOSS,
            counted: PRIOR,
            following: 0.0,
            followed: BURST_PRIOR,
            quiet: QUIET - UNKNOWN,
            quiet_until: begins_at + UNKNOWN_TIME,
        }
    }

    /// Returns the share lost of late, 0.0–1.0.
    pub(crate) fn recent(&self) -> f64 {
        self.recent
    }

    /// Returns the share to be ready for, 0.0–1.0: the recent or the lasting one, whichever is greater.
    pub(crate) fn expected(&self) -> f64 {
        self.recent.max(self.lasting)
    }

    /// Returns true while the path shows loss, or nothing is known of it yet.
    pub(crate) fn is_lossy(&self, now: Timestamp) -> bool {
        self.quiet < QUIET && (now < self.quiet_until || self.recent > SLIGHT)
    }

    /// Returns true if packets are lost in a row more often than chance would have it.
    pub(crate) fn is_bursty(&self) -> bool {
        self.following > BURSTY.max(self.expected() * BURSTY_TIMES)
    }

    /// Takes note of packets that arrived, and of those among them that had been taken for lost: each takes its loss back.
    pub(crate) fn handle_arrived(&mut self, packets: u64, late: u64) {
        self.quiet = self.quiet.saturating_add(packets);
        let take_back = |share: f64, weight: f64| ((share - weight) / (1.0 - weight)).max(0.0);
        for _ in 0..late.min(MAX_AT_ONCE) {
            self.recent = take_back(self.recent, RECENT_WEIGHT);
            self.lasting = take_back(self.lasting, 1.0 / self.counted as f64);
        }
        for _ in 0..(packets - late).min(MAX_AT_ONCE) {
            self.recent *= 1.0 - RECENT_WEIGHT;
            self.lasting *= 1.0 - self.next_weight();
        }
    }

    /// Takes note of lost packets.
    pub(crate) fn handle_lost(&mut self, now: Timestamp, lost: Lost) {
        if lost.packets > 0 {
            self.quiet = 0;
            self.quiet_until = now + QUIET_TIME;
        }
        for _ in 0..lost.packets.min(MAX_AT_ONCE) {
            self.recent += (1.0 - self.recent) * RECENT_WEIGHT;
            self.lasting += (1.0 - self.lasting) * self.next_weight();
        }
        for number in 0..lost.packets.min(MAX_AT_ONCE) {
            let is_following = f64::from(u8::from(number < lost.following));
            self.followed = (self.followed + 1).min(BURST_LASTING);
            self.following += (is_following - self.following) / self.followed as f64;
        }
    }

    fn next_weight(&mut self) -> f64 {
        self.counted = (self.counted + 1).min(LASTING);
        1.0 / self.counted as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::ZERO;

    fn lose(loss: &mut PathLoss, now: Timestamp, packets: u64) {
        let following = packets.saturating_sub(1);
        loss.handle_lost(now, Lost { packets, following });
    }

    #[test]
    fn the_estimate_follows_the_path_and_takes_back_what_was_only_late() {
        let mut loss = PathLoss::new(NOW);
        for _ in 0..100 {
            lose(&mut loss, NOW, 1);
            loss.handle_arrived(9, 0);
        }
        assert!((0.07..0.13).contains(&loss.recent()), "{}", loss.recent());
        assert!((0.07..0.13).contains(&loss.expected()), "{}", loss.expected());
        let before = loss.clone();
        lose(&mut loss, NOW, 1);
        loss.handle_arrived(1, 1);
        assert!((loss.recent() - before.recent()).abs() < 1e-9);
        for _ in 0..10 {
            loss.handle_arrived(MAX_AT_ONCE, 0);
        }
        assert!(loss.expected() < 1e-3, "{}", loss.expected());
    }

    #[test]
    fn a_clean_path_is_lossy_from_its_first_loss_until_it_has_been_quiet_for_long() {
        let mut loss = PathLoss::new(NOW);
        assert!(loss.is_lossy(NOW), "nothing is known of the path yet");
        loss.handle_arrived(UNKNOWN, 0);
        assert!(!loss.is_lossy(NOW));
        lose(&mut loss, NOW, 1);
        assert!(loss.is_lossy(NOW) && loss.expected() < 0.05);
        loss.handle_arrived(QUIET, 0);
        assert!(!loss.is_lossy(NOW));
    }

    #[test]
    fn a_slow_game_finds_a_path_clean_as_soon_and_a_lossy_one_lossy() {
        let at = |seconds: u64| NOW + Duration::from_secs(seconds);
        let mut loss = PathLoss::new(NOW);
        assert!(loss.is_lossy(NOW) && !loss.is_lossy(at(1)));
        lose(&mut loss, at(5), 1);
        loss.handle_arrived(9, 0);
        assert!(loss.is_lossy(at(14)) && !loss.is_lossy(at(15)), "{}", loss.recent());
        // Another before that one is forgotten: so it is with this path.
        lose(&mut loss, at(30), 1);
        loss.handle_arrived(30, 0);
        assert!(loss.is_lossy(at(60)), "{}", loss.recent());
        loss.handle_arrived(128, 0);
        assert!(!loss.is_lossy(at(188)));
    }

    #[test]
    fn bursts_are_told_from_chance_and_expected_between_them() {
        let (mut bursts, mut chance) = (PathLoss::new(NOW), PathLoss::new(NOW));
        for _ in 0..20 {
            lose(&mut bursts, NOW, 3);
            bursts.handle_arrived(57, 0);
            for _ in 0..3 {
                lose(&mut chance, NOW, 1);
                chance.handle_arrived(19, 0);
            }
        }
        assert!(bursts.is_bursty() && !chance.is_bursty());
        bursts.handle_arrived(200, 0);
        assert!(bursts.recent() < 0.02 && bursts.expected() > 0.03);
    }
}
