//! Finding the files to share.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cjp2p_io::identity::Identity;
use cjp2p_io::partial_name::is_partial;
pub use cjp2p_io::walk::Rules;
use cjp2p_io::walk::{Found, look, names_after};
use rustix::fs::{AtFlags, CWD, Stat};

use crate::open::Root;
use crate::place::{Place, Source, Target};

/// Names of one folder that are in memory at a time, at least.
const NAMES: usize = 16_384;
/// Of large folders, this part of those that were visited already: so that not even the largest is read very often.
const PART: usize = 8;

/// What a walk comes across.
#[derive(Debug)]
pub enum Step<'a> {
    /// A folder is about to be listed. A watch from now on misses nothing.
    Folder {
        /// The argument it is below.
        source: &'a Arc<Source>,
        /// Its path from the argument's folder.
        relative: &'a Path,
        /// The folder itself.
        opened: BorrowedFd<'a>,
    },
    /// A regular file.
    File(Place, Identity),
    /// Something that should have been shared and cannot be read.
    Problem {
        /// Its path as people are shown it.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Visits everything below `source` that `rules` allow: the files of a folder first, then its folders, by name.
///
/// Devices, sockets and FIFOs are passed over without being opened. Where links are followed, what they lead to comes
/// after everything else, and a folder is visited once however many links lead to it. It ends early where `visit` says so.
pub fn walk(source: &Arc<Source>, rules: Rules, visit: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>) {
    walk_from(source, Path::new(""), rules, visit);
}

/// The same for what is at the path `relative` below the source only: a folder, a file, or nothing.
pub fn walk_from(
    source: &Arc<Source>,
    relative: &Path,
    rules: Rules,
    visit: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
) {
    let mut walk =
        Walk { source, rules, visit, links: VecDeque::new(), visited: HashSet::new(), is_over: false };
    if let Some(name) = &source.only {
        walk.file_argument(name);
        return;
    }
    walk.from(relative);
    while !walk.is_over
        && let Some(link) = walk.links.pop_front()
    {
        walk.follow(link);
    }
}

/// A folder or link: its path as shared, and where it really is if that is elsewhere.
struct Spot {
    relative: PathBuf,
    target: Option<Arc<Target>>,
}

struct Walk<'a> {
    source: &'a Arc<Source>,
    rules: Rules,
    visit: &'a mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    links: VecDeque<Spot>,
    /// Device and inode of the folders visited, where links are followed.
    visited: HashSet<(u64, u64)>,
    /// Whether the visitor has seen enough.
    is_over: bool,
}

impl Walk<'_> {
    fn file_argument(&mut self, name: &OsStr) {
        if is_partial(name) {
            let error = io::Error::other("a download in progress is not shared");
            return self.problem(Path::new(name), error);
        }
        let found = rustix::fs::statat(CWD, self.source.path(), AtFlags::SYMLINK_NOFOLLOW);
        if let Ok(stat) = found {
            self.file(&Spot { relative: name.into(), target: None }, &stat);
        }
    }

    fn from(&mut self, relative: &Path) {
        let (Some(parent), Some(name)) = (relative.parent(), relative.file_name()) else {
            return self.folders(Spot { relative: relative.to_path_buf(), target: None });
        };
        if !relative.iter().all(|name| self.rules.allow(name)) {
            return;
        }
        // Nothing there, or no longer: not a problem, since the caller compares with what was there.
        let found = self.source.open_folder(parent).and_then(|folder| look(&folder, name));
        let spot = Spot { relative: relative.to_path_buf(), target: None };
        match found {
            Ok(Found::File(stat)) => self.file(&spot, &stat),
            Ok(Found::Folder) => self.folders(spot),
            Ok(Found::Link) if self.rules.follow => self.links.push_back(spot),
            _ => {}
        }
    }

    /// Visits a folder and all folders below it.
    fn folders(&mut self, first: Spot) {
        let mut to_do = vec![first];
        while !self.is_over
            && let Some(spot) = to_do.pop()
        {
            match self.folder(&spot) {
                Ok(mut below) => {
                    below.reverse();
                    to_do.append(&mut below);
                }
                // It went away between listing and visiting it, unless it is the argument itself.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && !spot.relative.as_os_str().is_empty() => {}
                Err(error) => self.problem(&spot.relative, error),
            }
        }
    }

    /// Visits the files of one folder and returns its folders.
    fn folder(&mut self, spot: &Spot) -> io::Result<Vec<Spot>> {
        let folder = match &spot.target {
            None => self.source.open_folder(&spot.relative)?,
            Some(target) => target.root.open_folder(&target.path)?,
        };
        if self.rules.follow && !self.visited.insert(device_and_inode(&folder)?) {
            return Ok(Vec::new());
        }
        let (source, relative) = (self.source, &*spot.relative);
        self.is_over |= (self.visit)(Step::Folder { source, relative, opened: folder.as_fd() }).is_break();
        let mut below = Vec::new();
        let (mut last, mut visited) = (None, 0);
        loop {
            let most = NAMES.max(visited / PART);
            let names = names_after(&folder, self.rules, last.as_deref(), most)?;
            visited += names.len();
            for name in &names {
                if self.is_over {
                    return Ok(below);
                }
                self.entry(&folder, spot, name, &mut below);
            }
            if names.len() < most {
                return Ok(below);
            }
            last = names.into_iter().next_back();
        }
    }

    /// Visits what has this name in a folder, or notes it to be visited.
    fn entry(&mut self, folder: &OwnedFd, spot: &Spot, name: &OsStr, below: &mut Vec<Spot>) {
        let inner = Spot {
            relative: spot.relative.join(name),
            target: spot.target.as_ref().map(|target| {
                let path = target.path.join(name);
                Arc::new(Target { root: target.root.clone(), path })
            }),
        };
        match look(folder, name) {
            Ok(Found::File(stat)) => self.file(&inner, &stat),
            Ok(Found::Folder) => below.push(inner),
            Ok(Found::Link) if self.rules.follow => self.links.push_back(inner),
            Ok(Found::Link | Found::Other) => {
                log::debug!("passed over: {:?}", self.source.show(&inner.relative));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.problem(&inner.relative, error),
        }
    }

    /// Goes where a link leads.
    fn follow(&mut self, link: Spot) {
        match self.resolve(&link) {
            Ok(target) => {
                let name = target.path.file_name();
                if name.is_some_and(is_partial) {
                    return;
                }
                let found = match (target.path.parent(), name) {
                    (Some(parent), Some(name)) => {
                        target.root.open_folder(parent).and_then(|folder| look(&folder, name))
                    }
                    _ => Ok(Found::Folder),
                };
                let spot = Spot { relative: link.relative, target: Some(Arc::new(target)) };
                match found {
                    Ok(Found::File(stat)) => self.file(&spot, &stat),
                    Ok(Found::Folder) => self.folders(spot),
                    Ok(Found::Link | Found::Other) => {}
                    Err(error) => self.problem(&spot.relative, error),
                }
            }
            Err(error) => self.problem(&link.relative, error),
        }
    }

    /// Where a link leads now, as a path free of links: below the share if it is there, else from `/`.
    fn resolve(&self, link: &Spot) -> io::Result<Target> {
        let path = match &link.target {
            None => self.source.root.path().join(&link.relative),
            Some(target) => target.root.path().join(&target.path),
        };
        let real = path.canonicalize()?;
        let (root, path) = match real.strip_prefix(self.source.root.path()) {
            Ok(inside) => (self.source.root.path(), inside.to_path_buf()),
            Err(_) => (Path::new("/"), real.strip_prefix("/").unwrap_or(&real).to_path_buf()),
        };
        Ok(Target { root: Arc::new(Root::open(root.to_path_buf())?), path })
    }

    fn file(&mut self, spot: &Spot, stat: &Stat) {
        let Some(identity) = Identity::of(stat) else {
            return;
        };
        let place = Place {
            source: self.source.clone(),
            relative: spot.relative.as_path().into(),
            target: spot.target.clone(),
        };
        self.is_over |= (self.visit)(Step::File(place, identity)).is_break();
    }

    fn problem(&mut self, relative: &Path, error: io::Error) {
        let path = self.source.show(relative);
        self.is_over |= (self.visit)(Step::Problem { path, error }).is_break();
    }
}

#[allow(clippy::unnecessary_cast, reason = "the widths differ between architectures")]
fn device_and_inode(folder: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(folder)?;
    Ok((stat.st_dev as u64, stat.st_ino as u64))
}

#[cfg(test)]
mod tests;
