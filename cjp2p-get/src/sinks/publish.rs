//! Giving a finished file its name.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// Brings `file`, which is `partial`, to the disk and renames it to `target`. What is there already is replaced only
/// with `force`; otherwise that is an error of the kind `AlreadyExists`.
pub(super) fn publish(file: &File, partial: &Path, target: &Path, force: bool) -> io::Result<()> {
    file.sync_all()?;
    if force {
        fs::rename(partial, target)?;
    } else {
        rename_to_free_name(partial, target)?;
    }
    // Without this the rename may be lost with the power.
    File::open(folder_of(target))?.sync_all()
}

fn rename_to_free_name(partial: &Path, target: &Path) -> io::Result<()> {
    match renameat_with(CWD, partial, CWD, target, RenameFlags::NOREPLACE) {
        // Some file systems cannot do that in one step.
        Err(Errno::INVAL | Errno::NOSYS) => {
            if fs::symlink_metadata(target).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(partial, target)
        }
        renamed => renamed.map_err(io::Error::from),
    }
}

pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
