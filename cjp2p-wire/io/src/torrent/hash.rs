//! The SHA-1 of the pieces of a torrent, on all cores.
//!
//! Each thread takes the next piece that nobody has. The threads are not those of [`Workers`](crate::workers::Workers): they borrow
//! the files and end with them.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use cjp2p_torrent::pieces::Pieces;
use sha1::{Digest, Sha1};

use super::space::{Space, SpaceError, SpaceReader};

/// Bytes that are read before they are hashed: they stay in the cache of a core.
const READ_LEN: u64 = 128 << 10;
/// More threads than this only wait for the disk.
const MAX_THREADS: usize = 16;

/// The SHA-1 of a piece.
pub type PieceHash = [u8; 20];

/// Hashes all pieces, and calls `take` with each, in no order. `progress` is told how many bytes were hashed since the last time.
pub fn hash_pieces(
    space: &Space,
    pieces: Pieces,
    take: impl FnMut(u32, Result<PieceHash, SpaceError>) + Send,
    progress: &mut dyn FnMut(u64),
) {
    let (next, done, take) = (AtomicU32::new(0), AtomicU64::new(0), Mutex::new(take));
    let work = |tell: &mut dyn FnMut()| {
        let mut reader = SpaceReader::new(space);
        let mut buffer = Vec::new();
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= pieces.count() {
                return;
            }
            let hashed = hash_piece(&mut reader, pieces, piece, &mut buffer);
            (take.lock().unwrap_or_else(PoisonError::into_inner))(piece, hashed);
            done.fetch_add(u64::from(pieces.len_of(piece)), Ordering::Relaxed);
            tell();
        }
    };
    let threads = thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_THREADS));
    let mut told = 0;
    thread::scope(|scope| {
        for _ in 1..threads {
            // Where the system has no room for a thread, the others do its part.
            if thread::Builder::new().spawn_scoped(scope, || work(&mut || {})).is_err() {
                break;
            }
        }
        work(&mut || {
            let now = done.load(Ordering::Relaxed);
            progress(now - std::mem::replace(&mut told, now));
        });
    });
    progress(done.load(Ordering::Relaxed) - told);
}

/// Hashes one piece, which it reads into `buffer` part by part.
///
/// # Errors
///
/// Those of [`SpaceReader::read`].
pub fn hash_piece(
    reader: &mut SpaceReader<'_>,
    pieces: Pieces,
    piece: u32,
    buffer: &mut Vec<u8>,
) -> Result<PieceHash, SpaceError> {
    let range = pieces.range(piece);
    buffer.resize(READ_LEN.min(u64::from(pieces.piece_length())) as usize, 0);
    let mut hasher = Sha1::new();
    for start in range.clone().step_by(READ_LEN as usize) {
        let part = &mut buffer[..READ_LEN.min(range.end - start) as usize];
        reader.read(start, part)?;
        hasher.update(&*part);
    }
    Ok(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::sync::Arc;

    use cjp2p_torrent::layout::{Layout, Role};
    use cjp2p_wire::folder::FolderPath;

    use super::*;

    const FILE: Role = Role::File { is_executable: false };

    fn path(text: &str) -> FolderPath {
        FolderPath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn pieces_go_over_the_ends_of_files_and_over_padding() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir_all(base.path().join("top/sub")).unwrap();
        let (one, two) = (vec![1; 400_000], vec![2; 300_001]);
        fs::write(base.path().join("top/one"), &one).unwrap();
        fs::write(base.path().join("top/sub/two"), &two).unwrap();
        let files = [("one", 400_000, FILE), (".pad", 7, Role::Padding), ("sub/two", 300_001, FILE)];
        let layout =
            Layout::of_folder(path("top"), files.map(|(name, len, role)| (path(name), len, role))).unwrap();
        let all = [one, vec![0; 7], two].concat();
        let space = Space::beside(File::open(base.path()).unwrap().into(), Arc::new(layout));
        for length in [16 << 10, 150_000, 1 << 20] {
            let pieces = Pieces::new(all.len() as u64, length).unwrap();
            let mut found = vec![None; pieces.count() as usize];
            let mut hashed = 0;
            let take = |piece: u32, hash: Result<PieceHash, SpaceError>| found[piece as usize] = hash.ok();
            hash_pieces(&space, pieces, take, &mut |more| hashed += more);
            let wanted = all.chunks(length as usize).map(|piece| Some(Sha1::digest(piece).into()));
            assert!(found.into_iter().eq(wanted), "pieces of {length}");
            assert_eq!(hashed, all.len() as u64);
        }
    }

    #[test]
    fn a_file_that_is_missing_too_short_or_a_link_spoils_its_own_pieces_only() {
        let base = tempfile::tempdir().unwrap();
        let top = base.path().join("top");
        fs::create_dir(&top).unwrap();
        fs::write(top.join("a"), [1; 10]).unwrap();
        fs::write(top.join("b"), [1; 9]).unwrap();
        std::os::unix::fs::symlink("a", top.join("c")).unwrap();
        let layout =
            Layout::of_folder(path("top"), ["a", "b", "c", "d"].map(|name| (path(name), 10, FILE))).unwrap();
        let space = Space::beside(File::open(base.path()).unwrap().into(), Arc::new(layout));
        let mut wrong = vec![None; 4];
        let take = |piece: u32, hash: Result<PieceHash, SpaceError>| {
            wrong[piece as usize] = hash.err().map(|error| error.index);
        };
        hash_pieces(&space, Pieces::new(40, 10).unwrap(), take, &mut |_| ());
        assert_eq!(wrong, [None, Some(1), Some(2), Some(3)]);
    }
}
