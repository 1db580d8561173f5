//! Reading a file of any size piece by piece.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::in_memory;
use cjp2p_wire::content_id::ContentId;
use sha2::{Digest, Sha256};

/// Bytes that are read at once.
pub const BUFFER: u64 = 256 << 10;

/// Reads all of `buffer` from a file. Unless it `may_wait` for a disk, what is not in memory is
/// [`WouldBlock`](io::ErrorKind::WouldBlock).
///
/// # Errors
///
/// Whatever reading reports, and where the file ends before.
pub fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64, may_wait: bool) -> io::Result<()> {
    match may_wait {
        true => file.read_exact_at(buffer, offset),
        false => in_memory::read_exact_at(file, buffer, offset),
    }
}

/// Hands these bytes of a file to `each`, piece by piece.
///
/// # Errors
///
/// Whatever reading reports, and where the file ends before.
pub fn read_through(file: &File, range: Range<u64>, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut offset = range.start;
    let mut buffer = vec![0; BUFFER as usize];
    while offset < range.end {
        let part = &mut buffer[..BUFFER.min(range.end - offset) as usize];
        file.read_exact_at(part, offset)?;
        each(part);
        offset += part.len() as u64;
    }
    Ok(())
}

/// Whether a file of `length` bytes is the content `id`. Of a plain name nobody can tell.
///
/// # Errors
///
/// Whatever reading reports.
pub fn judge(id: &ContentId, file: &File, length: u64) -> io::Result<bool> {
    match id {
        ContentId::Sha256(hash) => {
            let mut hasher = Sha256::new();
            read_through(file, 0..length, |bytes| hasher.update(bytes))?;
            Ok(hasher.finalize()[..] == hash[..])
        }
        ContentId::Blake3(hash) => {
            let mut hasher = blake3::Hasher::new();
            read_through(file, 0..length, |bytes| {
                hasher.update(bytes);
            })?;
            Ok(hasher.finalize().as_bytes() == hash)
        }
        ContentId::Name(_) | ContentId::Tree(_) => Ok(true),
    }
}
