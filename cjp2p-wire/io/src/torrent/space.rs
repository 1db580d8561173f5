//! The files of a torrent on the disk, read as the one space of bytes that they are.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use cjp2p_torrent::layout::{Layout, Role};
use cjp2p_wire::folder::FolderPath;

use crate::beneath::Beneath;
use crate::holes::HoleReader;
use crate::identity::{Identity, Stamp};

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
    /// Which state of each file is read; `None` where it is not read at all. Empty where any is.
    states: Vec<Option<Identity>>,
    /// When the files were found in these states.
    looked_at: Stamp,
}

impl Space {
    /// A torrent whose name is in `folder`. The files need not be there.
    #[must_use]
    pub fn beside(folder: OwnedFd, layout: Arc<Layout>) -> Space {
        Space {
            place: Place::Beside(Beneath::new(folder)),
            layout,
            states: Vec::new(),
            looked_at: Stamp::now(),
        }
    }

    pub(super) fn within(
        folder: Beneath,
        layout: Arc<Layout>,
        states: Vec<Identity>,
        looked_at: Stamp,
    ) -> Space {
        let states = states.into_iter().map(Some).collect();
        Space { place: Place::Within(folder), layout, states, looked_at }
    }

    pub(super) fn of_file(file: File, layout: Arc<Layout>, state: Identity, looked_at: Stamp) -> Space {
        Space { place: Place::File(file), layout, states: vec![Some(state)], looked_at }
    }

    /// Looks at all files. From now on each is read only in the state that it has now, and not at all if it cannot be read now.
    pub fn pin(&mut self) {
        self.states = Vec::new();
        self.looked_at = Stamp::now();
        let state = |index: usize| {
            let file = if self.layout.files()[index].is_written() { self.try_open(index).ok() } else { None };
            file.and_then(|file| Identity::of_file(&file).ok().flatten())
        };
        self.states = (0..self.layout.files().len()).map(state).collect();
    }

    /// The state in which each file is read, where that is told. A file that may change without changing its state has none here.
    pub fn lasting_states(&self) -> impl Iterator<Item = Option<Identity>> + '_ {
        let lasts = |state: &Identity| {
            state.settles_in(self.looked_at).is_zero() && !state.is_from_the_future(self.looked_at)
        };
        self.states.iter().map(move |state| state.filter(lasts))
    }

    /// How long after it was looked at no file can change any more without changing its state, but for clocks that are not ours.
    #[must_use]
    pub fn settles_in(&self) -> Duration {
        let states = self.states.iter().flatten();
        states.map(|state| state.settles_in(self.looked_at)).max().unwrap_or_default()
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
        let state = Identity::of_file(&file)?.ok_or_else(|| io::Error::other("is no regular file"))?;
        self.check_state(index, &state)?;
        let wanted = self.layout.files()[index].len();
        if state.size != wanted {
            return Err(io::Error::other(format!("has {} bytes and not {wanted}", state.size)));
        }
        Ok(file)
    }

    /// Whether an open file is still what it was: readers would get other bytes than those that were hashed.
    pub(super) fn check_file(&self, index: usize, file: &File) -> io::Result<()> {
        let state = Identity::of_file(file)?.ok_or_else(|| io::Error::other("is no regular file"))?;
        self.check_state(index, &state)
    }

    fn check_state(&self, index: usize, state: &Identity) -> io::Result<()> {
        let is_what_it_was =
            |known: &Option<Identity>| known.as_ref().is_some_and(|known| state.is_unmodified_since(known));
        match self.states.get(index).is_none_or(is_what_it_was) {
            true => Ok(()),
            false => Err(io::Error::other("it changed while it was read")),
        }
    }

    /// Whether all files are in the state that they were found in.
    ///
    /// # Errors
    ///
    /// Names the first that is not.
    pub fn check_unchanged(&self) -> Result<(), SpaceError> {
        let is_there = |index: &usize| self.layout.files()[*index].is_written();
        (0..self.states.len()).filter(is_there).try_for_each(|index| self.open(index).map(drop))
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
