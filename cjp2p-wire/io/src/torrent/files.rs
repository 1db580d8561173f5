//! `Files`: where the bytes of a torrent are read and written, by several threads.
//!
//! There are three homes. A torrent that is seeded is read from its files. One that is fetched to a folder is written into a
//! [`Staging`] folder, and what is at the place of a file already is read from there, until a piece of it is fetched. One that goes
//! to a reader in order is in one file without a name.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cjp2p_torrent::layout::{Layout, Role};
use cjp2p_torrent::metainfo::Info;
use cjp2p_torrent::piece_set::PieceSet;

use super::space::Space;
use super::staging::Staging;
use crate::in_memory;

/// Files that are open at the most, of one torrent.
const MAX_OPEN: usize = 64;

/// See the [module](self).
#[derive(Debug)]
pub struct Files {
    info: Arc<Info>,
    home: Home,
    /// The last that was used is last. [`MAX_OPEN`] at the most.
    opened: Mutex<VecDeque<(Key, Arc<File>)>>,
    /// Pieces that were written since the beginning: their bytes are in the staging folder, whatever is at their place.
    written: Mutex<PieceSet>,
    /// Pieces that a reader has had, and whose bytes are gone.
    gone: Mutex<PieceSet>,
}

#[derive(Debug)]
enum Home {
    Seeded(Space),
    Staged {
        staging: Staging,
        /// Which files are at their place: found there, or brought there.
        placed: Vec<AtomicBool>,
    },
    Temporary(Arc<File>),
}

/// Which file: of the torrent, by number, and whether in the staging folder.
type Key = (usize, bool);

/// What to do about a file that is not open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Not,
    Now,
    Make,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Files {
    fn new(info: Arc<Info>, home: Home) -> Files {
        let none = PieceSet::none(info.pieces().count());
        Files {
            info,
            home,
            opened: Mutex::default(),
            written: Mutex::new(none.clone()),
            gone: Mutex::new(none),
        }
    }

    /// A torrent whose files are there, to be read in the states in which they are [pinned](Space::pin).
    #[must_use]
    pub fn seeded(info: Arc<Info>, space: Space) -> Files {
        Files::new(info, Home::Seeded(space))
    }

    /// A torrent that is fetched to a folder. `placed`: which of its files are at their place.
    #[must_use]
    pub fn staged(info: Arc<Info>, staging: Staging, placed: &[bool]) -> Files {
        let placed = placed.iter().copied().map(AtomicBool::new).collect();
        Files::new(info, Home::Staged { staging, placed })
    }

    /// A torrent that is kept in this file, which has no name, until a reader has had it.
    #[must_use]
    pub fn temporary(info: Arc<Info>, file: File) -> Files {
        Files::new(info, Home::Temporary(Arc::new(file)))
    }

    /// Which torrent.
    #[must_use]
    pub fn info(&self) -> &Arc<Info> {
        &self.info
    }

    fn layout(&self) -> &Arc<Layout> {
        self.info.layout()
    }

    /// The staging folder, if there is one.
    #[must_use]
    pub fn staging(&self) -> Option<&Staging> {
        match &self.home {
            Home::Staged { staging, .. } => Some(staging),
            _ => None,
        }
    }

    /// The files of a torrent that is seeded.
    #[must_use]
    pub fn space(&self) -> Option<&Space> {
        match &self.home {
            Home::Seeded(space) => Some(space),
            _ => None,
        }
    }

    /// Whether this file of a torrent that is fetched to a folder is at its place.
    #[must_use]
    pub fn is_placed(&self, index: usize) -> bool {
        match &self.home {
            Home::Staged { placed, .. } => {
                placed.get(index).is_some_and(|placed| placed.load(Ordering::Relaxed))
            }
            _ => false,
        }
    }

    /// Notes that this file is at its place, with all that was fetched.
    pub(super) fn note_placed(&self, index: usize) {
        if let Home::Staged { placed, .. } = &self.home
            && let Some(placed) = placed.get(index)
        {
            placed.store(true, Ordering::Relaxed);
        }
    }

    /// The pieces of this file that were written since the beginning.
    pub(super) fn written_of(&self, index: usize) -> Vec<u32> {
        let pieces = self.info.pieces().overlapping(&self.layout().files()[index].range());
        let written = locked(&self.written);
        pieces.filter(|piece| written.contains(*piece)).collect()
    }

    /// Writes bytes from `offset` of the torrent on, all of one piece.
    ///
    /// # Errors
    ///
    /// The disk takes them not.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        locked(&self.written).insert(self.info.pieces().at(offset));
        if let Home::Temporary(file) = &self.home {
            return file.write_all_at(bytes, offset);
        }
        let mut rest = bytes;
        for (index, range) in self.layout().files_in(offset..offset + bytes.len() as u64) {
            let (part, next) = rest.split_at((range.end - range.start) as usize);
            rest = next;
            if self.layout().files()[index].role() != Role::Padding {
                self.file((index, true), Open::Make)?.write_all_at(part, range.start)?;
            }
        }
        Ok(())
    }

    /// Fills `bytes` from `offset` of the torrent on, all of one piece. Unless it `may_wait` for a disk, what is not in memory, or not
    /// open, is [`WouldBlock`](io::ErrorKind::WouldBlock).
    ///
    /// # Errors
    ///
    /// They are not there, or not any more.
    pub fn read(&self, offset: u64, bytes: &mut [u8], may_wait: bool) -> io::Result<()> {
        let piece = self.info.pieces().at(offset);
        if locked(&self.gone).contains(piece) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if let Home::Temporary(file) = &self.home {
            return read_exact(file, bytes, offset, may_wait);
        }
        let is_written = locked(&self.written).contains(piece);
        let end = offset + bytes.len() as u64;
        let mut rest = bytes;
        for (index, range) in self.layout().files_in(offset..end) {
            let (part, next) = std::mem::take(&mut rest).split_at_mut((range.end - range.start) as usize);
            rest = next;
            if self.layout().files()[index].role() == Role::Padding {
                part.fill(0);
                continue;
            }
            let key = (index, self.is_in_staging(index, is_written));
            let file = self.file(key, if may_wait { Open::Now } else { Open::Not })?;
            read_exact(&file, part, range.start, may_wait)?;
            if let Home::Seeded(space) = &self.home {
                space.check_file(index, &file)?;
            }
        }
        Ok(())
    }

    fn is_in_staging(&self, index: usize, is_written: bool) -> bool {
        match &self.home {
            Home::Staged { .. } => !self.is_placed(index) || (is_written && !self.was_brought(index)),
            _ => false,
        }
    }

    /// Whether a file that is at its place came from the staging folder.
    fn was_brought(&self, index: usize) -> bool {
        self.staging().is_some_and(|staging| staging.was_brought(index))
    }

    /// One that is open, or is opened now.
    fn file(&self, key: Key, how: Open) -> io::Result<Arc<File>> {
        if let Some(file) = self.opened_already(key) {
            return Ok(file);
        }
        if how == Open::Not {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let file = Arc::new(self.open(key, how == Open::Make)?);
        let mut opened = locked(&self.opened);
        if opened.len() >= MAX_OPEN {
            opened.pop_front();
        }
        opened.push_back((key, file.clone()));
        Ok(file)
    }

    fn opened_already(&self, key: Key) -> Option<Arc<File>> {
        let mut opened = locked(&self.opened);
        let at = opened.iter().rposition(|(open, _)| *open == key)?;
        let found = opened.remove(at)?;
        let file = found.1.clone();
        opened.push_back(found);
        Some(file)
    }

    fn open(&self, (index, in_staging): Key, makes: bool) -> io::Result<File> {
        match &self.home {
            Home::Seeded(space) => space.open(index).map_err(|error| error.error),
            Home::Staged { staging, .. } if in_staging => match staging.open_file(index, makes) {
                // It was brought to its place just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    staging.open_placed(self.layout(), index)
                }
                opened => opened,
            },
            Home::Staged { staging, .. } => staging.open_placed(self.layout(), index),
            Home::Temporary(file) => file.try_clone(),
        }
    }

    /// Drops the bytes of pieces that a reader has had, where they are in a file without a name. They cannot be read any more.
    pub fn drop_pieces(&self, pieces: Range<u32>) {
        let Home::Temporary(file) = &self.home else { return };
        for piece in pieces.clone() {
            locked(&self.gone).insert(piece);
        }
        let range = self.info.pieces().range(pieces.start).start..self.info.pieces().range(pieces.end).start;
        let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        // Where the file system cannot, the file grows to what was fetched.
        if let Err(error) = rustix::fs::fallocate(&**file, flags, range.start, range.end - range.start) {
            log::debug!("a hole in the temporary file: {error}");
        }
    }
}

fn read_exact(file: &File, bytes: &mut [u8], offset: u64, may_wait: bool) -> io::Result<()> {
    match may_wait {
        true => file.read_exact_at(bytes, offset),
        false => in_memory::read_exact_at(file, bytes, offset),
    }
}
