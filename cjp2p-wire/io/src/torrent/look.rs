//! What of a file or folder becomes a torrent.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cjp2p_torrent::layout::{Layout, LayoutError, MAX_FILES, Role};
use cjp2p_torrent::metainfo::Spec;
use cjp2p_wire::folder::{FolderPath, PathError};
use rustix::fs::{FileType, OFlags, fstat};

use super::space::Space;
use crate::beneath::{Beneath, kind};
use crate::deep_path;
use crate::identity::{Identity, Stamp};
use crate::walk::{self, Found as Thing, Rules};

/// What a torrent is to be made of.
#[derive(Debug)]
pub struct Found {
    /// What it is called.
    pub name: FolderPath,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// The files, in the order of the bytes of their paths, with length in bytes and whether each may be executed.
    pub files: Vec<(FolderPath, u64, bool)>,
    /// Reads them.
    pub space: Space,
}

impl Found {
    /// What `info` is made of, with pieces of this length.
    #[must_use]
    pub fn spec(self, piece_length: u32, is_private: bool) -> Spec {
        self.into_parts(piece_length, is_private).0
    }

    /// The same, and what reads the files.
    #[must_use]
    pub fn into_parts(self, piece_length: u32, is_private: bool) -> (Spec, Space) {
        let Found { name, is_folder, files, space } = self;
        (Spec { name, files, is_folder, piece_length, is_private }, space)
    }
}

/// Looks at the file or folder at `path`, which may be a link. Of a folder all regular files are taken that `rules` allow; links
/// in it are not.
///
/// # Errors
///
/// Something cannot be read, has a name that no torrent can have, or there are no bytes or too many files.
pub fn look(path: &Path, rules: Rules) -> Result<Found, LookError> {
    let at = |error: io::Error| LookError::Io(path.to_owned(), error);
    let name = name_of(path).map_err(at)?;
    let name = single(name.as_bytes()).map_err(|error| LookError::Path(path.to_owned(), error))?;
    let looked_at = Stamp::now();
    // A pipe would keep us waiting.
    let opened = deep_path::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK).map_err(at)?;
    let stat = fstat(&opened).map_err(|error| at(error.into()))?;
    if let Some(state) = Identity::of(&stat) {
        let is_executable = stat.st_mode & 0o100 != 0;
        let layout = Layout::of_file(name.clone(), state.size, is_executable).map_err(LookError::Layout)?;
        let space = Space::of_file(File::from(opened), Arc::new(layout), state, looked_at);
        let files = vec![(name.clone(), state.size, is_executable)];
        return Ok(Found { name, is_folder: false, files, space });
    }
    if kind(&stat) != FileType::Directory {
        return Err(at(io::Error::other("is neither a file nor a folder")));
    }
    let folder = Beneath::new(opened);
    let found = walk_folder(&folder, path, rules)?;
    let files: Vec<_> = found.iter().map(|(path, state, exec)| (path.clone(), state.size, *exec)).collect();
    let entries =
        files.iter().map(|(path, len, exec)| (path.clone(), *len, Role::File { is_executable: *exec }));
    let layout = Layout::of_folder(name.clone(), entries).map_err(LookError::Layout)?;
    let states = found.iter().map(|(_, state, _)| *state).collect();
    let space = Space::within(folder, Arc::new(layout), states, looked_at);
    Ok(Found { name, is_folder: true, files, space })
}

/// The last part of a path, also of `.`.
fn name_of(path: &Path) -> io::Result<std::ffi::OsString> {
    if let Some(name) = path.file_name() {
        return Ok(name.to_owned());
    }
    let real = fs::canonicalize(path)?;
    real.file_name().map(OsStr::to_owned).ok_or_else(|| io::Error::other("has no name"))
}

fn single(name: &[u8]) -> Result<FolderPath, PathError> {
    FolderPath::new(name)
}

fn walk_folder(
    folder: &Beneath,
    shown: &Path,
    rules: Rules,
) -> Result<Vec<(FolderPath, Identity, bool)>, LookError> {
    let mut files = Vec::new();
    // Paths of folders that are still to be read; none is open meanwhile.
    let mut folders: Vec<Option<FolderPath>> = vec![None];
    while let Some(path) = folders.pop() {
        let bytes = path.as_ref().map_or(&b""[..], FolderPath::as_bytes);
        let at = |error: io::Error| LookError::Io(shown.join(OsStr::from_bytes(bytes)), error);
        let opened = folder.listed(bytes).map_err(|error| at(error.into()))?;
        for name in walk::names(&opened, rules).map_err(at)? {
            let below = single(name.as_bytes());
            let below =
                below.and_then(|name| path.as_ref().map_or(Ok(name.clone()), |path| path.join(&name)));
            let below =
                below.map_err(|error| LookError::Path(shown.join(OsStr::from_bytes(bytes)), error))?;
            match walk::look(&opened, &name) {
                Ok(Thing::File(_)) if files.len() == MAX_FILES => {
                    return Err(LookError::Layout(LayoutError::TooManyFiles));
                }
                Ok(Thing::File(stat)) => {
                    let state = Identity::of(&stat);
                    files.extend(state.map(|state| (below, state, stat.st_mode & 0o100 != 0)));
                }
                Ok(Thing::Folder) => folders.push(Some(below)),
                Ok(Thing::Link | Thing::Other) => log::info!("{below}: left out: no file or folder"),
                // It went away meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(at(error)),
            }
        }
    }
    files.sort_unstable_by(|(a, ..), (b, ..)| a.cmp(b));
    Ok(files)
}

/// Why nothing is made a torrent.
#[derive(Debug)]
pub enum LookError {
    /// It cannot be read.
    Io(PathBuf, io::Error),
    /// It, or something in it, has a name that no torrent can have.
    Path(PathBuf, PathError),
    /// The files make no torrent.
    Layout(LayoutError),
}

impl fmt::Display for LookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LookError::Io(path, error) => write!(f, "{}: {error}", crate::names::shown(path)),
            LookError::Path(path, error) => write!(f, "{}: {error}", crate::names::shown(path)),
            LookError::Layout(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for LookError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_the_order_of_their_bytes_and_links_and_dot_files_are_left_out() {
        let base = tempfile::tempdir().unwrap();
        let top = base.path().join("album");
        fs::create_dir_all(top.join("b")).unwrap();
        for (name, len) in [("b/2", 2), ("b/1", 1), ("b-", 3), ("a", 0), (".hidden", 5)] {
            fs::write(top.join(name), vec![0; len]).unwrap();
        }
        std::os::unix::fs::symlink("a", top.join("link")).unwrap();
        let found = look(&top, Rules::default()).unwrap();
        let files: Vec<_> = found.files.iter().map(|(path, len, _)| (path.to_string(), *len)).collect();
        let wanted = [("a", 0), ("b-", 3), ("b/1", 1), ("b/2", 2)];
        assert_eq!(files, wanted.map(|(path, len)| (path.to_owned(), len)));
        assert_eq!((found.name.to_string(), found.space.layout().len()), ("album".to_owned(), 6));
        let with_hidden = look(&top, Rules { hidden: true, follow: false }).unwrap();
        assert_eq!(with_hidden.files.len(), 5);
        found.space.check_unchanged().unwrap();
        fs::write(top.join("b/1"), "other").unwrap();
        assert_eq!(found.space.check_unchanged().unwrap_err().path.to_string(), "album/b/1");
    }

    #[test]
    fn a_file_is_taken_through_a_link_by_the_name_that_was_given() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("real"), "abc").unwrap();
        std::os::unix::fs::symlink("real", base.path().join("film")).unwrap();
        let found = look(&base.path().join("film"), Rules::default()).unwrap();
        assert_eq!((found.name.to_string(), found.is_folder), ("film".to_owned(), false));
        assert_eq!(found.space.layout().len(), 3);
        fs::write(base.path().join("empty"), "").unwrap();
        assert!(matches!(look(&base.path().join("empty"), Rules::default()), Err(LookError::Layout(_))));
    }
}
