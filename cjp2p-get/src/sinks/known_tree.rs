//! The part of a content's tree that is known, to resume by and to answer others from.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use cjp2p_wire::content_id::Hash;
use cjp2p_wire::tree::{Geometry, RUN_ENTRIES, Run, TreeSource, TreeVerifier, group_leaves, read_tree};

/// Lengths that peers claim side by side, of which one will be proven. Beyond this the shortest is forgotten.
const MAX_CLAIMS: usize = 32;
/// Groups whose leaves are remembered after they were computed: a peer asks for them in several pieces.
const CACHED_GROUPS: usize = 16;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct KnownTree {
    root: Hash,
    // Invariant: once the length is proven, only that one.
    by_length: BTreeMap<u64, TreeVerifier>,
    proven: bool,
    cache: VecDeque<(u64, Vec<Hash>)>,
}

impl KnownTree {
    /// Nothing but the root.
    pub(crate) fn new(root: Hash) -> KnownTree {
        KnownTree { root, by_length: BTreeMap::new(), proven: false, cache: VecDeque::new() }
    }

    /// What an interrupted fetch had.
    pub(crate) fn resumed(tree: TreeVerifier) -> KnownTree {
        let mut known = KnownTree::new(*tree.root());
        known.by_length.insert(tree.geometry().length(), tree);
        known
    }

    /// Keeps a run of the tree over content of this length. Returns whether it belongs to the proven tree.
    pub(crate) fn keep(&mut self, length: u64, run: Run, bytes: &[u8]) -> bool {
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
    pub(crate) fn prove(&mut self, length: u64) {
        let tree = self.by_length.remove(&length);
        self.by_length.clear();
        if let Ok(geometry) = Geometry::new(length) {
            self.by_length.insert(length, tree.unwrap_or_else(|| TreeVerifier::new(self.root, geometry)));
            self.proven = true;
        }
    }

    /// The tree, once its length is proven.
    pub(crate) fn proven(&self) -> Option<&TreeVerifier> {
        self.by_length.values().next().filter(|_| self.proven)
    }

    /// The leaves of a group that is complete can be computed from it.
    pub(crate) fn forget_leaves(&mut self, group: u64) {
        for tree in self.by_length.values_mut() {
            if tree.geometry().top_run_level() > 0 {
                tree.forget_run(Run { level: 0, index: group });
            }
        }
    }

    /// Appends the bytes `range` of the tree file to `out`. `content` reads a group of the content where it is
    /// complete. Returns the length of the tree file, or `None` where the bytes are not known.
    pub(crate) fn read(
        &mut self,
        range: Range<u64>,
        content: &mut dyn FnMut(Range<u64>) -> Option<Vec<u8>>,
        out: &mut Vec<u8>,
    ) -> Option<u64> {
        let tree = self.by_length.values().next().filter(|_| self.proven)?;
        let geometry = *tree.geometry();
        let before = out.len();
        let mut source = Source { tree, content, cache: &mut self.cache };
        match read_tree(&geometry, range, &mut source, out) {
            Ok(()) => Some(geometry.tree_length()),
            Err(Unknown) => {
                out.truncate(before);
                None
            }
        }
    }
}

struct Source<'a> {
    tree: &'a TreeVerifier,
    content: &'a mut dyn FnMut(Range<u64>) -> Option<Vec<u8>>,
    cache: &'a mut VecDeque<(u64, Vec<Hash>)>,
}

struct Unknown;

impl TreeSource for Source<'_> {
    type Error = Unknown;

    fn prefix(&mut self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), Unknown> {
        out.extend_from_slice(&self.tree.read(range).ok_or(Unknown)?);
        Ok(())
    }

    fn leaves(&mut self, group: u64) -> Result<&[Hash], Unknown> {
        if let Some(leaves) = self.tree.run(Run { level: 0, index: group }) {
            return Ok(leaves);
        }
        if !self.cache.iter().any(|(cached, _)| *cached == group) {
            let bytes = (self.content)(self.tree.geometry().group_range(group)).ok_or(Unknown)?;
            self.cache.truncate(CACHED_GROUPS - 1);
            self.cache.push_front((group, group_leaves(group * RUN_ENTRIES, &bytes)));
        }
        let cached = self.cache.iter().find(|(cached, _)| *cached == group);
        cached.map(|(_, leaves)| &leaves[..]).ok_or(Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cjp2p_wire::tree::{GROUP_LEN, TreeBuilder};

    struct Whole(Vec<u8>);

    impl TreeSource for Whole {
        type Error = ();

        fn prefix(&mut self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), ()> {
            let mut builder = TreeBuilder::new();
            builder.update(&self.0);
            out.extend_from_slice(&builder.finish().prefix()[range.start as usize..range.end as usize]);
            Ok(())
        }

        fn leaves(&mut self, group: u64) -> Result<&[Hash], ()> {
            let bytes = &self.0[(group * GROUP_LEN) as usize..];
            let leaves = group_leaves(group * RUN_ENTRIES, &bytes[..bytes.len().min(GROUP_LEN as usize)]);
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
            let top = Run { level: geometry.top_run_level(), index: 0 };
            let span = geometry.run_bytes(top);
            known.keep(length, top, &tree[span.start as usize..span.end as usize]);
            known.prove(length);
            let mut read = |range: Range<u64>| Some(bytes[range.start as usize..range.end as usize].to_vec());
            let mut out = b"kept".to_vec();
            assert_eq!(known.read(0..u64::MAX, &mut read, &mut out), Some(geometry.tree_length()));
            assert!(out == [b"kept", &tree[..]].concat(), "{length}");
            let mut out = Vec::new();
            known.read(60..95, &mut read, &mut out).unwrap();
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
        let (top, second) = (Run { level: 7, index: 0 }, Run { level: 0, index: 1 });
        assert!(!known.keep(geometry.length(), top, &part(&span(top))));
        let mut out = b"kept".to_vec();
        assert_eq!(known.read(0..64, &mut |_| None, &mut out), None, "before the length is proven");
        known.prove(geometry.length());
        assert!(known.keep(geometry.length(), second, &part(&span(second))));
        assert!(!known.keep(geometry.length() + 1, second, &part(&span(second))), "of another length");
        assert_eq!(known.read(span(second), &mut |_| None, &mut out), Some(geometry.tree_length()));
        assert_eq!(out.len(), 4 + 4096);
        let first = span(Run { level: 0, index: 0 });
        assert_eq!(known.read(first.clone(), &mut |_| None, &mut out), None);
        assert_eq!(out.len(), 4 + 4096);
        known.forget_leaves(1);
        assert_eq!(known.read(span(second), &mut |_| None, &mut out), None);
    }
}
