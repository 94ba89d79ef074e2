//! The round trip: smoothed, its deviation, its minimum. RFC 9002 §5.

use std::time::Duration;

use crate::call::MAX_FIRST_RTT;
use crate::time::Timestamp;

/// The smallest step in which timers are trusted (RFC 9002 §6.1.2).
const GRANULARITY: Duration = Duration::from_millis(1);

/// How long a minimum is believed before newer samples replace it: a path can become longer.
const MIN_LIFETIME: Duration = Duration::from_secs(10);

/// The longest that anybody waits for an acknowledgement, unless the path is so long that twice its minimum is longer. A path
/// that holds everything up for seconds and then lets it through looks as if it took seconds, and would go on looking so where
/// what is sent next is lost.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// Estimates of the round trip.
#[derive(Clone, Debug)]
pub(crate) struct RttEstimator {
    latest: Duration,
    /// The same without what the remote side held back.
    latest_of_path: Duration,
    smoothed: Duration,
    deviation: Duration,
    /// The least of this period and of the one before, so that the minimum is never forgotten at once.
    min: [Duration; 2],
    min_period_end: Timestamp,
    /// The handshake could not measure it: what stands here must not be taken for the least there is.
    is_guess: bool,
}

impl RttEstimator {
    /// Starts from the round trip of the handshake.
    pub(crate) fn new(now: Timestamp, first: Duration) -> Self {
        Self {
            latest: first,
            latest_of_path: first,
            smoothed: first,
            deviation: first / 2,
            min: [first; 2],
            min_period_end: now + MIN_LIFETIME,
            is_guess: first >= MAX_FIRST_RTT,
        }
    }

    /// Takes in one sample: the time from sending to its acknowledgement, and how long the remote side says it held it back.
    pub(crate) fn update(&mut self, now: Timestamp, sample: Duration, ack_delay: Duration) {
        if self.is_guess {
            *self = Self {
                is_guess: false,
                ..Self::new(now, sample)
            };
            return;
        }
        if now >= self.min_period_end {
            self.min = [self.min[1], sample];
            self.min_period_end = now + MIN_LIFETIME;
        }
        self.min[1] = self.min[1].min(sample);
        self.latest = sample;
        // RFC 9002 leaves the sample as it is where the delay would take it below the minimum; with acknowledgements that wait
        // for company that is most of them, and the path would seem as long as a frame.
        let adjusted = sample.saturating_sub(ack_delay).max(self.min().min(sample));
        self.latest_of_path = adjusted;
        let difference = self.smoothed.abs_diff(adjusted);
        self.deviation = (self.deviation * 3 + difference) / 4;
        self.smoothed = (self.smoothed * 7 + adjusted) / 8;
    }

    /// Takes in that the path has become longer.
    pub(crate) fn set_min(&mut self, now: Timestamp, min: Duration) {
        self.min = [min; 2];
        self.min_period_end = now + MIN_LIFETIME;
    }

    /// Returns the smoothed round trip.
    pub(crate) fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// Returns the last sample, without the time for which the remote side held its acknowledgement back.
    pub(crate) fn latest_of_path(&self) -> Duration {
        self.latest_of_path
    }

    /// Returns the mean deviation.
    pub(crate) fn deviation(&self) -> Duration {
        self.deviation
    }

    /// Returns the least round trip of the last 10 to 20 seconds.
    pub(crate) fn min(&self) -> Duration {
        self.min[0].min(self.min[1])
    }

    /// Returns how long after a later packet's acknowledgement an earlier one is taken for lost (RFC 9002 §6.1.2), widened by
    /// so many quarters of a round trip.
    pub(crate) fn loss_delay(&self, quarters: u32) -> Duration {
        let delay = (self.smoothed.max(self.latest) * 9 / 8).max(GRANULARITY) + self.smoothed * quarters / 4;
        delay.min(self.longest_wait())
    }

    /// Returns how long an acknowledgement may take, the remote side's holding back excluded (RFC 9002 §6.2.1).
    pub(crate) fn probe_delay(&self) -> Duration {
        let delay = self.smoothed + (self.deviation * 4).max(GRANULARITY);
        delay.min(self.longest_wait())
    }

    fn longest_wait(&self) -> Duration {
        LONGEST_WAIT.max(self.min() * 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn steady_samples_settle_and_the_minimum_ages() {
        let mut now = Timestamp::ZERO;
        let mut rtt = RttEstimator::new(now, MS * 10);
        for _ in 0..3000 {
            now += MS * 10;
            rtt.update(now, MS * 50, Duration::ZERO);
        }
        assert!(rtt.smoothed().abs_diff(MS * 50) < MS);
        assert!(rtt.deviation() < MS);
        assert_eq!(rtt.min(), MS * 50);
    }

    #[test]
    fn what_was_held_up_once_is_not_waited_for_as_long_and_a_long_path_is() {
        let mut rtt = RttEstimator::new(Timestamp::ZERO, MS * 20);
        rtt.update(Timestamp::from_millis(14_000), MS * 14_000, Duration::ZERO);
        assert!(rtt.smoothed() + rtt.deviation() * 4 > MS * 10_000);
        assert_eq!(rtt.probe_delay(), LONGEST_WAIT);
        assert_eq!(rtt.loss_delay(2), LONGEST_WAIT);
        let long = RttEstimator::new(Timestamp::ZERO, MS * 8000);
        assert!(long.probe_delay() >= MS * 16_000 && long.loss_delay(0) >= MS * 9000);
    }

    #[test]
    fn the_time_an_ack_was_held_back_is_not_the_paths() {
        let mut rtt = RttEstimator::new(Timestamp::ZERO, MS * 20);
        for _ in 0..100 {
            rtt.update(Timestamp::ZERO, MS * 30, MS * 10);
        }
        assert!(rtt.smoothed().abs_diff(MS * 20) < MS);
        rtt.update(Timestamp::ZERO, MS * 22, MS * 1000);
        assert!(
            rtt.smoothed() >= MS * 19,
            "an absurd delay does not make the path faster than its minimum"
        );
    }
}
