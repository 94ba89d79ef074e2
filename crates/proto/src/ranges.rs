//! A set of packet numbers as ranges, bounded: what has arrived and is still to be acknowledged.

use std::collections::VecDeque;

/// The most ranges kept. When more are needed, the lowest is forgotten: its packets will be sent again.
const MAX_RANGES: usize = 64;

/// Packet numbers as ranges, both ends included, largest first, never touching each other.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    ranges: VecDeque<(u64, u64)>,
}

impl Ranges {
    /// Adds a number.
    pub(crate) fn insert(&mut self, number: u64) {
        // Numbers arrive almost in order, so the place is almost always the first.
        let place = self
            .ranges
            .iter()
            .position(|&(low, _)| low <= number)
            .unwrap_or(self.ranges.len());
        if self.ranges.get(place).is_some_and(|&(_, high)| high >= number) {
            return;
        }
        let joins_lower = self.ranges.get(place).is_some_and(|&(_, high)| high + 1 == number);
        let joins_upper = place > 0 && self.ranges[place - 1].0 == number + 1;
        match (joins_lower, joins_upper) {
            (true, true) => {
                self.ranges[place - 1].0 = self.ranges[place].0;
                self.ranges.remove(place);
            }
            (true, false) => self.ranges[place].1 = number,
            (false, true) => self.ranges[place - 1].0 = number,
            (false, false) => {
                self.ranges.insert(place, (number, number));
                self.ranges.truncate(MAX_RANGES);
            }
        }
    }

    /// Forgets all numbers up to this one.
    pub(crate) fn remove_to(&mut self, number: u64) {
        while let Some(last) = self.ranges.back_mut() {
            if last.1 <= number {
                self.ranges.pop_back();
            } else {
                last.0 = last.0.max(number + 1);
                break;
            }
        }
    }

    /// Returns the largest number.
    pub(crate) fn largest(&self) -> Option<u64> {
        self.ranges.front().map(|&(_, high)| high)
    }

    /// Returns the ranges, largest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_equal_a_set(numbers in prop::collection::vec(0..100u64, 0..100), cut in 0..100u64) {
            let mut ranges = Ranges::default();
            let mut set = BTreeSet::new();
            for number in numbers {
                ranges.insert(number);
                set.insert(number);
            }
            for do_cut in [false, true] {
                if do_cut {
                    ranges.remove_to(cut);
                    set.retain(|&number| number > cut);
                }
                let flat: Vec<u64> = ranges.iter().flat_map(|(low, high)| (low..=high).rev()).collect();
                prop_assert_eq!(&flat, &set.iter().rev().copied().collect::<Vec<_>>());
                prop_assert_eq!(ranges.largest(), set.last().copied());
                let list: Vec<_> = ranges.iter().collect();
                prop_assert!(list.windows(2).all(|pair| pair[1].1 + 1 < pair[0].0));
            }
        }
    }

    #[test]
    fn the_number_of_ranges_is_bounded() {
        let mut ranges = Ranges::default();
        for number in 0..1000 {
            ranges.insert(number * 2);
        }
        assert_eq!(ranges.iter().count(), MAX_RANGES);
        assert_eq!(ranges.largest(), Some(1998));
    }
}
