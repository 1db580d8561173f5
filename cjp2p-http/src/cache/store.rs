//! The cache as what a node reads from and writes to.

use std::fs::File;
use std::io;
use std::ops::Range;

use cjp2p_io::partial::group::Group;
use cjp2p_io::partial::running_hash::Piece;
use cjp2p_io::partial::wanted::Part;
use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::signed::{PointerId, SignedPointer};
use cjp2p_wire::store::{Asker, JobId, Library, Parts, Read, Sink};
use cjp2p_wire::stream::{SignedBlock, StreamId};
use cjp2p_wire::tree::{GroupIndex, Run, Verified, VerifiedBlock};

use super::{Cache, Entry, Slot};

impl Cache {
    fn of_job(&mut self, job: JobId) -> io::Result<&mut Entry> {
        let slot = self.by_job.get(&job).copied().ok_or(io::ErrorKind::NotFound)?;
        self.grown.insert(slot);
        self.entries.get_mut(&slot).ok_or(io::ErrorKind::NotFound.into())
    }

    fn numbered(&mut self, job: JobId) -> Option<&mut Entry> {
        self.entries.get_mut(&Slot(u64::from(job.0)))
    }

    /// The next part that others want, if it may be worked on now; without a group where that cannot be any more.
    pub(crate) fn next_wanted(&mut self) -> Option<(JobId, Part, Option<Group>)> {
        let (job, part) = self.wanted.next_part()?;
        let group = self.numbered(job).and_then(|entry| match part {
            Part::Leaves(group) => entry.kept.group(group),
            Part::Window(window) => entry.kept.window(window),
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
        if let Some(entry) = self.numbered(job) {
            entry.kept.take_leaves(group, leaves);
        }
    }

    /// Whether reads that were put off may be tried again since this was last asked.
    pub(crate) fn take_ready(&mut self) -> bool {
        self.wanted.take_ready()
    }

    /// What can be hashed now of what is staged, each with the file that it is in.
    pub(crate) fn pieces(&mut self) -> Vec<(Slot, io::Result<File>, Piece)> {
        let entries = self.entries.iter_mut();
        let pieces = entries.filter_map(|(&slot, entry)| {
            let piece = entry.hash.as_mut()?.next_piece()?;
            Some((slot, entry.kept.file().try_clone(), piece))
        });
        pieces.collect()
    }
}

impl Library for Cache {
    fn read(&mut self, asker: Asker, id: &ContentId, offset: u64, length: usize, out: &mut Vec<u8>) -> Read {
        let Some(&slot) = self.by_id.get(id) else { return Read::Absent };
        let Some(Entry { kept, .. }) = self.entries.get_mut(&slot) else { return Read::Absent };
        let job = slot.as_job();
        match id {
            ContentId::Tree(_) => {
                self.wanted.read_tree(asker, job, |at_once| kept.read_tree(offset, length, at_once, out))
            }
            _ => self.wanted.read(asker, job, offset, |may_wait| kept.read(offset, length, may_wait, out)),
        }
    }

    fn parts(&mut self, id: &ContentId, from: u64, most: usize) -> Option<Parts> {
        let entry = self.by_id.get(id).and_then(|slot| self.entries.get(slot))?;
        match id {
            ContentId::Tree(_) => None,
            _ => entry.kept.parts(from, most),
        }
    }

    fn latest(&mut self, _: Asker, id: &PointerId) -> Option<SignedPointer> {
        self.latest.get(id).cloned()
    }

    fn stream_block(&mut self, _: Asker, id: &StreamId, index: u64) -> Option<SignedBlock> {
        self.streams.get_mut(id)?.get(index)
    }

    fn stream_extent(&mut self, id: &StreamId) -> Option<Range<u64>> {
        self.streams.get_mut(id)?.extent()
    }

    /// What somebody fetches is nobody else's business.
    fn list(&mut self, _: usize) -> Vec<(ContentId, u64)> {
        Vec::new()
    }
}

impl Sink for Cache {
    fn write(&mut self, job: JobId, block: Verified<'_>) -> io::Result<()> {
        self.of_job(job)?.kept.write(block).map(drop)
    }

    fn write_block(&mut self, job: JobId, block: VerifiedBlock) -> io::Result<Vec<u8>> {
        self.of_job(job)?.kept.write_block(block).map(|(_, spare)| spare)
    }

    fn stage(&mut self, job: JobId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let entry = self.of_job(job)?;
        let staged = entry.kept.stage(offset, bytes)?;
        if let Some(hash) = &mut entry.hash {
            staged.into_iter().for_each(|range| hash.on_staged(range));
        }
        Ok(())
    }

    fn restage(&mut self, job: JobId) -> io::Result<()> {
        let entry = self.of_job(job)?;
        entry.kept.restage()?;
        if let Some(hash) = &mut entry.hash {
            hash.on_restaged();
        }
        Ok(())
    }

    fn write_stream(&mut self, job: JobId, block: &SignedBlock) -> io::Result<()> {
        let id = self.viewing.get(&job).ok_or(io::ErrorKind::NotFound)?;
        self.streams.get_mut(id).ok_or(io::ErrorKind::NotFound)?.put(block);
        Ok(())
    }

    fn keep_run(&mut self, job: JobId, length: u64, run: Run, bytes: &[u8]) -> io::Result<()> {
        self.of_job(job)?.kept.keep_run(length, run, bytes);
        Ok(())
    }

    fn is_busy(&self, job: JobId) -> bool {
        let entry = self.by_job.get(&job).and_then(|slot| self.entries.get(slot));
        entry.is_some_and(|entry| entry.kept.is_busy())
    }

    fn room(&self, job: JobId) -> u64 {
        let entry = self.by_job.get(&job).and_then(|slot| self.entries.get(slot));
        entry.map_or(0, |entry| match entry.kind() {
            super::Kind::AsItComes => entry.room,
            // It is of use only when all of it is here.
            super::Kind::AsAWhole => u64::MAX,
        })
    }
}
