//! The folder in which the tools remember things between runs: finding it, replacing its files whole, and locks.

use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::tool::names::shown;

/// The state folder, which exists.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Finds the folder, and makes it, for this user only, where it is missing.
    ///
    /// `flag` is what the command line says; else it is `CJP2P_STATE_DIR`, else `$XDG_STATE_HOME/cjp2p`, else
    /// `~/.local/state/cjp2p`. An empty variable counts as unset.
    ///
    /// # Errors
    ///
    /// Where there is no home either, or the folder cannot be made. The message names the folder.
    pub fn open(flag: Option<&Path>) -> io::Result<StateDir> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let home = env::home_dir().filter(|home| !home.as_os_str().is_empty());
        let path = locate(flag, set("CJP2P_STATE_DIR"), set("XDG_STATE_HOME"), home)
            .ok_or_else(|| io::Error::other("no home folder: name one with --state or CJP2P_STATE_DIR"))?;
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|error| about(&path, error))?;
        Ok(StateDir { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

fn locate(
    flag: Option<&Path>,
    own_variable: Option<OsString>,
    xdg_state_home: Option<OsString>,
    home: Option<PathBuf>,
) -> Option<PathBuf> {
    if let Some(path) = flag {
        return Some(path.to_owned());
    }
    if let Some(path) = own_variable {
        return Some(path.into());
    }
    // The XDG specification has relative paths ignored.
    let xdg = xdg_state_home.map(PathBuf::from).filter(|path| path.is_absolute());
    let states = xdg.or_else(|| home.map(|home| home.join(".local/state")))?;
    Some(states.join("cjp2p"))
}

/// Replaces the file at `path` by one with these bytes, for this user only. Whatever happens, a crash of the machine
/// included, the file holds afterwards all of the old bytes or all of the new.
///
/// The new bytes are written to `.NAME.tmp` beside it first; one left by a killed process is used again.
///
/// # Errors
///
/// Where writing fails: the old file is then unchanged. Only if the folder cannot be brought to the disk is the new one
/// there already, and the message says so.
pub fn atomic_replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, File::sync_all)?;
    // Without this the rename itself may be lost with the power.
    sync_folder(folder_of(path)).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("{error}; {} is written, but may not be on the disk", shown(path)),
        )
    })
}

/// The same for what can be told from damaged bytes when it is read: nothing is forced to the disk, which takes a while. So a
/// crash of the machine may leave a damaged file; a killed process does not.
///
/// # Errors
///
/// Where writing fails: the old file is then unchanged.
pub fn replace_lightly(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, |_| Ok(()))
}

fn replace(path: &Path, bytes: &[u8], bring_to_disk: fn(&File) -> io::Result<()>) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".tmp");
    let temporary = folder_of(path).join(temporary);
    let mut file = lock_temporary(&temporary)?;
    let written = file
        .set_len(0)
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| bring_to_disk(&file))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        // What is left there is no harm, only untidy.
        let _ = fs::remove_file(&temporary);
        about(path, error)
    })
}

/// Brings the names in a folder to the disk: until then a file may lose a name that it was given, with the power.
///
/// # Errors
///
/// What the disk says, with the folder's name. Where the file system cannot do this, or we may not list the folder, there is
/// nothing to be done, and that is no error.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(())
        }
        result => result.map_err(|error| about(folder, error)),
    }
}

/// The folder in which `path` is.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Opens the temporary file so that nobody else writes it at the same time.
fn lock_temporary(path: &Path) -> io::Result<File> {
    loop {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| about(path, error))?;
        file.lock().map_err(|error| about(path, error))?;
        // Whoever held the lock before us has probably renamed or removed the file that we opened.
        let ours = file.metadata().map_err(|error| about(path, error))?;
        match fs::symlink_metadata(path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => return Ok(file),
            _ => continue,
        }
    }
}

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
    /// # Errors
    ///
    /// As [`FileLock::acquire`], and `TimedOut` after the limit.
    pub fn acquire_within(path: &Path, limit: Duration) -> io::Result<FileLock> {
        let start = Instant::now();
        loop {
            if let Some(lock) = FileLock::try_acquire(path)? {
                return Ok(lock);
            }
            if start.elapsed() >= limit {
                let error = io::Error::new(io::ErrorKind::TimedOut, "another process holds the lock");
                return Err(about(path, error));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| about(path, error))
}

/// An error that says which file it is about.
pub fn about(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", shown(path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_flag_goes_before_the_variables_and_those_before_the_home() {
        let some = |text: &str| Some(OsString::from(text));
        let home = || Some(PathBuf::from("/home/me"));
        let all = locate(Some(Path::new("flag")), some("own"), some("/xdg"), home());
        assert_eq!(all, Some("flag".into()));
        assert_eq!(locate(None, some("own"), some("/xdg"), home()), Some("own".into()));
        assert_eq!(locate(None, None, some("/xdg"), home()), Some("/xdg/cjp2p".into()));
        let relative = locate(None, None, some("xdg"), home());
        assert_eq!(relative, Some("/home/me/.local/state/cjp2p".into()));
        assert_eq!(locate(None, None, None, None), None);
    }

    #[test]
    fn the_folder_is_made_for_its_user_only() {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(&parent.path().join("a/b"))).unwrap();
        assert_eq!(fs::metadata(state.path()).unwrap().permissions().mode() & 0o777, 0o700);
        StateDir::open(Some(state.path())).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        let message = StateDir::open(Some(&file.join("state"))).unwrap_err().to_string();
        assert!(message.contains("file/state: "), "{message}");
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_stays_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.json");
        fs::write(folder.path().join(".table.json.tmp"), "left by a killed process, and longer").unwrap();
        atomic_replace(&path, b"one").unwrap();
        atomic_replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.json");
        // A folder of the file's name: the rename at the very end fails.
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "kept").unwrap();
        assert!(atomic_replace(&path, b"new").is_err());
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"kept");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn writers_at_once_never_mix_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.json");
        thread::scope(|scope| {
            for writer in 0..4u8 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..20 {
                        atomic_replace(path, &vec![writer; 10_000 + usize::from(writer)]).unwrap();
                        let read = fs::read(path).unwrap();
                        assert!(read.iter().all(|byte| *byte == read[0]));
                        assert_eq!(read.len(), 10_000 + usize::from(read[0]));
                    }
                });
            }
        });
    }

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
