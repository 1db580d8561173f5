//! Trees of every shape against lists of levels: built, checked run by run, read at any place.

use std::convert::Infallible;
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::content_id::Hash;

/// A whole tree file as the plain concatenation of naively folded levels.
struct Naive {
    geometry: Geometry,
    root: Hash,
    file: Vec<u8>,
}

impl Naive {
    /// Over any leaf values, at least two: a tree without its content.
    fn of_leaves(length: u64, leaves: Vec<Hash>) -> Naive {
        let geometry = Geometry::new(length).unwrap();
        assert_eq!(leaves.len() as u64, geometry.leaves());
        let mut levels = vec![leaves];
        while levels[levels.len() - 1].len() > 2 {
            levels.push(fold::fold_once(&levels[levels.len() - 1]));
        }
        let root = fold::fold_to_root(&levels[levels.len() - 1]).unwrap();
        let mut file = header(&root).to_vec();
        for level in levels.iter().rev() {
            file.extend(level.as_flattened());
        }
        Naive { geometry, root, file }
    }

    fn of_content(content: &[u8]) -> Naive {
        Naive::of_leaves(content.len() as u64, group_leaves(LeafIndex(0), content))
    }

    fn bytes(&self, run: Run) -> &[u8] {
        let span = self.geometry.run_bytes(run);
        &self.file[span.start as usize..span.end as usize]
    }

    /// A verifier that holds the path to `leaf`.
    fn verifier_for(&self, leaf: LeafIndex) -> TreeVerifier {
        let mut verifier = TreeVerifier::new(self.root, self.geometry);
        while let Some(run) = verifier.missing_run_for(leaf) {
            verifier.insert_run(run, self.bytes(run)).unwrap();
        }
        verifier
    }

    /// A verifier that holds everything.
    fn verifier(&self) -> TreeVerifier {
        let mut verifier = TreeVerifier::new(self.root, self.geometry);
        for level in self.geometry.run_levels().rev() {
            for run in self.geometry.runs(level) {
                verifier.insert_run(run, self.bytes(run)).unwrap();
            }
        }
        verifier
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

/// Distinct values for the leaves of trees too large to have content in a test.
fn any_leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|leaf| *blake3::hash(&leaf.to_le_bytes()).as_bytes()).collect()
}

/// Numbers of leaves around the places where trees change their shape.
fn leaf_count() -> impl Strategy<Value = u64> {
    prop_oneof![
        2u64..300,
        2u64..40_000,
        prop::sample::select(vec![127, 128, 129, 256, 16384, 16385, 16512, 16513])
    ]
}

struct Source<'a> {
    tree: &'a Tree,
    content: &'a [u8],
    leaves: Vec<Hash>,
}

impl TreeSource for Source<'_> {
    type Error = Infallible;

    fn prefix(&mut self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), Infallible> {
        out.extend(&self.tree.prefix()[range.start as usize..range.end as usize]);
        Ok(())
    }

    fn leaves(&mut self, group: GroupIndex) -> Result<&[Hash], Infallible> {
        let bytes = self.tree.geometry().group_range(group);
        self.leaves =
            group_leaves(group.first_leaf(), &self.content[bytes.start as usize..bytes.end as usize]);
        Ok(&self.leaves)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn content_in_pieces_of_any_size_builds_the_same_tree(length in 4097usize..3 * GROUP_LEN as usize, piece in 1usize..700_000) {
        let content = pattern(length);
        let naive = Naive::of_content(&content);
        let mut pieces = TreeBuilder::new();
        content.chunks(piece).for_each(|piece| pieces.update(piece));
        let tree = pieces.finish();
        prop_assert_eq!(*tree.root(), *blake3::hash(&content).as_bytes());
        prop_assert_eq!((*tree.root(), tree.length()), (naive.root, length as u64));
        prop_assert_eq!(tree.prefix(), &naive.file[..tree.geometry().prefix_length() as usize]);

        let mut groups = TreeBuilder::new();
        for (index, bytes) in (0..).map(GroupIndex).zip(content.chunks(GROUP_LEN as usize)) {
            let group = Group::hash(index, bytes);
            let (same, leaves) = Group::hash_with_leaves(index, bytes);
            prop_assert_eq!(&group, &same);
            prop_assert_eq!(leaves, group_leaves(index.first_leaf(), bytes));
            groups.push_group(&group);
        }
        prop_assert_eq!(groups.finish(), tree);
    }

    #[test]
    fn any_range_of_the_tree_file_is_read_from_prefix_and_content(
        length in 4097usize..3 * GROUP_LEN as usize, start: prop::sample::Index, size in 0u64..20_000,
    ) {
        let content = pattern(length);
        let naive = Naive::of_content(&content);
        let mut builder = TreeBuilder::new();
        builder.update(&content);
        let tree = builder.finish();
        let mut source = Source { tree: &tree, content: &content, leaves: Vec::new() };
        let start = start.index(naive.file.len() + 1);
        let mut out = vec![7];
        let Ok(()) = read_tree(&tree.geometry(), start as u64..start as u64 + size, &mut source, &mut out);
        let end = naive.file.len().min(start + size as usize);
        prop_assert_eq!(&out[1..], &naive.file[start..end]);
    }

    #[test]
    fn runs_of_trees_of_any_size_prove_each_other(count in leaf_count(), short in 0..LEAF_LEN, leaf: prop::sample::Index) {
        let naive = Naive::of_leaves(count * LEAF_LEN - short, any_leaves(count));
        let leaf = LeafIndex(leaf.index(count as usize) as u64);
        let verifier = naive.verifier_for(leaf);
        prop_assert_eq!(verifier.missing_run_for(leaf), None);
        let run = verifier.run(Run::of_leaves(leaf.group())).unwrap();
        prop_assert_eq!(run[(leaf.0 % RUN_ENTRIES) as usize], any_leaves(count)[leaf.0 as usize]);
    }

    #[test]
    fn a_run_with_any_bit_changed_is_refused(count in leaf_count(), leaf: prop::sample::Index, bit: prop::sample::Index) {
        let naive = Naive::of_leaves(count * LEAF_LEN, any_leaves(count));
        for run in naive.geometry.path_to_leaf(LeafIndex(leaf.index(count as usize) as u64)) {
            let mut verifier = naive.verifier();
            let mut bytes = naive.bytes(run).to_vec();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            verifier.forget_run(run);
            prop_assert_eq!(verifier.insert_run(run, &bytes), Err(TreeError::Mismatch(run)));
            prop_assert!(!verifier.has_run(run));
            prop_assert_eq!(verifier.insert_run(run, naive.bytes(run)), Ok(()));
        }
    }

    #[test]
    fn no_last_leaf_verifies_under_a_false_length(
        length in 4097u64..30 * LEAF_LEN, claimed in 1u64..40 * LEAF_LEN, off in 0u64..3,
    ) {
        // Lengths near each other, and lengths that have the leaf count of another level, are the tempting lies.
        for claimed in [claimed, length - off, length + off, length.div_ceil(2), length.next_multiple_of(LEAF_LEN) / 2] {
            if claimed == length {
                continue;
            }
            let content = pattern(length as usize);
            let naive = Naive::of_content(&content);
            let lie = Geometry::new(claimed).unwrap();
            let last = lie.leaf_range(LeafIndex(lie.leaves() - 1));
            let run_len = (lie.leaves() * ENTRY_LEN) as usize;
            // The liar may pass off any part of the honest tree and of the honest content.
            for run in naive.file[HEADER_LEN as usize..].windows(run_len).step_by(ENTRY_LEN as usize) {
                let mut verifier = TreeVerifier::new(naive.root, lie);
                if lie.leaves() > 1 && verifier.insert_run(Run::of_leaves(GroupIndex(0)), run).is_err() {
                    continue;
                }
                for bytes in content.windows((last.end - last.start) as usize).step_by(1024) {
                    prop_assert!(verifier.verify(last.start, bytes).is_err(), "{length} passed off as {claimed}");
                }
            }
        }
    }

    #[test]
    fn what_a_verifier_reads_out_is_the_tree_file(count in leaf_count(), start: prop::sample::Index, size in 0usize..20_000, lost: prop::sample::Index) {
        let naive = Naive::of_leaves(count * LEAF_LEN, any_leaves(count));
        let mut verifier = naive.verifier();
        let start = start.index(naive.file.len() + 1);
        let end = naive.file.len().min(start + size);
        let read = verifier.read(start as u64..(start + size) as u64);
        prop_assert_eq!(read.as_deref(), Some(&naive.file[start..end]));

        let lost = Run::of_leaves(LeafIndex(lost.index(count as usize) as u64).group());
        verifier.forget_run(lost);
        prop_assert_eq!(verifier.read(naive.geometry.run_bytes(lost)), None);
        if let Some(read) = verifier.read(start as u64..end as u64) {
            prop_assert_eq!(&read, &naive.file[start..end]);
        }
    }

    #[test]
    fn exactly_the_wrong_leaves_are_named(
        length in 1usize..3 * GROUP_LEN as usize,
        first: prop::sample::Index,
        last: prop::sample::Index,
        bits in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        with_leaves: bool,
    ) {
        let content = pattern(length);
        let leaves = length.div_ceil(4096);
        let (first, last) = (first.index(leaves), last.index(leaves));
        let (first, last) = (first.min(last), first.max(last));
        let mut bytes = content[first * 4096..length.min((last + 1) * 4096)].to_vec();
        let mut wrong: Vec<LeafIndex> = bits.iter().map(|bit| {
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            LeafIndex((first + bit / 8 / 4096) as u64)
        }).collect();
        wrong.sort_unstable();
        wrong.dedup();
        let right = bytes == content[first * 4096..][..bytes.len()];

        let verifier = match leaves {
            1 => TreeVerifier::new(*blake3::hash(&content).as_bytes(), Geometry::new(length as u64).unwrap()),
            _ => {
                let mut verifier = Naive::of_content(&content).verifier();
                if !with_leaves {
                    (0..3).for_each(|index| verifier.forget_run(Run::of_leaves(GroupIndex(index))));
                }
                verifier
            }
        };
        match verifier.verify(first as u64 * 4096, &bytes) {
            Ok(verified) => {
                prop_assert!(right);
                prop_assert_eq!((verified.offset(), verified.bytes()), (first as u64 * 4096, &bytes[..]));
                prop_assert_eq!(*verified.root(), *blake3::hash(&content).as_bytes());
                prop_assert_eq!(verified.proves_length(), (last + 1 == leaves).then_some(length as u64));
            }
            Err(VerifyError::BadLeaves(bad)) => prop_assert!(!right && bad == wrong, "{:?} {:?}", bad, wrong),
            Err(VerifyError::RunUnknown(run)) => {
                let own = run.index as usize * 128..leaves.min(run.index as usize * 128 + 128);
                let whole = first <= own.start && own.end <= last + 1;
                let hit = wrong.iter().any(|leaf| own.contains(&(leaf.0 as usize)));
                prop_assert!(!with_leaves && (!whole || hit), "{:?} is not needed", run);
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}

#[test]
fn runs_come_top_down_and_whole_and_only_where_the_tree_has_them() {
    let naive = Naive::of_leaves(300 * LEAF_LEN, any_leaves(300));
    let mut verifier = TreeVerifier::new(naive.root, naive.geometry);
    let (top, low) = (Run { level: Level(7), index: 0 }, Run::of_leaves(GroupIndex(2)));
    assert_eq!(verifier.insert_run(low, naive.bytes(low)), Err(TreeError::ParentUnknown(top)));
    let short = &naive.bytes(top)[..64];
    assert_eq!(verifier.insert_run(top, short), Err(TreeError::Length { run: top, expected: 96, got: 64 }));
    for absent in
        [Run::of_leaves(GroupIndex(3)), Run { level: Level(1), index: 0 }, Run { level: Level(14), index: 0 }]
    {
        assert_eq!(verifier.insert_run(absent, naive.bytes(top)), Err(TreeError::NoSuchRun(absent)));
    }
    assert_eq!(verifier.insert_run(top, naive.bytes(top)), Ok(()));
    assert_eq!(verifier.insert_run(low, naive.bytes(low)), Ok(()));
    assert!(verifier.memory() >= (3 + 44) * 32);
    assert_eq!(verifier.missing_run_for(LeafIndex(0)), Some(Run::of_leaves(GroupIndex(0))));
    assert_eq!(verifier.missing_run_for(LeafIndex(299)), None);
}

#[test]
fn content_of_one_leaf_needs_no_run() {
    for length in [0, 1, 4095, 4096] {
        let content = pattern(length);
        let root = *blake3::hash(&content).as_bytes();
        let verifier = TreeVerifier::new(root, Geometry::new(length as u64).unwrap());
        assert_eq!(verifier.missing_run_for(LeafIndex(0)), None);
        assert_eq!(verifier.verify(0, &content).unwrap().proves_length(), Some(length as u64));
        assert_eq!(verify_whole(&root, &content).unwrap().proves_length(), Some(length as u64));
        assert!(verify_whole(&[0; 32], &content).is_none());
        let other = TreeVerifier::new([0; 32], Geometry::new(length as u64).unwrap());
        assert_eq!(other.verify(0, &content).unwrap_err(), VerifyError::BadLeaves(vec![LeafIndex(0)]));
        assert_eq!(verifier.read(0..64).as_deref(), Some(&header(&root)[..]));
        assert_eq!(verifier.read(0..65), None);
    }
}

#[test]
fn bytes_that_are_not_whole_leaves_of_the_content_are_refused() {
    let content = pattern(10_000);
    let verifier = Naive::of_content(&content).verifier();
    for (offset, bytes) in [
        (0, &content[..0]),
        (1, &content[1..4097]),
        (0, &content[..4095]),
        (4096, &content[4096..9_999]),
        (8192, &pattern(2000)[..]),
        (12_288, &content[..4096]),
        (u64::MAX - 4095, &content[..4096]),
    ] {
        let refused = VerifyError::NotWholeLeaves { offset, length: bytes.len() as u64 };
        assert_eq!(verifier.verify(offset, bytes).unwrap_err(), refused);
    }
}

#[test]
#[should_panic(expected = "group 1 of 1 bytes")]
fn a_group_after_one_that_is_not_full_is_refused() {
    let mut builder = TreeBuilder::new();
    builder.push_group(&Group::hash(GroupIndex(0), b"short"));
    builder.push_group(&Group::hash(GroupIndex(1), b"x"));
}
