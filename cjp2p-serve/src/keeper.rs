//! The thread that keeps the index true: it walks, has new files hashed, follows notices of changes, and says what
//! happened. It alone changes the index.

mod files;
mod memory;
mod notices;
mod walks;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cjp2p_io::identity::{Identity, Stamp};
use cjp2p_io::names;
use cjp2p_io::workers::{Crew, Workers};

use crate::cover::Cover;
use crate::events::{Event, Told};
use crate::file::{FileNo, Ids};
use crate::hash_store::HashStore;
use crate::hasher::{Hashing, Outcome, cores, hash_file};
use crate::index::Index;
use crate::mounts::Mounts;
use crate::place::Source;
use crate::publish::Publisher;
use crate::task::Task;
use crate::tree_store::TreeStore;
use crate::walk::Rules;
use crate::watch::{Notice, Watch, reason};

/// From a notice to a look at the path: what comes in between needs no look of its own.
const QUIET: Duration = Duration::from_millis(100);
/// Ids that are written down at once at the most. What is not written down yet is hashed again if the process is killed.
const BATCH: usize = 1024;
/// Results that wait for the keeper to take them, at the most: while it walks, small files are hashed faster than that.
const UNTAKEN: usize = 4096;
/// With more files to be hashed it is not looked which of them may be what was shared before.
const MAX_LOOKED_THROUGH: usize = 4096;
/// Paths to be looked at, and notices not taken yet, at the most. Of more, it costs less memory to look at everything.
const MAX_TOUCHED: usize = 8192;
/// So many files are hashed side by side, if there are as many cores: at least two, so that a large one does not keep all others
/// waiting, and no more than wait for memory only. The network and everything else on the machine go first.
const HASHERS: RangeInclusive<usize> = 2..=16;

/// What the keeper works with.
pub struct Keeper {
    /// The arguments of the command line.
    pub sources: Vec<Arc<Source>>,
    /// What is shared.
    pub rules: Rules,
    /// How often to look at everything where changes cannot be noticed, and at the arguments themselves in any case.
    pub poll_every: Duration,
    /// What is mounted where. `None` where that cannot be known.
    pub mounts: Option<Mounts>,
    /// The result.
    pub index: Arc<Mutex<Index>>,
    /// Ids of earlier runs.
    pub hashes: HashStore,
    /// Trees of this and earlier runs.
    pub trees: Arc<TreeStore>,
    /// How far hashing is.
    pub hashing: Arc<Hashing>,
    /// Gets the events.
    pub told: Told,
    /// Publishes the folders.
    pub publisher: Publisher,
    /// To be told.
    pub tasks: Sender<Task>,
}

struct Work {
    keeper: Keeper,
    /// They are given the number of a file, and its length.
    hashers: Workers<(FileNo, u64)>,
    watch: Option<Watch>,
    /// Whether only regular looks at everything find all changes.
    blind: bool,
    /// Where the arguments lead.
    cover: Cover,
    walks: u32,
    /// Paths to look at, in the order of time.
    touched: VecDeque<(Instant, (u32, PathBuf))>,
    /// The same, for finding.
    is_touched: HashSet<(u32, PathBuf)>,
    rescan_at: Option<Instant>,
    /// When to look whether the arguments name what they did.
    look_at_names_at: Instant,
    /// The arguments that named nothing when that was last looked at.
    missing: HashSet<u32>,
    /// What was mounted around the arguments when everything was last looked at.
    mounted: Vec<u8>,
    /// Files that are not hashed before a certain time.
    waiting: BTreeSet<(Instant, FileNo)>,
    /// Files that the hashers have or will come to.
    at_hashers: HashSet<FileNo>,
    /// One for each result that the hashers sent and that is not taken yet.
    results: Receiver<()>,
    /// Notices that were sent and are not taken yet.
    untaken: Arc<AtomicUsize>,
    /// How often files changed while they were hashed, or before they were read.
    changes: HashMap<(u32, Arc<Path>), u32>,
    /// What was there at the start and is not dealt with yet. `None` once it is.
    at_start: Option<HashSet<FileNo>>,
    /// Files hashed in this run.
    hashed: u64,
    /// Ids to be remembered.
    to_remember: Vec<(Identity, Ids)>,
    /// What was warned about, so that it is said once.
    warned: HashSet<PathBuf>,
}

impl Keeper {
    /// Starts the thread, and those that hash. It does its work until it is told to stop, and drops `ends` when it is done.
    ///
    /// # Errors
    ///
    /// The system has no room for another thread.
    pub fn start(self, tasks: Receiver<Task>, ends: Sender<()>) -> io::Result<()> {
        let (hashing, results) = (self.hashing.clone(), self.tasks.clone());
        let (untaken, taken) = mpsc::sync_channel(UNTAKEN);
        let index = self.index.clone();
        let hash = move |(no, size): (FileNo, u64)| {
            let known = index.lock().unwrap_or_else(PoisonError::into_inner).get(no);
            let (outcome, lasting) = match known {
                Some((file, _)) => {
                    let lasting = !file.identity.is_from_the_future(Stamp::now());
                    (hash_file(&file, &hashing), lasting)
                }
                // It has changed or gone while it was in the queue, and the keeper knows.
                None => {
                    hashing.total.fetch_sub(size, Ordering::Relaxed);
                    (Outcome::Changed, false)
                }
            };
            // Waits while there are too many. This and the next fail only when all is about to end.
            let _ = untaken.send(());
            let _ = results.send(Task::Hashed { no, outcome, lasting });
        };
        let threads = cores().clamp(*HASHERS.start(), *HASHERS.end());
        let crew = Crew { name: "hasher", threads, most_for_hosts: 0, is_nice: true };
        let hashers = Workers::start(crew, hash)?;
        thread::Builder::new().name("keeper".into()).spawn(move || {
            let _ends = ends;
            self.run(&tasks, hashers, taken);
        })?;
        Ok(())
    }

    fn run(self, tasks: &Receiver<Task>, hashers: Workers<(FileNo, u64)>, results: Receiver<()>) {
        let notices = self.tasks.clone();
        let untaken = Arc::new(AtomicUsize::new(0));
        let waiting = untaken.clone();
        let watch = Watch::start(self.mounts.clone(), move |notice| {
            // While there are too many, the last of them says that some are missing, and the others are.
            let notice = match waiting.load(Ordering::Relaxed) {
                _ if notice == Notice::Ended => notice,
                0..MAX_TOUCHED => notice,
                MAX_TOUCHED => Notice::Missed,
                _ => return,
            };
            waiting.fetch_add(1, Ordering::Relaxed);
            let _ = notices.send(Task::Notice(notice));
        });
        let watch = watch.map_err(|error| self.cannot_watch(&error)).ok();
        let mut work = Work {
            blind: watch.is_none(),
            cover: Cover::of(self.sources.iter().map(Arc::as_ref)),
            look_at_names_at: Instant::now() + self.poll_every,
            missing: HashSet::new(),
            mounted: Vec::new(),
            keeper: self,
            hashers,
            watch,
            walks: 0,
            touched: VecDeque::new(),
            is_touched: HashSet::new(),
            rescan_at: None,
            waiting: BTreeSet::new(),
            at_hashers: HashSet::new(),
            results,
            untaken,
            changes: HashMap::new(),
            at_start: Some(HashSet::new()),
            hashed: 0,
            to_remember: Vec::new(),
            warned: HashSet::new(),
        };
        work.walk_all();
        work.until_told_to_stop(tasks);
        work.remember();
        work.keeper.told.flush();
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cannot_watch(&self, error: &io::Error) {
        let (every, error) = (self.poll_every.as_secs(), reason(error));
        log::warn!("cannot watch for changes ({error}); looking for them every {every} s");
    }
}

impl Work {
    fn until_told_to_stop(&mut self, tasks: &Receiver<Task>) {
        loop {
            self.do_what_is_due();
            if let Ok(task) = tasks.try_recv() {
                if !self.take(task) {
                    return;
                }
                continue;
            }
            // Nothing else to do just now.
            self.settle_what_is_gone();
            self.remember();
            self.keeper.told.flush();
            self.keeper.publisher.set_busy(self.has_to_do());
            let next = match self.next_due() {
                Some(at) => tasks.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => tasks.recv().map_err(RecvTimeoutError::from),
            };
            let go_on = match next {
                Ok(task) => self.take(task),
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => false,
            };
            if !go_on {
                return;
            }
        }
    }

    /// Whether anything is under way that may change what is shared.
    fn has_to_do(&self) -> bool {
        !self.at_hashers.is_empty()
            || !self.waiting.is_empty()
            || !self.touched.is_empty()
            || self.rescan_at.is_some_and(|at| at <= Instant::now() + QUIET)
    }

    /// Tells what happened.
    fn tell(&self, event: Event) {
        match &event {
            Event::Shared { file, .. } | Event::Changed { file, .. } | Event::Withdrawn { file, .. } => {
                self.keeper.publisher.touched(file.place.source.number);
            }
            Event::Ready { .. } => self.keeper.publisher.set_ready(),
            Event::Published(_) => {}
        }
        self.keeper.told.tell(event);
    }

    fn next_due(&self) -> Option<Instant> {
        let touched = self.touched.front().map(|(at, _)| *at);
        let waiting = self.waiting.first().map(|(at, _)| *at);
        [touched, waiting, self.rescan_at, Some(self.look_at_names_at)].into_iter().flatten().min()
    }

    /// What was hashed is still remembered, but nothing else is worth the time.
    fn is_ending(&self) -> bool {
        self.keeper.hashing.stop.load(Ordering::Relaxed)
    }

    fn do_what_is_due(&mut self) {
        if self.is_ending() {
            return;
        }
        let now = Instant::now();
        if self.rescan_at.is_some_and(|at| at <= now) {
            self.walk_all();
        }
        if self.look_at_names_at <= now {
            self.look_at_names();
        }
        while self.touched.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, path)) = self.touched.pop_front() {
                self.is_touched.remove(&path);
                self.look_at(path.0, &path.1);
            }
        }
        while let Some(&(at, no)) = self.waiting.first()
            && at <= now
        {
            self.waiting.pop_first();
            self.hash_now(no);
        }
    }

    /// `false` for the end.
    fn take(&mut self, task: Task) -> bool {
        match task {
            Task::Rescan if self.is_ending() => {}
            Task::Rescan => self.walk_all(),
            Task::Notice(notice) => {
                self.untaken.fetch_sub(1, Ordering::Relaxed);
                self.take_notice(notice);
            }
            Task::Doubt(no) => self.take_doubt(no),
            Task::TreeLost(no) => self.hash_now(no),
            Task::Hashed { no, outcome, lasting } => {
                // Was sent before; makes room for another.
                let _ = self.results.recv();
                self.take_outcome(no, outcome, lasting);
            }
            Task::Stop => return false,
        }
        true
    }

    /// Decides which contents are gone for good, once what may be one of them has been hashed.
    fn settle_what_is_gone(&mut self) {
        let to_hash = self.at_hashers.len() + self.waiting.len();
        let mut index = self.keeper.index();
        // What may be back is not always in the list of paths to look at.
        let is_to_look =
            !self.touched.is_empty() || self.rescan_at.is_some_and(|at| at <= Instant::now() + QUIET);
        if index.is_settled() || is_to_look || to_hash > MAX_LOOKED_THROUGH {
            return;
        }
        let to_hash = self.at_hashers.iter().chain(self.waiting.iter().map(|(_, no)| no));
        let lengths: HashSet<u64> = to_hash.filter_map(|no| Some(index.look(*no)?.0.size)).collect();
        index.settle(|length| lengths.contains(&length));
    }

    /// Has ids remembered, a batch at a time.
    fn remember_soon(&mut self, identity: Identity, ids: Ids) {
        self.to_remember.push((identity, ids));
        if self.to_remember.len() >= BATCH {
            self.remember();
        }
    }

    /// Writes down what is to be remembered.
    fn remember(&mut self) {
        if self.to_remember.is_empty() {
            return;
        }
        let to_remember = std::mem::take(&mut self.to_remember);
        if let Err(error) = self.keeper.hashes.append(&to_remember) {
            self.warn(PathBuf::from("state folder"), &error);
        }
    }

    fn warn(&mut self, path: PathBuf, error: &io::Error) {
        if self.warned.insert(path.clone()) {
            log::warn!("{}: {error}", names::shown(&path));
        }
    }
}
