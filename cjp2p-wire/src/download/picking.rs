//! What to ask a source for next: its own extents first, then the next one in order, at last what others are slow with.

use std::ops::Range;

use super::assembly::{ALIGNED_BLOCK, Assembly, Check, Key, SMALL_EXTENT, Terms, Wanted};
use super::checking::run_at;
use super::extent::{Extent, Space};
use crate::time::Time;
use crate::tree::{GROUP_LEN, Geometry, LEAF_LEN};

impl Assembly {
    /// What to ask this source for next.
    pub(super) fn next_wanted(&mut self, now: Time, terms: &Terms<'_>) -> Option<Wanted> {
        let key = self
            .askable_by(now, terms)
            .or_else(|| self.take_fresh(now, terms))
            .or_else(|| self.take_over(now, terms))?;
        let aligned = terms.aligned.then_some(ALIGNED_BLOCK);
        let extent = self.extents.get_mut(&key)?;
        let (block, has) = match key.0 {
            Space::Tree => (terms.tree_block, None),
            Space::Content => (terms.block, terms.has),
        };
        let range = extent.next_ask(block * terms.blocks, aligned, has)?;
        if !extent.needs_asking() {
            self.askable.remove(&key);
        }
        let again = !extent.contributors.is_empty() && extent.was_passed_on;
        let block = if aligned.is_some() { ALIGNED_BLOCK } else { block };
        Some(Wanted { space: key.0, range, block, again })
    }

    /// An extent that is this source's, or nobody's, and has something to ask for that it can send.
    fn askable_by(&mut self, now: Time, terms: &Terms<'_>) -> Option<Key> {
        let key = *self.askable.iter().find(|key| {
            let extent = &self.extents[key];
            (extent.owner.is_none() || extent.belongs_to(terms.source))
                && self.can_send(**key, extent, terms)
                && (key.0 == Space::Tree || terms.has.is_none_or(|has| extent.needs_some_of(has)))
        })?;
        let extent = self.extents.get_mut(&key)?;
        if extent.owner.is_none() {
            extent.entrust(now, terms.source, terms.time_for(extent.missing()));
        }
        Some(key)
    }

    /// Whether the source can send something of this extent that is of use: where all must come from one, all of it.
    fn can_send(&self, (space, start): Key, extent: &Extent, terms: &Terms<'_>) -> bool {
        self.may_bring(space, &extent.range, terms)
            && match (space, terms.has) {
                (_, None) => true,
                (Space::Tree, Some(_)) => self.has_run_at(start, terms),
                (Space::Content, Some(has)) if extent.sole => has.contains(extent.range.clone()),
                (Space::Content, Some(has)) => extent.lacks_some_of(has),
            }
    }

    /// Whether it has not said otherwise.
    fn may_bring(&self, space: Space, range: &Range<u64>, terms: &Terms<'_>) -> bool {
        match space {
            Space::Tree => terms.has_tree,
            Space::Content => !terms.refused.overlaps(range.clone()),
        }
    }

    /// Whether the source has some of the content below the run at `start` of the tree file, and so the run.
    fn has_run_at(&self, start: u64, terms: &Terms<'_>) -> bool {
        let (Some(has), Check::Tree(verifier)) = (terms.has, &self.check) else { return true };
        content_below(verifier.geometry(), start).is_some_and(|content| has.overlaps(content))
    }

    /// Begins the next extent.
    fn take_fresh(&mut self, now: Time, terms: &Terms<'_>) -> Option<Key> {
        if self.is_contended() {
            return None;
        }
        let mut next = None;
        if !self.proven && !matches!(self.check, Check::AtTheEnd) {
            // First of all what proves the length: the last leaf, and the runs above it.
            let last = self.length.saturating_sub(1) / SMALL_EXTENT * SMALL_EXTENT;
            next = self.first_within(last..self.length, terms);
            // What verifies is right under any length; but who knows which of several claims is worth the effort.
            if next.is_none() && !terms.only_claim {
                return None;
            }
        }
        if next.is_none() {
            if terms.has.is_some() && self.used_up.get(&terms.source) == Some(&terms.room) {
                return None;
            }
            next = if terms.rarest_first {
                let stretches: Vec<_> = self.stretches(terms.room).collect();
                stretches.into_iter().find_map(|stretch| self.rarest_within(stretch, terms))
            } else {
                self.stretches(terms.room).find_map(|stretch| self.first_within(stretch, terms))
            };
            if next.is_none() && terms.has.is_some() {
                self.used_up.insert(terms.source, terms.room);
            }
        }
        let (space, range) = next?;
        if space == Space::Content && !terms.has_tree {
            self.begin_runs_for(range.start);
        }
        let key = self.begin(space, range);
        let extent = self.extents.get_mut(&key)?;
        extent.entrust(now, terms.source, terms.time_for(extent.missing()));
        Some(key)
    }

    /// The extent in the rarest part of `within` that this source has, or the run that it needs first.
    fn rarest_within(&mut self, within: Range<u64>, terms: &Terms<'_>) -> Option<(Space, Range<u64>)> {
        let mut rarity = self.rarity.take()?;
        let next = rarity.next(terms.source, &within, |piece| self.next_gap(piece, terms).is_some());
        self.rarity = Some(rarity);
        self.first_within(next?, terms)
    }

    /// The first stretch of `within` that nobody has begun and this source may have.
    fn next_gap(&self, within: Range<u64>, terms: &Terms<'_>) -> Option<Range<u64>> {
        match terms.has {
            // Of what a source tells only whole leaves can be verified; what it tells beside those must not cut others.
            Some(has) => has.within(within).find_map(|range| {
                let start = range.start.next_multiple_of(LEAF_LEN);
                let end = if range.end < self.length { range.end / LEAF_LEN * LEAF_LEN } else { self.length };
                self.taken.first_gap(start..end.max(start))
            }),
            None => {
                let mut from = within.start;
                loop {
                    let gap = self.taken.first_gap(from..within.end)?;
                    let extent = self.extent_at(gap.clone(), terms);
                    if self.may_bring(Space::Content, &extent, terms) {
                        return Some(gap);
                    }
                    from = extent.end;
                }
            }
        }
    }

    /// The first extent of `range` that nobody has begun, or the run that it needs first.
    fn first_within(&self, range: Range<u64>, terms: &Terms<'_>) -> Option<(Space, Range<u64>)> {
        let gap = self.next_gap(range, terms)?;
        let extent = self.extent_at(gap, terms);
        if terms.has_tree
            && let Some(run) = self.missing_run(extent.start, self.is_whole_group(&extent))
        {
            return Some((Space::Tree, run));
        }
        Some((Space::Content, extent))
    }

    /// The extent that begins where `gap` does.
    fn extent_at(&self, gap: Range<u64>, terms: &Terms<'_>) -> Range<u64> {
        if matches!(self.check, Check::Root(_)) {
            return 0..self.length;
        }
        let known = self.proven || matches!(self.check, Check::AtTheEnd);
        let unit = if known { terms.unit } else { SMALL_EXTENT };
        // What is done is whole leaves, so the gap begins at one; the unit divides a group.
        let end = (gap.start / unit + 1) * unit;
        gap.start..end.min(gap.end).min(self.length)
    }

    fn is_whole_group(&self, extent: &Range<u64>) -> bool {
        let ends = extent.end.is_multiple_of(GROUP_LEN) || extent.end == self.length;
        extent.start.is_multiple_of(GROUP_LEN) && ends
    }

    /// Where the first run lies that is neither here nor being gathered, of those that prove the leaf at `offset`; or, as long
    /// as nothing in it is wrong, the whole group that begins there.
    fn missing_run(&self, offset: u64, whole_group: bool) -> Option<Range<u64>> {
        let Check::Tree(verifier) = &self.check else {
            return None;
        };
        let geometry = verifier.geometry();
        let path = geometry.path_to_leaf(offset / LEAF_LEN);
        path.into_iter()
            .filter(|&run| !verifier.has_run(run))
            .filter(|run| run.level > 0 || !whole_group)
            .map(|run| geometry.run_bytes(run))
            .find(|bytes| !self.extents.contains_key(&(Space::Tree, bytes.start)))
    }

    /// Begins the runs that prove the leaf at `offset`, for whoever has the tree.
    pub(super) fn begin_runs_for(&mut self, offset: u64) {
        while let Some(run) = self.missing_run(offset, false) {
            self.begin(Space::Tree, run);
        }
    }

    fn begin(&mut self, space: Space, range: Range<u64>) -> Key {
        debug_assert!(space == Space::Tree || range.start.is_multiple_of(LEAF_LEN), "{range:?}");
        let key = (space, range.start);
        if space == Space::Content {
            self.taken.insert(range.clone());
        }
        self.gathered += range.end - range.start;
        let memory = self.spare.pop().unwrap_or_default();
        self.extents.insert(key, Extent::new(range, memory));
        self.askable.insert(key);
        key
    }

    /// Nothing is left to begin: takes over what those who were asked are late with, or would bring much later.
    fn take_over(&mut self, now: Time, terms: &Terms<'_>) -> Option<Key> {
        let takes = |extent: &Extent| terms.time_for(extent.missing_of_another());
        let passes = |(key, extent): &(&Key, &Extent)| {
            !extent.is_full()
                && self.can_send(**key, extent, terms)
                // One that answers only whole leaves fetches too: it may well have nothing of this.
                && (extent.is_late(now, terms.source)
                    || !terms.aligned && extent.comes_sooner_from(now, terms.source, takes(extent)))
        };
        let key = *self.extents.iter().find(passes)?.0;
        let extent = self.extents.get_mut(&key)?;
        extent.hand_over(now, terms.source, takes(extent));
        self.askable.insert(key);
        Some(key)
    }
}

/// The content that the run at `start` of the tree file is about.
pub(super) fn content_below(geometry: &Geometry, start: u64) -> Option<Range<u64>> {
    let run = run_at(geometry, start)?;
    let entries = geometry.run_entries(run);
    Some((entries.start << run.level) * LEAF_LEN..(entries.end << run.level) * LEAF_LEN)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::range_set::RangeSet;
    use crate::store::JobId;

    const LEAF: u64 = LEAF_LEN;
    const EXTENT: u64 = SMALL_EXTENT;

    fn source(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 24254))
    }

    /// Content of so many extents, checked at the end.
    fn assembly(extents: u64) -> Assembly {
        Assembly::new(JobId(0), extents * EXTENT, Check::AtTheEnd, RangeSet::new(), &[])
    }

    /// A source that sends `rate` bytes in a second over a short way, a leaf for each request.
    fn terms(n: u8, rate: f64, refused: &RangeSet) -> Terms<'_> {
        Terms {
            source: source(n),
            block: LEAF,
            tree_block: LEAF,
            blocks: 1,
            unit: EXTENT,
            only_claim: true,
            aligned: false,
            refused,
            has: None,
            rarest_first: false,
            round_trip: Duration::from_millis(10),
            rate,
            room: u64::MAX,
            has_tree: true,
        }
    }

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    /// Asks for as much as there is to ask of this source. Returns how many bytes that is.
    fn ask_all(assembly: &mut Assembly, now: Time, terms: &Terms<'_>) -> u64 {
        let mut asked = 0;
        while let Some(wanted) = assembly.next_wanted(now, terms) {
            asked += wanted.range.end - wanted.range.start;
            #[cfg(debug_assertions)]
            assembly.check_invariants();
        }
        asked
    }

    const FAST: f64 = 10e6;
    const SLOW: f64 = 10e3;

    #[test]
    fn who_has_nothing_left_to_begin_takes_what_another_would_bring_much_later() {
        let nothing = RangeSet::new();
        let mut assembly = assembly(2);
        // One extent of the two is as much as the slow one may ask for.
        assert!((0..4).all(|_| assembly.next_wanted(at(0), &terms(1, SLOW, &nothing)).is_some()));
        let partial = Terms { aligned: true, ..terms(2, FAST, &nothing) };
        assert_eq!(ask_all(&mut assembly, at(1), &partial), EXTENT, "it may have nothing of the other");
        assert_eq!(ask_all(&mut assembly, at(1), &terms(2, FAST, &nothing)), EXTENT);
        assert_eq!(ask_all(&mut assembly, at(2), &terms(3, FAST, &nothing)), 0, "it would not be sooner");
        assert_eq!(ask_all(&mut assembly, at(2), &terms(1, SLOW, &nothing)), 0);
    }

    #[test]
    fn what_a_source_does_not_have_it_is_not_asked_for_in_place_of_another() {
        let nothing = RangeSet::new();
        let mut assembly = assembly(2);
        assert_eq!(ask_all(&mut assembly, at(0), &terms(1, SLOW, &nothing)), 2 * EXTENT);
        let refused: RangeSet = std::iter::once(LEAF..2 * LEAF).collect();
        assert_eq!(ask_all(&mut assembly, at(1), &terms(2, FAST, &refused)), EXTENT, "it refused the first");
        let has: RangeSet = std::iter::once(0..LEAF).collect();
        let some = Terms { has: Some(&has), ..terms(3, FAST, &nothing) };
        assert_eq!(ask_all(&mut assembly, at(2), &some), LEAF, "it has no more of it");
    }

    #[test]
    fn what_must_come_from_one_source_goes_to_one_that_has_all_of_it_and_begins_anew() {
        let nothing = RangeSet::new();
        let mut assembly = assembly(1);
        let key = (Space::Content, 0);
        let extent = |assembly: &mut Assembly| {
            assembly.next_wanted(at(0), &terms(1, SLOW, &nothing));
            assembly.extents.get_mut(&key).cloned().expect("it is being gathered")
        };
        let mut sole = extent(&mut assembly);
        sole.start_over();
        sole.entrust(at(0), source(1), Duration::from_secs(2));
        sole.fill(source(1), 0, &[1; LEAF as usize]);
        assembly.extents.insert(key, sole);
        assembly.askable.insert(key);
        assert_eq!(ask_all(&mut assembly, at(1), &terms(1, SLOW, &nothing)), 3 * LEAF);
        let has: RangeSet = std::iter::once(0..3 * LEAF).collect();
        let some = Terms { has: Some(&has), ..terms(2, FAST, &nothing) };
        assert_eq!(ask_all(&mut assembly, at(1), &some), 0, "it has not all");
        assert_eq!(ask_all(&mut assembly, at(1), &terms(3, FAST, &nothing)), EXTENT);
        let extent = &assembly.extents[&key];
        assert!(extent.sole && extent.owner == Some(source(3)));
    }

    #[test]
    fn what_was_given_back_is_asked_of_another_only_if_that_one_can_send_it() {
        let nothing = RangeSet::new();
        let mut assembly = assembly(1);
        assert_eq!(ask_all(&mut assembly, at(0), &terms(1, SLOW, &nothing)), EXTENT);
        assembly.give_back(source(1), Space::Content, LEAF..2 * LEAF, true);
        let refused: RangeSet = std::iter::once(LEAF..2 * LEAF).collect();
        assert_eq!(ask_all(&mut assembly, at(1), &terms(2, FAST, &refused)), 0);
        let has: RangeSet = std::iter::once(2 * LEAF..4 * LEAF).collect();
        let some = Terms { has: Some(&has), ..terms(2, SLOW, &nothing) };
        assert_eq!(ask_all(&mut assembly, at(1), &some), 0, "what it has was asked for");
        assert_eq!(ask_all(&mut assembly, at(1), &terms(3, SLOW, &nothing)), LEAF);
    }
}
