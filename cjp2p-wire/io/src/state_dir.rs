//! The folder in which the tools remember things between runs: finding it, replacing its files whole, and locks.
//!
//! Whatever lies there in the place of a file of ours, a link, a pipe or a folder, is an error that names it: no link is
//! followed to be written, and nothing waits for the other end of a pipe.

use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use rustix::fs::{Access, OFlags};

use crate::names::shown;

/// Temporary files that one file may have at a time: one for each process that writes it just now.
const TEMPORARIES: usize = 16;
/// How often a file is opened anew whose name others take away just then.
const TRIES: usize = 100;
/// Where there are no locks, nobody writes a temporary file that is older.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The state folder, which exists.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
    is_writable: bool,
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
        let (own, xdg) = (env::var_os("CJP2P_STATE_DIR"), env::var_os("XDG_STATE_HOME"));
        let path = locate(flag, own, xdg, env::home_dir())
            .ok_or_else(|| io::Error::other("no home folder: name one with --state or CJP2P_STATE_DIR"))?;
        match DirBuilder::new().recursive(true).mode(0o700).create(&path) {
            // Whatever is said of making one, it is there.
            Err(_) if path.is_dir() => {}
            made => made.map_err(|error| about(&path, error))?,
        }
        let is_writable = rustix::fs::access(&path, Access::WRITE_OK | Access::EXEC_OK).is_ok();
        Ok(StateDir { path, is_writable })
    }

    /// Whether files can be made in it, as far as the system tells beforehand.
    pub fn is_writable(&self) -> bool {
        self.is_writable
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
    if let Some(path) = own_variable.filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    // The XDG specification has relative paths ignored.
    let xdg = xdg_state_home.map(PathBuf::from).filter(|path| path.is_absolute());
    let home = home.filter(|home| !home.as_os_str().is_empty());
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
    replace(path, bytes, 0o600, sync_file)?;
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
    replace(path, bytes, 0o600, |_| Ok(()))
}

/// The same for a file that other users may read, as far as the umask lets them.
///
/// # Errors
///
/// As for [`replace_lightly`].
pub fn replace_for_all(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, 0o644, |_| Ok(()))
}

fn replace(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    bring_to_disk: fn(&File) -> io::Result<()>,
) -> io::Result<()> {
    let (mut file, temporary) = open_temporary(path, mode)?;
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

/// Brings the bytes of a file to the disk.
///
/// # Errors
///
/// What the disk says. Where the file system cannot do this, there is nothing to be done, and that is no error.
pub fn sync_file(file: &File) -> io::Result<()> {
    match file.sync_all() {
        Err(error) if cannot_sync(&error) => Ok(()),
        result => result,
    }
}

/// Whether the file system has no such thing as bringing something to the disk.
fn cannot_sync(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// Brings the names in a folder to the disk: until then a file may lose a name that it was given, with the power.
///
/// # Errors
///
/// What the disk says, with the folder's name. Where the file system cannot do this, or we may not list the folder, there is
/// nothing to be done, and that is no error.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if cannot_sync(&error) || error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
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

/// Opens a temporary file beside `path` that nobody else writes at the same time: `.NAME.tmp`, or where another process has
/// that, `.NAME.1.tmp` and so on. Such names can be foretold, so a killed process leaves one, and the next one uses it again.
fn open_temporary(path: &Path, mode: u32) -> io::Result<(File, PathBuf)> {
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    for number in 0..TEMPORARIES {
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(if number == 0 { ".tmp".into() } else { format!(".{number}.tmp") });
        let temporary = folder_of(path).join(temporary);
        if let Some(file) = take_temporary(&temporary, mode).map_err(|error| about(&temporary, error))? {
            return Ok((file, temporary));
        }
    }
    Err(about(path, io::Error::other(format!("{TEMPORARIES} temporary files of it are in use"))))
}

/// Takes hold of this temporary file; `None` where another process has it. Where there are no locks, the process that made it has it.
fn take_temporary(path: &Path, mode: u32) -> io::Result<Option<File>> {
    take_temporary_by(path, mode, File::try_lock)
}

/// The same where `lock` is what the file system makes of locking.
fn take_temporary_by(
    path: &Path,
    mode: u32,
    mut lock: impl FnMut(&File) -> Result<(), TryLockError>,
) -> io::Result<Option<File>> {
    for _ in 0..TRIES {
        let (file, is_new) = match OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (open_to_write(path)?, false),
            made => (made?, true),
        };
        match lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) if knows_no_locks(&error) => {
                let age = file.metadata()?.modified().ok().and_then(|time| time.elapsed().ok());
                if is_new || age.is_none_or(|age| age < ABANDONED) {
                    return Ok(is_new.then_some(file));
                }
                // Left by a killed process; nobody writes for so long.
                fs::remove_file(path)?;
                continue;
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The process that held the lock before us may have renamed or removed the file that we opened.
        let ours = file.metadata()?;
        match fs::symlink_metadata(path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => return Ok(Some(file)),
            _ => continue,
        }
    }
    Err(io::Error::other("others take it away again and again"))
}

/// Opens a file of ours to write it, and makes it, for this user only, where it is missing.
///
/// # Errors
///
/// Where that is not possible, or something else than a regular file is there.
pub fn open_to_write(path: &Path) -> io::Result<File> {
    open_regular(
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600),
        path,
        OFlags::NOFOLLOW,
    )
}

/// Opens a file of ours to write at its end, and makes it, for this user only, where it is missing.
///
/// # Errors
///
/// As for [`open_to_write`].
pub fn open_to_append(path: &Path) -> io::Result<File> {
    open_regular(OpenOptions::new().append(true).create(true).mode(0o600), path, OFlags::NOFOLLOW)
}

/// Opens a file of ours to read it. Where a link leads to it, that is followed.
///
/// # Errors
///
/// Where that is not possible, or it is not a regular file.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    open_regular(OpenOptions::new().read(true), path, OFlags::empty())
}

fn open_regular(options: &mut OpenOptions, path: &Path, flags: OFlags) -> io::Result<File> {
    // NONBLOCK: a pipe would wait for its other end.
    let flags = (flags | OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let file = options.custom_flags(flags.cast_signed()).open(path).map_err(in_the_place)?;
    match file.metadata().map_err(of_an_open_file)?.file_type() {
        kind if kind.is_file() => Ok(file),
        kind if kind.is_dir() => Err(in_the_place(Errno::EISDIR.into())),
        kind if kind.is_fifo() => Err(in_the_place(Errno::ENXIO.into())),
        _ => Err(not_regular("a device")),
    }
}

/// What is refused of a file that is open is not that it is missing, whatever the system calls it.
fn of_an_open_file(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => io::Error::other(error),
        _ => error,
    }
}

/// What opening a file without following links reports, in words where it means that something else is in its place.
pub fn in_the_place(error: io::Error) -> io::Error {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ELOOP) => not_regular("a symbolic link"),
        Some(Errno::ENXIO) => not_regular("a pipe or socket"),
        Some(Errno::EISDIR) => not_regular("a folder"),
        _ => error,
    }
}

/// That `what` is where a regular file should be.
pub fn not_regular(what: &str) -> io::Error {
    io::Error::other(format!("{what} is in the place of a regular file"))
}

/// Whether the file system has no such thing as a lock: a network's without a service for that, for one.
pub fn knows_no_locks(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ENOLCK | Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::EINVAL))
}

/// An error that says which file it is about.
pub fn about(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", shown(path)))
}

#[cfg(test)]
mod tests;
