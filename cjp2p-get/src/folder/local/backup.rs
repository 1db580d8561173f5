//! Where what is replaced, or goes, is kept: under its path in the folder that it was in.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use cjp2p_io::partial_name::PART_SUFFIX;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps, fchmod, fstat, futimens, linkat,
    mkdirat, openat, readlinkat, renameat, renameat_with, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::copying::copy;
use super::removal::{Within, names, open_folder};
use cjp2p_io::beneath::{Beneath, kind, look, open_in};

/// Things of one name that are kept at the most.
const MOST: usize = 10_000;
/// The longest name, in bytes.
const NAME_MAX: usize = 255;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Backup {
    beneath: Beneath,
}

impl Backup {
    /// Below this folder.
    pub(super) fn new(folder: OwnedFd) -> Backup {
        Backup { beneath: Beneath::new(folder) }
    }

    /// The folder.
    pub(super) fn folder(&self) -> impl AsFd {
        self.beneath.top()
    }

    /// Keeps what has this name and is no folder, and leaves it where it is. `path` is what it is kept under.
    pub(super) fn keep(&self, folder: impl AsFd, name: &[u8], path: &[u8]) -> io::Result<()> {
        let (to, kept) = self.place(path)?;
        under_a_free_name(&kept, |free| match linkat(&folder, name, &to, free, AtFlags::empty()) {
            // Another file system, or one without such links, or somebody else's file.
            Err(
                Errno::XDEV | Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK | Errno::NOSYS | Errno::ACCESS,
            ) => copy_to(&folder, name, &to, free),
            linked => Ok(linked?),
        })
    }

    /// Keeps what has this name, which is then there no more.
    pub(super) fn take(&self, folder: impl AsFd, name: &[u8], path: &[u8]) -> io::Result<()> {
        let (to, kept) = self.place(path)?;
        under_a_free_name(&kept, |free| move_to(&folder, name, &to, free))
    }

    /// The folder for something of this path, and its name there.
    fn place(&self, path: &[u8]) -> io::Result<(OwnedFd, Vec<u8>)> {
        let mut names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let last = names.pop().unwrap_or_default().to_vec();
        let mut at = self.beneath.folder(b"")?;
        for name in names {
            at = into_folder(&at, name)?;
        }
        Ok((at, last))
    }
}

/// Opens a folder in `at`, which is made where it is missing. What is no folder is passed by.
fn into_folder(at: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    let mut opened = Err(io::Error::from(Errno::EXIST));
    under_a_free_name(name, |free| {
        match mkdirat(at, free, Mode::RWXU | Mode::RWXG | Mode::RWXO) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        match open_folder(at, free) {
            Err(Errno::NOTDIR | Errno::LOOP) => Err(Errno::EXIST.into()),
            folder => {
                opened = Ok(folder?);
                Ok(())
            }
        }
    })?;
    opened
}

/// Calls `take` with this name, or one made of it, until it is not there yet.
fn under_a_free_name(name: &[u8], mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    for nth in 0..MOST {
        let end = if nth == 0 { String::new() } else { format!(".~{nth}~") };
        let start = &name[..name.len().min(NAME_MAX - end.len())];
        match take(&[start, end.as_bytes()].concat()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            taken => return taken,
        }
    }
    Err(Errno::EXIST.into())
}

/// Gives something a name that is free.
pub(super) fn rename_to_free(from: impl AsFd, name: &[u8], to: impl AsFd, new: &[u8]) -> Result<(), Errno> {
    match renameat_with(&from, name, &to, new, RenameFlags::NOREPLACE) {
        // Some file systems cannot do that in one step.
        Err(Errno::INVAL | Errno::NOSYS) => match look(&to, new)? {
            Some(_) => Err(Errno::EXIST),
            None => renameat(from, name, to, new),
        },
        renamed => renamed,
    }
}

fn move_to(folder: &impl AsFd, name: &[u8], to: &OwnedFd, new: &[u8]) -> io::Result<()> {
    match rename_to_free(folder, name, to, new) {
        Err(Errno::XDEV) => {}
        renamed => return Ok(renamed?),
    }
    let is_folder = look(folder, name)?.is_some_and(|stat| kind(&stat) == FileType::Directory);
    if !is_folder {
        copy_to(folder, name, to, new)?;
        return Ok(unlinkat(folder, name, AtFlags::empty())?);
    }
    mkdirat(to, new, Mode::RWXU | Mode::RWXG | Mode::RWXO)?;
    let (from, into) = (open_folder(folder, name)?, open_folder(to, new)?);
    for name in names(&from, Within::Finished)? {
        move_to(&from, &name, &into, &name)?;
    }
    Ok(unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

/// Copies a file or link. It has its name when it is whole and on the disk.
fn copy_to(folder: &impl AsFd, name: &[u8], to: &OwnedFd, new: &[u8]) -> io::Result<()> {
    let stat = look(folder, name)?.ok_or(Errno::NOENT)?;
    match kind(&stat) {
        FileType::Symlink => Ok(symlinkat(readlinkat(folder, name, Vec::new())?, to, new)?),
        FileType::RegularFile => {
            let from = open_in(folder, name)?;
            let found = fstat(&from)?;
            let end = NAME_MAX - PART_SUFFIX.len();
            let part = [&new[..new.len().min(end)], PART_SUFFIX.as_bytes()].concat();
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let copied = std::fs::File::from(openat(to, &part, flags, Mode::RUSR | Mode::WUSR)?);
            copy(&from, &copied, u64::try_from(found.st_size).unwrap_or(0))?;
            // What cannot be set is not worth losing it for.
            let _ = fchmod(&copied, Mode::from_raw_mode(found.st_mode as _) & Mode::from_raw_mode(0o777));
            let _ = futimens(&copied, &modified(found.st_mtime as _, found.st_mtime_nsec as _));
            copied.sync_all()?;
            Ok(rename_to_free(to, &part, to, new)?)
        }
        _ => Err(io::Error::other("is a device, pipe or socket, which cannot be kept")),
    }
}

/// This time of modification, and no change of that of reading.
pub(super) fn modified(seconds: i64, nanos: u32) -> Timestamps {
    let omitted = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT as _ };
    let last_modification = Timespec { tv_sec: seconds as _, tv_nsec: nanos as _ };
    Timestamps { last_access: omitted, last_modification }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn fixture() -> (tempfile::TempDir, File, Backup) {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir_all(base.path().join("in/sub")).unwrap();
        fs::create_dir(base.path().join("kept")).unwrap();
        let top = File::open(base.path().join("in")).unwrap();
        let backup = Backup::new(File::open(base.path().join("kept")).unwrap().into());
        (base, top, backup)
    }

    fn read(base: &Path, path: &str) -> String {
        fs::read_to_string(base.join(path)).unwrap()
    }

    #[test]
    fn what_is_kept_has_its_path_and_nothing_that_was_kept_before_is_lost() {
        let (base, top, backup) = fixture();
        let base = base.path();
        for text in ["one", "two", "three"] {
            fs::write(base.join("in/file"), text).unwrap();
            backup.take(&top, b"file", b"a/b/file").unwrap();
            assert!(!base.join("in/file").exists());
        }
        fs::write(base.join("in/file"), "four").unwrap();
        backup.keep(&top, b"file", b"a/b/file").unwrap();
        assert!(base.join("in/file").exists());
        for (name, text) in
            [("file", "one"), ("file.~1~", "two"), ("file.~2~", "three"), ("file.~3~", "four")]
        {
            assert_eq!(read(base, &format!("kept/a/b/{name}")), text);
        }
        // A file is where a folder has to be.
        backup.take(&top, b"file", b"a/b/file/x").unwrap();
        assert_eq!(read(base, "kept/a/b/file.~4~/x"), "four");
        symlink("/etc", base.join("kept/link")).unwrap();
        fs::write(base.join("in/file"), "five").unwrap();
        backup.take(&top, b"file", b"link/file").unwrap();
        assert_eq!(read(base, "kept/link.~1~/file"), "five", "no link is followed");
    }

    #[test]
    fn what_cannot_be_linked_is_copied_and_a_folder_goes_with_all_that_is_in_it() {
        let (base, top, backup) = fixture();
        let base = base.path();
        fs::write(base.join("in/sub/file"), "text").unwrap();
        symlink("file", base.join("in/sub/link")).unwrap();
        let kept = backup.beneath.folder(b"").unwrap();
        let sub = File::open(base.join("in/sub")).unwrap();
        copy_to(&sub, b"file", &kept, b"copy").unwrap();
        copy_to(&sub, b"link", &kept, b"link").unwrap();
        assert_eq!(read(base, "kept/copy"), "text");
        assert_eq!(fs::read_link(base.join("kept/link")).unwrap(), Path::new("file"));
        assert!(copy_to(&sub, b"file", &kept, b"copy").is_err(), "it is there");
        backup.take(&top, b"sub", b"x/sub").unwrap();
        assert_eq!(read(base, "kept/x/sub/link"), "text");
        assert!(!base.join("in/sub").exists());
    }
}
