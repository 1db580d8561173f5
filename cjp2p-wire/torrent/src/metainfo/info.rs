//! `info`: the name, the files and the hashes of the pieces, with the bytes that the info hash is of.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use cjp2p_wire::folder::FolderPath;
use sha1::{Digest, Sha1};

use crate::info_hash::InfoHash;
use crate::layout::Layout;
use crate::pieces::Pieces;
use crate::swarm::Torrent;

/// Longest `info` in bytes: 800,000 pieces.
pub const MAX_INFO: usize = 16 << 20;
/// Bytes of the hash of a piece.
pub(super) const HASH_LEN: usize = 20;

/// The dictionary `info` of a torrent: everything that its info hash promises.
///
/// Invariant: there is one hash for each piece, and the last piece ends with the last file.
#[derive(Clone, PartialEq, Eq)]
pub struct Info {
    pub(super) hash: InfoHash,
    pub(super) name: FolderPath,
    pub(super) pieces: Pieces,
    pub(super) layout: Arc<Layout>,
    pub(super) is_private: bool,
    /// The bytes that `hash` is of. [`MAX_INFO`] at the most.
    pub(super) raw: Arc<[u8]>,
    /// Where in `raw` the hashes of the pieces are.
    pub(super) hashes: Range<usize>,
}

impl Info {
    /// The SHA-1 of [`Info::raw`].
    #[must_use]
    pub const fn hash(&self) -> InfoHash {
        self.hash
    }

    /// The encoded dictionary, as others made it.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The name of the file, or of the folder that the files are in; one part of a path.
    #[must_use]
    pub const fn name(&self) -> &FolderPath {
        &self.name
    }

    /// The files.
    #[must_use]
    pub const fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Whether peers come from its trackers only (BEP 27).
    #[must_use]
    pub const fn is_private(&self) -> bool {
        self.is_private
    }

    /// Bytes of all files.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no torrent is empty")]
    pub fn len(&self) -> u64 {
        self.layout.len()
    }

    /// How its bytes are divided.
    #[must_use]
    pub const fn pieces(&self) -> Pieces {
        self.pieces
    }

    /// What a swarm must know of it.
    #[must_use]
    pub fn torrent(&self) -> Torrent {
        Torrent {
            info_hash: self.hash,
            pieces: self.pieces,
            info: self.raw.clone(),
            is_private: self.is_private,
        }
    }

    /// The SHA-1 of piece `index`, if there is one.
    #[must_use]
    pub fn piece_hash(&self, index: u32) -> Option<&[u8; HASH_LEN]> {
        let start = usize::try_from(index).ok()?.checked_mul(HASH_LEN)?;
        self.raw[self.hashes.clone()].get(start..)?.first_chunk()
    }

    /// Whether `bytes` are piece `index`.
    #[must_use]
    pub fn is_piece(&self, index: u32, bytes: &[u8]) -> bool {
        self.piece_hash(index).is_some_and(|hash| {
            bytes.len() == self.pieces.len_of(index) as usize
                && <[u8; HASH_LEN]>::from(Sha1::digest(bytes)) == *hash
        })
    }
}

impl fmt::Debug for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Info({} {:?}, {} bytes)", self.hash, self.name, self.len())
    }
}
