//! Which files to hash.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::vec;

use cjp2p_cli::list::{self, Line, Lines};
use cjp2p_cli::stdin::{self, Waiting};
use cjp2p_io::deep_path;
use cjp2p_io::names;
use cjp2p_io::walk::{self, Found, Rules};
use rustix::fs::OFlags;

use crate::input::{BLOCK_LEN, Input, RegularFile};

/// Why a file is passed over: its name, and what is wrong.
#[derive(Debug)]
pub(crate) struct Trouble {
    name: OsString,
    error: io::Error,
}

impl Trouble {
    pub(crate) fn new(name: impl Into<OsString>, error: io::Error) -> Trouble {
        Trouble { name: name.into(), error }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", names::shown(&self.name), reason(&self.error))
    }
}

/// What the system says, without the number that Rust puts behind it.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(code) => text.trim_end_matches(&format!(" (os error {code})")).to_owned(),
        None => text,
    }
}

/// Opens what `name` names; `-` is standard input.
pub(crate) fn open(name: &OsStr) -> io::Result<Input> {
    // Standard input can be a regular file too, but not one to be read from its beginning.
    let (mut file, is_new) = match name == "-" {
        true => (File::from(stdin::open()?.0.as_fd().try_clone_to_owned()?), false),
        false => (open_path(name)?, true),
    };
    let found = file.metadata()?;
    if found.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if found.file_type().is_fifo() {
        // With room for a block, reader and writer wake each other less often. Where that is refused, it is only slower.
        let _ = rustix::pipe::fcntl_setpipe_size(&file, BLOCK_LEN);
    }
    if !found.is_file() {
        return Ok(Input::Stream(Box::new(Waiting(file))));
    }
    let start = if is_new { 0 } else { file.stream_position()? };
    Ok(Input::File(RegularFile::new(file, start, found)))
}

fn open_path(name: &OsStr) -> io::Result<File> {
    Ok(deep_path::open(Path::new(name), OFlags::RDONLY | OFlags::CLOEXEC)?.into())
}

/// Opens a list to read; `-` is standard input.
pub(crate) fn open_list(name: &OsStr) -> io::Result<Box<dyn BufRead>> {
    if name == "-" {
        return Ok(Box::new(BufReader::new(stdin::open()?)));
    }
    let file = File::open(name)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(Box::new(BufReader::new(file)))
}

/// How folders are opened to be listed.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Calls `each` with the name of every file that `name` stands for: itself, or where `rules` say how to look through folders, the
/// regular files in it. Ends early where `each` fails.
pub(crate) fn expand<E>(
    name: OsString,
    rules: Option<Rules>,
    each: &mut dyn FnMut(Result<OsString, Trouble>) -> Result<(), E>,
) -> Result<(), E> {
    let is_folder = |name: &OsStr| deep_path::open(Path::new(name), FOLDER | OFlags::PATH).is_ok();
    let Some(rules) = rules.filter(|_| name != "-" && is_folder(&name)) else {
        return each(Ok(name));
    };
    // Folders that are in each other, with what is still to come of each. No handle is held meanwhile, however many they are.
    let mut folders: Vec<(PathBuf, vec::IntoIter<(OsString, bool)>)> = Vec::new();
    let mut next = Some(PathBuf::from(name));
    loop {
        if let Some(path) = next.take() {
            match list(&path, rules, each)? {
                Ok(entries) => folders.push((path, entries.into_iter())),
                Err(error) => each(Err(Trouble::new(path, error)))?,
            }
        }
        let Some((folder, entries)) = folders.last_mut() else {
            return Ok(());
        };
        match entries.next() {
            Some((name, true)) => next = Some(folder.join(name)),
            Some((name, false)) => each(Ok(folder.join(name).into_os_string()))?,
            None => drop(folders.pop()),
        }
    }
}

/// The files and folders in a folder by name, and whether each is a folder.
fn list<E>(
    path: &Path,
    rules: Rules,
    each: &mut dyn FnMut(Result<OsString, Trouble>) -> Result<(), E>,
) -> Result<io::Result<Vec<(OsString, bool)>>, E> {
    let opened = deep_path::open(path, FOLDER);
    let (names, folder) = match opened.and_then(|folder| Ok((walk::names(&folder, rules)?, folder))) {
        Ok(listed) => listed,
        Err(error) => return Ok(Err(error)),
    };
    let mut entries = Vec::new();
    for name in names {
        match walk::look(&folder, &name) {
            Ok(Found::File(_)) => entries.push((name, false)),
            Ok(Found::Folder) => entries.push((name, true)),
            Ok(Found::Link | Found::Other) => {}
            // It went away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => each(Err(Trouble::new(path.join(name), error)))?,
        }
    }
    Ok(Ok(entries))
}

/// Names that a list has, one to a line; empty lines are passed over.
pub(crate) struct NameList {
    lines: Lines<Box<dyn BufRead>>,
    /// It is a text, which some systems begin with a byte order mark.
    may_begin_with_mark: bool,
}

impl NameList {
    pub(crate) fn open(path: &OsStr, nul: bool) -> io::Result<NameList> {
        Ok(NameList { lines: Lines::new(open_list(path)?, nul), may_begin_with_mark: !nul })
    }
}

impl Iterator for NameList {
    type Item = io::Result<OsString>;

    fn next(&mut self) -> Option<io::Result<OsString>> {
        loop {
            let begins = std::mem::take(&mut self.may_begin_with_mark);
            return match self.lines.next_line() {
                Ok(Some(Line::Whole(line))) => match if begins { list::without_mark(line) } else { line } {
                    b"" => continue,
                    name => Some(Ok(OsString::from_vec(name.to_vec()))),
                },
                Ok(Some(Line::TooLong)) => Some(Err(io::ErrorKind::InvalidFilename.into())),
                Ok(None) => None,
                Err(error) => Some(Err(error)),
            };
        }
    }
}

/// The bytes of all `names` together, where each is a regular file.
pub(crate) fn total_length(names: &[OsString]) -> Option<u64> {
    names.iter().try_fold(0u64, |total, name| {
        let metadata = std::fs::metadata(name).ok().filter(|metadata| metadata.is_file())?;
        total.checked_add(metadata.len())
    })
}

/// A name from a list as the file system takes it.
pub(crate) fn name_of(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}
