//! Contents of every shape of tree, computed once, with what the slow reference says of them.

use std::sync::LazyLock;

use cjp2p_wire::content_id::Hash;
use cjp2p_wire::tree::{Geometry, Tree, TreeBuilder};

use crate::{content, reference_tree};

/// A content, and all that there is to know of it.
pub(super) struct Sample {
    pub(super) content: Vec<u8>,
    pub(super) root: Hash,
    pub(super) geometry: Geometry,
    /// The whole tree file, as the reference makes it.
    pub(super) file: Vec<u8>,
    /// The tree as the library builds it.
    pub(super) tree: Tree,
}

/// Below a leaf, whole leaves, odd ones, a group and more, up to runs of the seventh level.
pub(super) static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    let lengths =
        [0, 1, 4095, 4096, 4097, 8192, 12_289, 20_480, 65_537, 524_288, 524_289, 700_001, 1_052_673];
    (0..).zip(lengths).map(|(seed, length)| sample(content::bytes(seed, length))).collect()
});

fn sample(content: Vec<u8>) -> Sample {
    let mut builder = TreeBuilder::new();
    builder.update(&content);
    let tree = builder.finish();
    let root = reference_tree::root(&content);
    assert_eq!(*tree.root(), root);
    Sample { root, geometry: tree.geometry(), file: reference_tree::file(&content), tree, content }
}
