//! Which packet numbers have been seen, so that a packet counts once however often it arrives.
//!
//! A sliding window of bits (RFC 6479): as wide as reordering may reach, older numbers are refused unseen.

/// How far back a late packet may be, in packets.
const WINDOW: u64 = 2048;
const WORDS: usize = WINDOW as usize / 64 + 1;

/// The packet numbers seen lately. One word more than the window, so that a word can be cleared whole when it is entered.
pub(crate) struct ReplayWindow {
    /// The smallest number not yet seen above all seen ones.
    next: u64,
    bits: Box<[u64; WORDS]>,
}

impl ReplayWindow {
    pub(crate) fn new() -> Self {
        Self {
            next: 0,
            bits: Box::new([0; WORDS]),
        }
    }

    /// Returns the number after the largest seen, the best guess for the next.
    pub(crate) fn expected(&self) -> u64 {
        self.next
    }

    /// Returns true if the number may be new: not seen and not too old to tell.
    pub(crate) fn is_new(&self, number: u64) -> bool {
        number >= self.next || (number + WINDOW >= self.next && self.bits[word(number)] & bit(number) == 0)
    }

    /// Marks a number that has authenticated as seen.
    pub(crate) fn mark(&mut self, number: u64) {
        if number >= self.next {
            // Taking one round of the ring clears it all: a longer jump needs no more.
            let entered = (self.next.div_ceil(64)..=number / 64).take(WORDS);
            for index in entered {
                self.bits[index as usize % WORDS] = 0;
            }
            self.next = number + 1;
        }
        self.bits[word(number)] |= bit(number);
    }
}

const fn word(number: u64) -> usize {
    (number / 64) as usize % WORDS
}

const fn bit(number: u64) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_is_new_once(jumps in prop::collection::vec(prop_oneof![-300i64..300, -5000i64..5000, Just(1)], 1..500)) {
            let (mut window, mut seen, mut at) = (ReplayWindow::new(), BTreeSet::new(), 0i64);
            for jump in jumps {
                at = (at + jump).max(0);
                let number = at as u64;
                let largest = seen.last().copied().unwrap_or(0);
                let is_recent = number + WINDOW > largest;
                if is_recent {
                    prop_assert_eq!(window.is_new(number), !seen.contains(&number), "{} after {}", number, largest);
                }
                if window.is_new(number) {
                    prop_assert!(!seen.contains(&number));
                    window.mark(number);
                    seen.insert(number);
                }
                prop_assert!(!window.is_new(number));
                prop_assert_eq!(window.expected(), seen.last().map_or(0, |last| last + 1));
            }
        }
    }
}
