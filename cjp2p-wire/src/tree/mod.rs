//! The hash tree `blake3_tree_v2`: where its values lie, building it, verifying content by it, serving it.
//!
//! Leaves are blocks of [`LEAF_LEN`] bytes, the last one shorter. Each level pairs the values of the level below
//! with BLAKE3's parent compression, an odd last one is carried up unchanged, and the last two merge to the content's
//! BLAKE3 hash. The tree file holds a header and then the levels, smallest first.
//!
//! An aligned run of [`RUN_ENTRIES`] values of one level folds to one value [`RUN_LEVELS`] levels up. So values cross
//! the network and are kept as runs of the levels 0, 7, 14 and so on. All other levels follow from them.

mod build;
mod fold;
mod format;
mod geometry;
mod position;
mod reader;
mod verify;

pub use build::{Group, GroupHasher, Tree, TreeBuilder, group_leaves};
pub use format::{ENTRY_LEN, GROUP_LEN, HEADER_LEN, LEAF_LEN, MAX_LENGTH, RUN_ENTRIES, RUN_LEVELS, header};
pub use geometry::{Geometry, Segment, TooLong};
pub use position::{GroupIndex, LeafIndex, Level, Run};
pub use reader::{TreeSource, groups_needed, read_tree};
pub use verify::{TreeError, TreeVerifier, Verified, VerifiedBlock, VerifyError, verify_whole};

#[cfg(test)]
mod tests;
