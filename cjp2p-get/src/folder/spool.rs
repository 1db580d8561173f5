//! The entries of a folder on their way to what writes it: lines in a file without a name, since there may be millions of them.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::names;
use cjp2p_wire::folder::Entry;

use super::select::{Select, nothing_matches};

/// Bytes at the most. A few short lists that refer to each other often can stand for more than a disk holds.
const MOST: u64 = 4 << 30;

/// See the [module](self).
pub(crate) struct Spool {
    file: BufWriter<File>,
    length: u64,
    folder: PathBuf,
    line: Vec<u8>,
    select: Select,
    found: bool,
}

impl Spool {
    /// A file in this folder, for what `select` takes.
    ///
    /// # Errors
    ///
    /// Where it cannot be made.
    pub(crate) fn new(folder: &Path, select: Select) -> Result<Spool, ToolError> {
        let file = tempfile::tempfile_in(folder).map_err(|error| failure(folder, &error))?;
        let (file, folder) = (BufWriter::with_capacity(64 << 10, file), folder.to_owned());
        Ok(Spool { file, length: 0, folder, line: Vec::new(), select, found: false })
    }

    /// The next entry.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written, or would be too long.
    pub(crate) fn push(&mut self, entry: &Entry) -> Result<(), ToolError> {
        if !self.select.takes(entry) {
            return Ok(());
        }
        self.found = true;
        self.line.clear();
        entry.write(&mut self.line);
        self.length += self.line.len() as u64;
        if self.length > MOST {
            let message = "the folder's list: is longer than can be held; --file takes some of it";
            return Err(ToolError::failure(message));
        }
        self.file.write_all(&self.line).map_err(|error| failure(&self.folder, &error))
    }

    /// There are no more: gives the file, from its start.
    ///
    /// # Errors
    ///
    /// As for [`Spool::push`], and where nothing was taken.
    pub(crate) fn finish(self) -> Result<File, ToolError> {
        let Spool { file, folder, select, found, .. } = self;
        if !found && !select.is_all() {
            return Err(nothing_matches());
        }
        let failed = |error: io::Error| failure(&folder, &error);
        let mut file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.rewind().map_err(failed)?;
        Ok(file)
    }
}

fn failure(folder: &Path, error: &io::Error) -> ToolError {
    let message = format!("temporary file in {}: {error}", names::shown(folder));
    ToolError::new(Exit::Destination, message)
}
