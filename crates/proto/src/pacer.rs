//! How fast we may send to one remote side at most, by the game's own choice; what the path carries is not known here.
//!
//! A bucket of [`BURST`] of the rate, at least of two packets: what a tick says leaves at once, and a long one is spread.

use std::time::Duration;

use crate::time::Timestamp;
use crate::wire::MAX_DATAGRAM;

/// How much of a second's bytes may leave at once.
const BURST: Duration = Duration::from_millis(100);

/// A bound on bytes a second.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// None: no bound.
    rate: Option<u64>,
    /// When all that was sent has had its time at this rate.
    paid_at: Timestamp,
}

impl Pacer {
    pub(crate) fn new(now: Timestamp, rate: Option<u64>) -> Self {
        Self {
            rate: rate.map(|rate| rate.max(1)),
            paid_at: now,
        }
    }

    /// Returns when the next packet may go: now or earlier if it may go at once.
    pub(crate) fn free_at(&self) -> Timestamp {
        let Some(rate) = self.rate else { return Timestamp::ZERO };
        let burst = BURST.max(time_of(2 * MAX_DATAGRAM, rate));
        Timestamp::ZERO + (self.paid_at - Timestamp::ZERO).saturating_sub(burst)
    }

    /// Takes note of a packet of this size.
    pub(crate) fn handle_sent(&mut self, now: Timestamp, size: usize) {
        if let Some(rate) = self.rate {
            self.paid_at = self.paid_at.max(now) + time_of(size, rate);
        }
    }
}

fn time_of(size: usize, rate: u64) -> Duration {
    Duration::from_micros(size as u64 * 1_000_000 / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_carries_its_rate_and_a_silence_one_burst() {
        let mut now = Timestamp::from_millis(5000);
        let mut pacer = Pacer::new(now, Some(100_000));
        let mut sent = 0;
        for _ in 0..1000 {
            while pacer.free_at() <= now {
                pacer.handle_sent(now, 1000);
                sent += 1000;
            }
            now += Duration::from_millis(1);
        }
        assert!((100_000..=112_000).contains(&sent), "{sent}");
        now += Duration::from_secs(60);
        let mut burst = 0;
        while pacer.free_at() <= now {
            pacer.handle_sent(now, 1000);
            burst += 1000;
        }
        assert!((10_000..=11_000).contains(&burst), "{burst}");
    }

    #[test]
    fn without_a_bound_there_is_none() {
        let mut pacer = Pacer::new(Timestamp::ZERO, None);
        pacer.handle_sent(Timestamp::ZERO, usize::MAX >> 8);
        assert_eq!(pacer.free_at(), Timestamp::ZERO);
    }
}
