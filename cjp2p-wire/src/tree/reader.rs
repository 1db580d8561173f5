//! Serving the tree file of finished content, of which only the prefix is kept.

use std::ops::Range;

use super::fold;
use super::format::{ENTRY_LEN, RUN_ENTRIES, RUN_LEVELS};
use super::geometry::{Geometry, Segment};
use super::position::GroupIndex;
use crate::content_id::Hash;

/// What [`read_tree`] reads from.
pub trait TreeSource {
    /// Why a read failed.
    type Error;

    /// Appends the bytes `range` of the tree file to `out`; `range` is within [`Geometry::prefix_length`].
    ///
    /// # Errors
    ///
    /// If they cannot be read in full.
    fn prefix(&mut self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), Self::Error>;

    /// The values of all leaves of `group`, as [`group_leaves`](super::group_leaves) computes them from the bytes
    /// [`Geometry::group_range`] of the content. Called once for each group and level of a read: keep the last few.
    ///
    /// # Errors
    ///
    /// If the content cannot be read in full.
    fn leaves(&mut self, group: GroupIndex) -> Result<&[Hash], Self::Error>;
}

/// Appends the bytes `range` of the tree file to `out`; none past its end.
///
/// # Errors
///
/// What the source says. `out` may then have grown by some of the bytes.
///
/// # Panics
///
/// If the source gives fewer leaves than a group has.
pub fn read_tree<S: TreeSource>(
    geometry: &Geometry,
    range: Range<u64>,
    source: &mut S,
    out: &mut Vec<u8>,
) -> Result<(), S::Error> {
    for segment in geometry.locate(range) {
        match segment {
            Segment::Header(bytes) => source.prefix(bytes, out)?,
            Segment::Level { level, bytes } if level.0 >= RUN_LEVELS => {
                let offset = geometry.level_offset(level);
                source.prefix(offset + bytes.start..offset + bytes.end, out)?;
            }
            Segment::Level { level, bytes } => {
                for (group, bytes) in by_run(level.0, bytes) {
                    fold::append_folded(source.leaves(GroupIndex(group))?, level.0, bytes, out);
                }
            }
        }
    }
    Ok(())
}

/// How many groups must give their leaves for [`read_tree`] to read these bytes.
pub fn groups_needed(geometry: &Geometry, range: Range<u64>) -> u64 {
    let groups = |segment| match segment {
        Segment::Level { level, bytes } if level.0 < RUN_LEVELS => by_run(level.0, bytes).count() as u64,
        _ => 0,
    };
    geometry.locate(range).into_iter().map(groups).sum()
}

/// Cuts bytes of a level that is `levels` above a level of runs into the parts that follow from one run each: the
/// run's index, and the bytes counted from the first that follows from it.
pub(super) fn by_run(levels: u8, bytes: Range<u64>) -> impl Iterator<Item = (u64, Range<u64>)> {
    let size = (RUN_ENTRIES >> levels) * ENTRY_LEN;
    (bytes.start / size..bytes.end.div_ceil(size)).map(move |run| {
        let start = run * size;
        (run, bytes.start.max(start) - start..bytes.end.min(start + size) - start)
    })
}
