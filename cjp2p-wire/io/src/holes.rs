//! Reading files without reading their holes: these are zeros, and the system would first fill its memory with them.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{SeekFrom, fstatfs, seek};
use rustix::io::Errno;

/// File systems that tell holes from data that is not on the disk yet: ext4 and its ancestors, XFS, Btrfs, F2FS, bcachefs, tmpfs,
/// and overlays of these. Others may call what was written just now a hole.
const TRUTHFUL: [u32; 7] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0xca45_1a4e, TMPFS, 0x794c_7630];
const TMPFS: u32 = 0x0102_1994;

/// Whether the file system of this file can be believed about where its holes are.
pub fn are_told(file: &File) -> bool {
    TRUTHFUL.contains(&kind(file))
}

fn kind(file: &File) -> u32 {
    fstatfs(file).map_or(0, |found| found.f_type as u32)
}

/// Whether to ask where the holes are. tmpfs would look at every page until it finds one, so it is asked only where there are some.
fn is_to_ask(file: &File) -> bool {
    match kind(file) {
        TMPFS => file.metadata().is_ok_and(|found| found.blocks().saturating_mul(512) < found.len()),
        kind => TRUTHFUL.contains(&kind),
    }
}

/// Reads a file piece by piece, best in the order in which they lie. It moves the place where the file stands.
#[derive(Clone, Debug, Default)]
pub struct HoleReader {
    /// No bytes are stored here.
    hole: Range<u64>,
    /// Here are some.
    data: Range<u64>,
}

impl HoleReader {
    /// Fills `block` from `offset` on, unless the file ends before. Returns how much of it.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn read(&mut self, file: &File, offset: u64, block: &mut [u8]) -> io::Result<usize> {
        let wanted = offset..offset.saturating_add(block.len() as u64);
        if !is_within(&wanted, &self.data) && !is_within(&wanted, &self.hole) {
            self.look(file, offset)?;
        }
        if is_within(&wanted, &self.hole) {
            block.fill(0);
            return Ok(block.len());
        }
        let mut filled = 0;
        while filled < block.len() {
            match file.read_at(&mut block[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn look(&mut self, file: &File, offset: u64) -> io::Result<()> {
        let found = if is_to_ask(file) { seek(file, SeekFrom::Data(offset)) } else { Err(Errno::OPNOTSUPP) };
        (self.hole, self.data) = match found {
            Ok(data) if data > offset => (offset..data, 0..0),
            Ok(_) => (0..0, offset..seek(file, SeekFrom::Hole(offset)).unwrap_or(u64::MAX)),
            // Nothing follows but a hole.
            Err(Errno::NXIO) => (offset..file.metadata()?.len().max(offset), 0..0),
            // There are none, or nobody knows.
            Err(_) => (0..0, 0..u64::MAX),
        };
        Ok(())
    }
}

fn is_within(inner: &Range<u64>, outer: &Range<u64>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 64 << 10;

    #[test]
    fn memory_is_asked_for_holes_only_where_there_are_some() {
        let Ok(file) = tempfile::tempfile_in("/dev/shm") else { return };
        if kind(&file) != TMPFS {
            return;
        }
        file.write_all_at(&[7; 2 * BLOCK], 0).unwrap();
        assert!(!is_to_ask(&file));
        file.set_len(4 * BLOCK as u64).unwrap();
        assert!(is_to_ask(&file));
    }

    #[test]
    fn what_is_read_is_what_is_there_whatever_the_holes() {
        let file = tempfile::tempfile().unwrap();
        let length = 40 * BLOCK + 77;
        file.set_len(length as u64).unwrap();
        for (at, bytes) in [(BLOCK + 5, 3), (9 * BLOCK, 4 * BLOCK), (20 * BLOCK - 1, 2)] {
            file.write_all_at(&vec![7; bytes], at as u64).unwrap();
        }
        let mut expected = vec![0; length];
        file.read_exact_at(&mut expected, 0).unwrap();
        for size in [1000, BLOCK, 3 * BLOCK + 1, 50 * BLOCK] {
            let (mut reader, mut found) = (HoleReader::default(), Vec::new());
            loop {
                let mut block = vec![0xaa; size];
                let count = reader.read(&file, found.len() as u64, &mut block).unwrap();
                found.extend_from_slice(&block[..count]);
                if count < size {
                    break;
                }
            }
            assert!(found == expected, "{size}");
        }
        assert_eq!(HoleReader::default().read(&file, 1 << 40, &mut [0; 9]).unwrap(), 0);
    }
}
