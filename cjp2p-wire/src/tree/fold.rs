//! Folding values of a level into values of the levels above.

use std::ops::Range;

use blake3::hazmat::{self, HasherExt, Mode};

use super::format::{ENTRY_LEN, LEAF_LEN};
use crate::content_id::Hash;

/// The value of the one leaf of empty content: BLAKE3's empty chunk, not finalized as a root. The blake3 crate has no
/// way to compute it; the reference in the tests does.
pub(super) const EMPTY_LEAF: Hash = [
    0xb4, 0x68, 0x6b, 0x3c, 0x8d, 0x95, 0x3f, 0x4d, 0x18, 0x5d, 0x51, 0xbc, 0x9c, 0xd7, 0xbc, 0xe6, 0xd9,
    0x78, 0x2d, 0x76, 0x59, 0xf8, 0xc0, 0x60, 0x68, 0xd4, 0xc3, 0xff, 0xa6, 0xe5, 0x68, 0x41,
];

/// The level above: neighbours paired, an odd last one carried.
pub(super) fn fold_once(values: &[Hash]) -> Vec<Hash> {
    values
        .chunks(2)
        .map(|pair| match pair {
            [left, right] => hazmat::merge_subtrees_non_root(left, right, Mode::Hash),
            odd => odd[0],
        })
        .collect()
}

/// The values `levels` levels up.
pub(super) fn fold(values: &[Hash], levels: u8) -> Vec<Hash> {
    let mut values = values.to_vec();
    for _ in 0..levels {
        values = fold_once(&values);
    }
    values
}

/// The value that all of `values`, at least one, fold to within a larger tree.
pub(super) fn fold_to_one(values: &[Hash]) -> Hash {
    let mut values = values.to_vec();
    while values.len() > 1 {
        values = fold_once(&values);
    }
    values[0]
}

/// The root over a whole level. `None` for fewer than two values, from which it cannot be told.
pub(super) fn fold_to_root(values: &[Hash]) -> Option<Hash> {
    let mut values = values.to_vec();
    while values.len() > 2 {
        values = fold_once(&values);
    }
    match values[..] {
        [left, right] => Some(*hazmat::merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()),
        _ => None,
    }
}

/// The value of the subtree over `bytes` at `offset`, within a larger tree. `offset` begins a leaf, and `bytes` is no
/// longer than a subtree there may be.
pub(super) fn subtree(offset: u64, bytes: &[u8]) -> Hash {
    if bytes.is_empty() {
        return EMPTY_LEAF;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset);
    hasher.update(bytes).finalize_non_root()
}

/// Appends the bytes `bytes` of what `values` fold to `levels` levels up, counted from the first of these.
///
/// # Panics
///
/// If `values` do not reach that far.
pub(super) fn append_folded(values: &[Hash], levels: u8, bytes: Range<u64>, out: &mut Vec<u8>) {
    let first = bytes.start / ENTRY_LEN;
    let below = |entry: u64| usize::try_from(entry << levels).unwrap_or(usize::MAX).min(values.len());
    let folded = fold(&values[below(first)..below(bytes.end.div_ceil(ENTRY_LEN))], levels);
    let skipped = first * ENTRY_LEN;
    out.extend_from_slice(
        &folded.as_flattened()[(bytes.start - skipped) as usize..(bytes.end - skipped) as usize],
    );
}

/// The values of the leaves over `bytes`, which begins at `offset`. Empty content has one leaf.
pub(super) fn leaves(offset: u64, bytes: &[u8]) -> Vec<Hash> {
    if bytes.is_empty() {
        return vec![EMPTY_LEAF];
    }
    let offsets = (offset..).step_by(LEAF_LEN as usize);
    offsets.zip(bytes.chunks(LEAF_LEN as usize)).map(|(offset, leaf)| subtree(offset, leaf)).collect()
}
