//! What is wanted of some content, and how far its beginning is done.

use std::ops::Range;

use crate::range_set::RangeSet;

/// What is wanted, in order.
#[derive(Clone, Debug)]
pub(super) struct Goal {
    /// Two ranges may lie in one unit, but none overlap.
    ranges: Vec<Range<u64>>,
    // Invariant: so many of the ranges, counted from the first, are done; the next is not.
    passed: usize,
    // Invariant: the sum of their lengths.
    passed_len: u64,
}

impl Goal {
    pub(super) fn new(ranges: Vec<Range<u64>>, done: &RangeSet) -> Goal {
        let mut goal = Goal { ranges, passed: 0, passed_len: 0 };
        goal.pass(done);
        goal
    }

    /// Passes over what is done at the front, so that it is not looked at again.
    pub(super) fn pass(&mut self, done: &RangeSet) {
        while let Some(range) = self.ranges.get(self.passed)
            && done.contains(range.clone())
        {
            self.passed += 1;
            self.passed_len += range.end - range.start;
        }
    }

    /// Whether all of it is done.
    pub(super) fn is_reached(&self) -> bool {
        self.passed == self.ranges.len()
    }

    /// Its bytes.
    pub(super) fn total(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// The ranges that are not passed, in order.
    pub(super) fn left(&self) -> &[Range<u64>] {
        &self.ranges[self.passed..]
    }

    /// What is left, in order and rounded to whole `units`, as far as `room` goes; that is counted in bytes of the goal from its
    /// beginning. A range that `room` cuts ends at a multiple of `least`.
    pub(super) fn stretches(
        &self,
        room: u64,
        length: u64,
        unit: u64,
        least: u64,
    ) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut left = room.saturating_sub(self.passed_len);
        self.left().iter().map_while(move |range| {
            if left == 0 {
                return None;
            }
            let start = range.start / unit * unit;
            let end = match left.checked_sub(range.end - range.start) {
                Some(rest) => {
                    left = rest;
                    range.end.next_multiple_of(unit).min(length)
                }
                None => {
                    let end = range.start + left;
                    left = 0;
                    end / least * least
                }
            };
            Some(start..end.max(start))
        })
    }

    /// Panics where a field's invariant does not hold.
    #[cfg(debug_assertions)]
    pub(super) fn check_invariants(&self, done: &RangeSet) {
        let is_done = |range: &Range<u64>| done.contains(range.clone());
        let (passed, next) = self.ranges.split_at(self.passed);
        assert!(passed.iter().all(is_done) && !next.first().is_some_and(is_done));
        assert_eq!(passed.iter().map(|range| range.end - range.start).sum::<u64>(), self.passed_len);
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "goals of one range")]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_at_the_front_is_passed_and_what_is_done_later_is_not() {
        let mut goal = Goal::new(vec![40..50, 0..10, 20..30], &RangeSet::new());
        let mut done: RangeSet = [0..10, 45..50].into_iter().collect();
        goal.pass(&done);
        assert_eq!(goal.left(), [40..50, 0..10, 20..30]);
        done.insert(40..45);
        goal.pass(&done);
        assert_eq!(goal.left(), [20..30]);
        assert!(!goal.is_reached());
        assert_eq!(goal.total(), 30);
    }

    #[test]
    fn a_destination_with_little_room_is_given_whole_extents_of_whole_units() {
        let goal = Goal::new(vec![5..25, 47..52], &RangeSet::new());
        let stretches = |room| goal.stretches(room, 50, 4, 8).collect::<Vec<_>>();
        assert_eq!(stretches(100), [4..28, 44..50]);
        assert_eq!(stretches(15), [4..16]);
        assert_eq!(stretches(1), [4..4]);
        assert_eq!(stretches(0), []);
    }
}
