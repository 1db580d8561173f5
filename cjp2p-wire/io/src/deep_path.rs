//! Opening paths of any length. The kernel takes 4,095 bytes at a time (PATH_MAX), and folders can be nested deeper.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Bytes of a path that are given to the kernel at a time: below what any system takes.
const MAX_PIECE: usize = 4000;

/// Opens `path`, through links, as `open` does.
///
/// # Errors
///
/// Whatever opening reports.
pub fn open(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let opened = in_pieces(path, |from, piece, is_last| {
        let flags = if is_last { flags } else { OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC };
        rustix::fs::openat(from, piece, flags, Mode::empty())
    });
    Ok(opened?)
}

/// Opens `path` by `openat2`, which obeys `resolve`. To be used with absolute paths without `..`.
///
/// # Errors
///
/// Whatever opening reports; `ENOSYS` or `EPERM` where the kernel, or a filter, has no `openat2`.
pub fn open_resolved(path: &Path, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    in_pieces(path, |from, piece, is_last| {
        let flags = if is_last { flags } else { OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC };
        rustix::fs::openat2(from, piece, flags, Mode::empty(), resolve)
    })
}

/// What `openat2` does with `NO_SYMLINKS`, with nothing but `openat`: one name at a time, no link followed.
///
/// # Errors
///
/// Whatever opening reports.
pub fn open_by_names(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut from: Option<OwnedFd> = None;
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        let is_last = components.peek().is_none();
        let flags = if is_last { flags } else { OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC };
        let folder = from.as_ref().map_or(CWD, AsFd::as_fd);
        from =
            Some(rustix::fs::openat(folder, component.as_os_str(), flags | OFlags::NOFOLLOW, Mode::empty())?);
    }
    from.ok_or(Errno::NOENT)
}

/// Calls `open` with each piece of `path`, the folder that it starts from, and whether it is the last one.
fn in_pieces(
    path: &Path,
    open: impl Fn(BorrowedFd<'_>, &Path, bool) -> Result<OwnedFd, Errno>,
) -> Result<OwnedFd, Errno> {
    if path.as_os_str().len() <= MAX_PIECE {
        return open(CWD, path, true);
    }
    let mut from: Option<OwnedFd> = None;
    let mut piece = PathBuf::new();
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        piece.push(component);
        let next = components.peek().copied().map(Component::as_os_str);
        let is_full = next.is_none_or(|next| piece.as_os_str().len() + next.as_bytes().len() >= MAX_PIECE);
        if is_full {
            from = Some(open(from.as_ref().map_or(CWD, AsFd::as_fd), &piece, next.is_none())?);
            piece.clear();
        }
    }
    from.ok_or(Errno::NOENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

    /// Makes folders in each other, and a file in the last one. Returns its path.
    fn nested(folder: &Path, levels: usize) -> PathBuf {
        let name = "n".repeat(20);
        let mut path = folder.to_path_buf();
        for _ in 0..levels {
            let parent = open(&path, READ | OFlags::DIRECTORY).unwrap();
            rustix::fs::mkdirat(&parent, &name, Mode::RWXU).unwrap();
            path.push(&name);
        }
        let parent = open(&path, READ).unwrap();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&parent, "file", flags, Mode::RUSR).unwrap();
        rustix::io::write(file, b"deep").unwrap();
        path.join("file")
    }

    #[test]
    fn a_path_of_any_length_opens_in_all_three_ways() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        for levels in [0, 1, 180, 300] {
            let folder = base.join(levels.to_string());
            fs::create_dir(&folder).unwrap();
            let path = nested(&folder, levels);
            assert_eq!(path.as_os_str().len() > 4096, File::open(&path).is_err());
            let text = |opened: OwnedFd| io::read_to_string(File::from(opened)).unwrap();
            assert_eq!(text(open(&path, READ).unwrap()), "deep");
            assert_eq!(text(open_by_names(&path, READ).unwrap()), "deep");
            match open_resolved(&path, READ, ResolveFlags::NO_SYMLINKS) {
                Err(Errno::NOSYS | Errno::PERM) => eprintln!("skipped: there is no openat2 here"),
                opened => assert_eq!(text(opened.unwrap()), "deep"),
            }
            assert!(open(&path.join("below-a-file"), READ).is_err());
        }
    }

    #[test]
    fn a_link_in_the_middle_of_a_long_path_is_followed_only_on_request() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        fs::create_dir(base.join("real")).unwrap();
        let path = nested(&base.join("real"), 250);
        symlink("real", base.join("link")).unwrap();
        let by_link = base.join("link").join(path.strip_prefix(base.join("real")).unwrap());
        assert!(open(&by_link, READ).is_ok());
        assert!(open_by_names(&by_link, READ).is_err());
        assert!(open_resolved(&by_link, READ, ResolveFlags::NO_SYMLINKS).is_err());
    }
}
