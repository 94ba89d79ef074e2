//! Numbers of a known range, written in as few bits as the range needs. Knows no messages and no Python.
//!
//! A row is the fields of one object, each a number below a bound that both sides know, lowest bits first and without
//! gaps, filled up with zeros to a whole byte. Nothing tells where a field ends: who reads knows the same fields.
//!
//! Source: Gaffer on Games, "Reading and Writing Packets". We bound by the largest number and not by a count of bits, so
//! that what is read cannot be out of range.

/// Numbers from 0 to `max`, in as many bits as `max` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Width {
    max: u64,
}

impl Width {
    /// Makes the width for numbers from 0 to `max`.
    pub const fn up_to(max: u64) -> Self {
        Self { max }
    }

    /// Returns how many bits a number takes, 0–64.
    pub const fn bits(self) -> u32 {
        u64::BITS - self.max.leading_zeros()
    }
}

/// Writes numbers into a row.
#[derive(Debug, Default)]
pub struct RowWriter {
    row: Vec<u8>,
    /// What does not fill a byte yet, and how many bits it has.
    rest: u128,
    rest_bits: u32,
}

impl RowWriter {
    /// Makes a writer that begins with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            row: Vec::with_capacity(capacity),
            ..Self::default()
        }
    }

    /// Writes a number. One above the width's greatest is the caller's fault and is cut off.
    pub fn write(&mut self, number: u64, width: Width) {
        debug_assert!(number <= width.max);
        let bits = width.bits();
        let kept = u128::from(number) & ((1 << bits) - 1);
        self.rest |= kept << self.rest_bits;
        self.rest_bits += bits;
        while self.rest_bits >= 8 {
            self.row.push(self.rest as u8);
            self.rest >>= 8;
            self.rest_bits -= 8;
        }
    }

    /// Ends a row: the next one begins with a new byte.
    pub fn end_row(&mut self) {
        if self.rest_bits > 0 {
            self.row.push(self.rest as u8);
            (self.rest, self.rest_bits) = (0, 0);
        }
    }

    /// Returns the bytes of all rows that were ended.
    pub fn into_bytes(self) -> Vec<u8> {
        self.row
    }
}

/// Reads the numbers of one row.
#[derive(Clone, Debug)]
pub struct RowReader<'a> {
    row: &'a [u8],
    rest: u128,
    rest_bits: u32,
}

impl<'a> RowReader<'a> {
    /// Reads from the first byte of a row.
    pub const fn new(row: &'a [u8]) -> Self {
        Self {
            row,
            rest: 0,
            rest_bits: 0,
        }
    }

    /// Reads a number; None if the row has ended, or if it is above the width's greatest.
    pub fn read(&mut self, width: Width) -> Option<u64> {
        let bits = width.bits();
        while self.rest_bits < bits {
            let (first, row) = self.row.split_first()?;
            self.row = row;
            self.rest |= u128::from(*first) << self.rest_bits;
            self.rest_bits += 8;
        }
        let number = (self.rest & ((1 << bits) - 1)) as u64;
        self.rest >>= bits;
        self.rest_bits -= bits;
        (number <= width.max).then_some(number)
    }

    /// Returns true if nothing but the zeros that fill the last byte is left.
    pub const fn is_at_end(&self) -> bool {
        self.row.is_empty() && self.rest == 0
    }
}

/// Numbers with a fraction, from `min` to `max` in equal steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steps {
    min: f64,
    max: f64,
    step: f64,
    last: u64,
    wraps: bool,
    /// Steps in one, and `min` in steps, if both are whole: then a value is a fraction of two whole numbers, and what
    /// a game wrote as 0.3 comes out as 0.3.
    whole: Option<(f64, f64)>,
}

/// How many steps there may be, and how far from zero: beyond, two neighbours might be the same `f64`.
const MAX_STEPS: f64 = (1_u64 << 50) as f64;

impl Steps {
    /// Makes the numbers `min`, `min + step`, … `max`; None if there are none, or they are too fine for an `f64`.
    pub fn new(min: f64, max: f64, step: f64) -> Option<Self> {
        let count = (max - min) / step;
        let farthest = min.abs().max(max.abs()) / step;
        let is_fine = step > 0.0 && min < max && farthest <= MAX_STEPS && count <= MAX_STEPS;
        let per_one = (1.0 / step).round();
        let first = min * per_one;
        let difference = (per_one * step - 1.0).abs();
        // It adds up: at the farthest step it must still be none to speak of.
        let is_per_one = difference < 1e-9 && difference * farthest < 1e-3;
        let is_whole = is_per_one && first.fract() == 0.0 && first.abs() < MAX_STEPS;
        (is_fine && count >= 0.5).then(|| Self {
            min,
            max,
            step,
            // The step nearest to `max`; where it lies beyond, its value is `max`.
            last: (count + 0.5).floor() as u64,
            wraps: false,
            whole: is_whole.then_some((per_one, first)),
        })
    }

    /// Makes the directions 0, `step`, … below a `turn`, where one that is out of range is brought into it.
    pub fn around(turn: f64, step: f64) -> Option<Self> {
        let steps = Self::new(0.0, turn, step)?;
        // The last may be less than a step before the whole turn; a rounding error makes no step.
        let last = (turn / step - 1e-6).ceil() as u64 - 1;
        (last > 0).then_some(Self {
            last,
            wraps: true,
            ..steps
        })
    }

    /// Returns the width of what is written.
    pub const fn width(&self) -> Width {
        Width::up_to(self.last)
    }

    /// Returns the number of the nearest step; None if there is none within half a step.
    pub fn number(&self, value: f64) -> Option<u64> {
        if self.wraps {
            let number = (value.rem_euclid(self.max) / self.step).round();
            // What is nearest to a whole turn is nearest to none.
            return number
                .is_finite()
                .then_some(number as u64)
                .map(|number| if number > self.last { 0 } else { number });
        }
        let number = ((value - self.min) / self.step + 0.5).floor();
        // Comparing is false for NaN too.
        (number >= 0.0 && number <= self.last as f64).then_some(number as u64)
    }

    /// Returns the value of a step. Its number is this one again.
    pub fn value(&self, number: u64) -> f64 {
        let value = match self.whole {
            Some((per_one, first)) => (first + number as f64) / per_one,
            None => self.min + number as f64 * self.step,
        };
        value.min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_coordinates_and_an_angle_take_five_bytes() {
        let coordinate = Steps::new(0.0, 800.0, 0.1).expect("is one");
        let angle = Steps::around(360.0, 0.1).expect("is one");
        let mut writer = RowWriter::default();
        for (steps, value) in [(coordinate, 800.0), (coordinate, 0.3), (angle, -10.0)] {
            writer.write(steps.number(value).expect("in range"), steps.width());
        }
        writer.end_row();
        let row = writer.into_bytes();
        assert_eq!(row.len(), 5);
        let mut reader = RowReader::new(&row);
        let mut read = |steps: Steps| steps.value(reader.read(steps.width()).expect("there is one"));
        assert_eq!((read(coordinate), read(coordinate), read(angle)), (800.0, 0.3, 350.0));
        assert!(reader.is_at_end());
    }

    #[test]
    fn what_is_out_of_range_by_half_a_step_or_more_has_no_number() {
        let steps = Steps::new(-1.0, 1.0, 0.5).expect("is one");
        assert_eq!(steps.number(1.2), Some(4));
        assert_eq!(steps.number(-1.2), Some(0));
        for value in [1.3, -1.3, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(steps.number(value), None);
        }
    }

    #[test]
    fn a_range_that_is_no_multiple_of_the_step_reaches_both_ends() {
        for (max, step) in [(1.0, 0.4), (1.0, 0.3), (0.5, 1.0), (10.0, 3.0), (1.0, 0.6)] {
            let steps = Steps::new(0.0, max, step).expect("is one");
            let reached = |value| steps.number(value).map(|number| steps.value(number));
            assert_eq!(reached(0.0), Some(0.0));
            assert!((reached(max).expect("in range") - max).abs() <= step / 2.0);
            let last = steps.value(steps.last);
            assert_eq!(reached(last), Some(last));
        }
    }

    #[test]
    fn a_step_that_is_almost_a_tenth_is_none_where_there_are_many() {
        let steps = Steps::new(0.0, 3_435_973_836_821.125, 0.099_999_999_916_326_49).expect("is one");
        for number in [0, 1, 304_942_678_528, steps.last] {
            assert_eq!(steps.number(steps.value(number)), Some(number));
        }
    }

    #[test]
    fn no_steps_without_a_range() {
        for (min, max, step) in [
            (0.0, 0.0, 1.0),
            (1.0, 0.0, 1.0),
            (0.0, 1.0, 0.0),
            (0.0, 1.0, -1.0),
            (0.0, f64::INFINITY, 1.0),
            (0.0, f64::NAN, 1.0),
            (0.0, 1.0, f64::NAN),
            (0.0, 1.0, 2.1),
            (-2.9e-188, 4.6e-312, 1.0),
            (0.0, 1e300, 1e-9),
            (1e300, 1.000_000_1e300, 1e280),
            (f64::NEG_INFINITY, 1.0, 1.0),
        ] {
            assert_eq!(Steps::new(min, max, step), None);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(numbers in prop::collection::vec((any::<u64>(), any::<u64>()), 0..20)) {
            let numbers: Vec<_> = numbers.iter().map(|(a, b)| (*a.min(b), Width::up_to(*a.max(b)))).collect();
            let mut writer = RowWriter::default();
            for (number, width) in &numbers {
                writer.write(*number, *width);
            }
            writer.end_row();
            let row = writer.into_bytes();
            let bits: u32 = numbers.iter().map(|(_, width)| width.bits()).sum();
            prop_assert_eq!(row.len(), bits.div_ceil(8) as usize);
            let mut reader = RowReader::new(&row);
            for (number, width) in &numbers {
                prop_assert_eq!(reader.read(*width), Some(*number));
            }
            prop_assert!(reader.is_at_end());
        }

        #[test]
        fn a_value_moves_by_half_a_step_at_most_and_then_stays(
            min in -1e6..1e6, length in 50.0..1e6, step in 0.001..100.0, at in 0.0..=1.0
        ) {
            let steps = Steps::new(min, min + length, step).expect("is one");
            let value = min + length * at;
            let number = steps.number(value).expect("in range");
            prop_assert!(number <= steps.last);
            let moved = steps.value(number);
            prop_assert!((moved - value).abs() <= step * 0.500_001, "{} became {}", value, moved);
            prop_assert_eq!(steps.value(steps.number(moved).expect("in range")), moved);
        }
    }
}
