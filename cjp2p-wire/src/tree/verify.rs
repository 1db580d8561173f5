//! Checking a tree top-down as its runs come, and content by it. The only maker of [`Verified`].

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use super::format::{ENTRY_LEN, LEAF_LEN, RUN_ENTRIES, RUN_LEVELS, header};
use super::geometry::{Geometry, Segment};
use super::position::{LeafIndex, Level, Run};
use super::{fold, reader};
use crate::content_id::Hash;

/// Bytes that the content with this root really has at this offset.
///
/// Only this module makes such values, after it hashed the bytes. A function that takes this type need not check again, and
/// cannot be given anything else.
#[derive(Clone, Copy, Debug)]
pub struct Verified<'a> {
    root: Hash,
    offset: u64,
    bytes: &'a [u8],
    reaches_end: bool,
}

impl<'a> Verified<'a> {
    /// The BLAKE3 hash of the whole content.
    pub fn root(&self) -> &Hash {
        &self.root
    }

    /// Where the bytes begin in the content.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The length of the whole content in bytes, if these are its last. Until then a length is only claimed.
    pub fn proves_length(&self) -> Option<u64> {
        self.reaches_end.then_some(self.offset + self.bytes.len() as u64)
    }
}

/// The same with the memory that the bytes are in, for whoever keeps them for longer.
#[derive(Debug)]
pub struct VerifiedBlock {
    root: Hash,
    offset: u64,
    bytes: Vec<u8>,
    reaches_end: bool,
}

impl VerifiedBlock {
    /// What was verified.
    pub fn as_verified(&self) -> Verified<'_> {
        let VerifiedBlock { root, offset, bytes, reaches_end } = self;
        Verified { root: *root, offset: *offset, bytes, reaches_end: *reaches_end }
    }

    /// The memory, with the bytes in it. They are no longer marked as verified.
    pub fn into_memory(self) -> Vec<u8> {
        self.bytes
    }
}

/// Checks all of a content at once: `None` if its BLAKE3 hash is not `root`.
pub fn verify_whole<'a>(root: &Hash, bytes: &'a [u8]) -> Option<Verified<'a>> {
    let matches = blake3::hash(bytes).as_bytes() == root;
    matches.then_some(Verified { root: *root, offset: 0, bytes, reaches_end: true })
}

/// Why a run was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeError {
    /// The tree has no such run, or needs none: content of one leaf is checked against the root itself.
    NoSuchRun(Run),
    /// The run has another length.
    Length {
        /// The run.
        run: Run,
        /// Bytes that the run has.
        expected: u64,
        /// Bytes that came.
        got: u64,
    },
    /// The run that would prove it, this one, is not here yet.
    ParentUnknown(Run),
    /// It does not fold to what its parent, or the root, says.
    Mismatch(Run),
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TreeError::NoSuchRun(run) => write!(f, "the tree has no {run}"),
            TreeError::Length { run, expected, got } => {
                write!(f, "{run} has {expected} bytes, not {got}")
            }
            TreeError::ParentUnknown(run) => write!(f, "{run} has to come first"),
            TreeError::Mismatch(run) => write!(f, "{run} is not of this tree"),
        }
    }
}

impl std::error::Error for TreeError {}

/// Why content was not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyError {
    /// The bytes are not whole leaves within the content.
    NotWholeLeaves {
        /// Where they begin in the content.
        offset: u64,
        /// How many they are.
        length: u64,
    },
    /// This run is needed first.
    RunUnknown(Run),
    /// These leaves, ascending, are wrong; all others are right.
    BadLeaves(Vec<LeafIndex>),
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VerifyError::NotWholeLeaves { offset, length } => {
                write!(f, "{length} bytes at {offset} are not whole leaves of the content")
            }
            VerifyError::RunUnknown(run) => write!(f, "{run} has to come first"),
            VerifyError::BadLeaves(leaves) => {
                write!(f, "{} wrong leaves, the first is {}", leaves.len(), leaves[0])
            }
        }
    }
}

impl std::error::Error for VerifyError {}

/// The proven part of a tree, under one root and one claimed length of the content.
///
/// Invariant: every run in it folds to the root.
#[derive(Clone, Debug)]
pub struct TreeVerifier {
    root: Hash,
    geometry: Geometry,
    runs: BTreeMap<Run, Box<[Hash]>>,
}

impl TreeVerifier {
    /// Knows nothing but the root, and takes the length as claimed.
    ///
    /// Under a false length, bytes that verify are still right at their offset. But sooner or later what honest peers send
    /// fails, and the last leaf always does.
    pub fn new(root: Hash, geometry: Geometry) -> TreeVerifier {
        TreeVerifier { root, geometry, runs: BTreeMap::new() }
    }

    /// The BLAKE3 hash of the whole content.
    pub fn root(&self) -> &Hash {
        &self.root
    }

    /// The shape under the claimed length.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Whether `run` is here, and so proven.
    pub fn has_run(&self, run: Run) -> bool {
        self.runs.contains_key(&run)
    }

    /// The entries of `run`, if it is here.
    pub fn run(&self, run: Run) -> Option<&[Hash]> {
        self.runs.get(&run).map(|entries| &entries[..])
    }

    /// All runs that are here, in the order of their levels, the leaves first.
    pub fn runs(&self) -> impl Iterator<Item = (Run, &[Hash])> {
        self.runs.iter().map(|(&run, entries)| (run, &entries[..]))
    }

    /// Checks and keeps a run: `bytes` are [`Geometry::run_bytes`] of the tree file. One already here is checked again.
    ///
    /// # Errors
    ///
    /// Says why it was not taken; nothing has changed then.
    pub fn insert_run(&mut self, run: Run, bytes: &[u8]) -> Result<(), TreeError> {
        if self.geometry.leaves() == 1 || !self.geometry.has_run(run) {
            return Err(TreeError::NoSuchRun(run));
        }
        let span = self.geometry.run_bytes(run);
        let (expected, got) = (span.end - span.start, bytes.len() as u64);
        if got != expected {
            return Err(TreeError::Length { run, expected, got });
        }
        let (entries, _) = bytes.as_chunks::<{ ENTRY_LEN as usize }>();
        let proven = match self.geometry.parent_run(run) {
            None => fold::fold_to_root(entries) == Some(self.root),
            Some(parent) => {
                let entry = self.entry_of(parent, run).ok_or(TreeError::ParentUnknown(parent))?;
                fold::fold_to_one(entries) == entry
            }
        };
        if !proven {
            return Err(TreeError::Mismatch(run));
        }
        self.runs.insert(run, entries.into());
        Ok(())
    }

    /// What `parent` says that `run` folds to.
    fn entry_of(&self, parent: Run, run: Run) -> Option<Hash> {
        self.runs.get(&parent)?.get((run.index % RUN_ENTRIES) as usize).copied()
    }

    /// Drops a run that is no longer needed, as the leaves of complete content are.
    pub fn forget_run(&mut self, run: Run) {
        self.runs.remove(&run);
    }

    /// The first run, from the top, that is still missing to verify `leaf`. `None`: ready.
    pub fn missing_run_for(&self, leaf: LeafIndex) -> Option<Run> {
        if self.geometry.leaves() == 1 {
            return None;
        }
        self.geometry.path_to_leaf(leaf).into_iter().find(|run| !self.has_run(*run))
    }

    /// Bytes of memory that the runs take, about.
    pub fn memory(&self) -> usize {
        let entries: usize = self.runs.values().map(|entries| size_of_val(&**entries)).sum();
        entries + self.runs.len() * size_of::<(Run, Box<[Hash]>)>()
    }

    /// The bytes `range` of the tree file, if they follow from the runs that are here. Levels between two runs are folds of
    /// the lower one.
    pub fn read(&self, range: Range<u64>) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for segment in self.geometry.locate(range) {
            match segment {
                Segment::Header(bytes) => {
                    out.extend_from_slice(&header(&self.root)[bytes.start as usize..bytes.end as usize]);
                }
                Segment::Level { level, bytes } => {
                    let up = level.0 % RUN_LEVELS;
                    for (index, bytes) in reader::by_run(up, bytes) {
                        let run = self.runs.get(&Run { level: Level(level.0 - up), index })?;
                        fold::append_folded(run, up, bytes, &mut out);
                    }
                }
            }
        }
        Some(out)
    }

    /// Checks content: `bytes` at `offset`, whole leaves, of which the content's last may be shorter.
    ///
    /// The runs of leaves over `bytes` must be here. Groups that `bytes` covers whole need only the run above, as long
    /// as they are right. Hashing is fastest where `bytes` is aligned to, and as long as, 16 KiB or more.
    ///
    /// # Errors
    ///
    /// [`VerifyError::BadLeaves`] names exactly the wrong leaves. The other errors name the run that is needed first, or bytes that
    /// are not whole leaves.
    pub fn verify<'a>(&self, offset: u64, bytes: &'a [u8]) -> Result<Verified<'a>, VerifyError> {
        let length = self.geometry.length();
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= length);
        let end = end.filter(|end| end.is_multiple_of(LEAF_LEN) || *end == length);
        let (Some(end), true) = (end, offset.is_multiple_of(LEAF_LEN)) else {
            return Err(VerifyError::NotWholeLeaves { offset, length: bytes.len() as u64 });
        };
        if bytes.is_empty() && length > 0 {
            return Err(VerifyError::NotWholeLeaves { offset, length: 0 });
        }
        let leaves = LeafIndex::holding(offset)..LeafIndex(end.div_ceil(LEAF_LEN).max(1));
        let mut bad = Vec::new();
        let mut leaf = leaves.start;
        while leaf < leaves.end {
            let next = leaf.group().next().first_leaf().min(leaves.end);
            self.check_group(leaf..next, offset, bytes, &mut bad)?;
            leaf = next;
        }
        if !bad.is_empty() {
            return Err(VerifyError::BadLeaves(bad));
        }
        Ok(Verified { root: self.root, offset, bytes, reaches_end: end == length })
    }

    /// [Checks](TreeVerifier::verify) content whose memory is given away if it is right.
    ///
    /// # Errors
    ///
    /// The same, and the memory.
    pub fn verify_block(&self, offset: u64, bytes: Vec<u8>) -> Result<VerifiedBlock, (VerifyError, Vec<u8>)> {
        match self.verify(offset, &bytes) {
            Ok(Verified { root, offset, reaches_end, .. }) => {
                Ok(VerifiedBlock { root, offset, bytes, reaches_end })
            }
            Err(error) => Err((error, bytes)),
        }
    }

    /// Checks `leaves`, all of one group, and adds the wrong ones to `bad`. `bytes` begins at `offset`.
    fn check_group(
        &self,
        leaves: Range<LeafIndex>,
        offset: u64,
        bytes: &[u8],
        bad: &mut Vec<LeafIndex>,
    ) -> Result<(), VerifyError> {
        let group = leaves.start.group();
        let run = Run::of_leaves(group);
        let within = |leaves: Range<LeafIndex>| {
            let Range { start, end } = self.geometry.leaves_range(leaves);
            (start, &bytes[(start - offset) as usize..(end - offset) as usize])
        };
        let all = self.geometry.group_leaves(group);
        if leaves == all && self.group_matches(run, within(leaves.clone())) {
            return Ok(());
        }
        if self.geometry.leaves() == 1 {
            bad.push(LeafIndex(0));
            return Ok(());
        }
        let entries = self.runs.get(&run).ok_or(VerifyError::RunUnknown(run))?;
        let entry = |leaf: LeafIndex| (leaf.0 - all.start.0) as usize;
        let mut leaf = leaves.start;
        while leaf < leaves.end {
            let subtree = leaf..complete_subtree_end(leaf, leaves.end, LeafIndex(self.geometry.leaves()));
            let (start, part) = within(subtree.clone());
            let values = &entries[entry(subtree.start)..entry(subtree.end)];
            if fold::subtree(start, part) != fold::fold_to_one(values) {
                let found = fold::leaves(start, part);
                let pairs = (subtree.start.0..).map(LeafIndex).zip(found.iter().zip(values));
                bad.extend(pairs.filter(|(_, (found, value))| found != value).map(|(leaf, _)| leaf));
            }
            leaf = subtree.end;
        }
        Ok(())
    }

    /// Whether what is above its leaves shows that a whole group is right.
    fn group_matches(&self, run: Run, (start, bytes): (u64, &[u8])) -> bool {
        match self.geometry.parent_run(run) {
            None => blake3::hash(bytes).as_bytes() == &self.root,
            Some(parent) => {
                self.entry_of(parent, run).is_some_and(|entry| fold::subtree(start, bytes) == entry)
            }
        }
    }
}

/// Where the largest subtree ends that begins at `leaf` and is complete before `end`. Within one group, in which no
/// subtree is larger than the group. The content's last subtrees have fewer leaves than their place has room for.
fn complete_subtree_end(leaf: LeafIndex, end: LeafIndex, leaves: LeafIndex) -> LeafIndex {
    let mut size = 1 << leaf.0.trailing_zeros().min(RUN_LEVELS.into());
    while size > 1 && leaf.0 + size > end.0 && end < leaves {
        size /= 2;
    }
    LeafIndex(leaf.0 + size).min(leaves)
}
