//! Putting content together under one claimed length: what to ask for next, and checking what came.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use super::extent::{Extent, Space};
use crate::content_id::Hash;
use crate::time::Time;
use crate::transfer::blobs::{JobId, PROOF_LEN, Sink};
use crate::transfer::ranges::RangeSet;
use crate::tree::{GROUP_LEN, Geometry, LEAF_LEN, Run, TreeError, TreeVerifier, VerifyError, verify_whole};

/// Content up to this length is gathered whole and checked against its root at once, without its tree.
pub(crate) const SMALL_LEN: u64 = PROOF_LEN;
/// An extent on a path with small datagrams: the least that hashes fast. Little is lost if the process dies.
pub(crate) const SMALL_EXTENT: u64 = 16 << 10;
/// An extent on a path with large datagrams.
pub(crate) const LARGE_EXTENT: u64 = 128 << 10;
/// A block of at least so many bytes makes a path one with large datagrams.
pub(crate) const LARGE_BLOCK: u64 = 16 << 10;
/// Bytes being gathered at the most, in all extents of a fetch.
pub(crate) const MAX_GATHERED: u64 = 16 << 20;
/// What a node that is still downloading answers with: whole aligned leaves.
pub(crate) const ALIGNED_BLOCK: u64 = LEAF_LEN;

/// How content is checked.
#[derive(Clone, Debug)]
pub(super) enum Check {
    /// Extent by extent, by its tree.
    Tree(TreeVerifier),
    /// At once, against its BLAKE3 hash.
    Root(Hash),
    /// Not here: it is staged, and checked by whoever holds all of it.
    AtTheEnd,
}

/// How to ask one source.
#[derive(Clone, Debug)]
pub(super) struct Terms<'a> {
    pub(super) source: SocketAddr,
    pub(super) block: u64,
    pub(super) tree_block: u64,
    /// No other length is claimed.
    pub(super) only_claim: bool,
    pub(super) aligned: bool,
    pub(super) refused: &'a RangeSet,
    pub(super) round_trip: Duration,
    /// The end of what the destination takes.
    pub(super) room: u64,
}

/// A range to ask one source for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) space: Space,
    pub(super) range: Range<u64>,
    /// It was asked for before.
    pub(super) again: bool,
}

type Key = (Space, u64);

/// What came of bytes that arrived.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Bytes that were new.
    pub(super) new: u64,
    /// Sources that sent wrong bytes, and how many bytes were spoilt by it.
    pub(super) liars: Vec<(SocketAddr, u64)>,
}

/// Content under one claimed length.
#[derive(Debug)]
pub(super) struct Assembly {
    job: JobId,
    length: u64,
    check: Check,
    proven: bool,
    /// What is wanted, in order; whole leaves, and apart from each other.
    goal: Vec<Range<u64>>,
    extents: BTreeMap<Key, Extent>,
    // Invariant: the keys of the extents that have something to ask for.
    askable: BTreeSet<Key>,
    // Invariant: content that is done; disjoint from every extent.
    done: RangeSet,
    // Invariant: `done` and all content extents.
    taken: RangeSet,
    // Invariant: the sum of the lengths of all extents.
    gathered: u64,
}

impl Assembly {
    /// Content of `length` bytes of which `done` is here; `goal` is what is wanted of it, in order, or if empty, all.
    pub(super) fn new(
        job: JobId,
        length: u64,
        check: Check,
        done: RangeSet,
        goal: &[Range<u64>],
    ) -> Assembly {
        let mut assembly = Assembly {
            job,
            length,
            check,
            proven: false,
            goal: whole_leaves(goal, length),
            extents: BTreeMap::new(),
            askable: BTreeSet::new(),
            taken: done.clone(),
            done,
            gathered: 0,
        };
        let has_last = length > 0 && assembly.done.contains(length - 1..length);
        assembly.proven = matches!(assembly.check, Check::Tree(_)) && has_last;
        assembly
    }

    /// How content with this BLAKE3 hash is checked, if it has this length.
    pub(super) fn check_for(root: Hash, length: u64) -> Option<Check> {
        let geometry = Geometry::new(length).ok()?;
        Some(if length <= SMALL_LEN {
            Check::Root(root)
        } else {
            Check::Tree(TreeVerifier::new(root, geometry))
        })
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether the length is proven.
    pub(super) fn is_proven(&self) -> bool {
        self.proven
    }

    /// Whether all that is wanted is done.
    pub(super) fn is_complete(&self) -> bool {
        self.goal.iter().all(|range| self.done.contains(range.clone()))
    }

    /// Bytes wanted, and how many of them are done.
    pub(super) fn wanted(&self) -> (u64, u64) {
        let missing: u64 = self
            .goal
            .iter()
            .flat_map(|range| self.done.gaps(range.clone()))
            .map(|gap| gap.end - gap.start)
            .sum();
        let wanted: u64 = self.goal.iter().map(|range| range.end - range.start).sum();
        (wanted, wanted - missing)
    }

    pub(super) fn done(&self) -> &RangeSet {
        &self.done
    }

    /// Where what nobody was asked for yet begins.
    pub(super) fn first_missing(&self) -> Option<u64> {
        self.taken.first_gap(0..self.length).map(|gap| gap.start)
    }

    pub(super) fn verifier(&self) -> Option<&TreeVerifier> {
        match &self.check {
            Check::Tree(verifier) => Some(verifier),
            _ => None,
        }
    }

    /// Whether the destination holds everything up: nothing is missing before `room`.
    pub(super) fn waits_for_room(&self, room: u64) -> bool {
        let end = self.usable(room);
        let has_all =
            self.goal.iter().all(|range| self.done.contains(range.start.min(end)..range.end.min(end)));
        room < self.length && self.extents.is_empty() && has_all
    }

    /// How much of `room` can be filled with whole extents.
    fn usable(&self, room: u64) -> u64 {
        if room >= self.length { self.length } else { room / SMALL_EXTENT * SMALL_EXTENT }
    }

    /// Whether something is being gathered.
    pub(super) fn is_gathering(&self) -> bool {
        !self.extents.is_empty()
    }

    /// What to ask this source for next.
    pub(super) fn next_wanted(&mut self, now: Time, terms: &Terms<'_>) -> Option<Wanted> {
        let key = self
            .askable_by(terms)
            .or_else(|| self.take_fresh(now, terms))
            .or_else(|| self.take_over(now, terms))?;
        let aligned = terms.aligned.then_some(ALIGNED_BLOCK);
        let extent = self.extents.get_mut(&key)?;
        let block = if key.0 == Space::Tree { terms.tree_block } else { terms.block };
        let range = extent.next_ask(now, block, aligned)?;
        if !extent.needs_asking() {
            self.askable.remove(&key);
        }
        let again = !extent.contributors.is_empty() && extent.helper.is_some();
        Some(Wanted { space: key.0, range, again })
    }

    /// An extent that is this source's, or nobody's, and has something to ask for.
    fn askable_by(&mut self, terms: &Terms<'_>) -> Option<Key> {
        let key = *self.askable.iter().find(|key| {
            let extent = &self.extents[key];
            let free = extent.owner.is_none() && !self.is_refused(key.0, &extent.range, terms);
            extent.belongs_to(terms.source) || free
        })?;
        let extent = self.extents.get_mut(&key)?;
        if extent.owner.is_none() {
            extent.owner = Some(terms.source);
        }
        Some(key)
    }

    fn is_refused(&self, space: Space, range: &Range<u64>, terms: &Terms<'_>) -> bool {
        space == Space::Content && terms.refused.overlaps(range.clone())
    }

    /// Begins the next extent in order.
    fn take_fresh(&mut self, now: Time, terms: &Terms<'_>) -> Option<Key> {
        if self.gathered >= MAX_GATHERED {
            return None;
        }
        if !self.proven && !matches!(self.check, Check::AtTheEnd) {
            // First of all what proves the length: the last leaf, and the runs above it.
            let last = self.length.saturating_sub(1) / SMALL_EXTENT * SMALL_EXTENT;
            let key = self.begin_within(now, last..self.length, terms);
            // What verifies is right under any length; but who knows which of several claims is worth the effort.
            if key.is_some() || !terms.only_claim {
                return key;
            }
        }
        let end = self.usable(terms.room);
        for range in self.goal.clone() {
            if let Some(key) = self.begin_within(now, range.start..range.end.min(end), terms) {
                return Some(key);
            }
        }
        None
    }

    /// Begins the first extent of `range` that nobody has begun, or the run that it needs first.
    fn begin_within(&mut self, now: Time, range: Range<u64>, terms: &Terms<'_>) -> Option<Key> {
        let mut from = range.start;
        loop {
            let gap = self.taken.first_gap(from..range.end)?;
            let range = self.extent_at(gap, terms);
            if let Some(run) = self.missing_run(range.start) {
                return Some(self.begin_run(now, run, terms.source));
            }
            if self.is_refused(Space::Content, &range, terms) {
                from = range.end;
                continue;
            }
            self.taken.insert(range.clone());
            return Some(self.begin((Space::Content, range.start), range, now, terms.source));
        }
    }

    /// The extent that begins where `gap` does.
    fn extent_at(&self, gap: Range<u64>, terms: &Terms<'_>) -> Range<u64> {
        if matches!(self.check, Check::Root(_)) {
            return 0..self.length;
        }
        let large = terms.block >= LARGE_BLOCK && (self.proven || matches!(self.check, Check::AtTheEnd));
        let unit = if large { LARGE_EXTENT } else { SMALL_EXTENT };
        // What is done is whole leaves, so the gap begins at one; the unit divides a group.
        let end = (gap.start / unit + 1) * unit;
        gap.start..end.min(gap.end).min(self.length)
    }

    /// The first run that is neither here nor being gathered, of those that prove the leaf at `offset`.
    fn missing_run(&self, offset: u64) -> Option<Run> {
        let Check::Tree(verifier) = &self.check else {
            return None;
        };
        let geometry = verifier.geometry();
        let path = geometry.path_to_leaf(offset / LEAF_LEN);
        path.into_iter().find(|&run| {
            !verifier.has_run(run)
                && !self.extents.contains_key(&(Space::Tree, geometry.run_bytes(run).start))
        })
    }

    fn begin_run(&mut self, now: Time, run: Run, source: SocketAddr) -> Key {
        let range = match &self.check {
            Check::Tree(verifier) => verifier.geometry().run_bytes(run),
            _ => 0..0,
        };
        self.begin((Space::Tree, range.start), range, now, source)
    }

    fn begin(&mut self, key: Key, range: Range<u64>, now: Time, source: SocketAddr) -> Key {
        self.gathered += range.end - range.start;
        self.extents.insert(key, Extent::new(range, source, now));
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
                late && !extent.is_full()
                    && !extent.sole
                    && extent.helper.is_none()
                    && extent.owner != Some(terms.source)
                    && !self.is_refused(key.0, &extent.range, terms)
            })?
            .0;
        let extent = self.extents.get_mut(&key)?;
        extent.helper = Some(terms.source);
        if !extent.needs_asking() {
            extent.ask_missing_again();
            self.askable.insert(key);
        }
        Some(key)
    }

    /// The keys of the extents that overlap `range`.
    fn overlapping(&self, space: Space, range: &Range<u64>) -> Vec<Key> {
        let mut keys: Vec<Key> = self
            .extents
            .range((space, range.start)..(space, range.end.max(range.start)))
            .map(|(&key, _)| key)
            .collect();
        if let Some((&key, extent)) = self.extents.range(..(space, range.start)).next_back()
            && key.0 == space
            && extent.range.end > range.start
        {
            keys.insert(0, key);
        }
        keys
    }

    /// What was asked of `source` did not come: it is asked for again, by anybody if `release`.
    pub(super) fn give_back(&mut self, source: SocketAddr, space: Space, range: Range<u64>, release: bool) {
        for key in self.overlapping(space, &range) {
            let Some(extent) = self.extents.get_mut(&key) else {
                continue;
            };
            extent.give_back(range.clone());
            if release {
                Self::release_extent(extent, source);
            }
            if extent.needs_asking() {
                self.askable.insert(key);
            }
        }
    }

    fn release_extent(extent: &mut Extent, source: SocketAddr) {
        if extent.helper == Some(source) {
            extent.helper = None;
        }
        if extent.owner == Some(source) {
            extent.owner = extent.helper.take();
            if extent.sole {
                // A part from one source is of no use to the next.
                extent.start_over();
            }
        }
    }

    /// `source` is not asked any more: its extents are free for others.
    pub(super) fn release(&mut self, source: SocketAddr) {
        for (key, extent) in &mut self.extents {
            if extent.belongs_to(source) {
                Self::release_extent(extent, source);
                if extent.owner.is_none() && !extent.is_full() {
                    extent.ask_missing_again();
                }
                if extent.needs_asking() {
                    self.askable.insert(*key);
                }
            }
        }
    }

    /// Takes in bytes from `source`, and writes what they complete.
    pub(super) fn on_bytes(
        &mut self,
        source: SocketAddr,
        space: Space,
        offset: u64,
        data: &[u8],
        sink: &mut dyn Sink,
    ) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        for key in self.overlapping(space, &(offset..offset + data.len() as u64)) {
            let Some(extent) = self.extents.get_mut(&key) else {
                continue;
            };
            outcome.new += extent.fill(source, offset, data);
            if !extent.needs_asking() {
                self.askable.remove(&key);
            }
            if extent.is_full() {
                match space {
                    Space::Tree => self.finish_run(key, sink, &mut outcome)?,
                    Space::Content => self.finish_content(key, sink, &mut outcome)?,
                }
            }
        }
        Ok(outcome)
    }

    /// A run is all here: checks it, then everything that waited for it.
    fn finish_run(&mut self, key: Key, sink: &mut dyn Sink, outcome: &mut Outcome) -> io::Result<()> {
        let Check::Tree(verifier) = &mut self.check else {
            return Ok(());
        };
        let Some(extent) = self.extents.get(&key) else {
            return Ok(());
        };
        let Some(run) = run_at(verifier.geometry(), key.1) else {
            return Ok(());
        };
        match verifier.insert_run(run, extent.bytes()) {
            Ok(()) => {
                sink.keep_run(self.job, self.length, run, extent.bytes())?;
                self.end(key);
                self.finish_waiting(run, sink, outcome)
            }
            // It waits for the run above it.
            Err(TreeError::ParentUnknown(_)) => Ok(()),
            Err(_) => {
                self.blame(key, outcome);
                Ok(())
            }
        }
    }

    /// Checks what waited for `run`: the runs below it, or the content.
    fn finish_waiting(&mut self, run: Run, sink: &mut dyn Sink, outcome: &mut Outcome) -> io::Result<()> {
        let Check::Tree(verifier) = &self.check else {
            return Ok(());
        };
        let geometry = *verifier.geometry();
        if run.level == 0 {
            let leaves = geometry.run_entries(run);
            let content = leaves.start * LEAF_LEN..leaves.end * LEAF_LEN;
            for key in self.overlapping(Space::Content, &content) {
                if self.extents.get(&key).is_some_and(Extent::is_full) {
                    self.finish_content(key, sink, outcome)?;
                }
            }
            return Ok(());
        }
        let full: Vec<Key> = self
            .extents
            .range((Space::Tree, 0)..(Space::Content, 0))
            .filter(|(key, extent)| {
                extent.is_full()
                    && run_at(&geometry, key.1).is_some_and(|below| geometry.parent_run(below) == Some(run))
            })
            .map(|(&key, _)| key)
            .collect();
        for key in full {
            self.finish_run(key, sink, outcome)?;
        }
        Ok(())
    }

    /// A stretch of content is all here: checks it, if it can be checked yet, and writes it.
    fn finish_content(&mut self, key: Key, sink: &mut dyn Sink, outcome: &mut Outcome) -> io::Result<()> {
        let Some(extent) = self.extents.get(&key) else {
            return Ok(());
        };
        let range = extent.range.clone();
        match &self.check {
            Check::AtTheEnd => sink.stage(self.job, range.start, extent.bytes())?,
            Check::Root(root) => match verify_whole(root, extent.bytes()) {
                Some(block) => {
                    sink.write(self.job, block)?;
                    self.proven = true;
                }
                None => {
                    self.blame(key, outcome);
                    return Ok(());
                }
            },
            Check::Tree(verifier) => match verifier.verify(range.start, extent.bytes()) {
                Ok(block) => {
                    sink.write(self.job, block)?;
                    self.proven |= block.proves_length().is_some();
                }
                Err(VerifyError::RunUnknown(_)) => return Ok(()),
                Err(_) => {
                    self.blame(key, outcome);
                    return Ok(());
                }
            },
        }
        self.end(key);
        self.done.insert(range.clone());
        self.forget_finished_group(range.start);
        Ok(())
    }

    /// Leaves are not needed once their content is here: they can be computed from it.
    fn forget_finished_group(&mut self, offset: u64) {
        let group = offset / GROUP_LEN;
        let range = group * GROUP_LEN..((group + 1) * GROUP_LEN).min(self.length);
        if let Check::Tree(verifier) = &mut self.check
            && self.done.contains(range)
            && verifier.geometry().top_run_level() > 0
        {
            verifier.forget_run(Run { level: 0, index: group });
        }
    }

    fn end(&mut self, key: Key) {
        self.askable.remove(&key);
        if let Some(extent) = self.extents.remove(&key) {
            self.gathered -= extent.range.end - extent.range.start;
        }
    }

    /// What came is wrong. One contributor is to blame; of several nobody knows which, so it is asked for again whole.
    fn blame(&mut self, key: Key, outcome: &mut Outcome) {
        let Some(extent) = self.extents.get_mut(&key) else {
            return;
        };
        if let [only] = extent.contributors[..] {
            outcome.liars.push((only, extent.range.end - extent.range.start));
            extent.start_over();
            extent.sole = false;
        } else {
            extent.start_over();
        }
        self.askable.insert(key);
    }

    /// Panics where a field's invariant does not hold.
    #[cfg(debug_assertions)]
    pub(super) fn check_invariants(&self) {
        let mut taken = self.done.clone();
        let mut gathered = 0;
        for ((space, start), extent) in &self.extents {
            assert_eq!(*start, extent.range.start);
            assert_eq!(self.askable.contains(&(*space, *start)), extent.needs_asking());
            gathered += extent.range.end - extent.range.start;
            if *space == Space::Content {
                assert!(!self.done.overlaps(extent.range.clone()));
                taken.insert(extent.range.clone());
            }
        }
        assert_eq!(taken, self.taken);
        assert_eq!(gathered, self.gathered);
    }
}

/// The run whose bytes begin at `start` of the tree file.
fn run_at(geometry: &Geometry, start: u64) -> Option<Run> {
    let levels = (0..=geometry.top_run_level()).step_by(crate::tree::RUN_LEVELS as usize);
    for level in levels {
        let offset = geometry.level_offset(level);
        let end = offset + geometry.level_entries(level) * crate::tree::ENTRY_LEN;
        if (offset..end).contains(&start) {
            return Some(Run {
                level,
                index: (start - offset) / (crate::tree::RUN_ENTRIES * crate::tree::ENTRY_LEN),
            });
        }
    }
    None
}

/// The leaves that hold `ranges` of content of `length` bytes, in the same order, none twice. All, where none is named.
fn whole_leaves(ranges: &[Range<u64>], length: u64) -> Vec<Range<u64>> {
    let everything = 0..length;
    let ranges = if ranges.is_empty() { std::slice::from_ref(&everything) } else { ranges };
    let mut named = RangeSet::new();
    let mut leaves = Vec::new();
    for range in ranges {
        let start = range.start.min(length) / LEAF_LEN * LEAF_LEN;
        let end = range.end.min(length).checked_next_multiple_of(LEAF_LEN).unwrap_or(length).min(length);
        leaves.extend(named.gaps(start..end.max(start)));
        named.insert(start..end.max(start));
    }
    leaves
}
