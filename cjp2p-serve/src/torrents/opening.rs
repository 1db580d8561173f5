//! The thread that looks at the files of torrents before they are seeded: what is known of those whose metainfo is given, and with
//! `--magnets` the metainfo of what is shared, one entry after the other.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use cjp2p_io::event_loop::Waker;
use cjp2p_io::names::shown;
use cjp2p_io::torrent::hash::hash_pieces;
use cjp2p_io::torrent::look::{Found, LookError, look};
use cjp2p_io::torrent::space::{Space, SpaceError};
use cjp2p_io::walk::Rules;
use cjp2p_torrent::layout::Role;
use cjp2p_torrent::metainfo::{Metainfo, auto_piece_length};
use cjp2p_torrent::piece_set::PieceSet;
use cjp2p_torrent::pieces::Pieces;

use super::prepared::{GivenTorrent, ToMake};
use super::records::{Records, SeedRecord, origin_of};

/// Bytes of the hash of a piece.
const HASH_LEN: usize = 20;
/// Files that were changed just now are waited for so long at the most: twice the coarsest tick of a file system.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// A torrent whose files were looked at.
pub(super) struct Opened {
    pub(super) metainfo: Metainfo,
    pub(super) space: Space,
    pub(super) path: PathBuf,
    /// The pieces that are right; the others are to be hashed.
    pub(super) right: PieceSet,
    /// How many pieces were hashed already.
    pub(super) hashed: u32,
    /// What is known of it between runs.
    pub(super) record: RecordState,
}

/// The record of a torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordState {
    /// There is none that this process would write: it is of a torrent that is made here, and written already.
    NotOurs,
    /// All that is known is in it.
    UpToDate,
    /// It is to be written.
    Outdated,
    /// That is being done.
    Writing,
}

/// What is to be seeded.
pub(super) struct Sources {
    pub(super) given: Vec<GivenTorrent>,
    pub(super) to_make: Vec<ToMake>,
    pub(super) rules: Rules,
    pub(super) records: Records,
}

/// Starts the thread, which ends when all is opened or nobody takes it. `waker` is woken for each.
pub(super) fn start(sources: Sources, waker: Waker) -> std::io::Result<Receiver<Opened>> {
    // Each holds a folder open.
    let (sender, opened) = mpsc::sync_channel(4);
    thread::Builder::new().name("open torrents".into()).spawn(move || {
        let Sources { given, to_make, rules, records } = sources;
        records.tidy();
        let given = given.into_iter().map(|given| Some(open(given, &records)));
        let made = to_make.into_iter().map(|to_make| {
            let path = shown(&to_make.path).to_string();
            let made = make(to_make, rules, &records);
            made.inspect_err(|error| log::warn!("{path}: no torrent: {error}")).ok()
        });
        for one in given.chain(made).flatten() {
            match sender.send(one) {
                Ok(()) => waker.wake(),
                Err(_) => return,
            }
        }
    })?;
    Ok(opened)
}

/// Looks at what there is of a torrent, and which of its pieces need not be hashed.
fn open(given: GivenTorrent, records: &Records) -> Opened {
    let GivenTorrent { metainfo, folder, path } = given;
    let info = metainfo.info.clone();
    let mut space = Space::beside(OwnedFd::from(folder), info.layout().clone());
    space.pin();
    if !space.settles_in().is_zero() {
        thread::sleep(space.settles_in().min(MAX_WAIT));
        space.pin();
    }
    let mut right = PieceSet::none(info.pieces().count());
    let mut record = RecordState::Outdated;
    if let Some((known, is_old)) = records.seed(&info) {
        right = still_right(&known, &space, info.pieces());
        if !is_old && right.is_full() {
            record = RecordState::UpToDate;
        }
    }
    Opened { metainfo, space, path, right, hashed: 0, record }
}

/// The pieces all of whose files are in the states in which they were right.
fn still_right(known: &SeedRecord, space: &Space, pieces: Pieces) -> PieceSet {
    let mut right = known.right.clone();
    let files = space.layout().files().iter().zip(space.lasting_states().zip(&known.states));
    for (file, (is, was)) in files {
        if file.role() != Role::Padding && (is.is_none() || is != *was) {
            for piece in pieces.overlapping(&file.range()) {
                right.remove(piece);
            }
        }
    }
    right
}

fn make(to_make: ToMake, rules: Rules, records: &Records) -> Result<Opened, String> {
    let ToMake { path, lasting } = to_make;
    let mut found = look_at(&path, rules)?;
    if !found.space.settles_in().is_zero() {
        thread::sleep(found.space.settles_in().min(MAX_WAIT));
        found = look_at(&path, rules)?;
    }
    let len = found.space.layout().len();
    let piece_length = auto_piece_length(len);
    let pieces = Pieces::new(len, piece_length).ok_or("it is too large")?;
    let origin = origin_of(&found, piece_length);
    let known = origin.and_then(|origin| records.made(&lasting, &origin, pieces.count()));
    let (hashes, hashed) = match known {
        Some(hashes) => (hashes, 0),
        None => {
            let hashes = hash(&found, pieces)?;
            if let Some(origin) = origin {
                records.keep_made(&lasting, &origin, &hashes);
            }
            (hashes, pieces.count())
        }
    };
    let (spec, space) = found.into_parts(piece_length, false);
    let info = spec.info(&hashes).map_err(|error| error.to_string())?;
    let right = PieceSet::all(pieces.count());
    let metainfo = Metainfo::new(info);
    Ok(Opened { metainfo, space, path, right, hashed, record: RecordState::NotOurs })
}

fn look_at(path: &Path, rules: Rules) -> Result<Found, String> {
    look(path, rules).map_err(|error| match error {
        LookError::Io(_, error) => error.to_string(),
        error => error.to_string(),
    })
}

fn hash(found: &Found, pieces: Pieces) -> Result<Vec<u8>, String> {
    let mut hashes = vec![0; pieces.count() as usize * HASH_LEN];
    let mut failed: Option<SpaceError> = None;
    let take = |piece: u32, hashed: Result<[u8; HASH_LEN], SpaceError>| match hashed {
        Ok(hash) => hashes[piece as usize * HASH_LEN..][..HASH_LEN].copy_from_slice(&hash),
        Err(error) => failed = failed.take().or(Some(error)),
    };
    hash_pieces(&found.space, pieces, take, &mut |_| ());
    failed.map_or_else(|| found.space.check_unchanged(), Err).map_err(|error| error.to_string())?;
    Ok(hashes)
}
