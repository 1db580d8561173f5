//! What happens to the shared files, as told to whoever prints it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};

use crate::index::{FileNo, FileState, Ids};

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A file can be asked for.
    Shared {
        /// Its number.
        no: FileNo,
        /// The file.
        file: Arc<FileState>,
        /// Its ids.
        ids: Ids,
    },
    /// A file is not what it was, and is shared no more until it has been hashed again.
    Changed {
        /// The number it had.
        no: FileNo,
        /// The file.
        file: Arc<FileState>,
        /// The ids it had.
        ids: Ids,
    },
    /// A file is gone.
    Withdrawn {
        /// The number it had.
        no: FileNo,
        /// The file.
        file: Arc<FileState>,
        /// The ids it had.
        ids: Ids,
    },
    /// All that was there at the start is shared, except what cannot be read or never rests.
    Ready {
        /// Files shared.
        files: u64,
        /// Their length together.
        bytes: u64,
        /// How many files had to be hashed.
        hashed: u64,
    },
}

/// Wakes the thread that answers requests; called once, however much there is to tell, until that has looked.
#[derive(Clone)]
pub struct Waker {
    wake: Arc<dyn Fn() + Send + Sync>,
    is_awake: Arc<AtomicBool>,
}

impl Waker {
    /// A waker that calls `wake`, from any thread.
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Waker {
        Waker { wake, is_awake: Arc::default() }
    }

    /// There is something to look at.
    pub fn wake(&self) {
        if !self.is_awake.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }

    /// To be called before looking: whatever comes after this wakes again.
    pub fn looking(&self) {
        self.is_awake.store(false, Ordering::Release);
    }
}

/// The way that events go.
#[derive(Clone)]
pub struct Told {
    events: SyncSender<Event>,
    waker: Waker,
}

impl Told {
    /// Events go to `events`, and `waker` says that they are there.
    pub fn new(events: SyncSender<Event>, waker: Waker) -> Told {
        Told { events, waker }
    }

    /// Tells an event. Waits while too many are on the way.
    pub fn tell(&self, event: Event) {
        let result = self.events.try_send(event);
        self.waker.wake();
        if let Err(TrySendError::Full(event)) = result {
            // Fails only when nobody is there any more to be told.
            let _ = self.events.send(event);
            self.waker.wake();
        }
    }
}
