//! A share: folders and files on disk, kept track of by a thread, to be read by their ids.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::events::{Event, Told, Waker};
use crate::hash_store::HashStore;
use crate::hasher::Hashing;
use crate::index::Index;
use crate::keeper::Keeper;
use crate::library::SharedLibrary;
use crate::mounts::Mounts;
use crate::place::Source;
use crate::publish::lists::Lists;
use crate::publish::{Publisher, Publishing};
use crate::readers::Readers;
use crate::task::Task;
use crate::tree_store::TreeStore;
use crate::walk::Rules;

/// Events on the way before the keeper waits.
const EVENTS: usize = 4096;

/// How long to wait at the end for what is to be remembered.
const TIMEOUT_AT_THE_END: Duration = Duration::from_secs(10);

/// What is shared, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is passed over.
    pub rules: Rules,
    /// Whether files can be asked for by their plain names.
    pub names: bool,
    /// How often to look at everything where changes cannot be noticed, and at the arguments themselves in any case.
    pub poll_every: Duration,
    /// Whether times are part of the lists of folders.
    pub times: bool,
    /// How long a folder must be quiet before its list is published.
    pub settle: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            rules: Rules::default(),
            names: true,
            poll_every: Duration::from_secs(30),
            times: false,
            settle: Duration::from_secs(2),
        }
    }
}

/// Takes hold of what the arguments name.
///
/// # Errors
///
/// The first argument that is neither a folder nor a file, or cannot be entered, with the reason.
pub fn open_sources(arguments: &[PathBuf]) -> Result<Vec<Arc<Source>>, (PathBuf, io::Error)> {
    let open = |(number, argument): (u32, &PathBuf)| {
        Source::open(number, argument).map(Arc::new).map_err(|error| (argument.clone(), error))
    };
    (0..).zip(arguments).map(open).collect()
}

/// Shared files: [`Share::poll`] says what happens to them. The library that comes with it reads them.
pub struct Share {
    events: Receiver<Event>,
    tasks: Sender<Task>,
    hashing: Arc<Hashing>,
    waker: Waker,
    /// Closed by the keeper when it has ended.
    ended: Receiver<()>,
}

impl Share {
    /// Starts to share `sources`. Ids and trees are remembered in `state_folder`, if there is one, and the lists of folders are there;
    /// without it none is published. With `mounts` it is noticed when
    /// something is mounted or unmounted. `wake` is called from other threads whenever there is reason to call [`Share::poll`].
    ///
    /// # Errors
    ///
    /// The system has no room for another thread.
    pub fn start(
        sources: Vec<Arc<Source>>,
        options: &Options,
        state_folder: Option<&Path>,
        mounts: Option<Mounts>,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> io::Result<(Share, SharedLibrary)> {
        let waker = Waker::new(wake);
        let (event_sender, events) = mpsc::sync_channel(EVENTS);
        let (tasks, task_receiver) = mpsc::channel();
        let (answer_sender, answers) = mpsc::channel();
        let index = Arc::new(Mutex::new(Index::new(options.names)));
        let trees = Arc::new(TreeStore::new(state_folder));
        let hashing = Arc::new(Hashing::default());

        let lists = Arc::new(Lists::open(state_folder));
        let told = Told::new(event_sender, waker.clone());
        let publisher = Publisher::start(Publishing {
            sources: sources.clone(),
            rules: options.rules,
            times: options.times,
            settle: options.settle,
            index: index.clone(),
            lists: lists.clone(),
            told: told.clone(),
        })?;

        let keeper = Keeper {
            sources,
            rules: options.rules,
            poll_every: options.poll_every,
            mounts,
            index: index.clone(),
            hashes: HashStore::new(state_folder),
            trees: trees.clone(),
            hashing: hashing.clone(),
            told,
            publisher,
            tasks: tasks.clone(),
        };
        let (ends, ended) = mpsc::channel::<()>();
        keeper.start(task_receiver, ends)?;
        // After the others: of these threads fewer will do.
        let reader_waker = waker.clone();
        let readers = Readers::start(trees, move |key, answer| {
            // Fails only when nobody reads any more.
            let _ = answer_sender.send((key, answer));
            reader_waker.wake();
        });
        // Without them nothing can be read.
        let readers = readers.inspect_err(|_| drop(tasks.send(Task::Stop)))?;
        let library = SharedLibrary::new(index, lists, tasks.clone(), readers, answers);
        Ok((Share { events, tasks, hashing, waker, ended }, library))
    }

    /// What has happened since, part of it if it is much. After this, reads that were put off may be tried again.
    pub fn poll(&mut self, library: &mut SharedLibrary) -> Vec<Event> {
        self.waker.looking();
        library.collect();
        let events: Vec<Event> = self.events.try_iter().take(EVENTS).collect();
        if events.len() == EVENTS {
            self.waker.wake();
        }
        for event in &events {
            if let Event::Changed { no, .. } | Event::Withdrawn { no, .. } = event {
                library.forget(*no);
            }
        }
        events
    }

    /// The same, but leaves all events for later. Returns none.
    pub fn collect(&mut self, library: &mut SharedLibrary) -> Vec<Event> {
        self.waker.looking();
        library.collect();
        Vec::new()
    }

    /// Looks at everything again, in the background.
    pub fn rescan(&self) {
        // Fails only if the keeper has ended.
        let _ = self.tasks.send(Task::Rescan);
    }

    /// How far hashing is: bytes done, and bytes of all files that were or are to be hashed.
    pub fn hashing(&self) -> (u64, u64) {
        let done = self.hashing.done.load(Ordering::Relaxed);
        (done, self.hashing.total.load(Ordering::Relaxed).max(done))
    }
}

impl Drop for Share {
    /// Waits until all ids that were found are remembered.
    fn drop(&mut self) {
        self.hashing.stop.store(true, Ordering::Relaxed);
        let _ = self.tasks.send(Task::Stop);
        // The keeper must not wait for somebody to take its events.
        let (_, nothing) = mpsc::sync_channel(0);
        self.events = nothing;
        if let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(TIMEOUT_AT_THE_END) {
            log::warn!("what was hashed last is not remembered: the disk is too slow");
        }
    }
}
