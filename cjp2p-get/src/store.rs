//! All destinations: what the node writes to, and answers others from.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;

use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::tool::ToolError;
use cjp2p_wire::transfer::blobs::{JobId, Library, Parts, Read, Sink};
use cjp2p_wire::tree::{Run, TreeVerifier, Verified};

use crate::sinks::{Destination, Publication};

/// Finished contents that stay shared. Each is an open file, of which a process has only so many.
const MAX_FINISHED: usize = 128;

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Store {
    destinations: BTreeMap<JobId, Box<dyn Destination>>,
    by_id: BTreeMap<ContentId, JobId>,
    /// BLAKE3 hashes by the SHA-256 hash of the same content, of what is here whole and right.
    hints: BTreeMap<Hash, (Hash, JobId)>,
    /// The longest finished first.
    finished: VecDeque<JobId>,
}

impl Store {
    /// Has what `job` fetches go to `destination`.
    pub(crate) fn insert(&mut self, job: JobId, id: &ContentId, destination: Box<dyn Destination>) {
        self.destinations.insert(job, destination);
        self.by_id.insert(id.clone(), job);
        if let ContentId::Blake3(root) = id {
            self.by_id.insert(ContentId::Tree(*root), job);
        }
    }

    fn get(&mut self, job: JobId) -> io::Result<&mut dyn Destination> {
        match self.destinations.get_mut(&job) {
            Some(destination) => Ok(destination.as_mut()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Notes the length under which bytes are staged from now on.
    pub(crate) fn on_length(&mut self, job: JobId, length: u64) {
        if let Ok(destination) = self.get(job) {
            destination.on_length(length);
        }
    }

    /// What is staged, to be hashed.
    pub(crate) fn staged(&mut self, job: JobId) -> io::Result<File> {
        self.get(job)?.staged()
    }

    /// Why nothing more can be written, where that is known.
    pub(crate) fn problem(&mut self, job: JobId) -> Option<ToolError> {
        let destination = self.destinations.get_mut(&job)?;
        let error = destination.problem()?;
        Some(destination.failure(error))
    }

    /// What to tell where writing failed.
    pub(crate) fn failure(&self, job: JobId, error: io::Error) -> ToolError {
        match self.destinations.get(&job) {
            Some(destination) => destination.failure(error),
            None => ToolError::failure(error.to_string()),
        }
    }

    /// What came by this SHA-256 hash is right, and this is its tree, as far as it is known: others are told.
    pub(crate) fn on_tree(&mut self, job: JobId, sha256: Hash, tree: TreeVerifier) {
        let root = *tree.root();
        let Some(destination) = self.destinations.get_mut(&job) else { return };
        if destination.keep_tree(tree) {
            self.hints.insert(sha256, (root, job));
            for id in [ContentId::Blake3(root), ContentId::Tree(root)] {
                self.by_id.entry(id).or_insert(job);
            }
        }
    }

    /// Everything is here and right: the last step.
    pub(crate) fn publish(&mut self, job: JobId, length: u64) -> Option<Publication> {
        self.destinations.get_mut(&job).map(|destination| destination.publish(length))
    }

    /// The last step was done. The content stays shared, as long as not too many are.
    pub(crate) fn on_published(&mut self, job: JobId) {
        if let Some(destination) = self.destinations.get_mut(&job) {
            destination.on_published();
            self.finished.push_back(job);
        }
        let too_many = self.finished.len() > MAX_FINISHED;
        if let Some(oldest) = too_many.then(|| self.finished.pop_front()).flatten() {
            self.remove(oldest);
        }
    }

    /// A fetch ended in vain. Returns where the part that came is kept, if anything is.
    pub(crate) fn abandon(&mut self, job: JobId) -> Option<String> {
        let kept = self.destinations.get_mut(&job).and_then(|destination| destination.abandon());
        self.remove(job);
        kept
    }

    /// Writes down what is needed to go on later, and forgets everything.
    pub(crate) fn abandon_all(&mut self) {
        let jobs: Vec<JobId> = self.destinations.keys().copied().collect();
        for job in jobs {
            self.abandon(job);
        }
    }

    fn remove(&mut self, job: JobId) {
        self.destinations.remove(&job);
        self.by_id.retain(|_, other| *other != job);
        self.hints.retain(|_, (_, other)| *other != job);
    }
}

impl Library for Store {
    fn read(&mut self, id: &ContentId, offset: u64, length: usize, out: &mut Vec<u8>) -> Read {
        let Some(destination) = self.by_id.get(id).and_then(|job| self.destinations.get_mut(job)) else {
            return Read::Absent;
        };
        match id {
            ContentId::Tree(_) => destination.read_tree(offset, length, out),
            _ => destination.read(offset, length, out),
        }
    }

    fn parts(&mut self, id: &ContentId, from: u64, most: usize) -> Option<Parts> {
        let destination = self.by_id.get(id).and_then(|job| self.destinations.get(job))?;
        match id {
            ContentId::Tree(_) => None,
            _ => destination.parts(from, most),
        }
    }

    /// What somebody fetches is nobody else's business.
    fn list(&mut self, _: usize) -> Vec<(ContentId, u64)> {
        Vec::new()
    }

    fn blake3_of(&mut self, sha256: &Hash) -> Option<Hash> {
        let (root, _) = *self.hints.get(sha256)?;
        // The file may have been changed since.
        let there = self.read(&ContentId::Blake3(root), 0, 0, &mut Vec::new());
        matches!(there, Read::Found { .. }).then_some(root)
    }
}

impl Sink for Store {
    fn write(&mut self, job: JobId, block: Verified<'_>) -> io::Result<()> {
        self.get(job)?.write(block)
    }

    fn stage(&mut self, job: JobId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.get(job)?.stage(offset, bytes)
    }

    fn restage(&mut self, job: JobId) -> io::Result<()> {
        self.get(job)?.restage()
    }

    fn keep_run(&mut self, job: JobId, length: u64, run: Run, bytes: &[u8]) -> io::Result<()> {
        self.get(job)?.keep_run(length, run, bytes)
    }

    fn room(&self, job: JobId) -> u64 {
        self.destinations.get(&job).map_or(0, |destination| destination.room())
    }
}
