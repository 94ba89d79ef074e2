//! Whether answers come so soon that falling asleep for one and waking up takes longer than the answer itself.
//!
//! So it is between two programs of one machine that talk in turns: a bot, a referee, a test. It knows durations. It must not
//! know sockets, nor who waits.

use std::time::Duration;

/// How fast answers have come lately.
#[derive(Debug)]
pub(crate) struct Promptness {
    /// How many more answers must come soon before one is waited for awake.
    doubts: u32,
    /// The doubts after the next one that does not.
    patience: u32,
}

impl Default for Promptness {
    fn default() -> Self {
        Self {
            doubts: Self::FEWEST_DOUBTS,
            patience: Self::FEWEST_DOUBTS,
        }
    }
}

impl Promptness {
    /// What counts as soon, and so the longest that anybody stays awake in vain: about what two threads take that wake each
    /// other up in turns. Between two machines it is hardly ever met.
    pub(crate) const SOON: Duration = Duration::from_micros(100);

    const FEWEST_DOUBTS: u32 = 8;
    const MOST_DOUBTS: u32 = 4096;

    /// Returns true if the next answer is worth staying awake for.
    pub(crate) fn is_expected(&self) -> bool {
        self.doubts == 0
    }

    /// Takes note of how long an answer was waited for.
    pub(crate) fn handle_wait(&mut self, took: Duration) {
        let was_awake = self.is_expected();
        if took <= Self::SOON {
            match was_awake {
                true => self.patience = (self.patience - 1).max(Self::FEWEST_DOUBTS),
                false => self.doubts -= 1,
            }
            return;
        }
        self.doubts = self.patience;
        if was_awake {
            // Who stays awake may be what keeps the other from answering: on a machine with one core, say. So it is twice as
            // long before the next try, and as many that succeed until this one is forgiven.
            self.patience = (self.patience * 2).min(Self::MOST_DOUBTS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Lives through waits for answers of which each takes what the function says; returns in which it was awake.
    fn awake(count: usize, mut took: impl FnMut(bool) -> Duration) -> Vec<usize> {
        let mut promptness = Promptness::default();
        let mut all = Vec::new();
        for number in 0..count {
            let is_awake = promptness.is_expected();
            all.extend(is_awake.then_some(number));
            promptness.handle_wait(took(is_awake));
        }
        all
    }

    #[test]
    fn answers_of_this_machine_are_waited_for_awake_and_those_of_a_network_are_not() {
        let here = awake(1000, |is_awake| Promptness::SOON / if is_awake { 8 } else { 2 });
        assert_eq!(here, (8..1000).collect::<Vec<_>>());
        assert!(awake(1000, |_| MS).is_empty());
        // Now and then one from a network is soon: never eight in a row.
        let mut number = 0;
        let mixed = awake(1000, |_| {
            number += 1;
            if number % 8 == 0 { MS } else { Promptness::SOON }
        });
        assert!(mixed.is_empty(), "{mixed:?}");
    }

    #[test]
    fn who_is_in_the_way_by_staying_awake_soon_sleeps_again() {
        // One core: the other answers at once when this one sleeps, and hardly ever before.
        let in_vain = awake(100_000, |is_awake| if is_awake { MS } else { Promptness::SOON / 2 });
        assert!((9..=40).contains(&in_vain.len()), "{in_vain:?}");
        // The one time in between is forgiven.
        let mut number = 0;
        let again = awake(1000, |is_awake| {
            number += 1;
            if is_awake && number % 100 == 0 {
                MS
            } else {
                Promptness::SOON / 8
            }
        });
        assert!(again.len() > 850, "{}", again.len());
    }
}
