//! Making `info` of files whose pieces were hashed.

use bendy::encoding::{Encoder, Error, SortedDictEncoder};
use cjp2p_wire::folder::FolderPath;

use super::info::Info;
use super::read::MetainfoError;
use crate::pieces::MAX_PIECE;

/// Pieces that are aimed at: metainfo of some 40 KB, and pieces that are worth a request to a peer.
const AIM_PIECES: u64 = 2000;
/// The shortest piece that is chosen, one block.
const MIN_AUTO: u32 = 16 << 10;
/// The longest piece that is chosen: longer ones keep readers waiting for a first byte.
const MAX_AUTO: u32 = 16 << 20;

/// The length of pieces for a torrent of `len` bytes: a power of two from 16 KiB to 16 MiB that makes at most some 2000 of
/// them if one does.
#[must_use]
pub fn auto_piece_length(len: u64) -> u32 {
    let mut length = MIN_AUTO;
    while length < MAX_AUTO && len.div_ceil(u64::from(length)) > AIM_PIECES {
        length *= 2;
    }
    length
}

/// What `info` is made of, beside the hashes.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The name of the file, or of the folder.
    pub name: FolderPath,
    /// Of a folder the files in it, with length in bytes and whether each may be executed; of a file one with its own name.
    pub files: Vec<(FolderPath, u64, bool)>,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Bytes of each piece but the last, 1 to [`MAX_PIECE`].
    pub piece_length: u32,
    /// Whether peers come from its trackers only.
    pub is_private: bool,
}

impl Spec {
    /// `info` with the SHA-1 of each piece, one behind the other. The same files give the same bytes.
    ///
    /// # Errors
    ///
    /// Where [`Info::parse`] would refuse it.
    pub fn info(&self, pieces: &[u8]) -> Result<Info, MetainfoError> {
        if !(1..=MAX_PIECE).contains(&self.piece_length) {
            return Err(MetainfoError::Field("piece length"));
        }
        let raw = self.encode(pieces).map_err(|_| MetainfoError::Field("info"))?;
        Info::parse(&raw)
    }

    fn encode(&self, pieces: &[u8]) -> Result<Vec<u8>, Error> {
        let mut encoder = Encoder::new();
        encoder.emit_dict(|mut info| {
            if self.is_folder {
                info.emit_pair_with(b"files", |value| {
                    value.emit_list(|list| {
                        for (path, len, is_executable) in &self.files {
                            list.emit_dict(|file| emit_file(file, path, *len, *is_executable))?;
                        }
                        Ok(())
                    })
                })?;
            } else if let [(_, len, is_executable)] = &*self.files {
                if *is_executable {
                    info.emit_pair(b"attr", "x")?;
                }
                info.emit_pair(b"length", len)?;
            }
            info.emit_pair_with(b"name", |value| value.emit_bytes(self.name.as_bytes()))?;
            info.emit_pair(b"piece length", self.piece_length)?;
            info.emit_pair_with(b"pieces", |value| value.emit_bytes(pieces))?;
            if self.is_private {
                info.emit_pair(b"private", 1u8)?;
            }
            Ok(())
        })?;
        encoder.get_output()
    }
}

fn emit_file(
    mut file: SortedDictEncoder<'_>,
    path: &FolderPath,
    len: u64,
    is_executable: bool,
) -> Result<(), Error> {
    if is_executable {
        file.emit_pair(b"attr", "x")?;
    }
    file.emit_pair(b"length", len)?;
    file.emit_pair_with(b"path", |value| {
        value.emit_list(|parts| {
            for part in path.parts() {
                parts.emit_bytes(part)?;
            }
            Ok(())
        })
    })
}
