//! Hashing a file of any size from one read, in flat memory, on all cores where that helps.

use std::io::{self, Seek, SeekFrom};

use cjp2p_io::holes::HoleReader;
use cjp2p_wire::tree::GROUP_LEN;

use crate::hashers::{Digests, Failed, Hashers, Wanted};
use crate::input::{BLOCK_LEN, Input, PIECE_LEN, RegularFile, changed, read_full};
use crate::spread::{spread, spread_sha256};
use crate::stream::stream;

/// A shorter file is hashed before threads for it are worth their start.
const SPREAD_FROM: u64 = 4 * GROUP_LEN;
/// In a shorter file holes are read like the rest.
const HOLES_FROM: u64 = 2 * GROUP_LEN;
/// With SHA-256, which one thread does alone, there is less to gain.
const SPREAD_SHA256_FROM: u64 = 32 * GROUP_LEN;

/// Computes what is `wanted` over all of `input`. Calls `progress` with the length of each part that is done.
pub(crate) fn digest(
    input: Input,
    wanted: Wanted<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Digests, Failed> {
    match input {
        Input::File(input) => {
            let expected = input.expected();
            let spread_from = if wanted.sha256 { SPREAD_SHA256_FROM } else { SPREAD_FROM };
            let digests = if expected == 0 {
                stream(&mut input.file(), wanted, progress)?
            } else if expected < spread_from {
                in_line(&input, wanted, progress)?
            } else if let Some(digests) = on_all_cores(&input, wanted, progress)? {
                move_to_end(&input, digests.length)?;
                digests
            } else {
                in_line(&input, wanted, progress)?
            };
            input.check_unchanged()?;
            Ok(digests)
        }
        Input::Stream(mut reader) => stream(&mut reader, wanted, progress),
    }
}

/// What reads at given offsets does not move the file's own, which other holders of the file expect at the end.
fn move_to_end(input: &RegularFile, length: u64) -> io::Result<()> {
    input.file().seek(SeekFrom::Start(input.start() + length)).map(drop)
}

fn on_all_cores(
    input: &RegularFile,
    wanted: Wanted<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Option<Digests>, Failed> {
    let (file, start) = (input.file(), input.start());
    if wanted.sha256 {
        spread_sha256(file, start, wanted, progress)
    } else {
        spread(file, start, wanted, progress).map(Some)
    }
}

/// Reads to the end and hashes, all on this thread. A read finds the end: files of the kernel say that they have 4096 bytes,
/// whatever they hold.
pub(crate) fn in_line(
    input: &RegularFile,
    wanted: Wanted<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Digests, Failed> {
    let expected = input.expected();
    // The leaves are hashed from the whole group.
    let most = if wanted.leaves.is_some() { BLOCK_LEN } else { PIECE_LEN } as u64;
    let mut block = Vec::new();
    let mut holes = (expected >= HOLES_FROM).then(HoleReader::default);
    let mut hashers = Hashers::new(wanted);
    let mut done = 0;
    loop {
        // Where no more is expected, a read of one byte still has to find the end.
        let length = expected.saturating_sub(done).clamp(1, most) as usize;
        block.resize(length, 0);
        let read = match &mut holes {
            Some(reader) => reader.read(input.file(), input.start() + done, &mut block)?,
            None => read_full(&mut input.file(), &mut block)?,
        };
        if done >= expected && read > 0 {
            return Err(changed().into());
        }
        // Empty content has a group too.
        if read > 0 || done == 0 {
            hashers.update(&block[..read])?;
            progress(read as u64);
            done += read as u64;
        }
        if read < length {
            if holes.is_some() {
                move_to_end(input, done)?;
            }
            return Ok(hashers.finish());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{Read, Write};
    use std::os::unix::fs::FileExt;
    use std::time::SystemTime;

    use sha2::{Digest, Sha256};

    use super::*;

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i % 251) as u8).collect()
    }

    /// Gives out its bytes in pieces of odd sizes.
    struct Dribble(io::Cursor<Vec<u8>>);

    impl Read for Dribble {
        fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
            let most = block.len().min(77_777);
            self.0.read(&mut block[..most])
        }
    }

    fn input(file: File) -> Input {
        let found = file.metadata().unwrap();
        Input::File(RegularFile::new(file, 0, found))
    }

    fn check(input: Input, wanted: Wanted<'_>, bytes: &[u8]) {
        let mut told = 0;
        let digests = digest(input, wanted, &mut |length| told += length).unwrap();
        assert_eq!((digests.length, told), (bytes.len() as u64, bytes.len() as u64));
        let blake3 = wanted.blake3.then(|| *blake3::hash(bytes).as_bytes());
        assert_eq!(digests.tree.map(|tree| *tree.root()), blake3);
        assert_eq!(digests.sha256, wanted.sha256.then(|| Sha256::digest(bytes).into()));
    }

    #[test]
    fn files_and_streams_of_any_length_hash_the_same() {
        for length in [
            0,
            1,
            4097,
            BLOCK_LEN - 1,
            BLOCK_LEN,
            BLOCK_LEN + 1,
            8 * BLOCK_LEN,
            32 * BLOCK_LEN,
            33 * BLOCK_LEN + 5,
        ] {
            let bytes = content(length);
            for (blake3, sha256) in [(true, false), (false, true), (true, true)] {
                let wanted = Wanted { blake3, sha256, leaves: None };
                check(Input::Stream(Box::new(Dribble(io::Cursor::new(bytes.clone())))), wanted, &bytes);
                let mut file = tempfile::NamedTempFile::new().unwrap();
                file.write_all(&bytes).unwrap();
                check(input(file.reopen().unwrap()), wanted, &bytes);
            }
        }
    }

    #[test]
    fn a_file_that_is_not_what_it_was_when_it_was_opened_has_no_ids() {
        let change: [fn(&File, u64); 3] = [
            |file, length| file.set_len(length - 1).unwrap(),
            |file, length| file.write_all_at(b"more", length).unwrap(),
            // As long as before, but written to.
            |file, _| file.set_modified(SystemTime::UNIX_EPOCH).unwrap(),
        ];
        for length in [1, BLOCK_LEN + 1, 33 * BLOCK_LEN + 5] {
            for (blake3, sha256) in [(true, false), (false, true), (true, true)] {
                for change in change {
                    let file = tempfile::NamedTempFile::new().unwrap();
                    fs::write(file.path(), content(length)).unwrap();
                    let input = input(file.reopen().unwrap());
                    change(file.as_file(), length as u64);
                    let result = digest(input, Wanted { blake3, sha256, leaves: None }, &mut |_| {});
                    let Err(Failed::Reading(error)) = result else { panic!("{length} bytes were taken") };
                    assert_eq!(error.to_string(), "it changed while it was read");
                }
            }
        }
    }

    #[test]
    fn holes_are_zeros_and_what_is_written_into_one_meanwhile_is_noticed() {
        let length = 37 * BLOCK_LEN + 5;
        for data in [None, Some(0), Some(9 * BLOCK_LEN + 3), Some(length - 4)] {
            let mut bytes = vec![0; length];
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(length as u64).unwrap();
            if let Some(at) = data {
                bytes[at..at + 4].fill(7);
                file.as_file().write_all_at(&[7; 4], at as u64).unwrap();
            }
            for (blake3, sha256) in [(true, false), (false, true), (true, true)] {
                let wanted = Wanted { blake3, sha256, leaves: None };
                check(input(file.reopen().unwrap()), wanted, &bytes);
                let mut told = 0;
                let before = input(file.reopen().unwrap());
                // Time stamps have steps.
                let later = SystemTime::now() + std::time::Duration::from_secs(1);
                let result = digest(before, wanted, &mut |length| {
                    if told == 0 {
                        file.as_file().write_all_at(&[0], 20 * BLOCK_LEN as u64).unwrap();
                        file.as_file().set_modified(later).unwrap();
                    }
                    told += length;
                });
                assert!(matches!(result, Err(Failed::Reading(_))), "{data:?}");
            }
        }
    }

    #[test]
    fn a_file_is_read_from_where_it_stands_to_its_end_and_stands_there_then() {
        for length in [0, 5000, BLOCK_LEN + 100, 20 * BLOCK_LEN, 36 * BLOCK_LEN] {
            let bytes = content(length);
            for (blake3, sha256) in [(true, false), (false, true), (true, true)] {
                for start in [0, 77, 3 * BLOCK_LEN as u64 + 5] {
                    let mut file = tempfile::tempfile().unwrap();
                    file.write_all(&bytes).unwrap();
                    file.seek(SeekFrom::Start(start)).unwrap();
                    let found = file.metadata().unwrap();
                    let same = file.try_clone().unwrap();
                    let rest = bytes.get(start as usize..).unwrap_or_default();
                    let input = Input::File(RegularFile::new(same, start, found));
                    check(input, Wanted { blake3, sha256, leaves: None }, rest);
                    assert_eq!(file.stream_position().unwrap(), start.max(length as u64));
                }
            }
        }
    }

    #[test]
    fn leaves_are_written_in_order_however_they_are_computed() {
        for length in [0, 5000, 33 * BLOCK_LEN + 5] {
            let bytes = content(length);
            let expected = cjp2p_wire::tree::group_leaves(cjp2p_wire::tree::LeafIndex(0), &bytes);
            for stream in [true, false] {
                let spool = tempfile::tempfile().unwrap();
                let mut file = tempfile::NamedTempFile::new().unwrap();
                file.write_all(&bytes).unwrap();
                let from = match stream {
                    true => Input::Stream(Box::new(io::Cursor::new(bytes.clone()))),
                    false => input(file.reopen().unwrap()),
                };
                check(from, Wanted { blake3: true, leaves: Some(&spool), sha256: stream }, &bytes);
                let mut written = vec![0; expected.len() * 32];
                spool.read_exact_at(&mut written, 0).unwrap();
                assert_eq!(written, expected.as_flattened());
                assert_eq!(spool.metadata().unwrap().len(), written.len() as u64);
            }
        }
    }

    #[test]
    fn a_read_error_ends_the_work() {
        struct Fails(usize);
        impl Read for Fails {
            fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
                Ok(block.len())
            }
        }
        for blocks in [0, 1, 30] {
            let wanted = Wanted { blake3: true, sha256: true, leaves: None };
            let result = digest(Input::Stream(Box::new(Fails(blocks))), wanted, &mut |_| {});
            assert!(
                matches!(result, Err(Failed::Reading(error)) if error.kind() == io::ErrorKind::StorageFull)
            );
        }
        let unwritable = File::open("/dev/null").unwrap();
        let wanted = Wanted { leaves: Some(&unwritable), ..Wanted::default() };
        let large = tempfile::tempfile().unwrap();
        large.set_len(99 << 20).unwrap();
        let stream = Input::Stream(Box::new(io::repeat(0).take(99 << 20)));
        for from in [input(tempfile::tempfile().unwrap()), input(large), stream] {
            assert!(matches!(digest(from, wanted, &mut |_| {}), Err(Failed::Leaves(_))));
        }
    }
}
