//! Reads of files that never wait for a disk.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;

use rustix::fs::fstatfs;
use rustix::io::{Errno, ReadWriteFlags};

/// File systems that are memory: tmpfs and ramfs (statfs(2)).
const MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// Reads what is in memory, or fails with [`io::ErrorKind::WouldBlock`].
///
/// # Errors
///
/// Whatever reading reports, and [what means](is_not_supported) that it cannot be known whether a read would wait.
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let buffers = &mut [IoSliceMut::new(buffer)];
    Ok(rustix::io::preadv2(file, buffers, offset, ReadWriteFlags::NOWAIT)?)
}

/// The same for all of `buffer`. Where it cannot be known whether a read would wait, it is taken for one that would, unless the file
/// system [is memory](is_memory).
///
/// # Errors
///
/// As for [`read_at`], and where the file ends before.
pub fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read_at(file, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_not_supported(&error) && is_memory(file) => {
                return file.read_exact_at(&mut buffer[filled..], offset + filled as u64);
            }
            Err(error) if is_not_supported(&error) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether [`read_at`] can tell that a read of this byte would wait.
pub fn can_tell(file: &File, offset: u64) -> bool {
    !read_at(file, &mut [0], offset).is_err_and(|error| is_not_supported(&error))
}

/// Whether the file lies in a file system that is memory, and so never waits for a disk.
pub fn is_memory(file: &File) -> bool {
    fstatfs(file).is_ok_and(|found| MEMORY.contains(&(found.f_type as u32)))
}

/// The file system cannot tell whether a read would wait, or the kernel does not know the question.
pub fn is_not_supported(error: &io::Error) -> bool {
    let unsupported = [Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL];
    unsupported.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_was_just_written_is_in_memory_and_nothing_is_past_the_end() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello").unwrap();
        let mut buffer = [0; 4];
        match read_exact_at(&file, &mut buffer, 1) {
            // Some file systems cannot tell.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            Ok(()) => {
                assert_eq!(&buffer, b"ello");
                let past = read_exact_at(&file, &mut buffer, 2).unwrap_err();
                assert_eq!(past.kind(), io::ErrorKind::UnexpectedEof);
            }
        }
    }

    #[test]
    fn a_file_in_shared_memory_is_memory_and_one_of_the_kernel_is_not() {
        if let Ok(file) = tempfile::tempfile_in("/dev/shm") {
            assert!(is_memory(&file));
        }
        assert!(!is_memory(&File::open("/proc/self/status").unwrap()));
    }

    #[test]
    fn a_file_in_shared_memory_is_read_though_its_file_system_may_not_say_that_it_never_waits() {
        let Ok(mut file) = tempfile::tempfile_in("/dev/shm") else { return };
        file.write_all(b"hello").unwrap();
        let mut buffer = [0; 4];
        read_exact_at(&file, &mut buffer, 1).unwrap();
        assert_eq!(&buffer, b"ello");
        let past = read_exact_at(&file, &mut buffer, 2).unwrap_err();
        assert_eq!(past.kind(), io::ErrorKind::UnexpectedEof);
    }
}
