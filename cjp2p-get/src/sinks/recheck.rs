//! Verifies what an interrupted fetch wrote, piece by piece, while the rest is fetched.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use cjp2p_wire::transfer::ranges::RangeSet;
use cjp2p_wire::tree::{GROUP_LEN, TreeVerifier, VerifyError};

/// A piece is within so many bytes of content: a whole number of groups, and hundredths of a second of hashing.
const PIECE_LEN: u64 = 32 * GROUP_LEN;

/// See the [module](self).
#[derive(Debug)]
pub struct Recheck {
    file: Arc<File>,
    tree: TreeVerifier,
    /// Of whole leaves. The first comes next.
    pieces: VecDeque<Range<u64>>,
}

/// A piece that was verified.
#[derive(Debug)]
pub struct Checked {
    /// The piece.
    pub range: Range<u64>,
    /// What of it is right.
    pub right: RangeSet,
    /// What is left to verify, if anything.
    pub rest: Option<Recheck>,
}

impl Recheck {
    /// To verify `ranges`, of whole leaves, by what is known of the tree.
    pub(super) fn new(file: Arc<File>, tree: TreeVerifier, ranges: &RangeSet) -> Recheck {
        let pieces = ranges.iter().flat_map(|range| {
            (range.start / PIECE_LEN..range.end.div_ceil(PIECE_LEN)).map(move |nth| {
                let piece = nth * PIECE_LEN..(nth + 1) * PIECE_LEN;
                piece.start.max(range.start)..piece.end.min(range.end)
            })
        });
        Recheck { file, tree, pieces: pieces.collect() }
    }

    /// Begins with what has some of `wanted`.
    pub(super) fn prefer(&mut self, wanted: &RangeSet) {
        self.pieces.make_contiguous().sort_by_key(|piece| !wanted.overlaps(piece.clone()));
    }

    /// Verifies the next piece.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn step(mut self) -> io::Result<Checked> {
        let Some(range) = self.pieces.pop_front() else {
            return Ok(Checked { range: 0..0, right: RangeSet::new(), rest: None });
        };
        let right = verified(&self.file, &self.tree, range.clone())?;
        let rest = (!self.pieces.is_empty()).then_some(self);
        Ok(Checked { range, right, rest })
    }
}

/// Reads this range of a file, of whole leaves, and gives what of it is right.
pub(super) fn verified(file: &File, tree: &TreeVerifier, range: Range<u64>) -> io::Result<RangeSet> {
    let mut right = RangeSet::new();
    let mut buffer = vec![0; GROUP_LEN.min(range.end - range.start) as usize];
    let mut start = range.start;
    while start < range.end {
        let end = ((start / GROUP_LEN + 1) * GROUP_LEN).min(range.end);
        let bytes = &mut buffer[..(end - start) as usize];
        file.read_exact_at(bytes, start)?;
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
            Err(VerifyError::RunUnknown(_) | VerifyError::NotWholeLeaves) => {}
        }
        start = end;
    }
    Ok(right)
}
