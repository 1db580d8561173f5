//! The blocks of a stream that is viewed, in memory: the newest of them, and from where on none is missing.

use std::ops::Range;

use cjp2p_wire::stream::{BLOCK_LEN, SignedBlock};

use super::store::StreamStore;

/// See the [module](self).
#[derive(Debug)]
pub struct Viewed {
    blocks: StreamStore,
    /// Where the blocks begin that came without a gap up to the newest, and the one after that.
    last_run: Option<Range<u64>>,
}

impl Viewed {
    /// Keeps so many bytes.
    pub fn new(bytes: usize) -> Viewed {
        Viewed { blocks: StreamStore::in_memory(bytes), last_run: None }
    }

    /// A block that is here.
    pub fn peek(&self, index: u64) -> Option<&SignedBlock> {
        self.blocks.peek(index)
    }

    /// The same, for others.
    pub fn get(&mut self, index: u64) -> Option<SignedBlock> {
        self.blocks.get(index)
    }

    /// From which byte on to which others can be answered.
    pub fn extent(&mut self) -> Option<Range<u64>> {
        self.blocks.extent()
    }

    /// Whether this byte is here.
    pub fn has(&self, offset: u64) -> bool {
        self.peek(offset / BLOCK_LEN as u64).is_some_and(|block| block.end() > offset)
    }

    /// Where what is here begins that reaches the newest.
    pub fn last_run(&self) -> Option<u64> {
        self.last_run.as_ref().map(|run| run.start * BLOCK_LEN as u64)
    }

    /// Keeps a block, in any order.
    pub fn put(&mut self, block: &SignedBlock) {
        self.blocks.put(block.clone());
        let index = block.index();
        let run = self.last_run.get_or_insert(index..index + 1);
        if index >= run.end {
            if index > run.end {
                run.start = index;
            }
            run.end = index + 1;
        }
        // What came late may close the gap before.
        while let Some(before) = run
            .start
            .checked_sub(1)
            .filter(|before| index <= *before && self.blocks.peek(*before).is_some_and(SignedBlock::is_whole))
        {
            run.start = before;
        }
    }
}
