//! Files in memory: what peers of the simulation share and fetch into.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::rc::Rc;

use super::memory_streams::MemoryStreams;

use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::download::{RangeSpec, select};
use cjp2p_wire::range_set::RangeSet;
use cjp2p_wire::signed::{PointerId, SignedPointer};
use cjp2p_wire::store::{Asker, JobId, Library, ListPart, Listed, Parts, Read, Sink};
use cjp2p_wire::stream::{SignedBlock, StreamId};
use cjp2p_wire::tree::{
    Geometry, GroupIndex, LEAF_LEN, Run, TreeBuilder, TreeSource, TreeVerifier, Verified, group_leaves,
    read_tree,
};

/// Content with its tree, which many hosts can share.
pub struct Original {
    bytes: Vec<u8>,
    id: ContentId,
    geometry: Geometry,
    tree_prefix: Vec<u8>,
}

impl Original {
    /// Content and its tree.
    pub fn new(bytes: Vec<u8>) -> Rc<Original> {
        let mut builder = TreeBuilder::new();
        builder.update(&bytes);
        let tree_prefix = builder.finish().prefix().to_vec();
        let geometry = Geometry::new(bytes.len() as u64).expect("a length that fits memory");
        Rc::new(Original { id: crate::content::blake3_id(&bytes), geometry, tree_prefix, bytes })
    }

    /// Its BLAKE3 id.
    pub fn id(&self) -> &ContentId {
        &self.id
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// What was fetched by one job.
#[derive(Default, Debug)]
pub struct Fetched {
    /// The bytes, as far as they came.
    pub bytes: Vec<u8>,
    /// Which of them.
    pub done: RangeSet,
    /// Runs kept for a resume.
    pub runs: Vec<(u64, Run, Vec<u8>)>,
    /// How often it was begun anew.
    pub restaged: u32,
    /// The trees known under each length claimed.
    pub trees: BTreeMap<u64, TreeVerifier>,
    /// The length, once it is proven.
    pub length: Option<u64>,
}

/// A library and a destination in memory.
#[derive(Default)]
pub struct MemoryBlobs {
    shared: BTreeMap<ContentId, Rc<Original>>,
    withdrawn: Vec<ContentId>,
    /// A list to tell part by part, sorted, whatever is shared.
    pub listed: Option<Vec<ContentId>>,
    /// What names stand for, and are told to stand for.
    pub names: BTreeMap<PointerId, SignedPointer>,
    /// BLAKE3 hashes by the SHA-256 hash of the same content.
    hints: BTreeMap<Hash, Hash>,
    /// What each id that is fetched is fetched by: it is shared meanwhile.
    fetching: BTreeMap<ContentId, JobId>,
    /// What will come. Then only the right bytes are taken, and memory holds them once for all hosts.
    pub expected: Option<Rc<Original>>,
    /// What was fetched.
    pub fetched: BTreeMap<JobId, Fetched>,
    /// What each job wants, in order; without an entry, all.
    pub wanted: BTreeMap<JobId, Vec<RangeSpec>>,
    /// Room for each job, in bytes of that; without an entry, all.
    pub room: BTreeMap<JobId, u64>,
    /// Answers `Later` so many times before each read.
    pub cold_reads: u32,
    later: u32,
    /// The same bytes may be written again: under a false length that somebody claimed, and then under the true one.
    pub repeats: bool,
    /// Takes nothing, and says so.
    pub busy: bool,
    /// Writes fail from here on.
    pub full: bool,
    /// Streams.
    pub streams: MemoryStreams,
}

impl MemoryBlobs {
    /// Shares content under both of its ids, its tree, and a name if given. Returns its BLAKE3 id.
    pub fn share(&mut self, bytes: Vec<u8>, name: Option<&str>) -> ContentId {
        let sha256 = crate::content::sha256_id(&bytes);
        let shared = Original::new(bytes);
        if let Some(name) = name {
            self.shared.insert(ContentId::parse(name).expect("a plain name"), shared.clone());
        }
        if let (ContentId::Sha256(sha256), ContentId::Blake3(root)) = (&sha256, &shared.id) {
            self.hints.insert(*sha256, *root);
        }
        self.shared.insert(sha256, shared.clone());
        self.share_original(&shared);
        shared.id.clone()
    }

    /// Shares nothing any more, and says so.
    pub fn withdraw_all(&mut self) {
        self.withdrawn.extend(std::mem::take(&mut self.shared).into_keys());
    }

    /// Shares content under its BLAKE3 id, and its tree.
    pub fn share_original(&mut self, original: &Rc<Original>) {
        if let ContentId::Blake3(root) = original.id {
            self.shared.insert(ContentId::Tree(root), original.clone());
        }
        self.shared.insert(original.id.clone(), original.clone());
    }

    /// Whether content of this id is shared, beside what is fetched.
    pub fn shares(&self, id: &ContentId) -> bool {
        self.shared.contains_key(id)
    }

    /// Shares what `job` fetches, as far as it is verified.
    pub fn share_fetched(&mut self, id: &ContentId, job: JobId) {
        if let ContentId::Blake3(root) = id {
            self.fetching.insert(ContentId::Tree(*root), job);
            self.fetching.insert(id.clone(), job);
        }
    }
}

impl MemoryBlobs {
    /// Tells nobody by which other ids its content is known.
    pub fn forget_hints(&mut self) {
        self.hints.clear();
    }
}

struct InMemory<'a> {
    shared: &'a Original,
    leaves: Vec<Hash>,
}

impl TreeSource for InMemory<'_> {
    type Error = std::convert::Infallible;

    fn prefix(&mut self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), Self::Error> {
        out.extend_from_slice(&self.shared.tree_prefix[range.start as usize..range.end as usize]);
        Ok(())
    }

    fn leaves(&mut self, group: GroupIndex) -> Result<&[Hash], Self::Error> {
        let range = self.shared.geometry.group_range(group);
        let bytes = &self.shared.bytes[range.start as usize..range.end as usize];
        self.leaves = group_leaves(group.first_leaf(), bytes);
        Ok(&self.leaves)
    }
}

impl Library for MemoryBlobs {
    fn read(&mut self, _: Asker, id: &ContentId, offset: u64, length: usize, out: &mut Vec<u8>) -> Read {
        let Some(shared) = self.shared.get(id).cloned() else {
            return self.read_fetched(id, offset, length, out);
        };
        if self.later < self.cold_reads {
            self.later += 1;
            return Read::Later;
        }
        self.later = 0;
        let total = match id {
            ContentId::Tree(_) => shared.geometry.tree_length(),
            _ => shared.bytes.len() as u64,
        };
        let range = offset.min(total)..(offset.saturating_add(length as u64)).min(total);
        match id {
            ContentId::Tree(_) => {
                let mut source = InMemory { shared: &shared, leaves: Vec::new() };
                match read_tree(&shared.geometry, range, &mut source, out) {
                    Ok(()) => {}
                    Err(never) => match never {},
                }
            }
            _ => out.extend_from_slice(&shared.bytes[range.start as usize..range.end as usize]),
        }
        Read::Found { eof: Some(total) }
    }

    fn parts(&mut self, id: &ContentId, from: u64, most: usize) -> Option<Parts> {
        if let Some(shared) = self.shared.get(id) {
            return Some(Parts::whole(shared.length(), from));
        }
        let fetched = self.fetched.get(self.fetching.get(id)?)?;
        Some(Parts::of(&fetched.done, fetched.length?, from, most))
    }

    fn is_withdrawn(&mut self, id: &ContentId) -> bool {
        self.withdrawn.contains(id) && !self.shared.contains_key(id)
    }

    fn list(&mut self, limit: usize) -> Vec<(ContentId, u64)> {
        self.shared.iter().map(|(id, shared)| (id.clone(), shared.bytes.len() as u64)).take(limit).collect()
    }

    fn list_after(&mut self, after: Option<&ContentId>, limit: usize) -> Option<ListPart> {
        let all = self.listed.as_ref()?;
        let start = after.map_or(0, |after| all.partition_point(|id| id <= after));
        let part = &all[start..all.len().min(start + limit)];
        let listed = |id: &ContentId| Listed { id: id.clone(), length: 1, names: Vec::new() };
        let (contents, goes_on) = (part.iter().map(listed).collect(), start + part.len() < all.len());
        Some(ListPart { contents, goes_on, total: all.len() as u64 })
    }

    fn blake3_of(&mut self, sha256: &Hash) -> Option<Hash> {
        self.hints.get(sha256).copied()
    }

    fn latest(&mut self, _: Asker, id: &PointerId) -> Option<SignedPointer> {
        self.names.get(id).cloned()
    }

    fn stream_block(&mut self, _: Asker, id: &StreamId, index: u64) -> Option<SignedBlock> {
        self.streams.block(id, index)
    }

    fn stream_extent(&mut self, id: &StreamId) -> Option<Range<u64>> {
        self.streams.extent(id)
    }
}

/// The part of a tree that a fetch knows.
struct Known<'a> {
    tree: &'a TreeVerifier,
    content: &'a dyn Fn(Range<u64>) -> Option<&'a [u8]>,
    leaves: Vec<Hash>,
}

impl TreeSource for Known<'_> {
    type Error = ();

    fn prefix(&mut self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), ()> {
        out.extend_from_slice(&self.tree.read(range).ok_or(())?);
        Ok(())
    }

    fn leaves(&mut self, group: GroupIndex) -> Result<&[Hash], ()> {
        if let Some(leaves) = self.tree.run(Run::of_leaves(group)) {
            return Ok(leaves);
        }
        let bytes = (self.content)(self.tree.geometry().group_range(group)).ok_or(())?;
        self.leaves = group_leaves(group.first_leaf(), bytes);
        Ok(&self.leaves)
    }
}

impl MemoryBlobs {
    fn read_fetched(&self, id: &ContentId, offset: u64, length: usize, out: &mut Vec<u8>) -> Read {
        let Some(fetched) = self.fetching.get(id).and_then(|job| self.fetched.get(job)) else {
            return Read::Absent;
        };
        let Some(total) = fetched.length else { return Read::Absent };
        let bytes = self.expected.as_ref().map_or(&fetched.bytes, |original| &original.bytes);
        let content = |range: Range<u64>| {
            fetched.done.contains(range.clone()).then(|| &bytes[range.start as usize..range.end as usize])
        };
        let range = offset..offset.saturating_add(length as u64);
        if let ContentId::Tree(_) = id {
            let Some(tree) = fetched.trees.get(&total) else { return Read::Absent };
            let before = out.len();
            let mut known = Known { tree, content: &content, leaves: Vec::new() };
            if read_tree(tree.geometry(), range, &mut known, out).is_err() {
                out.truncate(before);
                return Read::Absent;
            }
            return Read::Found { eof: Some(tree.geometry().tree_length()) };
        }
        let range = range.start.min(total)..range.end.min(total);
        let known = fetched.done.first_gap(range.clone()).map_or(range.end, |gap| gap.start);
        if known == range.start && !range.is_empty() {
            return Read::Absent;
        }
        out.extend_from_slice(&bytes[range.start as usize..known as usize]);
        Read::Found { eof: Some(total) }
    }

    /// Whether the last read was put off.
    pub fn is_cold(&self) -> bool {
        self.later > 0
    }

    /// The whole leaves of the first `room` bytes that are wanted.
    fn leaves_within(&self, job: JobId, mut room: u64) -> RangeSet {
        let wanted = select(self.wanted.get(&job).map_or(&[], Vec::as_slice), u64::MAX);
        let leaves = wanted.into_iter().map(|range| {
            let end = range.end.min(range.start.saturating_add(room));
            room -= end - range.start;
            range.start / LEAF_LEN * LEAF_LEN..end.checked_next_multiple_of(LEAF_LEN).unwrap_or(u64::MAX)
        });
        leaves.collect()
    }

    fn put(&mut self, job: JobId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Some(leaves) = self.room.get(&job).map(|room| self.leaves_within(job, *room)) {
            let had = self.fetched.get(&job).into_iter().flat_map(|fetched| fetched.done.iter());
            let is_first_beyond = had.into_iter().all(|range| leaves.contains(range));
            let fits = leaves.contains(offset..offset + bytes.len() as u64);
            assert!(fits || is_first_beyond, "only what proves the length may be written beyond the room");
        }
        let fetched = self.fetched.entry(job).or_default();
        let end = offset as usize + bytes.len();
        if let Some(original) = &self.expected {
            assert!(original.bytes[offset as usize..end] == *bytes, "wrong bytes at {offset}");
        } else {
            if fetched.bytes.len() < end {
                fetched.bytes.resize(end, 0);
            }
            fetched.bytes[offset as usize..end].copy_from_slice(bytes);
        }
        let new = fetched.done.insert(offset..end as u64);
        assert!(self.repeats || new == bytes.len() as u64, "written twice");
        Ok(())
    }
}

impl Sink for MemoryBlobs {
    fn write(&mut self, job: JobId, block: Verified<'_>) -> io::Result<()> {
        assert!(!self.busy, "it was given something though it is busy");
        self.put(job, block.offset(), block.bytes())?;
        let fetched = self.fetched.entry(job).or_default();
        fetched.length = fetched.length.or(block.proves_length());
        Ok(())
    }

    fn stage(&mut self, job: JobId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        assert!(!self.busy, "it was given something though it is busy");
        self.put(job, offset, bytes)
    }

    fn restage(&mut self, job: JobId) -> io::Result<()> {
        let fetched = self.fetched.entry(job).or_default();
        fetched.bytes.clear();
        fetched.done = RangeSet::new();
        fetched.restaged += 1;
        Ok(())
    }

    fn keep_run(&mut self, job: JobId, length: u64, run: Run, bytes: &[u8]) -> io::Result<()> {
        let root = self.fetching.iter().find_map(|(id, of)| match id {
            ContentId::Blake3(root) if *of == job => Some(*root),
            _ => None,
        });
        let fetched = self.fetched.entry(job).or_default();
        fetched.runs.push((length, run, bytes.to_vec()));
        if let (Some(root), Ok(geometry)) = (root, Geometry::new(length)) {
            let tree = fetched.trees.entry(length).or_insert_with(|| TreeVerifier::new(root, geometry));
            // What a resumed fetch had is not in it.
            let _ = tree.insert_run(run, bytes);
        }
        Ok(())
    }

    fn write_stream(&mut self, job: JobId, block: &SignedBlock) -> io::Result<()> {
        self.streams.write(job, block);
        Ok(())
    }

    fn is_busy(&self, _: JobId) -> bool {
        self.busy
    }

    fn room(&self, job: JobId) -> u64 {
        self.room.get(&job).copied().unwrap_or(u64::MAX)
    }
}
