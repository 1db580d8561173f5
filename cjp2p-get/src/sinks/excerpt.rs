//! A file of chosen bytes of another, each once, in the order of their offsets.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use cjp2p_wire::range_set::RangeSet;

use cjp2p_io::partial::sparse;

/// Bytes that are compared at once.
const PIECE: u64 = 256 << 10;

/// Writes the bytes `ranges` of `whole` to a new file at `path`, in place of what a killed process may have left there.
pub(super) fn write(whole: &File, ranges: &RangeSet, path: &Path) -> io::Result<File> {
    let _ = fs::remove_file(path);
    let out = File::create_new(path)?;
    let there = whole.metadata()?.len();
    let mut end = 0;
    for range in ranges.iter() {
        if range.end > there {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for part in sparse::data(whole, range.clone()) {
            let (mut input, mut output) = (whole, &out);
            input.seek(SeekFrom::Start(part.start))?;
            output.seek(SeekFrom::Start(end + part.start - range.start))?;
            let length = part.end - part.start;
            // The kernel copies it, where it can by sharing blocks.
            if io::copy(&mut input.take(length), &mut output)? < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        end += range.end - range.start;
    }
    // It may end with a hole.
    out.set_len(end)?;
    Ok(out)
}

/// Whether the file `there` holds the bytes `ranges` of `whole` and nothing else.
pub(super) fn is_same(whole: &File, ranges: &RangeSet, there: &File) -> io::Result<bool> {
    if there.metadata()?.len() != ranges.total() {
        return Ok(false);
    }
    let (mut expected, mut found) = (vec![0; PIECE as usize], vec![0; PIECE as usize]);
    let mut offset = 0;
    for range in ranges.iter() {
        let mut start = range.start;
        while start < range.end {
            let length = PIECE.min(range.end - start);
            let (expected, found) = (&mut expected[..length as usize], &mut found[..length as usize]);
            whole.read_exact_at(expected, start)?;
            there.read_exact_at(found, offset)?;
            if expected != found {
                return Ok(false);
            }
            start += length;
            offset += length;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_the_ranges_one_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, path) = (folder.path().join("whole"), folder.path().join("excerpt"));
        let bytes: Vec<u8> = (0..1_000_000u32).map(|n| (n ^ (n >> 8)) as u8).collect();
        fs::write(&whole, &bytes).unwrap();
        fs::write(&path, "what a killed process left").unwrap();
        let whole = File::open(whole).unwrap();
        let ranges: RangeSet = [5..6, 100_000..800_001, 999_999..1_000_000].into_iter().collect();
        let expected = [&bytes[5..6], &bytes[100_000..800_001], &bytes[999_999..]].concat();
        write(&whole, &ranges, &path).unwrap();
        assert!(fs::read(&path).unwrap() == expected);
        assert!(is_same(&whole, &ranges, &File::open(&path).unwrap()).unwrap());
        for at in [0, 1, 400_000, 700_002] {
            let mut changed = expected.clone();
            changed[at] ^= 1;
            fs::write(&path, changed).unwrap();
            assert!(!is_same(&whole, &ranges, &File::open(&path).unwrap()).unwrap(), "{at}");
        }
        for other in [&expected[..700_002], &[&expected[..], b"x"].concat()] {
            fs::write(&path, other).unwrap();
            assert!(!is_same(&whole, &ranges, &File::open(&path).unwrap()).unwrap());
        }
        let past: RangeSet = std::iter::once(999_999..1_000_001).collect();
        assert_eq!(write(&whole, &past, &path).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
