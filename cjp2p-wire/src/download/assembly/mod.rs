//! `Assembly`: content under one claimed length, put together by a [`Picker`] and checked by its tree, its root, or not yet.

pub(super) mod checking;
mod hinted;
mod rechecking;

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use super::interface::{Ask, PathTerms};
use crate::content_id::Hash;
use crate::pieces::{Picker, Proofs, Rarity, Shape, Terms, Wanted};
use crate::range_set::RangeSet;
use crate::store::{JobId, PROOF_LEN};
use crate::time::Time;
use crate::tree::{
    ENTRY_LEN, GROUP_LEN, Geometry, LEAF_LEN, LeafIndex, Level, RUN_ENTRIES, RUN_LEVELS, Run, TreeVerifier,
};

/// Content up to this length is gathered whole and checked against its root at once, without its tree.
pub(super) const SMALL_LEN: u64 = PROOF_LEN;
/// An extent on a path with small datagrams: the least that hashes fast. Little is lost if the process dies.
pub(super) const SMALL_EXTENT: u64 = 16 << 10;
/// An extent on a path with large datagrams.
const LARGE_EXTENT: u64 = 128 << 10;
/// A block of at least so many bytes makes a path one with large datagrams.
const LARGE_BLOCK: u64 = 16 << 10;
/// On a short path an extent is what comes in so much time, up to a whole group. A group is checked by what is above its leaves,
/// so that those need not be fetched, nor computed by the source.
const EXTENT_TIME: Duration = Duration::from_millis(250);

/// How long an extent should be on such a path: a power of two between [`SMALL_EXTENT`] and a group. On a long path many
/// extents wait for what was lost, and little is lost with them if the process dies.
pub(super) fn extent_len(path: &PathTerms) -> u64 {
    if !path.is_short {
        return if path.block >= LARGE_BLOCK { LARGE_EXTENT } else { SMALL_EXTENT };
    }
    let length = (path.rate * EXTENT_TIME.as_secs_f64()) as u64;
    (length + 1).next_power_of_two().clamp(SMALL_EXTENT * 2, GROUP_LEN * 2) / 2
}

/// How content is checked.
#[derive(Clone, Debug)]
pub(super) enum Check {
    /// Extent by extent, by its tree.
    Tree(TreeVerifier),
    /// At once, against its BLAKE3 hash.
    Root(Hash),
    /// Extent by extent, by a tree that may be of other content: it is staged all the same.
    Hint(TreeVerifier),
    /// Not here: it is staged, and checked when all of it is there.
    AtTheEnd,
}

impl Check {
    /// How content with this BLAKE3 hash is checked, if it has this length.
    pub(super) fn new(root: Hash, length: u64) -> Option<Check> {
        let geometry = Geometry::new(length).ok()?;
        Some(match length <= SMALL_LEN {
            true => Check::Root(root),
            false => Check::Tree(TreeVerifier::new(root, geometry)),
        })
    }

    pub(super) fn verifier(&self) -> Option<&TreeVerifier> {
        match self {
            Check::Tree(verifier) | Check::Hint(verifier) => Some(verifier),
            Check::Root(_) | Check::AtTheEnd => None,
        }
    }

    pub(super) fn verifier_mut(&mut self) -> Option<&mut TreeVerifier> {
        match self {
            Check::Tree(verifier) | Check::Hint(verifier) => Some(verifier),
            Check::Root(_) | Check::AtTheEnd => None,
        }
    }
}

impl Proofs for Check {
    fn lacking_at(&self, offset: u64) -> Vec<Range<u64>> {
        let Some(verifier) = self.verifier() else { return Vec::new() };
        lacking_runs(verifier, offset, Level::LEAVES)
    }

    fn lacking_for(&self, extent: &Range<u64>) -> Vec<Range<u64>> {
        let Some(verifier) = self.verifier() else { return Vec::new() };
        let ends = extent.end.is_multiple_of(GROUP_LEN) || extent.end == verifier.geometry().length();
        let is_whole_group = extent.start.is_multiple_of(GROUP_LEN) && ends;
        // As long as nothing in a whole group is wrong, its leaves are not needed.
        let lowest = if is_whole_group { Level(RUN_LEVELS) } else { Level::LEAVES };
        lacking_runs(verifier, extent.start, lowest)
    }

    fn content_below(&self, start: u64) -> Option<Range<u64>> {
        content_below(self.verifier()?.geometry(), start)
    }
}

/// The runs that prove the leaf at `offset` and are not here, the top one first, down to `lowest`.
fn lacking_runs(verifier: &TreeVerifier, offset: u64, lowest: Level) -> Vec<Range<u64>> {
    let geometry = verifier.geometry();
    let path = geometry.path_to_leaf(LeafIndex::holding(offset)).into_iter();
    path.filter(|&run| run.level >= lowest && !verifier.has_run(run))
        .map(|run| geometry.run_bytes(run))
        .collect()
}

/// The content that the run at `start` of the tree file is about.
fn content_below(geometry: &Geometry, start: u64) -> Option<Range<u64>> {
    let run = run_at(geometry, start)?;
    let entries = geometry.run_entries(run);
    Some((entries.start << run.level.0) * LEAF_LEN..(entries.end << run.level.0) * LEAF_LEN)
}

/// The run whose bytes begin at `start` of the tree file.
pub(super) fn run_at(geometry: &Geometry, start: u64) -> Option<Run> {
    for level in geometry.run_levels() {
        let offset = geometry.level_offset(level);
        let end = offset + geometry.level_entries(level) * ENTRY_LEN;
        if (offset..end).contains(&start) {
            return Some(Run { level, index: (start - offset) / (RUN_ENTRIES * ENTRY_LEN) });
        }
    }
    None
}

/// Content under one claimed length.
#[derive(Debug)]
pub(super) struct Assembly {
    job: JobId,
    picker: Picker,
    check: Check,
    /// The last leaf, or all of it, was right: the length is proven.
    is_proven: bool,
    /// Some of it is here and was not checked, since the destination was busy.
    waits_for_sink: bool,
}

impl Assembly {
    /// Content of `length` bytes of which `done` is here; `goal` is what is wanted of it, in order.
    pub(super) fn new(
        job: JobId,
        length: u64,
        check: Check,
        done: RangeSet,
        goal: Vec<Range<u64>>,
    ) -> Assembly {
        let has_last = length > 0 && done.contains(length - 1..length);
        let is_proven = matches!(check, Check::Tree(_)) && has_last;
        let is_one = matches!(check, Check::Root(_));
        let shape = Shape { length, unit: LEAF_LEN, least_extent: SMALL_EXTENT, is_one };
        Assembly { job, picker: Picker::new(shape, goal, done), check, is_proven, waits_for_sink: false }
    }

    /// Content that is all here and checked.
    pub(super) fn finished(job: JobId, length: u64, goal: Vec<Range<u64>>) -> Assembly {
        let all = std::iter::once(0..length).collect();
        Assembly { is_proven: true, ..Assembly::new(job, length, Check::AtTheEnd, all, goal) }
    }

    pub(super) fn length(&self) -> u64 {
        self.picker.length()
    }

    /// From now on these ranges are wanted. What proves the length is fetched nevertheless.
    pub(super) fn set_goal(&mut self, goal: Vec<Range<u64>>) {
        self.picker.set_goal(goal, !self.is_proven);
    }

    /// Whether the length is proven.
    pub(super) fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// What is wanted, done and being gathered.
    pub(super) fn picker(&self) -> &Picker {
        &self.picker
    }

    /// What is known of the tree by which it is checked.
    pub(super) fn verifier(&self) -> Option<&TreeVerifier> {
        self.check.verifier()
    }

    pub(super) fn done(&self) -> &RangeSet {
        self.picker.done()
    }

    /// What to ask a source for next. Until the length is proven, before all else what proves it: the last leaf, and the runs above it.
    /// Where other lengths are claimed too, nothing else: which of them is worth the effort is not known yet. Under the only claim
    /// the first leaf that is wanted comes even before that, since a reader may wait for it.
    pub(super) fn next_wanted(
        &mut self,
        now: Time,
        mut terms: Terms<'_>,
        is_only_claim: bool,
    ) -> Option<Wanted> {
        if self.is_proven || matches!(self.check, Check::AtTheEnd) {
            return self.picker.next_wanted(now, &terms, &self.check);
        }
        let begins = is_only_claim && !terms.rarest_first && !self.picker.has_begun();
        if begins && matches!(self.check, Check::Tree(_)) {
            terms.extent = LEAF_LEN;
            if let Some(head) = self.picker.next_wanted(now, &terms, &self.check) {
                return Some(head);
            }
        }
        let length = self.length();
        terms.first = Some(length.saturating_sub(1) / LEAF_LEN * LEAF_LEN..length);
        terms.only_first = !is_only_claim;
        terms.extent = SMALL_EXTENT;
        self.picker.next_wanted(now, &terms, &self.check)
    }

    /// The content that the run at `start` of the tree file is about.
    pub(super) fn content_below(&self, start: u64) -> Option<Range<u64>> {
        self.check.content_below(start)
    }

    /// What was asked of `source` did not come: it is asked for again, of any source if `release`.
    pub(super) fn give_back(&mut self, source: SocketAddr, ask: &Ask, release: bool) {
        self.picker.give_back(source, ask.space, &ask.range, release);
    }

    /// `source` is not asked any more: what it was to bring is free for others.
    pub(super) fn release(&mut self, source: SocketAddr) {
        self.picker.release(source);
    }

    /// `source` has changed what it says that it has, or is none any more.
    pub(super) fn forget_used_up(&mut self, source: SocketAddr) {
        self.picker.forget_used_up(source);
    }

    /// Which parts are rare.
    pub(super) fn rarity(&mut self, random: &mut fastrand::Rng) -> &mut Rarity {
        self.picker.rarity(random)
    }
}
