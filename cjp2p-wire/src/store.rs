//! What the machines read from and write to. The types carry the promise: only what was verified can be written.

use std::io;
use std::net::IpAddr;
use std::ops::Range;

use crate::content_id::{ContentId, Hash};
use crate::range_set::RangeSet;
use crate::signed::{PointerId, SignedPointer};
use crate::stream::{SignedBlock, StreamId};
use crate::tree::{Run, Verified, VerifiedBlock};

/// The answer to a [`Library::read`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The bytes were appended, as many as there are up to the length asked for; none at or past the end.
    Found {
        /// The length of the whole content in bytes, where it is known.
        eof: Option<u64>,
    },
    /// Nothing of this id, or nothing in that range, is here.
    Absent,
    /// It is here but not in memory yet: ask again when the library says so.
    Later,
}

/// Which parts of some content a library gives; see [`Library::parts`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// The length of the whole content in bytes, where it is known.
    pub length: Option<u64>,
    /// Everything from the offset asked for up to here is told by `ranges`.
    pub until: u64,
    /// In order, none empty, apart from each other.
    pub ranges: Vec<Range<u64>>,
}

impl Parts {
    /// All of content of `length` bytes, from `from` on.
    pub fn whole(length: u64, from: u64) -> Parts {
        let ranges = if from < length { std::iter::once(from..length).collect() } else { Vec::new() };
        Parts { length: Some(length), until: length.max(from), ranges }
    }

    /// What is in `done`, of content of `length` bytes, from `from` on, in at most `most` ranges.
    pub fn of(done: &RangeSet, length: u64, from: u64, most: usize) -> Parts {
        let mut rest = done.within(from..length.max(from));
        let ranges: Vec<_> = rest.by_ref().take(most).collect();
        let until = rest.next().map_or(length.max(from), |next| next.start);
        Parts { length: Some(length), until, ranges }
    }
}

/// A part of the list of all contents; see [`Library::list_after`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPart {
    /// The contents.
    pub contents: Vec<Listed>,
    /// Whether there are others after these.
    pub goes_on: bool,
    /// How many there are in all.
    pub total: u64,
}

/// A content in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id, by which it is found again in the list.
    pub id: ContentId,
    /// Its length in bytes.
    pub length: u64,
    /// Names by which it can be asked for too, a few of them where there are many.
    pub names: Vec<ContentId>,
}

/// The peer for which a library is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A validated one of this [host](crate::peers::address::host_of). A library that has some of the work done elsewhere, and answers
    /// [`Read::Later`] meanwhile, has hosts take turns.
    Host(IpAddr),
    /// One that may be anybody. It is given what costs no more than a small read of what is in memory; nothing is begun and nothing
    /// kept for it. All else is [`Read::Later`].
    Unvalidated,
}

/// What a node can answer from.
pub trait Library {
    /// Appends to `out` up to `length` bytes of the content `id`, from byte `offset` on.
    ///
    /// Gives only verified bytes of content, or bytes of finished files; a plain name gives what the file holds.
    fn read(&mut self, asker: Asker, id: &ContentId, offset: u64, length: usize, out: &mut Vec<u8>) -> Read;

    /// Which parts of the content `id` [`Library::read`] would give, from byte `from` on, in at most `most` ranges; of a
    /// content of which nothing is here, `None`. Whoever does not say so gives it all, or refuses.
    fn parts(&mut self, id: &ContentId, from: u64, most: usize) -> Option<Parts> {
        let _ = (id, from, most);
        None
    }

    /// Whether the content `id`, or the one whose tree it is, was here and is gone for good: its file was changed, or removed. Not
    /// where it may be back in a moment.
    fn is_withdrawn(&mut self, id: &ContentId) -> bool {
        let _ = id;
        false
    }

    /// At most `limit` of the ids shared, each with its length in bytes.
    fn list(&mut self, limit: usize) -> Vec<(ContentId, u64)>;

    /// Contents shared, in an order that stays while files come and go: up to `limit`, from the beginning, or after the one with
    /// this id. `None` where lists are not told part by part.
    fn list_after(&mut self, after: Option<&ContentId>, limit: usize) -> Option<ListPart> {
        let _ = (after, limit);
        None
    }

    /// The BLAKE3 hash of the content with this SHA-256 hash, where both were computed from it, and it can be read by
    /// either, with its tree.
    fn blake3_of(&mut self, sha256: &Hash) -> Option<Hash> {
        let _ = sha256;
        None
    }

    /// What a name stands for now, as far as it is known here: of our own names, and of those that somebody here asked for. For an
    /// [`Asker::Unvalidated`] nothing is signed.
    fn latest(&mut self, asker: Asker, id: &PointerId) -> Option<SignedPointer> {
        let _ = (asker, id);
        None
    }

    /// A block of a stream as it is here now: whole, or as far as it has come. Streams that are published or viewed here are asked for
    /// block by block as they are sent, the latest mostly.
    fn stream_block(&mut self, asker: Asker, id: &StreamId, index: u64) -> Option<SignedBlock> {
        let _ = (asker, id, index);
        None
    }

    /// From which byte of a stream on to which others can be answered, gaps aside; `None` of a stream of which nothing is here.
    fn stream_extent(&mut self, id: &StreamId) -> Option<Range<u64>> {
        let _ = id;
        None
    }
}

/// The end of the content, so many bytes at the most, is written at the beginning: it proves the length. Nothing else is ever
/// written beyond the room that the destination gives.
pub const PROOF_LEN: u64 = 64 << 10;

/// Which fetch of a node something belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u32);

/// Where fetched content goes. A node that fetches nothing needs none of it: each method refuses unless it is given.
pub trait Sink {
    /// Writes a verified block of the content that `job` fetches.
    ///
    /// # Errors
    ///
    /// Where the destination cannot take it; the fetch then fails.
    fn write(&mut self, job: JobId, block: Verified<'_>) -> io::Result<()> {
        let _ = (job, block);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The same with the memory that the block is in, so that it need not be copied to be kept. Returns memory of any length that is
    /// free.
    ///
    /// # Errors
    ///
    /// As for [`Sink::write`].
    fn write_block(&mut self, job: JobId, block: VerifiedBlock) -> io::Result<Vec<u8>> {
        self.write(job, block.as_verified())?;
        Ok(block.into_memory())
    }

    /// Writes bytes of content that can only be verified as a whole to a place that nothing is read from until then.
    ///
    /// # Errors
    ///
    /// As for [`Sink::write`].
    fn stage(&mut self, job: JobId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let _ = (job, offset, bytes);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Forgets what was staged: it was wrong, or its length was.
    ///
    /// # Errors
    ///
    /// As for [`Sink::write`].
    fn restage(&mut self, job: JobId) -> io::Result<()> {
        let _ = job;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Keeps a verified run of the tree, so that an interrupted fetch can check what it has when it resumes. `length`
    /// is the length of the content under which the run was verified; it may still be a claim.
    ///
    /// # Errors
    ///
    /// As for [`Sink::write`].
    fn keep_run(&mut self, job: JobId, length: u64, run: Run, bytes: &[u8]) -> io::Result<()> {
        let _ = (job, length, run, bytes);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether the destination takes nothing just now, since what it was given is still being written. Then it is asked again when
    /// [`Node::handle_room`](crate::node::Node::handle_room) says so; meanwhile nothing is verified for it, and no source asked.
    fn is_busy(&self, job: JobId) -> bool {
        let _ = job;
        false
    }

    /// How much the destination takes at present: so many bytes of what is wanted, counted from the first in the order in
    /// which they are wanted; whoever wants all of the content can think of it as an offset. What comes after must wait.
    /// Only the end of the content, [`PROOF_LEN`] bytes at the most, comes at the beginning wherever it lies: it proves the
    /// length. Whole leaves are fetched, so beside the bytes that are wanted their neighbours are written.
    fn room(&self, job: JobId) -> u64 {
        let _ = job;
        0
    }

    /// Keeps a block of the stream that `job` views, in any order. A block that was kept shorter may come again longer. From then on
    /// [`Library::stream_block`] gives it.
    ///
    /// # Errors
    ///
    /// As for [`Sink::write`].
    fn write_stream(&mut self, job: JobId, block: &SignedBlock) -> io::Result<()> {
        let _ = (job, block);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// All that a node reads from and writes to.
pub trait Store: Library + Sink {}

impl<T: Library + Sink> Store for T {}

/// What a node has that shares nothing and downloads nothing: it asks other questions.
#[derive(Clone, Copy, Debug, Default)]
pub struct NothingShared;

impl Library for NothingShared {
    fn read(&mut self, _: Asker, _: &ContentId, _: u64, _: usize, _: &mut Vec<u8>) -> Read {
        Read::Absent
    }

    fn list(&mut self, _: usize) -> Vec<(ContentId, u64)> {
        Vec::new()
    }
}

impl Sink for NothingShared {}
