//! `Pieces`: how the bytes of a torrent are divided, and what peers may ask for of them.

use std::ops::Range;

/// Peers ask for so many bytes at a time.
pub const BLOCK: u32 = 16 << 10;
/// A piece has so many bytes at the most.
pub const MAX_PIECE: u32 = 256 << 20;
/// A torrent has so many pieces at the most.
pub const MAX_PIECES: u32 = 4 << 20;

/// Some bytes of one piece, as peers name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// Number of the piece.
    pub piece: u32,
    /// The first byte, counted from the beginning of the piece.
    pub begin: u32,
    /// How many bytes.
    pub len: u32,
}

/// A length that is divided into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces {
    length: u64,
    piece: u32,
}

impl Pieces {
    /// So many bytes in pieces of `piece` bytes, of which the last may be shorter. `None` where that is not within
    /// [`MAX_PIECE`] and [`MAX_PIECES`], or there is nothing.
    #[must_use]
    pub fn new(length: u64, piece: u32) -> Option<Pieces> {
        let is_fine = length > 0
            && (1..=MAX_PIECE).contains(&piece)
            && length.div_ceil(u64::from(piece)) <= u64::from(MAX_PIECES);
        is_fine.then_some(Pieces { length, piece })
    }

    /// All bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of a piece that is not the last one.
    #[must_use]
    pub fn piece_length(&self) -> u32 {
        self.piece
    }

    /// How many pieces there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.length.div_ceil(u64::from(self.piece)) as u32
    }

    /// The bytes of one piece; empty beyond the last.
    #[must_use]
    pub fn range(&self, piece: u32) -> Range<u64> {
        let start = (u64::from(piece) * u64::from(self.piece)).min(self.length);
        start..(start + u64::from(self.piece)).min(self.length)
    }

    /// Bytes of this piece.
    #[must_use]
    pub fn len_of(&self, piece: u32) -> u32 {
        let range = self.range(piece);
        (range.end - range.start) as u32
    }

    /// The piece that this byte lies in.
    #[must_use]
    pub fn at(&self, offset: u64) -> u32 {
        (offset / u64::from(self.piece)) as u32
    }

    /// The pieces that have bytes of this range.
    #[must_use]
    pub fn overlapping(&self, range: &Range<u64>) -> Range<u32> {
        let end = range.end.min(self.length);
        if range.start >= end {
            return 0..0;
        }
        self.at(range.start)..self.at(end - 1) + 1
    }

    /// The block that these bytes of one piece are.
    #[must_use]
    pub fn block(&self, range: &Range<u64>) -> Block {
        let piece = self.at(range.start);
        let begin = (range.start - self.range(piece).start) as u32;
        Block { piece, begin, len: (range.end - range.start) as u32 }
    }

    /// The bytes that a block is, or `None` where there are no such bytes or none at all.
    #[must_use]
    pub fn bytes_of(&self, block: Block) -> Option<Range<u64>> {
        let piece = self.range(block.piece);
        let start = piece.start + u64::from(block.begin);
        let end = start + u64::from(block.len);
        (block.len > 0 && end <= piece.end).then_some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_piece_is_what_is_left() {
        let pieces = Pieces::new(10, 4).unwrap();
        assert_eq!(pieces.count(), 3);
        assert_eq!((pieces.range(2), pieces.len_of(2), pieces.range(3)), (8..10, 2, 10..10));
        assert_eq!(pieces.overlapping(&(3..5)), 0..2);
        assert_eq!(pieces.overlapping(&(9..50)), 2..3);
        assert_eq!(pieces.overlapping(&(10..50)), 0..0);
        assert_eq!(pieces.block(&(5..7)), Block { piece: 1, begin: 1, len: 2 });
    }

    #[test]
    fn blocks_beyond_their_piece_are_none() {
        let pieces = Pieces::new(10, 4).unwrap();
        let bytes = |piece, begin, len| pieces.bytes_of(Block { piece, begin, len });
        assert_eq!(bytes(1, 1, 3), Some(5..8));
        assert_eq!(bytes(2, 0, 2), Some(8..10));
        for (piece, begin, len) in
            [(1, 1, 4), (2, 0, 3), (3, 0, 1), (0, 0, 0), (u32::MAX, u32::MAX, u32::MAX)]
        {
            assert_eq!(bytes(piece, begin, len), None);
        }
    }

    #[test]
    fn what_has_no_bytes_or_too_many_pieces_is_refused() {
        assert!(Pieces::new(0, 4).is_none() && Pieces::new(4, 0).is_none());
        assert!(
            Pieces::new(u64::from(MAX_PIECES), 1).is_some()
                && Pieces::new(u64::from(MAX_PIECES) + 1, 1).is_none()
        );
        assert!(Pieces::new(1, MAX_PIECE + 1).is_none());
    }
}
