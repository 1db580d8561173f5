//! What of a folder is taken and what is passed over: one rule, so that what one tool lists, another one shares.

use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{AtFlags, Dir, FileType, Stat};

use super::partial_name::is_partial;

/// What is passed over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Take files and folders whose names begin with a dot.
    pub hidden: bool,
    /// Go where symbolic links lead.
    pub follow: bool,
}

impl Rules {
    /// Whether a file or folder of this name is taken. Downloads in progress never are.
    pub fn allow(self, name: &OsStr) -> bool {
        (self.hidden || !name.as_bytes().starts_with(b".")) && !is_partial(name)
    }
}

/// What a name in a folder stands for.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    /// A regular file.
    File(Stat),
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, socket or FIFO.
    Other,
}

/// The names in a folder that `rules` allow, sorted.
///
/// # Errors
///
/// The folder cannot be read.
pub fn names(folder: impl AsFd, rules: Rules) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    // The handle itself and not its ".": a confined process may have no right to open that again.
    let mut entries = Dir::new(rustix::io::fcntl_dupfd_cloexec(folder, 0)?)?;
    entries.rewind();
    for entry in entries {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") && rules.allow(OsStr::from_bytes(name.to_bytes())) {
            names.push(OsString::from_vec(name.to_bytes().to_vec()));
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// What `name` in `folder` is. It is neither followed nor opened.
///
/// # Errors
///
/// There is nothing of this name, or the folder cannot be searched.
pub fn look(folder: impl AsFd, name: &OsStr) -> io::Result<Found> {
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(match FileType::from_raw_mode(stat.st_mode as _) {
        FileType::RegularFile => Found::File(stat),
        FileType::Directory => Found::Folder,
        FileType::Symlink => Found::Link,
        _ => Found::Other,
    })
}
