//! The hash tree `blake3_tree_v2`: where its values lie, building it, verifying content by it, serving it.
//!
//! Leaves are blocks of [`LEAF_LEN`] bytes, the last one shorter. Each level pairs the values of the level below
//! with BLAKE3's parent compression, an odd last one is carried up unchanged, and the last two merge to the content's
//! BLAKE3 hash. The tree file holds a header and then the levels, smallest first.
//!
//! An aligned run of [`RUN_ENTRIES`] values of one level folds to one value [`RUN_LEVELS`] levels up. So values cross
//! the network and are kept as runs of the levels 0, 7, 14 and so on, and all other levels follow from them.

mod build;
mod fold;
mod geometry;
mod reader;
mod verify;

pub use build::{Group, Tree, TreeBuilder, group_leaves};
pub use geometry::{Geometry, Run, Segment, TooLong};
pub use reader::{TreeSource, groups_needed, read_tree};
pub use verify::{TreeError, TreeVerifier, Verified, VerifyError, verify_whole};

/// Bytes of content below one leaf of the tree.
pub const LEAF_LEN: u64 = 4096;
/// Levels between a run and the one entry that proves it.
pub const RUN_LEVELS: u32 = 7;
/// Entries of a full run.
pub const RUN_ENTRIES: u64 = 1 << RUN_LEVELS;
/// Bytes of content below one run of leaves: a group.
pub const GROUP_LEN: u64 = RUN_ENTRIES * LEAF_LEN;
/// Longest content in bytes: what a JSON number holds exactly.
pub const MAX_LENGTH: u64 = 1 << 53;
/// Bytes of one entry of the tree file.
pub const ENTRY_LEN: u64 = 32;
/// Bytes before the first level of the tree file: its mark, zeros, and the root.
pub const HEADER_LEN: u64 = 64;

/// The header of the tree file of the content whose BLAKE3 hash is `root`.
pub fn header(root: &crate::content_id::Hash) -> [u8; HEADER_LEN as usize] {
    let mut header = [0; HEADER_LEN as usize];
    header[..4].copy_from_slice(b"B3T\x02");
    header[32..].copy_from_slice(root);
    header
}

#[cfg(test)]
mod tests;
