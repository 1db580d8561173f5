//! What of a stream is wanted, and what of that is here: which blocks, from where on, and how far ahead.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::range_set::RangeSet;
use crate::stream::{BLOCK_LEN, SignedBlock, Statement, record};

/// Short blocks that are remembered, to be made longer: the newest, and those at the ends of parts.
pub(crate) const MAX_SHORT: usize = 64;
const BLOCK: u64 = BLOCK_LEN as u64;

/// What a block that was verified is to those that are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It is new, or longer than before.
    New,
    /// It says no more than what is here.
    Old,
    /// It and the one that is here cannot both be right.
    Contradiction,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Window {
    /// All before this byte is done with.
    position: u64,
    /// How many bytes after it are wanted.
    length: u64,
    /// The indexes of blocks that are here whole, of those that are wanted.
    whole: RangeSet,
    // Invariant: at most `MAX_SHORT`, none of them in `whole`.
    short: BTreeMap<u64, SignedBlock>,
    /// The first block of which something may still be missing.
    frontier: u64,
    /// Where the newest record ends that is here.
    edge: u64,
    // The stream has ended, and all is here.
    is_complete: bool,
}

impl Window {
    pub(super) fn new(position: u64, length: u64) -> Window {
        let frontier = position / BLOCK;
        Window {
            position,
            length: length.max(BLOCK),
            whole: RangeSet::new(),
            short: BTreeMap::new(),
            frontier,
            edge: 0,
            is_complete: false,
        }
    }

    pub(super) fn set_position(&mut self, position: u64) {
        if position > self.position {
            self.position = position;
            let first = position / BLOCK;
            self.whole.remove(0..first);
            self.short = self.short.split_off(&first);
        }
    }

    /// The first block of which something may still be missing.
    pub(super) fn frontier(&self) -> u64 {
        self.frontier
    }

    /// Where the newest record ends that is here.
    pub(super) fn edge(&self) -> u64 {
        self.edge
    }

    /// Whether something is missing before the newest that is here.
    pub(super) fn has_hole(&self) -> bool {
        let short = self.short.get(&self.frontier).map(record::end_of);
        short.unwrap_or(record::start_of(self.frontier)) < self.edge
    }

    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Finds the frontier anew, by what the origin says of gaps and of the end.
    pub(super) fn advance(&mut self, statement: Option<&Statement>) {
        let mut index = self.frontier.max(self.position / BLOCK);
        self.is_complete = false;
        loop {
            index = self.whole.first_gap(index..u64::MAX).map_or(index, |gap| gap.start);
            let Some(statement) = statement else { break };
            match statement.next((index * BLOCK).max(self.position)) {
                None => {
                    self.is_complete = true;
                    break;
                }
                Some(next) if next / BLOCK > index => index = next / BLOCK,
                Some(_) => {
                    // Where a part ends within a block, that block is short for ever.
                    let Some(end) = self.short.get(&index).map(SignedBlock::end) else { break };
                    match statement.next(end) {
                        Some(next) if next < (index + 1) * BLOCK => break,
                        _ => index += 1,
                    }
                }
            }
        }
        self.frontier = index;
    }

    /// Which positions are wanted.
    pub(super) fn wanted(&self) -> Range<u64> {
        let start = record::start_of(self.frontier);
        if self.is_complete {
            return start..start;
        }
        let end = record::start_of(self.position.saturating_add(self.length) / BLOCK);
        start..end.max(start)
    }

    /// The block as it is here, if it is short.
    pub(super) fn short(&self, index: u64) -> Option<&SignedBlock> {
        self.short.get(&index)
    }

    /// Whether a block that ends at this position is of use.
    pub(super) fn wants(&self, index: u64, record_end: u64) -> bool {
        let range = self.wanted();
        let is_longer = self.short.get(&index).is_none_or(|known| record::end_of(known) < record_end);
        range.contains(&record::start_of(index)) && !self.whole.contains(index..index + 1) && is_longer
    }

    /// Takes in a block that was verified.
    pub(super) fn take(&mut self, block: &SignedBlock) -> News {
        let index = block.index();
        if self.whole.contains(index..index + 1) {
            return News::Old;
        }
        if let Some(known) = self.short.get(&index) {
            let (long, short) =
                if block.data().len() > known.data().len() { (block, known) } else { (known, block) };
            if !long.data().starts_with(short.data()) {
                return News::Contradiction;
            }
            if block.data().len() <= known.data().len() {
                return News::Old;
            }
        }
        self.edge = self.edge.max(record::end_of(block));
        self.short.remove(&index);
        if block.is_whole() {
            self.whole.insert(index..index + 1);
        } else {
            self.short.insert(index, block.clone());
            if self.short.len() > MAX_SHORT {
                self.short.pop_first();
            }
        }
        News::New
    }

    /// What is here of what is wanted, as positions; of short blocks, `with_short`, their data and not their signature, which will be
    /// another one.
    pub(super) fn have(&self, with_short: bool) -> impl Iterator<Item = Range<u64>> + '_ {
        let first = self.frontier;
        let whole = self.whole.within(first..u64::MAX);
        let whole = whole.map(|range| record::start_of(range.start)..record::start_of(range.end));
        let short = self.short.range(first..).filter(move |_| with_short);
        whole.chain(short.map(|(_, block)| data_of(block)))
    }

    /// How many short blocks are remembered.
    pub(super) fn short_len(&self) -> usize {
        self.short.len()
    }
}

/// Where a block's data lies.
fn data_of(block: &SignedBlock) -> Range<u64> {
    let end = record::end_of(block);
    end - block.data().len() as u64..end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signed::Signature;

    fn block(index: u64, data: &[u8]) -> SignedBlock {
        SignedBlock::stored(index, data, Signature::from_bytes([7; 64])).unwrap()
    }

    fn whole(index: u64) -> SignedBlock {
        block(index, &[7; BLOCK_LEN])
    }

    fn said(ended: bool, parts: &[Range<u64>]) -> Statement {
        let end = parts.last().map_or(0, |part| part.end);
        Statement { end, ended, time: 0, parts: parts.to_vec(), joins: Vec::new() }
    }

    #[test]
    fn what_is_wanted_begins_with_what_is_missing_and_ends_with_the_window() {
        let mut window = Window::new(2 * BLOCK + 5, 10 * BLOCK);
        assert_eq!(window.wanted(), record::start_of(2)..record::start_of(12));
        for index in [3, 2, 5] {
            assert!(window.wants(index, record::range_of(index).end));
            assert_eq!(window.take(&whole(index)), News::New);
            window.advance(None);
        }
        assert_eq!(window.wanted().start, record::start_of(4));
        assert_eq!(
            window.have(true).collect::<Vec<_>>(),
            std::iter::once(record::range_of(5)).collect::<Vec<_>>()
        );
        assert!(!window.wants(5, record::range_of(5).end) && !window.wants(12, record::range_of(12).end));
        window.set_position(9 * BLOCK);
        window.advance(None);
        assert_eq!(window.wanted(), record::start_of(9)..record::start_of(19));
    }

    #[test]
    fn a_block_grows_and_never_shrinks_nor_changes() {
        let mut window = Window::new(0, 10 * BLOCK);
        assert_eq!(window.take(&block(0, b"abc")), News::New);
        assert_eq!(window.take(&block(0, b"ab")), News::Old);
        assert_eq!(window.take(&block(0, b"abd e")), News::Contradiction);
        assert_eq!(window.take(&block(0, b"x")), News::Contradiction);
        assert_eq!(window.have(true).collect::<Vec<_>>(), std::iter::once(64..67).collect::<Vec<_>>());
        window.advance(None);
        assert_eq!(window.frontier(), 0, "more of it may come");
        assert_eq!(window.take(&block(0, b"abcd")), News::New);
        assert_eq!((window.edge(), window.short(0).unwrap().data()), (68, &b"abcd"[..]));
    }

    #[test]
    fn gaps_are_stepped_over_and_at_the_end_nothing_is_wanted() {
        let mut window = Window::new(0, 100 * BLOCK);
        let open = said(false, &[0..BLOCK + 3, 5 * BLOCK..6 * BLOCK + 2]);
        window.take(&whole(0));
        window.advance(Some(&open));
        assert_eq!(window.frontier(), 1);
        window.take(&block(1, b"ab"));
        window.advance(Some(&open));
        assert_eq!(window.frontier(), 1, "a byte of it is missing");
        window.take(&block(1, b"abc"));
        window.advance(Some(&open));
        assert_eq!(window.frontier(), 5);
        window.take(&whole(5));
        window.take(&block(6, b"ab"));
        window.advance(Some(&open));
        assert_eq!((window.frontier(), window.is_complete()), (6, false), "it may go on");
        window.advance(Some(&said(true, &open.parts)));
        assert!(window.is_complete() && window.wanted().is_empty());
    }

    #[test]
    fn short_blocks_are_remembered_within_a_limit() {
        let mut window = Window::new(0, 1000 * BLOCK);
        for index in 0..200 {
            window.take(&block(index, b"a"));
        }
        assert_eq!(window.short_len(), MAX_SHORT);
    }
}
