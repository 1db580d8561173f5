//! Putting content together under one claimed length: which parts are done, which are being gathered, and by whom.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use super::extent::{Extent, Space};
use super::interface::PathTerms;
use super::range_spec::{RangeSpec, select};
use super::rarity::Rarity;
use crate::content_id::Hash;
use crate::range_set::RangeSet;
use crate::store::{JobId, PROOF_LEN};
use crate::tree::{GROUP_LEN, Geometry, LEAF_LEN, TreeVerifier};

/// Content up to this length is gathered whole and checked against its root at once, without its tree.
pub(crate) const SMALL_LEN: u64 = PROOF_LEN;
/// An extent on a path with small datagrams: the least that hashes fast. Little is lost if the process dies.
pub(crate) const SMALL_EXTENT: u64 = 16 << 10;
/// An extent on a path with large datagrams.
pub(crate) const LARGE_EXTENT: u64 = 128 << 10;
/// A block of at least so many bytes makes a path one with large datagrams.
pub(crate) const LARGE_BLOCK: u64 = 16 << 10;
/// On a short path an extent is what comes in so much time, up to a whole group: that is checked by what is above its leaves,
/// so that those need not be fetched, nor computed by the source.
pub(crate) const EXTENT_TIME: Duration = Duration::from_millis(250);
/// Bytes being gathered at the most, in all extents of a fetch.
pub(crate) const MAX_GATHERED: u64 = 16 << 20;
/// What a node that is still downloading answers with: whole aligned leaves.
pub(crate) const ALIGNED_BLOCK: u64 = LEAF_LEN;
/// So much later than its path says an answer may well come.
const LATENESS: Duration = Duration::from_millis(5);
/// No source is expected to take longer for an extent, in seconds.
const MAX_TIME: f64 = 60.0;
/// Extents whose memory is kept for the next ones.
pub(super) const MAX_SPARE: usize = 4;

/// How long an extent should be on such a path: a power of two between [`SMALL_EXTENT`] and a group. On a long path many
/// extents wait for what was lost, and little is lost with them if the process dies.
pub(super) fn unit(path: &PathTerms) -> u64 {
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
    /// Not here: it is staged, and checked by whoever holds all of it.
    AtTheEnd,
}

/// How to ask one source.
#[derive(Clone, Debug)]
pub(super) struct Terms<'a> {
    pub(super) source: SocketAddr,
    pub(super) block: u64,
    pub(super) tree_block: u64,
    /// How many blocks may be asked for at once.
    pub(super) blocks: u64,
    /// How long an extent is, once the length is proven.
    pub(super) unit: u64,
    /// No other length is claimed.
    pub(super) only_claim: bool,
    pub(super) aligned: bool,
    pub(super) refused: &'a RangeSet,
    /// What the source says that it has, where it does not have everything.
    pub(super) has: Option<&'a RangeSet>,
    /// What is rare comes first.
    pub(super) rarest_first: bool,
    pub(super) round_trip: Duration,
    /// Bytes per second; zero while unknown.
    pub(super) rate: f64,
    /// How much of what is wanted the destination takes.
    pub(super) room: u64,
    /// It has the tree.
    pub(super) has_tree: bool,
}

impl Terms<'_> {
    /// How long the source should take for so many bytes, from the question to the last of them.
    pub(super) fn time_for(&self, bytes: u64) -> Duration {
        let sending = if self.rate > 0.0 { bytes as f64 / self.rate } else { 0.0 };
        self.round_trip + LATENESS + Duration::from_secs_f64(sending.min(MAX_TIME))
    }
}

/// A range to ask one source for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) space: Space,
    pub(super) range: Range<u64>,
    /// In blocks of so many bytes.
    pub(super) block: u64,
    /// It was asked for before.
    pub(super) again: bool,
}

pub(super) type Key = (Space, u64);

/// What came of bytes that arrived.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Bytes that were new.
    pub(super) new: u64,
    /// Content was verified.
    pub(super) verified: bool,
    /// What came from here on cannot be checked without the runs above it.
    pub(super) lacks_runs: Option<u64>,
    /// Sources that sent wrong bytes, and how many bytes were spoilt by it.
    pub(super) liars: Vec<(SocketAddr, u64)>,
}

/// Content under one claimed length.
#[derive(Debug)]
pub(super) struct Assembly {
    pub(super) job: JobId,
    pub(super) length: u64,
    pub(super) check: Check,
    pub(super) proven: bool,
    /// What is checked is staged all the same: the tree is only a hint.
    pub(super) is_staged: bool,
    /// What is wanted, in order. Two ranges may lie in one leaf, but none overlap.
    goal: Vec<Range<u64>>,
    // Invariant: so many of the ranges in `goal`, counted from the first, are done; the next is not.
    passed: usize,
    // Invariant: the sum of their lengths.
    passed_len: u64,
    pub(super) extents: BTreeMap<Key, Extent>,
    /// Memory of extents that are done.
    pub(super) spare: Vec<Vec<u8>>,
    /// The extent that was filled last.
    pub(super) filled: Key,
    // Invariant: the keys of the extents that have something to ask for.
    pub(super) askable: BTreeSet<Key>,
    // Invariant: content that is done; disjoint from every extent.
    pub(super) done: RangeSet,
    /// What an interrupted fetch wrote and the destination still verifies.
    // Invariant: disjoint from `done` and every extent.
    pub(super) unchecked: RangeSet,
    // Invariant: `done`, `unchecked` and all content extents.
    pub(super) taken: RangeSet,
    // Invariant: the sum of the lengths of all extents.
    pub(super) gathered: u64,
    /// Who has what, where others fetch the same.
    pub(super) rarity: Option<Rarity>,
    /// Sources of which all was taken that they said they have, up to this end of what the destination takes.
    pub(super) used_up: BTreeMap<SocketAddr, u64>,
}

impl Assembly {
    /// Content of `length` bytes of which `done` is here; `ranges` are what is wanted of it, in order, or if empty, all.
    pub(super) fn new(
        job: JobId,
        length: u64,
        check: Check,
        done: RangeSet,
        ranges: &[RangeSpec],
    ) -> Assembly {
        let mut assembly = Assembly {
            job,
            length,
            check,
            proven: false,
            is_staged: false,
            goal: select(ranges, length),
            passed: 0,
            passed_len: 0,
            extents: BTreeMap::new(),
            spare: Vec::new(),
            filled: (Space::Tree, 0),
            askable: BTreeSet::new(),
            taken: done.clone(),
            done,
            unchecked: RangeSet::new(),
            gathered: 0,
            rarity: None,
            used_up: BTreeMap::new(),
        };
        let has_last = length > 0 && assembly.done.contains(length - 1..length);
        assembly.proven = matches!(assembly.check, Check::Tree(_)) && has_last;
        assembly.pass_done();
        assembly
    }

    /// Content that is all here and checked.
    pub(super) fn finished(job: JobId, length: u64, ranges: &[RangeSpec]) -> Assembly {
        let all = std::iter::once(0..length).collect();
        Assembly { proven: true, ..Assembly::new(job, length, Check::AtTheEnd, all, ranges) }
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
        self.passed == self.goal.len()
    }

    /// Passes over what is done at the front of the goal, so that nobody has to look at it again.
    pub(super) fn pass_done(&mut self) {
        while let Some(range) = self.goal.get(self.passed)
            && self.done.contains(range.clone())
        {
            self.passed += 1;
            self.passed_len += range.end - range.start;
        }
    }

    /// Bytes that are wanted.
    pub(super) fn wanted(&self) -> u64 {
        self.goal.iter().map(|range| range.end - range.start).sum()
    }

    /// How many of them are done.
    pub(super) fn wanted_done(&self) -> u64 {
        let missing = self.goal[self.passed..].iter().flat_map(|range| self.done.gaps(range.clone()));
        self.wanted() - missing.map(|gap| gap.end - gap.start).sum::<u64>()
    }

    pub(super) fn done(&self) -> &RangeSet {
        &self.done
    }

    /// The first byte that is wanted and not here.
    pub(super) fn first_lacking(&self) -> Option<u64> {
        let gathered = self.extents.range((Space::Content, 0)..);
        let in_extents = gathered.filter_map(|(_, extent)| extent.first_lacking()).next();
        in_extents.into_iter().chain(self.first_missing()).min()
    }

    /// Where what nobody was asked for yet begins.
    pub(super) fn first_missing(&self) -> Option<u64> {
        self.goal[self.passed..].iter().find_map(|range| Some(self.taken.first_gap(range.clone())?.start))
    }

    /// How much of this set nobody was asked for yet: at least `enough`, or exactly.
    pub(super) fn untaken(&self, set: &RangeSet, enough: u64) -> u64 {
        let mut untaken = 0;
        for gap in set.iter().flat_map(|range| self.taken.gaps(range)) {
            untaken += gap.end - gap.start;
            if untaken >= enough {
                break;
            }
        }
        untaken
    }

    pub(super) fn verifier(&self) -> Option<&TreeVerifier> {
        match &self.check {
            Check::Tree(verifier) => Some(verifier),
            _ => None,
        }
    }

    /// Whether the destination holds everything up: nothing that it takes is missing, but for what it still verifies.
    pub(super) fn waits_for_destination(&self, room: u64) -> bool {
        // Without an extent, what is taken is done or being verified.
        self.extents.is_empty()
            && (room < self.wanted() || !self.unchecked.is_empty())
            && self.stretches(room).all(|stretch| self.taken.contains(stretch))
    }

    /// The whole leaves of what is wanted and not passed, in order, as far as the destination takes it; within a range,
    /// to the end of an extent. `room` is counted in bytes of the goal from its beginning.
    pub(super) fn stretches(&self, room: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut left = room.saturating_sub(self.passed_len);
        self.goal[self.passed..].iter().map_while(move |range| {
            if left == 0 {
                return None;
            }
            let start = range.start / LEAF_LEN * LEAF_LEN;
            let end = match left.checked_sub(range.end - range.start) {
                Some(rest) => {
                    left = rest;
                    range.end.next_multiple_of(LEAF_LEN).min(self.length)
                }
                None => {
                    let end = range.start + left;
                    left = 0;
                    end / SMALL_EXTENT * SMALL_EXTENT
                }
            };
            Some(start..end.max(start))
        })
    }

    /// Whether so much is being gathered that nothing more is begun.
    pub(super) fn is_contended(&self) -> bool {
        self.gathered >= MAX_GATHERED
    }

    /// Whether something is being gathered.
    pub(super) fn is_gathering(&self) -> bool {
        !self.extents.is_empty()
    }

    /// The keys of the extents that overlap `range`.
    pub(super) fn overlapping(&self, space: Space, range: &Range<u64>) -> Vec<Key> {
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
            if release && extent.belongs_to(source) {
                extent.release();
            }
            if extent.needs_asking() {
                self.askable.insert(key);
            }
        }
    }

    /// `source` is not asked any more: its extents are free for others.
    pub(super) fn release(&mut self, source: SocketAddr) {
        for (key, extent) in self.extents.iter_mut().filter(|(_, extent)| extent.belongs_to(source)) {
            extent.release();
            extent.ask_missing_again();
            if extent.needs_asking() {
                self.askable.insert(*key);
            }
        }
    }

    /// Panics where a field's invariant does not hold.
    #[cfg(debug_assertions)]
    pub(super) fn check_invariants(&self) {
        let mut taken = self.done.clone();
        for range in self.unchecked.iter() {
            assert_eq!(taken.insert(range.clone()), range.end - range.start);
        }
        let mut gathered = 0;
        for ((space, start), extent) in &self.extents {
            assert_eq!(*start, extent.range.start);
            assert_eq!(self.askable.contains(&(*space, *start)), extent.needs_asking());
            gathered += extent.range.end - extent.range.start;
            if *space == Space::Content {
                assert!(!taken.overlaps(extent.range.clone()));
                taken.insert(extent.range.clone());
            }
        }
        assert_eq!(taken, self.taken);
        let is_done = |range: &Range<u64>| self.done.contains(range.clone());
        let (passed, next) = self.goal.split_at(self.passed);
        assert!(passed.iter().all(is_done) && !next.first().is_some_and(is_done));
        assert_eq!(passed.iter().map(|range| range.end - range.start).sum::<u64>(), self.passed_len);
        assert_eq!(gathered, self.gathered);
    }
}
