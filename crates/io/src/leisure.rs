//! Telling a trickle of datagrams from a stream of them.
//!
//! In a trickle each is worth waking up for. In a stream the next is on its way already: a pause lets several come, and one
//! waking up is enough for all. It knows moments and counts. It must not know sockets, nor who sleeps.

use std::time::{Duration, Instant};

/// Time in which nothing came, saved to be spent on datagrams that are read at once.
#[derive(Debug)]
pub(crate) struct Leisure {
    /// What reading a datagram at once costs.
    price: Duration,
    /// The most that is saved, so that at most `most / price` are read at once in a row.
    most: Duration,
    saved: Duration,
    counted: Instant,
}

impl Leisure {
    /// Makes one that has saved the most.
    pub(crate) fn new(price: Duration, most: Duration) -> Self {
        Self {
            price,
            most,
            saved: most,
            counted: Instant::now(),
        }
    }

    /// Returns true if there is time to read a datagram at once.
    pub(crate) fn spend(&mut self) -> bool {
        self.spend_at(Instant::now())
    }

    /// Saves nothing of the time since it was counted last: more than one datagram came in it.
    pub(crate) fn skip(&mut self) {
        self.counted = Instant::now();
    }

    fn spend_at(&mut self, now: Instant) -> bool {
        self.saved = (self.saved + now.saturating_duration_since(self.counted)).min(self.most);
        self.counted = now;
        let has_time = self.saved >= self.price;
        if has_time {
            self.saved -= self.price;
        }
        has_time
    }
}

/// How long to pause in a stream: as long as is allowed, unless so much comes meanwhile that buffers might overflow.
#[derive(Debug)]
pub(crate) struct Pause {
    longest: Duration,
    now: Duration,
}

impl Pause {
    /// With fewer datagrams than this after a pause, the next may be twice as long.
    const FEW: usize = 16;

    /// With more than this, the next is half as long. Far fewer than the smallest buffer of a socket holds.
    const MANY: usize = 32;

    /// A pause that would be shorter is none: falling asleep and waking up takes as long.
    const SHORTEST: Duration = Duration::from_micros(125);

    /// Makes one that begins with the longest.
    pub(crate) fn new(longest: Duration) -> Self {
        Self { longest, now: longest }
    }

    /// Takes note of how many datagrams had come after a pause or a wait.
    pub(crate) fn handle_received(&mut self, count: usize) {
        if count > Self::MANY {
            self.now /= 2;
        } else if count < Self::FEW {
            self.now = (self.now * 2).clamp(Self::SHORTEST, self.longest);
        }
    }

    /// Returns how long to pause; None if pauses do no good at the rate at which datagrams come.
    pub(crate) fn length(&self) -> Option<Duration> {
        (self.now >= Self::SHORTEST).then_some(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_trickle_is_read_at_once_and_a_stream_is_not() {
        let mut leisure = Leisure::new(MS, MS * 16);
        let began = Instant::now();
        let at_once = |leisure: &mut Leisure, from: Duration, gap: Duration| {
            (0..1000)
                .filter(|step| leisure.spend_at(began + from + gap * *step))
                .count()
        };
        assert_eq!(at_once(&mut leisure, Duration::ZERO, MS * 2), 1000);
        let in_stream = at_once(&mut leisure, MS * 2000, MS / 10);
        assert!((16..=117).contains(&in_stream), "{in_stream} of 1000 in 100 ms");
    }

    #[test]
    fn pauses_shrink_until_few_enough_come_in_each() {
        // Each pair: datagrams in a millisecond, and how long a pause lets about twenty of them come.
        for (rate, expected) in [
            (2, Some(MS)),
            (20, Some(MS)),
            (50, Some(MS / 2)),
            (180, Some(MS / 8)),
            (1000, None),
        ] {
            let mut pause = Pause::new(MS);
            for _ in 0..10 {
                let length = pause.length().unwrap_or(Duration::from_micros(50));
                pause.handle_received((rate * length.as_micros() / 1000) as usize);
            }
            assert_eq!(pause.length(), expected, "{rate} in a millisecond");
        }
    }
}
