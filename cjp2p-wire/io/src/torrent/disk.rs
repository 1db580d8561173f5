//! `Disk`: the threads that stores of torrents share. One writes and hashes what was written, one hashes what was there, one reads for
//! peers.
//!
//! A piece is hashed while it is written, as far as its blocks come in order; the rest is read again at the end, from memory most
//! likely.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use sha1::{Digest, Sha1};

use super::files::Files;
use crate::event_loop::Waker;

/// Bytes that are read before they are hashed.
const READ_LEN: u64 = 128 << 10;
/// Bytes of one torrent that wait to be written at the most, and some blocks.
pub(super) const MAX_WAITING: usize = 4 << 20;
/// What is to be brought to memory for peers of one torrent, at the most.
const MAX_READS: usize = 256;

/// One torrent, as the threads and its store see it.
pub(super) struct Shared {
    pub(super) files: Arc<Files>,
    /// Bytes that wait to be written.
    waiting: AtomicUsize,
    /// What was read for peers, until that is taken.
    has_read: AtomicBool,
    /// Its store is gone, and nothing more is to be done.
    pub(super) has_ended: AtomicBool,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    checked: Vec<(u32, bool)>,
    problem: Option<io::Error>,
    /// What is to be read.
    reads: usize,
}

/// Something to write, or to hash once all before it is written.
enum Job {
    Write { piece: u32, begin: u32, bytes: Vec<u8> },
    Check(u32),
    Forget(u32),
}

#[derive(Default)]
struct Queues {
    /// [`MAX_WAITING`] bytes of each torrent, and its begun pieces.
    jobs: VecDeque<(Arc<Shared>, Job)>,
    /// Pieces that were there, to be hashed: as many runs as there are.
    rechecks: VecDeque<(Arc<Shared>, Range<u32>)>,
    /// What peers want and is not in memory: offsets and lengths. [`MAX_READS`] of each torrent.
    reads: VecDeque<(Arc<Shared>, u64, u32)>,
    has_ended: bool,
}

struct Threads {
    waker: Waker,
    queues: Mutex<Queues>,
    to_write: Condvar,
    to_check: Condvar,
    to_read: Condvar,
}

/// See the [module](self). A clone is the same threads; they end with the last of them.
#[derive(Clone)]
pub struct Disk {
    _end: Arc<End>,
    threads: Arc<Threads>,
}

struct End(Arc<Threads>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.queues().has_ended = true;
        for changed in [&self.0.to_write, &self.0.to_check, &self.0.to_read] {
            changed.notify_all();
        }
    }
}

impl Disk {
    /// Starts the threads. `waker` is woken whenever there is something for a store to take, or room again.
    ///
    /// # Errors
    ///
    /// The system has no room for them.
    pub fn start(waker: Waker) -> io::Result<Disk> {
        let threads = Arc::new(Threads {
            waker,
            queues: Mutex::default(),
            to_write: Condvar::new(),
            to_check: Condvar::new(),
            to_read: Condvar::new(),
        });
        let end = Arc::new(End(threads.clone()));
        threads.clone().spawn("torrent-write", Threads::write_all)?;
        threads.clone().spawn("torrent-check", Threads::recheck_all)?;
        threads.clone().spawn("torrent-read", Threads::read_all)?;
        Ok(Disk { _end: end, threads })
    }

    fn add(&self, of: &Arc<Shared>, job: Job) {
        let mut queues = self.threads.queues();
        queues.jobs.push_back((of.clone(), job));
        // Whoever works on others looks again.
        if queues.jobs.len() == 1 {
            self.threads.to_write.notify_one();
        }
    }

    pub(super) fn write(&self, of: &Arc<Shared>, piece: u32, begin: u32, bytes: &[u8]) {
        of.waiting.fetch_add(bytes.len(), Ordering::Relaxed);
        self.add(of, Job::Write { piece, begin, bytes: bytes.to_vec() });
    }

    pub(super) fn check(&self, of: &Arc<Shared>, piece: u32) {
        self.add(of, Job::Check(piece));
    }

    pub(super) fn forget(&self, of: &Arc<Shared>, piece: u32) {
        self.add(of, Job::Forget(piece));
    }

    pub(super) fn recheck(&self, of: &Arc<Shared>, runs: impl Iterator<Item = Range<u32>>) {
        self.threads.queues().rechecks.extend(runs.map(|run| (of.clone(), run)));
        self.threads.to_check.notify_one();
    }

    pub(super) fn read_later(&self, of: &Arc<Shared>, offset: u64, len: u32) {
        let mut told = of.told();
        if told.reads < MAX_READS {
            told.reads += 1;
            drop(told);
            self.threads.queues().reads.push_back((of.clone(), offset, len));
            self.threads.to_read.notify_one();
        }
    }
}

impl Shared {
    pub(super) fn new(files: Arc<Files>) -> Arc<Shared> {
        Arc::new(Shared {
            files,
            waiting: AtomicUsize::new(0),
            has_read: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            told: Mutex::default(),
        })
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn take_checked(&self) -> Vec<(u32, bool)> {
        std::mem::take(&mut self.told().checked)
    }

    pub(super) fn take_read(&self) -> bool {
        self.has_read.swap(false, Ordering::Relaxed)
    }

    pub(super) fn take_problem(&self) -> Option<io::Error> {
        self.told().problem.take()
    }

    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    fn is_right(&self, piece: u32, hash: [u8; 20]) -> bool {
        self.files.info().piece_hash(piece) == Some(&hash)
    }
}

impl Threads {
    fn spawn(self: Arc<Threads>, name: &str, work: impl FnOnce(&Threads) + Send + 'static) -> io::Result<()> {
        thread::Builder::new().name(name.into()).spawn(move || work(&self)).map(drop)
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes something out as soon as it is there; `None` at the end.
    fn next<T>(&self, changed: &Condvar, mut take: impl FnMut(&mut Queues) -> Option<T>) -> Option<T> {
        let mut queues = self.queues();
        loop {
            if queues.has_ended {
                return None;
            }
            if let Some(next) = take(&mut queues) {
                return Some(next);
            }
            queues = changed.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn tell(&self, of: &Shared, piece: u32, is_right: bool) {
        of.told().checked.push((piece, is_right));
        self.waker.wake();
    }

    fn write_all(&self) {
        let mut hashing = Hashing::default();
        let all = |queues: &mut Queues| (!queues.jobs.is_empty()).then(|| std::mem::take(&mut queues.jobs));
        while let Some(jobs) = self.next(&self.to_write, all) {
            for (of, job) in jobs {
                if of.has_ended() {
                    hashing.forget_all(&of);
                } else if let Err(error) = self.work(&mut hashing, &of, job) {
                    of.told().problem.get_or_insert(error);
                    self.waker.wake();
                }
            }
        }
    }

    fn work(&self, hashing: &mut Hashing, of: &Arc<Shared>, job: Job) -> io::Result<()> {
        match job {
            Job::Write { piece, begin, bytes } => {
                let start = of.files.info().pieces().range(piece).start;
                let written = of.files.write(start + u64::from(begin), &bytes);
                hashing.take(of, piece, begin, &bytes);
                let before = of.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
                // The network stops asking while much waits.
                if before > MAX_WAITING / 2 && before - bytes.len() <= MAX_WAITING / 2 {
                    self.waker.wake();
                }
                written
            }
            Job::Check(piece) => {
                let (done, hasher) = hashing.forget(of, piece);
                let hash = hash(&of.files, piece, done, hasher)?;
                self.tell(of, piece, of.is_right(piece, hash));
                Ok(())
            }
            Job::Forget(piece) => {
                hashing.forget(of, piece);
                Ok(())
            }
        }
    }

    fn recheck_all(&self) {
        let next = |queues: &mut Queues| {
            let (of, run) = queues.rechecks.front_mut()?;
            let next = (of.clone(), run.start);
            run.start += 1;
            if run.start >= run.end || of.has_ended() {
                queues.rechecks.pop_front();
            }
            Some(next)
        };
        while let Some((of, piece)) = self.next(&self.to_check, next) {
            // What cannot be read is not there.
            let hash = hash(&of.files, piece, 0, Sha1::new());
            self.tell(&of, piece, hash.is_ok_and(|hash| of.is_right(piece, hash)));
        }
    }

    fn read_all(&self) {
        let mut buffer = Vec::new();
        while let Some((of, offset, len)) = self.next(&self.to_read, |queues| queues.reads.pop_front()) {
            if !of.has_ended() {
                buffer.resize(len as usize, 0);
                // Errors do not matter here: the next one to read it meets them too.
                let _ = of.files.read(offset, &mut buffer, true);
            }
            of.told().reads -= 1;
            of.has_read.store(true, Ordering::Relaxed);
            self.waker.wake();
        }
    }
}

/// The pieces that are being written, as far as they are hashed.
#[derive(Default)]
struct Hashing {
    /// By torrent and number: as many as the swarms have begun, which they bound.
    begun: BTreeMap<(usize, u32), (u64, Sha1)>,
}

/// What tells one torrent from others, as long as it is there.
fn number(of: &Arc<Shared>) -> usize {
    Arc::as_ptr(of) as usize
}

impl Hashing {
    fn take(&mut self, of: &Arc<Shared>, piece: u32, begin: u32, bytes: &[u8]) {
        let (done, hasher) = self.begun.entry((number(of), piece)).or_default();
        match u64::from(begin) {
            next if next == *done => {
                hasher.update(bytes);
                *done += bytes.len() as u64;
            }
            // It came a second time, and the later one counts.
            earlier if earlier < *done => (*done, *hasher) = (0, Sha1::new()),
            _ => {}
        }
    }

    fn forget(&mut self, of: &Arc<Shared>, piece: u32) -> (u64, Sha1) {
        self.begun.remove(&(number(of), piece)).unwrap_or_default()
    }

    fn forget_all(&mut self, of: &Arc<Shared>) {
        self.begun.retain(|(torrent, _), _| *torrent != number(of));
    }
}

/// The hash of a piece, of which the first `done` bytes are in `hasher`.
fn hash(files: &Files, piece: u32, done: u64, mut hasher: Sha1) -> io::Result<[u8; 20]> {
    let range = files.info().pieces().range(piece);
    let mut at = range.start + done;
    let mut buffer = vec![0; READ_LEN.min(range.end - at) as usize];
    while at < range.end {
        let part = &mut buffer[..READ_LEN.min(range.end - at) as usize];
        files.read(at, part, true)?;
        hasher.update(&*part);
        at += part.len() as u64;
    }
    Ok(hasher.finalize().into())
}
