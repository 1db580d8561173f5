//! What may take a while is done here, on a few threads, so that one cold disk does not stall every getter: opening
//! files, bringing content into memory, computing the parts of trees that are not kept.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cjp2p_io::identity::Identity;
use cjp2p_io::workers::{Crew, Workers};
use cjp2p_wire::content_id::Hash;
use cjp2p_wire::tree::{
    GROUP_LEN, Geometry, GroupIndex, LeafIndex, RUN_ENTRIES, TreeSource, group_leaves, groups_needed,
    read_tree,
};

use crate::file::{FileNo, FileState};
use crate::lru::Lru;
use crate::open::Patience;
use crate::tree_store::{Prefix, TreeStore};

/// Bytes of content that are brought into memory at a time.
pub const WINDOW: u64 = 256 << 10;

/// Bytes of a tree file that are computed at a time, at the most. In the worst case, of the level below the ones kept,
/// 32 MiB of content must be hashed for it.
pub const TREE_BLOCK: u64 = 4096;

/// The block of a tree file in which `offset` lies. The kept part has blocks of its own: most getters want nothing else, and
/// must not have content hashed for what happens to lie behind it.
pub fn tree_block(geometry: &Geometry, offset: u64) -> Range<u64> {
    let kept = geometry.prefix_length();
    let part = if offset < kept { 0..kept } else { kept..geometry.tree_length() };
    let start = offset - (offset - part.start) % TREE_BLOCK;
    start..part.end.min(start + TREE_BLOCK)
}

/// Jobs that may wait.
pub const JOBS: usize = 256;

/// As many threads as there are slow disks that can be waited for at the same time.
const CREW: Crew = Crew { name: "reader", threads: 4, most_for_hosts: JOBS, is_nice: true };

/// Groups whose leaves are kept in memory, 4 KiB each: enough to give the whole tree of 512 MiB of content in order
/// without hashing anything twice.
const GROUPS: usize = 1024;

/// Bytes of content that are in memory at a time while leaves are hashed or content is brought into memory. What a thread had at a
/// time stays with it, so four threads keep four times as much; and each takes what it needs when it first has such a job, which
/// may be after hours.
const PART: usize = 64 << 10;

/// Trees that are held open once they were checked.
const PREFIXES: usize = 64;

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Job {
    /// Open a file.
    Open(FileNo, Arc<FileState>),
    /// Read a file from `window * WINDOW` on, for the kernel to keep it in memory.
    Warm(FileNo, Arc<File>, u64),
    /// Compute the [`tree_block`] of a file that begins there.
    Tree(FileNo, Arc<FileState>, Hash, u64),
}

/// What a job is for; there is no sense in having two with the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobKey {
    /// A file to open.
    Open(FileNo),
    /// A file and a window of it.
    Warm(FileNo, u64),
    /// A file and the start of a block of its tree.
    Tree(FileNo, u64),
}

impl Job {
    /// What the job is for.
    pub fn key(&self) -> JobKey {
        match self {
            Job::Open(no, _) => JobKey::Open(*no),
            Job::Warm(no, _, window) => JobKey::Warm(*no, *window),
            Job::Tree(no, _, _, start) => JobKey::Tree(*no, *start),
        }
    }
}

/// What a job costs: KiB that are read, and for trees hashed.
fn cost(job: &Job) -> u64 {
    const LEAST: u64 = 16;
    match job {
        Job::Open(..) => LEAST,
        Job::Warm(..) => WINDOW >> 10,
        Job::Tree(_, file, _, start) => {
            let groups = Geometry::new(file.identity.size)
                .map_or(0, |geometry| groups_needed(&geometry, tree_block(&geometry, *start)));
            LEAST + groups * (GROUP_LEN.min(file.identity.size) >> 10)
        }
    }
}

/// How a job ended.
#[derive(Debug)]
pub enum Answer {
    /// The file is open and is what it should be.
    Opened(File),
    /// What could be read is in memory.
    Warmed,
    /// The block of the tree.
    Tree(Vec<u8>),
    /// The kept part of the tree is gone or damaged.
    TreeLost,
    /// The file is not what it was, or not there, or cannot be read.
    Gone,
}

/// See the [module](self). They end when this is dropped and the jobs given are done.
pub struct Readers {
    threads: Workers<Job>,
    trees: Arc<TreeReader>,
}

impl Readers {
    /// Starts the threads. `tell` is called on them.
    ///
    /// # Errors
    ///
    /// The system has no room for another thread.
    pub fn start(
        trees: Arc<TreeStore>,
        tell: impl Fn(JobKey, Answer) + Send + Sync + 'static,
    ) -> io::Result<Readers> {
        let trees = Arc::new(TreeReader {
            trees,
            prefixes: Mutex::new(Lru::new(PREFIXES)),
            leaves: Mutex::new(Lru::new(GROUPS)),
        });
        let reader = trees.clone();
        let threads = Workers::start(CREW, move |job: Job| {
            let key = job.key();
            let answer = match job {
                Job::Open(_, state) => match state.place.open(Patience::Wait) {
                    Ok((file, identity)) if identity == state.identity => Answer::Opened(file),
                    _ => Answer::Gone,
                },
                Job::Warm(_, file, window) => {
                    warm(&file, window);
                    Answer::Warmed
                }
                Job::Tree(no, state, root, start) => match reader.block(no, &state, root, start) {
                    Ok(bytes) => Answer::Tree(bytes),
                    Err(Trouble::Tree) => Answer::TreeLost,
                    Err(Trouble::Content) => Answer::Gone,
                },
            };
            tell(key, answer);
        })?;
        Ok(Readers { threads, trees })
    }

    /// Has a job done that `host` causes. Returns what is not done for it, as too many wait: that may be itself.
    pub fn send(&self, host: IpAddr, job: Job) -> Option<JobKey> {
        let cost = cost(&job);
        self.threads.send_for(host, cost, job).map(|dropped| dropped.key())
    }

    /// Notes that this host wants a job too that another one caused.
    pub fn share(&self, host: IpAddr, key: JobKey) {
        self.threads.share(host, |job| job.key() == key);
    }

    /// Forgets the parts of trees that were not needed since this was last called.
    pub fn forget_unused(&self) {
        self.trees.leaves().forget_unused();
    }

    /// Bytes of trees that are in memory to be needed again.
    pub fn held(&self) -> usize {
        self.trees.leaves().values().map(|leaves| size_of_val(&**leaves)).sum()
    }
}

/// Errors do not matter here: the next read meets them too.
fn warm(file: &File, window: u64) {
    let mut buffer = vec![0; PART];
    let (mut at, end) = (window * WINDOW, (window + 1) * WINDOW);
    while at < end {
        match file.read_at(&mut buffer, at) {
            Ok(0) | Err(_) => return,
            Ok(read) => at += read as u64,
        }
    }
}

/// What is wrong where a block of a tree cannot be given.
enum Trouble {
    Tree,
    Content,
}

/// The values of the leaves of one group.
type Leaves = Arc<[Hash]>;

struct TreeReader {
    trees: Arc<TreeStore>,
    prefixes: Mutex<Lru<Hash, Prefix>>,
    leaves: Mutex<Lru<(FileNo, GroupIndex), Leaves>>,
}

impl TreeReader {
    fn block(&self, no: FileNo, state: &FileState, root: Hash, start: u64) -> Result<Vec<u8>, Trouble> {
        let geometry = Geometry::new(state.identity.size).map_err(|_| Trouble::Content)?;
        let prefix = self.prefix(&root, &geometry)?;
        let mut source = BlockSource { reader: self, no, state, geometry, prefix, open: None, at: None };
        let mut out = Vec::new();
        let read = read_tree(&geometry, tree_block(&geometry, start), &mut source, &mut out);
        if let Err(Trouble::Tree) = read {
            self.prefixes.lock().unwrap_or_else(PoisonError::into_inner).remove(&root);
        }
        read.map(|()| out)
    }

    fn prefix(&self, root: &Hash, geometry: &Geometry) -> Result<Prefix, Trouble> {
        let prefixes = || self.prefixes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prefix) = prefixes().get(root) {
            return Ok(prefix.clone());
        }
        let prefix = self.trees.open(root, geometry).map_err(|error| {
            log::debug!("tree of {} bytes: {error}", geometry.length());
            Trouble::Tree
        })?;
        prefixes().insert(*root, prefix.clone());
        Ok(prefix)
    }

    fn leaves(&self) -> MutexGuard<'_, Lru<(FileNo, GroupIndex), Leaves>> {
        self.leaves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what one block of a tree needs.
struct BlockSource<'a> {
    reader: &'a TreeReader,
    no: FileNo,
    state: &'a FileState,
    geometry: Geometry,
    prefix: Prefix,
    open: Option<File>,
    /// The leaves given last.
    at: Option<Leaves>,
}

impl TreeSource for BlockSource<'_> {
    type Error = Trouble;

    fn prefix(&mut self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), Trouble> {
        self.prefix.read(range, out).map_err(|_| Trouble::Tree)
    }

    fn leaves(&mut self, group: GroupIndex) -> Result<&[Hash], Trouble> {
        let key = (self.no, group);
        let found = self.reader.leaves().get(&key).cloned();
        let leaves = match found {
            Some(leaves) => leaves,
            None => {
                let leaves: Leaves = self.hash_leaves(group).map_err(|_| Trouble::Content)?.into();
                self.reader.leaves().insert(key, leaves.clone());
                leaves
            }
        };
        Ok(self.at.insert(leaves))
    }
}

impl BlockSource<'_> {
    fn hash_leaves(&mut self, group: GroupIndex) -> io::Result<Vec<Hash>> {
        let file = match self.open.take() {
            Some(file) => file,
            None => self.state.place.open(Patience::Wait)?.0,
        };
        let range = self.geometry.group_range(group);
        let mut part = vec![0; PART.min(usize::try_from(range.end - range.start).unwrap_or(PART))];
        let mut leaves = Vec::with_capacity(RUN_ENTRIES as usize);
        let (mut at, mut rest) = (range.start, range.end - range.start);
        // Empty content has a leaf too.
        while rest > 0 || leaves.is_empty() {
            part.truncate(usize::try_from(rest).unwrap_or(PART));
            file.read_exact_at(&mut part, at)?;
            leaves.extend(group_leaves(LeafIndex::holding(at), &part));
            at += part.len() as u64;
            rest -= part.len() as u64;
        }
        // Looked at after reading: had it changed before, this would tell.
        if Identity::of_file(&file)? != Some(self.state.identity) {
            return Err(io::Error::other("changed"));
        }
        self.open = Some(file);
        Ok(leaves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_a_tree_follow_one_another_and_none_lies_on_both_sides_of_what_is_kept() {
        for length in [0, 1, 4096, 512 << 10, (512 << 10) + 1, 16 << 20, (300 << 20) + 5, 1 << 40] {
            let geometry = Geometry::new(length).unwrap();
            let kept = geometry.prefix_length();
            let mut at = 0;
            while at < geometry.tree_length().min(kept + 20 * TREE_BLOCK) {
                let block = tree_block(&geometry, at);
                assert_eq!(block.start, at, "{length}");
                assert!(!block.is_empty() && block.end - block.start <= TREE_BLOCK);
                assert!(block.end <= kept || block.start >= kept, "{length}: {block:?}");
                assert_eq!(tree_block(&geometry, block.end - 1), block);
                at = if block.end < kept.saturating_sub(20 * TREE_BLOCK) {
                    // Of a long one the ends will do.
                    (kept - 20 * TREE_BLOCK) / TREE_BLOCK * TREE_BLOCK
                } else {
                    block.end
                };
            }
        }
    }
}
