//! Publishing folders: a thread that makes the list of each shared folder once that has settled, and again whenever it changed.
//!
//! It keeps nothing about files: it walks a folder in the order of its list and finds the hash of each file in the index. Where one is
//! not hashed yet, or is not what it was when it was hashed, the folder has not settled, and the walk was for nothing. The lists
//! themselves are [kept on disk](lists).

mod entries;
mod free;
pub mod lists;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cjp2p_io::names;
use cjp2p_wire::folder::{BuildError, Builder};

use crate::cover::Cover;
use crate::events::{Event, Published, Told};
use crate::index::Index;
use crate::place::Source;
use crate::walk::Rules;
use entries::{Folder, Stopped, entries};
use lists::{Held, Lists};

/// A list is made again not before so many times as long as it took to make the last one: it must not keep a core busy.
const REST: u32 = 4;
/// The longest such rest.
const LONGEST_REST: Duration = Duration::from_secs(600);
/// How much less its thread wants than others (`nice`): hashing wants as little.
const NICE: i32 = 10;
/// While the keeper is busy for so long, it is seen whether that is about a folder at all.
const BUSY: Duration = Duration::from_secs(60);
/// A folder that changes all the time for so long is said to do so. To copy a large folder may take a while.
const RESTLESS: Duration = Duration::from_secs(600);
/// How soon a folder that had not settled is looked at again, if nothing happens in it meanwhile.
const RETRY: Duration = Duration::from_secs(30);

/// What the publisher works with.
pub struct Publishing {
    /// The arguments of the command line.
    pub sources: Vec<Arc<Source>>,
    /// What is passed over.
    pub rules: Rules,
    /// Whether times are part of the lists.
    pub times: bool,
    /// How long a folder must be quiet before its list is made.
    pub settle: Duration,
    /// Where the hashes of files are.
    pub index: Arc<Mutex<Index>>,
    /// Where the lists go.
    pub lists: Arc<Lists>,
    /// Gets the events.
    pub told: Told,
}

/// Tells the publisher what happens. It ends when this is dropped.
pub struct Publisher {
    shared: Arc<Shared>,
    settle: Duration,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// By the number of the argument.
    sources: Vec<Arc<Source>>,
    /// When the list of each is to be made next.
    due: Vec<Option<Instant>>,
    /// Since when each has not been quiet for long enough, and whether anybody was told that it never is.
    changing: Vec<Option<(Instant, bool)>>,
    /// What each is related to: itself, and those that it lies in or that lie in it.
    related: Vec<Vec<usize>>,
    /// Since when the keeper has had something to do.
    busy_since: Option<Instant>,
    /// Everything that was there at the start is hashed. Until then that takes as long as it takes, and nobody is told.
    is_ready: bool,
    is_over: bool,
}

impl Publisher {
    /// Starts the thread. Without a place for lists there is none, and nothing is published.
    ///
    /// # Errors
    ///
    /// The system has no room for another thread.
    pub fn start(publishing: Publishing) -> io::Result<Publisher> {
        let sources = publishing.sources.clone();
        let state = State {
            due: vec![None; sources.len()],
            changing: vec![None; sources.len()],
            related: related(&sources),
            sources,
            busy_since: Some(Instant::now()),
            is_ready: false,
            is_over: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let settle = publishing.settle;
        if publishing.lists.is_open() {
            let work = Work {
                folders: publishing.sources.iter().map(|_| Known::default()).collect(),
                publishing,
                shared: shared.clone(),
            };
            thread::Builder::new().name("publisher".into()).spawn(move || work.run())?;
        }
        Ok(Publisher { shared, settle })
    }

    /// Something happened in an argument.
    pub fn touched(&self, source: u32) {
        let at = Instant::now() + self.settle;
        let mut state = self.shared.state();
        let mut is_news = false;
        for number in state.related.get(source as usize).cloned().unwrap_or_default() {
            if state.sources[number].only.is_none() {
                is_news |= state.due[number].replace(at).is_none();
                state.changing[number].get_or_insert((at, false));
            }
        }
        drop(state);
        if is_news {
            self.shared.changed.notify_all();
        }
    }

    /// An argument names something else now.
    pub fn replaced(&self, source: Arc<Source>) {
        let mut state = self.shared.state();
        let number = source.number as usize;
        if let Some(place) = state.sources.get_mut(number) {
            *place = source;
            state.related = related(&state.sources);
        }
    }

    /// Everything that was there at the start is hashed, but for what never rests.
    pub fn set_ready(&self) {
        let now = Instant::now();
        let mut state = self.shared.state();
        state.is_ready = true;
        for (since, _) in state.changing.iter_mut().flatten() {
            *since = now;
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Whether there is anything that may still change what is shared.
    pub fn set_busy(&self, is_busy: bool) {
        let mut state = self.shared.state();
        if is_busy == state.busy_since.is_some() {
            return;
        }
        state.busy_since = is_busy.then(Instant::now);
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shared.state().is_over = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.state().is_over
    }

    /// Waits for the next folder of which a list is to be made, or that has been changing for longer than `restless`. `None` at the
    /// end.
    fn next(&self, restless: Duration) -> Option<Next> {
        let mut state = self.state();
        loop {
            if state.is_over {
                return None;
            }
            let now = Instant::now();
            let mut untold = None;
            let is_ready = state.is_ready;
            for (number, changing) in (0..).zip(&mut state.changing) {
                if let Some((since, is_told @ false)) = changing
                    && is_ready
                {
                    if *since + restless <= now {
                        *is_told = true;
                        return Some(Next::Restless(number));
                    }
                    untold = untold.into_iter().chain([*since + restless]).min();
                }
            }
            let first = (0..).zip(&state.due).filter_map(|(number, due)| Some(((*due)?, number))).min();
            let at = first.map(|(at, _)| at.max(state.busy_since.map_or(at, |since| since + BUSY)));
            state = match (at, first) {
                (Some(at), Some((_, number))) if at <= now => {
                    (state.due[number], state.changing[number]) = (None, None);
                    return Some(Next::Folder(number));
                }
                (Some(at), _) => {
                    let at = untold.map_or(at, |untold| at.min(untold));
                    let waited = self.changed.wait_timeout(state, at - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                (None, _) => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Has a folder looked at again, if nothing happens in it before.
    fn look_again(&self, number: usize, after: Duration) {
        self.state().due[number].get_or_insert(Instant::now() + after);
    }

    /// Waits, unless all is about to end.
    fn rest(&self, time: Duration) {
        let end = Instant::now() + time;
        let mut state = self.state();
        while !state.is_over
            && let Some(left) = end.checked_duration_since(Instant::now())
        {
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// What the publisher does next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Make the list of this folder.
    Folder(usize),
    /// Say that this one keeps changing.
    Restless(usize),
}

fn related(sources: &[Arc<Source>]) -> Vec<Vec<usize>> {
    let paths: Vec<PathBuf> = sources.iter().map(|source| source.path()).collect();
    let is_related = |one: &PathBuf, other: &PathBuf| one.starts_with(other) || other.starts_with(one);
    let of = |one: &PathBuf| (0..paths.len()).filter(|other| is_related(one, &paths[*other])).collect();
    paths.iter().map(of).collect()
}

/// What is known of a folder.
#[derive(Default)]
struct Known {
    held: Held,
    /// Since when it could not be published.
    unsettled_since: Option<Instant>,
    /// Whether anybody was told so.
    is_told: bool,
}

struct Work {
    publishing: Publishing,
    shared: Arc<Shared>,
    folders: Vec<Known>,
}

impl Work {
    fn run(mut self) {
        // Of this thread alone, on Linux. Where it may not be, nothing is lost but a little of the others' speed.
        let _ = rustix::process::setpriority_process(None, NICE);
        while let Some(next) = self.shared.next(RESTLESS) {
            let number = match next {
                Next::Folder(number) => number,
                Next::Restless(number) => {
                    let folder = names::shown(&self.shared.state().sources[number].shown);
                    log::warn!("{folder}: its list is not published, as something in it keeps changing");
                    continue;
                }
            };
            let start = Instant::now();
            self.publish(number);
            self.publishing.lists.sweep(Instant::now());
            self.publishing.told.flush();
            let rest = (start.elapsed() * REST).min(LONGEST_REST);
            if rest > self.publishing.settle {
                self.shared.rest(rest - self.publishing.settle);
            }
        }
    }

    fn publish(&mut self, number: usize) {
        match self.make(number) {
            Ok(published) => {
                let known = &mut self.folders[number];
                (known.unsettled_since, known.is_told) = (None, false);
                if let Some(published) = published {
                    self.publishing.told.tell(Event::Published(Arc::new(published)));
                }
            }
            Err(Stopped::Ending) => {}
            Err(stopped) => self.take_failure(number, stopped),
        }
    }

    /// Makes the list of a folder. `None` where it is the one that was published last, or the folder changed meanwhile.
    fn make(&mut self, number: usize) -> Result<Option<Published>, Stopped> {
        let Publishing { rules, times, index, lists, .. } = &self.publishing;
        let (source, cover) = {
            let state = self.shared.state();
            (state.sources[number].clone(), Cover::of(state.sources.iter().map(Arc::as_ref)))
        };
        let (known_by, below) = cover.found_at(source.number, *rules);
        let folder = Folder { source: &source, rules: *rules, times: *times, index, known_by, below: &below };
        let mut draft = lists.draft();
        let mut builder = Builder::new(|text: &[u8]| draft.put(text));
        let totals = entries(&folder, &|| self.shared.is_over(), &mut |entry| {
            builder.push(entry).map_err(|error| match error {
                BuildError::Sink(error) => Stopped::Failed("state folder".into(), error),
                error => Stopped::Failed(source.named.clone(), io::Error::other(error.to_string())),
            })
        })?;
        let list = builder
            .finish()
            .map_err(|error| Stopped::Failed("state folder".into(), io::Error::other(error.to_string())))?;
        // What happened since then is in the list or not, nobody knows.
        if self.shared.state().due[number].is_some() {
            return Ok(None);
        }
        let held = &mut self.folders[number].held;
        let replaced = held.list();
        let sha256 = lists.hold(held, list, draft);
        if replaced == Some(list) {
            return Ok(None);
        }
        Ok(Some(Published { source, list, sha256, replaced, totals, known_by, below }))
    }

    fn take_failure(&mut self, number: usize, stopped: Stopped) {
        self.shared.look_again(number, RETRY);
        let known = &mut self.folders[number];
        if !self.shared.state().is_ready {
            known.unsettled_since = None;
        }
        let since = *known.unsettled_since.get_or_insert_with(Instant::now);
        let shown = |path: &PathBuf| names::shown(path);
        let folder = shown(&self.shared.state().sources[number].shown);
        match &stopped {
            // The keeper says so.
            Stopped::Gone => self.publishing.lists.release(&mut known.held),
            _ if known.is_told => {}
            Stopped::Unsettled(path) if since.elapsed() < BUSY => {
                log::debug!("{folder}: not published yet, as {} is not hashed", shown(path));
            }
            Stopped::Unsettled(path) => {
                known.is_told = true;
                let path = shown(path);
                log::warn!("{folder}: its list is not published, as {path} changes or cannot be read");
            }
            Stopped::Failed(path, error) => {
                known.is_told = true;
                log::warn!("{folder}: its list is not published: {}: {error}", shown(path));
            }
            Stopped::Ending => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publisher(sources: Vec<Arc<Source>>, settle: Duration) -> Publisher {
        let state = State {
            due: vec![None; sources.len()],
            changing: vec![None; sources.len()],
            related: related(&sources),
            sources,
            busy_since: None,
            is_ready: true,
            is_over: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        Publisher { shared, settle }
    }

    #[test]
    fn a_folder_that_never_rests_is_told_of_once_and_made_when_it_does() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let open = |number, path| Arc::new(Source::open(number, path).unwrap());
        let sources = vec![open(0, folder.path()), open(1, &folder.path().join("file"))];
        let settle = Duration::from_millis(200);
        let publisher = publisher(sources, settle);
        let shared = publisher.shared.clone();
        let toucher = thread::spawn(move || {
            let end = Instant::now() + 10 * settle;
            while Instant::now() < end {
                // A file among the arguments is no folder, but lies in one.
                publisher.touched(1);
                thread::sleep(settle / 20);
            }
            publisher
        });
        let start = Instant::now();
        assert_eq!(shared.next(3 * settle), Some(Next::Restless(0)));
        assert!((3 * settle..10 * settle).contains(&start.elapsed()), "{:?}", start.elapsed());
        assert_eq!(shared.next(3 * settle), Some(Next::Folder(0)));
        assert!(start.elapsed() >= 10 * settle);
        drop(toucher.join().unwrap());
        assert_eq!(shared.next(3 * settle), None);
    }

    #[test]
    fn nothing_is_made_while_the_keeper_is_busy() {
        let folder = tempfile::tempdir().unwrap();
        let source = Arc::new(Source::open(0, folder.path()).unwrap());
        let publisher = publisher(vec![source], Duration::ZERO);
        publisher.set_busy(true);
        publisher.touched(0);
        let shared = publisher.shared.clone();
        let (sender, made) = std::sync::mpsc::channel();
        let waiter = thread::spawn(move || sender.send(shared.next(RESTLESS)).unwrap());
        assert!(made.recv_timeout(Duration::from_millis(300)).is_err());
        publisher.set_busy(false);
        assert_eq!(made.recv_timeout(Duration::from_secs(20)), Ok(Some(Next::Folder(0))));
        waiter.join().unwrap();
    }
}
