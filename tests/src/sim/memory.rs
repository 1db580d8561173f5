//! Files in memory: what peers of the simulation share and fetch into.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::transfer::blobs::{JobId, Library, Read, Sink};
use cjp2p_wire::transfer::fetch::{RangeSpec, select};
use cjp2p_wire::transfer::ranges::RangeSet;
use cjp2p_wire::tree::{
    Geometry, LEAF_LEN, RUN_ENTRIES, Run, TreeBuilder, TreeSource, Verified, group_leaves, read_tree,
};

struct Shared {
    bytes: Vec<u8>,
    geometry: Geometry,
    tree_prefix: Vec<u8>,
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
}

/// A library and a destination in memory.
#[derive(Default)]
pub struct MemoryBlobs {
    shared: BTreeMap<ContentId, std::rc::Rc<Shared>>,
    /// BLAKE3 hashes by the SHA-256 hash of the same content.
    hints: BTreeMap<Hash, Hash>,
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
    /// Writes fail from here on.
    pub full: bool,
}

impl MemoryBlobs {
    /// Shares content under both of its ids, its tree, and a name if given. Returns its BLAKE3 id.
    pub fn share(&mut self, bytes: Vec<u8>, name: Option<&str>) -> ContentId {
        let blake3 = crate::content::blake3_id(&bytes);
        let sha256 = crate::content::sha256_id(&bytes);
        let mut builder = TreeBuilder::new();
        builder.update(&bytes);
        let tree = builder.finish();
        let geometry = Geometry::new(bytes.len() as u64).expect("a length that fits memory");
        let shared = std::rc::Rc::new(Shared { tree_prefix: tree.prefix().to_vec(), geometry, bytes });
        if let ContentId::Blake3(root) = blake3 {
            self.shared.insert(ContentId::Tree(root), shared.clone());
        }
        if let Some(name) = name {
            self.shared.insert(ContentId::parse(name).expect("a plain name"), shared.clone());
        }
        if let (ContentId::Sha256(sha256), ContentId::Blake3(root)) = (&sha256, &blake3) {
            self.hints.insert(*sha256, *root);
        }
        self.shared.insert(sha256, shared.clone());
        self.shared.insert(blake3.clone(), shared);
        blake3
    }
}

impl MemoryBlobs {
    /// Tells nobody by which other ids its content is known.
    pub fn forget_hints(&mut self) {
        self.hints.clear();
    }
}

struct InMemory<'a> {
    shared: &'a Shared,
    leaves: Vec<Hash>,
}

impl TreeSource for InMemory<'_> {
    type Error = std::convert::Infallible;

    fn prefix(&mut self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), Self::Error> {
        out.extend_from_slice(&self.shared.tree_prefix[range.start as usize..range.end as usize]);
        Ok(())
    }

    fn leaves(&mut self, group: u64) -> Result<&[Hash], Self::Error> {
        let range = self.shared.geometry.group_range(group);
        let bytes = &self.shared.bytes[range.start as usize..range.end as usize];
        self.leaves = group_leaves(group * RUN_ENTRIES, bytes);
        Ok(&self.leaves)
    }
}

impl Library for MemoryBlobs {
    fn read(&mut self, id: &ContentId, offset: u64, length: usize, out: &mut Vec<u8>) -> Read {
        let Some(shared) = self.shared.get(id).cloned() else {
            return Read::Absent;
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

    fn list(&mut self, limit: usize) -> Vec<(ContentId, u64)> {
        self.shared.iter().map(|(id, shared)| (id.clone(), shared.bytes.len() as u64)).take(limit).collect()
    }

    fn blake3_of(&mut self, sha256: &Hash) -> Option<Hash> {
        self.hints.get(sha256).copied()
    }
}

impl MemoryBlobs {
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
        let is_first = self.fetched.get(&job).is_none_or(|fetched| fetched.done.is_empty());
        let takes = self.room.get(&job).map(|room| self.leaves_within(job, *room));
        let fits = takes.is_none_or(|leaves| leaves.contains(offset..offset + bytes.len() as u64));
        assert!(is_first || fits, "only what proves the length may be written beyond the room there is");
        let fetched = self.fetched.entry(job).or_default();
        let end = offset as usize + bytes.len();
        if fetched.bytes.len() < end {
            fetched.bytes.resize(end, 0);
        }
        fetched.bytes[offset as usize..end].copy_from_slice(bytes);
        let new = fetched.done.insert(offset..end as u64);
        assert!(self.repeats || new == bytes.len() as u64, "written twice");
        Ok(())
    }
}

impl Sink for MemoryBlobs {
    fn write(&mut self, job: JobId, block: Verified<'_>) -> io::Result<()> {
        self.put(job, block.offset(), block.bytes())
    }

    fn stage(&mut self, job: JobId, offset: u64, bytes: &[u8]) -> io::Result<()> {
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
        self.fetched.entry(job).or_default().runs.push((length, run, bytes.to_vec()));
        Ok(())
    }

    fn room(&self, job: JobId) -> u64 {
        self.room.get(&job).copied().unwrap_or(u64::MAX)
    }
}
