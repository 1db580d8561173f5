//! What the node of a viewer answers from and writes to: one stream, in memory.

use std::io;
use std::ops::Range;

use cjp2p_io::stream_files::StreamStore;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::store::{Asker, JobId, Library, Read, Sink};
use cjp2p_wire::stream::{BLOCK_LEN, SignedBlock, StreamId};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct ViewStore {
    id: StreamId,
    blocks: StreamStore,
    /// Where the blocks begin that came without a gap up to the newest, and the one after that.
    last_run: Option<Range<u64>>,
}

impl ViewStore {
    /// Keeps so many bytes.
    pub(super) fn new(id: StreamId, bytes: usize) -> ViewStore {
        ViewStore { id, blocks: StreamStore::in_memory(bytes), last_run: None }
    }

    /// A block that is here.
    pub(super) fn peek(&self, index: u64) -> Option<&SignedBlock> {
        self.blocks.peek(index)
    }

    /// Whether this byte is here.
    pub(super) fn has(&self, offset: u64) -> bool {
        self.peek(offset / BLOCK_LEN as u64).is_some_and(|block| block.end() > offset)
    }

    /// Where what is here begins that reaches the newest.
    pub(super) fn last_run(&self) -> Option<u64> {
        self.last_run.as_ref().map(|run| run.start * BLOCK_LEN as u64)
    }
}

impl Library for ViewStore {
    fn read(&mut self, _: Asker, _: &ContentId, _: u64, _: usize, _: &mut Vec<u8>) -> Read {
        Read::Absent
    }

    fn list(&mut self, _: usize) -> Vec<(ContentId, u64)> {
        Vec::new()
    }

    fn stream_block(&mut self, _: Asker, id: &StreamId, index: u64) -> Option<SignedBlock> {
        if *id == self.id { self.blocks.get(index) } else { None }
    }

    fn stream_extent(&mut self, id: &StreamId) -> Option<Range<u64>> {
        if *id == self.id { self.blocks.extent() } else { None }
    }
}

impl Sink for ViewStore {
    fn write_stream(&mut self, _: JobId, block: &SignedBlock) -> io::Result<()> {
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
        Ok(())
    }
}
