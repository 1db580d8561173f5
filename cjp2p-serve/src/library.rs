//! Answering reads from the shared files.
//!
//! The promise: bytes given for a hash id are bytes of that content. After every read from a file its identity is
//! looked at, and unless it is still the one that was hashed the bytes are not given, the file is doubted, and another
//! one with the same content, or nothing, answers. A write to the file before the read would have changed the
//! identity; a write after it cannot change bytes already read. (Writing through a memory mapping is the exception:
//! there the time stamps change only at some point later. The getter's own check is what catches that.)
//!
//! Nothing here waits for a disk: what is not in memory is asked of the readers, and the answer is [`Read::Later`].

mod lists;
mod trees;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cjp2p_io::identity::Identity;
use cjp2p_io::in_memory;
use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::signed::{PointerId, SignedPointer};
use cjp2p_wire::store::{Asker, JobId, Library, ListPart, Parts, Read, Sink};
use cjp2p_wire::stream::{SignedBlock, StreamId};

use crate::file::{FileNo, FileState, Ids};
use crate::index::{Index, ListEnd, Totals};
use crate::lru::Lru;
use crate::names::Names;
use crate::open::Patience;
use crate::publish::lists::Lists;
use crate::readers::{Answer, Job, JobKey, Readers, TREE_BLOCK, WINDOW};
use crate::shelves::Shelves;
use crate::tally::Given;
use crate::task::Task;

/// Files held open.
pub(crate) const OPEN_FILES: usize = 64;
/// Small reads in order take a piece of this many bytes into memory and are answered from it.
pub(crate) const PIECE: usize = 16 << 10;
/// Pieces kept in memory.
pub(crate) const PIECES: usize = 128;
/// Blocks of trees kept in memory, [`TREE_BLOCK`] bytes each at the most.
pub(crate) const TREE_BLOCKS: usize = 256;
/// Bytes of a tree given at once: a multiple of what getters ask for in one block.
const TREE_AT_ONCE: u64 = 4 * TREE_BLOCK;
/// Bytes given at the most to an unvalidated peer.
const GLANCE: usize = 4096;
/// Files of the same content that are tried for one read. Those seen to have changed are looked at no more, so the others have their
/// turn at the next.
const TRIED: usize = 4;
/// Files of the same content that are looked at for one that is not doubted.
const FOUND: usize = 64;
/// How soon to look again for a tree that was lost. Its file is being hashed meanwhile.
const TREE_RETRY: Duration = Duration::from_secs(1);

/// The shared files, for reading.
pub struct SharedLibrary {
    index: Arc<Mutex<Index>>,
    lists: Arc<Lists>,
    keeper: Sender<Task>,
    list_end: Option<ListEnd>,
    open: Lru<FileNo, OpenFile>,
    /// What was opened lately, open or not.
    used: Lru<FileNo, ()>,
    pieces: Lru<(FileNo, u64), Vec<u8>>,
    /// Where small reads of late ended. One that goes on there is in order, and takes a piece into memory; those here and there
    /// would fill it with what hardly anybody asks for again.
    ends: Lru<(FileNo, u64), ()>,
    tree_blocks: Lru<(FileNo, u64), Vec<u8>>,
    lost_trees: Lru<FileNo, Instant>,
    readers: Readers,
    answers: Receiver<(JobKey, Answer)>,
    asked: HashSet<JobKey>,
    /// Windows just brought into memory. If a read still finds them missing, it waits: there may be no memory.
    warmed: Lru<(FileNo, u64), ()>,
    /// Files seen to have changed, which the keeper has not dealt with yet.
    doubted: HashSet<FileNo>,
    names: Names,
    streams: Shelves,
    given: Given,
}

#[derive(Clone)]
struct OpenFile {
    file: Arc<File>,
    reads: Reads,
}

/// Whether a read of a file may wait for a disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// The file system refuses a read that would wait.
    MayRefuse,
    /// The file system cannot say that.
    Unknown,
    /// The file system is memory itself.
    NeverWait,
}

/// Why a file gives no bytes now.
enum Refusal {
    /// They are being fetched.
    Later,
    /// It is not what it was.
    Gone,
    /// Its tree is lost for now, but nothing is wrong with the file.
    NoTree,
}

impl SharedLibrary {
    /// The streams that are here.
    pub(crate) fn streams(&self) -> &Shelves {
        &self.streams
    }

    /// The same, to be changed.
    pub(crate) fn streams_mut(&mut self) -> &mut Shelves {
        &mut self.streams
    }

    /// What was given to whom.
    pub(crate) fn given(&self) -> &Given {
        &self.given
    }

    /// What is shared, all together.
    pub(crate) fn totals(&self) -> Totals {
        self.index.lock().unwrap_or_else(PoisonError::into_inner).totals()
    }

    /// What names stand for.
    pub fn names_mut(&mut self) -> &mut Names {
        &mut self.names
    }

    /// A library of the files in `index` and of the folders in `lists`, which the keeper at the other end of `keeper` maintains.
    pub fn new(
        index: Arc<Mutex<Index>>,
        lists: Arc<Lists>,
        keeper: Sender<Task>,
        readers: Readers,
        answers: Receiver<(JobKey, Answer)>,
    ) -> SharedLibrary {
        SharedLibrary {
            index,
            lists,
            keeper,
            list_end: None,
            open: Lru::new(OPEN_FILES),
            used: Lru::new(OPEN_FILES),
            pieces: Lru::new(PIECES),
            ends: Lru::new(PIECES),
            tree_blocks: Lru::new(TREE_BLOCKS),
            lost_trees: Lru::new(OPEN_FILES),
            readers,
            answers,
            asked: HashSet::new(),
            warmed: Lru::new(OPEN_FILES),
            doubted: HashSet::new(),
            names: Names::default(),
            streams: Shelves::default(),
            given: Given::default(),
        }
    }

    /// The ids of what was asked for lately.
    pub fn in_use(&self) -> Vec<Ids> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        self.used.keys().filter_map(|no| index.look(*no)?.1).collect()
    }

    /// Closes the files that were not read since this was last called: a file system with open files cannot be unmounted.
    pub fn close_unused(&mut self) {
        self.open.forget_unused();
    }

    /// Whether any file is open.
    pub fn has_open(&self) -> bool {
        self.open.keys().next().is_some()
    }

    /// Forgets what was not read since this was last called: what others asked for long ago is not worth memory.
    pub fn forget_unused(&mut self) {
        self.pieces.forget_unused();
        self.ends.forget_unused();
        self.tree_blocks.forget_unused();
        // What was brought into memory long ago may be there no more.
        self.warmed.forget_unused();
        self.readers.forget_unused();
    }

    /// Bytes of content and of trees that are in memory to be given again.
    pub fn held(&self) -> usize {
        let here: usize = self.pieces.values().chain(self.tree_blocks.values()).map(Vec::len).sum();
        here + self.readers.held()
    }

    /// Whether any file is shared by these ids.
    pub fn has(&self, ids: &Ids) -> bool {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.find(&ContentId::Blake3(ids.blake3)).next().is_some()
    }

    /// The lists of the folders that are published.
    pub fn published(&self) -> Vec<ContentId> {
        self.lists.current()
    }

    /// The ids and the length of the file at `relative` of an argument, where it is shared. See
    /// [`Published`](crate::events::Published) for the files of a folder.
    pub fn file_at(&self, source: u32, relative: &Path) -> Option<(Ids, u64)> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let (identity, ids) = index.look(index.at(source, relative)?)?;
        Some((ids?, identity.size))
    }

    /// Closes what is open of a file that is shared no more.
    pub fn forget(&mut self, no: FileNo) {
        self.open.remove(&no);
        self.used.remove(&no);
        self.doubted.remove(&no);
    }

    /// Takes in what the readers have done since. Reads that were put off may be tried again after this.
    pub fn collect(&mut self) {
        while let Ok((key, answer)) = self.answers.try_recv() {
            self.asked.remove(&key);
            match (key, answer) {
                (JobKey::Open(no), Answer::Opened(file)) if self.knows(no) => self.keep_open(no, file),
                (JobKey::Open(_), Answer::Opened(_)) => {}
                (JobKey::Warm(no, window), Answer::Warmed) => self.warmed.insert((no, window), ()),
                (JobKey::Tree(no, block), Answer::Tree(bytes)) => {
                    self.tree_blocks.insert((no, block), bytes);
                }
                (JobKey::Tree(no, _), Answer::TreeLost) => {
                    self.lost_trees.insert(no, Instant::now());
                    let _ = self.keeper.send(Task::TreeLost(no));
                }
                (JobKey::Open(no) | JobKey::Warm(no, _) | JobKey::Tree(no, _), _) => self.doubt(no),
            }
        }
    }

    fn knows(&self, no: FileNo) -> bool {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.look(no).is_some()
    }

    fn keep_open(&mut self, no: FileNo, file: File) {
        let file = OpenFile { file: Arc::new(file), reads: Reads::MayRefuse };
        self.used.insert(no, ());
        self.open.insert(no, file);
    }

    fn ask(&mut self, asker: Asker, job: Job) -> Refusal {
        let Asker::Host(host) = asker else { return Refusal::Later };
        let key = job.key();
        if !self.asked.insert(key) {
            self.readers.share(host, key);
        } else if let Some(dropped) = self.readers.send(host, job) {
            // With so much to do, the end of some other job is when to ask again.
            self.asked.remove(&dropped);
        }
        Refusal::Later
    }

    /// A file is not what it was: it is not read again until the keeper has looked at it.
    fn doubt(&mut self, no: FileNo) {
        self.open.remove(&no);
        if self.knows(no) && self.doubted.insert(no) {
            // Fails only when all is about to end.
            let _ = self.keeper.send(Task::Doubt(no));
        }
    }

    fn find(&self, id: &ContentId) -> Option<(FileNo, Identity, Hash)> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let no = index.find(id).take(FOUND).find(|no| !self.doubted.contains(no))?;
        let (identity, ids) = index.look(no)?;
        Some((no, identity, ids?.blake3))
    }

    /// Where a file is. Not needed as long as it is open.
    fn state(&self, no: FileNo) -> Result<Arc<FileState>, Refusal> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.get(no).map(|(file, _)| file).ok_or(Refusal::Gone)
    }

    fn open_file(&mut self, asker: Asker, no: FileNo) -> Result<OpenFile, Refusal> {
        if let Some(open) = self.open.get(&no) {
            self.used.get(&no);
            return Ok(open.clone());
        }
        let state = self.state(no)?;
        match state.place.open(Patience::InMemoryOnly) {
            Ok((file, identity)) if identity == state.identity => match asker {
                Asker::Host(_) => self.keep_open(no, file),
                Asker::Unvalidated => return Ok(OpenFile { file: Arc::new(file), reads: Reads::MayRefuse }),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(self.ask(asker, Job::Open(no, state)));
            }
            _ => return Err(Refusal::Gone),
        }
        self.open.get(&no).cloned().ok_or(Refusal::Gone)
    }

    /// Fills `buffer` from `offset` on, which must be within the file, and makes sure that these are the right bytes.
    fn fill(
        &mut self,
        asker: Asker,
        no: FileNo,
        identity: &Identity,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), Refusal> {
        let mut open = self.open_file(asker, no)?;
        let mut filled = 0;
        while filled < buffer.len() {
            let (at, rest) = (offset + filled as u64, &mut buffer[filled..]);
            let read = match open.reads {
                Reads::MayRefuse => in_memory::read_at(&open.file, rest, at),
                Reads::NeverWait => open.file.read_at(rest, at),
                Reads::Unknown => Err(io::ErrorKind::WouldBlock.into()),
            };
            match read {
                Ok(0) => return Err(Refusal::Gone),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let window = at / WINDOW;
                    let is_warm = match (open.reads, asker) {
                        (Reads::MayRefuse, Asker::Host(_)) => self.warmed.remove(&(no, window)).is_some(),
                        (Reads::MayRefuse, Asker::Unvalidated) => false,
                        (_, Asker::Host(_)) => self.warmed.get(&(no, window)).is_some(),
                        (_, Asker::Unvalidated) => self.warmed.peek(&(no, window)).is_some(),
                    };
                    if !is_warm {
                        return Err(self.ask(asker, Job::Warm(no, open.file.clone(), window)));
                    }
                    match open.file.read_at(rest, at) {
                        Ok(read) if read > 0 => filled += read,
                        _ => return Err(Refusal::Gone),
                    }
                }
                Err(error) if in_memory::is_not_supported(&error) && open.reads == Reads::MayRefuse => {
                    // Whether it would wait cannot be known then, so it is brought into memory first, unless it lies there.
                    open.reads = match in_memory::is_memory(&open.file) {
                        true => Reads::NeverWait,
                        false => Reads::Unknown,
                    };
                    if matches!(asker, Asker::Host(_)) {
                        self.open.insert(no, open.clone());
                    }
                }
                Err(_) => return Err(Refusal::Gone),
            }
        }
        match Identity::of_file(&open.file) {
            Ok(Some(now)) if now == *identity => Ok(()),
            _ => Err(Refusal::Gone),
        }
    }

    fn read_content(
        &mut self,
        asker: Asker,
        no: FileNo,
        identity: &Identity,
        offset: u64,
        length: usize,
        out: &mut Vec<u8>,
    ) -> Result<u64, Refusal> {
        let size = identity.size;
        let length = size.saturating_sub(offset).min(length as u64) as usize;
        let start = out.len();
        if matches!(asker, Asker::Unvalidated) || length >= PIECE / 2 || !self.goes_on(no, offset, length) {
            out.resize(start + length, 0);
            self.fill(asker, no, identity, offset, &mut out[start..])?;
            return Ok(size);
        }
        while out.len() - start < length {
            let at = offset + (out.len() - start) as u64;
            let (piece, within) = (at / PIECE as u64, (at % PIECE as u64) as usize);
            if self.pieces.get(&(no, piece)).is_none() {
                let begin = piece * PIECE as u64;
                let mut bytes = vec![0; (size - begin).min(PIECE as u64) as usize];
                self.fill(asker, no, identity, begin, &mut bytes)?;
                self.pieces.insert((no, piece), bytes);
            }
            let bytes = self.pieces.get(&(no, piece)).ok_or(Refusal::Later)?;
            let wanted = length - (out.len() - start);
            let end = bytes.len().min(within + wanted);
            out.extend_from_slice(&bytes[within..end]);
        }
        Ok(size)
    }

    /// Whether a small read begins where another one ended.
    fn goes_on(&mut self, no: FileNo, offset: u64, length: usize) -> bool {
        let goes_on = self.ends.remove(&(no, offset)).is_some();
        self.ends.insert((no, offset + length as u64), ());
        goes_on
    }

    fn give(&mut self, asker: Asker, id: &ContentId, offset: u64, length: usize, out: &mut Vec<u8>) -> Read {
        let most = if asker == Asker::Unvalidated { GLANCE } else { usize::MAX };
        let length = length.min(most);
        if !self.asked.is_empty() {
            self.collect();
        }
        let start = out.len();
        for _ in 0..TRIED {
            let Some((no, identity, root)) = self.find(id) else { break };
            let result = match id {
                ContentId::Tree(_) => {
                    let wanted = offset..offset.saturating_add(length as u64);
                    self.read_tree(asker, no, &identity, root, wanted, out)
                }
                _ => self.read_content(asker, no, &identity, offset, length, out),
            };
            match result {
                Ok(eof) => return Read::Found { eof: Some(eof) },
                Err(refusal) => {
                    out.truncate(start);
                    match refusal {
                        Refusal::Later => return Read::Later,
                        Refusal::NoTree => return Read::Absent,
                        Refusal::Gone => self.doubt(no),
                    }
                }
            }
        }
        self.read_list(asker, id, offset, length, out)
    }
}

impl Library for SharedLibrary {
    fn read(&mut self, asker: Asker, id: &ContentId, offset: u64, length: usize, out: &mut Vec<u8>) -> Read {
        let start = out.len();
        let read = self.give(asker, id, offset, length, out);
        if let Asker::Host(host) = &asker {
            self.given.note(host, id, &read, out.len() - start);
        }
        read
    }

    fn parts(&mut self, id: &ContentId, from: u64, _: usize) -> Option<Parts> {
        let length = match self.find(id) {
            Some((_, identity, _)) => identity.size,
            None => self.lists.find(id).map(|found| found.range.end - found.range.start)?,
        };
        match id {
            ContentId::Tree(_) => None,
            _ => Some(Parts::whole(length, from)),
        }
    }

    fn is_withdrawn(&mut self, id: &ContentId) -> bool {
        let is_gone = self.index.lock().unwrap_or_else(PoisonError::into_inner).is_withdrawn(id);
        is_gone && self.lists.find(id).is_none()
    }

    fn list(&mut self, limit: usize) -> Vec<(ContentId, u64)> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        // Each list goes on where the last one ended, so that in time everything is told.
        let (listed, end) = index.list(self.list_end, limit);
        self.list_end = end;
        listed
    }

    fn list_after(&mut self, after: Option<&ContentId>, limit: usize) -> Option<ListPart> {
        Some(self.index.lock().unwrap_or_else(PoisonError::into_inner).list_after(after, limit))
    }

    fn blake3_of(&mut self, sha256: &Hash) -> Option<Hash> {
        let of_file = self.find(&ContentId::Sha256(*sha256)).map(|(_, _, blake3)| blake3);
        of_file.or_else(|| self.lists.blake3_of(sha256))
    }

    fn latest(&mut self, asker: Asker, id: &PointerId) -> Option<SignedPointer> {
        let mut names = std::mem::take(&mut self.names);
        let found = names.latest(asker, id, |source, path| self.file_at(source, path));
        self.names = names;
        found
    }

    fn stream_block(&mut self, asker: Asker, id: &StreamId, index: u64) -> Option<SignedBlock> {
        self.streams.block(asker, id, index)
    }

    fn stream_extent(&mut self, id: &StreamId) -> Option<Range<u64>> {
        self.streams.extent(id)
    }
}

/// Nothing is ever fetched into a share but streams, to be passed on.
impl Sink for SharedLibrary {
    fn write_stream(&mut self, job: JobId, block: &SignedBlock) -> io::Result<()> {
        self.streams.write(job, block)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::IpAddr;
    use std::sync::mpsc;

    use super::*;
    use crate::share::{Options, Share, open_sources};

    /// A test that waits for longer fails.
    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn nobody_without_a_cookie_has_a_disk_read_where_it_cannot_be_known_whether_a_read_would_wait() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = vec![7; WINDOW as usize + 9000];
        fs::write(folder.path().join("file"), &bytes).unwrap();
        let sources = open_sources(&[folder.path().into()]).unwrap();
        let (wake, wakes) = mpsc::channel();
        let wake = Arc::new(move || wake.send(()).unwrap_or_default());
        let (mut share, mut library) = Share::start(sources, &Options::default(), None, None, wake).unwrap();
        let mut next = |library: &mut SharedLibrary| {
            wakes.recv_timeout(LIMIT).unwrap();
            share.poll(library);
        };
        let id = ContentId::Blake3(*blake3::hash(&bytes).as_bytes());
        while library.find(&id).is_none() {
            next(&mut library);
        }
        let (no, ..) = library.find(&id).unwrap();
        let file = Arc::new(File::open(folder.path().join("file")).unwrap());
        library.open.insert(no, OpenFile { file, reads: Reads::Unknown });
        let eof = Some(bytes.len() as u64);
        let glance = |library: &mut SharedLibrary, at| {
            library.read(Asker::Unvalidated, &id, at, 4096, &mut Vec::new())
        };

        assert_eq!((glance(&mut library, 0), library.asked.len()), (Read::Later, 0));
        let host = Asker::Host(IpAddr::from([192, 0, 2, 1]));
        while library.read(host, &id, 0, 4096, &mut Vec::new()) == Read::Later {
            next(&mut library);
        }
        assert_eq!(glance(&mut library, 5), Read::Found { eof }, "somebody has just read that");
        assert_eq!(glance(&mut library, WINDOW), Read::Later);
        library.forget_unused();
        assert_eq!(glance(&mut library, 5), Read::Found { eof });
        library.forget_unused();
        assert_eq!(glance(&mut library, 5), Read::Later, "that was long ago");
    }
}
