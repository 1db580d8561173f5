//! What to ask a source for next: its own extents first, then the next one in order, at last what others are slow with.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use super::assembly::{ALIGNED_BLOCK, Assembly, Check, Key, SMALL_EXTENT, Terms, Wanted};
use super::checking::run_at;
use super::extent::{Extent, Space};
use crate::time::Time;
use crate::tree::{GROUP_LEN, Geometry, LEAF_LEN};

/// Where neither the owner nor a helper asked for anything so long, another may help: they may not have it any more.
const STALE: Duration = Duration::from_millis(500);
/// The same where all must come from one.
const STALE_ALONE: Duration = Duration::from_secs(2);

impl Assembly {
    /// What to ask this source for next.
    pub(super) fn next_wanted(&mut self, now: Time, terms: &Terms<'_>) -> Option<Wanted> {
        let key = self
            .askable_by(terms)
            .or_else(|| self.take_fresh(now, terms))
            .or_else(|| self.take_over(now, terms))?;
        let aligned = terms.aligned.then_some(ALIGNED_BLOCK);
        let extent = self.extents.get_mut(&key)?;
        let (block, has) = match key.0 {
            Space::Tree => (terms.tree_block, None),
            Space::Content => (terms.block, terms.has),
        };
        let range = extent.next_ask(now, block * terms.blocks, aligned, has)?;
        if !extent.needs_asking() {
            self.askable.remove(&key);
        }
        let again = !extent.contributors.is_empty() && extent.helper.is_some();
        let block = if aligned.is_some() { ALIGNED_BLOCK } else { block };
        Some(Wanted { space: key.0, range, block, again })
    }

    /// An extent that is this source's, or nobody's, and has something to ask for.
    fn askable_by(&mut self, terms: &Terms<'_>) -> Option<Key> {
        let key = *self.askable.iter().find(|key| {
            let extent = &self.extents[key];
            let may = extent.belongs_to(terms.source)
                || (extent.owner.is_none() && self.may_bring(key.0, &extent.range, terms));
            may && match terms.has {
                None => true,
                Some(has) if key.0 == Space::Content => {
                    if extent.sole {
                        has.contains(extent.range.clone())
                    } else {
                        extent.needs_some_of(has)
                    }
                }
                Some(_) => extent.belongs_to(terms.source) || self.has_run_at(key.1, terms),
            }
        })?;
        let extent = self.extents.get_mut(&key)?;
        if extent.owner.is_none() {
            extent.owner = Some(terms.source);
        }
        Some(key)
    }

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
        if self.is_crowded() {
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
            self.begin_runs_for(now, range.start);
        }
        Some(self.begin(space, range, now, Some(terms.source)))
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
    pub(super) fn begin_runs_for(&mut self, now: Time, offset: u64) {
        while let Some(run) = self.missing_run(offset, false) {
            self.begin(Space::Tree, run, now, None);
        }
    }

    fn begin(&mut self, space: Space, range: Range<u64>, now: Time, owner: Option<SocketAddr>) -> Key {
        debug_assert!(space == Space::Tree || range.start.is_multiple_of(LEAF_LEN), "{range:?}");
        let key = (space, range.start);
        if space == Space::Content {
            self.taken.insert(range.clone());
        }
        self.gathered += range.end - range.start;
        let memory = self.spare.pop().unwrap_or_default();
        self.extents.insert(key, Extent::new(range, owner, now, memory));
        self.askable.insert(key);
        key
    }

    /// Nothing is left to begin: helps where another source is slower than this one would be.
    fn take_over(&mut self, now: Time, terms: &Terms<'_>) -> Option<Key> {
        let patience = terms.round_trip * 3 / 2 + Duration::from_millis(5);
        let key = *self
            .extents
            .iter()
            .find(|(key, extent)| {
                let late = extent.needs_asking() || now.since(extent.last_ask) > patience;
                let stale = now.since(extent.last_ask) > patience.max(STALE);
                // A helper that is silent keeps what it was asked for until it is given up, which takes ever longer: the owner
                // takes that back.
                let may = match extent.owner == Some(terms.source) {
                    true => extent.helper.is_some_and(|helper| helper != terms.source) && stale,
                    false => extent.helper != Some(terms.source) && (extent.helper.is_none() || stale),
                };
                let may_alone = now.since(extent.last_ask) > patience.max(STALE_ALONE)
                    && extent.owner != Some(terms.source)
                    && terms.has.is_none_or(|has| has.contains(extent.range.clone()));
                late && (if extent.sole { may_alone } else { may })
                    && !extent.is_full()
                    && self.may_bring(key.0, &extent.range, terms)
                    && match terms.has {
                        None => true,
                        Some(has) if key.0 == Space::Content => extent.lacks_some_of(has),
                        Some(_) => self.has_run_at(key.1, terms),
                    }
            })?
            .0;
        let extent = self.extents.get_mut(&key)?;
        if extent.sole {
            // All of it must come from one: the next begins anew.
            extent.start_over();
            extent.owner = Some(terms.source);
            self.askable.insert(key);
            return Some(key);
        }
        extent.helper = (extent.owner != Some(terms.source)).then_some(terms.source);
        if !extent.needs_asking() {
            extent.ask_missing_again();
            self.askable.insert(key);
        }
        Some(key)
    }
}

/// The content that the run at `start` of the tree file is about.
pub(super) fn content_below(geometry: &Geometry, start: u64) -> Option<Range<u64>> {
    let run = run_at(geometry, start)?;
    let entries = geometry.run_entries(run);
    Some((entries.start << run.level) * LEAF_LEN..(entries.end << run.level) * LEAF_LEN)
}
