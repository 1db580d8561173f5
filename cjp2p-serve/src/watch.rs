//! Noticing changes below the shared folders, by inotify.
//!
//! Folders are watched one by one as the walk enters them, so hidden folders cost nothing and the watch is there before
//! the folder is listed. What is only read is not reported: serving a file is no change.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Something is new, different or gone at a path.
    Touched {
        /// The number of the argument it is below.
        source: u32,
        /// The path from the argument's folder.
        relative: PathBuf,
        /// Whether whoever wrote it has just closed it or moved it into place.
        finished: bool,
    },
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
    /// Which folder each watch is for.
    folders: Mutex<HashMap<i32, (u32, PathBuf)>>,
    stop: AtomicBool,
}

impl Watch {
    /// Starts watching nothing. `tell` is called on a thread of its own.
    ///
    /// # Errors
    ///
    /// The kernel has no inotify, or no more of it for this user.
    pub fn start(tell: impl Fn(Notice) + Send + 'static) -> io::Result<Watch> {
        let inotify = inotify::init(CreateFlags::CLOEXEC)?;
        let shared = Arc::new(Shared { inotify, folders: Mutex::default(), stop: AtomicBool::new(false) });
        let theirs = shared.clone();
        thread::Builder::new().name("watch".into()).spawn(move || theirs.read_all(&tell))?;
        Ok(Watch { shared })
    }

    /// Watches the folder at `path`, known as `relative` to the argument `source`. Watching it again changes only
    /// how it is known.
    ///
    /// # Errors
    ///
    /// It cannot be read, or the limit of watches (`fs.inotify.max_user_watches`) is reached.
    pub fn add(&self, source: u32, relative: &Path, path: &Path) -> io::Result<()> {
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::DONT_FOLLOW
            | WatchFlags::EXCL_UNLINK;
        // Held meanwhile, so that no event of the new watch is read before its folder is known.
        let mut folders = self.shared.folders();
        let watch = inotify::add_watch(&self.shared.inotify, path, flags)?;
        folders.insert(watch, (source, relative.to_path_buf()));
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Taking a watch away is an event: it wakes the thread, which then sees that it is over.
        for watch in self.shared.folders().keys() {
            if inotify::remove_watch(&self.shared.inotify, *watch).is_ok() {
                break;
            }
        }
    }
}

impl Shared {
    fn folders(&self) -> std::sync::MutexGuard<'_, HashMap<i32, (u32, PathBuf)>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_all(&self, tell: &dyn Fn(Notice)) {
        let mut buffer = [MaybeUninit::uninit(); 1 << 16];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(error) => {
                    log::warn!("watching for changes has ended: {error}");
                    return tell(Notice::Ended);
                }
            };
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            if let Some(notice) = self.notice(event.wd(), event.events(), name) {
                tell(notice);
            }
        }
    }

    fn notice(&self, watch: i32, flags: ReadFlags, name: Option<&OsStr>) -> Option<Notice> {
        if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            return Some(Notice::Missed);
        }
        let mut folders = self.folders();
        let (source, folder) = folders.get(&watch)?.clone();
        if flags.contains(ReadFlags::IGNORED) {
            folders.remove(&watch);
            return None;
        }
        let relative = name.map_or(folder.clone(), |name| folder.join(name));
        let finished = flags.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO);
        Some(Notice::Touched { source, relative, finished })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::mpsc::{self, Receiver};
    use std::time::Duration;

    fn watch() -> (Watch, Receiver<Notice>) {
        let (tell, notices) = mpsc::channel();
        let watch = Watch::start(move |notice| {
            let _ = tell.send(notice);
        });
        (watch.unwrap(), notices)
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
        watch.add(3, Path::new("in/here"), folder.path()).unwrap();
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
        watch.add(3, Path::new(""), folder.path()).unwrap();
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
        watch.add(3, Path::new("old"), &old).unwrap();
        fs::rename(&old, &new).unwrap();
        watch.add(3, Path::new("new"), &new).unwrap();
        fs::write(new.join("a"), "1").unwrap();
        expect(&notices, "new/a", true);
    }

    #[test]
    fn when_the_kernel_has_dropped_events_that_is_told() {
        let (watch, _notices) = watch();
        let notice = watch.shared.notice(-1, ReadFlags::QUEUE_OVERFLOW, None);
        assert_eq!(notice, Some(Notice::Missed));
        assert_eq!(watch.shared.notice(1, ReadFlags::CREATE, None), None);
    }

    #[test]
    fn what_is_no_folder_cannot_be_watched() {
        let folder = tempfile::tempdir().unwrap();
        let (watch, _notices) = watch();
        fs::write(folder.path().join("a"), "1").unwrap();
        assert!(watch.add(3, Path::new("a"), &folder.path().join("a")).is_err());
        assert!(watch.add(3, Path::new("b"), &folder.path().join("b")).is_err());
    }

    #[test]
    fn the_thread_ends_with_the_watch() {
        let folder = tempfile::tempdir().unwrap();
        let (watch, notices) = watch();
        watch.add(3, Path::new(""), folder.path()).unwrap();
        drop(watch);
        let end = notices.recv_timeout(Duration::from_secs(20));
        assert_eq!(end, Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
