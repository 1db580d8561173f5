//! All destinations: what the node writes to, and answers others from.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::net::SocketAddr;

use cjp2p_cli::ToolError;
use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::range_set::RangeSet;
use cjp2p_wire::store::{Asker, JobId, Library, Parts, Read, Sink};
use cjp2p_wire::tree::{GroupIndex, Run, TreeVerifier, Verified, VerifiedBlock};

use crate::sinks::{Destination, Publication};
use cjp2p_io::partial::group::Group;
use cjp2p_io::partial::recheck::Checked;
use cjp2p_io::partial::running_hash::{Piece, RunningHash};
use cjp2p_io::partial::wanted::{Part, Wanted};

/// Finished contents that stay shared. Each is an open file, of which a process has only so many.
const MAX_FINISHED: usize = 128;

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Store {
    destinations: BTreeMap<JobId, Box<dyn Destination>>,
    by_id: BTreeMap<ContentId, JobId>,
    /// Of what is staged and has to have a SHA-256 hash in the end.
    hashes: BTreeMap<JobId, RunningHash>,
    /// BLAKE3 hashes by the SHA-256 hash of the same content, of what is here whole and right.
    hints: BTreeMap<Hash, (Hash, JobId)>,
    /// The longest finished first.
    finished: VecDeque<JobId>,
    wanted: Wanted,
}

impl Store {
    /// Has what `job` fetches go to `destination`, which has the bytes `done` already.
    pub(crate) fn insert(
        &mut self,
        job: JobId,
        id: &ContentId,
        destination: Box<dyn Destination>,
        done: RangeSet,
    ) {
        if let ContentId::Sha256(hash) = id {
            self.hashes.insert(job, RunningHash::new(*hash, done));
        }
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

    /// What can be hashed now of what is staged, each with the file that it is in.
    pub(crate) fn pieces(&mut self) -> Vec<(JobId, io::Result<File>, Piece)> {
        let pieces = self.hashes.iter_mut().filter_map(|(&job, hash)| Some((job, hash.next_piece()?)));
        let pieces: Vec<_> = pieces.collect();
        let with_file =
            |(job, piece)| (job, self.get(job).and_then(|destination| destination.staged()), piece);
        pieces.into_iter().map(with_file).collect()
    }

    /// A piece is hashed.
    pub(crate) fn on_hashed(&mut self, job: JobId, piece: io::Result<Piece>) -> io::Result<()> {
        match self.hashes.get_mut(&job) {
            Some(hash) => hash.on_hashed(piece),
            // The fetch ended meanwhile.
            None => Ok(()),
        }
    }

    /// A piece of what an interrupted fetch wrote is verified.
    pub(crate) fn on_checked(&mut self, job: JobId, checked: &Checked) {
        if let Some(destination) = self.destinations.get_mut(&job) {
            destination.on_checked(checked);
        }
    }

    /// All of the content is staged.
    pub(crate) fn on_all_staged(&mut self, job: JobId, length: u64) -> Result<(), ToolError> {
        let settled = self.get(job).and_then(|destination| destination.settle_staged());
        let staged = settled.map_err(|error| self.failure(job, error))?;
        if let Some(hash) = self.hashes.get_mut(&job) {
            staged.into_iter().for_each(|range| hash.on_staged(range));
            hash.on_end(length);
        }
        Ok(())
    }

    /// Whether all that is staged is the content `id`, once that is known. Of a plain name nobody can tell.
    pub(crate) fn verdict(&mut self, job: JobId, id: &ContentId) -> Option<bool> {
        match id {
            ContentId::Name(_) => Some(true),
            _ => self.hashes.get_mut(&job)?.verdict(),
        }
    }

    /// Notes the peers that send what `job` fetches.
    pub(crate) fn note_sources(&mut self, job: JobId, sending: &[SocketAddr], now_ms: u64) {
        if let Some(destination) = self.destinations.get_mut(&job) {
            destination.note_sources(sending, now_ms);
        }
    }

    /// This source is not to be asked again for what `job` fetches.
    pub(crate) fn forget_source(&mut self, job: JobId, address: SocketAddr) {
        if let Some(destination) = self.destinations.get_mut(&job) {
            destination.forget_source(address);
        }
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

    /// The next part that others want, if it may be worked on now; without a group where that cannot be any more.
    pub(crate) fn next_wanted(&mut self) -> Option<(JobId, Part, Option<Group>)> {
        let (job, part) = self.wanted.next_part()?;
        let group = self.destinations.get_mut(&job).and_then(|destination| match part {
            Part::Leaves(group) => destination.group(group),
            Part::Window(window) => destination.window(window),
        });
        Some((job, part, group))
    }

    /// This window is in memory now, as far as it can be. `can_tell`: its file system says whether a read would wait.
    pub(crate) fn on_warmed(&mut self, job: JobId, window: u64, can_tell: bool) {
        self.wanted.on_warmed(job, window, can_tell);
    }

    /// These are its leaves, where they could be computed.
    pub(crate) fn on_leaves(&mut self, job: JobId, group: GroupIndex, leaves: Option<Vec<Hash>>) {
        self.wanted.on_done(job, Part::Leaves(group));
        if let Some(destination) = self.destinations.get_mut(&job) {
            destination.take_leaves(group, leaves);
        }
    }

    /// Whether reads that were put off may be tried again since this was last asked.
    pub(crate) fn take_ready(&mut self) -> bool {
        self.wanted.take_ready()
    }

    /// Everything is here and right: the last step.
    pub(crate) fn publish(&mut self, job: JobId, length: u64) -> Option<Publication> {
        self.hashes.remove(&job);
        self.destinations.get_mut(&job).map(|destination| destination.publish(length))
    }

    /// All of what this job fetched to memory is here and right: takes it, and forgets the job.
    pub(crate) fn take_bytes(&mut self, job: JobId, root: &Hash, length: u64) -> Option<Vec<u8>> {
        let bytes = self.destinations.remove(&job)?.take_bytes(length);
        for id in [ContentId::Blake3(*root), ContentId::Tree(*root)] {
            if self.by_id.get(&id) == Some(&job) {
                self.by_id.remove(&id);
            }
        }
        bytes
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
        self.hashes.remove(&job);
        self.wanted.forget(job);
        self.by_id.retain(|_, other| *other != job);
        self.hints.retain(|_, (_, other)| *other != job);
    }
}

impl Library for Store {
    fn read(&mut self, asker: Asker, id: &ContentId, offset: u64, length: usize, out: &mut Vec<u8>) -> Read {
        let Some(&job) = self.by_id.get(id) else { return Read::Absent };
        let Some(destination) = self.destinations.get_mut(&job) else { return Read::Absent };
        match id {
            ContentId::Tree(_) => self
                .wanted
                .read_tree(asker, job, |at_once| destination.read_tree(offset, length, at_once, out)),
            _ => self
                .wanted
                .read(asker, job, offset, |may_wait| destination.read(offset, length, may_wait, out)),
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
        let there = self.read(Asker::Unvalidated, &ContentId::Blake3(root), 0, 0, &mut Vec::new());
        matches!(there, Read::Found { .. }).then_some(root)
    }
}

impl Sink for Store {
    fn write(&mut self, job: JobId, block: Verified<'_>) -> io::Result<()> {
        self.get(job)?.write(block)
    }

    fn write_block(&mut self, job: JobId, block: VerifiedBlock) -> io::Result<Vec<u8>> {
        self.get(job)?.write_block(block)
    }

    fn stage(&mut self, job: JobId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let staged = self.get(job)?.stage(offset, bytes)?;
        if let Some(hash) = self.hashes.get_mut(&job) {
            staged.into_iter().for_each(|range| hash.on_staged(range));
        }
        Ok(())
    }

    fn restage(&mut self, job: JobId) -> io::Result<()> {
        self.get(job)?.restage()?;
        if let Some(hash) = self.hashes.get_mut(&job) {
            hash.on_restaged();
        }
        Ok(())
    }

    fn keep_run(&mut self, job: JobId, length: u64, run: Run, bytes: &[u8]) -> io::Result<()> {
        self.get(job)?.keep_run(length, run, bytes)
    }

    fn is_busy(&self, job: JobId) -> bool {
        self.destinations.get(&job).is_some_and(|destination| destination.is_busy())
    }

    fn room(&self, job: JobId) -> u64 {
        self.destinations.get(&job).map_or(0, |destination| destination.room())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cjp2p_io::partial::group::WINDOW;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::sinks::stream::Output;
    use crate::sinks::temporary::Temporary;

    const MEBIBYTE: u64 = 1 << 20;

    fn hash_all(store: &mut Store) {
        for (job, file, piece) in store.pieces() {
            let piece = file.and_then(|file| piece.hash(&file));
            store.on_hashed(job, piece).unwrap();
        }
    }

    #[test]
    fn what_is_staged_is_hashed_while_it_comes_and_again_where_it_was_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::device(Path::new("/dev/null")).unwrap();
        let bytes = vec![7; 2 * MEBIBYTE as usize];
        let (job, id) = (JobId(3), ContentId::Sha256(Sha256::digest(&bytes).into()));
        let mut store = Store::default();
        let destination = Temporary::new(folder.path(), output).unwrap();
        store.insert(job, &id, Box::new(destination), RangeSet::new());
        for (byte, right) in [(8, false), (7, true)] {
            store.stage(job, MEBIBYTE, &bytes[..MEBIBYTE as usize]).unwrap();
            assert!(store.pieces().is_empty());
            store.stage(job, 1, &bytes[1..MEBIBYTE as usize]).unwrap();
            store.stage(job, 0, &[byte]).unwrap();
            hash_all(&mut store);
            assert_eq!(store.verdict(job, &id), None);
            store.on_all_staged(job, 2 * MEBIBYTE).unwrap();
            assert_eq!(store.verdict(job, &id), Some(right), "all was hashed before");
            store.restage(job).unwrap();
        }
    }

    /// Content on a disk that has to be waited for.
    struct Cold;

    impl Destination for Cold {
        fn read(&mut self, _: u64, _: usize, may_wait: bool, _: &mut Vec<u8>) -> Read {
            if may_wait { Read::Found { eof: Some(MEBIBYTE) } } else { Read::Later }
        }

        fn window(&self, window: u64) -> Option<Group> {
            let file = tempfile::tempfile().ok()?.into();
            Some(Group { file, range: window * WINDOW..(window + 1) * WINDOW })
        }

        fn publish(&mut self, _: u64) -> Publication {
            Box::new(|| Ok(()))
        }

        fn failure(&self, error: io::Error) -> ToolError {
            ToolError::failure(error.to_string())
        }
    }

    const ASKER: Asker = Asker::Host(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    #[test]
    fn what_is_not_in_memory_is_read_elsewhere_before_it_is_given() {
        let (job, id) = (JobId(3), ContentId::Blake3([7; 32]));
        let mut store = Store::default();
        store.insert(job, &id, Box::new(Cold), RangeSet::new());
        let mut out = Vec::new();
        assert_eq!(store.read(Asker::Unvalidated, &id, 0, 4096, &mut out), Read::Later);
        assert!(store.next_wanted().is_none(), "nothing is begun for anybody");
        for _ in 0..2 {
            assert_eq!(store.read(ASKER, &id, WINDOW + 5, 4096, &mut out), Read::Later);
            let Some((_, Part::Window(1), Some(group))) = store.next_wanted() else {
                panic!("it is not read")
            };
            assert_eq!(group.range.start, WINDOW);
            group.warm();
            assert!(!store.take_ready());
            store.on_warmed(job, 1, true);
            assert!(store.take_ready());
            assert_eq!(
                store.read(ASKER, &id, WINDOW + 5, 4096, &mut out),
                Read::Found { eof: Some(MEBIBYTE) }
            );
        }
    }

    #[test]
    fn where_it_cannot_be_known_what_is_in_memory_a_window_is_read_elsewhere_once_and_not_for_each_block() {
        let (job, id) = (JobId(3), ContentId::Blake3([7; 32]));
        let mut store = Store::default();
        store.insert(job, &id, Box::new(Cold), RangeSet::new());
        let mut read_elsewhere = 0;
        for at in (0..WINDOW).step_by(4096) {
            while store.read(ASKER, &id, at, 4096, &mut Vec::new()) == Read::Later {
                let (job, part, _) = store.next_wanted().unwrap();
                assert_eq!(part, Part::Window(0));
                store.on_warmed(job, 0, false);
                read_elsewhere += 1;
            }
        }
        assert_eq!(read_elsewhere, 1);
        (1..1000).for_each(|window| store.on_warmed(job, window, false));
        assert_eq!(store.read(ASKER, &id, 0, 4096, &mut Vec::new()), Read::Later, "that was long ago");
        assert_eq!(store.read(Asker::Unvalidated, &id, 999 * WINDOW, 4096, &mut Vec::new()), Read::Later);
    }
}
