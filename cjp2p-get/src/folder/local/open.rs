//! Opens the folder that is written to, before the process is confined.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::names::shown;
use cjp2p_io::sandbox::Sandbox;
use cjp2p_io::state_dir::{StateDir, knows_no_locks};

use super::backup::Backup;
use super::options::Options;
use super::record::Record;
use super::running::Running;
use super::work::Place;
use cjp2p_io::beneath::Beneath;

/// The folder, in the state folder, with a record for each folder that was written.
const RECORDS: &str = "folders";
/// Hex digits of a record's name.
const DIGITS: usize = 32;

/// A folder that is to be written, locked against other processes of ours. See the [module](super).
pub(crate) struct Local {
    place: Place,
}

impl Local {
    /// Opens the folder `destination`, and makes it where it is missing, unless nothing is to be done. `None` where another
    /// process writes it.
    ///
    /// # Errors
    ///
    /// It cannot be made or opened, or is no folder; or the folder for backups is within it, which is a usage error.
    pub(crate) fn open(
        destination: &Path,
        state: Option<&StateDir>,
        options: Options,
    ) -> Result<Option<Local>, ToolError> {
        let failed = |path: &Path, error: io::Error| {
            ToolError::new(Exit::Destination, format!("{}: {error}", shown(path)))
        };
        if !options.dry_run {
            fs::create_dir_all(destination).map_err(|error| failed(destination, error))?;
        }
        let opened = match fs::metadata(destination) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && options.dry_run => None,
            Err(error) => return Err(failed(destination, error)),
            Ok(found) if !found.is_dir() => {
                return Err(failed(destination, io::Error::other("is there already and no folder")));
            }
            Ok(_) => Some(File::open(destination).map_err(|error| failed(destination, error))?),
        };
        if let Some(folder) = opened.as_ref().filter(|_| !options.dry_run)
            && !lock(folder, destination).map_err(|error| failed(destination, error))?
        {
            return Ok(None);
        }
        let backup = match &options.backup {
            Some(path) => open_backup(path, destination, options.dry_run)?,
            None => None,
        };
        let record = record_of(destination, opened.as_ref(), state, options.dry_run)
            .map_err(|error| failed(destination, error))?;
        let beneath = opened.map(|folder| Arc::new(Beneath::new(folder.into())));
        let place = Place { destination: destination.to_owned(), beneath, record, backup, options };
        Ok(Some(Local { place }))
    }

    /// Where lists of this folder may be kept, beside its record.
    pub(crate) fn lists_file(&self) -> Option<PathBuf> {
        self.place.record.beside(".lists")
    }

    /// Adds to what a process needs once it is confined.
    pub(crate) fn sandbox(&self, sandbox: Sandbox) -> Sandbox {
        if self.place.beneath.is_none() {
            return sandbox;
        }
        if self.place.options.dry_run {
            return sandbox.read(&self.place.destination);
        }
        let sandbox = sandbox.recreate(&self.place.destination);
        match &self.place.options.backup {
            Some(backup) => sandbox.recreate(backup),
            None => sandbox,
        }
    }

    /// Starts the work, by the list in `entries`: lines of entries, in order, whose paths begin at the folder; what is below a
    /// folder may be missing, and so may that folder. `wake` is called from another thread whenever there is something to take.
    ///
    /// # Errors
    ///
    /// The system has no room for a thread.
    pub(crate) fn start(
        self,
        entries: File,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<Running, ToolError> {
        Running::start(self.place, entries, wake)
    }
}

/// Takes the lock of a folder, which is held as long as it is open. Whether it was free.
fn lock(folder: &File, path: &Path) -> io::Result<bool> {
    match folder.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) if knows_no_locks(&error) => {
            log::warn!("{}: {error}: another fetch to it is not kept away", shown(path));
            Ok(true)
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open_backup(path: &Path, destination: &Path, dry_run: bool) -> Result<Option<Backup>, ToolError> {
    let failed =
        |error: io::Error| ToolError::new(Exit::Destination, format!("--backup {}: {error}", shown(path)));
    if dry_run {
        return Ok(None);
    }
    fs::create_dir_all(path).map_err(failed)?;
    let (real, top) =
        (fs::canonicalize(path).map_err(failed)?, fs::canonicalize(destination).map_err(failed)?);
    if real.starts_with(&top) {
        let (path, destination) = (shown(path), shown(destination));
        return Err(ToolError::usage(format!(
            "--backup {path}: is within {destination}, which is fetched to"
        )));
    }
    let folder = File::open(path).map_err(failed)?;
    Ok(Some(Backup::new(folder.into())))
}

fn record_of(
    destination: &Path,
    opened: Option<&File>,
    state: Option<&StateDir>,
    dry_run: bool,
) -> io::Result<Record> {
    let (Some(opened), Some(state)) = (opened, state) else { return Ok(Record::new(None, 0)) };
    let top = opened.metadata()?.ino();
    let folder: PathBuf = state.path().join(RECORDS);
    if !dry_run && let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(&folder) {
        log::warn!("{}: {error}; what is written is not remembered", shown(&folder));
        return Ok(Record::new(None, top));
    }
    let real = fs::canonicalize(destination)?;
    let key = blake3::hash(real.as_os_str().as_encoded_bytes()).to_hex();
    Ok(Record::new(Some(folder.join(&key[..DIGITS])), top))
}
