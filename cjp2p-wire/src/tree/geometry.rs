//! Where everything of a tree lies, as it follows from the content's length alone.

use std::fmt;
use std::ops::Range;

use super::format::{ENTRY_LEN, HEADER_LEN, LEAF_LEN, MAX_LENGTH, RUN_ENTRIES, RUN_LEVELS};
use super::position::{GroupIndex, LeafIndex, Level, Run};

/// The shape of the tree over content of one length.
///
/// A value of this type has a length of at most [`MAX_LENGTH`], so that none of the arithmetic can overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    length: u64,
}

/// A length above [`MAX_LENGTH`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong(
    /// The length in bytes.
    pub u64,
);

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes is longer than any content can be", self.0)
    }
}

impl std::error::Error for TooLong {}

/// A part of the tree file that lies within the header or within one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Bytes of the header, at most 0 to [`HEADER_LEN`].
    Header(Range<u64>),
    /// Bytes of a level.
    Level {
        /// Which level.
        level: Level,
        /// Bytes counted from the level's first entry; may begin and end within an entry.
        bytes: Range<u64>,
    },
}

impl Geometry {
    /// The tree over `length` bytes of content.
    ///
    /// # Errors
    ///
    /// [`TooLong`] above [`MAX_LENGTH`].
    pub fn new(length: u64) -> Result<Geometry, TooLong> {
        if length > MAX_LENGTH { Err(TooLong(length)) } else { Ok(Geometry { length }) }
    }

    /// Bytes of content.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// How many leaves there are. Empty content has one, of no bytes.
    pub fn leaves(&self) -> u64 {
        self.length.div_ceil(LEAF_LEN).max(1)
    }

    /// How many levels the tree file holds, at least 1. Level 0 is the leaves, the last has at most 2 entries.
    pub fn level_count(&self) -> u8 {
        let mut count = 1;
        while self.level_entries(Level(count - 1)) > 2 {
            count += 1;
        }
        count
    }

    /// How many entries `level` has, at least 1.
    pub fn level_entries(&self, level: Level) -> u64 {
        match 1u64.checked_shl(level.0.into()) {
            Some(below) => self.leaves().div_ceil(below),
            None => 1,
        }
    }

    /// Where `level` begins in the tree file, in bytes. Levels that are not stored begin where the header ends.
    pub fn level_offset(&self, level: Level) -> u64 {
        (level.0.saturating_add(1)..self.level_count())
            .fold(HEADER_LEN, |offset, above| offset + self.level_entries(Level(above)) * ENTRY_LEN)
    }

    /// Bytes of the tree file.
    pub fn tree_length(&self) -> u64 {
        self.level_offset(Level::LEAVES) + self.leaves() * ENTRY_LEN
    }

    /// Bytes of the tree file before the levels that are cheaply computed anew from the content: the header and the
    /// levels from [`RUN_LEVELS`] up. Only the header for content of at most [`GROUP_LEN`](super::GROUP_LEN).
    pub fn prefix_length(&self) -> u64 {
        self.level_offset(Level(RUN_LEVELS - 1))
    }

    /// The length of the content whose tree file is `tree_length` bytes long, rounded up to whole leaves. `None` for
    /// lengths that no tree file has.
    pub fn content_length_of(tree_length: u64) -> Option<u64> {
        let longer = |length| Geometry { length }.tree_length() > tree_length;
        // The tree's length grows with each leaf; look for the most leaves that fit.
        let (mut fits, mut leaves) = (0, MAX_LENGTH / LEAF_LEN + 1);
        while leaves - fits > 1 {
            let middle = fits + (leaves - fits) / 2;
            if longer(middle * LEAF_LEN) { leaves = middle } else { fits = middle }
        }
        let found = Geometry { length: fits * LEAF_LEN };
        (fits > 0 && found.tree_length() == tree_length).then_some(found.length)
    }

    /// The bytes of content below `leaf`; empty past the end.
    pub fn leaf_range(&self, leaf: LeafIndex) -> Range<u64> {
        self.leaves_range(leaf..leaf.next())
    }

    /// The bytes of content below these leaves; empty past the end.
    pub fn leaves_range(&self, leaves: Range<LeafIndex>) -> Range<u64> {
        leaves.start.offset().min(self.length)..leaves.end.offset().min(self.length)
    }

    /// How many groups there are, the last one shorter. Empty content has one.
    pub fn groups(&self) -> u64 {
        self.level_entries(Level(RUN_LEVELS))
    }

    /// The bytes of content of `group`; empty past the end.
    pub fn group_range(&self, group: GroupIndex) -> Range<u64> {
        group.offset().min(self.length)..group.next().offset().min(self.length)
    }

    /// The leaves of `group`; empty past the end.
    pub fn group_leaves(&self, group: GroupIndex) -> Range<LeafIndex> {
        let end = LeafIndex(self.leaves());
        group.first_leaf().min(end)..group.next().first_leaf().min(end)
    }

    /// The level of the one run that folds straight to the root.
    pub fn top_run_level(&self) -> Level {
        let mut level = 0;
        while self.level_entries(Level(level)) > RUN_ENTRIES {
            level += RUN_LEVELS;
        }
        Level(level)
    }

    /// The run that folds straight to the root.
    pub fn top_run(&self) -> Run {
        Run { level: self.top_run_level(), index: 0 }
    }

    /// The levels that have runs, the leaves first.
    pub fn run_levels(&self) -> impl DoubleEndedIterator<Item = Level> {
        (0..=self.top_run_level().0).step_by(RUN_LEVELS.into()).map(Level)
    }

    /// The runs of a level, in order; none of a level without runs.
    pub fn runs(&self, level: Level) -> impl Iterator<Item = Run> {
        let has_runs = level.has_runs() && level <= self.top_run_level();
        let count = if has_runs { self.level_entries(level).div_ceil(RUN_ENTRIES) } else { 0 };
        (0..count).map(move |index| Run { level, index })
    }

    /// Whether the tree has such a run.
    pub fn has_run(&self, run: Run) -> bool {
        run.level.has_runs()
            && run.level <= self.top_run_level()
            && run.index < self.level_entries(run.level).div_ceil(RUN_ENTRIES)
    }

    /// The entries of `run` as counted in its level; empty if the tree has no such run.
    pub fn run_entries(&self, run: Run) -> Range<u64> {
        if !self.has_run(run) {
            return 0..0;
        }
        let first = run.index * RUN_ENTRIES;
        first..(first + RUN_ENTRIES).min(self.level_entries(run.level))
    }

    /// Where `run` lies in the tree file, in bytes.
    pub fn run_bytes(&self, run: Run) -> Range<u64> {
        let entries = self.run_entries(run);
        let offset = self.level_offset(run.level);
        offset + entries.start * ENTRY_LEN..offset + entries.end * ENTRY_LEN
    }

    /// The run that proves `run`: its entry `run.index % RUN_ENTRIES` is what `run` folds to. `None` for the top run.
    pub fn parent_run(&self, run: Run) -> Option<Run> {
        (run.level < self.top_run_level())
            .then(|| Run { level: Level(run.level.0 + RUN_LEVELS), index: run.index / RUN_ENTRIES })
    }

    /// The runs that prove `leaf`, the top one first.
    pub fn path_to_leaf(&self, leaf: LeafIndex) -> Vec<Run> {
        let lowest = Run::of_leaves(leaf.group());
        let mut path: Vec<Run> = std::iter::successors(Some(lowest), |run| self.parent_run(*run)).collect();
        path.reverse();
        path
    }

    /// What the bytes `range` of the tree file are, in order. Bytes past the end of the file are left out.
    pub fn locate(&self, range: Range<u64>) -> Vec<Segment> {
        let mut segments = Vec::new();
        if range.start < HEADER_LEN.min(range.end) {
            segments.push(Segment::Header(range.start..range.end.min(HEADER_LEN)));
        }
        let mut offset = HEADER_LEN;
        for level in (0..self.level_count()).rev().map(Level) {
            let end = offset + self.level_entries(level) * ENTRY_LEN;
            let bytes = range.start.max(offset)..range.end.min(end);
            if bytes.start < bytes.end {
                segments.push(Segment::Level { level, bytes: bytes.start - offset..bytes.end - offset });
            }
            offset = end;
        }
        segments
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::GROUP_LEN;
    use super::*;
    use proptest::prelude::*;

    /// The sizes of all levels as the format's description counts them.
    fn naive_levels(length: u64) -> Vec<u64> {
        let mut levels = vec![length.div_ceil(LEAF_LEN).max(1)];
        while levels[levels.len() - 1] > 2 {
            levels.push(levels[levels.len() - 1].div_ceil(2));
        }
        levels
    }

    fn any_length() -> impl Strategy<Value = u64> {
        prop_oneof![0..=4 * GROUP_LEN, 0..=MAX_LENGTH, (0u32..=53).prop_map(|bits| 1 << bits)]
            .prop_flat_map(|length| (-2i64..=2).prop_map(move |off| length.saturating_add_signed(off)))
            .prop_map(|length| length.min(MAX_LENGTH))
    }

    proptest! {
        #[test]
        fn levels_lie_where_the_format_puts_them(length in any_length()) {
            let tree = Geometry::new(length).unwrap();
            let levels = naive_levels(length);
            prop_assert_eq!(tree.level_count() as usize, levels.len());
            let mut offset = HEADER_LEN;
            for (level, entries) in levels.iter().enumerate().rev() {
                let level = Level(level as u8);
                prop_assert_eq!(tree.level_entries(level), *entries);
                prop_assert_eq!(tree.level_offset(level), offset);
                offset += entries * ENTRY_LEN;
            }
            prop_assert_eq!(tree.tree_length(), offset);
            prop_assert_eq!(Geometry::content_length_of(offset), Some(levels[0] * LEAF_LEN));
            prop_assert_eq!(Geometry::content_length_of(offset - 1), None);
            let kept: u64 = levels.iter().skip(7).sum();
            prop_assert_eq!(tree.prefix_length(), HEADER_LEN + kept * ENTRY_LEN);
        }

        #[test]
        fn runs_cover_each_seventh_level_and_lead_to_the_top(length in any_length(), leaf: u64) {
            let tree = Geometry::new(length).unwrap();
            let leaf = leaf % tree.leaves();
            let path = tree.path_to_leaf(LeafIndex(leaf));
            let top = path[0];
            prop_assert_eq!(top, tree.top_run());
            prop_assert!(tree.level_entries(top.level) <= RUN_ENTRIES);
            prop_assert_eq!(tree.parent_run(top), None);
            for (depth, run) in path.iter().rev().enumerate() {
                prop_assert!(tree.has_run(*run) && run.level.0 < tree.level_count());
                prop_assert_eq!(run.level, Level(7 * depth as u8));
                prop_assert!(tree.run_entries(*run).contains(&(leaf >> run.level.0)));
                let bytes = tree.run_bytes(*run);
                prop_assert!(bytes.start >= HEADER_LEN && bytes.end <= tree.tree_length());
            }
            for pair in path.windows(2) {
                prop_assert_eq!(tree.parent_run(pair[1]), Some(pair[0]));
                prop_assert!(tree.run_entries(pair[0]).contains(&pair[1].index));
            }
            let past = GroupIndex(tree.leaves().div_ceil(RUN_ENTRIES));
            prop_assert!(!tree.has_run(Run::of_leaves(past)), "a run past the end");
            prop_assert!(!tree.has_run(Run { level: Level(top.level.0 + 7), index: 0 }), "a run above the top");
            prop_assert_eq!(tree.run_levels().count(), path.len());
        }

        #[test]
        fn segments_cover_exactly_the_range_asked_for(length in any_length(), start: u64, size in 0u64..100_000) {
            let tree = Geometry::new(length).unwrap();
            let start = start % (tree.tree_length() + 10);
            let mut at = start;
            for segment in tree.locate(start..start + size) {
                let (offset, bytes) = match segment {
                    Segment::Header(bytes) => (0, bytes),
                    Segment::Level { level, bytes } => (tree.level_offset(level), bytes),
                };
                prop_assert_eq!(offset + bytes.start, at);
                at = offset + bytes.end;
            }
            prop_assert_eq!(at, (start + size).min(tree.tree_length()).max(start));
        }

        #[test]
        fn leaves_and_groups_cover_the_content_without_gaps(length in 0..3 * GROUP_LEN) {
            let tree = Geometry::new(length).unwrap();
            let (mut at, mut leaf) = (0, LeafIndex(0));
            for group in (0..tree.groups()).map(GroupIndex) {
                prop_assert_eq!(tree.group_range(group).start, at);
                prop_assert_eq!(tree.group_leaves(group).start, leaf);
                while leaf < tree.group_leaves(group).end {
                    let range = tree.leaf_range(leaf);
                    prop_assert_eq!((range.start, leaf.group()), (at, group));
                    prop_assert!(range.is_empty() || LeafIndex::holding(range.end - 1) == leaf);
                    (at, leaf) = (range.end, leaf.next());
                }
                prop_assert_eq!(tree.group_range(group).end, at);
            }
            prop_assert_eq!((at, leaf), (length, LeafIndex(tree.leaves())));
        }
    }

    #[test]
    fn the_smallest_trees_are_as_documented() {
        for (length, leaves, tree_length) in [
            (0, 1, 96),
            (1, 1, 96),
            (4095, 1, 96),
            (4096, 1, 96),
            (4097, 2, 128),
            (12288, 3, 224),
            (1 << 20, 256, 16384),
        ] {
            let tree = Geometry::new(length).unwrap();
            assert_eq!((tree.leaves(), tree.tree_length()), (leaves, tree_length), "{length}");
        }
        assert_eq!(Geometry::new(0).unwrap().leaf_range(LeafIndex(0)), 0..0);
        assert_eq!(Geometry::content_length_of(0), None);
        assert_eq!(Geometry::content_length_of(64), None);
        assert_eq!(Geometry::content_length_of(u64::MAX), None);
    }

    #[test]
    fn level_seven_exists_from_129_leaves_on() {
        let small = Geometry::new(GROUP_LEN).unwrap();
        assert_eq!((small.top_run_level(), small.prefix_length(), small.groups()), (Level(0), HEADER_LEN, 1));
        let larger = Geometry::new(GROUP_LEN + 1).unwrap();
        assert_eq!(
            (larger.top_run_level(), larger.prefix_length(), larger.groups()),
            (Level(7), HEADER_LEN + 64, 2)
        );
        assert_eq!(larger.level_count(), 8);
    }

    #[test]
    fn no_length_overflows() {
        assert_eq!(Geometry::new(MAX_LENGTH + 1), Err(TooLong(MAX_LENGTH + 1)));
        assert_eq!(Geometry::new(u64::MAX), Err(TooLong(u64::MAX)));
        let tree = Geometry::new(MAX_LENGTH).unwrap();
        assert_eq!(tree.leaves(), 1 << 41);
        assert_eq!(tree.top_run_level(), Level(35));
        assert_eq!(tree.leaf_range(LeafIndex(u64::MAX)), MAX_LENGTH..MAX_LENGTH);
        assert_eq!(tree.group_range(GroupIndex(u64::MAX)), MAX_LENGTH..MAX_LENGTH);
        assert_eq!(tree.run_entries(Run::of_leaves(GroupIndex(u64::MAX))), 0..0);
        assert!(!tree.has_run(Run { level: Level(252), index: 0 }));
        assert_eq!(tree.parent_run(Run { level: Level(252), index: 0 }), None);
        assert_eq!(tree.level_entries(Level(64)), 1);
        assert_eq!(tree.locate(u64::MAX - 5..u64::MAX), []);
    }
}
