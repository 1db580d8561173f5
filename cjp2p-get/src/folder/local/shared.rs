//! What the thread that does the work and the one of the network have in common.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::told::Counts;
use super::tree::Tree;

/// Bytes that may wait to be written.
pub(super) const MOST_WAITING: u64 = 8 << 20;
/// What a file costs beside its bytes.
pub(super) const PER_FILE: u64 = 256;

/// See the [module](self).
pub(super) struct Shared {
    wake: Box<dyn Fn() + Send + Sync>,
    /// What is to be fetched, when that is known.
    pub(super) wanted: OnceLock<Wanted>,
    /// Bytes that were given and are not written yet.
    waiting: AtomicU64,
    wants_room: AtomicBool,
    files: AtomicU64,
    bytes: AtomicU64,
    files_here: AtomicU64,
    bytes_here: AtomicU64,
    /// Something is in the folder for what is unfinished.
    pub(super) has_staged: AtomicBool,
    /// Nobody is interested any more.
    pub(super) is_abandoned: AtomicBool,
}

/// What is to be fetched.
pub(super) struct Wanted {
    pub(super) tree: Arc<Tree>,
    /// Numbers of contents.
    pub(super) contents: Vec<u32>,
}

impl Shared {
    pub(super) fn new(wake: impl Fn() + Send + Sync + 'static) -> Shared {
        Shared {
            wake: Box::new(wake),
            wanted: OnceLock::new(),
            waiting: AtomicU64::new(0),
            wants_room: AtomicBool::new(false),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            files_here: AtomicU64::new(0),
            bytes_here: AtomicU64::new(0),
            has_staged: AtomicBool::new(false),
            is_abandoned: AtomicBool::new(false),
        }
    }

    /// There is something for the thread of the network.
    pub(super) fn wake(&self) {
        (self.wake)();
    }

    /// Whether more may be given.
    pub(super) fn has_room(&self) -> bool {
        let has_room = || self.waiting.load(Ordering::SeqCst) < MOST_WAITING;
        if has_room() {
            return true;
        }
        self.wants_room.store(true, Ordering::SeqCst);
        // It may just have been made.
        has_room()
    }

    /// So many bytes were given.
    pub(super) fn on_given(&self, bytes: usize) {
        self.waiting.fetch_add(bytes as u64 + PER_FILE, Ordering::SeqCst);
    }

    /// They are written.
    pub(super) fn on_written(&self, bytes: usize) {
        let bytes = bytes as u64 + PER_FILE;
        let before = self.waiting.fetch_sub(bytes, Ordering::SeqCst);
        if before.saturating_sub(bytes) < MOST_WAITING / 2 && self.wants_room.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// A file is in the list.
    pub(super) fn count_file(&self, length: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(length, Ordering::Relaxed);
    }

    /// Its content is here.
    pub(super) fn count_here(&self, length: u64) {
        self.files_here.fetch_add(1, Ordering::Relaxed);
        self.bytes_here.fetch_add(length, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            files: load(&self.files),
            bytes: load(&self.bytes),
            files_here: load(&self.files_here),
            bytes_here: load(&self.bytes_here),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn who_found_no_room_is_woken_when_there_is_some_and_others_are_not() {
        let woken = Arc::new(AtomicU64::new(0));
        let count = woken.clone();
        let shared = Shared::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let part = (MOST_WAITING / 8) as usize;
        (0..4).for_each(|_| shared.on_given(part));
        assert!(shared.has_room());
        (0..4).for_each(|_| shared.on_written(part));
        assert_eq!(woken.load(Ordering::SeqCst), 0, "nobody waits");
        (0..8).for_each(|_| shared.on_given(part));
        assert!(!shared.has_room());
        (0..8).for_each(|_| shared.on_written(part));
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        assert!(shared.has_room());
    }
}
