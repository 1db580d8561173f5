//! All that is in a folder, hashed, as the entries of its list.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::vec;

use cjp2p_cli::ToolError;
use cjp2p_io::deep_path;
use cjp2p_io::names;
use cjp2p_io::walk::{self, Rules};
use cjp2p_wire::folder::{Builder, Entry, FolderPath, Kind, ListRef, Mtime, reference_of};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::ahead::{Ahead, Hashed, Way};
use crate::digest::digest;
use crate::files::Trouble;
use crate::hashers::{Failed, Wanted};
use crate::input::{Input, RegularFile};

/// How the folder itself is opened; and those in it, which are no links.
const TOP: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const BELOW: OFlags = TOP.union(OFlags::NOFOLLOW);
/// How files are opened: what took the place of one meanwhile must not keep us waiting.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK);

const WANTED: Wanted<'static> = Wanted { blake3: true, sha256: false, leaves: None };

/// What is told while a folder is hashed.
pub(crate) trait Listener {
    /// An entry, in the order of the tree, with its path from the folder on.
    ///
    /// # Errors
    ///
    /// Where all is to end.
    fn entry(&mut self, entry: &Entry) -> Result<(), ToolError>;

    /// Something that cannot be read, so that the folder has no id.
    fn trouble(&mut self, trouble: Trouble);

    /// Bytes that were hashed.
    fn advance(&mut self, length: u64);
}

/// The list of a folder, without times and with them.
#[derive(Clone, Copy)]
pub(crate) struct Lists {
    pub(crate) plain: ListRef,
    pub(crate) timed: ListRef,
}

impl Lists {
    /// Whether either is this list.
    pub(crate) fn has(&self, root: &cjp2p_wire::content_id::Hash) -> bool {
        self.plain.root == *root || self.timed.root == *root
    }
}

/// Hashes what is in the folder at `path`. `None` where not all of it can be read.
///
/// # Errors
///
/// The inner ones where the folder itself cannot be read, the outer ones those of `listener`.
pub(crate) fn hash_folder(
    path: &Path,
    rules: Rules,
    listener: &mut dyn Listener,
) -> Result<io::Result<Option<Lists>>, ToolError> {
    let opened = deep_path::open(path, TOP).and_then(|folder| Ok((walk::names(&folder, rules)?, folder)));
    let (names, folder) = match opened {
        Ok(opened) => opened,
        Err(error) => return Ok(Err(error)),
    };
    let top = Level { path: path.to_owned(), relative: None, names: names.into_iter(), opened: Some(folder) };
    let mut work = Work {
        rules,
        listener,
        levels: vec![top],
        ahead: Ahead::new(),
        waiting: VecDeque::new(),
        plain: Builder::new(refer),
        timed: Builder::new(refer),
        is_whole: true,
    };
    while let Some(level) = work.levels.last_mut() {
        match level.names.next() {
            Some(name) => work.take(&name)?,
            None => drop(work.levels.pop()),
        }
    }
    work.emit_all()?;
    if !work.is_whole {
        return Ok(Ok(None));
    }
    let lists = (work.plain.finish(), work.timed.finish());
    match lists {
        (Ok(plain), Ok(timed)) => Ok(Ok(Some(Lists { plain, timed }))),
        (Err(error), _) | (_, Err(error)) => Ok(Err(io::Error::other(error.to_string()))),
    }
}

/// Nothing of a list is kept but how it is referred to.
type Refer = fn(&[u8]) -> Result<ListRef, Infallible>;

fn refer(text: &[u8]) -> Result<ListRef, Infallible> {
    Ok(reference_of(text))
}

/// A folder that is being looked through.
struct Level {
    path: PathBuf,
    /// From the top on; `None` for the top itself.
    relative: Option<FolderPath>,
    /// What is still to come.
    names: vec::IntoIter<OsString>,
    /// Only of the innermost one, so that no more are open however many there are.
    opened: Option<OwnedFd>,
}

struct Work<'a> {
    rules: Rules,
    listener: &'a mut dyn Listener,
    /// The folders that are in each other, the top first.
    levels: Vec<Level>,
    ahead: Ahead,
    /// Entries in order, those of files without their hashes: these come from `ahead`.
    waiting: VecDeque<Entry>,
    plain: Builder<Refer>,
    timed: Builder<Refer>,
    is_whole: bool,
}

impl Work<'_> {
    /// Takes what is called `name` in the innermost folder.
    fn take(&mut self, name: &OsStr) -> Result<(), ToolError> {
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        let path = level.path.join(name);
        match look(level, name) {
            Ok(Some((entry, Content::None))) => self.add(entry),
            Ok(Some((entry, Content::File(opened)))) => self.hash(entry, path, opened),
            Ok(Some((entry, Content::Folder))) => {
                let relative = Some(entry.path.clone());
                self.add(entry)?;
                self.enter(path, relative)
            }
            Ok(None) => Ok(()),
            // It went away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => self.fail(Trouble::new(path, error)),
        }
    }

    fn fail(&mut self, trouble: Trouble) -> Result<(), ToolError> {
        self.emit_all()?;
        self.is_whole = false;
        self.listener.trouble(trouble);
        Ok(())
    }

    fn enter(&mut self, path: PathBuf, relative: Option<FolderPath>) -> Result<(), ToolError> {
        if let Some(above) = self.levels.last_mut() {
            above.opened = None;
        }
        let opened = deep_path::open(&path, BELOW);
        match opened.and_then(|folder| Ok((walk::names(&folder, self.rules)?, folder))) {
            Ok((names, folder)) => {
                self.levels.push(Level { path, relative, names: names.into_iter(), opened: Some(folder) });
                Ok(())
            }
            Err(error) => self.fail(Trouble::new(path, error)),
        }
    }

    /// Adds an entry that is as it will be.
    fn add(&mut self, entry: Entry) -> Result<(), ToolError> {
        self.waiting.push_back(entry);
        self.emit(false)
    }

    fn hash(
        &mut self,
        mut entry: Entry,
        path: PathBuf,
        mut opened: io::Result<File>,
    ) -> Result<(), ToolError> {
        if opened.is_err() && !self.ahead.is_empty() {
            // Those before it may hold the descriptors that it lacked.
            self.emit_all()?;
            if let Some(level) = self.levels.last_mut() {
                opened = open_file(level, path.file_name().unwrap_or_default());
            }
        }
        let (file, found) = match opened.and_then(|file| Ok((file.metadata()?, file))) {
            Ok((found, file)) => (file, found),
            Err(error) => return self.fail(Trouble::new(path, error)),
        };
        if !found.is_file() {
            return self.fail(Trouble::new(path, io::Error::other("it changed while it was read")));
        }
        describe(&mut entry, &found);
        let file = RegularFile::new(file, 0, found);
        let name = path.into_os_string();
        match Way::of(&file, WANTED) {
            Way::Beside => self.ahead.give(name, file, WANTED),
            Way::AtOnce => {
                let hashed = digest(Input::File(file), WANTED, &mut |length| self.listener.advance(length));
                self.ahead.add(name, hashed);
            }
            Way::Alone => {
                self.emit_all()?;
                let hashed = digest(Input::File(file), WANTED, &mut |length| self.listener.advance(length));
                self.ahead.add(name, hashed);
            }
        }
        self.waiting.push_back(entry);
        self.emit(false)?;
        while self.ahead.is_full() {
            self.emit_next(true)?;
        }
        Ok(())
    }

    fn emit_all(&mut self) -> Result<(), ToolError> {
        self.emit(true)
    }

    /// Passes on all entries that are complete, or if it `may_wait` all.
    fn emit(&mut self, may_wait: bool) -> Result<(), ToolError> {
        while self.emit_next(may_wait)? {}
        Ok(())
    }

    fn emit_next(&mut self, may_wait: bool) -> Result<bool, ToolError> {
        let Some(next) = self.waiting.front() else { return Ok(false) };
        let hashed = match next.kind {
            Kind::File { .. } => {
                match self.ahead.take(may_wait, &mut |length| self.listener.advance(length)) {
                    Some(hashed) => Some(hashed),
                    None => return Ok(false),
                }
            }
            _ => None,
        };
        let Some(mut entry) = self.waiting.pop_front() else { return Ok(false) };
        if let Some((name, hashed)) = hashed
            && let Err(error) = fill(&mut entry, hashed)
        {
            self.is_whole = false;
            self.listener.trouble(Trouble::new(name, error));
            return Ok(true);
        }
        self.listener.entry(&entry)?;
        let pushed = self.timed.push(&entry).and_then(|()| {
            entry.mtime = None;
            self.plain.push(&entry)
        });
        if let Err(error) = pushed {
            self.is_whole = false;
            let name = OsStr::from_bytes(entry.path.as_bytes());
            self.listener.trouble(Trouble::new(name, io::Error::other(error.to_string())));
        }
        Ok(true)
    }
}

/// What is still to be looked at of an entry.
enum Content {
    None,
    Folder,
    File(io::Result<File>),
}

/// What is called `name`; `None` for what is in no list.
fn look(level: &mut Level, name: &OsStr) -> io::Result<Option<(Entry, Content)>> {
    let part = FolderPath::new(name.as_bytes());
    let path =
        part.and_then(|part| level.relative.as_ref().map_or(Ok(part.clone()), |above| above.join(&part)));
    let path = path.map_err(|error| io::Error::new(io::ErrorKind::InvalidFilename, error.to_string()))?;
    let folder = reopen(level)?;
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mtime = Mtime::new(stat.st_mtime as i64, stat.st_mtime_nsec as u32);
    let (kind, content) = match FileType::from_raw_mode(stat.st_mode as _) {
        FileType::RegularFile => {
            // What it is, is told by the open file.
            let kind = Kind::File { length: 0, root: [0; 32], exec: false };
            (kind, Content::File(open_file(level, name)))
        }
        FileType::Directory => (Kind::Folder { list: None }, Content::Folder),
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(folder, name, Vec::new())?.into_bytes();
            (Kind::Link { target }, Content::None)
        }
        _ => {
            log::info!("{}: left out: no file, folder or link", names::shown(level.path.join(name)));
            return Ok(None);
        }
    };
    Ok(Some((Entry { path, kind, mtime }, content)))
}

fn reopen(level: &mut Level) -> io::Result<&OwnedFd> {
    let opened = match level.opened.take() {
        Some(opened) => opened,
        None => deep_path::open(&level.path, if level.relative.is_some() { BELOW } else { TOP })?,
    };
    Ok(level.opened.insert(opened))
}

fn open_file(level: &mut Level, name: &OsStr) -> io::Result<File> {
    Ok(rustix::fs::openat(reopen(level)?, name, FILE, Mode::empty())?.into())
}

/// Writes down what the open file says.
fn describe(entry: &mut Entry, found: &Metadata) {
    entry.mtime = Mtime::new(found.mtime(), found.mtime_nsec() as u32);
    entry.kind = Kind::File { length: found.len(), root: [0; 32], exec: found.mode() & 0o100 != 0 };
}

/// Writes down what was hashed.
fn fill(entry: &mut Entry, hashed: Hashed) -> io::Result<()> {
    let digests = hashed.map_err(|(Failed::Reading(error) | Failed::Leaves(error))| error)?;
    if let Kind::File { length, root, .. } = &mut entry.kind
        && let Some(tree) = &digests.tree
    {
        (*length, *root) = (digests.length, *tree.root());
    }
    Ok(())
}
