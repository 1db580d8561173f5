//! The threads of a [`Store`](super::store::Store): one writes and hashes what was written, one hashes what was there, one reads for
//! peers.
//!
//! A piece is hashed while it is written, as far as its blocks come in order; the rest is read again at the end, from memory most
//! likely.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use sha1::{Digest, Sha1};

use super::files::Files;
use crate::event_loop::Waker;

/// Bytes that are read before they are hashed.
const READ_LEN: u64 = 128 << 10;
/// Bytes that wait to be written at the most.
pub(super) const MAX_WAITING: usize = 4 << 20;
/// Bytes that are to be brought to memory for peers, at the most.
const MAX_READS: usize = 256;

/// Something to write, or to hash once all before it is written.
enum Job {
    Write { piece: u32, begin: u32, bytes: Vec<u8> },
    Check(u32),
    Forget(u32),
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Bytes in `jobs`. [`MAX_WAITING`] and some blocks at the most.
    waiting: usize,
    /// Pieces that were there, to be hashed.
    rechecks: VecDeque<u32>,
    /// What peers want and is not in memory: offsets and lengths. [`MAX_READS`] at the most.
    reads: VecDeque<(u64, u32)>,
    checked: Vec<(u32, bool)>,
    has_read: bool,
    problem: Option<io::Error>,
    has_ended: bool,
}

/// What the network and the threads share.
pub(super) struct Disk {
    files: Arc<Files>,
    waker: Waker,
    state: Mutex<State>,
    to_write: Condvar,
    to_check: Condvar,
    to_read: Condvar,
}

impl Disk {
    /// Starts the threads.
    pub(super) fn start(files: Arc<Files>, waker: Waker) -> io::Result<Arc<Disk>> {
        let disk = Arc::new(Disk {
            files,
            waker,
            state: Mutex::default(),
            to_write: Condvar::new(),
            to_check: Condvar::new(),
            to_read: Condvar::new(),
        });
        for (name, work) in [
            ("torrent-write", Disk::write_all as fn(&Disk)),
            ("torrent-check", Disk::recheck_all),
            ("torrent-read", Disk::read_all),
        ] {
            let disk = disk.clone();
            thread::Builder::new().name(name.into()).spawn(move || work(&disk))?;
        }
        Ok(disk)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes something out of the state as soon as it is there; `None` at the end.
    fn next<T>(&self, changed: &Condvar, mut take: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let mut state = self.state();
        loop {
            if state.has_ended {
                return None;
            }
            if let Some(next) = take(&mut state) {
                return Some(next);
            }
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn add(&self, job: Job) {
        let mut state = self.state();
        if let Job::Write { bytes, .. } = &job {
            state.waiting += bytes.len();
        }
        state.jobs.push_back(job);
        // Whoever works on others looks again.
        if state.jobs.len() == 1 {
            self.to_write.notify_one();
        }
    }

    pub(super) fn write(&self, piece: u32, begin: u32, bytes: &[u8]) {
        self.add(Job::Write { piece, begin, bytes: bytes.to_vec() });
    }

    pub(super) fn check(&self, piece: u32) {
        self.add(Job::Check(piece));
    }

    pub(super) fn forget(&self, piece: u32) {
        self.add(Job::Forget(piece));
    }

    pub(super) fn recheck(&self, pieces: impl Iterator<Item = u32>) {
        self.state().rechecks.extend(pieces);
        self.to_check.notify_one();
    }

    pub(super) fn read_later(&self, offset: u64, len: u32) {
        let mut state = self.state();
        if state.reads.len() < MAX_READS && !state.reads.contains(&(offset, len)) {
            state.reads.push_back((offset, len));
            self.to_read.notify_one();
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.state().waiting
    }

    pub(super) fn take_checked(&self) -> Vec<(u32, bool)> {
        std::mem::take(&mut self.state().checked)
    }

    pub(super) fn take_read(&self) -> bool {
        std::mem::take(&mut self.state().has_read)
    }

    pub(super) fn take_problem(&self) -> Option<io::Error> {
        self.state().problem.take()
    }

    pub(super) fn end(&self) {
        self.state().has_ended = true;
        for changed in [&self.to_write, &self.to_check, &self.to_read] {
            changed.notify_all();
        }
    }

    fn tell(&self, piece: u32, is_right: bool) {
        self.state().checked.push((piece, is_right));
        self.waker.wake();
    }

    fn write_all(&self) {
        let mut hashing = Hashing::default();
        let all = |state: &mut State| (!state.jobs.is_empty()).then(|| std::mem::take(&mut state.jobs));
        while let Some(jobs) = self.next(&self.to_write, all) {
            for job in jobs {
                if let Err(error) = self.work(&mut hashing, job) {
                    self.state().problem.get_or_insert(error);
                    self.waker.wake();
                }
            }
        }
    }

    fn work(&self, hashing: &mut Hashing, job: Job) -> io::Result<()> {
        match job {
            Job::Write { piece, begin, bytes } => {
                let start = self.files.info().pieces().range(piece).start;
                let written = self.files.write(start + u64::from(begin), &bytes);
                hashing.take(piece, begin, &bytes);
                let mut state = self.state();
                let before = state.waiting;
                state.waiting -= bytes.len();
                // The network stops asking while much waits.
                let has_room = before > MAX_WAITING / 2 && state.waiting <= MAX_WAITING / 2;
                drop(state);
                if has_room {
                    self.waker.wake();
                }
                written
            }
            Job::Check(piece) => {
                let is_right = hashing.finish(&self.files, piece)?;
                self.tell(piece, is_right);
                Ok(())
            }
            Job::Forget(piece) => {
                hashing.begun.remove(&piece);
                Ok(())
            }
        }
    }

    fn recheck_all(&self) {
        while let Some(piece) = self.next(&self.to_check, |state| state.rechecks.pop_front()) {
            // What cannot be read is not there.
            let is_right =
                hash(&self.files, piece, 0, Sha1::new()).is_ok_and(|hash| self.is_right(piece, hash));
            self.tell(piece, is_right);
        }
    }

    fn is_right(&self, piece: u32, hash: [u8; 20]) -> bool {
        self.files.info().piece_hash(piece) == Some(&hash)
    }

    fn read_all(&self) {
        let mut buffer = Vec::new();
        while let Some((offset, len)) = self.next(&self.to_read, |state| state.reads.pop_front()) {
            buffer.resize(len as usize, 0);
            // Errors do not matter here: the next one to read it meets them too.
            let _ = self.files.read(offset, &mut buffer, true);
            self.state().has_read = true;
            self.waker.wake();
        }
    }
}

/// The pieces that are being written, as far as they are hashed.
#[derive(Default)]
struct Hashing {
    /// As many as the swarm has begun, which it bounds.
    begun: BTreeMap<u32, (u64, Sha1)>,
}

impl Hashing {
    fn take(&mut self, piece: u32, begin: u32, bytes: &[u8]) {
        let (done, hasher) = self.begun.entry(piece).or_default();
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

    /// Whether the piece is right. It is forgotten.
    fn finish(&mut self, files: &Files, piece: u32) -> io::Result<bool> {
        let (done, hasher) = self.begun.remove(&piece).unwrap_or_default();
        let hash = hash(files, piece, done, hasher)?;
        Ok(files.info().piece_hash(piece) == Some(&hash))
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
