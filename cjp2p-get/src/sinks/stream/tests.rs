//! The order in which bytes of ranges come out.

use cjp2p_io::event_loop::EventLoop;
use cjp2p_io::udp::UdpPort;
use cjp2p_wire::tree::{Geometry, GroupIndex, LEAF_LEN, LeafIndex, TreeVerifier, group_leaves};
use proptest::prelude::*;

use super::*;

/// Content of one group, with all of its tree.
fn content(length: u64) -> (Vec<u8>, TreeVerifier) {
    let bytes: Vec<u8> = (0..length).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect();
    let mut tree = TreeVerifier::new(*blake3::hash(&bytes).as_bytes(), Geometry::new(length).unwrap());
    let leaves = group_leaves(LeafIndex(0), &bytes);
    tree.insert_run(Run::of_leaves(GroupIndex(0)), leaves.as_flattened()).unwrap();
    (bytes, tree)
}

fn waker() -> Waker {
    let port = UdpPort::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    EventLoop::new(port, None).unwrap().waker()
}

/// What is left of `ranges` after so many bytes.
fn after(ranges: Vec<Range<u64>>, mut bytes: u64) -> Vec<Range<u64>> {
    let rest = ranges.into_iter().map(|range| {
        let skipped = bytes.min(range.end - range.start);
        bytes -= skipped;
        range.start + skipped..range.end
    });
    rest.collect()
}

fn spec() -> impl Strategy<Value = RangeSpec> {
    prop_oneof![
        (0..200_000u64, 1..50_000u64).prop_map(|(start, len)| RangeSpec::Span(start..start + len)),
        (0..200_000u64, 1..20u64).prop_map(|(start, len)| RangeSpec::Span(start..start + len)),
        (0..200_000u64).prop_map(|start| RangeSpec::Span(start..u64::MAX)),
        (1..200_000u64).prop_map(RangeSpec::Last),
    ]
}

proptest! {
    #[test]
    fn the_ranges_come_out_in_order_however_the_blocks_come_in(
        length in LEAF_LEN + 1..200_000u64,
        ranges in prop::collection::vec(spec(), 0..6),
        // Some come twice, and then cut in another way: under a false length they were fetched before.
        blocks in prop::collection::vec((0..49u64, 1..33u64), 0..60),
    ) {
        let (bytes, tree) = content(length);
        let file = tempfile::NamedTempFile::new().unwrap();
        let output = Output { file: file.reopen().unwrap(), path: None };
        let mut stream = Stream::start(*tree.root(), ranges.clone(), output, waker()).unwrap();
        // Whatever did not come so far comes at last.
        let rest = (0..length.div_ceil(LEAF_LEN)).map(|leaf| (leaf, 1)).rev();
        for (leaf, count) in blocks.into_iter().chain(rest) {
            let start = leaf * LEAF_LEN;
            let end = (start + count * LEAF_LEN).min(length);
            if start < end {
                stream.write(tree.verify(start, &bytes[start as usize..end as usize]).unwrap()).unwrap();
            }
            let kept: RangeSet = stream.kept.iter().map(|(&at, block)| at..at + block.len() as u64).collect();
            prop_assert_eq!(&kept, &stream.have);
            let needed: RangeSet = after(select(&ranges, length), stream.handed).into_iter().collect();
            for &start in &stream.spent {
                let block = start..start + stream.kept[&start].len() as u64;
                prop_assert!(!needed.overlaps(block), "what the writer needs yet is about to be forgotten");
            }
        }
        let expected: Vec<u8> = select(&ranges, length)
            .into_iter()
            .flat_map(|range| &bytes[range.start as usize..range.end as usize])
            .copied()
            .collect();
        stream.publish(length)().unwrap();
        prop_assert!(std::fs::read(file.path()).unwrap() == expected);
        // Nothing holds memory for ever.
        prop_assert_eq!(stream.spent.len(), stream.kept.len());
        prop_assert_eq!(stream.room(), expected.len() as u64 + WINDOW);
    }
}
