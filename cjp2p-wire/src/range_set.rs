//! Sets of byte offsets, kept as ranges.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of `u64`s, kept as disjoint half-open ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    // Most sets are a single range, and most changes are at the end of the first. So it is kept apart, where that is cheap.
    // Invariant: the first range; `None` only if the set is empty.
    first: Option<Range<u64>>,
    // Invariant: start -> end with start < end, and a gap of at least one between neighbours and after the first.
    rest: BTreeMap<u64, u64>,
    // Invariant: the sum of all lengths.
    total: u64,
}

impl RangeSet {
    /// The empty set.
    pub const fn new() -> RangeSet {
        RangeSet { first: None, rest: BTreeMap::new(), total: 0 }
    }

    /// How many numbers are in the set.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// How many separate ranges the set is made of.
    pub fn pieces(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + '_ {
        self.first.iter().cloned().chain(self.rest.iter().map(|(&start, &end)| start..end))
    }

    /// What of `within` is in the set, in order.
    pub fn within(&self, within: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let first = self.first.clone();
        let before = self.before(within.start).filter(|range| Some(range) != first.as_ref());
        let clip = move |range: Range<u64>| range.start.max(within.start)..range.end.min(within.end);
        let from = within.start;
        first
            .into_iter()
            .chain(before)
            .chain(self.rest.range(from..within.end.max(from)).map(|(&s, &e)| s..e))
            .map(clip)
            .filter(|range| !range.is_empty())
    }

    /// The last range that begins before `at`.
    fn before(&self, at: u64) -> Option<Range<u64>> {
        let first = self.first.as_ref().filter(|first| first.start < at)?;
        if self.rest.is_empty() || at <= first.end {
            return Some(first.clone());
        }
        let later = self.rest.range(..at).next_back().map(|(&start, &end)| start..end);
        Some(later.unwrap_or_else(|| first.clone()))
    }

    /// Adds `range` and returns how many numbers were new.
    pub fn insert(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let before = self.total;
        match &mut self.first {
            Some(first) if range.start > first.end => self.insert_later(range),
            Some(first) if range.end >= first.start => {
                let mut joined = first.start.min(range.start)..first.end.max(range.end);
                self.total -= first.end - first.start;
                // Swallow every range that it now reaches.
                while let Some(next) = self.rest.first_entry()
                    && *next.key() <= joined.end
                {
                    let (start, end) = next.remove_entry();
                    self.total -= end - start;
                    joined.end = joined.end.max(end);
                }
                self.total += joined.end - joined.start;
                *first = joined;
            }
            Some(first) => {
                self.total += range.end - range.start;
                let later = std::mem::replace(first, range);
                self.rest.insert(later.start, later.end);
            }
            None => {
                self.total = range.end - range.start;
                self.first = Some(range);
            }
        }
        self.total - before
    }

    /// Adds a range that does not touch the first.
    fn insert_later(&mut self, range: Range<u64>) {
        let (mut start, mut end) = (range.start, range.end);
        // Swallow every range that overlaps or touches: they all begin at or before `end`.
        while let Some((&s, e)) = self.rest.range_mut(..=end).next_back() {
            if *e < start {
                break;
            }
            if s <= start && end >= *e {
                // What comes in order makes one range longer, in place.
                self.total += end - *e;
                *e = end;
                return;
            }
            start = start.min(s);
            end = end.max(*e);
            self.total -= *e - s;
            self.rest.remove(&s);
        }
        self.rest.insert(start, end);
        self.total += end - start;
    }

    /// Removes `range` and returns how many numbers were there.
    pub fn remove(&mut self, range: Range<u64>) -> u64 {
        let Some(first) = self.first.clone().filter(|first| !range.is_empty() && range.end > first.start)
        else {
            return 0;
        };
        let before = self.total;
        while let Some((&s, &e)) = self.rest.range(..range.end).next_back() {
            if e <= range.start {
                break;
            }
            self.rest.remove(&s);
            self.total -= e - s;
            if e > range.end {
                self.rest.insert(range.end, e);
                self.total += e - range.end;
            }
            if s < range.start {
                self.rest.insert(s, range.start);
                self.total += range.start - s;
                break;
            }
        }
        let left = first.start..first.end.min(range.start);
        let right = first.start.max(range.end)..first.end;
        self.total -= first.end - first.start;
        let mut parts = [left, right].into_iter().filter(|part| !part.is_empty()).inspect(|part| {
            self.total += part.end - part.start;
        });
        let (one, other) = (parts.next(), parts.next());
        drop(parts);
        self.first = one.or_else(|| self.rest.pop_first().map(|(start, end)| start..end));
        if let Some(other) = other {
            self.rest.insert(other.start, other.end);
        }
        before - self.total
    }

    /// Whether all of `range` is in the set. The empty range is in every set.
    pub fn contains(&self, range: Range<u64>) -> bool {
        range.is_empty() || self.before(range.start + 1).is_some_and(|before| before.end >= range.end)
    }

    /// Whether any of `range` is in the set.
    pub fn overlaps(&self, range: Range<u64>) -> bool {
        !range.is_empty() && self.before(range.end).is_some_and(|before| before.end > range.start)
    }

    /// The first stretch of `within` that is not in the set.
    pub fn first_gap(&self, within: Range<u64>) -> Option<Range<u64>> {
        let mut start = within.start;
        if let Some(before) = self.before(start.saturating_add(1)) {
            start = start.max(before.end);
        }
        if start >= within.end {
            return None;
        }
        let end = match &self.first {
            Some(first) if first.start >= start => within.end.min(first.start),
            _ if self.rest.is_empty() => within.end,
            _ => self.rest.range(start..within.end).next().map_or(within.end, |(&s, _)| s),
        };
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
