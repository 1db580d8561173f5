//! The files of a torrent on the disk, read as the one space of bytes that they are.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use cjp2p_torrent::layout::{Layout, Role};
use cjp2p_wire::folder::FolderPath;
use rustix::fs::{FileType, fstat};

use crate::beneath::{Beneath, Stamp, kind};
use crate::holes::HoleReader;

/// Where the files are.
#[derive(Debug)]
enum Place {
    /// Beneath a folder that has the name of the torrent in it.
    Beside(Beneath),
    /// Beneath the folder that has the name of the torrent, or another one.
    Within(Beneath),
    /// There is one file, and it is this.
    File(File),
}

/// See the [module](self). Several threads can read it, each by a [`SpaceReader`].
#[derive(Debug)]
pub struct Space {
    place: Place,
    layout: Arc<Layout>,
    /// Which state of each file is read; empty where any is.
    stamps: Vec<Stamp>,
}

impl Space {
    /// A torrent whose name is in `folder`. The files need not be there.
    #[must_use]
    pub fn beside(folder: OwnedFd, layout: Arc<Layout>) -> Space {
        Space { place: Place::Beside(Beneath::new(folder)), layout, stamps: Vec::new() }
    }

    pub(super) fn within(folder: Beneath, layout: Arc<Layout>, stamps: Vec<Stamp>) -> Space {
        Space { place: Place::Within(folder), layout, stamps }
    }

    pub(super) fn of_file(file: File, layout: Arc<Layout>, stamp: Stamp) -> Space {
        Space { place: Place::File(file), layout, stamps: vec![stamp] }
    }

    /// Which files there are.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Opens a file to read it.
    ///
    /// # Errors
    ///
    /// It is not there, no regular file, has another length, or was changed since it was looked at.
    pub fn open(&self, index: usize) -> Result<File, SpaceError> {
        self.try_open(index).map_err(|error| self.error(index, error))
    }

    fn try_open(&self, index: usize) -> io::Result<File> {
        let file = match &self.place {
            Place::Beside(folder) => folder.file(self.layout.path(index).as_bytes())?,
            Place::Within(folder) => folder.file(self.layout.path_below_top(index).as_bytes())?,
            Place::File(file) => file.try_clone()?,
        };
        let found = fstat(&file)?;
        let (stamp, wanted) = (Stamp::of(&found), self.layout.files()[index].len());
        if kind(&found) != FileType::RegularFile {
            return Err(io::Error::other("is no regular file"));
        }
        if self.stamps.get(index).is_some_and(|known| *known != stamp) {
            return Err(io::Error::other("it changed while it was read"));
        }
        if stamp.size != wanted {
            return Err(io::Error::other(format!("has {} bytes and not {wanted}", stamp.size)));
        }
        Ok(file)
    }

    /// Whether all files are in the state that they were found in.
    ///
    /// # Errors
    ///
    /// Names the first that is not.
    pub fn check_unchanged(&self) -> Result<(), SpaceError> {
        let is_there = |index: &usize| self.layout.files()[*index].is_written();
        (0..self.stamps.len()).filter(is_there).try_for_each(|index| self.open(index).map(drop))
    }

    fn error(&self, index: usize, error: io::Error) -> SpaceError {
        SpaceError { index, path: self.layout.path(index), error }
    }
}

/// Reads a [`Space`], best in order: it keeps the last file open.
#[derive(Debug)]
pub struct SpaceReader<'a> {
    space: &'a Space,
    opened: Option<(usize, File, HoleReader)>,
}

impl<'a> SpaceReader<'a> {
    /// Nothing is opened yet.
    #[must_use]
    pub fn new(space: &'a Space) -> SpaceReader<'a> {
        SpaceReader { space, opened: None }
    }

    /// Fills `bytes` from `offset` of the torrent on. Padding is zeros.
    ///
    /// # Errors
    ///
    /// A file cannot be opened or read, or ends too early.
    pub fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), SpaceError> {
        let space = self.space;
        let mut filled = 0;
        for (index, range) in space.layout.files_in(offset..offset + bytes.len() as u64) {
            let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let part = &mut bytes[filled..filled + len];
            filled += len;
            if space.layout.files()[index].role() == Role::Padding {
                part.fill(0);
                continue;
            }
            if self.opened.as_ref().is_none_or(|(open, ..)| *open != index) {
                // First it is closed, so that there is one at a time.
                self.opened = None;
                self.opened = Some((index, space.open(index)?, HoleReader::default()));
            }
            let Some((_, file, holes)) = &mut self.opened else { continue };
            match holes.read(file, range.start, part) {
                Ok(read) if read == len => {}
                Ok(_) => return Err(space.error(index, io::Error::other("it changed while it was read"))),
                Err(error) => return Err(space.error(index, error)),
            }
        }
        Ok(())
    }
}

/// A file of a torrent that cannot be read.
#[derive(Debug)]
pub struct SpaceError {
    /// Which of the files, counted from 0.
    pub index: usize,
    /// Its path, the name of the torrent first.
    pub path: FolderPath,
    /// What is wrong.
    pub error: io::Error,
}

impl fmt::Display for SpaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.error)
    }
}

impl std::error::Error for SpaceError {}
