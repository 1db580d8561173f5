//! Where shared files are: the arguments of the command line, and the files below them.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cjp2p_io::identity::Identity;

use crate::open::{Patience, Root};
use crate::opener::Opener;

/// One argument of the command line: a folder, or a single file of one.
#[derive(Debug)]
pub struct Source {
    /// Its place among the arguments.
    pub number: u32,
    /// The folder, or that of the file.
    pub root: Root,
    /// The file's name in `root`, where the argument is a file.
    pub only: Option<OsString>,
    /// The argument as it was given.
    pub shown: PathBuf,
    /// The same as an absolute path, links and all.
    pub named: PathBuf,
    /// Opens what took the place of what was there at the start, where this process may not.
    pub opener: Option<Arc<Opener>>,
}

impl Source {
    /// Takes hold of what `argument` names. A symbolic link given here is followed: it was named on purpose.
    ///
    /// # Errors
    ///
    /// It does not exist, or is neither a folder nor a regular file, or may not be entered.
    pub fn open(number: u32, argument: &Path) -> io::Result<Source> {
        let path = argument.canonicalize()?;
        let (shown, named) = (argument.to_path_buf(), std::path::absolute(argument)?);
        let kind = path.metadata()?;
        let (root, only) = match (path.parent(), path.file_name()) {
            _ if kind.is_dir() => (Root::open(path)?, None),
            (Some(parent), Some(name)) if kind.is_file() => {
                (Root::open(parent.to_path_buf())?, Some(name.to_owned()))
            }
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "neither a folder nor a regular file",
                ));
            }
        };
        Ok(Source { number, root, only, shown, named, opener: None })
    }

    /// The same argument, as what it names now.
    ///
    /// # Errors
    ///
    /// As for [`Source::open`].
    pub fn open_again(&self) -> io::Result<Source> {
        let now = Source::open(self.number, &self.named)?;
        Ok(Source { shown: self.shown.clone(), opener: self.opener.clone(), ..now })
    }

    /// Whether the two are the same folder, or file of the same folder.
    pub fn is_same(&self, other: &Source) -> bool {
        self.only == other.only
            && self.root.path() == other.root.path()
            && self.root.is_same_folder(&other.root)
    }

    /// Opens the regular file `relative` for reading.
    ///
    /// # Errors
    ///
    /// Whatever opening reports; an error for anything but a regular file.
    pub fn open_file(&self, relative: &Path, patience: Patience) -> io::Result<(File, Identity)> {
        match (self.root.open_file(relative, patience), &self.opener) {
            (Err(error), Some(opener)) if is_refused(&error) => match patience {
                Patience::Wait => opener.open_file(self.number, relative),
                Patience::InMemoryOnly => Err(io::ErrorKind::WouldBlock.into()),
            },
            (result, _) => result,
        }
    }

    /// Opens the folder `relative` for listing; an empty path is the root itself.
    ///
    /// # Errors
    ///
    /// Whatever opening reports.
    pub fn open_folder(&self, relative: &Path) -> io::Result<OwnedFd> {
        match (self.root.open_folder(relative), &self.opener) {
            (Err(error), Some(opener)) if is_refused(&error) => opener.open_folder(self.number, relative),
            (result, _) => result,
        }
    }

    /// The absolute path of the folder or file.
    pub fn path(&self) -> PathBuf {
        match &self.only {
            Some(name) => self.root.path().join(name),
            None => self.root.path().to_path_buf(),
        }
    }

    /// What the file called `name` in some folder is called by those who see only the argument: an argument that is a
    /// link has a name of its own.
    pub fn name_of<'a>(&'a self, name: &'a OsStr) -> Option<&'a OsStr> {
        if self.only.is_some() { self.shown.file_name() } else { Some(name) }
    }

    /// How to show people the file or folder `relative` to the root.
    pub fn show(&self, relative: &Path) -> PathBuf {
        if self.only.is_some() || relative.as_os_str().is_empty() {
            self.shown.clone()
        } else {
            self.shown.join(relative)
        }
    }
}

fn is_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Where a file really is that is reached by a symbolic link.
#[derive(Debug)]
pub struct Target {
    /// The folder it is opened below.
    pub root: Arc<Root>,
    /// The path from there, free of links.
    pub path: PathBuf,
}

impl Target {
    /// Whether the two lead to the same file: they differ once a link leads elsewhere or a folder was replaced.
    pub fn is_same(one: Option<&Target>, other: Option<&Target>) -> bool {
        match (one, other) {
            (None, None) => true,
            (Some(one), Some(other)) => one.path == other.path && one.root.is_same_folder(&other.root),
            _ => false,
        }
    }
}

/// Where one shared file is.
#[derive(Clone)]
pub struct Place {
    /// The argument it is shared by.
    pub source: Arc<Source>,
    /// The path from the argument's folder.
    pub relative: Arc<Path>,
    /// Where it really is, if the path from the argument's folder goes through a link.
    pub target: Option<Arc<Target>>,
}

impl Place {
    /// Opens the file.
    ///
    /// # Errors
    ///
    /// Whatever opening reports; an error for anything but a regular file.
    pub fn open(&self, patience: Patience) -> io::Result<(File, Identity)> {
        match &self.target {
            None => self.source.open_file(&self.relative, patience),
            Some(target) => target.root.open_file(&target.path, patience),
        }
    }

    /// The file's path as people are shown it: it begins with the argument as given.
    pub fn shown(&self) -> PathBuf {
        self.source.show(&self.relative)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}
