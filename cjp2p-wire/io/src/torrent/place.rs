//! Giving the files of a torrent their places, once all that are wanted are here and right.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, PermissionsExt};

use cjp2p_torrent::layout::{Layout, Role};
use cjp2p_wire::folder::FolderPath;
use rustix::fs::{FileType, Mode, RenameFlags, mkdirat, renameat_with};
use rustix::io::Errno;

use super::files::Files;
use super::staging::{SOMETHING_ELSE, Staging, name_of};
use crate::beneath::{Beneath, kind, look};
use crate::state_dir::sync_file;

/// Bytes that are compared at once.
const BUFFER: u64 = 256 << 10;

/// Brings the files that are wanted to their place, all of which are here and right, and removes the staging folder.
///
/// # Errors
///
/// The disk is full or fails, or something is at the place of one and is not to be replaced. What was fetched stays.
pub fn place(files: &Files, is_wanted: &dyn Fn(usize) -> bool) -> io::Result<()> {
    let Some(staging) = files.staging() else { return Ok(()) };
    let layout = files.info().layout().clone();
    let mut folders: BTreeSet<FolderPath> = BTreeSet::new();
    for (index, file) in layout.files().iter().enumerate() {
        if !file.is_written() || !is_wanted(index) {
            continue;
        }
        let path = layout.path(index);
        let at = |error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"));
        if files.is_placed(index) {
            compare(staging, files, index).map_err(at)?;
            continue;
        }
        place_one(staging, &layout, index).map_err(at)?;
        staging.note_brought(index);
        files.note_placed(index);
        let mut above = path.parent();
        while let Some(folder) = above.take_if(|folder| !folders.contains(folder)) {
            above = folder.parent();
            folders.insert(folder);
        }
    }
    for folder in &folders {
        sync_file(&File::from(staging.top.listed(folder.as_bytes())?))?;
    }
    staging.remove(&layout)?;
    sync_file(&File::from(staging.top.listed(b"")?))
}

fn place_one(staging: &Staging, layout: &Layout, index: usize) -> io::Result<()> {
    let path = layout.path(index);
    let file = staging.open_file(index, true)?;
    file.set_len(layout.files()[index].len())?;
    if layout.files()[index].role() == (Role::File { is_executable: true }) {
        let mode = file.metadata()?.permissions().mode();
        // Whoever may read it may execute it.
        file.set_permissions(PermissionsExt::from_mode(mode | ((mode & 0o444) >> 2)))?;
    }
    sync_file(&file)?;
    let parent = make_folders(&staging.top, path.parent_bytes().unwrap_or_default())?;
    let (from, to) = (name_of(index), path.name());
    if staging.force {
        if look(&parent, to)?.is_some_and(|found| kind(&found) != FileType::RegularFile) {
            return Err(io::Error::other("something that is no regular file is there"));
        }
        return Ok(rustix::fs::renameat(&staging.folder, from, &parent, to)?);
    }
    match renameat_with(&staging.folder, &from, &parent, to, RenameFlags::NOREPLACE) {
        // Some file systems cannot do that in one step.
        Err(Errno::INVAL | Errno::NOSYS) if look(&parent, to)?.is_none() => {
            Ok(rustix::fs::renameat(&staging.folder, from, &parent, to)?)
        }
        Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS) => Err(io::Error::other(SOMETHING_ELSE)),
        renamed => Ok(renamed?),
    }
}

/// A folder beneath the top, made with those above it where they are missing.
fn make_folders(top: &Beneath, path: &[u8]) -> io::Result<OwnedFd> {
    match top.folder(path) {
        Err(Errno::NOENT) if !path.is_empty() => {
            let at = path.iter().rposition(|byte| *byte == b'/');
            let (above, name) = at.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
            // A path has at most 4095 bytes, and so not many levels.
            let parent = make_folders(top, above)?;
            match mkdirat(parent, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            Ok(top.folder(path)?)
        }
        opened => Ok(opened?),
    }
}

/// Whether a file that was at its place holds what was fetched of its pieces meanwhile.
fn compare(staging: &Staging, files: &Files, index: usize) -> io::Result<()> {
    let layout = files.info().layout();
    let range = layout.files()[index].range();
    let mut pair = None;
    for piece in files.written_of(index) {
        let pieces = files.info().pieces().range(piece);
        let mut at = pieces.start.max(range.start) - range.start;
        let end = pieces.end.min(range.end) - range.start;
        let (staged, placed) = match &pair {
            Some(pair) => pair,
            None => pair.insert((staging.open_file(index, false)?, staging.open_placed(layout, index)?)),
        };
        let mut buffers = [vec![0; BUFFER as usize], vec![0; BUFFER as usize]];
        while at < end {
            let len = BUFFER.min(end - at) as usize;
            let [one, other] = &mut buffers;
            staged.read_exact_at(&mut one[..len], at)?;
            placed.read_exact_at(&mut other[..len], at)?;
            if one[..len] != other[..len] {
                return Err(io::Error::other(SOMETHING_ELSE));
            }
            at += len as u64;
        }
    }
    Ok(())
}
