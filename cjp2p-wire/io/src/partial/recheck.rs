//! Verifies what an interrupted fetch wrote, piece by piece, while the rest is fetched.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Weak};

use cjp2p_wire::range_set::RangeSet;
use cjp2p_wire::tree::{GROUP_LEN, TreeVerifier, VerifyError};

/// A piece is what there is of so many bytes of content: a whole number of groups, and hundredths of a second of hashing.
const PIECE_LEN: u64 = 32 * GROUP_LEN;

/// See the [module](self).
#[derive(Debug)]
pub struct Recheck {
    /// Not held: once the fetch has ended, its file is for others.
    file: Weak<File>,
    tree: TreeVerifier,
    /// To be verified, of whole leaves.
    left: RangeSet,
    /// Comes first.
    wanted: RangeSet,
}

/// A piece that was verified.
#[derive(Debug)]
pub struct Checked {
    /// All that was to be verified within these bytes has been.
    pub range: Range<u64>,
    /// What of it is right.
    pub right: RangeSet,
    /// What is left to verify, if anything.
    pub rest: Option<Recheck>,
}

impl Recheck {
    /// To verify `ranges`, of whole leaves, by what is known of the tree.
    pub fn new(file: &Arc<File>, tree: TreeVerifier, ranges: &RangeSet) -> Recheck {
        Recheck { file: Arc::downgrade(file), tree, left: ranges.clone(), wanted: RangeSet::new() }
    }

    /// Begins with what has some of `wanted`.
    pub fn prefer(&mut self, wanted: RangeSet) {
        self.wanted = wanted;
    }

    /// Verifies the next piece. What cannot be read is not right.
    pub fn step(mut self) -> Checked {
        let wanted = self.wanted.iter().find_map(|range| self.left.within(range).next());
        let first = wanted.or_else(|| self.left.iter().next()).unwrap_or_default();
        let start = first.start / PIECE_LEN * PIECE_LEN;
        let range = start..start + PIECE_LEN;
        let mut right = RangeSet::new();
        if let Some(file) = self.file.upgrade() {
            for part in self.left.within(range.clone()) {
                verify(&file, &self.tree, part, &mut right);
            }
        }
        self.left.remove(range.clone());
        let rest = (!self.left.is_empty()).then_some(self);
        Checked { range, right, rest }
    }
}

/// Reads this range of a file, of whole leaves, and adds what of it is right to `right`.
pub fn verify(file: &File, tree: &TreeVerifier, range: Range<u64>, right: &mut RangeSet) {
    let mut buffer = vec![0; GROUP_LEN.min(range.end - range.start) as usize];
    let mut start = range.start;
    while start < range.end {
        let end = ((start / GROUP_LEN + 1) * GROUP_LEN).min(range.end);
        let bytes = &mut buffer[..(end - start) as usize];
        // What comes in its place is written over it, which is all that can be done about a bad sector.
        if let Err(error) = file.read_exact_at(bytes, start) {
            log::info!(
                "bytes {start} to {end} of what is there cannot be read, and are fetched again: {error}"
            );
            start = end;
            continue;
        }
        match tree.verify(start, bytes) {
            Ok(_) => {
                right.insert(start..end);
            }
            Err(VerifyError::BadLeaves(bad)) => {
                right.insert(start..end);
                for leaf in bad {
                    right.remove(tree.geometry().leaf_range(leaf));
                }
            }
            // Who wrote the record left out what proves it.
            Err(VerifyError::RunUnknown(_) | VerifyError::NotWholeLeaves { .. }) => {}
        }
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use cjp2p_wire::tree::{Geometry, LEAF_LEN, TreeBuilder};

    use super::*;

    #[test]
    fn many_small_ranges_are_few_pieces_and_those_that_are_wanted_come_first() {
        let length = 3 * PIECE_LEN;
        let file = Arc::new(tempfile::tempfile().unwrap());
        let tree = TreeVerifier::new([7; 32], Geometry::new(length).unwrap());
        let leaves = (0..length / LEAF_LEN).step_by(2).map(|leaf| leaf * LEAF_LEN..(leaf + 1) * LEAF_LEN);
        let mut recheck = Recheck::new(&file, tree, &leaves.collect());
        recheck.prefer(std::iter::once(PIECE_LEN + 1..PIECE_LEN + 2).collect());
        let mut seen = Vec::new();
        let mut next = Some(recheck);
        while let Some(recheck) = next {
            let checked = recheck.step();
            assert!(checked.right.is_empty(), "the file is empty");
            seen.push(checked.range.start / PIECE_LEN);
            next = checked.rest;
        }
        assert_eq!(seen, [1, 0, 2]);
    }

    #[test]
    fn a_file_that_nobody_has_open_any_more_is_not_held() {
        let mut builder = TreeBuilder::new();
        builder.update(&[1; 9000]);
        let tree = builder.finish();
        let file = Arc::new(tempfile::tempfile().unwrap());
        let tree = TreeVerifier::new(*tree.root(), tree.geometry());
        let recheck = Recheck::new(&file, tree, &std::iter::once(0..9000).collect());
        assert_eq!(Arc::strong_count(&file), 1);
        drop(file);
        assert!(recheck.step().right.is_empty());
    }
}
