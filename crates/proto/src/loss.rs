//! The share of packets that a path loses: a mean that forgets.

/// The most packets counted at once; more say nothing new.
const MAX_AT_ONCE: u64 = 1024;

/// An exponentially weighted mean of lost (1) and arrived (0) packets.
#[derive(Clone, Debug)]
pub(crate) struct LossEstimator {
    share: f64,
    weight: f64,
}

impl LossEstimator {
    /// Starts from a guess; each packet then has this weight.
    pub(crate) fn new(share: f64, weight: f64) -> Self {
        Self { share, weight }
    }

    /// Returns the estimate, 0.0–1.0.
    pub(crate) fn share(&self) -> f64 {
        self.share
    }

    /// Takes note of packets that arrived, and of those among them that had been taken for lost: each takes its loss back.
    pub(crate) fn handle_arrived(&mut self, packets: u64, late: u64) {
        for _ in 0..late.min(MAX_AT_ONCE) {
            self.share = ((self.share - self.weight) / (1.0 - self.weight)).max(0.0);
        }
        for _ in 0..(packets - late).min(MAX_AT_ONCE) {
            self.share *= 1.0 - self.weight;
        }
    }

    /// Takes note of lost packets.
    pub(crate) fn handle_lost(&mut self, packets: u64) {
        for _ in 0..packets.min(MAX_AT_ONCE) {
            self.share += (1.0 - self.share) * self.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_follows_the_path_and_takes_back_what_was_only_late() {
        let mut loss = LossEstimator::new(0.0, 1.0 / 64.0);
        for _ in 0..100 {
            loss.handle_lost(1);
            loss.handle_arrived(9, 0);
        }
        assert!((0.07..0.13).contains(&loss.share()), "{}", loss.share());
        let before = loss.share();
        loss.handle_lost(1);
        loss.handle_arrived(1, 1);
        assert!((loss.share() - before).abs() < 1e-9);
        loss.handle_arrived(10_000, 0);
        assert!(loss.share() < 1e-6);
    }
}
