//! `--magnets`: the thread that makes metainfo of what is shared, one entry after the other.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use cjp2p_io::event_loop::Waker;
use cjp2p_io::names::shown;
use cjp2p_io::torrent::hash::hash_pieces;
use cjp2p_io::torrent::look::{LookError, look};
use cjp2p_io::torrent::space::{Space, SpaceError};
use cjp2p_io::walk::Rules;
use cjp2p_torrent::metainfo::{Metainfo, auto_piece_length};
use cjp2p_torrent::pieces::Pieces;

/// Bytes of the hash of a piece.
const HASH_LEN: usize = 20;

/// A torrent that was made, with what reads it.
pub(super) struct Made {
    pub(super) metainfo: Metainfo,
    pub(super) space: Space,
    pub(super) path: PathBuf,
}

/// Starts the thread, which ends when all is made or nobody takes it. `waker` is woken for each.
pub(super) fn start(paths: Vec<PathBuf>, rules: Rules, waker: Waker) -> std::io::Result<Receiver<Made>> {
    // Each holds a folder open.
    let (sender, made) = mpsc::sync_channel(4);
    thread::Builder::new().name("make torrents".into()).spawn(move || {
        for path in paths {
            match make(&path, rules) {
                Ok(one) => match sender.send(one) {
                    Ok(()) => waker.wake(),
                    Err(_) => return,
                },
                Err(error) => log::warn!("{}: no torrent: {error}", shown(&path)),
            }
        }
    })?;
    Ok(made)
}

fn make(path: &Path, rules: Rules) -> Result<Made, String> {
    let found = look(path, rules).map_err(|error| match error {
        LookError::Io(_, error) => error.to_string(),
        error => error.to_string(),
    })?;
    let len = found.space.layout().len();
    let piece_length = auto_piece_length(len);
    let pieces = Pieces::new(len, piece_length).ok_or("it is too large")?;
    let mut hashes = vec![0; pieces.count() as usize * HASH_LEN];
    let mut failed: Option<SpaceError> = None;
    let take = |piece: u32, hashed: Result<[u8; HASH_LEN], SpaceError>| match hashed {
        Ok(hash) => hashes[piece as usize * HASH_LEN..][..HASH_LEN].copy_from_slice(&hash),
        Err(error) => failed = failed.take().or(Some(error)),
    };
    hash_pieces(&found.space, pieces, take, &mut |_| ());
    failed.map_or_else(|| found.space.check_unchanged(), Err).map_err(|error| error.to_string())?;
    let (spec, space) = found.into_parts(piece_length, false);
    let info = spec.info(&hashes).map_err(|error| error.to_string())?;
    Ok(Made { metainfo: Metainfo::new(info), space, path: path.to_owned() })
}
