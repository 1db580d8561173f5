//! The blocks of a stream as a node reads and writes them: the newest in memory, and all that is kept on disk, which a thread of its own
//! reads and writes. The network never waits for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use cjp2p_wire::stream::{BLOCK_LEN, SignedBlock};

use super::blocks::BlockFiles;
use super::keep::Keep;
use super::shelf::Shelf;
use crate::event_loop::Waker;

/// Bytes of the newest blocks in memory where there is a disk.
const LIVE_BYTES: usize = 16 << 20;
/// Blocks in memory that were read from the disk.
const OLD_BLOCKS: usize = 8192;
/// Blocks that are read at once: whoever asks for one goes on with those after it.
const READ_AHEAD: u64 = 8;
/// Blocks that are asked of the thread at the most: the windows of several viewers.
const MAX_ASKED: usize = 1 << 16;
/// Blocks that were read and wait to be taken; then the thread waits too.
const MAX_READ: usize = 256;
/// With so many bytes waiting to be written, what comes is kept in memory only.
const MAX_UNWRITTEN: usize = 64 << 20;
/// How often old files are looked for.
const TRIM_EVERY: Duration = Duration::from_secs(5);

/// See the [module](self).
#[derive(Debug)]
pub struct StreamStore {
    live: Shelf,
    disk: Option<Disk>,
}

/// What is on disk.
#[derive(Debug)]
struct Disk {
    old: Old,
    jobs: Sender<Job>,
    read: Receiver<(u64, Option<SignedBlock>)>,
    asked: BTreeSet<u64>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// The block after the last that is on disk, or will be.
    end: u64,
    /// Where the stream ended when this was opened.
    ended_at: u64,
    is_full: bool,
}

/// Blocks that were read. Where there are too many, those go that were read first, wherever in the stream they are.
#[derive(Debug, Default)]
struct Old {
    blocks: BTreeMap<u64, SignedBlock>,
    // Invariant: the keys of `blocks`.
    order: VecDeque<u64>,
}

impl Old {
    fn put(&mut self, block: SignedBlock) {
        let index = block.index();
        if self.blocks.insert(index, block).is_none() {
            self.order.push_back(index);
        }
        if self.order.len() > OLD_BLOCKS
            && let Some(first) = self.order.pop_front()
        {
            self.blocks.remove(&first);
        }
    }
}

#[derive(Debug)]
struct Shared {
    /// No block before this one is on disk.
    first: AtomicU64,
    /// Bytes that wait to be written.
    unwritten: AtomicUsize,
}

enum Job {
    Read(u64),
    Write(SignedBlock),
}

impl StreamStore {
    /// In memory alone, so many bytes of the newest.
    pub fn in_memory(bytes: usize) -> StreamStore {
        StreamStore { live: Shelf::new(bytes), disk: None }
    }

    /// On disk, as long as `keep` says. `waker` is woken when something was read: see [`StreamStore::take_read`].
    ///
    /// # Errors
    ///
    /// Where the system has no thread left.
    pub fn on_disk(mut files: BlockFiles, keep: Keep, waker: Waker) -> io::Result<StreamStore> {
        files.trim(keep, SystemTime::now());
        let (first, end) = files.extent().unwrap_or_default();
        let last = end.checked_sub(1).and_then(|last| files.get(last));
        let ended_at = last.map_or(end * BLOCK_LEN as u64, |last| last.end());
        let shared = Arc::new(Shared { first: AtomicU64::new(first), unwritten: AtomicUsize::new(0) });
        let (jobs, waiting) = mpsc::channel();
        let (results, read) = mpsc::sync_channel(MAX_READ);
        let worker = Worker { files, keep, shared: shared.clone(), results, waker, failed: false };
        let thread = thread::Builder::new().name("stream".into()).spawn(move || worker.run(&waiting))?;
        let disk = Disk {
            old: Old::default(),
            jobs,
            read,
            asked: BTreeSet::new(),
            shared,
            thread: Some(thread),
            end,
            ended_at,
            is_full: false,
        };
        Ok(StreamStore { live: Shelf::new(LIVE_BYTES), disk: Some(disk) })
    }

    /// Keeps a block, unless it is here as long or longer. Gives whether it is news.
    pub fn put(&mut self, block: SignedBlock) -> bool {
        if !self.live.put(block.clone()) {
            return false;
        }
        if let Some(disk) = &mut self.disk {
            disk.write(block);
        }
        true
    }

    /// A block, if it is in memory. Else it is read, where it is on disk: then [`StreamStore::take_read`] tells of it soon.
    pub fn get(&mut self, index: u64) -> Option<SignedBlock> {
        let live = self.live.get(index).cloned();
        let disk = self.disk.as_mut();
        live.or_else(|| disk?.get(index))
    }

    /// A block, if it is in memory.
    pub fn peek(&self, index: u64) -> Option<&SignedBlock> {
        self.live.get(index).or_else(|| self.disk.as_ref()?.old.blocks.get(&index))
    }

    /// The first block in memory with this number or a greater one, of the newest.
    pub fn next(&self, index: u64) -> Option<u64> {
        self.live.next(index).map(SignedBlock::index)
    }

    /// The blocks that were read from the disk since, and can be had now.
    pub fn take_read(&mut self) -> Vec<u64> {
        let Some(disk) = &mut self.disk else { return Vec::new() };
        let mut news = Vec::new();
        for (index, block) in disk.read.try_iter() {
            disk.asked.remove(&index);
            if let Some(block) = block {
                disk.old.put(block);
                news.push(index);
            }
        }
        news
    }

    /// The bytes of the stream between the first that is here and the last, gaps aside; `None` where there is nothing.
    pub fn extent(&self) -> Option<Range<u64>> {
        let live = self.live.ends().map(|(first, last)| first.offset()..last.end());
        let disk = self.disk.as_ref().and_then(Disk::extent);
        match (live, disk) {
            (Some(live), Some(disk)) => Some(live.start.min(disk.start)..live.end.max(disk.end)),
            (live, disk) => live.or(disk),
        }
    }

    /// Tells other threads what is kept.
    pub fn floor(&self) -> Floor {
        Floor(self.disk.as_ref().map(|disk| disk.shared.clone()))
    }

    /// Waits until all is written.
    pub fn finish(&mut self) {
        let Some(disk) = self.disk.take() else { return };
        // It may wait for room for what it has read.
        drop((disk.jobs, disk.read));
        if let Some(thread) = disk.thread {
            // It has no way to panic.
            let _ = thread.join();
        }
    }
}

impl Disk {
    fn write(&mut self, block: SignedBlock) {
        let unwritten = self.shared.unwritten.load(Ordering::Relaxed);
        if unwritten > MAX_UNWRITTEN {
            if !std::mem::replace(&mut self.is_full, true) {
                log::warn!("the disk is too slow for this stream: some of it is kept in memory only");
            }
            return;
        }
        self.is_full = false;
        if self.end == 0 {
            self.shared.first.store(block.index(), Ordering::Relaxed);
        }
        self.shared.first.fetch_min(block.index(), Ordering::Relaxed);
        self.end = self.end.max(block.index() + 1);
        self.shared.unwritten.fetch_add(block.data().len(), Ordering::Relaxed);
        // Fails only where there is no thread any more.
        let _ = self.jobs.send(Job::Write(block));
    }

    fn get(&mut self, index: u64) -> Option<SignedBlock> {
        let found = self.old.blocks.get(&index).cloned();
        if found.is_none() {
            let first = self.shared.first.load(Ordering::Relaxed);
            for next in (index..self.end.min(index + READ_AHEAD)).filter(|next| *next >= first) {
                if self.asked.len() >= MAX_ASKED {
                    break;
                }
                if !self.old.blocks.contains_key(&next) && self.asked.insert(next) {
                    let _ = self.jobs.send(Job::Read(next));
                }
            }
        }
        found
    }

    fn extent(&self) -> Option<Range<u64>> {
        let start = self.shared.first.load(Ordering::Relaxed) * BLOCK_LEN as u64;
        // How long the last block is, that in memory says.
        let end = self.ended_at.max(self.end.saturating_sub(1) * BLOCK_LEN as u64 + 1);
        (self.end > 0 && end > start).then_some(start..end)
    }
}

/// Before which byte nothing is kept any more, for other threads than that of the store.
#[derive(Clone, Debug)]
pub struct Floor(Option<Arc<Shared>>);

impl Floor {
    /// The byte.
    pub fn offset(&self) -> u64 {
        self.0.as_ref().map_or(0, |shared| shared.first.load(Ordering::Relaxed) * BLOCK_LEN as u64)
    }
}

/// The side of the thread.
struct Worker {
    files: BlockFiles,
    keep: Keep,
    shared: Arc<Shared>,
    results: SyncSender<(u64, Option<SignedBlock>)>,
    waker: Waker,
    failed: bool,
}

impl Worker {
    fn run(mut self, jobs: &Receiver<Job>) {
        let mut trim_at = Instant::now() + TRIM_EVERY;
        loop {
            let job = jobs.recv_timeout(trim_at.saturating_duration_since(Instant::now()));
            match job {
                Ok(Job::Read(index)) => {
                    let read = self.files.get(index);
                    // Before it may have to wait for room.
                    self.waker.wake();
                    // Where nobody reads any more, what is to be written still is.
                    if self.results.send((index, read)).is_ok() {
                        self.waker.wake();
                    }
                }
                Ok(Job::Write(block)) => self.write(&block),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() >= trim_at {
                let first = self.files.trim(self.keep, SystemTime::now());
                self.shared.first.fetch_max(first, Ordering::Relaxed);
                trim_at = Instant::now() + TRIM_EVERY;
            }
        }
    }

    fn write(&mut self, block: &SignedBlock) {
        self.shared.unwritten.fetch_sub(block.data().len(), Ordering::Relaxed);
        match self.files.put(block) {
            Ok(()) => self.failed = false,
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    log::warn!("a stream is kept in memory only: {error}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_loop::EventLoop;
    use crate::udp::UdpPort;
    use cjp2p_wire::signed::SigningKey;
    use cjp2p_wire::stream::StreamId;

    #[test]
    fn what_is_not_in_memory_any_more_is_read_from_the_disk() {
        let key = SigningKey::from_seed(&[1; 32]);
        let id = StreamId::new(key.public(), "a").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let files = BlockFiles::new(folder.path().into(), id.clone());
        let port = UdpPort::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let waker = EventLoop::new(port, None).unwrap().waker();
        let block = |index, length| SignedBlock::sign(&key, &id, index, &vec![7; length]).unwrap();
        let mut store = StreamStore::on_disk(files.another(), Keep::All, waker.clone()).unwrap();
        assert_eq!(store.extent(), None);
        assert!(store.put(block(3, 4096)) && store.put(block(4, 10)) && store.put(block(4, 20)));
        assert!(!store.put(block(4, 20)));
        assert_eq!(store.get(3), Some(block(3, 4096)));
        assert_eq!(store.extent(), Some(3 * 4096..4 * 4096 + 20));
        store.finish();
        let mut store = StreamStore::on_disk(files, Keep::All, waker.clone()).unwrap();
        assert_eq!(store.extent(), Some(3 * 4096..4 * 4096 + 20));
        assert_eq!((store.get(2), store.get(5)), (None, None));
        assert_eq!(store.get(3), None, "it is not in memory yet");
        let mut read = Vec::new();
        let end = Instant::now() + Duration::from_secs(60);
        while read.len() < 2 && Instant::now() < end {
            read.extend(store.take_read());
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(read, [3, 4]);
        assert_eq!((store.get(3), store.get(4)), (Some(block(3, 4096)), Some(block(4, 20))));
        assert!(store.put(block(5, 30)));
        assert_eq!(store.extent(), Some(3 * 4096..5 * 4096 + 30));
        assert!(store.put(block(2, 4096)));
        assert_eq!(store.extent(), Some(2 * 4096..5 * 4096 + 30));
        for index in 6..6 + LIVE_BYTES as u64 / 4096 {
            store.put(block(index, 4096));
        }
        assert_eq!(store.peek(2), None);
        assert_eq!(store.extent().map(|extent| extent.start), Some(2 * 4096), "that is on disk only");
        store.finish();
        // More at a time than the thread may have read, and none is forgotten.
        let files = BlockFiles::new(folder.path().into(), id.clone());
        let mut store = StreamStore::on_disk(files, Keep::All, waker).unwrap();
        let count = 3 * MAX_READ as u64;
        assert!((2..2 + count).all(|index| store.get(index).is_none()));
        let mut read = BTreeSet::new();
        while (2..2 + count).any(|index| !read.contains(&index)) && Instant::now() < end {
            read.extend(store.take_read());
        }
        assert!((2..2 + count).all(|index| store.get(index).is_some()));
    }
}
