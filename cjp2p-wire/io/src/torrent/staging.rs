//! The folder that the files of a torrent are in until all of them are there: `NAME.HASH.cjp2p-part`, beside what will be `NAME`.
//!
//! A file in it is called by its number. None of what is in it is believed: what an interrupted fetch wrote is hashed again, so there
//! is no record beside it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::{Mutex, PoisonError};

use cjp2p_torrent::layout::{Layout, Role};
use cjp2p_torrent::metainfo::Info;
use cjp2p_torrent::piece_set::PieceSet;
use cjp2p_wire::folder::FolderPath;
use cjp2p_wire::range_set::RangeSet;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use crate::beneath::{Beneath, kind, look};
use crate::holes;
use crate::names::shown;
use crate::partial_name::PART_SUFFIX;
use crate::state_dir::knows_no_locks;

/// Digits of the info hash in its name, so that torrents of one name are apart.
const DIGITS: usize = 12;
/// Bytes of the torrent's name in it, so that the whole is a name everywhere.
const MAX_NAME: usize = 255 - DIGITS - PART_SUFFIX.len() - 1;
/// How a file of it is opened.
const WRITE: OFlags =
    OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
/// What to tell of a file that is in the way.
pub(super) const SOMETHING_ELSE: &str = "is there already and something else; --force replaces it";

/// See the [module](self).
#[derive(Debug)]
pub struct Staging {
    pub(super) top: Beneath,
    /// The folder that this one is in.
    home: OwnedFd,
    pub(super) name: OsString,
    /// Locked as long as it is open: no other process fetches into it.
    pub(super) folder: File,
    /// What is at the place of files is replaced.
    pub(super) force: bool,
    /// Files that were brought from here to their place.
    brought: Mutex<BTreeSet<usize>>,
}

/// What is to be done about a torrent, by what is on the disk.
#[derive(Debug)]
pub struct There {
    /// Which files are at their place, with the right length.
    pub placed: Vec<bool>,
    /// Pieces whose bytes are all there, be they right or wrong.
    pub unchecked: PieceSet,
}

impl Staging {
    /// Opens the staging folder of a torrent in `home`, and makes it where it is missing. What is whole goes to `top`, of the same file
    /// system. `None` where another process has it.
    ///
    /// # Errors
    ///
    /// It cannot be made, opened or locked.
    pub fn open(top: OwnedFd, home: OwnedFd, info: &Info, force: bool) -> io::Result<Option<Staging>> {
        let name = staging_name(info);
        match mkdirat(&home, &name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let staging = File::from(openat(&home, &name, flags, Mode::empty())?);
        match staging.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) if knows_no_locks(&error) => {
                log::warn!("{error}: another fetch of the same torrent is not kept away");
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let brought = Mutex::default();
        Ok(Some(Staging { top: Beneath::new(top), home, name, folder: staging, force, brought }))
    }

    /// Looks at what is there. `is_wanted` says which files are to be had.
    ///
    /// # Errors
    ///
    /// Something is at the place of a file that is wanted, and not as long as that, or no file, and is not to be replaced.
    pub fn look(&self, info: &Info, is_wanted: &dyn Fn(usize) -> bool) -> io::Result<There> {
        let layout = info.layout();
        let mut placed = vec![false; layout.files().len()];
        let mut there = RangeSet::new();
        for (index, file) in layout.files().iter().enumerate() {
            match file.role() {
                Role::Padding => drop(there.insert(file.range())),
                Role::Link => {}
                Role::File { .. } => {
                    let path = layout.path(index);
                    let at = |error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"));
                    let found = if self.force { None } else { self.look_at(&path).map_err(at)? };
                    placed[index] = found == Some(Some(file.len()));
                    if found.is_some() && !placed[index] && is_wanted(index) {
                        return Err(at(io::Error::other(SOMETHING_ELSE)));
                    }
                    if placed[index] {
                        there.insert(file.range());
                    } else if look(&self.folder, name_of(index).as_bytes())?.is_some() {
                        data_of(&self.open_file(index, false)?, file.len(), |start, end| {
                            there.insert(file.offset() + start..file.offset() + end);
                        })?;
                    }
                }
            }
        }
        let mut unchecked = PieceSet::none(info.pieces().count());
        for piece in there.iter().flat_map(|range| info.pieces().overlapping(&range)) {
            if there.contains(info.pieces().range(piece)) {
                unchecked.insert(piece);
            }
        }
        Ok(There { placed, unchecked })
    }

    /// What is at this path: nothing, a regular file of some length, or something else.
    fn look_at(&self, path: &FolderPath) -> io::Result<Option<Option<u64>>> {
        let parent = match self.top.folder(path.parent_bytes().unwrap_or_default()) {
            Ok(parent) => parent,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(look(parent, path.name())?.map(|found| {
            let len = u64::try_from(found.st_size).unwrap_or(0);
            (kind(&found) == FileType::RegularFile).then_some(len)
        }))
    }

    /// Opens the file of the staging folder that a file of the torrent is in, with what was fetched of it.
    ///
    /// # Errors
    ///
    /// Something else is in its place. Where nothing was fetched of it, it is made.
    pub fn fetched(&self, index: usize) -> io::Result<File> {
        self.open_file(index, true)
    }

    /// What the file of the staging folder is called that a file of the torrent is in.
    #[must_use]
    pub fn name_of_file(&self, index: usize) -> String {
        name_of(index)
    }

    /// Removes the staging folder with what is left in it, and nothing that is not ours.
    ///
    /// # Errors
    ///
    /// Something cannot be removed.
    pub fn remove(&self, layout: &Layout) -> io::Result<()> {
        for index in 0..layout.files().len() {
            match unlinkat(&self.folder, name_of(index), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match unlinkat(&self.home, &self.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                log::warn!("{}: kept, as something else is in it", shown(&self.name));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a file of the staging folder; where it `makes` one, also one that is missing.
    pub(super) fn open_file(&self, index: usize, makes: bool) -> io::Result<File> {
        let (flags, mode) = (if makes { WRITE | OFlags::CREATE } else { WRITE }, Mode::from_raw_mode(0o666));
        let file = File::from(openat(&self.folder, name_of(index), flags, mode)?);
        if kind(&fstat(&file)?) != FileType::RegularFile {
            return Err(io::Error::other("is no regular file"));
        }
        Ok(file)
    }

    /// Opens the file at its place.
    pub(super) fn open_placed(&self, layout: &Layout, index: usize) -> io::Result<File> {
        let file = self.top.file(layout.path(index).as_bytes())?;
        let found = fstat(&file)?;
        let is_right = kind(&found) == FileType::RegularFile
            && u64::try_from(found.st_size) == Ok(layout.files()[index].len());
        if is_right { Ok(file) } else { Err(io::Error::other("it was changed")) }
    }

    /// Notes that this file was brought from here to its place.
    pub(super) fn note_brought(&self, index: usize) {
        self.brought.lock().unwrap_or_else(PoisonError::into_inner).insert(index);
    }

    /// Whether this file was brought from here to its place.
    pub(super) fn was_brought(&self, index: usize) -> bool {
        self.brought.lock().unwrap_or_else(PoisonError::into_inner).contains(&index)
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &OsString {
        &self.name
    }

    /// Removes the folder, if nothing was written.
    pub fn remove_if_empty(&self) {
        let _ = unlinkat(&self.home, &self.name, AtFlags::REMOVEDIR);
    }
}

pub(super) fn name_of(index: usize) -> String {
    index.to_string()
}

/// What the staging folder of a torrent is called.
fn staging_name(info: &Info) -> OsString {
    let name = String::from_utf8_lossy(info.name().as_bytes());
    let mut end = name.len().min(MAX_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let hash = info.hash().to_string();
    OsString::from_vec(format!("{}.{}{PART_SUFFIX}", &name[..end], &hash[..DIGITS]).into_bytes())
}

/// Calls `each` with the runs of bytes that are in a file and within `len`, holes left out where the file system tells of them.
fn data_of(file: &File, len: u64, mut each: impl FnMut(u64, u64)) -> io::Result<()> {
    let end = file.metadata()?.len().min(len);
    if !holes::are_told(file) {
        if end > 0 {
            each(0, end);
        }
        return Ok(());
    }
    let mut at = 0;
    while at < end {
        let start = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
            Ok(start) => start,
            // No more data.
            Err(Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if start >= end {
            return Ok(());
        }
        let hole = rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(start))?;
        each(start, hole.min(end));
        at = hole.max(start + 1);
    }
    Ok(())
}
