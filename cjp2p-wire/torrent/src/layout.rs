//! The files of a torrent: one behind the other over one space of bytes, which the pieces cut.

use std::fmt;
use std::ops::Range;

use cjp2p_wire::folder::{FolderPath, PathError};

/// Files of a torrent at the most; with their paths they stay within some tens of MiB.
pub const MAX_FILES: usize = 200_000;
/// Bytes of a torrent at the most, so that no arithmetic overflows: 2^53.
pub const MAX_LEN: u64 = 1 << 53;

/// What is to become of a file of a torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is written.
    File {
        /// Whether it may be executed (BEP 47).
        is_executable: bool,
    },
    /// Zeros, so that the next file begins with a piece (BEP 47): never written or read.
    Padding,
    /// A symbolic link, which is not made.
    Link,
}

/// One file of a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TorrentFile {
    path: FolderPath,
    offset: u64,
    len: u64,
    role: Role,
}

impl TorrentFile {
    /// Where its first byte is in the torrent.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Its length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an empty file is a file like others")]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Its bytes in the torrent.
    #[must_use]
    pub const fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.len
    }

    /// What is to become of it.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Whether it is a file that is written.
    #[must_use]
    pub const fn is_written(&self) -> bool {
        matches!(self.role, Role::File { .. })
    }
}

/// All files of a torrent, in its order.
///
/// Invariant: each begins where the one before it ends; among those that are written no path is there twice, and none is
/// beneath another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The folder that all are in; `None` for a torrent of a single file.
    top: Option<FolderPath>,
    /// [`MAX_FILES`] at the most.
    files: Vec<TorrentFile>,
    len: u64,
}

impl Layout {
    /// The layout of a torrent of one file.
    ///
    /// # Errors
    ///
    /// Where it has no bytes, or too many.
    pub fn of_file(name: FolderPath, len: u64, is_executable: bool) -> Result<Self, LayoutError> {
        let mut layout = Self { top: None, files: Vec::new(), len: 0 };
        layout.push(name, len, Role::File { is_executable })?;
        layout.checked()
    }

    /// The layout of a torrent of a folder `top` that these files are in.
    ///
    /// # Errors
    ///
    /// Where there are no bytes, too many or too many files, where two files have one path, or one is beneath another.
    pub fn of_folder(
        top: FolderPath,
        files: impl IntoIterator<Item = (FolderPath, u64, Role)>,
    ) -> Result<Self, LayoutError> {
        let mut layout = Self { top: Some(top), files: Vec::new(), len: 0 };
        for (path, len, role) in files {
            layout.push(path, len, role)?;
        }
        layout.checked()
    }

    fn push(&mut self, path: FolderPath, len: u64, role: Role) -> Result<(), LayoutError> {
        if self.files.len() == MAX_FILES {
            return Err(LayoutError::TooManyFiles);
        }
        if let Some(top) = &self.top {
            top.join(&path).map_err(LayoutError::Path)?;
        }
        let end = self.len.checked_add(len).filter(|end| *end <= MAX_LEN).ok_or(LayoutError::TooLong)?;
        self.files.push(TorrentFile { path, offset: self.len, len, role });
        self.len = end;
        Ok(())
    }

    fn checked(mut self) -> Result<Self, LayoutError> {
        if self.len == 0 {
            return Err(LayoutError::Empty);
        }
        self.files.shrink_to_fit();
        let mut paths: Vec<&FolderPath> =
            self.files.iter().filter(|file| file.role != Role::Padding).map(|file| &file.path).collect();
        // Here a file is followed at once by what would be beneath it.
        paths.sort_unstable_by(|a, b| a.cmp_tree(b));
        for pair in paths.windows(2) {
            if pair[0] == pair[1] {
                return Err(LayoutError::Twins(pair[0].clone()));
            }
            if pair[1].is_beneath(pair[0]) {
                return Err(LayoutError::FileInFile(pair[0].clone()));
            }
        }
        Ok(self)
    }

    /// Bytes of all files.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no torrent is empty")]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// The folder that all files are in; `None` for a torrent of a single file.
    #[must_use]
    pub const fn top(&self) -> Option<&FolderPath> {
        self.top.as_ref()
    }

    /// The files in the order of the torrent, padding among them.
    #[must_use]
    pub fn files(&self) -> &[TorrentFile] {
        &self.files
    }

    /// The path of a file beneath the folder that takes the torrent: its name first.
    ///
    /// # Panics
    ///
    /// Where there is no such file.
    #[must_use]
    pub fn path(&self, index: usize) -> FolderPath {
        let path = &self.files[index].path;
        match &self.top {
            Some(top) => top.join(path).expect("was short enough when the file was added"),
            None => path.clone(),
        }
    }

    /// The path of a file without the name of the torrent, except where the file is all of it.
    ///
    /// # Panics
    ///
    /// Where there is no such file.
    #[must_use]
    pub fn path_below_top(&self, index: usize) -> &FolderPath {
        &self.files[index].path
    }

    /// The files that have bytes in `range` of the torrent, each with these bytes counted from its own beginning. Padding is
    /// among them, empty files are not.
    pub fn files_in(&self, range: Range<u64>) -> impl Iterator<Item = (usize, Range<u64>)> + '_ {
        let first = self.files.partition_point(|file| file.range().end <= range.start);
        self.files[first..]
            .iter()
            .enumerate()
            .take_while({
                let end = range.end;
                move |(_, file)| file.offset < end
            })
            .filter(|(_, file)| file.len > 0)
            .map(move |(index, file)| {
                let start = range.start.max(file.offset) - file.offset;
                (first + index, start..range.end.min(file.range().end) - file.offset)
            })
    }
}

/// Why files make no torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// Nothing in it.
    Empty,
    /// More than [`MAX_LEN`] bytes.
    TooLong,
    /// More than [`MAX_FILES`] files.
    TooManyFiles,
    /// Two files with one path.
    Twins(FolderPath),
    /// A file where others need a folder.
    FileInFile(FolderPath),
    /// A path that is too long beneath its folder.
    Path(PathError),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LayoutError::Empty => f.write_str("there are no bytes in it"),
            LayoutError::TooLong => write!(f, "more than {MAX_LEN} bytes"),
            LayoutError::TooManyFiles => write!(f, "more than {MAX_FILES} files"),
            LayoutError::Twins(path) => write!(f, "two files have the path {path}"),
            LayoutError::FileInFile(path) => write!(f, "{path} is a file and a folder"),
            LayoutError::Path(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for LayoutError {}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Role = Role::File { is_executable: false };

    fn path(text: &str) -> FolderPath {
        FolderPath::new(text.as_bytes()).unwrap()
    }

    fn folder(files: &[(&str, u64, Role)]) -> Result<Layout, LayoutError> {
        Layout::of_folder(path("top"), files.iter().map(|(name, len, role)| (path(name), *len, *role)))
    }

    #[test]
    fn ranges_find_the_files_that_have_them() {
        let layout =
            folder(&[("a", 5, FILE), ("empty", 0, FILE), (".pad/3", 3, Role::Padding), ("b", 8, FILE)])
                .unwrap();
        assert_eq!(layout.len(), 16);
        let in_range = |range| layout.files_in(range).collect::<Vec<_>>();
        assert_eq!(in_range(0..16), [(0, 0..5), (2, 0..3), (3, 0..8)]);
        assert_eq!(in_range(4..6), [(0, 4..5), (2, 0..1)]);
        assert_eq!(in_range(8..9), [(3, 0..1)]);
        assert_eq!(in_range(5..5), []);
        assert_eq!(in_range(16..20), []);
        assert_eq!(layout.path(3), path("top/b"));
        assert_eq!(layout.path_below_top(3), &path("b"));
    }

    #[test]
    fn a_layout_that_cannot_be_written_is_refused_whole() {
        let twins = folder(&[("a/b", 1, FILE), ("c", 1, FILE), ("a/b", 1, FILE)]);
        assert_eq!(twins, Err(LayoutError::Twins(path("a/b"))));
        let beneath = folder(&[("a/b", 1, FILE), ("a-", 1, FILE), ("a", 1, FILE)]);
        assert_eq!(beneath, Err(LayoutError::FileInFile(path("a"))));
        assert_eq!(
            folder(&[("l", 0, Role::Link), ("l/b", 1, FILE)]),
            Err(LayoutError::FileInFile(path("l")))
        );
        assert_eq!(folder(&[]), Err(LayoutError::Empty));
        assert_eq!(folder(&[("a", 0, FILE)]), Err(LayoutError::Empty));
        assert_eq!(folder(&[("a", u64::MAX, FILE)]), Err(LayoutError::TooLong));
        assert_eq!(folder(&[("a", MAX_LEN, FILE), ("b", u64::MAX, FILE)]), Err(LayoutError::TooLong));
        let long = vec!["x".repeat(255); 16].join("/");
        assert_eq!(folder(&[(&long, 1, FILE)]), Err(LayoutError::Path(PathError::TooLong)));
    }

    #[test]
    fn padding_may_have_any_path() {
        assert!(
            folder(&[("a", 1, FILE), (".pad", 3, Role::Padding), (".pad", 3, Role::Padding), ("b", 1, FILE)])
                .is_ok()
        );
    }
}
