//! Which file systems are mounted where the shared files are. Mounting is not among the changes that inotify tells.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// The kernel's table of mounts, as this process sees it. It stays readable for a confined process.
#[derive(Clone, Debug)]
pub struct Mounts(Arc<File>);

impl Mounts {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// There is no `/proc`.
    pub fn open() -> io::Result<Mounts> {
        Ok(Mounts(Arc::new(File::open("/proc/self/mountinfo")?)))
    }

    /// What is mounted at, above and below any of these paths: lines that mean nothing but that they change with the mounts.
    ///
    /// # Errors
    ///
    /// The table cannot be read.
    pub fn around(&self, paths: &[&Path]) -> io::Result<Vec<u8>> {
        let (mut file, mut table) = (&*self.0, Vec::new());
        file.rewind()?;
        file.read_to_end(&mut table)?;
        Ok(lines_around(&table, paths))
    }
}

/// Has an exceptional condition (`POLLPRI`) whenever something was mounted or unmounted.
impl AsFd for Mounts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn lines_around(table: &[u8], paths: &[&Path]) -> Vec<u8> {
    let paths: Vec<Vec<u8>> = paths.iter().map(|path| spelled(path)).collect();
    let is_around = |line: &&[u8]| {
        let point = line.split(|byte| *byte == b' ').nth(4).unwrap_or_default();
        paths.iter().any(|path| is_at_or_below(path, point) || is_at_or_below(point, path))
    };
    table.split_inclusive(|byte| *byte == b'\n').filter(is_around).flatten().copied().collect()
}

fn is_at_or_below(path: &[u8], folder: &[u8]) -> bool {
    match path.strip_prefix(folder) {
        Some(rest) => rest.is_empty() || rest.starts_with(b"/") || folder == b"/",
        None => false,
    }
}

/// A path as the table has it.
fn spelled(path: &Path) -> Vec<u8> {
    let spell = |byte: &u8| match byte {
        b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
        byte => vec![*byte],
    };
    path.as_os_str().as_bytes().iter().flat_map(spell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"21 1 0:20 / / rw - ext4 /dev/a rw\n\
                           22 21 0:21 / /srv rw - tmpfs a rw\n\
                           23 22 0:22 / /srv/my\\040share rw - tmpfs b rw\n\
                           24 23 0:23 / /srv/my\\040share/below rw - tmpfs c rw\n\
                           25 22 0:24 / /srv/my\\040share-2 rw - tmpfs d rw\n\
                           26 21 0:25 / /run rw - tmpfs e rw\n";

    #[test]
    fn mounts_above_at_and_below_a_path_are_around_it_and_no_others() {
        let points = |path: &str| -> Vec<u8> {
            let lines = lines_around(TABLE, &[Path::new(path)]);
            lines.split_inclusive(|byte| *byte == b'\n').map(|line| line[1]).collect()
        };
        assert_eq!(points("/srv/my share"), b"1234");
        assert_eq!(points("/srv/my share/file"), b"123");
        assert_eq!(points("/srv/my share-2"), b"125");
        assert_eq!(points("/home"), b"1");
        assert_eq!(points("/"), b"123456");
    }

    #[test]
    fn the_table_of_this_process_can_be_read_again_and_again() {
        let mounts = Mounts::open().unwrap();
        let first = mounts.around(&[Path::new("/")]).unwrap();
        assert!(!first.is_empty());
        assert_eq!(mounts.around(&[Path::new("/")]).unwrap().len(), first.len());
    }
}
