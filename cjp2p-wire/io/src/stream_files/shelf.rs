//! Blocks of a stream in memory, up to a number of bytes.

use std::collections::BTreeMap;

use cjp2p_wire::stream::SignedBlock;

/// What a block takes beside its data, in bytes.
const BESIDE: usize = 160;

/// See the [module](self). Where it is full, the first blocks of the stream go.
#[derive(Clone, Debug)]
pub struct Shelf {
    blocks: BTreeMap<u64, SignedBlock>,
    // Invariant: what `blocks` take.
    bytes: usize,
    most: usize,
}

impl Shelf {
    /// An empty one that takes so many bytes.
    pub fn new(most: usize) -> Shelf {
        Shelf { blocks: BTreeMap::new(), bytes: 0, most }
    }

    /// Takes a block, unless it is there as long or longer. Gives whether it was taken.
    pub fn put(&mut self, block: SignedBlock) -> bool {
        if self.blocks.get(&block.index()).is_some_and(|there| there.data().len() >= block.data().len()) {
            return false;
        }
        self.bytes += size(&block);
        let replaced = self.blocks.insert(block.index(), block);
        self.bytes -= replaced.as_ref().map_or(0, size);
        while self.bytes > self.most && self.blocks.len() > 1 {
            let Some((_, first)) = self.blocks.pop_first() else { break };
            self.bytes -= size(&first);
        }
        true
    }

    /// The block with this number.
    pub fn get(&self, index: u64) -> Option<&SignedBlock> {
        self.blocks.get(&index)
    }

    /// The first block and the last.
    pub fn ends(&self) -> Option<(&SignedBlock, &SignedBlock)> {
        Some((self.blocks.first_key_value()?.1, self.blocks.last_key_value()?.1))
    }

    /// The first block with this number or a greater one.
    pub fn next(&self, index: u64) -> Option<&SignedBlock> {
        self.blocks.range(index..).next().map(|(_, block)| block)
    }

    /// Removes all before this number.
    pub fn remove_before(&mut self, index: u64) {
        let kept = self.blocks.split_off(&index);
        let removed = std::mem::replace(&mut self.blocks, kept);
        self.bytes -= removed.values().map(size).sum::<usize>();
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn size(block: &SignedBlock) -> usize {
    block.data().len() + BESIDE
}

#[cfg(test)]
mod tests {
    use super::*;
    use cjp2p_wire::signed::SigningKey;
    use cjp2p_wire::stream::StreamId;

    #[test]
    fn the_first_blocks_go_and_longer_ones_replace_shorter() {
        let key = SigningKey::from_seed(&[1; 32]);
        let id = StreamId::new(key.public(), "a").unwrap();
        let block = |index, length| SignedBlock::sign(&key, &id, index, &vec![7; length]).unwrap();
        let mut shelf = Shelf::new(3 * (100 + BESIDE));
        for index in [5, 3, 4] {
            assert!(shelf.put(block(index, 100)));
        }
        assert!(!shelf.put(block(4, 100)) && !shelf.put(block(4, 50)));
        assert!(shelf.put(block(6, 40)) && shelf.put(block(6, 100)));
        assert_eq!(shelf.get(3), None);
        assert_eq!(shelf.ends().map(|(first, last)| (first.index(), last.index())), Some((4, 6)));
        assert_eq!(shelf.next(5).map(SignedBlock::index), Some(5));
        assert_eq!(shelf.bytes(), 3 * (100 + BESIDE));
        shelf.remove_before(6);
        assert_eq!((shelf.bytes(), shelf.get(5)), (100 + BESIDE, None));
        // One is always there.
        assert!(shelf.put(block(6, 4096)));
        assert_eq!(shelf.get(6), Some(&block(6, 4096)));
    }
}
