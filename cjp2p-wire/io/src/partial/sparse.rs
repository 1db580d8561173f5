//! Writing zeros as holes, which take no room on the disk.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::holes;
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

/// A file that several threads write to, all by this. See the [module](self).
#[derive(Debug)]
pub struct Sparse {
    file: Arc<File>,
    /// Where the file ends. Held by whoever moves the end, so that nobody cuts off what another writes.
    end: Mutex<u64>,
    /// The file system has no holes, or this kernel cannot make them.
    has_none: AtomicBool,
    /// It tells where they are.
    tells: bool,
}

impl Sparse {
    /// By this all must be written from now on.
    pub fn new(file: Arc<File>) -> Sparse {
        let end = file.metadata().map_or(0, |found| found.len());
        let tells = holes::are_told(&file);
        Sparse { file, end: Mutex::new(end), has_none: AtomicBool::new(false), tells }
    }

    /// Writes these bytes. What is all zeros takes room only where no hole can be made.
    ///
    /// # Errors
    ///
    /// They could not be written.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let range = offset..offset.saturating_add(bytes.len() as u64);
        if is_zero(bytes) && !self.has_none.load(Ordering::Relaxed) && self.leave_out(range.clone()).is_ok() {
            return Ok(());
        }
        let mut end = self.end();
        if range.end <= *end {
            drop(end);
            return self.file.write_all_at(bytes, offset);
        }
        self.file.write_all_at(bytes, offset)?;
        *end = range.end;
        Ok(())
    }

    /// Empties the file.
    ///
    /// # Errors
    ///
    /// It cannot be.
    pub fn empty(&self) -> io::Result<()> {
        let mut end = self.end();
        self.file.set_len(0)?;
        *end = 0;
        Ok(())
    }

    fn end(&self) -> MutexGuard<'_, u64> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a hole of `range`. Where that fails, the bytes are written as any others, and writing them says what is wrong.
    fn leave_out(&self, range: Range<u64>) -> Result<(), Errno> {
        let mut end = self.end();
        if range.start < *end {
            self.punch(range.start..range.end.min(*end))?;
        }
        if range.end > *end {
            self.file
                .set_len(range.end)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            *end = range.end;
        }
        Ok(())
    }

    fn punch(&self, range: Range<u64>) -> Result<(), Errno> {
        // Mostly nothing was ever written there, and to see that is cheaper.
        if self.tells {
            match seek(&self.file, SeekFrom::Data(range.start)) {
                Ok(data) if data >= range.end => return Ok(()),
                Err(Errno::NXIO) => return Ok(()),
                _ => {}
            }
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let punched = fallocate(&self.file, flags, range.start, range.end - range.start);
        if matches!(punched, Err(Errno::OPNOTSUPP | Errno::NOSYS)) {
            self.has_none.store(true, Ordering::Relaxed);
        }
        punched
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(64).all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Where of `range` there are bytes in a file, and not only holes.
pub fn data(file: &File, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let (mut at, are_told) = (range.start, holes::are_told(file));
    std::iter::from_fn(move || {
        if at >= range.end {
            return None;
        }
        if !are_told {
            return Some(std::mem::replace(&mut at, range.end)..range.end);
        }
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start.max(at),
            Err(Errno::NXIO) => range.end,
            // It knows nothing of holes.
            Err(_) => at,
        };
        if start >= range.end {
            return None;
        }
        let hole = seek(file, SeekFrom::Hole(start)).unwrap_or(range.end);
        at = if hole > start { hole.min(range.end) } else { range.end };
        Some(start..at)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn new() -> (Arc<File>, Sparse) {
        let file = Arc::new(tempfile::tempfile().unwrap());
        (file.clone(), Sparse::new(file))
    }

    fn read(file: &File) -> Vec<u8> {
        let mut found = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut found, 0).unwrap();
        found
    }

    #[test]
    fn zeros_take_no_room_wherever_they_come_and_whatever_was_there() {
        let (file, sparse) = new();
        let blocks = || file.metadata().unwrap().blocks();
        let most = 32 << 20;
        sparse.write_all_at(&[1; 4096], most).unwrap();
        let few = blocks();
        for offset in (0..most).step_by(1 << 20) {
            sparse.write_all_at(&vec![0; 1 << 20], offset).unwrap();
        }
        assert_eq!(blocks(), few);
        sparse.write_all_at(&vec![2; 1 << 20], 5 << 20).unwrap();
        assert!(blocks() > few);
        sparse.write_all_at(&vec![0; 1 << 20], 5 << 20).unwrap();
        assert_eq!(blocks(), few);
        let found = read(&file);
        assert!(found[..most as usize].iter().all(|byte| *byte == 0) && found[most as usize..] == [1; 4096]);
        sparse.empty().unwrap();
        sparse.write_all_at(&[0; 10], 90).unwrap();
        assert_eq!(read(&file), [0; 100], "the end moves with zeros too");
    }

    #[test]
    fn nobody_cuts_off_what_another_thread_writes() {
        let (file, sparse) = new();
        thread::scope(|scope| {
            for thread in 0..4_u64 {
                let sparse = &sparse;
                scope.spawn(move || {
                    for n in 0..500 {
                        let block = [if thread % 2 == 0 { 0 } else { 7 }; 100];
                        sparse.write_all_at(&block, (n * 4 + thread) * 100).unwrap();
                    }
                });
            }
        });
        let found = read(&file);
        assert_eq!(found.len(), 200_000);
        let is_right = |(n, block): (usize, &[u8])| block.iter().all(|byte| *byte == n as u8 % 2 * 7);
        assert!(found.chunks(100).enumerate().all(is_right));
    }

    #[test]
    fn what_takes_no_zeros_says_so() {
        let full = Arc::new(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
        let error = Sparse::new(full).write_all_at(&[0; 4096], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn holes_are_told_from_data() {
        let (file, sparse) = new();
        sparse.write_all_at(&[1; 65536], 1 << 20).unwrap();
        sparse.write_all_at(&[1; 65536], 3 << 20).unwrap();
        sparse.write_all_at(&[0; 65536], 5 << 20).unwrap();
        let found: Vec<_> = data(&file, 0..6 << 20).collect();
        assert_eq!(found, [1 << 20..(1 << 20) + 65536, 3 << 20..(3 << 20) + 65536]);
        let inside = (1 << 20) + 5..(1 << 20) + 9;
        assert!(data(&file, inside.clone()).eq(std::iter::once(inside)));
    }

    proptest! {
        /// The naive model is bytes in memory.
        #[test]
        fn what_was_written_last_is_there(
            steps in proptest::collection::vec((0..30_000_usize, 1..9_000_usize, 0..3_u8), 1..40),
        ) {
            let (file, sparse) = new();
            let mut model = Vec::new();
            for (offset, length, byte) in steps {
                sparse.write_all_at(&vec![byte; length], offset as u64).unwrap();
                model.resize(model.len().max(offset + length), 0);
                model[offset..offset + length].fill(byte);
                prop_assert!(read(&file) == model);
            }
        }
    }
}
