//! Removing what is in a folder, through no link.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use cjp2p_io::walk::{self, Rules};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use std::os::unix::ffi::OsStrExt;

/// What of a folder is removed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    /// Everything.
    All,
    /// Nothing that is in progress: then the folder stays.
    Finished,
}

/// Removes what has this name, and all that is in it. It is fine if there is nothing.
pub(super) fn remove(folder: impl AsFd, name: &[u8], within: Within) -> io::Result<()> {
    match unlinkat(&folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    match open_folder(&folder, name) {
        Ok(opened) => {
            for name in names(&opened, within)? {
                remove(&opened, &name, within)?;
            }
        }
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    match unlinkat(folder, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Err(io::Error::other("something in progress is in it")),
        Err(error) => Err(error.into()),
    }
}

/// Opens a folder to read its names.
pub(super) fn open_folder(folder: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::empty())
}

/// The names in a folder.
pub(super) fn names(folder: impl AsFd, within: Within) -> io::Result<Vec<Vec<u8>>> {
    if within == Within::Finished {
        let names = walk::names(folder, Rules { hidden: true, follow: false })?;
        return Ok(names.iter().map(|name| name.as_bytes().to_vec()).collect());
    }
    let mut entries = Dir::new(rustix::io::fcntl_dupfd_cloexec(folder, 0)?)?;
    entries.rewind();
    let names = entries.map(|entry| Ok(entry?.file_name().to_bytes().to_vec()));
    let is_real = |name: &io::Result<Vec<u8>>| !matches!(name.as_deref(), Ok(b"." | b".."));
    names.filter(is_real).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn all_in_a_folder_goes_and_nothing_that_links_in_it_lead_to() {
        let base = tempfile::tempdir().unwrap();
        let at = |name: &str| base.path().join(name);
        fs::create_dir_all(at("folder/a/b")).unwrap();
        fs::create_dir(at("other")).unwrap();
        fs::write(at("other/file"), "x").unwrap();
        fs::write(at("folder/a/b/file"), "x").unwrap();
        symlink(at("other"), at("folder/a/link")).unwrap();
        symlink("b", at("folder/a/within")).unwrap();
        let top = File::open(base.path()).unwrap();
        remove(&top, b"folder", Within::Finished).unwrap();
        remove(&top, b"folder", Within::Finished).unwrap();
        assert!(!at("folder").exists() && at("other/file").exists());
        symlink("other", at("link")).unwrap();
        remove(&top, b"link", Within::All).unwrap();
        assert!(at("other/file").exists() && !at("link").is_symlink());
    }

    #[test]
    fn what_is_in_progress_stays_with_the_folder_it_is_in() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("folder");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.cjp2p-part"), "x").unwrap();
        fs::write(folder.join("b"), "x").unwrap();
        let top = File::open(base.path()).unwrap();
        let error = remove(&top, b"folder", Within::Finished).unwrap_err();
        assert_eq!(error.to_string(), "something in progress is in it");
        assert!(folder.join("a.cjp2p-part").exists() && !folder.join("b").exists());
        remove(&top, b"folder", Within::All).unwrap();
        assert!(!folder.exists());
    }
}
