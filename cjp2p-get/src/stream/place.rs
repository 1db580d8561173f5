//! A stream in a file: unfinished beside it under another name, with a record of which bytes of the stream these are, so that the same
//! command goes on after any end of the process.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::names;
use cjp2p_io::state_dir::{folder_of, in_the_place, replace_lightly, sync_file, sync_folder};
use cjp2p_wire::stream::StreamId;
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::place::Paths;

/// A longer record, in bytes, is none.
const MAX_LEN: u64 = 1 << 20;
/// Pieces that are remembered at the most: a file with more gaps is not resumed.
const MAX_PIECES: usize = 10_000;

/// What is known of the file.
#[derive(Serialize, Deserialize)]
struct Record {
    stream: String,
    /// The bytes of the stream that are in the file, one piece after the other.
    pieces: Vec<(u64, u64)>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct StreamFile {
    pub(super) file: File,
    paths: Paths,
    id: StreamId,
    // Invariant: in the order in which they are in the file, none empty.
    pieces: Vec<Range<u64>>,
    is_locked: bool,
}

impl StreamFile {
    /// Opens it, and cuts off what the record does not tell of.
    ///
    /// # Errors
    ///
    /// Something else is there, or another process writes it.
    pub(super) fn open(paths: Paths, id: &StreamId, force: bool) -> Result<StreamFile, ToolError> {
        let failed = |path: &std::path::Path| {
            let shown = names::shown(path).to_string();
            move |error: io::Error| ToolError::new(Exit::Destination, format!("{shown}: {error}"))
        };
        if !force && fs::symlink_metadata(&paths.target).is_ok() {
            let message = format!("{}: is there already; --force replaces it", names::shown(&paths.target));
            return Err(ToolError::new(Exit::Destination, message));
        }
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).custom_flags(flags);
        let file = options.open(&paths.partial).map_err(in_the_place).map_err(failed(&paths.partial))?;
        let is_locked = match file.try_lock() {
            Ok(()) => true,
            Err(fs::TryLockError::WouldBlock) => {
                return Err(ToolError::new(Exit::Busy, "another process writes the same file"));
            }
            // A file system without locks.
            Err(fs::TryLockError::Error(_)) => false,
        };
        let found = file.metadata().map_err(failed(&paths.partial))?;
        if !found.is_file() {
            return Err(failed(&paths.partial)(io::Error::other("is no regular file")));
        }
        let pieces = match (found.len(), read(&paths, id)) {
            (0, _) => Vec::new(),
            (length, Some(pieces)) if total(&pieces) <= length => pieces,
            _ if force => Vec::new(),
            _ => {
                let message = format!(
                    "{}: is there, and nothing tells which bytes of this stream it has; --force begins anew",
                    names::shown(&paths.partial)
                );
                return Err(ToolError::new(Exit::Destination, message));
            }
        };
        file.set_len(total(&pieces)).map_err(failed(&paths.partial))?;
        Ok(StreamFile { file, paths, id: id.clone(), pieces, is_locked })
    }

    /// The byte of the stream after the last that is there.
    pub(super) fn position(&self) -> Option<u64> {
        self.pieces.last().map(|piece| piece.end)
    }

    /// How many bytes it has.
    pub(super) fn length(&self) -> u64 {
        total(&self.pieces)
    }

    /// These bytes of the stream were written at its end.
    pub(super) fn note(&mut self, bytes: Range<u64>) {
        match self.pieces.last_mut().filter(|last| last.end == bytes.start) {
            Some(last) => last.end = bytes.end,
            None => self.pieces.push(bytes),
        }
    }

    /// Brings what was written to the disk, and then the record of it.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn save(&self) -> io::Result<()> {
        sync_data(&self.file)?;
        if self.pieces.len() > MAX_PIECES {
            return Ok(());
        }
        let pieces = self.pieces.iter().map(|piece| (piece.start, piece.end)).collect();
        let text =
            serde_json::to_vec(&Record { stream: self.id.to_string(), pieces }).map_err(io::Error::other)?;
        replace_lightly(&self.paths.record, &text)
    }

    /// Gives it its name.
    ///
    /// # Errors
    ///
    /// Something else has that by now, or the system refuses.
    pub(super) fn publish(&self, force: bool) -> io::Result<()> {
        sync_file(&self.file)?;
        let flags = if force { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match renameat_with(CWD, &self.paths.partial, CWD, &self.paths.target, flags) {
            Ok(()) => {}
            // The file system cannot refuse to replace.
            Err(Errno::INVAL | Errno::NOSYS) if fs::symlink_metadata(&self.paths.target).is_err() => {
                fs::rename(&self.paths.partial, &self.paths.target)?;
            }
            Err(errno) => return Err(errno.into()),
        }
        // It is of no use any more, and no harm.
        let _ = fs::remove_file(&self.paths.record);
        sync_folder(folder_of(&self.paths.target))
    }

    /// What it is called in the end.
    pub(super) fn target(&self) -> &std::path::Path {
        &self.paths.target
    }

    /// What it is called until then.
    pub(super) fn partial(&self) -> &std::path::Path {
        &self.paths.partial
    }
}

impl Drop for StreamFile {
    fn drop(&mut self) {
        if self.is_locked {
            let _ = self.file.unlock();
        }
    }
}

fn sync_data(file: &File) -> io::Result<()> {
    match file.sync_data() {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        result => result,
    }
}

fn total(pieces: &[Range<u64>]) -> u64 {
    pieces.iter().map(|piece| piece.end - piece.start).sum()
}

/// The pieces that the record tells of; `None` where there is none of this stream, or it is damaged.
fn read(paths: &Paths, id: &StreamId) -> Option<Vec<Range<u64>>> {
    let found = fs::symlink_metadata(&paths.record).ok()?;
    if !found.is_file() || found.len() > MAX_LEN {
        return None;
    }
    let record: Record = serde_json::from_slice(&fs::read(&paths.record).ok()?).ok()?;
    let is_sound = record.stream == id.to_string()
        && record.pieces.iter().all(|(start, end)| start < end && *end < 1 << 53)
        && record.pieces.windows(2).all(|pair| pair[0].1 < pair[1].0);
    is_sound.then(|| record.pieces.into_iter().map(|(start, end)| start..end).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cjp2p_wire::signed::PublicKey;
    use std::io::Write;

    fn id(name: &str) -> StreamId {
        StreamId::new(PublicKey::from_bytes([1; 32]), name).unwrap()
    }

    #[test]
    fn a_file_is_gone_on_with_after_what_the_record_tells_of() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::of_file(folder.path().join("cam.ts"));
        let mut stream = StreamFile::open(paths.clone(), &id("a"), false).unwrap();
        assert_eq!((stream.position(), stream.length()), (None, 0));
        let busy = StreamFile::open(paths.clone(), &id("a"), false).unwrap_err();
        assert_eq!(busy.exit, Exit::Busy);
        (&stream.file).write_all(b"abcde").unwrap();
        stream.note(100..103);
        stream.note(103..104);
        stream.note(200..201);
        stream.save().unwrap();
        (&stream.file).write_all(b"not noted").unwrap();
        drop(stream);
        let other = StreamFile::open(paths.clone(), &id("b"), false).unwrap_err();
        assert_eq!(other.exit, Exit::Destination);
        let mut stream = StreamFile::open(paths.clone(), &id("a"), false).unwrap();
        assert_eq!((stream.position(), stream.length()), (Some(201), 5));
        (&stream.file).write_all(b"f").unwrap();
        stream.note(201..202);
        stream.publish(false).unwrap();
        assert_eq!(fs::read(&paths.target).unwrap(), b"abcdef");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        drop(stream);
        let there = StreamFile::open(paths.clone(), &id("a"), false).unwrap_err();
        assert!(there.to_string().contains("--force"), "{there}");
        let stream = StreamFile::open(paths.clone(), &id("a"), true).unwrap();
        assert!(stream.publish(false).is_err());
        stream.publish(true).unwrap();
        assert_eq!(fs::read(&paths.target).unwrap(), b"");
    }

    #[test]
    fn a_file_that_is_shorter_than_its_record_says_is_not_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::of_file(folder.path().join("cam.ts"));
        let mut stream = StreamFile::open(paths.clone(), &id("a"), false).unwrap();
        (&stream.file).write_all(b"abc").unwrap();
        stream.note(0..4);
        stream.save().unwrap();
        drop(stream);
        assert_eq!(StreamFile::open(paths.clone(), &id("a"), false).unwrap_err().exit, Exit::Destination);
        assert_eq!(StreamFile::open(paths, &id("a"), true).unwrap().position(), None);
    }
}
