//! Where things lie in trees of any length, and reading any range of a tree file of which only the top part is kept.

use std::convert::Infallible;
use std::ops::Range;

use cjp2p_wire::content_id::Hash;
use cjp2p_wire::tree::{
    ENTRY_LEN, Geometry, GroupIndex, HEADER_LEN, LEAF_LEN, LeafIndex, Level, MAX_LENGTH, RUN_ENTRIES, Run,
    Segment, TreeSource, group_leaves, read_tree,
};

use super::input::Input;
use super::sample::{SAMPLES, Sample};

pub(super) fn body(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.byte() & 1 == 0 {
        lies_where_the_format_says(&mut input);
    } else {
        reads_as_the_file(&mut input);
    }
}

fn lies_where_the_format_says(input: &mut Input<'_>) {
    let length = input.number();
    let Ok(tree) = Geometry::new(length) else {
        assert!(length > MAX_LENGTH);
        return;
    };
    let mut levels = vec![length.div_ceil(LEAF_LEN).max(1)];
    while levels[levels.len() - 1] > 2 {
        levels.push(levels[levels.len() - 1].div_ceil(2));
    }
    assert_eq!(tree.level_count() as usize, levels.len());
    let file = HEADER_LEN + levels.iter().sum::<u64>() * ENTRY_LEN;
    assert_eq!(tree.tree_length(), file);
    assert_eq!(Geometry::content_length_of(file), Some(levels[0] * LEAF_LEN));
    let any = input.number();
    if let Some(found) = Geometry::content_length_of(any) {
        assert_eq!(Geometry::new(found).map(|tree| tree.tree_length()), Ok(any));
    }

    let (start, size) = (input.number(), input.number());
    let asked = start..start.saturating_add(size);
    let mut at = start;
    for segment in tree.locate(asked.clone()) {
        let (offset, bytes) = match segment {
            Segment::Header(bytes) => (0, bytes),
            Segment::Level { level, bytes } => (tree.level_offset(level), bytes),
        };
        assert_eq!(offset + bytes.start, at);
        at = offset + bytes.end;
    }
    assert_eq!(at, asked.end.min(file).max(start));

    let holding = LeafIndex::holding(start);
    let (own, group) = (tree.leaf_range(holding), tree.group_range(holding.group()));
    assert_eq!(own.contains(&start), start < length, "{holding} lies at {own:?}");
    assert!(
        own.is_empty() || group.start <= own.start && own.end <= group.end,
        "{holding} is not in its group"
    );

    let run = Run { level: Level(input.number() as u8), index: input.number() };
    let (entries, bytes) = (tree.run_entries(run), tree.run_bytes(run));
    assert_eq!(tree.has_run(run), !entries.is_empty());
    if tree.has_run(run) {
        assert!(
            entries.end <= levels[usize::from(run.level.0)] && entries.end - entries.start <= RUN_ENTRIES
        );
        assert!(HEADER_LEN <= bytes.start && bytes.end <= file);
        assert!(tree.parent_run(run).is_none_or(|parent| tree.has_run(parent)));
    }
    let leaf = start % levels[0];
    let path = tree.path_to_leaf(LeafIndex(leaf));
    assert!(
        path.iter().all(|run| tree.has_run(*run) && tree.run_entries(*run).contains(&(leaf >> run.level.0)))
    );
}

struct Source<'a> {
    sample: &'a Sample,
    leaves: Vec<Hash>,
}

impl TreeSource for Source<'_> {
    type Error = Infallible;

    fn prefix(&mut self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), Infallible> {
        out.extend_from_slice(&self.sample.tree.prefix()[range.start as usize..range.end as usize]);
        Ok(())
    }

    fn leaves(&mut self, group: GroupIndex) -> Result<&[Hash], Infallible> {
        let bytes = self.sample.geometry.group_range(group);
        let content = &self.sample.content[bytes.start as usize..bytes.end as usize];
        self.leaves = group_leaves(group.first_leaf(), content);
        Ok(&self.leaves)
    }
}

fn reads_as_the_file(input: &mut Input<'_>) {
    let sample = input.choose(&SAMPLES);
    let file = &sample.file;
    let start = input.number();
    let asked = start..start.saturating_add(input.below(1 << 16));
    let mut out = Vec::new();
    let Ok(()) =
        read_tree(&sample.geometry, asked.clone(), &mut Source { sample, leaves: Vec::new() }, &mut out);
    let end = asked.end.min(file.len() as u64) as usize;
    let expected = &file[(asked.start.min(end as u64)) as usize..end];
    assert!(out == expected, "{asked:?} of the tree of {} bytes", sample.content.len());
}
