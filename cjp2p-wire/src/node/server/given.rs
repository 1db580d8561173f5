//! Which parts of a content were sent to its getters, counted in units few enough that no content and no request takes much memory.

use std::ops::Range;

use crate::range_set::RangeSet;

/// The least unit: blocks that were given cut no leaves.
const MIN_UNIT: u64 = 16 << 10;
/// Units of one content, at most. Of longer content each is longer.
const MAX_UNITS: u64 = 1024;

/// What was given of one content.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// Of the content; zero while unknown.
    length: u64,
    /// Bytes given of each unit. What is given twice counts twice: it may then seem whole too early, and is offered again when all
    /// was given.
    // Invariant: at most `MAX_UNITS`.
    units: Vec<u64>,
    // Invariant: how many of `units` were not given as many bytes as they have.
    missing: usize,
}

impl Given {
    /// Nothing was given of content of this length.
    fn nothing(length: u64) -> Given {
        let mut given = Given { length, ..Given::default() };
        let count = length.div_ceil(given.unit()) as usize;
        given.units = vec![0; count];
        given.missing = count;
        given
    }

    /// Bytes of a unit, but for the last.
    fn unit(&self) -> u64 {
        self.length.div_ceil(MAX_UNITS).next_power_of_two().max(MIN_UNIT)
    }

    /// The bytes of a unit.
    fn range(&self, nth: usize) -> Range<u64> {
        let start = nth as u64 * self.unit();
        start..(start + self.unit()).min(self.length)
    }

    /// Notes that this part was given, of content of `length` bytes.
    pub(super) fn add(&mut self, part: Range<u64>, length: u64) {
        if self.length != length {
            *self = Given::nothing(length);
        }
        let mut at = part.start;
        while at < part.end.min(length) {
            let nth = (at / self.unit()) as usize;
            let unit = self.range(nth);
            let Some(given) = self.units.get_mut(nth) else { return };
            let (whole, end) = (unit.end - unit.start, part.end.min(unit.end));
            let was_missing = *given < whole;
            *given = given.saturating_add(end - at).min(whole);
            self.missing -= usize::from(was_missing && *given == whole);
            at = end;
        }
    }

    /// What to offer of content of `length` bytes: the units that were not given whole, or all of them once all were; and always
    /// the end, which proves the length.
    pub(super) fn offer(&mut self, length: u64) -> RangeSet {
        let is_last = |nth: usize, given: &Given| nth + 1 == given.units.len();
        let only_last = self.missing == 1 && self.units.last().is_some_and(|&given| given < self.last_len());
        if self.length != length || self.missing == 0 || only_last {
            *self = Given::nothing(length);
        }
        let is_offered = |&nth: &usize| {
            let unit = self.range(nth);
            self.units[nth] < unit.end - unit.start || is_last(nth, self)
        };
        (0..self.units.len()).filter(is_offered).map(|nth| self.range(nth)).collect()
    }

    fn last_len(&self) -> u64 {
        let last = self.range(self.units.len().saturating_sub(1));
        last.end - last.start
    }

    /// How many units are counted.
    #[cfg(test)]
    pub(super) fn units(&self) -> usize {
        self.units.len()
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "sets of one range")]
mod tests {
    use super::*;

    const UNIT: u64 = MIN_UNIT;

    #[test]
    fn what_was_given_whole_is_not_offered_until_all_was() {
        let length = 4 * UNIT + 5;
        let mut given = Given::default();
        assert_eq!(given.offer(length), [0..length].into_iter().collect());
        given.add(100..2 * UNIT, length);
        assert_eq!(given.offer(length), [0..UNIT, 2 * UNIT..length].into_iter().collect());
        given.add(0..100, length);
        given.add(2 * UNIT..4 * UNIT, length);
        assert_eq!(given.offer(length), [0..length].into_iter().collect(), "all but the end was given");
    }

    #[test]
    fn whatever_is_given_little_is_remembered() {
        for length in [1, UNIT, UNIT + 1, 1 << 20, 1 << 30, (1 << 53) - 1] {
            let mut given = Given::default();
            let mut random = fastrand::Rng::with_seed(length);
            for _ in 0..5000 {
                let start = random.u64(0..length);
                given.add(start..start + random.u64(1..100_000), length);
            }
            assert!(given.units() as u64 <= MAX_UNITS, "{} units of {length} bytes", given.units());
            let offered = given.offer(length);
            assert!(offered.contains(length - 1..length) && offered.pieces() as u64 <= MAX_UNITS);
        }
    }
}
