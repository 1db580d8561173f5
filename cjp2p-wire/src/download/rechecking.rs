//! What an interrupted fetch wrote, and is verified while the rest is fetched: the disk is one more source, whose part nobody
//! else is asked for until it turns out wrong.

use std::ops::Range;

use super::Download;
use super::assembly::{Assembly, Check};
use crate::range_set::RangeSet;
use crate::time::Time;
use crate::tree::GROUP_LEN;

impl Download {
    /// What [`Resume::unchecked`](super::Resume::unchecked) has of `range` is verified now: what is in `right` is right, the
    /// rest is not and is fetched like anything else. Returns whether there is such a rest.
    pub fn on_checked(&mut self, now: Time, range: Range<u64>, right: &RangeSet) -> bool {
        if self.ended {
            return false;
        }
        if self.may_have_all() {
            // Nobody was needed until now.
            self.started = now;
            self.count_from(now);
            self.held_up = false;
        }
        let mut is_wrong = false;
        for assembly in &mut self.assemblies {
            is_wrong |= assembly.on_checked(&range, right);
        }
        self.changed |= is_wrong;
        self.check_complete();
        is_wrong
    }

    /// Whether all that is wanted is on the disk, if what is still being verified is right. Then nobody is asked for it.
    pub fn may_have_all(&self) -> bool {
        self.assemblies.iter().any(|assembly| assembly.picker.waits_for_destination(u64::MAX))
    }
}

impl Assembly {
    /// `ranges` are there too, and are being verified.
    pub(super) fn wait_for_checks(&mut self, ranges: &RangeSet) {
        if !self.is_proven || !matches!(self.check, Check::Tree(_)) {
            return;
        }
        self.picker.wait_for_checks(ranges);
    }

    /// Returns whether something was wrong.
    fn on_checked(&mut self, range: &Range<u64>, right: &RangeSet) -> bool {
        let is_wrong = self.picker.on_checked(range, right);
        for group in range.start / GROUP_LEN..range.end.min(self.length()).div_ceil(GROUP_LEN) {
            self.forget_finished_group(group * GROUP_LEN);
        }
        is_wrong
    }
}
