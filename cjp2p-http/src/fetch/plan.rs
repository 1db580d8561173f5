//! The plan of what to fetch of one content: an order of ranges, and how far along it to go now.

use std::ops::Range;

use cjp2p_wire::range_set::RangeSet;

/// Readers have turns of so many bytes.
const SLICE: u64 = 1 << 20;
/// Ranges of a plan. Those beyond come when it is made anew.
const MAX_RANGES: usize = 256;

/// What a reader still has to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reader {
    /// In the order in which it reads.
    pub(crate) ranges: Vec<Range<u64>>,
    /// How many bytes of them to have ahead of it.
    pub(crate) ahead: u64,
}

/// What to fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// In this order. None overlap.
    pub(crate) ranges: Vec<Range<u64>>,
    /// Now only so many bytes of them, from the first on.
    pub(crate) room: u64,
    /// The ranges that are wanted now.
    pub(crate) soon: RangeSet,
}

impl Plan {
    /// The plan for these readers: what each has ahead of it, in turns; then the rest, for later.
    pub(crate) fn new(readers: &[Reader]) -> Plan {
        let mut plan = Plan::default();
        let mut rests: Vec<(Vec<Range<u64>>, u64)> = readers
            .iter()
            .map(|reader| (reader.ranges.iter().rev().cloned().collect(), reader.ahead))
            .collect();
        let mut named = RangeSet::new();
        let mut goes_on = true;
        while goes_on && plan.ranges.len() < MAX_RANGES {
            goes_on = false;
            for (ranges, ahead) in &mut rests {
                let mut left = SLICE.min(*ahead);
                while left > 0
                    && let Some(range) = ranges.last_mut()
                {
                    let end = range.end.min(range.start.saturating_add(left));
                    let slice = range.start..end;
                    let length = slice.end - slice.start;
                    range.start = end;
                    if range.is_empty() {
                        ranges.pop();
                    }
                    left -= length;
                    *ahead -= length;
                    plan.room += plan_part(&mut plan.ranges, &mut named, slice);
                    goes_on = true;
                }
            }
        }
        plan.soon = named.clone();
        for range in rests.into_iter().flat_map(|(ranges, _)| ranges.into_iter().rev()) {
            if plan.ranges.len() < MAX_RANGES {
                plan_part(&mut plan.ranges, &mut named, range);
            }
        }
        plan
    }

    /// Goes no further now than to where `most` bytes are fetched that are not `there`.
    pub(crate) fn bound(&mut self, there: &RangeSet, most: u64) {
        let (mut left, mut passed) = (most, 0);
        for range in &self.ranges {
            for gap in there.gaps(range.clone()) {
                let length = gap.end - gap.start;
                if length > left {
                    self.room = self.room.min(passed + (gap.start - range.start) + left);
                    return;
                }
                left -= length;
            }
            passed += range.end - range.start;
        }
    }

    /// Whether something that is wanted now is not `there`.
    pub(crate) fn lacks(&self, there: &RangeSet) -> bool {
        self.soon.iter().any(|range| there.first_gap(range).is_some())
    }
}

/// Adds what of this range is not named yet. Returns how many bytes that is.
fn plan_part(ranges: &mut Vec<Range<u64>>, named: &mut RangeSet, range: Range<u64>) -> u64 {
    let gaps: Vec<Range<u64>> = named.gaps(range).collect();
    let mut bytes = 0;
    for gap in gaps {
        bytes += gap.end - gap.start;
        named.insert(gap.clone());
        match ranges.last_mut() {
            Some(last) if last.end == gap.start => last.end = gap.end,
            _ => ranges.push(gap),
        }
    }
    bytes
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "readers of one range")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const M: u64 = 1 << 20;

    fn reader(ranges: &[Range<u64>], ahead: u64) -> Reader {
        Reader { ranges: ranges.to_vec(), ahead }
    }

    #[test]
    fn readers_have_turns_within_what_is_ahead_of_them_and_the_rest_comes_later() {
        let plan = Plan::new(&[reader(&[0..10 * M], 3 * M), reader(&[20 * M..21 * M, 5 * M..6 * M], 2 * M)]);
        let expected = [0..M, 20 * M..21 * M, M..2 * M, 5 * M..6 * M, 2 * M..5 * M, 6 * M..10 * M];
        assert_eq!((&plan.ranges[..], plan.room), (&expected[..], 5 * M));
        assert!(plan.lacks(&RangeSet::new()));
        let there: RangeSet = [0..3 * M, 5 * M..6 * M, 20 * M..21 * M].into_iter().collect();
        assert!(!plan.lacks(&there));
    }

    #[test]
    fn readers_of_the_same_share_what_is_fetched() {
        let alone = Plan::new(&[reader(&[0..100 * M], 4 * M)]);
        let many = vec![reader(&[0..100 * M], 4 * M); 1000];
        let plan = Plan::new(&many);
        assert_eq!((plan.room, plan.ranges.clone()), (4 * M, vec![0..100 * M]));
        assert_eq!(plan, alone);
        assert_eq!(Plan::new(&[]), Plan::default());
    }

    #[test]
    fn what_is_there_needs_no_room() {
        let bounded = |there: Range<u64>, most| {
            let mut plan = Plan::new(&[Reader { ranges: vec![0..3 * M], ahead: 2 * M }]);
            plan.bound(&std::iter::once(there).collect(), most);
            plan.room
        };
        assert_eq!(bounded(0..0, 3 * M), 2 * M, "no further than before");
        assert_eq!(bounded(0..0, 10), 10);
        assert_eq!(bounded(0..M, 0), M);
        assert_eq!(bounded(10..M + 7, 20), M + 17);
        assert_eq!(bounded(0..3 * M, 0), 2 * M);
    }

    proptest! {
        #[test]
        fn what_is_planned_is_what_is_wanted_and_each_byte_once(
            readers in prop::collection::vec(
                (prop::collection::vec((0u64..40, 0u64..9), 0..4), 0u64..20).prop_map(|(ranges, ahead)| {
                    let ranges = ranges.into_iter().map(|(start, length)| start * M / 2..(start + length) * M / 2);
                    Reader { ranges: ranges.filter(|range| !range.is_empty()).collect(), ahead: ahead * M / 3 }
                }),
                0..6,
            ),
        ) {
            let plan = Plan::new(&readers);
            let mut named = RangeSet::new();
            for range in &plan.ranges {
                prop_assert_eq!(named.insert(range.clone()), range.end - range.start);
            }
            let wanted: RangeSet = readers.iter().flat_map(|reader| reader.ranges.iter().cloned()).collect();
            prop_assert!(named == wanted || plan.ranges.len() >= MAX_RANGES);
            prop_assert_eq!(plan.room, plan.soon.total());
        }
    }
}
