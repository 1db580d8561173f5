//! What of a folder is taken and what is passed over: one rule, so that what one tool lists, another one shares.

use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir, FileType, Stat};

use super::partial_name::is_partial;

/// What is passed over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Take files and folders whose names begin with a dot.
    pub hidden: bool,
    /// Go where symbolic links lead.
    pub follow: bool,
}

impl Rules {
    /// Whether a file or folder of this name is taken. Downloads in progress never are.
    pub fn allow(self, name: &OsStr) -> bool {
        (self.hidden || !name.as_bytes().starts_with(b".")) && !is_partial(name)
    }
}

/// What a name in a folder stands for.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    /// A regular file.
    File(Stat),
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, socket or FIFO.
    Other,
}

/// The names in a folder that `rules` allow, sorted.
///
/// # Errors
///
/// The folder cannot be read.
pub fn names(folder: impl AsFd, rules: Rules) -> io::Result<Vec<OsString>> {
    names_after(folder, rules, None, usize::MAX)
}

/// Of the names in a folder that `rules` allow, the first `most` that come after this one, sorted. It reads the whole folder for
/// these, and has little more than them in memory at any time.
///
/// # Errors
///
/// The folder cannot be read.
pub fn names_after(
    folder: impl AsFd,
    rules: Rules,
    after: Option<&OsStr>,
    most: usize,
) -> io::Result<Vec<OsString>> {
    let mut names: Vec<OsString> = Vec::new();
    // Of those names that are left when there were too many, the last.
    let mut last: Option<OsString> = None;
    let too_many = most.saturating_add(most / 4).saturating_add(1);
    // The handle itself and not its ".": a confined process may have no right to open that again.
    let mut entries = Dir::new(rustix::io::fcntl_dupfd_cloexec(folder, 0)?)?;
    entries.rewind();
    for entry in entries {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        let name = OsStr::from_bytes(name.to_bytes());
        let is_wanted =
            after.is_none_or(|after| name > after) && last.as_deref().is_none_or(|last| name < last);
        if is_wanted && !matches!(name.as_bytes(), b"." | b"..") && rules.allow(name) {
            names.push(name.to_owned());
        }
        if names.len() >= too_many {
            names.select_nth_unstable(most);
            names.truncate(most);
            last = names.iter().max().cloned();
        }
    }
    names.sort_unstable();
    names.truncate(most);
    Ok(names)
}

/// What `name` in `folder` is. It is neither followed nor opened.
///
/// # Errors
///
/// There is nothing of this name, or the folder cannot be searched.
pub fn look(folder: impl AsFd, name: &OsStr) -> io::Result<Found> {
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(match FileType::from_raw_mode(stat.st_mode as _) {
        FileType::RegularFile => Found::File(stat),
        FileType::Directory => Found::Folder,
        FileType::Symlink => Found::Link,
        _ => Found::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_names_make_the_whole_whatever_their_size() {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..100u32 {
            // In no order, whatever the file system makes of it.
            std::fs::write(folder.path().join(format!("{:03}", n * 37 % 100)), "").unwrap();
        }
        std::fs::write(folder.path().join(".hidden"), "").unwrap();
        let opened = std::fs::File::open(folder.path()).unwrap();
        let whole: Vec<OsString> = (0..100).map(|n| format!("{n:03}").into()).collect();
        assert_eq!(names(&opened, Rules::default()).unwrap(), whole);
        for most in [1, 2, 3, 4, 7, 50, 99, 100, 101] {
            let mut all: Vec<OsString> = Vec::new();
            loop {
                let part =
                    names_after(&opened, Rules::default(), all.last().map(|last| &**last), most).unwrap();
                assert!(part.len() <= most);
                all.extend_from_slice(&part);
                if part.len() < most {
                    break;
                }
            }
            assert_eq!(all, whole, "{most} at a time");
        }
    }
}
