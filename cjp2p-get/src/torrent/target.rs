//! Where a torrent goes: a folder, a file with parts of one of its files, a reader, or a list.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::names::shown;
use cjp2p_io::sandbox::Sandbox;
use cjp2p_io::state_dir::folder_of;

use crate::cli::Cli;
use crate::place::Places;
use crate::ranges::Ranges;
use crate::sinks::stream::Output;

/// See the [module](self).
pub(crate) enum Target {
    /// Files in the folder `top`, called `path`; what is there already may be replaced. What is not whole is in `unfinished`.
    Folder { path: PathBuf, top: OwnedFd, unfinished: OwnedFd, force: bool },
    /// A file with parts of one of the files.
    Excerpt(ExcerptPlace),
    /// One file, in order, by way of a file without a name. `path` is that of a device.
    Reader { temporary: File, output: Output, ranges: Ranges, path: Option<PathBuf> },
    /// A list of the files; as JSON where it is true.
    List(bool),
}

/// Where parts of a file go.
pub(crate) struct ExcerptPlace {
    /// The file that they become, or the folder in which it is called as in the torrent.
    pub(crate) path: PathBuf,
    pub(crate) is_folder: bool,
    /// The folder for what is not whole.
    pub(crate) unfinished: PathBuf,
    pub(crate) home: OwnedFd,
    pub(crate) ranges: Ranges,
    pub(crate) force: bool,
}

impl Target {
    /// What the command line asks for, opened while anything can be, and what the process needs for it.
    ///
    /// # Errors
    ///
    /// It cannot be opened or made.
    pub(crate) fn of(cli: &Cli, places: &Places) -> Result<(Target, Sandbox), ToolError> {
        let ranges = || Ranges::new(cli.ranges.clone());
        let (output, device) = match places {
            _ if cli.folder.list => return Ok((Target::List(cli.json), Sandbox::new())),
            Places::Stdout => (Output::stdout()?, None),
            Places::Device(path) => (Output::device(path)?, Some(path.clone())),
            Places::File(path) if !cli.ranges.is_empty() => {
                return excerpt(path, false, folder_of(path), ranges(), cli.force);
            }
            Places::Folder { folder, unfinished } if !cli.ranges.is_empty() => {
                return excerpt(folder, true, unfinished, ranges(), cli.force);
            }
            Places::File(path) => return whole(path, path, cli.force),
            Places::Folder { folder, unfinished } => return whole(folder, unfinished, cli.force),
        };
        let temp_dir = cli.temp_dir.clone().unwrap_or_else(env::temp_dir);
        let temporary = tempfile::tempfile_in(&temp_dir).map_err(|error| {
            ToolError::new(Exit::Destination, format!("temporary file in {}: {error}", shown(&temp_dir)))
        })?;
        Ok((Target::Reader { temporary, output, ranges: ranges(), path: device }, Sandbox::new()))
    }
}

fn whole(folder: &Path, unfinished: &Path, force: bool) -> Result<(Target, Sandbox), ToolError> {
    let (top, home) = (open_folder(folder)?, open_folder(unfinished)?);
    let target = Target::Folder { path: folder.to_owned(), top, unfinished: home, force };
    Ok((target, Sandbox::new().recreate(folder).recreate(unfinished)))
}

fn excerpt(
    path: &Path,
    is_folder: bool,
    unfinished: &Path,
    ranges: Ranges,
    force: bool,
) -> Result<(Target, Sandbox), ToolError> {
    let folder = if is_folder { path } else { folder_of(path) };
    open_folder(folder)?;
    let (home, path, unfinished) = (open_folder(unfinished)?, path.to_owned(), unfinished.to_owned());
    let sandbox = Sandbox::new().recreate(folder).recreate(&unfinished);
    let place = ExcerptPlace { path, is_folder, unfinished, home, ranges, force };
    Ok((Target::Excerpt(place), sandbox))
}

/// Opens a folder, and makes it where it is missing.
fn open_folder(path: &Path) -> Result<OwnedFd, ToolError> {
    let failed = |error: io::Error| ToolError::new(Exit::Destination, format!("{}: {error}", shown(path)));
    fs::create_dir_all(path).map_err(failed)?;
    let opened = File::open(path).map_err(failed)?;
    if !opened.metadata().map_err(failed)?.is_dir() {
        return Err(failed(io::Error::other("is no folder; a torrent goes to a folder by its own name")));
    }
    Ok(opened.into())
}
