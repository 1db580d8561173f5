//! `info`: the name, the files and the hashes of the pieces, with the bytes that the info hash is of.

use std::fmt;
use std::ops::Range;

use cjp2p_wire::folder::FolderPath;
use sha1::{Digest, Sha1};

use crate::info_hash::InfoHash;
use crate::layout::Layout;

/// Longest `info` in bytes: 800,000 pieces.
pub const MAX_INFO: usize = 16 << 20;
/// Longest piece in bytes.
pub const MAX_PIECE_LENGTH: u32 = 256 << 20;
/// Bytes of the hash of a piece.
pub(super) const HASH_LEN: usize = 20;

/// The dictionary `info` of a torrent: everything that its info hash promises.
///
/// Invariant: there is one hash for each piece, and the last piece ends with the last file.
#[derive(Clone, PartialEq, Eq)]
pub struct Info {
    pub(super) hash: InfoHash,
    pub(super) name: FolderPath,
    pub(super) piece_length: u32,
    pub(super) layout: Layout,
    pub(super) is_private: bool,
    /// The bytes that `hash` is of. [`MAX_INFO`] at the most.
    pub(super) raw: Box<[u8]>,
    /// Where in `raw` the hashes of the pieces are.
    pub(super) pieces: Range<usize>,
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
    pub const fn layout(&self) -> &Layout {
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
    pub const fn len(&self) -> u64 {
        self.layout.len()
    }

    /// Bytes of each piece but the last, which may be shorter.
    #[must_use]
    pub const fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// How many pieces there are; at least one.
    #[must_use]
    pub fn piece_count(&self) -> u32 {
        u32::try_from(self.pieces.len() / HASH_LEN).expect("`info` is at most MAX_INFO long")
    }

    /// The bytes of piece `index` in the torrent; empty behind the last.
    #[must_use]
    pub fn piece_range(&self, index: u32) -> Range<u64> {
        let start = u64::from(index) * u64::from(self.piece_length);
        start.min(self.len())..(start + u64::from(self.piece_length)).min(self.len())
    }

    /// The length of piece `index` in bytes; 0 behind the last.
    #[must_use]
    pub fn piece_len(&self, index: u32) -> u32 {
        let range = self.piece_range(index);
        u32::try_from(range.end - range.start).expect("at most the piece length")
    }

    /// The pieces that have bytes of `range` of the torrent.
    #[must_use]
    pub fn pieces_of(&self, range: Range<u64>) -> Range<u32> {
        let end = range.end.min(self.len());
        if range.start >= end {
            return 0..0;
        }
        let piece = |at: u64| {
            u32::try_from(at / u64::from(self.piece_length)).expect("pieces are counted in 32 bits")
        };
        piece(range.start)..piece(end - 1) + 1
    }

    /// The SHA-1 of piece `index`, if there is one.
    #[must_use]
    pub fn piece_hash(&self, index: u32) -> Option<&[u8; HASH_LEN]> {
        let start = usize::try_from(index).ok()?.checked_mul(HASH_LEN)?;
        self.raw[self.pieces.clone()].get(start..)?.first_chunk()
    }

    /// Whether `bytes` are piece `index`.
    #[must_use]
    pub fn is_piece(&self, index: u32, bytes: &[u8]) -> bool {
        self.piece_hash(index).is_some_and(|hash| {
            bytes.len() == self.piece_len(index) as usize
                && <[u8; HASH_LEN]>::from(Sha1::digest(bytes)) == *hash
        })
    }
}

impl fmt::Debug for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Info({} {:?}, {} bytes)", self.hash, self.name, self.len())
    }
}
