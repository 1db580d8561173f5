//! The part of a content's tree that is known, to resume by and to answer others from.
//!
//! Leaves of content that is here are not kept: they can be computed from it. Others cause that by asking, so it is not done where the
//! network would wait for it, but for very little: it is said which leaves are needed, and they are [taken up](KnownTree::take_leaves)
//! when they were computed.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use cjp2p_wire::content_id::Hash;
use cjp2p_wire::tree::{
    Geometry, GroupIndex, LEAF_LEN, Level, Run, TreeSource, TreeVerifier, group_leaves, read_tree,
};

/// Lengths that peers claim side by side, of which one will be proven. Beyond this the shortest is forgotten.
const MAX_CLAIMS: usize = 32;
/// Groups whose leaves are remembered after they were computed: a peer asks for them in several pieces.
const CACHED_GROUPS: usize = 16;
/// Groups of so many bytes at the most are hashed at once, for those who returned our cookie.
pub const HASHED_AT_ONCE: u64 = 64 << 10;
/// And for anybody.
pub const HASHED_FOR_ANYBODY: u64 = LEAF_LEN;

/// See the [module](self).
#[derive(Debug)]
pub struct KnownTree {
    root: Hash,
    // Invariant: once the length is proven, only that one.
    by_length: BTreeMap<u64, TreeVerifier>,
    proven: bool,
    /// Leaves that were computed lately; none where they could not be.
    // Invariant: at most `CACHED_GROUPS`.
    cache: VecDeque<(GroupIndex, Vec<Hash>)>,
}

/// Why bytes of a tree are not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTree {
    /// They are not known.
    Unknown,
    /// The leaves of this group have to be computed first.
    Needs(GroupIndex),
}

/// What a [`KnownTree`] may read of the content.
pub trait Content {
    /// Whether all bytes of this range are here and right.
    fn has(&self, range: Range<u64>) -> bool;
    /// These bytes, if they can be had without waiting for a disk.
    fn bytes(&self, range: Range<u64>) -> Option<Vec<u8>>;
}

impl KnownTree {
    /// Nothing but the root.
    pub fn new(root: Hash) -> KnownTree {
        KnownTree { root, by_length: BTreeMap::new(), proven: false, cache: VecDeque::new() }
    }

    /// What an interrupted fetch had.
    pub fn resumed(tree: TreeVerifier) -> KnownTree {
        let mut known = KnownTree::new(*tree.root());
        known.by_length.insert(tree.geometry().length(), tree);
        known
    }

    /// Keeps a run of the tree over content of this length. Returns whether it belongs to the proven tree.
    pub fn keep(&mut self, length: u64, run: Run, bytes: &[u8]) -> bool {
        if self.proven && !self.by_length.contains_key(&length) {
            return false;
        }
        let Ok(geometry) = Geometry::new(length) else {
            return false;
        };
        if !self.by_length.contains_key(&length) && self.by_length.len() >= MAX_CLAIMS {
            self.by_length.pop_first();
        }
        let tree = self.by_length.entry(length).or_insert_with(|| TreeVerifier::new(self.root, geometry));
        tree.insert_run(run, bytes).is_ok() && self.proven
    }

    /// The content is `length` bytes long.
    pub fn prove(&mut self, length: u64) {
        let tree = self.by_length.remove(&length);
        self.by_length.clear();
        if let Ok(geometry) = Geometry::new(length) {
            self.by_length.insert(length, tree.unwrap_or_else(|| TreeVerifier::new(self.root, geometry)));
            self.proven = true;
        }
    }

    /// The tree, once its length is proven.
    pub fn proven(&self) -> Option<&TreeVerifier> {
        self.by_length.values().next().filter(|_| self.proven)
    }

    /// The leaves of a group that is complete can be computed from it.
    pub fn forget_leaves(&mut self, group: GroupIndex) {
        for tree in self.by_length.values_mut() {
            if tree.geometry().top_run_level() > Level::LEAVES {
                tree.forget_run(Run::of_leaves(group));
            }
        }
    }

    /// Takes up the leaves of a group that were computed from the content; `None` where that failed.
    pub fn take_leaves(&mut self, group: GroupIndex, leaves: Option<Vec<Hash>>) {
        self.cache.retain(|(cached, _)| *cached != group);
        self.cache.truncate(CACHED_GROUPS - 1);
        self.cache.push_front((group, leaves.unwrap_or_default()));
    }

    /// The bytes of content of which the leaves of a group are to be computed.
    pub fn group_range(&self, group: GroupIndex) -> Option<Range<u64>> {
        self.proven().map(|tree| tree.geometry().group_range(group))
    }

    /// Appends the bytes `range` of the tree file to `out`, and returns how long that is. Groups of `at_once` bytes at the most are
    /// hashed for it where their leaves are not known.
    ///
    /// # Errors
    ///
    /// They are not known, or something has to be computed first.
    pub fn read(
        &mut self,
        range: Range<u64>,
        content: &dyn Content,
        at_once: u64,
        out: &mut Vec<u8>,
    ) -> Result<u64, NoTree> {
        let tree = self.by_length.values().next().filter(|_| self.proven).ok_or(NoTree::Unknown)?;
        let geometry = *tree.geometry();
        let before = out.len();
        let mut source = Source { tree, content, at_once, cache: &mut self.cache, at: None };
        match read_tree(&geometry, range, &mut source, out) {
            Ok(()) => Ok(geometry.tree_length()),
            Err(why) => {
                out.truncate(before);
                Err(why)
            }
        }
    }
}

struct Source<'a> {
    tree: &'a TreeVerifier,
    content: &'a dyn Content,
    at_once: u64,
    cache: &'a mut VecDeque<(GroupIndex, Vec<Hash>)>,
    /// What was hashed for this read: little.
    at: Option<(GroupIndex, Vec<Hash>)>,
}

impl TreeSource for Source<'_> {
    type Error = NoTree;

    fn prefix(&mut self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), NoTree> {
        out.extend_from_slice(&self.tree.read(range).ok_or(NoTree::Unknown)?);
        Ok(())
    }

    fn leaves(&mut self, group: GroupIndex) -> Result<&[Hash], NoTree> {
        if let Some(leaves) = self.tree.run(Run::of_leaves(group)) {
            return Ok(leaves);
        }
        if let Some(at) = self.cache.iter().position(|(cached, _)| *cached == group) {
            let leaves = &self.cache[at].1;
            return if leaves.is_empty() { Err(NoTree::Unknown) } else { Ok(leaves) };
        }
        if self.at.as_ref().is_some_and(|(at, _)| *at == group) {
            return self.at.as_ref().map(|(_, leaves)| &leaves[..]).ok_or(NoTree::Unknown);
        }
        let range = self.tree.geometry().group_range(group);
        if !self.content.has(range.clone()) {
            return Err(NoTree::Unknown);
        }
        if range.end - range.start > self.at_once {
            return Err(NoTree::Needs(group));
        }
        self.at_once -= range.end - range.start;
        let bytes = self.content.bytes(range).ok_or(NoTree::Needs(group))?;
        let leaves = group_leaves(group.first_leaf(), &bytes);
        Ok(&self.at.insert((group, leaves)).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cjp2p_wire::tree::{GROUP_LEN, TreeBuilder};

    struct Whole(Vec<u8>);

    /// All of the content, or nothing.
    struct Here<'a>(Option<&'a [u8]>);

    impl Content for Here<'_> {
        fn has(&self, _: Range<u64>) -> bool {
            self.0.is_some()
        }

        fn bytes(&self, range: Range<u64>) -> Option<Vec<u8>> {
            Some(self.0?[range.start as usize..range.end as usize].to_vec())
        }
    }

    const NOTHING: Here<'static> = Here(None);

    /// Reads as a server of it does, that has leaves computed when they are needed.
    fn read(
        known: &mut KnownTree,
        range: Range<u64>,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<u64, NoTree> {
        for _ in 0..100 {
            match known.read(range.clone(), &Here(Some(bytes)), HASHED_AT_ONCE, out) {
                Err(NoTree::Needs(group)) => {
                    let of = known.group_range(group).unwrap();
                    let leaves = group_leaves(group.first_leaf(), &bytes[of.start as usize..of.end as usize]);
                    known.take_leaves(group, Some(leaves));
                }
                other => return other,
            }
        }
        panic!("leaves that were taken up are needed again");
    }

    impl TreeSource for Whole {
        type Error = ();

        fn prefix(&mut self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), ()> {
            let mut builder = TreeBuilder::new();
            builder.update(&self.0);
            out.extend_from_slice(&builder.finish().prefix()[range.start as usize..range.end as usize]);
            Ok(())
        }

        fn leaves(&mut self, group: GroupIndex) -> Result<&[Hash], ()> {
            let bytes = &self.0[group.offset() as usize..];
            let leaves = group_leaves(group.first_leaf(), &bytes[..bytes.len().min(GROUP_LEN as usize)]);
            Ok(Vec::leak(leaves))
        }
    }

    fn content(length: u64) -> Vec<u8> {
        (0..length).map(|n| (n ^ (n >> 9)) as u8).collect()
    }

    fn whole_tree(bytes: &[u8]) -> Vec<u8> {
        let geometry = Geometry::new(bytes.len() as u64).unwrap();
        let mut out = Vec::new();
        read_tree(&geometry, 0..u64::MAX, &mut Whole(bytes.to_vec()), &mut out).unwrap();
        out
    }

    #[test]
    fn the_tree_of_finished_content_is_known_whole_whatever_its_size() {
        for length in [1, 4096, 4097, 70_000, GROUP_LEN, GROUP_LEN + 1, 3 * GROUP_LEN + 5000] {
            let bytes = content(length);
            let tree = whole_tree(&bytes);
            let geometry = Geometry::new(length).unwrap();
            let mut known = KnownTree::new(*blake3::hash(&bytes).as_bytes());
            let top = geometry.top_run();
            let span = geometry.run_bytes(top);
            known.keep(length, top, &tree[span.start as usize..span.end as usize]);
            known.prove(length);
            let mut out = b"kept".to_vec();
            assert_eq!(read(&mut known, 0..u64::MAX, &bytes, &mut out), Ok(geometry.tree_length()));
            assert!(out == [b"kept", &tree[..]].concat(), "{length}");
            let mut out = Vec::new();
            read(&mut known, 60..95, &bytes, &mut out).unwrap();
            assert_eq!(out, &tree[60..95]);
        }
    }

    #[test]
    fn leaves_of_content_that_is_not_here_are_unknown_unless_they_came_themselves() {
        let bytes = content(3 * GROUP_LEN);
        let tree = whole_tree(&bytes);
        let geometry = Geometry::new(bytes.len() as u64).unwrap();
        let mut known = KnownTree::new(*blake3::hash(&bytes).as_bytes());
        let span = |run| geometry.run_bytes(run);
        let part = |range: &Range<u64>| tree[range.start as usize..range.end as usize].to_vec();
        let (top, second) = (geometry.top_run(), Run::of_leaves(GroupIndex(1)));
        assert!(!known.keep(geometry.length(), top, &part(&span(top))));
        let mut out = b"kept".to_vec();
        assert_eq!(
            known.read(0..64, &NOTHING, 0, &mut out),
            Err(NoTree::Unknown),
            "before the length is proven"
        );
        known.prove(geometry.length());
        assert!(known.keep(geometry.length(), second, &part(&span(second))));
        assert!(!known.keep(geometry.length() + 1, second, &part(&span(second))), "of another length");
        assert_eq!(known.read(span(second), &NOTHING, 0, &mut out), Ok(geometry.tree_length()));
        assert_eq!(out.len(), 4 + 4096);
        let first = span(Run::of_leaves(GroupIndex(0)));
        assert_eq!(known.read(first.clone(), &NOTHING, 0, &mut out), Err(NoTree::Unknown));
        assert_eq!(out.len(), 4 + 4096);
        known.forget_leaves(GroupIndex(1));
        assert_eq!(known.read(span(second), &NOTHING, 0, &mut out), Err(NoTree::Unknown));
    }

    #[test]
    fn what_others_ask_for_has_hardly_anything_hashed_at_once() {
        for length in [LEAF_LEN, LEAF_LEN + 1, HASHED_AT_ONCE, HASHED_AT_ONCE + 1, 3 * GROUP_LEN] {
            let bytes = content(length);
            let geometry = Geometry::new(length).unwrap();
            let mut known = KnownTree::new(*blake3::hash(&bytes).as_bytes());
            if length > GROUP_LEN {
                let top = geometry.top_run();
                let span = geometry.run_bytes(top);
                known.keep(length, top, &whole_tree(&bytes)[span.start as usize..span.end as usize]);
            }
            known.prove(length);
            for at_once in [HASHED_FOR_ANYBODY, HASHED_AT_ONCE] {
                let here = Here(Some(&bytes));
                let given = known.read(0..u64::MAX, &here, at_once, &mut Vec::new());
                let is_known = length <= LEAF_LEN || length.min(GROUP_LEN) <= at_once;
                assert_eq!(given.is_ok(), is_known, "{length}, {at_once}: {given:?}");
            }
        }
    }

    #[test]
    fn leaves_that_cannot_be_computed_are_unknown_and_not_needed_for_ever() {
        let bytes = content(3 * GROUP_LEN);
        let geometry = Geometry::new(bytes.len() as u64).unwrap();
        let mut known = KnownTree::new(*blake3::hash(&bytes).as_bytes());
        known.prove(bytes.len() as u64);
        let second = geometry.run_bytes(Run::of_leaves(GroupIndex(1)));
        let read = |known: &mut KnownTree| {
            known.read(second.clone(), &Here(Some(&bytes)), HASHED_AT_ONCE, &mut Vec::new())
        };
        assert_eq!(read(&mut known), Err(NoTree::Needs(GroupIndex(1))));
        known.take_leaves(GroupIndex(1), None);
        assert_eq!(read(&mut known), Err(NoTree::Unknown));
    }
}
