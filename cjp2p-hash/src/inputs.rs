//! Which files to hash.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use walkdir::WalkDir;

use crate::digest::{BLOCK_LEN, Input, RegularFile};
use crate::list::{Line, Lines};
use crate::names;

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
        true => (File::from(io::stdin().as_fd().try_clone_to_owned()?), false),
        false => (File::open(name)?, true),
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
        return Ok(Input::Stream(Box::new(file)));
    }
    let start = if is_new { 0 } else { file.stream_position()? };
    Ok(Input::File(RegularFile::new(file, start, found)))
}

/// Opens a list to read; `-` is standard input.
pub(crate) fn open_list(name: &OsStr) -> io::Result<Box<dyn BufRead>> {
    if name == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(name)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(Box::new(BufReader::new(file)))
}

/// Calls `each` with the name of every file that `name` stands for: itself, or with `recursive` the regular files in
/// a folder. Ends early where `each` fails.
pub(crate) fn expand<E>(
    name: OsString,
    recursive: bool,
    each: &mut dyn FnMut(Result<OsString, Trouble>) -> Result<(), E>,
) -> Result<(), E> {
    if !recursive || name == "-" || !Path::new(&name).is_dir() {
        return each(Ok(name));
    }
    for entry in WalkDir::new(&name).sort_by_file_name() {
        match entry {
            Ok(entry) if entry.file_type().is_file() => each(Ok(entry.into_path().into_os_string()))?,
            Ok(_) => {}
            Err(error) => {
                let name = error.path().map_or(name.as_os_str(), Path::as_os_str).to_owned();
                let error = error.into_io_error().unwrap_or_else(|| io::Error::other("a loop of folders"));
                each(Err(Trouble::new(name, error)))?;
            }
        }
    }
    Ok(())
}

/// Names that a list has, one to a line; empty lines are passed over.
pub(crate) struct NameList(Lines<Box<dyn BufRead>>);

impl NameList {
    pub(crate) fn open(path: &OsStr, nul: bool) -> io::Result<NameList> {
        Ok(NameList(Lines::new(open_list(path)?, nul)))
    }
}

impl Iterator for NameList {
    type Item = io::Result<OsString>;

    fn next(&mut self) -> Option<io::Result<OsString>> {
        loop {
            return match self.0.next_line() {
                Ok(Some(Line::Whole(b""))) => continue,
                Ok(Some(Line::Whole(name))) => Some(Ok(OsString::from_vec(name.to_vec()))),
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
