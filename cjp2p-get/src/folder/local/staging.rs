//! The folder in which files wait, within the one they will be in, until all is there. Each is called by the hash of its content.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use cjp2p_io::partial_name::{PART_SUFFIX, RESUME_SUFFIX, STAGING_FOLDER};
use cjp2p_wire::content_id::Hash;
use cjp2p_wire::folder::Mtime;
use data_encoding::HEXLOWER;
use rustix::fs::{
    Advice, AtFlags, FileType, Mode, OFlags, fadvise, fchmod, fstat, futimens, mkdirat, openat, symlinkat,
    unlinkat, utimensat,
};
use rustix::io::Errno;

use super::backup::modified;
use super::copying;
use super::removal::{Within, names, open_folder, remove};
use cjp2p_io::beneath::{Beneath, Stamp, kind, look, open_in};

/// What a file may be as long as nothing is taken from it.
const ALL: Mode = Mode::from_raw_mode(0o777);
const PLAIN: Mode = Mode::from_raw_mode(0o666);
const EXECUTE: Mode = Mode::from_raw_mode(0o111);
/// A name whose letters have other spellings, and those: where one of them leads to it, two entries can be one file.
const PROBE: &str = "cjp2p-probe-\u{e9}";
const SPELLINGS: [&str; 4] =
    ["CJP2P-probe-\u{e9}", "cjp2p-probe-\u{c9}", "cjp2p-probe-e\u{301}", "cjp2p-probe-\u{e9}."];
/// The folder in which it is tried whether names are the same.
const TWINS: &str = "twins";

/// How a file is to be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attributes {
    pub(super) exec: bool,
    pub(super) mtime: Option<Mtime>,
}

/// Something that was left by an interrupted run.
#[derive(Debug)]
pub(super) struct Leftover {
    pub(super) name: Vec<u8>,
    /// What it may hold, by its name.
    pub(super) root: Option<Hash>,
    /// A fetch goes on from it.
    pub(super) is_partial: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Staging {
    folder: OwnedFd,
    path: PathBuf,
    /// What the umask leaves.
    mask: Mode,
    /// Names that differ may be one on this file system.
    pub(super) folds: bool,
    next: u64,
}

impl Staging {
    /// Opens it, and makes it where it is missing. `destination` is the folder that it is in.
    pub(super) fn open(beneath: &Beneath, destination: &Path) -> io::Result<Staging> {
        match mkdirat(beneath.top(), STAGING_FOLDER, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let folder = open_folder(beneath.top(), STAGING_FOLDER.as_bytes())?;
        let path = destination.join(STAGING_FOLDER);
        let mut staging = Staging { folder, path, mask: PLAIN, folds: false, next: 0 };
        staging.probe()?;
        Ok(staging)
    }

    /// Whether there is one.
    pub(super) fn is_in(beneath: &Beneath) -> bool {
        look(beneath.top(), STAGING_FOLDER.as_bytes()).is_ok_and(|found| found.is_some())
    }

    fn probe(&mut self) -> io::Result<()> {
        let file = self.create(PROBE.as_bytes(), ALL)?;
        self.mask = Mode::from_raw_mode(fstat(&file)?.st_mode as _) & ALL;
        for spelling in SPELLINGS {
            self.folds |= look(&self.folder, spelling.as_bytes()).is_ok_and(|found| found.is_some());
        }
        Ok(unlinkat(&self.folder, PROBE, AtFlags::empty())?)
    }

    pub(super) fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What the file for the file of this number, of those that hold this content, is called.
    pub(super) fn name(root: &Hash, nth: u32) -> Vec<u8> {
        let name = HEXLOWER.encode(root);
        if nth == 0 { name.into_bytes() } else { format!("{name}.{nth}").into_bytes() }
    }

    /// A name that nothing has, for what is no file.
    pub(super) fn other_name(&mut self) -> Vec<u8> {
        self.next += 1;
        format!("new-{}", self.next).into_bytes()
    }

    /// A new file, in the place of what has its name.
    fn create(&self, name: &[u8], mode: Mode) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            match openat(&self.folder, name, flags, mode) {
                Err(Errno::EXIST) => remove(&self.folder, name, Within::All)?,
                opened => return Ok(opened?.into()),
            }
        }
    }

    /// Writes a file.
    pub(super) fn write(&self, name: &[u8], bytes: &[u8], as_is: Attributes) -> io::Result<Stamp> {
        let mut file = self.create(name, if as_is.exec { ALL } else { PLAIN })?;
        file.write_all(bytes)?;
        set_time(&file, as_is.mtime);
        Ok(Stamp::of(&fstat(&file)?))
    }

    /// Copies a file of this length here.
    pub(super) fn copy(&self, from: &File, length: u64, name: &[u8], as_is: Attributes) -> io::Result<Stamp> {
        let file = self.create(name, if as_is.exec { ALL } else { PLAIN })?;
        copying::copy(from, &file, length)?;
        set_time(&file, as_is.mtime);
        Ok(Stamp::of(&fstat(&file)?))
    }

    /// Opens a file that is here.
    pub(super) fn open_file(&self, name: &[u8]) -> io::Result<File> {
        let file = open_in(&self.folder, name)?;
        match kind(&fstat(&file)?) {
            FileType::RegularFile => Ok(file),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Makes a file what the list says, whose content came without this.
    pub(super) fn finish(&self, file: &File, as_is: Attributes) -> io::Result<Stamp> {
        self.set_mode(file, as_is.exec)?;
        set_time(file, as_is.mtime);
        Ok(Stamp::of(&fstat(file)?))
    }

    /// Has its owner execute a file or not, others as the umask says.
    pub(super) fn set_mode(&self, file: &File, exec: bool) -> io::Result<()> {
        let mode = Mode::from_raw_mode(fstat(file)?.st_mode as _) & ALL;
        let wanted = if exec { mode | (EXECUTE & self.mask) | Mode::XUSR } else { mode - EXECUTE };
        if wanted != mode {
            match fchmod(file, wanted) {
                // There are no such bits.
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {}
                changed => changed?,
            }
        }
        Ok(())
    }

    /// Makes a link here, and gives its name.
    pub(super) fn link(&mut self, target: &[u8], mtime: Option<Mtime>) -> io::Result<Vec<u8>> {
        let name = self.other_name();
        remove(&self.folder, &name, Within::All)?;
        symlinkat(target, &self.folder, &*name)?;
        set_time_of(&self.folder, &name, mtime);
        Ok(name)
    }

    /// Makes a folder here, and gives its name.
    pub(super) fn new_folder(&mut self) -> io::Result<Vec<u8>> {
        let name = self.other_name();
        remove(&self.folder, &name, Within::All)?;
        mkdirat(&self.folder, &*name, ALL)?;
        Ok(name)
    }

    /// What an interrupted run left here.
    pub(super) fn leftovers(&self) -> io::Result<Vec<Leftover>> {
        let mut leftovers: Vec<Leftover> =
            names(&self.folder, Within::All)?.into_iter().map(leftover).collect();
        leftovers.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(leftovers)
    }

    /// Which of these names cannot be made beside those before them, as they would be the same; and why others cannot be made.
    pub(super) fn twins(&self, names: &[&[u8]]) -> io::Result<Vec<(usize, String)>> {
        // An interrupted run may have left one.
        remove(&self.folder, TWINS.as_bytes(), Within::All)?;
        mkdirat(&self.folder, TWINS, Mode::RWXU)?;
        let folder = open_folder(&self.folder, TWINS.as_bytes())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut wrong = Vec::new();
        for (nth, name) in names.iter().enumerate() {
            match openat(&folder, *name, flags, Mode::RWXU) {
                Ok(_) => {}
                Err(Errno::EXIST) => {
                    let why = "would be the same file as another entry on this file system";
                    wrong.push((nth, why.into()));
                }
                Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::IO)) => return Err(error.into()),
                Err(error) => wrong.push((nth, io::Error::from(error).to_string())),
            }
        }
        remove(&self.folder, TWINS.as_bytes(), Within::All)?;
        Ok(wrong)
    }

    /// Brings all that was written to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        let synced = sync_all(&self.folder);
        if synced.is_err() {
            // The kernel says so once, and then takes what it has in memory for written. The next run shall hash what is really on
            // the disk.
            for leftover in self.leftovers()? {
                if let Ok(file) = self.open_file(&leftover.name) {
                    let _ = fadvise(&file, 0, None, Advice::DontNeed);
                }
            }
        }
        synced
    }

    /// Removes it, unless there is something that a fetch can go on from, of contents that `is_wanted`. Says whether it is gone.
    pub(super) fn remove(&self, beneath: &Beneath, is_wanted: impl Fn(&Hash) -> bool) -> io::Result<bool> {
        let mut is_kept = false;
        for leftover in self.leftovers()? {
            if leftover.is_partial && leftover.root.as_ref().is_some_and(&is_wanted) {
                is_kept = true;
            } else {
                remove(&self.folder, &leftover.name, Within::All)?;
            }
        }
        if !is_kept {
            unlinkat(beneath.top(), STAGING_FOLDER, AtFlags::REMOVEDIR)?;
        }
        Ok(!is_kept)
    }
}

fn leftover(name: Vec<u8>) -> Leftover {
    let (hex, rest) = name.split_at(name.len().min(64));
    let root: Option<Hash> = HEXLOWER.decode(hex).ok().and_then(|hash| hash.try_into().ok());
    let is_number =
        |rest: &[u8]| matches!(rest, [b'.', digits @ ..] if digits.iter().all(u8::is_ascii_digit));
    let is_partial = rest == PART_SUFFIX.as_bytes() || rest == RESUME_SUFFIX.as_bytes();
    let root = root.filter(|_| rest.is_empty() || is_number(rest) || is_partial);
    Leftover { is_partial: is_partial && root.is_some(), root, name }
}

/// Brings everything on the file system of this folder to the disk.
pub(super) fn sync_all(folder: impl AsFd) -> io::Result<()> {
    match rustix::fs::syncfs(folder) {
        Err(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
        synced => Ok(synced?),
    }
}

/// Not every file system can have every time: nothing depends on it.
fn set_time(file: &File, mtime: Option<Mtime>) {
    if let Some(mtime) = mtime
        && let Err(error) = futimens(file, &modified(mtime.seconds(), mtime.nanos()))
    {
        log::debug!("a time cannot be set: {error}");
    }
}

/// The same for what has this name, a link itself and not what it leads to.
pub(super) fn set_time_of(folder: impl AsFd, name: &[u8], mtime: Option<Mtime>) {
    if let Some(mtime) = mtime
        && let Err(error) =
            utimensat(folder, name, &modified(mtime.seconds(), mtime.nanos()), AtFlags::SYMLINK_NOFOLLOW)
    {
        log::debug!("a time cannot be set: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn staging() -> (tempfile::TempDir, Beneath, Staging) {
        let base = tempfile::tempdir().unwrap();
        let beneath = Beneath::new(File::open(base.path()).unwrap().into());
        let staging = Staging::open(&beneath, base.path()).unwrap();
        (base, beneath, staging)
    }

    #[test]
    fn files_are_as_the_list_says_and_never_more_than_the_umask_allows() {
        let (_base, _, staging) = staging();
        let mtime = Mtime::new(-77, 123_456_789);
        for exec in [false, true] {
            let stamp = staging.write(b"a", b"text", Attributes { exec, mtime }).unwrap();
            let found = fs::metadata(staging.path().join("a")).unwrap();
            let ours = fs::File::create(staging.path().join("plain")).unwrap().metadata().unwrap();
            let execute = if exec { staging.mask.bits() & 0o111 } else { 0 };
            assert_eq!(found.permissions().mode() & 0o7777, ours.permissions().mode() & 0o777 | execute);
            assert_eq!((found.mtime(), found.mtime_nsec()), (-77, 123_456_789));
            assert_eq!((stamp.size, stamp.seconds, stamp.inode), (4, -77, found.ino()));
            let file = staging.open_file(b"a").unwrap();
            let copied = staging.copy(&file, 4, b"b", Attributes { exec, mtime }).unwrap();
            assert_eq!((copied.size, copied.seconds), (4, -77));
            // Set-uid is taken away, and whatever else nobody asked for.
            fs::set_permissions(staging.path().join("a"), fs::Permissions::from_mode(0o4600)).unwrap();
            staging.finish(&file, Attributes { exec: true, mtime: None }).unwrap();
            let mode = fs::metadata(staging.path().join("a")).unwrap().permissions().mode();
            assert_eq!(mode & 0o4100, 0o100);
        }
    }

    #[test]
    fn what_others_left_in_the_place_of_a_file_is_not_written_through() {
        let (base, _, staging) = staging();
        let outside = base.path().join("outside");
        fs::write(&outside, "theirs").unwrap();
        std::os::unix::fs::symlink(&outside, staging.path().join("a")).unwrap();
        staging.write(b"a", b"ours", Attributes::default()).unwrap();
        assert_eq!(fs::read_to_string(&outside).unwrap(), "theirs");
        assert_eq!(fs::read_to_string(staging.path().join("a")).unwrap(), "ours");
        fs::remove_dir_all(staging.path()).unwrap();
        std::os::unix::fs::symlink("/tmp", staging.path()).unwrap();
        let beneath = Beneath::new(File::open(base.path()).unwrap().into());
        assert!(Staging::open(&beneath, base.path()).is_err(), "nor is a link in the place of the folder");
    }

    #[test]
    fn leftovers_are_told_by_their_names_and_only_partials_keep_the_folder() {
        let (_base, beneath, staging) = staging();
        let root = [0xab; 32];
        let hex = String::from_utf8(Staging::name(&root, 0)).unwrap();
        let names = [hex.clone(), format!("{hex}.7"), format!("{hex}.x"), "new-1".into()];
        for name in &names {
            staging.write(name.as_bytes(), b"", Attributes::default()).unwrap();
        }
        let roots: Vec<bool> =
            staging.leftovers().unwrap().iter().map(|leftover| leftover.root == Some(root)).collect();
        assert_eq!(roots, [true, true, false, false]);
        let part = format!("{hex}{PART_SUFFIX}");
        staging.write(part.as_bytes(), b"", Attributes::default()).unwrap();
        assert!(!staging.remove(&beneath, |wanted| *wanted == root).unwrap());
        assert_eq!(fs::read_dir(staging.path()).unwrap().count(), 1);
        assert!(staging.remove(&beneath, |wanted| *wanted != root).unwrap() && !Staging::is_in(&beneath));
    }

    #[test]
    fn names_that_are_the_same_or_cannot_be_are_found_by_trying() {
        let (_base, _, staging) = staging();
        fs::create_dir(staging.path().join(TWINS)).unwrap();
        fs::write(staging.path().join(TWINS).join("b"), "left by an interrupted run").unwrap();
        let long = [b'x'; 300];
        let names: [&[u8]; 5] = [b"a", b"b", b"a", &long, b"A"];
        let wrong = staging.twins(&names).unwrap();
        let nths: Vec<usize> = wrong.iter().map(|(nth, _)| *nth).filter(|nth| *nth < 4).collect();
        assert_eq!(nths, [2, 3]);
        assert_eq!(wrong.iter().any(|(nth, _)| *nth == 4), staging.folds);
        assert_eq!(fs::read_dir(staging.path()).unwrap().count(), 0);
    }
}
