//! `Picker`: what is wanted, what is done, what is being gathered from which source, and what to ask a source for next.
//!
//! Every byte of the content is in exactly one state: done, unchecked (here, and still being verified), in one extent that is being
//! gathered, or missing. A source is asked for its own extents first, then for the next one in order or the rarest, at last for
//! what others are slow with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;

use super::extent::{Extent, Space};
use super::gathering::{Filled, Gathering, Key};
use super::goal::Goal;
use super::proofs::Proofs;
use super::rarity::Rarity;
use super::terms::{Shape, Terms, Wanted};
use crate::range_set::RangeSet;
use crate::slices::Slices;
use crate::time::Time;

/// Chooses what to ask sources for, and gathers what they send.
#[derive(Debug)]
pub struct Picker {
    shape: Shape,
    goal: Goal,
    // Invariant: content that is done; disjoint from every extent.
    done: RangeSet,
    /// What is here and still being verified.
    // Invariant: disjoint from `done` and every extent.
    unchecked: RangeSet,
    // Invariant: `done`, `unchecked` and all content extents.
    taken: RangeSet,
    gathering: Gathering,
    /// Which parts leechers have, where there are any.
    rarity: Option<Rarity>,
    /// Sources of which everything was taken that they say they have, up to this end of what the destination takes.
    used_up: BTreeMap<SocketAddr, u64>,
}

impl Picker {
    /// From now on these ranges are wanted, in order and without overlaps. Unless it `keeps_begun`, what is being gathered and is in
    /// none of them is given up, though it may be on its way.
    pub fn set_goal(&mut self, goal: Vec<Range<u64>>, keeps_begun: bool) {
        self.goal = Goal::new(goal, &self.done);
        self.used_up.clear();
        if keeps_begun {
            return;
        }
        let is_wanted = |of: &Range<u64>| {
            self.goal.left().iter().any(|range| range.start < of.end && of.start < range.end)
        };
        let content =
            self.gathering.content().filter(|extent| !extent.is_full() && !is_wanted(&extent.range));
        let unwanted: Vec<Key> = content.map(|extent| (Space::Content, extent.range.start)).collect();
        for key in unwanted {
            self.forget(key);
        }
    }

    /// Content of which `done` is here, in whole units; `goal` is what is wanted of it, in order and without overlaps.
    pub fn new(shape: Shape, goal: Vec<Range<u64>>, done: RangeSet) -> Picker {
        Picker {
            shape,
            goal: Goal::new(goal, &done),
            taken: done.clone(),
            done,
            unchecked: RangeSet::new(),
            gathering: Gathering::new(),
            rarity: None,
            used_up: BTreeMap::new(),
        }
    }

    /// The same, of which no bytes are held: they are kept elsewhere and [noted](Picker::note). Extents have `most_begun` bytes
    /// together, and one extent more.
    pub fn elsewhere(shape: Shape, goal: Vec<Range<u64>>, done: RangeSet, most_begun: u64) -> Picker {
        Picker { gathering: Gathering::elsewhere(most_begun), ..Picker::new(shape, goal, done) }
    }

    /// Bytes of the content.
    pub fn length(&self) -> u64 {
        self.shape.length
    }

    /// What is verified, or staged.
    pub fn done(&self) -> &RangeSet {
        &self.done
    }

    /// Whether all that is wanted is done.
    pub fn is_complete(&self) -> bool {
        self.goal.is_reached()
    }

    /// Bytes that are wanted.
    pub fn wanted(&self) -> u64 {
        self.goal.total()
    }

    /// How many of them are done.
    pub fn wanted_done(&self) -> u64 {
        let missing = self.goal.left().iter().flat_map(|range| self.done.gaps(range.clone()));
        self.wanted() - missing.map(|gap| gap.end - gap.start).sum::<u64>()
    }

    /// The first byte that is wanted and not here.
    pub fn first_lacking(&self) -> Option<u64> {
        let in_extents = self.gathering.content().filter_map(Extent::first_lacking).next();
        in_extents.into_iter().chain(self.first_missing()).min()
    }

    /// The first byte that is wanted and neither here nor being gathered.
    pub fn first_missing(&self) -> Option<u64> {
        self.goal.left().iter().find_map(|range| Some(self.taken.first_gap(range.clone())?.start))
    }

    /// How much of this set is neither here nor being gathered: at least `enough`, or exactly.
    pub fn untaken(&self, set: &RangeSet, enough: u64) -> u64 {
        let mut untaken = 0;
        for gap in set.iter().flat_map(|range| self.taken.gaps(range)) {
            untaken += gap.end - gap.start;
            if untaken >= enough {
                break;
            }
        }
        untaken
    }

    /// Whether the destination holds everything up: nothing that it takes is missing, but for what is still being verified.
    pub fn waits_for_destination(&self, room: u64) -> bool {
        // Without an extent, what is taken is done or being verified.
        self.gathering.is_empty()
            && (room < self.wanted() || !self.unchecked.is_empty())
            && self.stretches(room).all(|stretch| self.taken.contains(stretch))
    }

    /// Whether so much is being gathered that nothing more is begun.
    pub fn is_contended(&self) -> bool {
        self.gathering.is_contended()
    }

    /// Whether any of the content is here or being gathered.
    pub fn has_begun(&self) -> bool {
        !self.taken.is_empty()
    }

    /// Whether something is being gathered.
    pub fn is_gathering(&self) -> bool {
        !self.gathering.is_empty()
    }

    /// Sources of which everything was taken that they say they have.
    pub fn used_up(&self) -> usize {
        self.used_up.len()
    }

    /// This source has changed what it says that it has, or is none any more.
    pub fn forget_used_up(&mut self, source: SocketAddr) {
        self.used_up.remove(&source);
    }

    /// When [`Picker::rarity`] was last counted, if it was.
    pub fn rarity_counted_at(&self) -> Option<Time> {
        self.rarity.as_ref().map(Rarity::counted_at)
    }

    /// Which parts are rare, where each piece is counted by itself. At first none is.
    pub fn exact_rarity(&mut self, random: &mut fastrand::Rng) -> &mut Rarity {
        let Shape { length, unit, .. } = self.shape;
        self.rarity.get_or_insert_with(|| Rarity::of_pieces(length, unit, random))
    }

    /// Which parts are rare. At first none is.
    pub fn rarity(&mut self, random: &mut fastrand::Rng) -> &mut Rarity {
        self.rarity.get_or_insert_with(|| Rarity::new(self.shape.length, random))
    }

    fn stretches(&self, room: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        let Shape { length, unit, least_extent, .. } = self.shape;
        self.goal.stretches(room, length, unit, least_extent)
    }
}

/// Asking.
impl Picker {
    /// What to ask this source for next.
    pub fn next_wanted(&mut self, now: Time, terms: &Terms<'_>, proofs: &impl Proofs) -> Option<Wanted> {
        let key = self
            .askable_by(now, terms, proofs)
            .or_else(|| self.take_fresh(now, terms, proofs))
            .or_else(|| self.take_over(now, terms, proofs))?;
        let aligned = terms.aligned.then_some(self.shape.unit);
        let (block, has) = match key.0 {
            Space::Tree => (terms.tree_block, None),
            Space::Content => (terms.block, terms.has),
        };
        let (range, again) = self.gathering.change(key, |extent| {
            let range = extent.next_ask(block * terms.blocks, aligned, has)?;
            Some((range, !extent.contributors.is_empty() && extent.was_passed_on))
        })??;
        Some(Wanted { space: key.0, range, block: aligned.unwrap_or(block), again })
    }

    /// An extent that is this source's, or has no owner, and has something to ask for that it can send.
    fn askable_by(&mut self, now: Time, terms: &Terms<'_>, proofs: &impl Proofs) -> Option<Key> {
        let (key, extent) = self.gathering.askable().find(|&(key, extent)| {
            (extent.owner.is_none() || extent.belongs_to(terms.source))
                && can_send(key, extent, terms, proofs)
                && (key.0 == Space::Tree || terms.has.is_none_or(|has| extent.needs_some_of(has)))
        })?;
        if extent.owner.is_none() {
            self.entrust(now, key, terms);
        }
        Some(key)
    }

    fn entrust(&mut self, now: Time, key: Key, terms: &Terms<'_>) {
        let entrust =
            |extent: &mut Extent| extent.entrust(now, terms.source, terms.time_for(extent.missing()));
        self.gathering.change(key, entrust);
    }

    /// Begins the next extent.
    fn take_fresh(&mut self, now: Time, terms: &Terms<'_>, proofs: &impl Proofs) -> Option<Key> {
        if self.is_contended() {
            return None;
        }
        let mut next = None;
        if let Some(first) = &terms.first {
            next = self.first_within(first.clone(), terms, proofs);
            if next.is_none() && terms.only_first {
                return None;
            }
        }
        if next.is_none() {
            if terms.has.is_some() && self.used_up.get(&terms.source) == Some(&terms.room) {
                return None;
            }
            next = if terms.rarest_first {
                let stretches: Vec<_> = self.stretches(terms.room).collect();
                stretches.into_iter().find_map(|stretch| self.rarest_within(stretch, terms, proofs))
            } else {
                self.stretches(terms.room).find_map(|stretch| self.first_within(stretch, terms, proofs))
            };
            if next.is_none() && terms.has.is_some() {
                self.used_up.insert(terms.source, terms.room);
            }
        }
        let (space, range) = next?;
        if space == Space::Content && !terms.has_tree {
            self.begin_proofs_at(range.start, proofs);
        }
        let key = self.begin(space, range);
        self.entrust(now, key, terms);
        Some(key)
    }

    /// The extent in the rarest part of `within` that this source has, or the part of the tree that it needs first.
    fn rarest_within(
        &mut self,
        within: Range<u64>,
        terms: &Terms<'_>,
        proofs: &impl Proofs,
    ) -> Option<(Space, Range<u64>)> {
        let mut rarity = self.rarity.take()?;
        let next = rarity.next(
            terms.source,
            &within,
            |piece| self.next_gap(piece, terms).is_some(),
            |piece| self.taken.contains(piece),
        );
        self.rarity = Some(rarity);
        self.first_within(next?, terms, proofs)
    }

    /// The first stretch of `within` that is not taken and that this source may have.
    fn next_gap(&self, within: Range<u64>, terms: &Terms<'_>) -> Option<Range<u64>> {
        let Shape { length, unit, .. } = self.shape;
        match terms.has {
            // Of what a source has only whole units can be verified. The rest must not cut others.
            Some(has) => {
                let mut from = within.start;
                loop {
                    let range = has.next(from..within.end)?;
                    let start = range.start.next_multiple_of(unit);
                    let end = if range.end < length { range.end / unit * unit } else { length };
                    if let Some(gap) = self.taken.first_gap(start..end.max(start)) {
                        return Some(gap);
                    }
                    from = range.end;
                }
            }
            None => {
                let mut from = within.start;
                loop {
                    let gap = self.taken.first_gap(from..within.end)?;
                    let extent = self.extent_at(gap.clone(), terms);
                    if may_bring(Space::Content, &extent, terms) {
                        return Some(gap);
                    }
                    from = extent.end;
                }
            }
        }
    }

    /// The first extent of `range` that is not taken, or the part of the tree that it needs first.
    fn first_within(
        &self,
        range: Range<u64>,
        terms: &Terms<'_>,
        proofs: &impl Proofs,
    ) -> Option<(Space, Range<u64>)> {
        let gap = self.next_gap(range, terms)?;
        let extent = self.extent_at(gap, terms);
        if terms.has_tree
            && let Some(proof) = self.first_not_begun(proofs.lacking_for(&extent))
        {
            return Some((Space::Tree, proof));
        }
        Some((Space::Content, extent))
    }

    /// The extent that begins where `gap` does.
    fn extent_at(&self, gap: Range<u64>, terms: &Terms<'_>) -> Range<u64> {
        if self.shape.is_one {
            return 0..self.shape.length;
        }
        // What is done is whole units, so the gap begins at one.
        let end = (gap.start / terms.extent + 1) * terms.extent;
        gap.start..end.min(gap.end).min(self.shape.length)
    }

    fn first_not_begun(&self, proofs: Vec<Range<u64>>) -> Option<Range<u64>> {
        proofs.into_iter().find(|proof| !self.gathering.has((Space::Tree, proof.start)))
    }

    /// Begins the parts of the tree that verify the unit at `offset`, for any source that has the tree.
    pub fn begin_proofs_at(&mut self, offset: u64, proofs: &impl Proofs) {
        for proof in proofs.lacking_at(offset) {
            if !self.gathering.has((Space::Tree, proof.start)) {
                self.begin(Space::Tree, proof);
            }
        }
    }

    /// The same for every extent that is being gathered.
    pub fn begin_all_proofs(&mut self, proofs: &impl Proofs) {
        let begun: Vec<u64> = self.gathering.iter().map(|(key, _)| key.1).collect();
        for start in begun {
            self.begin_proofs_at(start, proofs);
        }
    }

    fn begin(&mut self, space: Space, range: Range<u64>) -> Key {
        debug_assert!(space == Space::Tree || range.start.is_multiple_of(self.shape.unit), "{range:?}");
        if space == Space::Content {
            self.taken.insert(range.clone());
        }
        self.gathering.begin(space, range)
    }

    /// Nothing is left to begin: takes over an extent that its owner is late with, or would bring much later.
    fn take_over(&mut self, now: Time, terms: &Terms<'_>, proofs: &impl Proofs) -> Option<Key> {
        let takes = |extent: &Extent| terms.time_for(extent.missing_of_another());
        let passes = |&(key, extent): &(Key, &Extent)| {
            !extent.is_full()
                && can_send(key, extent, terms, proofs)
                // A source that answers with whole units only is a leecher: it may have nothing of this.
                && (extent.is_late(now, terms.source)
                    || !terms.aligned && extent.comes_sooner_from(now, terms.source, takes(extent)))
        };
        let (key, _) = self.gathering.iter().find(passes)?;
        self.gathering.change(key, |extent| extent.hand_over(now, terms.source, takes(extent)));
        Some(key)
    }

    /// What was asked of `source` did not come: it is asked for again, of any source if `release`.
    pub fn give_back(&mut self, source: SocketAddr, space: Space, range: &Range<u64>, release: bool) {
        self.gathering.give_back(source, space, range, release);
    }

    /// `source` is not asked any more: its extents are free for others.
    pub fn release(&mut self, source: SocketAddr) {
        self.gathering.release(source);
    }

    /// `source` is none any more, and nothing is kept of it.
    pub fn leave(&mut self, source: SocketAddr) {
        self.release(source);
        self.used_up.remove(&source);
        if let Some(rarity) = &mut self.rarity {
            rarity.leave(source);
        }
    }
}

/// Taking in.
impl Picker {
    /// The extent that was filled last, if all of `range` lies within it: the most usual case.
    pub fn last_if_holds(&self, space: Space, range: &Range<u64>) -> Option<Key> {
        self.gathering.last_if_holds(space, range)
    }

    /// The extents that some of `range` belongs to.
    pub fn overlapping(&self, space: Space, range: &Range<u64>) -> Vec<Key> {
        self.gathering.overlapping(space, range)
    }

    /// Takes in bytes that came from `source` for this extent. `None` where it is not being gathered.
    pub fn fill(&mut self, key: Key, source: SocketAddr, offset: u64, data: Slices<'_>) -> Option<Filled> {
        self.gathering.fill(key, source, offset, data)
    }

    /// As [`fill`](Picker::fill), for bytes that are kept elsewhere.
    pub fn note(&mut self, key: Key, source: SocketAddr, range: Range<u64>) -> Option<Filled> {
        self.gathering.note(key, source, range)
    }

    /// Where an extent lies and its bytes, once all of them are here.
    pub fn full(&self, key: Key) -> Option<(Range<u64>, &[u8])> {
        let extent = self.gathering.get(key).filter(|extent| extent.is_full())?;
        Some((extent.range.clone(), extent.bytes()))
    }

    /// The same, its bytes taken out of it. The extent must then be [ended](Picker::finish), or its bytes
    /// [put back](Picker::put_back).
    pub fn take_full(&mut self, key: Key) -> Option<(Range<u64>, Vec<u8>)> {
        let range = self.full(key)?.0;
        Some((range, self.gathering.swap_memory(key, Vec::new())))
    }

    /// Puts into an extent what was taken out of it, or, if it is over, memory that the next one may use.
    pub fn put_back(&mut self, key: Key, memory: Vec<u8>) {
        self.gathering.swap_memory(key, memory);
    }

    /// The extents that have all of their bytes and wait.
    pub fn waiting(&self, space: Space) -> impl Iterator<Item = Key> + '_ {
        self.gathering
            .iter()
            .filter(move |(key, extent)| key.0 == space && extent.is_full())
            .map(|(key, _)| key)
    }

    /// All extents.
    pub fn extents(&self) -> Vec<Key> {
        self.gathering.iter().map(|(key, _)| key).collect()
    }

    /// The extent was right. If it is content, it is done.
    pub fn finish(&mut self, key: Key) {
        if let Some(range) = self.gathering.end(key)
            && key.0 == Space::Content
        {
            self.done.insert(range);
            self.goal.pass(&self.done);
        }
    }

    /// Gives up an extent: it is not here, nor being gathered.
    pub fn forget(&mut self, key: Key) {
        if let Some(range) = self.gathering.end(key)
            && key.0 == Space::Content
        {
            self.taken.remove(range);
            self.reopen();
        }
    }

    /// Something is missing again that was taken.
    fn reopen(&mut self) {
        if let Some(rarity) = &mut self.rarity {
            rarity.reopen();
        }
    }

    /// What came is wrong, and is asked for again. Returns the source that is to blame, and how many bytes were spoilt by it. Where
    /// several sent some of it, it is not known which: then all of it is asked of one.
    pub fn start_over(&mut self, key: Key) -> Option<(SocketAddr, u64)> {
        self.gathering.start_over(key)
    }

    /// These ranges are here too, and are being verified.
    pub fn wait_for_checks(&mut self, ranges: &RangeSet) {
        for gap in ranges.within(0..self.shape.length).flat_map(|range| self.done.gaps(range)) {
            self.unchecked.insert(gap.clone());
            self.taken.insert(gap);
        }
    }

    /// Whether any of this range is here and still being verified.
    pub fn is_unchecked(&self, range: &Range<u64>) -> bool {
        self.unchecked.overlaps(range.clone())
    }

    /// What is unchecked of `range` is verified now: what is in `right` is right. Returns whether something was wrong.
    pub fn on_checked(&mut self, range: &Range<u64>, right: &RangeSet) -> bool {
        let parts: Vec<Range<u64>> = self.unchecked.within(range.clone()).collect();
        let mut is_wrong = false;
        for part in parts {
            self.unchecked.remove(part.clone());
            for wrong in right.gaps(part.clone()) {
                self.taken.remove(wrong);
                is_wrong = true;
            }
            for right in right.within(part) {
                self.done.insert(right);
            }
        }
        if is_wrong {
            self.used_up.clear();
            self.reopen();
        }
        self.goal.pass(&self.done);
        is_wrong
    }

    /// Panics where a field's invariant does not hold.
    #[cfg(debug_assertions)]
    pub fn check_invariants(&self) {
        let mut taken = self.done.clone();
        for range in self.unchecked.iter() {
            assert_eq!(taken.insert(range.clone()), range.end - range.start);
        }
        for extent in self.gathering.content() {
            assert!(!taken.overlaps(extent.range.clone()));
            taken.insert(extent.range.clone());
        }
        assert_eq!(taken, self.taken);
        self.goal.check_invariants(&self.done);
        self.gathering.check_invariants();
    }
}

/// Whether the source can send something of this extent that is of use: where all must come from one, all of it.
fn can_send((space, start): Key, extent: &Extent, terms: &Terms<'_>, proofs: &impl Proofs) -> bool {
    may_bring(space, &extent.range, terms)
        && match (space, terms.has) {
            (_, None) => true,
            // It has the part of the tree if it has some of the content below.
            (Space::Tree, Some(has)) => {
                proofs.content_below(start).is_some_and(|content| has.overlaps(content))
            }
            (Space::Content, Some(has)) if extent.sole => has.contains(extent.range.clone()),
            (Space::Content, Some(has)) => extent.lacks_some_of(has),
        }
}

/// Whether it has not said otherwise.
fn may_bring(space: Space, range: &Range<u64>, terms: &Terms<'_>) -> bool {
    match space {
        Space::Tree => terms.has_tree,
        Space::Content => terms.refused.is_none_or(|refused| !refused.overlaps(range.clone())),
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "goals of one range")]
mod tests;
