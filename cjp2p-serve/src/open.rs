//! Opening files below a shared folder.
//!
//! A path is opened by its names from the root of the file system down, and the kernel is told to resolve it through no symbolic
//! link (`openat2`). So nothing that anybody does to the tree meanwhile, such as swapping a folder for a link, makes a file
//! outside readable. No handle of a shared folder is held: one that was removed, replaced or unmounted is let go.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use cjp2p_io::deep_path;
use cjp2p_io::identity::Identity;
use rustix::fs::{AtFlags, CWD, FileType, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Whether opening may wait for a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Open it, however long that takes.
    Wait,
    /// Fail with [`io::ErrorKind::WouldBlock`] where the folders on the way are not in memory.
    InMemoryOnly,
}

/// A folder below which files are opened: a path, and the folder that it led to.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Root {
    /// The folder at `path`, which must be absolute and free of symbolic links.
    ///
    /// # Errors
    ///
    /// It does not exist, or is no folder.
    #[allow(clippy::unnecessary_cast, reason = "the widths differ between architectures")]
    pub fn open(path: PathBuf) -> io::Result<Root> {
        let stat = rustix::fs::statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode as _) != FileType::Directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Root { path, device: stat.st_dev as u64, inode: stat.st_ino as u64 })
    }

    /// The folder's absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the two were the same folder on disk.
    pub fn is_same_folder(&self, other: &Root) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Opens the regular file `relative` for reading.
    ///
    /// # Errors
    ///
    /// Whatever opening reports; [`io::ErrorKind::InvalidInput`] for anything but a regular file.
    pub fn open_file(&self, relative: &Path, patience: Patience) -> io::Result<(File, Identity)> {
        if relative.as_os_str().is_empty() {
            return Err(Errno::NOENT.into());
        }
        // NONBLOCK: a FIFO put in the file's place must not hang us.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        with_identity(self.open_beneath(relative, flags, patience)?)
    }

    /// Opens the folder `relative` for listing; an empty path is the root itself.
    ///
    /// # Errors
    ///
    /// Whatever opening reports.
    pub fn open_folder(&self, relative: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.open_beneath(relative, flags, Patience::Wait)
    }

    fn open_beneath(&self, relative: &Path, flags: OFlags, patience: Patience) -> io::Result<OwnedFd> {
        let path = self.beneath(relative)?;
        let mut resolve = ResolveFlags::NO_SYMLINKS;
        if patience == Patience::InMemoryOnly {
            resolve |= ResolveFlags::CACHED;
        }
        match deep_path::open_resolved(&path, flags, resolve) {
            // Linux before 5.12 does not know CACHED: it may block, so somebody with patience must ask.
            Err(Errno::INVAL) if patience == Patience::InMemoryOnly => Err(io::ErrorKind::WouldBlock.into()),
            // Before 5.6, or in a sandbox that refuses what it does not know.
            Err(Errno::NOSYS | Errno::PERM) => match patience {
                Patience::InMemoryOnly => Err(io::ErrorKind::WouldBlock.into()),
                Patience::Wait => Ok(deep_path::open_by_names(&path, flags)?),
            },
            result => Ok(result?),
        }
    }

    /// The absolute path of `relative`, which has nothing but names in it.
    fn beneath(&self, relative: &Path) -> io::Result<PathBuf> {
        match relative.components().all(|component| matches!(component, Component::Normal(_))) {
            true => Ok(self.path.join(relative)),
            false => Err(Errno::XDEV.into()),
        }
    }
}

/// The opened file, if it is a regular one, and what tells its state from others.
pub(crate) fn with_identity(opened: OwnedFd) -> io::Result<(File, Identity)> {
    let file = File::from(opened);
    match Identity::of_file(&file)? {
        Some(identity) => Ok((file, identity)),
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use cjp2p_io::identity::Stamp;
    use rustix::fs::Mode;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    struct Fixture {
        root: Root,
        folder: PathBuf,
        _keep: tempfile::TempDir,
    }

    /// `outside/secret` beside `share/inside/plain`, which is what may be read.
    fn fixture() -> Fixture {
        let keep = tempfile::tempdir().unwrap();
        let base = keep.path().canonicalize().unwrap();
        fs::create_dir_all(base.join("share/inside")).unwrap();
        fs::create_dir(base.join("outside")).unwrap();
        fs::write(base.join("outside/secret"), "secret").unwrap();
        fs::write(base.join("share/inside/plain"), "plain").unwrap();
        let folder = base.join("share");
        Fixture { root: Root::open(folder.clone()).unwrap(), folder, _keep: keep }
    }

    const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

    /// Opens by each of the two ways, which must agree.
    fn both(root: &Root, path: &str) -> io::Result<String> {
        let read = |fd: io::Result<OwnedFd>| -> io::Result<String> {
            let mut text = String::new();
            File::from(fd?).read_to_string(&mut text)?;
            Ok(text)
        };
        let path = Path::new(path);
        let first = read(root.open_beneath(path, READ, Patience::Wait));
        let by_names = |path: PathBuf| Ok(deep_path::open_by_names(&path, READ)?);
        let second = read(root.beneath(path).and_then(by_names));
        assert_eq!(first.is_ok(), second.is_ok(), "{path:?}");
        first
    }

    #[test]
    fn paths_that_lead_outside_cannot_be_opened() {
        let f = fixture();
        symlink("../outside/secret", f.folder.join("link")).unwrap();
        symlink("../outside", f.folder.join("way")).unwrap();
        symlink("/", f.folder.join("inside/slash")).unwrap();
        let absolute = f.folder.join("../outside/secret").canonicalize().unwrap();
        for path in [
            "../outside/secret",
            "inside/../../outside/secret",
            "link",
            "way/secret",
            "inside/slash/etc/passwd",
            "/etc/passwd",
            absolute.to_str().unwrap(),
            "..",
            "",
        ] {
            assert!(both(&f.root, path).is_err(), "{path:?} was opened");
        }
        assert_eq!(both(&f.root, "inside/plain").unwrap(), "plain");
    }

    #[test]
    fn a_link_that_stays_inside_is_not_followed_either() {
        let f = fixture();
        symlink("inside/plain", f.folder.join("alias")).unwrap();
        assert!(both(&f.root, "alias").is_err());
    }

    #[test]
    fn a_fifo_or_a_folder_is_no_file_and_does_not_hang() {
        let f = fixture();
        rustix::fs::mknodat(
            f.root.open_folder(Path::new("")).unwrap(),
            "fifo",
            FileType::Fifo,
            Mode::from(0o600),
            0,
        )
        .unwrap();
        assert!(f.root.open_file(Path::new("fifo"), Patience::Wait).is_err());
        assert!(f.root.open_file(Path::new("inside"), Patience::Wait).is_err());
    }

    #[test]
    fn what_was_just_looked_up_opens_without_waiting() {
        let f = fixture();
        let path = Path::new("inside/plain");
        let (_, first) = f.root.open_file(path, Patience::Wait).unwrap();
        match f.root.open_file(path, Patience::InMemoryOnly) {
            Ok((_, second)) => assert_eq!(first, second),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }

    #[test]
    fn every_change_of_a_settled_file_changes_its_identity() {
        let f = fixture();
        let path = Path::new("inside/plain");
        let look = || f.root.open_file(path, Patience::Wait).unwrap().1;
        let before = look();
        std::thread::sleep(before.settles_in(Stamp::now()));
        // Same length, and the old modification time put back.
        fs::write(f.folder.join(path), "PLAIN").unwrap();
        let file = File::options().write(true).open(f.folder.join(path)).unwrap();
        let old = UNIX_EPOCH + Duration::new(before.modified.seconds as u64, before.modified.nanos);
        file.set_modified(old).unwrap();
        let after = look();
        assert_eq!(before.modified, after.modified);
        assert_ne!(before, after);
    }
}
