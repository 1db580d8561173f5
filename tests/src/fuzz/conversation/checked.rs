//! Memory that holds what must be true of all that is written to it, and what there is between the node and an address.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::rc::Rc;

use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::message::Handle;
use cjp2p_wire::store::{Asker, JobId, Library, ListPart, Parts, Read, Sink};
use cjp2p_wire::tree::{Run, Verified};

use super::contents::SHARED;
use crate::fuzz::sample::{SAMPLES, Sample};
use crate::sim::memory::{MemoryBlobs, Original};

/// Staged bytes go as far as somebody claims; the disk of this test is no larger.
const DISK: u64 = 4 << 20;
/// What the node asked for: the id, from where, how many bytes, and under which name if they may be raw.
pub(super) struct Asked {
    pub(super) id: String,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) handle: Option<Handle>,
}

/// What there is between the node and an address.
#[derive(Default)]
pub(super) struct Met {
    /// The node was told of it, and so may ask it.
    pub(super) named: bool,
    /// It has returned a cookie of the node.
    pub(super) proved: bool,
    /// What the node asked it to return, as JSON.
    pub(super) cookies: Vec<String>,
    /// What the node asked it for.
    pub(super) requests: Vec<Asked>,
    /// Under which names it asked the node for raw content, and of which id.
    pub(super) handles: BTreeMap<Handle, Vec<String>>,
}

/// Memory that looks at what is written to it.
pub(super) struct Checked {
    inner: MemoryBlobs,
    expected: BTreeMap<JobId, &'static Sample>,
    pub(super) to_judge: Vec<JobId>,
}

thread_local! {
    static ORIGINALS: LazyCell<[Rc<Original>; 2]> =
        LazyCell::new(|| SHARED.map(|n| Original::new(SAMPLES[n].content.clone())));
}

impl Checked {
    pub(super) fn new() -> Checked {
        let mut inner = MemoryBlobs::default();
        inner.repeats = true;
        ORIGINALS.with(|originals| originals.iter().for_each(|original| inner.share_original(original)));
        inner.share(b"hello world\n".to_vec(), Some("hello.txt"));
        Checked { inner, expected: BTreeMap::new(), to_judge: Vec::new() }
    }

    pub(super) fn expect(&mut self, job: JobId, id: &ContentId, sample: &'static Sample) {
        self.inner.share_fetched(id, job);
        self.expected.insert(job, sample);
    }

    /// An interrupted fetch wrote this, and it is right.
    pub(super) fn is_there(&mut self, job: JobId, sample: &Sample, range: Range<u64>) {
        let fetched = self.inner.fetched.entry(job).or_default();
        let length = sample.content.len();
        fetched.bytes.resize(length, 0);
        fetched.done.insert(range.clone());
        let span = range.start as usize..range.end as usize;
        fetched.bytes[span.clone()].copy_from_slice(&sample.content[span]);
        if range.end == length as u64 {
            fetched.length = Some(range.end);
        }
    }

    pub(super) fn fetched(&self, job: JobId) -> &[u8] {
        self.inner.fetched.get(&job).map_or(&[], |fetched| &fetched.bytes)
    }
}

impl Library for Checked {
    fn read(&mut self, asker: Asker, id: &ContentId, offset: u64, length: usize, out: &mut Vec<u8>) -> Read {
        self.inner.read(asker, id, offset, length, out)
    }

    fn parts(&mut self, id: &ContentId, from: u64, most: usize) -> Option<Parts> {
        self.inner.parts(id, from, most)
    }

    fn list(&mut self, limit: usize) -> Vec<(ContentId, u64)> {
        self.inner.list(limit)
    }

    fn list_after(&mut self, after: Option<&ContentId>, limit: usize) -> Option<ListPart> {
        self.inner.list_after(after, limit)
    }

    fn is_withdrawn(&mut self, id: &ContentId) -> bool {
        self.inner.is_withdrawn(id)
    }

    fn blake3_of(&mut self, sha256: &Hash) -> Option<Hash> {
        self.inner.blake3_of(sha256)
    }
}

impl Sink for Checked {
    fn write(&mut self, job: JobId, block: Verified<'_>) -> io::Result<()> {
        let sample = self.expected.get(&job).expect("only what was wanted is written");
        assert_eq!(*block.root(), sample.root);
        assert!(is_at(&sample.content, block.offset(), block.bytes()), "wrong bytes at {}", block.offset());
        self.inner.write(job, block)
    }

    fn stage(&mut self, job: JobId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset + bytes.len() as u64 > DISK {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.inner.stage(job, offset, bytes)
    }

    fn restage(&mut self, job: JobId) -> io::Result<()> {
        self.inner.restage(job)
    }

    fn keep_run(&mut self, job: JobId, length: u64, run: Run, bytes: &[u8]) -> io::Result<()> {
        self.inner.keep_run(job, length, run, bytes)
    }

    fn room(&self, job: JobId) -> u64 {
        self.inner.room(job)
    }
}

/// Whether `part` is what lies at `offset` of `all`.
pub(super) fn is_at(all: &[u8], offset: u64, part: &[u8]) -> bool {
    let end = offset.saturating_add(part.len() as u64);
    all.get(offset.min(end) as usize..end as usize) == Some(part)
}
