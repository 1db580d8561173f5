//! Pieces of records, put together: of each block what one source sent of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;

use crate::range_set::RangeSet;
use crate::signed::Signature;
use crate::stream::block::{RECORD_LEN, SIGNATURE_LEN};
use crate::stream::{SignedBlock, record};

/// Records that may be incomplete at a time, of one view.
pub(crate) const MAX_RECORDS: usize = 1024;

/// A record that is complete, and not verified.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complete {
    pub(super) signature: Signature,
    pub(super) data: Vec<u8>,
    /// Not all of it came from this source as the record is now: some is of a shorter one.
    pub(super) is_mixed: bool,
}

#[derive(Debug)]
struct Partial {
    // Where the record ends, counted from its beginning.
    end: usize,
    bytes: Vec<u8>,
    came: RangeSet,
    is_mixed: bool,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Assemblies {
    // Invariant: at most `MAX_RECORDS`.
    partial: BTreeMap<(u64, SocketAddr), Partial>,
}

/// Some of a record, as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came<'a> {
    pub(super) from: SocketAddr,
    pub(super) offset: u64,
    pub(super) data: &'a [u8],
    /// Where the record ends, if its block is short.
    pub(super) eof: Option<u64>,
}

impl Assemblies {
    /// Takes in some of the record of block `index`, of which `known` was verified already. Returns the record once it is complete, and
    /// forgets it.
    pub(super) fn take(
        &mut self,
        index: u64,
        came: Came<'_>,
        known: Option<&SignedBlock>,
    ) -> Option<Complete> {
        let start = record::start_of(index);
        let at = usize::try_from(came.offset.checked_sub(start)?).ok()?;
        let end = came.eof.map_or(Some(RECORD_LEN as u64), |eof| eof.checked_sub(start))? as usize;
        let fits = end > SIGNATURE_LEN && end <= RECORD_LEN && at + came.data.len() <= end;
        let key = (index, came.from);
        if !fits || (!self.partial.contains_key(&key) && self.partial.len() >= MAX_RECORDS) {
            return None;
        }
        let partial = self.partial.entry(key).or_insert_with(|| Partial::new(end, known));
        if end > partial.end {
            // Its signature is another one; what was there stays.
            partial.is_mixed |= !partial.came.is_empty();
            partial.came.remove(0..SIGNATURE_LEN as u64);
            partial.bytes.resize(end, 0);
            partial.end = end;
        }
        let skipped =
            if end < partial.end { SIGNATURE_LEN.saturating_sub(at).min(came.data.len()) } else { 0 };
        let (at, data) = (at + skipped, &came.data[skipped..]);
        partial.is_mixed |= end < partial.end && !data.is_empty();
        partial.bytes[at..at + data.len()].copy_from_slice(data);
        partial.came.insert(at as u64..(at + data.len()) as u64);
        if !partial.came.contains(0..partial.end as u64) {
            return None;
        }
        let Partial { bytes, is_mixed, .. } = self.partial.remove(&key)?;
        let signature = Signature::from_bytes(bytes.get(..SIGNATURE_LEN)?.try_into().ok()?);
        Some(Complete { signature, data: bytes.get(SIGNATURE_LEN..)?.to_vec(), is_mixed })
    }

    /// What came from this source, as positions. Of records that are short nothing: their signature may be another one by now.
    pub(super) fn of(&self, from: SocketAddr) -> impl Iterator<Item = Range<u64>> + '_ {
        let is_of = move |source: SocketAddr, partial: &Partial| source == from && partial.end == RECORD_LEN;
        let of_source = self.partial.iter().filter(move |((_, source), partial)| is_of(*source, partial));
        of_source.flat_map(|((index, _), partial)| {
            let start = record::start_of(*index);
            partial.came.iter().map(move |range| start + range.start..start + range.end)
        })
    }

    /// Forgets all records of blocks before this one.
    pub(super) fn forget_before(&mut self, index: u64) {
        while let Some(first) = self.partial.first_entry().filter(|first| first.key().0 < index) {
            first.remove();
        }
    }

    /// Forgets all of one block.
    pub(super) fn forget(&mut self, index: u64) {
        self.partial.retain(|(of, _), _| *of != index);
    }

    /// Forgets all of one source.
    pub(super) fn forget_source(&mut self, from: SocketAddr) {
        self.partial.retain(|(_, source), _| *source != from);
    }

    pub(super) fn len(&self) -> usize {
        self.partial.len()
    }
}

impl Partial {
    fn new(end: usize, known: Option<&SignedBlock>) -> Partial {
        let mut partial =
            Partial { end, bytes: vec![0; end], came: RangeSet::new(), is_mixed: known.is_some() };
        if let Some(known) = known.filter(|known| SIGNATURE_LEN + known.data().len() <= end) {
            let till = SIGNATURE_LEN + known.data().len();
            partial.bytes[SIGNATURE_LEN..till].copy_from_slice(known.data());
            partial.came.insert(SIGNATURE_LEN as u64..till as u64);
        }
        partial
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::testing::port_of;
    use proptest::prelude::*;

    fn block(length: usize) -> SignedBlock {
        let data: Vec<u8> = (0..length).map(|i| i as u8).collect();
        SignedBlock::stored(5, &data, Signature::from_bytes([length as u8; 64])).unwrap()
    }

    fn pieces(
        block: &SignedBlock,
        of: Range<u64>,
        from: SocketAddr,
    ) -> Vec<(u64, Vec<u8>, Option<u64>, SocketAddr)> {
        let eof = (!block.is_whole()).then_some(record::end_of(block));
        let cuts = of.clone().step_by(700);
        cuts.map(|at| {
            let mut data = Vec::new();
            record::write(block, at..(at + 700).min(of.end), &mut data);
            (at, data, eof, from)
        })
        .collect()
    }

    fn complete(length: usize, is_mixed: bool) -> Option<Complete> {
        let block = block(length);
        Some(Complete { signature: *block.signature(), data: block.data().to_vec(), is_mixed })
    }

    proptest! {
        #[test]
        fn pieces_in_any_order_make_the_record(length in 1usize..=4096, seed: u64) {
            let (whole, from) = (block(length), port_of(1, 1));
            let start = record::start_of(5);
            let mut all = pieces(&whole, start..record::end_of(&whole), from);
            fastrand::Rng::with_seed(seed).shuffle(&mut all);
            let mut assemblies = Assemblies::default();
            let last = all.len() - 1;
            for (n, (offset, data, eof, from)) in all.iter().enumerate() {
                let came = Came { from: *from, offset: *offset, data, eof: *eof };
                let made = assemblies.take(5, came, None);
                prop_assert_eq!(made, if n == last { complete(length, false) } else { None });
            }
            prop_assert_eq!(assemblies.len(), 0);
        }
    }

    #[test]
    fn of_a_longer_block_only_what_is_new_and_the_signature_need_come() {
        let (old, new, from) = (block(1000), block(3000), port_of(1, 1));
        let start = record::start_of(5);
        let mut assemblies = Assemblies::default();
        let signature = pieces(&new, start..start + 64, from);
        let rest = pieces(&new, start + 64 + 1000..record::end_of(&new), from);
        let mut made = None;
        for (offset, data, eof, from) in signature.iter().chain(&rest) {
            made = assemblies.take(5, Came { from: *from, offset: *offset, data, eof: *eof }, Some(&old));
        }
        assert_eq!(made, complete(3000, true));
    }

    #[test]
    fn what_came_of_a_shorter_one_stays_and_its_signature_does_not() {
        let (old, new, from) = (block(1000), block(4096), port_of(1, 1));
        let start = record::start_of(5);
        let mut assemblies = Assemblies::default();
        let old = &pieces(&old, start..record::end_of(&old), from);
        let new = pieces(&new, start..record::end_of(&new), from);
        let mut take = |(offset, data, eof, from): &(u64, Vec<u8>, Option<u64>, SocketAddr)| {
            assemblies.take(5, Came { from: *from, offset: *offset, data, eof: *eof }, None)
        };
        assert_eq!(take(&old[0]), None);
        assert!(new[1..].iter().all(|piece| take(piece).is_none()), "the signature is missing");
        assert_eq!(take(&old[0]), None, "an old one does not do");
        assert_eq!(take(&new[0]), complete(4096, true));
    }

    #[test]
    fn what_is_no_piece_of_the_record_is_left_and_there_is_a_limit() {
        let from = port_of(1, 1);
        let start = record::start_of(5);
        let mut assemblies = Assemblies::default();
        for (offset, length, eof) in [
            (start - 1, 10, None),
            (start + 4155, 10, None),
            (start, 10, Some(start + 9)),
            (start, 10, Some(start + 64)),
            (start, 10, Some(start + 4161)),
            (start, 10, Some(start - 1)),
        ] {
            assert_eq!(assemblies.take(5, Came { from, offset, data: &vec![0; length], eof }, None), None);
        }
        assert_eq!(assemblies.len(), 0);
        for index in 0..2 * MAX_RECORDS as u64 {
            let came = Came { from, offset: record::start_of(index), data: &[7], eof: None };
            assert_eq!(assemblies.take(index, came, None), None);
        }
        assert_eq!(assemblies.len(), MAX_RECORDS);
    }
}
