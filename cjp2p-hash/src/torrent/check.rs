//! `-c --torrent`: which files of a torrent are right.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::deep_path;
use cjp2p_io::torrent::hash::hash_pieces;
use cjp2p_io::torrent::space::Space;
use cjp2p_torrent::metainfo::Info;
use cjp2p_torrent::piece_set::PieceSet;
use rustix::fs::OFlags;

use super::read;
use crate::check::{CheckResult, Counts, tell};
use crate::cli::Args;
use crate::files::{Trouble, reason};
use crate::output::{Output, complain};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Checks the files of the torrent `metainfo` that are in `folder`, by the name of the torrent.
pub(crate) fn run(
    metainfo: &OsStr,
    folder: &OsStr,
    args: &Args,
    output: &mut Output,
) -> Result<Exit, ToolError> {
    let opened = read(metainfo).and_then(|metainfo| {
        let opened: OwnedFd =
            deep_path::open(Path::new(folder), FOLDER).map_err(|error| Trouble::new(folder, error))?;
        Ok((metainfo.info, opened))
    });
    let (info, opened) = match opened {
        Ok(opened) => opened,
        Err(trouble) => {
            complain(trouble);
            return Ok(Exit::Failure);
        }
    };
    output.expect(info.len());
    let space = Space::beside(opened, info.layout().clone());
    let (right, mut unreadable) = hash(&info, &space, output);
    let mut counts = Counts::default();
    for (index, file) in info.layout().files().iter().enumerate().filter(|(_, file)| file.is_written()) {
        let name = Path::new(folder).join(OsStr::from_bytes(info.layout().path(index).as_bytes()));
        let pieces = info.pieces().overlapping(&file.range());
        let error = match unreadable.remove(&index) {
            Some(error) => Some(error),
            None if !pieces.is_empty() && pieces.clone().all(|piece| right.contains(piece)) => None,
            // Nothing was read of an empty one, nor where a file before it in a piece cannot be read.
            None => space.open(index).err().map(|error| error.error),
        };
        let result = match error {
            None if pieces.clone().all(|piece| right.contains(piece)) => CheckResult::Right,
            None => CheckResult::Wrong,
            Some(error) if error.kind() == io::ErrorKind::NotFound && args.ignore_missing => continue,
            Some(error) => {
                let missing = error.kind() == io::ErrorKind::NotFound;
                if !args.status {
                    complain(format_args!("{}: {}", cjp2p_io::names::shown(&name), reason(&error)));
                }
                if missing { CheckResult::Missing } else { CheckResult::Unreadable }
            }
        };
        let id = format!("urn:btih:{}", info.hash());
        tell(name.as_os_str(), &id, result, args, output, &mut counts)?;
    }
    if !args.status {
        counts.complain();
    }
    if counts.right + counts.wrong + counts.unreadable == 0 {
        complain(Trouble::new(OsString::from(folder), io::Error::other("no file was verified")));
        return Ok(Exit::Failure);
    }
    Ok(if counts.wrong + counts.unreadable == 0 { Exit::Done } else { Exit::Failure })
}

/// The pieces that are right, and why files cannot be read.
fn hash(info: &Info, space: &Space, output: &mut Output) -> (PieceSet, BTreeMap<usize, io::Error>) {
    let mut right = PieceSet::none(info.pieces().count());
    let mut unreadable = BTreeMap::new();
    let take = |piece: u32, hashed: Result<_, cjp2p_io::torrent::space::SpaceError>| match hashed {
        Ok(hash) if info.piece_hash(piece) == Some(&hash) => drop(right.insert(piece)),
        Ok(_) => {}
        Err(error) => drop(unreadable.entry(error.index).or_insert(error.error)),
    };
    hash_pieces(space, info.pieces(), take, &mut |length| output.advance(length));
    (right, unreadable)
}
