//! Writes what was learned of peers into the table, on a thread of its own: the lock of the table may be held by a process that
//! was stopped, and a disk may take its time, but the network waits for neither.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::learned::Learned;
use super::peer_file::PeerFile;

/// How long a tool waits at its end for the table to be written.
const WAIT_AT_THE_END: Duration = Duration::from_secs(3);
/// How long the lock is waited for at a time: what was learned meanwhile then comes with it.
const WAIT_FOR_LOCK: Duration = Duration::from_secs(10);

/// See the [module](self).
pub struct PeerSaver {
    file: PeerFile,
    shared: Arc<Shared>,
    started: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What is to be written.
    waiting: Learned,
    /// Something is being written.
    busy: bool,
}

impl PeerSaver {
    /// For this table. No thread yet.
    pub fn new(file: PeerFile) -> PeerSaver {
        PeerSaver { file, shared: Arc::default(), started: false }
    }

    /// The table's file.
    pub fn file(&self) -> &PeerFile {
        &self.file
    }

    /// Has this written as soon as possible. Never waits.
    pub fn save(&mut self, learned: Learned) {
        if learned.is_empty() {
            return;
        }
        self.shared.state().waiting.add(learned);
        if !self.started {
            let (file, shared) = (self.file.clone(), self.shared.clone());
            let write = move || write_for_ever(&file, &shared);
            match thread::Builder::new().name("peer table".into()).spawn(write) {
                Ok(_) => self.started = true,
                Err(error) => log::warn!("the peer table is not written: {error}"),
            }
        }
        self.shared.changed.notify_all();
    }

    /// Waits for a moment until all is written, and says so where it is not.
    pub fn finish(&mut self) {
        self.finish_within(WAIT_AT_THE_END);
    }

    fn finish_within(&mut self, limit: Duration) {
        let until = Instant::now() + limit;
        let mut state = self.shared.state();
        while self.started && (state.busy || !state.waiting.is_empty()) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                log::warn!(
                    "the peer table was not written: another process has its lock, or the disk is slow"
                );
                return;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what there is to write, until the process ends.
fn write_for_ever(file: &PeerFile, shared: &Shared) {
    let mut told = false;
    loop {
        let mut state = shared.state();
        while state.waiting.is_empty() {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut learned = std::mem::take(&mut state.waiting);
        state.busy = true;
        drop(state);
        let written = file.learn(&learned, WAIT_FOR_LOCK);
        let mut state = shared.state();
        state.busy = false;
        match written {
            Ok(warning) => {
                told = false;
                if let Some(warning) = warning {
                    log::warn!("{warning}");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    log::warn!("the peer table was not written: {error}");
                }
                if error.kind() == std::io::ErrorKind::TimedOut {
                    learned.add(std::mem::take(&mut state.waiting));
                    state.waiting = learned;
                }
            }
        }
        shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_lock::FileLock;
    use crate::state_dir::StateDir;

    #[test]
    fn a_lock_that_somebody_holds_delays_what_is_written_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(folder.path())).unwrap();
        let lock = FileLock::acquire(&state.file("peers.json.lock")).unwrap();
        let mut saver = PeerSaver::new(PeerFile::new(Some(&state)));
        let peers = ["192.0.2.1:5", "192.0.2.2:5"].map(|peer| peer.parse().unwrap());
        for peer in peers {
            saver.save(Learned::heard_now(peer));
        }
        saver.finish_within(Duration::from_millis(50));
        assert_eq!(saver.file().load().0.len(), 0, "it is locked");
        drop(lock);
        saver.finish_within(Duration::from_secs(60));
        let table = saver.file().load().0;
        assert!(peers.iter().all(|peer| table.get(*peer).is_some()), "what was learned is lost");
    }
}
