//! What the owner of a node asks of it about streams.

use super::Node;
use super::stream_event::{StreamOptions, StreamProgress};
use crate::store::{JobId, Store};
use crate::stream::{SignedStatement, StreamId};
use crate::time::Time;

/// Streams that are given.
impl Node {
    /// Gives a stream to whoever asks: its origin is here, or all that is left of it. [`Library::stream_block`] has its blocks.
    ///
    /// [`Library::stream_block`]: crate::store::Library::stream_block
    pub fn publish_stream(&mut self, now: Time, id: &StreamId) {
        self.enter(now);
        self.streams.publish(id);
    }

    /// Gives a stream no longer.
    pub fn end_publishing(&mut self, now: Time, id: &StreamId) {
        self.enter(now);
        self.streams.end_publishing(id);
    }

    /// The library has this block of a stream that is published here, or has it longer than before: whoever waits for it gets it.
    pub fn on_stream_block(&mut self, now: Time, id: &StreamId, index: u64, store: &mut dyn Store) {
        self.enter(now);
        self.streams.on_block(&mut self.shared, now, id, index, store);
    }

    /// Says what the origin says now of a stream that is published or viewed here: it is told to whoever views it.
    pub fn set_stream_statement(&mut self, now: Time, statement: &SignedStatement) {
        self.enter(now);
        self.streams.set_statement(&mut self.shared, now, statement);
    }

    /// How many others are sent this stream now.
    pub fn stream_viewers(&self, id: &StreamId) -> usize {
        self.streams.viewers(id)
    }
}

/// Streams that are viewed.
impl Node {
    /// Views a stream: asks the peers that [`Node::add_source`], [`Node::add_named_source`] and [`Node::add_known`] add to the job, and
    /// those that these name. One that is viewed already has a job, which is returned.
    pub fn view_stream(&mut self, now: Time, id: &StreamId, options: StreamOptions) -> JobId {
        self.enter(now);
        match self.streams.job_of(id) {
            Some(job) => job,
            None => {
                let job = self.client.allot_job();
                self.streams.view(now, job, id, options);
                job
            }
        }
    }

    /// All before this byte is done with: it was read, or is to be skipped. The window moves with it, forward only.
    pub fn set_stream_position(&mut self, now: Time, job: JobId, offset: u64) {
        self.enter(now);
        self.streams.set_position(now, job, offset);
    }

    /// Views it no longer.
    pub fn end_stream(&mut self, now: Time, job: JobId) {
        self.enter(now);
        self.streams.end(&mut self.shared, now, job);
    }

    /// How a view is; `None` where there is none of this job.
    pub fn stream_progress(&self, job: JobId) -> Option<StreamProgress> {
        self.streams.progress(job)
    }
}
