//! Hashing several files side by side, each on one thread. Their results come in the order in which the files were given.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use cjp2p_io::workers::{Crew, Workers};

use crate::digest::in_line;
use crate::hashers::{Digests, Failed, Wanted};
use crate::input::RegularFile;
use crate::spread::cores;

/// A shorter file is hashed before another thread would have begun.
const SHORT: u64 = 64 << 10;
/// A longer file is better hashed on all cores,
const LONG: u64 = 8 << 20;
/// which with SHA-256 gains little.
const LONG_SHA256: u64 = 1 << 30;
/// How often to see how far files are.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Which way a file is hashed.
pub(crate) enum Way {
    /// At once: it is short.
    AtOnce,
    /// Beside others.
    Beside,
    /// Alone, on all cores.
    Alone,
}

impl Way {
    pub(crate) fn of(file: &RegularFile, wanted: Wanted<'_>) -> Way {
        let long = if wanted.sha256 { LONG_SHA256 } else { LONG };
        match file.expected() {
            _ if wanted.leaves.is_some() => Way::Alone,
            // It may be a file of the kernel.
            0 => Way::Alone,
            1..SHORT => Way::AtOnce,
            length if length < long => Way::Beside,
            _ => Way::Alone,
        }
    }
}

/// What became of a file.
pub(crate) type Hashed = Result<Digests, Failed>;

/// See the [module](self).
pub(crate) struct Ahead {
    workers: Workers<Job>,
    /// In the order in which they were given.
    files: VecDeque<(OsString, State)>,
    /// So many of them at the most: each is open until its result is taken.
    most: usize,
    /// Bytes hashed that nobody was told of.
    done: Arc<AtomicU64>,
}

enum State {
    Hashed(Hashed),
    AtWork(Receiver<Hashed>),
}

struct Job {
    file: RegularFile,
    wanted: Wanted<'static>,
    to: SyncSender<Hashed>,
}

impl Ahead {
    pub(crate) fn new() -> Ahead {
        let done = Arc::new(AtomicU64::new(0));
        let counted = done.clone();
        let threads = cores();
        let crew = Crew { name: "hasher", threads, most_for_hosts: 0, is_nice: false };
        let workers = Workers::on_demand(crew, move |Job { file, wanted, to }| {
            let mut count = |length| {
                counted.fetch_add(length, Ordering::Relaxed);
            };
            let hashed = in_line(&file, wanted, &mut count);
            let hashed = hashed.and_then(|digests| Ok(file.check_unchanged().map(|()| digests)?));
            // Whoever takes the result may need the descriptor for the next.
            drop(file);
            // Fails only when all is about to end.
            let _ = to.send(hashed);
        });
        Ahead { workers, files: VecDeque::new(), most: 4 * threads, done }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether a result is to be taken before another file is given.
    pub(crate) fn is_full(&self) -> bool {
        self.files.len() >= self.most
    }

    /// Has a file hashed.
    pub(crate) fn give(&mut self, name: OsString, file: RegularFile, wanted: Wanted<'static>) {
        let (to, hashed) = mpsc::sync_channel(1);
        self.workers.send(Job { file, wanted, to });
        self.files.push_back((name, State::AtWork(hashed)));
    }

    /// Adds a file that was hashed elsewhere.
    pub(crate) fn add(&mut self, name: OsString, hashed: Hashed) {
        self.files.push_back((name, State::Hashed(hashed)));
    }

    /// The first result, if it is there, or if `may_wait` once it is.
    pub(crate) fn take(
        &mut self,
        may_wait: bool,
        progress: &mut dyn FnMut(u64),
    ) -> Option<(OsString, Hashed)> {
        let (name, state) = self.files.pop_front()?;
        let found = match state {
            State::Hashed(hashed) => Ok(hashed),
            State::AtWork(receiver) => loop {
                let wait = if may_wait { LOOK_EVERY } else { Duration::ZERO };
                let found = receiver.recv_timeout(wait);
                progress(self.done.swap(0, Ordering::Relaxed));
                match found {
                    Ok(hashed) => break Ok(hashed),
                    Err(RecvTimeoutError::Timeout) if may_wait => {}
                    Err(RecvTimeoutError::Timeout) => break Err(receiver),
                    // Its thread is gone.
                    Err(RecvTimeoutError::Disconnected) => {
                        break Ok(Err(Failed::Reading(std::io::Error::other("it was not hashed"))));
                    }
                }
            },
        };
        match found {
            Ok(hashed) => Some((name, hashed)),
            Err(receiver) => {
                self.files.push_front((name, State::AtWork(receiver)));
                None
            }
        }
    }
}
