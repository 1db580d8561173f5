//! The published vectors, the slow reference and the library agree on ids and trees.
//!
//! After a deliberate change of the lists below, write the files anew with
//! `cargo test -p cjp2p-tests --test conformance tree_vectors -- --ignored`, and look at the difference.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::ops::Range;
use std::path::PathBuf;

use base64_simd::STANDARD;
use cjp2p_tests::reference_tree;
use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::tree::{self, Geometry, Tree, TreeBuilder, TreeSource, TreeVerifier};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::Digest;

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct TreeVectors {
    about: String,
    cases: Vec<TreeCase>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct TreeCase {
    /// Content that is not the pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_base64: Option<String>,
    length: u64,
    sha256: String,
    blake3: String,
    cid_sha256: String,
    cid_blake3: String,
    first_leaf: String,
    last_leaf: String,
    tree_length: u64,
    tree_blake3: String,
}

#[derive(Deserialize)]
struct IdVectors {
    valid: Vec<ValidId>,
    refused: Vec<String>,
}

#[derive(Deserialize)]
struct ValidId {
    text: String,
    id: String,
    kind: String,
    cid: Option<String>,
}

const LENGTHS: [u64; 18] = [
    0, 1, 2, 1023, 1024, 1025, 4095, 4096, 4097, 8192, 8193, 12288, 12289, 524_288, 524_289, 528_384,
    1_048_576, 1_048_577,
];

fn vectors(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name)
}

fn pattern(length: u64) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn build(content: &[u8]) -> Tree {
    let mut builder = TreeBuilder::new();
    builder.update(content);
    builder.finish()
}

/// Serves the tree of content in memory.
struct InMemory<'a> {
    tree: &'a Tree,
    content: &'a [u8],
    leaves: Vec<Hash>,
}

impl TreeSource for InMemory<'_> {
    type Error = std::convert::Infallible;

    fn prefix(&mut self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), Self::Error> {
        out.extend(&self.tree.prefix()[range.start as usize..range.end as usize]);
        Ok(())
    }

    fn leaves(&mut self, group: tree::GroupIndex) -> Result<&[Hash], Self::Error> {
        let bytes = self.tree.geometry().group_range(group);
        let bytes = &self.content[bytes.start as usize..bytes.end as usize];
        self.leaves = tree::group_leaves(group.first_leaf(), bytes);
        Ok(&self.leaves)
    }
}

/// The whole tree file as a server of the library would give it out.
fn file_by_library(tree: &Tree, content: &[u8]) -> Vec<u8> {
    let mut source = InMemory { tree, content, leaves: Vec::new() };
    let mut file = Vec::new();
    let Ok(()) = tree::read_tree(&tree.geometry(), 0..u64::MAX, &mut source, &mut file);
    file
}

/// What a vector says of `content`, by the reference, SHA-256 excepted.
fn case_by_reference(content: &[u8], content_base64: Option<String>) -> TreeCase {
    let sha256: Hash = sha2::Sha256::digest(content).into();
    let blake3 = reference_tree::root(content);
    let file = reference_tree::file(content);
    let leaves = &reference_tree::levels(content)[0];
    TreeCase {
        content_base64,
        length: content.len() as u64,
        sha256: hex(&sha256),
        blake3: hex(&blake3),
        cid_sha256: ContentId::Sha256(sha256).cid().unwrap(),
        cid_blake3: ContentId::Blake3(blake3).cid().unwrap(),
        first_leaf: hex(&leaves[0]),
        last_leaf: hex(&leaves[leaves.len() - 1]),
        tree_length: file.len() as u64,
        tree_blake3: hex(&reference_tree::root(&file)),
    }
}

fn read_cases() -> Vec<(Vec<u8>, TreeCase)> {
    let text = std::fs::read_to_string(vectors("trees.json")).unwrap();
    let vectors: TreeVectors = serde_json::from_str(&text).unwrap();
    let content = |case: &TreeCase| match &case.content_base64 {
        Some(text) => STANDARD.decode_to_vec(text).unwrap(),
        None => pattern(case.length),
    };
    vectors.cases.into_iter().map(|case| (content(&case), case)).collect()
}

#[test]
fn the_reference_and_the_library_agree_with_every_vector() {
    for (content, case) in read_cases() {
        assert_eq!(case_by_reference(&content, case.content_base64.clone()), case);
        let tree = build(&content);
        assert_eq!(hex(tree.root()), case.blake3);
        let file = file_by_library(&tree, &content);
        assert_eq!(file, reference_tree::file(&content), "{} bytes", case.length);
        let geometry = Geometry::new(case.length).unwrap();
        assert_eq!((geometry, geometry.tree_length()), (tree.geometry(), case.tree_length));

        let mut verifier = TreeVerifier::new(*tree.root(), geometry);
        for leaf in (0..geometry.leaves()).map(tree::LeafIndex) {
            while let Some(run) = verifier.missing_run_for(leaf) {
                let bytes = geometry.run_bytes(run);
                verifier.insert_run(run, &file[bytes.start as usize..bytes.end as usize]).unwrap();
            }
        }
        assert_eq!(verifier.verify(0, &content).unwrap().proves_length(), Some(case.length));
        if case.length > tree::LEAF_LEN {
            assert_eq!(verifier.read(0..u64::MAX), Some(file));
        }
    }
}

#[test]
fn values_that_other_nodes_publish_are_among_the_vectors() {
    let cases = read_cases();
    for (length, sha256, blake3, last_leaf) in [
        (
            2,
            "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4",
            "85052e9aab1b67b6622d94a08441b09fd5b7aca61ee360416d70de5da67d86ca",
            "",
        ),
        (
            4096,
            "",
            "b7896d5c4ae9b469f65df4c24a43e23f16b4fe488dd2d34463fbb6b4629a27d7",
            "49dd851974dd695ccd23c8057fec030fdec7f8042e951efcc0d43dae2459259a",
        ),
        (
            4097,
            "",
            "e735c8cdf0b1804597c82faac9021a0012b37e7624b4562e83728cda7adf58b1",
            "97950f576a89f6af47a955e4b85253c06381efb3fd75d55badf1a5bc91d19a85",
        ),
    ] {
        let case = cases.iter().map(|(_, case)| case).find(|case| case.blake3 == blake3).unwrap();
        assert_eq!(case.length, length);
        assert!(case.sha256.ends_with(sha256) && case.last_leaf.ends_with(last_leaf));
    }
}

#[test]
fn ids_read_and_print_as_in_the_vectors() {
    let text = std::fs::read_to_string(vectors("content_ids.json")).unwrap();
    let vectors: IdVectors = serde_json::from_str(&text).unwrap();
    for valid in vectors.valid {
        let id = ContentId::parse(&valid.text).unwrap();
        let kind = match id {
            ContentId::Blake3(_) => "blake3",
            ContentId::Sha256(_) => "sha256",
            ContentId::Tree(_) => "tree",
            ContentId::Name(_) => "name",
        };
        assert_eq!((id.to_string(), kind, id.cid()), (valid.id, &*valid.kind, valid.cid), "{}", valid.text);
        assert_eq!(ContentId::parse(&id.to_string()).as_ref(), Ok(&id));
        if let Some(cid) = id.cid() {
            assert_eq!(ContentId::parse(&cid), Ok(id));
        }
    }
    for text in vectors.refused {
        assert!(ContentId::parse(&text).is_err(), "{text}");
    }
}

#[test]
#[ignore = "writes tests/vectors/trees.json"]
fn write_the_tree_vectors_anew() {
    let foreign = read_cases()
        .into_iter()
        .filter_map(|(content, case)| case.content_base64.map(|text| (content, text)));
    let pattern = LENGTHS.iter().map(|length| case_by_reference(&pattern(*length), None));
    let written = TreeVectors {
        about: "Ids and trees (blake3_tree_v2) of some contents. Where content_base64 is absent, byte i of the content \
                is i mod 251. Leaves are blocks of 4096 bytes; first_leaf and last_leaf are their values as non-root \
                subtrees of BLAKE3 at their offset. tree_length and tree_blake3 are of the whole tree file. The cases \
                of 4096 and 4097 bytes of other content come from another implementation."
            .into(),
        cases: pattern.chain(foreign.map(|(content, text)| case_by_reference(&content, Some(text)))).collect(),
    };
    let text = serde_json::to_string_pretty(&written).unwrap() + "\n";
    std::fs::write(vectors("trees.json"), text).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn trees_of_any_length_are_those_of_the_reference(length in 0u64..1_500_000, seed: u64) {
        let mut content = vec![0; length as usize];
        fastrand::Rng::with_seed(seed).fill(&mut content);
        let tree = build(&content);
        prop_assert_eq!(file_by_library(&tree, &content), reference_tree::file(&content));
    }
}
