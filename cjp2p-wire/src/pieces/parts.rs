//! `Parts`: what a source has of the content, however that is kept.

use std::fmt::Debug;
use std::ops::Range;

use crate::range_set::RangeSet;

/// Some of the content, in bytes.
pub trait Parts: Debug {
    /// The first stretch of `within` that is there, as far as it goes.
    fn next(&self, within: Range<u64>) -> Option<Range<u64>>;

    /// Whether any of this range is there.
    fn overlaps(&self, range: Range<u64>) -> bool {
        self.next(range).is_some()
    }

    /// Whether all of this range is there.
    fn contains(&self, range: Range<u64>) -> bool {
        range.is_empty() || self.next(range.clone()) == Some(range)
    }
}

impl Parts for RangeSet {
    fn next(&self, within: Range<u64>) -> Option<Range<u64>> {
        self.within(within).next()
    }

    fn overlaps(&self, range: Range<u64>) -> bool {
        RangeSet::overlaps(self, range)
    }

    fn contains(&self, range: Range<u64>) -> bool {
        RangeSet::contains(self, range)
    }
}
