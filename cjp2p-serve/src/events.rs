//! What happens to the shared files, as the rest of the program is told.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use cjp2p_wire::content_id::Hash;
use cjp2p_wire::folder::ListRef;

use crate::file::{FileNo, FileState, Ids};
use crate::index::Totals;
use crate::place::Source;

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
    /// The list of a folder can be asked for, and all that is in it.
    Published(Arc<Published>),
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

/// A folder that was published.
#[derive(Debug)]
pub struct Published {
    /// The argument.
    pub source: Arc<Source>,
    /// Its list: of the content, and so of the folder, the hash is the id.
    pub list: ListRef,
    /// The SHA-256 hash of that list, by which it can be asked for too.
    pub sha256: Hash,
    /// The list that it had before, if it had one. That can still be asked for, for a while.
    pub replaced: Option<ListRef>,
    /// The files in it.
    pub totals: Totals,
    /// The argument by which the index knows these files, as this one may lie within another.
    pub known_by: u32,
    /// Where below that they are.
    pub below: PathBuf,
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

/// Events are told at least so often while there are any. Waking the other thread for each of many would cost more than
/// the event.
const TELL_EVERY: Duration = Duration::from_millis(10);

/// The way that events go. Has to be [flushed](Told::flush) after the last one.
#[derive(Clone)]
pub struct Told {
    events: SyncSender<Event>,
    waker: Waker,
    /// When the waker was last called.
    woke: Cell<Instant>,
    /// Whether there are events since.
    untold: Cell<bool>,
}

impl Told {
    /// Events go to `events`, and `waker` says that they are there.
    pub fn new(events: SyncSender<Event>, waker: Waker) -> Told {
        Told { events, waker, woke: Cell::new(Instant::now()), untold: Cell::new(false) }
    }

    /// Tells an event, soon. Waits while too many are on the way.
    pub fn tell(&self, event: Event) {
        let result = self.events.try_send(event);
        self.untold.set(true);
        if let Err(TrySendError::Full(event)) = result {
            self.flush();
            // Fails only when nobody is there any more to be told.
            let _ = self.events.send(event);
            self.untold.set(true);
        }
        if self.woke.get().elapsed() >= TELL_EVERY {
            self.flush();
        }
    }

    /// Makes sure that all events so far are looked at.
    pub fn flush(&self) {
        if self.untold.take() {
            self.waker.wake();
            self.woke.set(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    #[test]
    fn many_events_wake_seldom_and_all_are_told() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let (counted, (sender, events)) = (wakes.clone(), mpsc::sync_channel(2_000));
        let waker = Waker::new(Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        }));
        let told = Told::new(sender, waker.clone());
        let start = Instant::now();
        for files in 0..1_000 {
            told.tell(Event::Ready { files, bytes: 0, hashed: 0 });
            waker.looking();
        }
        told.flush();
        let most = start.elapsed().as_millis() / TELL_EVERY.as_millis() + 1;
        assert!((1..=most).contains(&(wakes.load(Ordering::Relaxed) as u128)));
        assert_eq!(events.try_iter().count(), 1_000);
        waker.looking();
        told.flush();
        assert!(wakes.load(Ordering::Relaxed) as u128 <= most, "nothing to tell, but it woke");
    }

    #[test]
    fn a_full_channel_wakes_whoever_has_to_empty_it() {
        let (sender, events) = mpsc::sync_channel(1);
        let (wake, wakes) = mpsc::channel();
        let wake = std::sync::Mutex::new(wake);
        let waker = Waker::new(Arc::new(move || {
            let _ = wake.lock().map(|wake| wake.send(()));
        }));
        let told = Told::new(sender, waker);
        let teller = std::thread::spawn(move || {
            for files in 0..2 {
                told.tell(Event::Ready { files, bytes: 0, hashed: 0 });
            }
        });
        wakes.recv_timeout(Duration::from_secs(20)).expect("nobody was woken");
        assert!(events.recv_timeout(Duration::from_secs(20)).is_ok());
        assert!(events.recv_timeout(Duration::from_secs(20)).is_ok());
        teller.join().unwrap();
    }
}
