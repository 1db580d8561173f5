//! Ranges of the command line: those that are read select what a list of single bytes does.

use std::ops::Range;

use cjp2p_get::ranges::{RangeArg, Ranges};
use cjp2p_wire::download::RangeSpec;

/// Lengths of content that the ranges are tried on; the short ones also byte by byte.
const LENGTHS: [u64; 9] = [0, 1, 7, 64, 200, 1 << 20, (1 << 53) - 1, 1 << 53, u64::MAX];

pub(super) fn body(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mut read = Vec::new();
    for line in text.lines().take(16) {
        match RangeArg::parse(line) {
            Ok(range) => {
                assert_eq!(range.text(), line);
                read.push(range);
            }
            Err(message) => assert!(!message.is_empty() && !message.contains('\n'), "{message:?}"),
        }
    }
    let count = read.len();
    let ranges = Ranges::new(read);
    let specs = ranges.specs();
    assert_eq!(specs.len(), count);
    for length in LENGTHS {
        let selected = ranges.select(length);
        assert!(selected.iter().all(|range| range.start < range.end && range.end <= length), "{selected:?}");
        let total: u64 = selected.iter().map(|range| range.end - range.start).sum();
        assert_eq!(ranges.set(length).total(), total, "a byte is selected twice");
        let fit = specs.iter().all(|spec| !spec.is_past_the_end(length));
        assert_eq!(ranges.are_all(length), total == length && fit, "of {length} bytes");
        if length <= 200 {
            assert_eq!(selected.into_iter().flatten().collect::<Vec<_>>(), byte_by_byte(&specs, length));
        }
    }
}

fn byte_by_byte(specs: &[RangeSpec], length: u64) -> Vec<u64> {
    let everything: Range<u64> = 0..length;
    if specs.is_empty() {
        return everything.collect();
    }
    let mut bytes = Vec::new();
    for spec in specs {
        for byte in everything.clone() {
            let is_in = match spec {
                RangeSpec::Span(range) => range.contains(&byte),
                RangeSpec::Last(count) => length - byte <= *count,
            };
            if is_in && !bytes.contains(&byte) {
                bytes.push(byte);
            }
        }
    }
    bytes
}
