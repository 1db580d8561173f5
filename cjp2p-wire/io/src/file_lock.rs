//! Locks that keep two processes from doing the same at once.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

use super::names::shown;
use super::state_dir::{about, knows_no_locks, open_to_write};

/// Holds the lock of a file until dropped, or until the process ends in whatever way.
///
/// The lock file stays behind: were it removed, two processes could hold locks on two files of one name.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes the lock at `path` if nobody holds it; `None` where somebody does.
    ///
    /// # Errors
    ///
    /// Where the lock file cannot be opened, or the file system knows no locks.
    pub fn try_acquire(path: &Path) -> io::Result<Option<FileLock>> {
        let file = open_lock(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(FileLock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(about(path, error)),
        }
    }

    /// Takes the lock at `path`, waiting as long as somebody holds it.
    ///
    /// # Errors
    ///
    /// Where the lock file cannot be opened, or the file system knows no locks.
    pub fn acquire(path: &Path) -> io::Result<FileLock> {
        let file = open_lock(path)?;
        file.lock().map_err(|error| about(path, error))?;
        Ok(FileLock { _file: file })
    }

    /// Takes the lock at `path`, waiting at most `limit`: for short work, where a longer wait means that the holder hangs.
    ///
    /// Where the file system knows no locks, it goes without one, which is told once: files are replaced whole all the same, and
    /// what two tools do at the very same time may be lost.
    ///
    /// # Errors
    ///
    /// Where the lock file cannot be opened, and `TimedOut` after the limit.
    pub fn acquire_within(path: &Path, limit: Duration) -> io::Result<FileLock> {
        let start = Instant::now();
        let mut pause = Duration::from_millis(2);
        loop {
            let file = open_lock(path)?;
            match file.try_lock() {
                Ok(()) => return Ok(FileLock { _file: file }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) if knows_no_locks(&error) => {
                    TOLD_OF_LOCKS.call_once(|| {
                        log::warn!("{}: {error}: other tools are not kept from writing here", shown(path));
                    });
                    return Ok(FileLock { _file: file });
                }
                Err(TryLockError::Error(error)) => return Err(about(path, error)),
            }
            if start.elapsed() >= limit {
                let error = io::Error::new(io::ErrorKind::TimedOut, "another process holds the lock");
                return Err(about(path, error));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    open_to_write(path).map_err(|error| about(path, error))
}

/// That there are no locks is told once, however many there would be.
static TOLD_OF_LOCKS: Once = Once::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_is_not_given_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.lock");
        let held = FileLock::try_acquire(&path).unwrap().unwrap();
        assert!(FileLock::try_acquire(&path).unwrap().is_none());
        let error = FileLock::acquire_within(&path, Duration::from_millis(10)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("job.lock"));
        drop(held);
        FileLock::acquire(&path).unwrap();
    }
}
