//! `--write-torrent`: hashes a file or folder, and writes its metainfo.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::names::shown;
use cjp2p_io::state_dir::{folder_of, sync_file};
use cjp2p_io::torrent::hash::hash_pieces;
use cjp2p_io::torrent::look::{Found, look};
use cjp2p_io::walk::Rules;
use cjp2p_torrent::metainfo::{Info, Metainfo, auto_piece_length};
use cjp2p_torrent::pieces::Pieces;
use cjp2p_wire::content_id::ContentId;

use super::print;
use crate::cli::Args;
use crate::digest::digest;
use crate::files::{self, Trouble};
use crate::hashers::{Failed, Wanted};
use crate::output::{Output, complain};

/// Bytes of the hash of a piece.
const HASH_LEN: usize = 20;

/// Makes the torrent that `args` ask for.
pub(crate) fn write(path: &Path, target: &Path, args: &Args, output: &mut Output) -> Result<Exit, ToolError> {
    let unwritable = |error: io::Error| {
        ToolError::new(Exit::Destination, format!("{}: {}", shown(target), files::reason(&error)))
    };
    let is_there = || io::Error::other("is there already; --force replaces it");
    if !args.torrents.force && fs::symlink_metadata(target).is_ok() {
        return Err(unwritable(is_there()));
    }
    let rules = Rules { hidden: args.hidden, follow: false };
    let made = make(path, rules, args, output);
    let metainfo = match made {
        Ok(metainfo) => metainfo,
        Err(message) => {
            complain(message);
            return Ok(Exit::Failure);
        }
    };
    let mut file = tempfile::Builder::new()
        .prefix(".")
        .suffix(".part")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder_of(target))
        .map_err(unwritable)?;
    file.write_all(&metainfo.to_bytes()).and_then(|()| sync_file(file.as_file())).map_err(unwritable)?;
    let kept = if args.torrents.force { file.persist(target) } else { file.persist_noclobber(target) };
    kept.map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => unwritable(is_there()),
        _ => unwritable(error.error),
    })?;
    print(target.as_os_str(), &metainfo, args.json, output)?;
    Ok(Exit::Done)
}

/// The message says what is wrong.
fn make(path: &Path, rules: Rules, args: &Args, output: &mut Output) -> Result<Metainfo, String> {
    let found = look(path, rules).map_err(|error| format!("{error}"))?;
    let len = found.space.layout().len();
    let piece_length = args.torrents.piece_length.unwrap_or_else(|| auto_piece_length(len));
    let pieces = Pieces::new(len, piece_length)
        .ok_or("there would be too many pieces; give a longer --piece-length")?;
    output.expect(len);
    let hashes = hash(&found, pieces, output).map_err(|error| format!("{}: {error}", shown(path)))?;
    let is_folder = found.is_folder;
    let info = found.spec(piece_length, args.torrents.private).info(&hashes);
    let info: Info = info.map_err(|error| format!("{}: {error}", shown(path)))?;
    let mut metainfo = Metainfo::new(info);
    if !is_folder {
        metainfo.content = Some(content_id(path, len, output)?);
    }
    // Each in a tier of its own: they are asked one after another.
    metainfo.trackers = args.torrents.trackers.iter().map(|url| vec![url.clone()]).collect();
    metainfo.web_seeds.clone_from(&args.torrents.web_seeds);
    Ok(metainfo)
}

/// The hashes of all pieces, one behind the other.
fn hash(found: &Found, pieces: Pieces, output: &mut Output) -> Result<Vec<u8>, String> {
    let mut hashes = vec![0; pieces.count() as usize * HASH_LEN];
    let mut failed = None;
    let take = |piece: u32, hashed: Result<[u8; HASH_LEN], _>| match hashed {
        Ok(hash) => hashes[piece as usize * HASH_LEN..][..HASH_LEN].copy_from_slice(&hash),
        Err(error) => failed = failed.take().or(Some(error)),
    };
    hash_pieces(&found.space, pieces, take, &mut |length| output.advance(length));
    match failed.map_or_else(|| found.space.check_unchanged(), Err) {
        Ok(()) => Ok(hashes),
        Err(error) => Err(error.to_string()),
    }
}

/// The CJP2P id of a single file, by which a magnet names it in both networks.
fn content_id(path: &Path, len: u64, output: &mut Output) -> Result<ContentId, String> {
    let wanted = Wanted { blake3: true, ..Wanted::default() };
    let trouble = |error: io::Error| Trouble::new(path, error).to_string();
    let input = files::open(path.as_os_str()).map_err(trouble)?;
    let digests = digest(input, wanted, &mut |_| output.advance(0))
        .map_err(|(Failed::Reading(error) | Failed::Leaves(error))| trouble(error))?;
    match digests.tree.filter(|_| digests.length == len) {
        Some(tree) => Ok(ContentId::Blake3(*tree.root())),
        None => Err(trouble(crate::input::changed())),
    }
}
