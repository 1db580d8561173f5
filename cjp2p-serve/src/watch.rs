//! Noticing changes below the shared folders, and of what the arguments name, by inotify.
//!
//! Folders are watched one by one as the walk enters them, so hidden folders cost nothing and the watch is there before
//! the folder is listed. What is only read is not reported: serving a file is no change. Where an argument leads is decided by every
//! name in its path, and in the links on the way: each is watched in the folder that it is in.

mod known;
mod way;

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
pub use way::way_to;

use known::Known;

use crate::mounts::Mounts;

/// What changes a folder that is shared.
const FOLDER: WatchFlags = NAME.union(OF_FILE).union(WatchFlags::EXCL_UNLINK);

/// What changes a file.
const OF_FILE: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

/// What changes what a name in a folder stands for.
const NAME: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Something is new, different or gone at a path.
    Touched {
        /// The number of the argument it is below.
        source: u32,
        /// The path from the argument's folder.
        relative: PathBuf,
        /// Whether its writer has just closed it or moved it into place.
        finished: bool,
    },
    /// The path of an argument may lead elsewhere.
    Named {
        /// The number of the argument.
        source: u32,
    },
    /// Something was mounted or unmounted, somewhere.
    Mounted,
    /// Too much happened at once: only a look at everything tells.
    Missed,
    /// Watching does not work any more.
    Ended,
}

/// Watches folders until dropped.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inotify: OwnedFd,
    mounts: Option<Mounts>,
    known: Mutex<Known>,
    stop: EventFd,
}

impl Watch {
    /// Starts watching nothing but `mounts`. `tell` is called on a thread of its own.
    ///
    /// # Errors
    ///
    /// The kernel has no inotify, or no more of it for this user; or there is no `/proc`.
    pub fn start(mounts: Option<Mounts>, tell: impl Fn(Notice) + Send + 'static) -> io::Result<Watch> {
        // Folders are watched by their handles, which have names only there.
        rustix::fs::access("/proc/self/fd", rustix::fs::Access::EXISTS)?;
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?;
        let shared = Arc::new(Shared { inotify, mounts, known: Mutex::default(), stop });
        let theirs = shared.clone();
        thread::Builder::new().name("watch".into()).spawn(move || theirs.read_all(&tell))?;
        Ok(Watch { shared })
    }

    /// Watches a folder that is open, known as `relative` to the argument `source`. Watching it again changes only how it is known.
    ///
    /// # Errors
    ///
    /// It cannot be read, or the limit of watches (`fs.inotify.max_user_watches`) is reached.
    pub fn add(&self, source: u32, relative: &Path, opened: BorrowedFd<'_>) -> io::Result<()> {
        // The handle itself, whatever its path has become. The dot makes it the folder, where links at the end are not followed.
        let path = format!("/proc/self/fd/{}/.", opened.as_raw_fd());
        self.watch(Path::new(&path), FOLDER, |known, watch| known.put_below(watch, source, relative))
    }

    /// Watches the file at `path`, known as `relative` to the folder that the argument `source` is in.
    ///
    /// # Errors
    ///
    /// As for folders.
    pub fn add_file(&self, source: u32, relative: &Path, path: &Path) -> io::Result<()> {
        self.watch(path, OF_FILE, |known, watch| known.put_below(watch, source, relative))
    }

    /// Watches what `name` in the folder at `path` stands for, which is on the way to the argument `source`.
    ///
    /// # Errors
    ///
    /// As for folders.
    pub fn add_name(&self, source: u32, path: &Path, name: &OsStr) -> io::Result<()> {
        self.watch(path, NAME, |known, watch| known.put_name(watch, source, name))
    }

    fn watch(&self, path: &Path, flags: WatchFlags, note: impl FnOnce(&mut Known, i32)) -> io::Result<()> {
        let flags = flags | WatchFlags::DONT_FOLLOW | WatchFlags::MASK_ADD;
        // Held meanwhile, so that no event of the new watch is read before it is known what it is for.
        let mut known = self.shared.known();
        let watch = inotify::add_watch(&self.shared.inotify, path, flags)?;
        note(&mut known, watch);
        Ok(())
    }

    /// All of an argument is about to be looked through, and watched again.
    pub fn begin_round(&self) {
        let mut known = self.shared.known();
        known.round = known.round.wrapping_add(1);
    }

    /// All of this argument was looked through: for its sake, what that did not come to is watched no longer.
    pub fn end_round(&self, source: u32) {
        for watch in self.shared.known().forget_stale(source) {
            // It fails where the folder is gone, and the watch with it.
            let _ = inotify::remove_watch(&self.shared.inotify, watch);
        }
    }
}

/// What watching failed for, with the name of the limit that was reached, if one was.
pub fn reason(error: &io::Error) -> String {
    let limit = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC) => "fs.inotify.max_user_watches is reached",
        Some(Errno::MFILE) => "fs.inotify.max_user_instances is reached, or the limit of open files",
        _ => return error.to_string(),
    };
    format!("{limit}: {error}")
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It cannot fail: nothing else was written.
        let _ = self.shared.stop.write(1);
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_all(&self, tell: &dyn Fn(Notice)) {
        let ended = |error: &dyn std::fmt::Display| {
            log::warn!("watching for changes has ended: {error}");
            tell(Notice::Ended);
        };
        let mut buffer = [MaybeUninit::uninit(); 1 << 16];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    for notice in self.notices(event.wd(), event.events(), name) {
                        tell(notice);
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => match self.wait() {
                    Ok(Woken::Stopped) => return,
                    Ok(Woken::Mounted) => tell(Notice::Mounted),
                    Ok(Woken::Changed) => {}
                    Err(error) => return ended(&error),
                },
                Err(error) => return ended(&error),
            }
        }
    }

    fn wait(&self) -> io::Result<Woken> {
        let mut handles = vec![
            PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN),
        ];
        handles.extend(self.mounts.iter().map(|mounts| PollFd::new(mounts.as_fd(), PollFlags::POLLPRI)));
        match poll(&mut handles, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => return Ok(Woken::Changed),
            result => result?,
        };
        let is_ready = |nth: usize| handles.get(nth).is_some_and(|handle| handle.any() != Some(false));
        Ok(match (is_ready(0), is_ready(2)) {
            (true, _) => Woken::Stopped,
            (_, true) => Woken::Mounted,
            _ => Woken::Changed,
        })
    }

    fn notices(&self, watch: i32, flags: ReadFlags, name: Option<&OsStr>) -> Vec<Notice> {
        if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            return vec![Notice::Missed];
        }
        let mut known = self.known();
        if flags.contains(ReadFlags::IGNORED) {
            known.forget(watch);
            return Vec::new();
        }
        let Some(watched) = known.watches.get(&watch) else {
            return Vec::new();
        };
        let finished = flags.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO);
        let below = watched.below.iter().map(|(source, folder)| {
            let relative = name.map_or(folder.clone(), |name| folder.join(name));
            Notice::Touched { source: *source, relative, finished }
        });
        // What only changes the content of something with that name does not change what it stands for.
        let is_entry = flags
            .intersects(ReadFlags::CREATE | ReadFlags::DELETE | ReadFlags::MOVED_FROM | ReadFlags::MOVED_TO);
        // Without a name: the folder itself is not where it was.
        let is_moved = flags.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT);
        let named: Vec<u32> = match name {
            Some(name) if is_entry => watched.names.get(name).cloned().unwrap_or_default(),
            None if is_moved => watched.names.values().flatten().copied().collect(),
            _ => Vec::new(),
        };
        let named = named.into_iter().map(|source| Notice::Named { source });
        below.chain(named).collect()
    }
}

/// What ended a wait.
enum Woken {
    Stopped,
    Mounted,
    Changed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::mpsc::{self, Receiver};
    use std::time::Duration;

    fn watch() -> (Watch, Receiver<Notice>) {
        let (tell, notices) = mpsc::channel();
        let watch = Watch::start(None, move |notice| {
            let _ = tell.send(notice);
        });
        (watch.unwrap(), notices)
    }

    fn add(watch: &Watch, relative: &str, path: &Path) -> io::Result<()> {
        watch.add(3, Path::new(relative), fs::File::open(path)?.as_fd())
    }

    /// Waits for a notice about `path`.
    fn expect(notices: &Receiver<Notice>, path: &str, done: bool) {
        loop {
            match notices.recv_timeout(Duration::from_secs(20)).expect("no notice") {
                Notice::Touched { source: 3, relative, finished }
                    if relative == Path::new(path) && finished == done =>
                {
                    return;
                }
                _ => {}
            }
        }
    }

    #[test]
    fn every_kind_of_change_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (watch, notices) = watch();
        add(&watch, "in/here", folder.path()).unwrap();
        let path = |name| folder.path().join(name);
        fs::write(path("a"), "1").unwrap();
        expect(&notices, "in/here/a", false);
        expect(&notices, "in/here/a", true);
        fs::rename(path("a"), path("b")).unwrap();
        expect(&notices, "in/here/a", false);
        expect(&notices, "in/here/b", true);
        fs::File::options().write(true).open(path("b")).unwrap().set_len(0).unwrap();
        expect(&notices, "in/here/b", false);
        fs::remove_file(path("b")).unwrap();
        expect(&notices, "in/here/b", false);
        fs::create_dir(path("c")).unwrap();
        expect(&notices, "in/here/c", false);
        fs::remove_dir_all(folder.path()).unwrap();
        expect(&notices, "in/here", false);
    }

    #[test]
    fn reading_a_file_is_not_noticed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "1").unwrap();
        let (watch, notices) = watch();
        add(&watch, "", folder.path()).unwrap();
        fs::read(folder.path().join("a")).unwrap();
        fs::read_dir(folder.path()).unwrap().count();
        fs::write(folder.path().join("b"), "1").unwrap();
        let first = notices.recv_timeout(Duration::from_secs(20)).unwrap();
        let Notice::Touched { relative, .. } = first else { panic!("{first:?}") };
        assert_eq!(relative, Path::new("b"));
    }

    #[test]
    fn a_folder_moved_within_the_share_is_known_by_its_new_path() {
        let folder = tempfile::tempdir().unwrap();
        let (watch, notices) = watch();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        fs::create_dir(&old).unwrap();
        add(&watch, "old", &old).unwrap();
        fs::rename(&old, &new).unwrap();
        add(&watch, "new", &new).unwrap();
        fs::write(new.join("a"), "1").unwrap();
        expect(&notices, "new/a", true);
    }

    #[test]
    fn when_the_kernel_has_dropped_events_that_is_told() {
        let (watch, _notices) = watch();
        let notices = |watch: &Watch, number, flags| watch.shared.notices(number, flags, None);
        assert_eq!(notices(&watch, -1, ReadFlags::QUEUE_OVERFLOW), [Notice::Missed]);
        assert_eq!(notices(&watch, 1, ReadFlags::CREATE), []);
    }

    #[test]
    fn what_is_no_folder_cannot_be_watched() {
        let folder = tempfile::tempdir().unwrap();
        let (watch, _notices) = watch();
        fs::write(folder.path().join("a"), "1").unwrap();
        assert!(add(&watch, "a", &folder.path().join("a")).is_err());
        assert!(watch.add_file(3, Path::new("b"), &folder.path().join("b")).is_err());
        assert!(watch.add_name(3, &folder.path().join("a"), OsStr::new("c")).is_err());
    }

    #[test]
    fn the_thread_ends_with_the_watch() {
        let folder = tempfile::tempdir().unwrap();
        let (watch, notices) = watch();
        add(&watch, "", folder.path()).unwrap();
        drop(watch);
        let end = notices.recv_timeout(Duration::from_secs(20));
        assert_eq!(end, Err(mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn one_folder_can_be_watched_for_names_of_two_arguments_and_for_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let (watch, notices) = watch();
        watch.add_name(1, folder.path(), OsStr::new("a")).unwrap();
        add(&watch, "in", folder.path()).unwrap();
        watch.add_name(2, folder.path(), OsStr::new("b")).unwrap();
        fs::write(folder.path().join("b"), "").unwrap();
        fs::write(folder.path().join("a"), "").unwrap();
        let (mut named, mut touched) = (Vec::new(), 0);
        while named.len() < 2 || touched < 4 {
            match notices.recv_timeout(Duration::from_secs(20)).expect("no notice") {
                Notice::Named { source } => named.push(source),
                Notice::Touched { source: 3, .. } => touched += 1,
                notice => panic!("{notice:?}"),
            }
        }
        assert_eq!(named, [2, 1]);
    }

    #[test]
    fn what_a_look_at_everything_no_longer_comes_to_is_watched_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let (watch, notices) = watch();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        for path in [&old, &new] {
            fs::create_dir(path).unwrap();
            add(&watch, "share", path).unwrap();
        }
        watch.begin_round();
        add(&watch, "share", &new).unwrap();
        watch.end_round(3);
        assert_eq!(watch.shared.known().watches.len(), 1);
        fs::write(old.join("a"), "").unwrap();
        fs::write(new.join("b"), "").unwrap();
        let notice = notices.recv_timeout(Duration::from_secs(20)).unwrap();
        let relative = PathBuf::from("share/b");
        assert_eq!(notice, Notice::Touched { source: 3, relative, finished: false });
    }
}
