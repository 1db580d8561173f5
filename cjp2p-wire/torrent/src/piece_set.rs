//! `PieceSet`: some of the pieces of a torrent, one bit for each, as peers send it.

use std::ops::Range;

/// Some of the pieces `0..len`.
#[derive(Clone, PartialEq, Eq)]
pub struct PieceSet {
    // Invariant: `len` bits, the first piece highest in the first byte; the spare bits of the last byte are zero.
    bits: Vec<u8>,
    len: u32,
    // Invariant: how many bits are set.
    count: u32,
}

impl PieceSet {
    /// None of so many pieces.
    #[must_use]
    pub fn none(len: u32) -> PieceSet {
        PieceSet { bits: vec![0; len.div_ceil(8) as usize], len, count: 0 }
    }

    /// All of so many pieces.
    #[must_use]
    pub fn all(len: u32) -> PieceSet {
        let mut set = PieceSet { bits: vec![0xff; len.div_ceil(8) as usize], len, count: len };
        if let Some(last) = set.bits.last_mut()
            && !len.is_multiple_of(8)
        {
            *last <<= 8 - len % 8;
        }
        set
    }

    /// What the payload of a `bitfield` says of so many pieces. `None` where it has another length, or spare bits that are set.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], len: u32) -> Option<PieceSet> {
        if bytes.len() != len.div_ceil(8) as usize {
            return None;
        }
        if let Some(last) = bytes.last()
            && !len.is_multiple_of(8)
            && last << (len % 8) != 0
        {
            return None;
        }
        let count = bytes.iter().map(|byte| byte.count_ones()).sum();
        Some(PieceSet { bits: bytes.to_vec(), len, count })
    }

    /// The payload of a `bitfield`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bits
    }

    /// How many pieces the torrent has.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether none is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many are in it.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether all are in it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.count == self.len
    }

    /// Whether this one is in it. One beyond the end is not.
    #[must_use]
    pub fn contains(&self, piece: u32) -> bool {
        piece < self.len && self.bits[piece as usize / 8] & (0x80 >> (piece % 8)) != 0
    }

    /// Puts one in. Returns whether it was not there; one beyond the end stays out.
    pub fn insert(&mut self, piece: u32) -> bool {
        let is_new = piece < self.len && !self.contains(piece);
        if is_new {
            self.bits[piece as usize / 8] |= 0x80 >> (piece % 8);
            self.count += 1;
        }
        is_new
    }

    /// Takes one out. Returns whether it was there.
    pub fn remove(&mut self, piece: u32) -> bool {
        let was_there = self.contains(piece);
        if was_there {
            self.bits[piece as usize / 8] &= !(0x80 >> (piece % 8));
            self.count -= 1;
        }
        was_there
    }

    /// Whether any piece is in both. The other one is of as many pieces.
    #[must_use]
    pub fn intersects(&self, other: &PieceSet) -> bool {
        self.bits.iter().zip(&other.bits).any(|(a, b)| a & b != 0)
    }

    /// The first run of pieces within `within` that are in it.
    #[must_use]
    pub fn next_run(&self, within: Range<u32>) -> Option<Range<u32>> {
        let start = self.find(within.clone(), true)?;
        let end = self.find(start..within.end, false).unwrap_or(within.end.min(self.len));
        Some(start..end)
    }

    /// All runs, in order.
    pub fn runs(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        let mut from = 0;
        std::iter::from_fn(move || {
            let run = self.next_run(from..self.len)?;
            from = run.end;
            Some(run)
        })
    }

    /// All pieces that are in it, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.runs().flatten()
    }

    /// The first piece of `within` that is in it, or that is not.
    fn find(&self, within: Range<u32>, is_in: bool) -> Option<u32> {
        let end = within.end.min(self.len);
        let mut at = within.start;
        let skipped = if is_in { 0 } else { 0xff };
        while at < end {
            if at.is_multiple_of(8) && self.bits[at as usize / 8] == skipped {
                at += 8;
            } else if self.contains(at) == is_in {
                return Some(at);
            } else {
                at += 1;
            }
        }
        None
    }
}

impl std::fmt::Debug for PieceSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PieceSet({} of {})", self.count, self.len)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set_of_numbers(
            len in 0u32..70,
            steps in prop::collection::vec((any::<bool>(), 0u32..80), 0..200),
            from in 0u32..80,
            to in 0u32..80,
        ) {
            let (mut set, mut model) = (PieceSet::none(len), BTreeSet::new());
            for (insert, piece) in steps {
                if insert {
                    prop_assert_eq!(set.insert(piece), piece < len && model.insert(piece));
                } else {
                    prop_assert_eq!(set.remove(piece), model.remove(&piece));
                }
            }
            prop_assert_eq!(set.count() as usize, model.len());
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert_eq!(PieceSet::from_bytes(set.as_bytes(), len), Some(set.clone()));
            let run = set.next_run(from..to);
            let first = (from..to).find(|piece| model.contains(piece));
            prop_assert_eq!(run.as_ref().map(|run| run.start), first);
            if let Some(run) = run {
                prop_assert!(run.clone().all(|piece| model.contains(&piece)));
                prop_assert!(run.end >= to.min(len) || !model.contains(&run.end));
            }
        }
    }

    #[test]
    fn all_pieces_are_all_bits_and_no_spare_ones() {
        for len in [0, 1, 7, 8, 9, 16] {
            let all = PieceSet::all(len);
            assert_eq!(PieceSet::from_bytes(all.as_bytes(), len), Some(all.clone()), "{len}");
            assert!(all.is_full() && all.iter().eq(0..len));
        }
    }

    #[test]
    fn a_bitfield_of_another_length_or_with_spare_bits_is_refused() {
        assert_eq!(PieceSet::from_bytes(&[0xff], 7), None);
        assert_eq!(PieceSet::from_bytes(&[0xfe, 0], 7), None);
        assert_eq!(PieceSet::from_bytes(&[], 7), None);
    }
}
