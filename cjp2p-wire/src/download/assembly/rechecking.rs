//! What an interrupted download wrote is verified while the rest is fetched. The disk is one more source, whose part no other is
//! asked for until it turns out wrong.

use std::ops::Range;

use super::{Assembly, Check};
use crate::range_set::RangeSet;
use crate::tree::GROUP_LEN;

impl Assembly {
    /// `ranges` are there too, and are being verified.
    pub(in crate::download) fn wait_for_checks(&mut self, ranges: &RangeSet) {
        if self.is_proven && matches!(self.check, Check::Tree(_)) {
            self.picker.wait_for_checks(ranges);
        }
    }

    /// What is unchecked of `range` is verified now, and `right` is right. Returns whether something was wrong.
    pub(in crate::download) fn on_checked(&mut self, range: &Range<u64>, right: &RangeSet) -> bool {
        let is_wrong = self.picker.on_checked(range, right);
        for group in range.start / GROUP_LEN..range.end.min(self.length()).div_ceil(GROUP_LEN) {
            self.forget_finished_group(group * GROUP_LEN);
        }
        is_wrong
    }
}
