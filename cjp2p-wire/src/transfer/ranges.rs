//! Sets of byte offsets, kept as ranges.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of `u64`s, kept as disjoint half-open ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    // Invariant: start -> end with start < end, and a gap of at least one between neighbours.
    ranges: BTreeMap<u64, u64>,
    // Invariant: the sum of all lengths.
    total: u64,
}

impl RangeSet {
    /// The empty set.
    pub fn new() -> RangeSet {
        RangeSet::default()
    }

    /// How many numbers are in the set.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many separate ranges the set is made of.
    pub fn pieces(&self) -> usize {
        self.ranges.len()
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(&start, &end)| start..end)
    }

    /// What of `within` is in the set, in order.
    pub fn within(&self, within: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let before = self.ranges.range(..within.start).next_back().map(|(&start, &end)| start..end);
        let clip = move |range: Range<u64>| range.start.max(within.start)..range.end.min(within.end);
        before
            .into_iter()
            .chain(self.ranges.range(within.start..within.end.max(within.start)).map(|(&s, &e)| s..e))
            .map(clip)
            .filter(|range| !range.is_empty())
    }

    /// Adds `range` and returns how many numbers were new.
    pub fn insert(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        // What comes in order makes one range longer, in place.
        let next = self.ranges.range(range.start + 1..).next().map_or(u64::MAX, |(&start, _)| start);
        if range.end < next
            && let Some((&start, end)) = self.ranges.range_mut(..=range.start).next_back()
            && *end >= range.start
        {
            debug_assert!(start <= range.start);
            let new = range.end.saturating_sub(*end);
            *end += new;
            self.total += new;
            return new;
        }
        let before = self.total;
        let (mut start, mut end) = (range.start, range.end);
        // Swallow every range that overlaps or touches: they all begin at or before `end`.
        while let Some((&s, &e)) = self.ranges.range(..=end).next_back() {
            if e < start {
                break;
            }
            start = start.min(s);
            end = end.max(e);
            self.total -= e - s;
            self.ranges.remove(&s);
        }
        self.ranges.insert(start, end);
        self.total += end - start;
        self.total - before
    }

    /// Removes `range` and returns how many numbers were there.
    pub fn remove(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let before = self.total;
        while let Some((&s, &e)) = self.ranges.range(..range.end).next_back() {
            if e <= range.start {
                break;
            }
            self.ranges.remove(&s);
            self.total -= e - s;
            if e > range.end {
                self.ranges.insert(range.end, e);
                self.total += e - range.end;
            }
            if s < range.start {
                self.ranges.insert(s, range.start);
                self.total += range.start - s;
                break;
            }
        }
        before - self.total
    }

    /// Whether all of `range` is in the set. The empty range is in every set.
    pub fn contains(&self, range: Range<u64>) -> bool {
        range.is_empty()
            || self.ranges.range(..=range.start).next_back().is_some_and(|(_, &end)| end >= range.end)
    }

    /// Whether any of `range` is in the set.
    pub fn overlaps(&self, range: Range<u64>) -> bool {
        !range.is_empty()
            && self.ranges.range(..range.end).next_back().is_some_and(|(_, &end)| end > range.start)
    }

    /// The first stretch of `within` that is not in the set.
    pub fn first_gap(&self, within: Range<u64>) -> Option<Range<u64>> {
        let mut start = within.start;
        if let Some((_, &end)) = self.ranges.range(..=start).next_back() {
            start = start.max(end);
        }
        if start >= within.end {
            return None;
        }
        let end = self.ranges.range(start..within.end).next().map_or(within.end, |(&s, _)| s);
        Some(start..end)
    }

    /// The stretches of `within` that are not in the set, in order.
    pub fn gaps(&self, within: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut start = within.start;
        std::iter::from_fn(move || {
            let gap = self.first_gap(start..within.end)?;
            start = gap.end;
            Some(gap)
        })
    }
}

impl FromIterator<Range<u64>> for RangeSet {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> RangeSet {
        let mut set = RangeSet::new();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64, u64),
        Remove(u64, u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = (any::<bool>(), 0u64..64, 0u64..20).prop_map(|(insert, start, len)| {
            if insert { Step::Insert(start, start + len) } else { Step::Remove(start, start + len) }
        });
        prop::collection::vec(step, 0..40)
    }

    proptest! {
        #[test]
        fn a_range_set_agrees_with_a_set_of_numbers(steps in steps(), a in 0u64..90, len in 0u64..30) {
            let mut set = RangeSet::new();
            let mut model = std::collections::BTreeSet::new();
            for step in steps {
                let before = model.len() as u64;
                match step {
                    Step::Insert(s, e) => {
                        model.extend(s..e);
                        prop_assert_eq!(set.insert(s..e), model.len() as u64 - before);
                    }
                    Step::Remove(s, e) => {
                        model.retain(|n| !(s..e).contains(n));
                        prop_assert_eq!(set.remove(s..e), before - model.len() as u64);
                    }
                }
                let numbers: Vec<u64> = set.iter().flatten().collect();
                prop_assert_eq!(&numbers, &model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(set.total(), model.len() as u64);
                let pieces: Vec<_> = set.iter().collect();
                prop_assert!(pieces.windows(2).all(|w| w[0].end < w[1].start));
            }
            let range = a..a + len;
            prop_assert_eq!(set.contains(range.clone()), range.clone().all(|n| model.contains(&n)));
            prop_assert_eq!(set.overlaps(range.clone()), range.clone().any(|n| model.contains(&n)));
            let there: Vec<u64> = set.within(range.clone()).flatten().collect();
            prop_assert_eq!(there, range.clone().filter(|n| model.contains(n)).collect::<Vec<_>>());
            let missing: Vec<u64> = set.gaps(range.clone()).flatten().collect();
            prop_assert_eq!(missing, range.filter(|n| !model.contains(n)).collect::<Vec<_>>());
        }
    }
}
