//! The blocks of all streams that are shared or relayed here, as the node asks for them.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use cjp2p_io::stream_files::StreamStore;
use cjp2p_wire::store::{Asker, JobId};
use cjp2p_wire::stream::{SignedBlock, StreamId};

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Shelves {
    stores: BTreeMap<StreamId, StreamStore>,
    jobs: BTreeMap<JobId, StreamId>,
}

impl Shelves {
    /// From now on this stream is here.
    pub(crate) fn insert(&mut self, id: StreamId, store: StreamStore) {
        self.stores.insert(id, store);
    }

    /// What this job views is kept as this stream.
    pub(crate) fn set_job(&mut self, job: JobId, id: StreamId) {
        self.jobs.insert(job, id);
    }

    /// The blocks of this stream.
    pub(crate) fn store_mut(&mut self, id: &StreamId) -> Option<&mut StreamStore> {
        self.stores.get_mut(id)
    }

    /// See [`Library::stream_block`](cjp2p_wire::store::Library::stream_block).
    pub(crate) fn block(&mut self, asker: Asker, id: &StreamId, index: u64) -> Option<SignedBlock> {
        let store = self.stores.get_mut(id)?;
        match asker {
            Asker::Host(_) => store.get(index),
            // Nothing is read for one that may be anybody.
            Asker::Unvalidated => store.peek(index).cloned(),
        }
    }

    /// See [`Library::stream_extent`](cjp2p_wire::store::Library::stream_extent).
    pub(crate) fn extent(&self, id: &StreamId) -> Option<Range<u64>> {
        self.stores.get(id)?.extent()
    }

    /// See [`Sink::write_stream`](cjp2p_wire::store::Sink::write_stream).
    pub(crate) fn write(&mut self, job: JobId, block: &SignedBlock) -> io::Result<()> {
        let store = self.jobs.get(&job).and_then(|id| self.stores.get_mut(id));
        store.ok_or(io::ErrorKind::NotFound)?.put(block.clone());
        Ok(())
    }

    /// Waits until all is written.
    pub(crate) fn finish(&mut self) {
        self.stores.values_mut().for_each(StreamStore::finish);
    }
}
