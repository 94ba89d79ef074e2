//! How bad one direction of a link is. Values only; what they do to a packet is in [`pipe`](crate::pipe).

use std::time::Duration;

/// How bad one direction of a link is. The default is perfect: nothing is late, lost, doubled or out of order.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditions {
    /// How long every packet takes, one way.
    pub lag: Duration,
    /// How much longer a packet may take: evenly between nothing and this, for each packet by itself. So packets sent closer
    /// together than the jitter can overtake each other, as they do on a real path with jitter.
    pub jitter: Duration,
    /// Which packets are lost on the way.
    pub loss: Loss,
    /// The share of packets that arrive twice, 0.0–1.0. The copy has a jitter of its own.
    pub duplicate: f64,
    /// The share of packets that are held back by [`HOLD_BACK`](crate::pipe::HOLD_BACK) more, so that later ones overtake
    /// them, 0.0–1.0.
    pub reorder: f64,
    /// How fast the link is, in bits per second; None for infinitely fast. A packet leaves when those before it have left, and
    /// needs its own time to be put on the wire.
    pub rate: Option<u64>,
    /// How many bytes may wait for a link with a rate. A packet that finds no room is dropped; one that finds the link idle
    /// always passes.
    pub queue_bytes: usize,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            lag: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: Loss::None,
            duplicate: 0.0,
            reorder: 0.0,
            rate: None,
            // About what a home router holds: 64 KiB is half a second at 1 Mbit/s.
            queue_bytes: 64 * 1024,
        }
    }
}

impl Conditions {
    /// Makes conditions that only take time.
    pub fn lag(lag: Duration) -> Self {
        Self { lag, ..Self::default() }
    }
}

/// Which packets are lost on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Loss {
    /// None is.
    #[default]
    None,
    /// Each with this probability, 0.0–1.0, whatever happened to the one before.
    Independent(f64),
    /// Several in a row, as on Wi-Fi and mobile networks: the Gilbert–Elliott model whose good state loses nothing and whose
    /// bad state loses everything.
    Bursts {
        /// The share of all packets that is lost in the long run, 0.0–1.0. A share above `mean_length / (mean_length + 1)`
        /// cannot be reached, because at least one packet passes between two bursts; 1.0 itself loses everything.
        share: f64,
        /// How many packets in a row are lost on average, 1.0 or more.
        mean_length: f64,
    },
}

impl Loss {
    /// Returns the probability that the next packet is lost, from whether the last one was.
    pub(crate) fn probability(self, was_lost: bool) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Independent(share) => share,
            Self::Bursts { share, .. } if share >= 1.0 => 1.0,
            Self::Bursts { share, mean_length } => {
                let mean_length = mean_length.max(1.0);
                if was_lost {
                    1.0 - 1.0 / mean_length
                } else {
                    // In the long run as many bursts begin as end: begin × (1 − share) = share / mean_length.
                    (share.max(0.0) / (mean_length * (1.0 - share))).min(1.0)
                }
            }
        }
    }
}
