//! A folder and what is beneath it, opened so that no link and no `..` ever leads elsewhere.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cjp2p_wire::content_id::Hash;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, statat};
use rustix::io::Errno;

const RESOLVE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
/// To be read, whatever others put there meanwhile: a pipe must not hang us.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);
/// Bytes that are read at once.
const BUFFER: u64 = 256 << 10;

/// What tells one state of a file from any other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// In bytes.
    pub size: u64,
    /// When it was last written, since 1970,
    pub seconds: i64,
    /// and nanoseconds.
    pub nanos: u32,
    /// Which file of its file system it is.
    pub inode: u64,
}

impl Stamp {
    /// That of a file that was looked at.
    #[allow(clippy::unnecessary_cast, reason = "the widths differ between architectures")]
    pub fn of(stat: &Stat) -> Stamp {
        Stamp {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            seconds: stat.st_mtime as i64,
            nanos: stat.st_mtime_nsec as u32,
            inode: stat.st_ino as u64,
        }
    }
}

/// What kind of thing this is.
pub fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode as _)
}

/// See the [module](self).
#[derive(Debug)]
pub struct Beneath {
    top: OwnedFd,
}

impl Beneath {
    /// All that is below this folder.
    pub fn new(top: OwnedFd) -> Beneath {
        Beneath { top }
    }

    /// The folder itself.
    pub fn top(&self) -> BorrowedFd<'_> {
        self.top.as_fd()
    }

    /// A folder, to name things in it. The empty path is that of the top.
    ///
    /// # Errors
    ///
    /// Whatever opening reports.
    pub fn folder(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// A folder whose names can be read.
    ///
    /// # Errors
    ///
    /// Whatever opening reports.
    pub fn listed(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// A file, to read it. It may be of any kind.
    ///
    /// # Errors
    ///
    /// Whatever opening reports.
    pub fn file(&self, path: &[u8]) -> Result<File, Errno> {
        self.open(path, READ).map(File::from)
    }

    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        match openat2(&self.top, path, flags | OFlags::CLOEXEC, Mode::empty(), RESOLVE) {
            // Before Linux 5.6, or in a sandbox that refuses what it does not know; or a path that is too long to be taken at once.
            Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG) => self.by_names(path, flags),
            opened => opened,
        }
    }

    /// The same with nothing but `openat`: one name at a time, no link followed.
    fn by_names(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut from: Option<OwnedFd> = None;
        let mut names = path.split(|byte| *byte == b'/').peekable();
        while let Some(name) = names.next() {
            if name.is_empty() || name == b".." {
                return Err(Errno::INVAL);
            }
            let flags = if names.peek().is_none() { flags } else { OFlags::PATH | OFlags::DIRECTORY };
            let folder = from.as_ref().map_or(self.top.as_fd(), AsFd::as_fd);
            from = Some(openat(folder, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?);
        }
        from.ok_or(Errno::NOENT)
    }

    /// The hash of a regular file, and which state of it that is. `None` where it is none, or was changed meanwhile.
    ///
    /// # Errors
    ///
    /// It cannot be opened or read.
    pub fn hash(&self, path: &[u8]) -> io::Result<Option<(Hash, Stamp)>> {
        hash(&mut self.file(path)?)
    }
}

/// What `name` in `folder` is. It is neither followed nor opened. `None` where there is nothing.
///
/// # Errors
///
/// The folder cannot be searched.
pub fn look(folder: impl AsFd, name: &[u8]) -> Result<Option<Stat>, Errno> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        found => found.map(Some),
    }
}

/// A file in `folder`, to read it.
///
/// # Errors
///
/// Whatever opening reports.
pub fn open_in(folder: impl AsFd, name: &[u8]) -> Result<File, Errno> {
    openat(folder, name, READ, Mode::empty()).map(File::from)
}

/// The hash of an open file, from where it stands to its end. `None` where it is no regular file, or was changed meanwhile.
///
/// # Errors
///
/// It cannot be read.
pub fn hash(file: &mut File) -> io::Result<Option<(Hash, Stamp)>> {
    let before = fstat(&*file)?;
    if kind(&before) != FileType::RegularFile {
        return Ok(None);
    }
    let stamp = Stamp::of(&before);
    let mut buffer = vec![0; usize::try_from(stamp.size.saturating_add(1).min(BUFFER)).unwrap_or(1)];
    let mut hasher = blake3::Hasher::new();
    let mut length = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&buffer[..count]);
                length += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let is_same = length == stamp.size && Stamp::of(&fstat(&*file)?) == stamp;
    Ok(is_same.then(|| (*hasher.finalize().as_bytes(), stamp)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn beneath(path: &std::path::Path) -> Beneath {
        Beneath::new(File::open(path).unwrap().into())
    }

    #[test]
    fn nothing_outside_is_opened_by_a_link_or_by_dots_in_either_way() {
        let base = tempfile::tempdir().unwrap();
        let (inside, outside) = (base.path().join("in"), base.path().join("out"));
        fs::create_dir_all(inside.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "x").unwrap();
        fs::write(inside.join("a/b/file"), "y").unwrap();
        symlink(&outside, inside.join("link")).unwrap();
        symlink("../../out", inside.join("a/link")).unwrap();
        symlink("b", inside.join("a/within")).unwrap();
        let beneath = beneath(&inside);
        for open in [Beneath::open, Beneath::by_names] {
            let file = |path: &str| open(&beneath, path.as_bytes(), READ);
            assert!(file("a/b/file").is_ok());
            for path in [
                "link/secret",
                "a/link/secret",
                "a/within/file",
                "../out/secret",
                "a/../../out/secret",
                "/etc/passwd",
                "link",
            ] {
                assert!(file(path).is_err(), "{path}");
            }
            let folder = |path: &str| open(&beneath, path.as_bytes(), OFlags::PATH | OFlags::DIRECTORY);
            assert!(folder("a/b").is_ok() && folder(".").is_ok());
            assert!(folder("link").is_err() && folder("a/within").is_err() && folder("a/b/file").is_err());
        }
    }

    #[test]
    fn a_hash_is_that_of_a_regular_file_only() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("file"), vec![7; 600_000]).unwrap();
        let beneath = beneath(base.path());
        let (hash, stamp) = beneath.hash(b"file").unwrap().unwrap();
        assert_eq!(hash, *blake3::hash(&vec![7; 600_000]).as_bytes());
        assert_eq!(stamp.size, 600_000);
        nix::unistd::mkfifo(&base.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(beneath.hash(b"pipe").unwrap(), None, "and nothing waits for it");
    }
}
