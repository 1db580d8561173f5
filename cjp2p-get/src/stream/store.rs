//! What the node of a viewer answers from and writes to: one stream, in memory.

use std::io;
use std::ops::Range;

use cjp2p_io::stream_files::Viewed;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::store::{Asker, JobId, Library, Read, Sink};
use cjp2p_wire::stream::{SignedBlock, StreamId};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct ViewStore {
    id: StreamId,
    blocks: Viewed,
}

impl ViewStore {
    /// Keeps so many bytes.
    pub(super) fn new(id: StreamId, bytes: usize) -> ViewStore {
        ViewStore { id, blocks: Viewed::new(bytes) }
    }

    /// The blocks that are here.
    pub(super) fn blocks(&self) -> &Viewed {
        &self.blocks
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
        self.blocks.put(block);
        Ok(())
    }
}
