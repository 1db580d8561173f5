//! Positions in a tree, each of a type of its own: a leaf, a group, a level, a run.
//!
//! Byte offsets stay plain numbers, in content as in a tree file: they go to files and onto the wire, and are what sets of
//! ranges hold. A content length within the format's bound is a [`Geometry`](super::Geometry).

use std::fmt;

use super::format::{GROUP_LEN, LEAF_LEN, RUN_ENTRIES, RUN_LEVELS};

/// The number of a leaf, counted from the content's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafIndex(pub u64);

impl LeafIndex {
    /// The leaf that holds the byte at `offset` of the content.
    pub fn holding(offset: u64) -> LeafIndex {
        LeafIndex(offset / LEAF_LEN)
    }

    /// Where the leaf begins in the content, in bytes.
    pub fn offset(self) -> u64 {
        self.0.saturating_mul(LEAF_LEN)
    }

    /// The next leaf.
    pub fn next(self) -> LeafIndex {
        LeafIndex(self.0.saturating_add(1))
    }

    /// The group that the leaf is in.
    pub fn group(self) -> GroupIndex {
        GroupIndex(self.0 / RUN_ENTRIES)
    }
}

impl fmt::Display for LeafIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leaf {}", self.0)
    }
}

/// The number of a group: [`GROUP_LEN`] bytes of content, and the run of leaves over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupIndex(pub u64);

impl GroupIndex {
    /// The group that holds the byte at `offset` of the content.
    pub fn holding(offset: u64) -> GroupIndex {
        GroupIndex(offset / GROUP_LEN)
    }

    /// Where the group begins in the content, in bytes.
    pub fn offset(self) -> u64 {
        self.0.saturating_mul(GROUP_LEN)
    }

    /// The next group.
    pub fn next(self) -> GroupIndex {
        GroupIndex(self.0.saturating_add(1))
    }

    /// The first leaf of the group.
    pub fn first_leaf(self) -> LeafIndex {
        LeafIndex(self.0.saturating_mul(RUN_ENTRIES))
    }
}

impl fmt::Display for GroupIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {}", self.0)
    }
}

/// The number of a level, counted from the leaves up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(pub u8);

impl Level {
    /// The level of the leaves.
    pub const LEAVES: Level = Level(0);

    /// Whether runs are of this level: each [`RUN_LEVELS`]th.
    pub fn has_runs(self) -> bool {
        self.0.is_multiple_of(RUN_LEVELS)
    }
}

/// An aligned run of entries within one level, the unit in which a tree is fetched and proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    /// The level of its entries, a multiple of [`RUN_LEVELS`].
    pub level: Level,
    /// Its place in the level: it begins at entry `index * RUN_ENTRIES`.
    pub index: u64,
}

impl Run {
    /// The run of the leaves of `group`.
    pub fn of_leaves(group: GroupIndex) -> Run {
        Run { level: Level::LEAVES, index: group.0 }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} of level {}", self.index, self.level.0)
    }
}
