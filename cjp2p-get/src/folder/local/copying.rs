//! Copies of files, without their holes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, copy_file_range, seek};
use rustix::io::Errno;

/// Bytes that are copied at once where the system does not do it by itself.
const BUFFER: u64 = 256 << 10;

/// Makes the empty file `to` what `from` is, of this length. It moves the place where `from` stands.
pub(super) fn copy(from: &File, to: &File, length: u64) -> io::Result<()> {
    to.set_len(length)?;
    let mut at = 0;
    while at < length {
        let data = match seek(from, SeekFrom::Data(at)) {
            Ok(start) => start..seek(from, SeekFrom::Hole(start)).unwrap_or(length).min(length),
            // Nothing follows but a hole.
            Err(Errno::NXIO) => break,
            // The file system does not tell.
            Err(_) => at..length,
        };
        if data.start < data.end {
            copy_range(from, to, data.clone())?;
        }
        at = data.end.max(at + 1);
    }
    match from.metadata()?.len() {
        found if found == length => Ok(()),
        _ => Err(io::Error::other("it was changed while it was copied")),
    }
}

fn copy_range(from: &File, to: &File, mut range: Range<u64>) -> io::Result<()> {
    while range.start < range.end {
        let (mut read_at, mut write_at) = (range.start, range.start);
        let most = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(1 << 30);
        match copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), most) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => range.start += count as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM) => {
                return copy_by_hand(from, to, range);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_by_hand(from: &File, to: &File, mut range: Range<u64>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER.min(range.end - range.start) as usize];
    while range.start < range.end {
        let part = &mut buffer[..BUFFER.min(range.end - range.start) as usize];
        from.read_exact_at(part, range.start)?;
        to.write_all_at(part, range.start)?;
        range.start += part.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_copy_is_the_same_and_its_holes_stay_holes() {
        let length = 3 << 20;
        let from = tempfile::tempfile().unwrap();
        from.set_len(length).unwrap();
        for (at, bytes) in [(5, 3), (1 << 20, 300_000), (length - 1, 1)] {
            from.write_all_at(&vec![7; bytes], at).unwrap();
        }
        let mut expected = vec![0; length as usize];
        from.read_exact_at(&mut expected, 0).unwrap();
        for by_hand in [false, true] {
            let to = tempfile::tempfile().unwrap();
            if by_hand {
                copy_by_hand(&from, &to, 0..length).unwrap();
            } else {
                copy(&from, &to, length).unwrap();
                assert!(to.metadata().unwrap().blocks() <= from.metadata().unwrap().blocks() + 16);
            }
            let mut found = vec![1; length as usize];
            to.read_exact_at(&mut found, 0).unwrap();
            assert!(found == expected);
        }
        let to = tempfile::tempfile().unwrap();
        assert!(copy(&from, &to, length + 1).is_err(), "it is shorter");
        assert!(copy(&from, &to, length - 1).is_err(), "it is longer");
    }
}
