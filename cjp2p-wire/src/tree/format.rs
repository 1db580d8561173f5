//! The numbers of the format: lengths of leaves, runs and entries, and the header of a tree file.

use crate::content_id::Hash;

/// Bytes of content below one leaf of the tree.
pub const LEAF_LEN: u64 = 4096;
/// Levels between a run and the one entry that proves it.
pub const RUN_LEVELS: u8 = 7;
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
pub fn header(root: &Hash) -> [u8; HEADER_LEN as usize] {
    let mut header = [0; HEADER_LEN as usize];
    header[..4].copy_from_slice(b"B3T\x02");
    header[32..].copy_from_slice(root);
    header
}
