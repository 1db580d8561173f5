//! Building a tree in one pass over the content.

use blake3::hazmat::HasherExt;

use super::fold;
use super::format::{ENTRY_LEN, GROUP_LEN, HEADER_LEN, MAX_LENGTH, RUN_LEVELS, header};
use super::geometry::Geometry;
use super::position::{GroupIndex, LeafIndex};
use crate::content_id::Hash;

/// The hash of one group: [`GROUP_LEN`] bytes of content, fewer at its end. Groups can be hashed side by side and
/// then given to a [`TreeBuilder`] in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    index: GroupIndex,
    length: u64,
    value: Hash,
    /// The root if this group is all of the content; only the first can be.
    root: Option<Hash>,
}

impl Group {
    /// Hashes `bytes`, the content of group `index`. Much faster than leaf by leaf.
    ///
    /// # Panics
    ///
    /// For more than [`GROUP_LEN`] bytes.
    pub fn hash(index: GroupIndex, bytes: &[u8]) -> Group {
        let mut hasher = GroupHasher::new(index);
        hasher.update(bytes);
        hasher.finish()
    }

    /// Hashes like [`Group::hash`], and returns the values of the leaves too.
    ///
    /// # Panics
    ///
    /// For more than [`GROUP_LEN`] bytes.
    pub fn hash_with_leaves(index: GroupIndex, bytes: &[u8]) -> (Group, Vec<Hash>) {
        let length = bytes.len() as u64;
        assert!(length <= GROUP_LEN, "a group of {length} bytes");
        let leaves = fold::leaves(index.offset(), bytes);
        let root = (index == GroupIndex(0))
            .then(|| fold::fold_to_root(&leaves).unwrap_or_else(|| *blake3::hash(bytes).as_bytes()));
        (Group { index, length, value: fold::fold_to_one(&leaves), root }, leaves)
    }
}

/// The values of the leaves over `bytes`, which are the content from leaf `first` on. Empty content has one leaf.
pub fn group_leaves(first: LeafIndex, bytes: &[u8]) -> Vec<Hash> {
    fold::leaves(first.offset(), bytes)
}

/// Hashes one group as its bytes come. Pieces of 128 KiB are hashed as fast as the whole group, and stay in the cache of a core
/// between being read and being hashed.
#[derive(Clone)]
pub struct GroupHasher {
    index: GroupIndex,
    length: u64,
    hasher: blake3::Hasher,
}

impl GroupHasher {
    /// Ready for the first byte of group `index`.
    pub fn new(index: GroupIndex) -> GroupHasher {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(index.offset());
        GroupHasher { index, length: 0, hasher }
    }

    /// Takes the next bytes of the group.
    ///
    /// # Panics
    ///
    /// Beyond [`GROUP_LEN`] bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        assert!(self.length <= GROUP_LEN, "a group of {} bytes", self.length);
        self.hasher.update(bytes);
    }

    /// The hash of what came.
    pub fn finish(self) -> Group {
        let value = if self.length == 0 { fold::EMPTY_LEAF } else { self.hasher.finalize_non_root() };
        let root = (self.index == GroupIndex(0)).then(|| *self.hasher.finalize().as_bytes());
        Group { index: self.index, length: self.length, value, root }
    }
}

/// Builds a [`Tree`] from content that comes in pieces of any size, or group by group.
///
/// Needs 32 bytes of memory for each [`GROUP_LEN`] bytes of content.
#[derive(Clone)]
pub struct TreeBuilder {
    /// Values of the complete groups.
    groups: Vec<Hash>,
    /// The root if the first group is all.
    first_root: Option<Hash>,
    /// Bytes in `groups`.
    length: u64,
    open: GroupHasher,
}

impl Default for TreeBuilder {
    fn default() -> TreeBuilder {
        TreeBuilder::new()
    }
}

impl TreeBuilder {
    /// Ready for the first byte.
    pub fn new() -> TreeBuilder {
        TreeBuilder { groups: Vec::new(), first_root: None, length: 0, open: GroupHasher::new(GroupIndex(0)) }
    }

    /// Takes the next bytes of the content. Large pieces are faster: 128 KiB and more.
    ///
    /// # Panics
    ///
    /// Beyond [`super::MAX_LENGTH`] bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(GROUP_LEN - self.open.length).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.open.update(now);
            bytes = later;
            if self.open.length == GROUP_LEN {
                self.close_group();
            }
        }
    }

    /// Takes the next group, hashed elsewhere.
    ///
    /// # Panics
    ///
    /// If it is not the next, or an earlier one was not full.
    pub fn push_group(&mut self, group: &Group) {
        let next = GroupIndex(self.groups.len() as u64);
        assert!(
            group.index == next && self.length == next.offset() && self.open.length == 0,
            "{} of {} bytes after {} bytes of content",
            group.index,
            group.length,
            self.length + self.open.length
        );
        self.push(group);
        self.open = GroupHasher::new(next.next());
    }

    fn close_group(&mut self) {
        let next = GroupHasher::new(self.open.index.next());
        let group = std::mem::replace(&mut self.open, next).finish();
        self.push(&group);
    }

    fn push(&mut self, group: &Group) {
        self.first_root = self.first_root.or(group.root);
        self.groups.push(group.value);
        self.length += group.length;
        assert!(self.length <= MAX_LENGTH, "{} bytes of content", self.length);
    }

    /// The tree over all that came.
    pub fn finish(mut self) -> Tree {
        if self.open.length > 0 || self.groups.is_empty() {
            self.close_group();
        }
        let geometry = Geometry::new(self.length).expect("checked as the length grew");
        let (groups, first_root) = (self.groups, self.first_root);
        if groups.len() == 1 {
            let root = first_root.expect("the first group has a root");
            return Tree { geometry, root, prefix: header(&root).into() };
        }
        // Each level is written where it belongs in the file, from the largest, which is last, to the smallest.
        let mut prefix =
            vec![0; usize::try_from(geometry.prefix_length()).expect("the groups fit in memory")];
        let mut start = prefix.len();
        let mut level = groups;
        loop {
            let end = start;
            start -= level.len() * ENTRY_LEN as usize;
            prefix[start..end].copy_from_slice(level.as_flattened());
            if level.len() <= 2 {
                break;
            }
            level = fold::fold_once(&level);
        }
        debug_assert_eq!(start as u64, HEADER_LEN);
        let root = fold::fold_to_root(&level).expect("two values are left");
        prefix[..HEADER_LEN as usize].copy_from_slice(&header(&root));
        Tree { geometry, root, prefix }
    }
}

/// What is kept of a built tree: all but the levels that follow quickly from the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    geometry: Geometry,
    root: Hash,
    prefix: Vec<u8>,
}

impl Tree {
    /// The content's BLAKE3 hash.
    pub fn root(&self) -> &Hash {
        &self.root
    }

    /// Bytes of content.
    pub fn length(&self) -> u64 {
        self.geometry.length()
    }

    /// The tree's shape.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The tree file up to the end of level [`RUN_LEVELS`]: [`Geometry::prefix_length`] bytes.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The same, without a copy.
    pub fn into_prefix(self) -> Vec<u8> {
        self.prefix
    }
}

const _: () = assert!(RUN_LEVELS == 7, "what is kept on disk begins at level 7");
