//! Goes through a shared folder in the order of its list, and finds the hash of each file.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cjp2p_io::identity::Identity;
use cjp2p_io::walk::{Rules, names_after};
use cjp2p_wire::folder::{Entry, FolderPath, Kind, Mtime};
use rustix::fs::{AtFlags, FileType, Stat};

use crate::index::{Index, Totals};
use crate::place::Source;

/// Names of one folder that are in memory at a time, at least.
const NAMES: usize = 16_384;
/// Of large folders, this part of those that were visited already: so that not even the largest is read very often.
const PART: usize = 8;

/// A shared folder.
pub(super) struct Folder<'a> {
    pub(super) source: &'a Source,
    pub(super) rules: Rules,
    /// Whether entries have times.
    pub(super) times: bool,
    pub(super) index: &'a Mutex<Index>,
    /// The argument by which the index knows the files of this one, and where below that they are.
    pub(super) known_by: u32,
    pub(super) below: &'a Path,
}

/// Why a list is not made.
#[derive(Debug)]
pub(super) enum Stopped {
    /// This file is not hashed as it is now.
    Unsettled(PathBuf),
    /// This cannot be read, or written.
    Failed(PathBuf, io::Error),
    /// The folder itself is not there.
    Gone,
    /// The process is ending.
    Ending,
}

/// A folder in the folder that is being looked through.
struct Level {
    relative: PathBuf,
    /// The next names, and the last of these.
    names: VecDeque<OsString>,
    last: Option<OsString>,
    visited: usize,
    /// Whether there may be more names than these.
    has_more: bool,
    /// Only of the innermost one, so that no more are open however many there are.
    opened: Option<OwnedFd>,
}

impl Level {
    fn new(relative: PathBuf) -> Level {
        Level { relative, names: VecDeque::new(), last: None, visited: 0, has_more: true, opened: None }
    }

    fn open(&mut self, source: &Source) -> io::Result<&OwnedFd> {
        let opened = match self.opened.take() {
            Some(opened) => opened,
            None => source.open_folder(&self.relative)?,
        };
        Ok(self.opened.insert(opened))
    }

    fn next(&mut self, folder: &Folder<'_>) -> io::Result<Option<OsString>> {
        if self.names.is_empty() && self.has_more {
            let most = NAMES.max(self.visited / PART);
            let last = self.last.take();
            let names = names_after(self.open(folder.source)?, folder.rules, last.as_deref(), most)?;
            self.visited += names.len();
            self.has_more = names.len() == most;
            self.last = names.last().cloned();
            self.names = names.into();
        }
        Ok(self.names.pop_front())
    }
}

/// Gives every entry of `folder` to `each`, in the order of the tree. Says how many files there are.
///
/// # Errors
///
/// Where something is not hashed or cannot be read, where `is_ending` says so, and what `each` gives.
pub(super) fn entries(
    folder: &Folder<'_>,
    is_ending: &dyn Fn() -> bool,
    each: &mut dyn FnMut(&Entry) -> Result<(), Stopped>,
) -> Result<Totals, Stopped> {
    let mut totals = Totals::default();
    let mut levels = vec![Level::new(PathBuf::new())];
    while let Some(level) = levels.last_mut() {
        // What went away was noticed by somebody, who has it looked at again.
        let failed = |path: &Path, error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Stopped::Unsettled(folder.source.show(path)),
            _ => Stopped::Failed(folder.source.show(path), error),
        };
        let name = match level.next(folder) {
            Ok(Some(name)) => name,
            Ok(None) => {
                levels.pop();
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && level.relative == Path::new("") => {
                return Err(Stopped::Gone);
            }
            Err(error) => return Err(failed(&level.relative, error)),
        };
        if is_ending() {
            return Err(Stopped::Ending);
        }
        let relative = level.relative.join(&name);
        let (stat, target) = look(level, folder.source, &name).map_err(|error| failed(&relative, error))?;
        let kind = match (FileType::from_raw_mode(stat.st_mode as _), target) {
            (FileType::RegularFile, _) => {
                let unsettled = || Stopped::Unsettled(folder.source.show(&relative));
                let kind = file(folder, &relative, &stat).ok_or_else(unsettled)?;
                if let Kind::File { length, .. } = kind {
                    totals.files += 1;
                    totals.bytes = totals.bytes.saturating_add(length);
                }
                kind
            }
            (FileType::Directory, _) => Kind::Folder { list: None },
            (FileType::Symlink, Some(target)) => Kind::Link { target },
            _ => continue,
        };
        let is_folder = matches!(kind, Kind::Folder { .. });
        let path = FolderPath::new(relative.as_os_str().as_bytes())
            .map_err(|error| failed(&relative, io::Error::other(error.to_string())))?;
        each(&Entry { path, kind, mtime: folder.times.then(|| mtime(&stat)).flatten() })?;
        if is_folder {
            level.opened = None;
            levels.push(Level::new(relative));
        }
    }
    Ok(totals)
}

/// What is called `name`; with its target, if it is a link.
fn look(level: &mut Level, source: &Source, name: &OsStr) -> io::Result<(Stat, Option<Vec<u8>>)> {
    let opened = level.open(source)?;
    let stat = rustix::fs::statat(opened, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let is_link = FileType::from_raw_mode(stat.st_mode as _) == FileType::Symlink;
    let target = match is_link {
        true => Some(rustix::fs::readlinkat(opened, name, Vec::new())?.into_bytes()),
        false => None,
    };
    Ok((stat, target))
}

/// A regular file, if it is hashed as it is.
fn file(folder: &Folder<'_>, relative: &Path, stat: &Stat) -> Option<Kind> {
    let now = Identity::of(stat)?;
    let index = folder.index.lock().unwrap_or_else(PoisonError::into_inner);
    let no = match folder.below.as_os_str().is_empty() {
        true => index.at(folder.known_by, relative),
        false => index.at(folder.known_by, &folder.below.join(relative)),
    };
    let (known, ids) = index.look(no?)?;
    let ids = ids.filter(|_| known == now)?;
    Some(Kind::File { length: now.size, root: ids.blake3, exec: stat.st_mode & 0o100 != 0 })
}

#[allow(clippy::unnecessary_cast, reason = "the widths differ between architectures")]
fn mtime(stat: &Stat) -> Option<Mtime> {
    Mtime::new(stat.st_mtime as i64, stat.st_mtime_nsec as u32)
}
