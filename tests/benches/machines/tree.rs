//! Building a tree, and checking content by one.

use cjp2p_tests::content;
use cjp2p_wire::tree::{
    GROUP_LEN, Geometry, GroupIndex, LEAF_LEN, LeafIndex, Level, Run, TreeBuilder, TreeVerifier, group_leaves,
};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};

/// The content: two levels of runs.
const LENGTH: usize = 8 << 20;

#[divan::bench]
fn build(bencher: Bencher<'_, '_>) {
    let bytes = content::bytes(1, LENGTH);
    bencher.counter(BytesCount::new(LENGTH)).bench(|| {
        let mut builder = TreeBuilder::new();
        builder.update(black_box(&bytes));
        builder.finish()
    });
}

#[divan::bench]
fn leaves_of_a_group(bencher: Bencher<'_, '_>) {
    let bytes = content::bytes(1, GROUP_LEN as usize);
    bencher.counter(BytesCount::new(bytes.len())).bench(|| group_leaves(LeafIndex(0), black_box(&bytes)));
}

/// All that can be known of the tree of some content.
fn known(bytes: &[u8]) -> TreeVerifier {
    let mut builder = TreeBuilder::new();
    builder.update(bytes);
    let tree = builder.finish();
    let geometry = Geometry::new(bytes.len() as u64).expect("a length that fits memory");
    let mut verifier = TreeVerifier::new(*tree.root(), geometry);
    // The tree's prefix has all but the leaves; these are the values of the content's leaves.
    for run in geometry
        .run_levels()
        .rev()
        .filter(|level| *level > Level::LEAVES)
        .flat_map(|level| geometry.runs(level))
    {
        let range = geometry.run_bytes(run);
        let part = &tree.prefix()[range.start as usize..range.end as usize];
        verifier.insert_run(run, part).expect("a run of this tree");
    }
    for group in (0..geometry.groups()).map(GroupIndex) {
        let range = geometry.group_range(group);
        let leaves = group_leaves(group.first_leaf(), &bytes[range.start as usize..range.end as usize]);
        verifier.insert_run(Run::of_leaves(group), leaves.as_flattened()).expect("a run of this tree");
    }
    verifier
}

/// A leaf, what hashes well, and a group.
#[divan::bench(args = [LEAF_LEN, 16 << 10, GROUP_LEN])]
fn verify(bencher: Bencher<'_, '_>, length: u64) {
    let bytes = content::bytes(1, LENGTH);
    let verifier = known(&bytes);
    let part = &bytes[..length as usize];
    bencher.counter(BytesCount::new(length)).bench(|| verifier.verify(0, black_box(part)).is_ok());
}

/// One run of leaves, under the run above.
#[divan::bench]
fn insert_a_run(bencher: Bencher<'_, '_>) {
    let bytes = content::bytes(1, LENGTH);
    let mut verifier = known(&bytes);
    let leaves = group_leaves(LeafIndex(0), &bytes[..GROUP_LEN as usize]);
    bencher.counter(BytesCount::new(leaves.as_flattened().len())).bench_local(|| {
        verifier.insert_run(Run::of_leaves(GroupIndex(0)), black_box(leaves.as_flattened())).is_ok()
    });
}
