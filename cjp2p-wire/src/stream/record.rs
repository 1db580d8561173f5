//! The signed form of a stream, as our own nodes send it to each other: the record of block n, its signature and then its data, begins
//! at n × [`RECORD_LEN`]. Of a short block the rest of the record is empty. It can be cut at any byte.

use std::ops::Range;

use super::block::{BLOCK_LEN, RECORD_LEN, SIGNATURE_LEN, SignedBlock};

/// Where the record of a block begins.
pub const fn start_of(index: u64) -> u64 {
    index * RECORD_LEN as u64
}

/// Which positions a block's record can take.
pub const fn range_of(index: u64) -> Range<u64> {
    start_of(index)..start_of(index + 1)
}

/// The block in whose record a position lies.
pub const fn index_at(position: u64) -> u64 {
    position / RECORD_LEN as u64
}

/// Where the signed form of the first `bytes` of a stream ends.
pub const fn position_of(bytes: u64) -> u64 {
    let (index, rest) = (bytes / BLOCK_LEN as u64, bytes % BLOCK_LEN as u64);
    start_of(index) + if rest == 0 { 0 } else { SIGNATURE_LEN as u64 + rest }
}

/// How many bytes of a stream a signed form holds that ends here.
pub const fn bytes_before(position: u64) -> u64 {
    let (index, rest) = (index_at(position), position % RECORD_LEN as u64);
    index * BLOCK_LEN as u64 + rest.saturating_sub(SIGNATURE_LEN as u64)
}

/// Where the record of this block ends.
pub fn end_of(block: &SignedBlock) -> u64 {
    start_of(block.index()) + (SIGNATURE_LEN + block.data().len()) as u64
}

/// Appends what of a block's record lies at these positions.
pub fn write(block: &SignedBlock, positions: Range<u64>, out: &mut Vec<u8>) {
    let start = start_of(block.index());
    let within = |of: Range<usize>| {
        let clamp = |position: u64| (position.saturating_sub(start) as usize).clamp(of.start, of.end);
        clamp(positions.start) - of.start..clamp(positions.end) - of.start
    };
    out.extend_from_slice(&block.signature().as_bytes()[within(0..SIGNATURE_LEN)]);
    out.extend_from_slice(&block.data()[within(SIGNATURE_LEN..SIGNATURE_LEN + block.data().len())]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signed::Signature;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_pieces_of_a_record_put_together_are_the_record(
            data in proptest::collection::vec(any::<u8>(), 1..BLOCK_LEN), index in 0..1u64 << 40, cut in 0..RECORD_LEN as u64,
        ) {
            let block = SignedBlock::stored(index, &data, Signature::from_bytes([7; 64])).unwrap();
            let record = range_of(index);
            let cut = record.start + cut;
            let mut bytes = Vec::new();
            write(&block, record.start..cut, &mut bytes);
            write(&block, cut..end_of(&block), &mut bytes);
            prop_assert_eq!(bytes, [&[7; 64], &data[..]].concat());
        }

        #[test]
        fn positions_and_bytes_say_the_same(bytes in 0..1u64 << 52) {
            prop_assert_eq!(bytes_before(position_of(bytes)), bytes);
            prop_assert_eq!(index_at(position_of(bytes)), bytes / BLOCK_LEN as u64);
        }
    }
}
