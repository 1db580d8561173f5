//! `--folder`: prints the ids of folders, and of what is in them.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::walk::Rules;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::folder::{Entry, Kind, ListRef};
use tempfile::SpooledTempFile;

use crate::cli::Args;
use crate::files::Trouble;
use crate::folder::{Listener, hash_folder};
use crate::output::{Output, Totals, complain};

/// Bytes of lines that wait in memory for the line of their folder, which comes before them; more wait in a file.
const IN_MEMORY: usize = 1 << 20;
/// Bytes that are printed at once.
const BATCH: usize = 64 << 10;

/// Hashes the folders that the command line names, or the current one.
///
/// # Errors
///
/// Where nothing can be printed.
pub(crate) fn hash_folders(
    mut folders: Vec<OsString>,
    args: &Args,
    output: &mut Output,
) -> Result<Exit, ToolError> {
    if folders.is_empty() {
        folders.push(".".into());
    }
    let mut all_right = true;
    for folder in folders {
        all_right &= hash_one(&folder, args, output)?;
    }
    Ok(if all_right { Exit::Done } else { Exit::Failure })
}

fn hash_one(name: &OsStr, args: &Args, output: &mut Output) -> Result<bool, ToolError> {
    let rules = Rules { hidden: args.hidden, follow: false };
    let lines = SpooledTempFile::new(IN_MEMORY);
    let mut printer = Printer { folder: Path::new(name), args, output, lines, totals: Totals::default() };
    let hashed = hash_folder(Path::new(name), rules, &mut printer)?;
    let list = match &hashed {
        Ok(Some(lists)) if args.times => Some(lists.timed),
        Ok(Some(lists)) => Some(lists.plain),
        Ok(None) | Err(_) => None,
    };
    printer.finish(name, list)?;
    match hashed {
        Ok(Some(_)) => return Ok(true),
        Ok(None) => {
            let error = std::io::Error::other("has no id, as not all of it could be read");
            complain(Trouble::new(name, error));
        }
        Err(error) => complain(Trouble::new(name, error)),
    }
    Ok(false)
}

struct Printer<'a> {
    folder: &'a Path,
    args: &'a Args,
    output: &'a mut Output,
    /// The lines of files, which come after that of the folder. JSON is printed at once.
    lines: SpooledTempFile,
    totals: Totals,
}

impl Listener for Printer<'_> {
    fn entry(&mut self, entry: &Entry) -> Result<(), ToolError> {
        let name = self.folder.join(OsStr::from_bytes(entry.path.as_bytes()));
        if let Kind::File { length, .. } = entry.kind {
            self.totals.files += 1;
            self.totals.bytes = self.totals.bytes.saturating_add(length);
        }
        if self.args.json {
            return self.output.entry_json(name.as_os_str(), entry, self.args.times);
        }
        if let Kind::File { root, .. } = entry.kind {
            let line = self.output.line(&ContentId::Blake3(root).to_string(), name.as_os_str());
            self.lines.write_all(&line).map_err(cannot_keep)?;
        }
        Ok(())
    }

    fn trouble(&mut self, trouble: Trouble) {
        complain(trouble);
    }

    fn advance(&mut self, length: u64) {
        self.output.advance(length);
    }
}

impl Printer<'_> {
    /// Prints the folder, unless it has no list, and then its files.
    fn finish(mut self, name: &OsStr, list: Option<ListRef>) -> Result<(), ToolError> {
        if let Some(list) = list {
            match self.args.json {
                true => self.output.folder_json(name, list, self.totals)?,
                false => self.output.id_line(&list.folder_id(), name)?,
            }
        }
        self.lines.rewind().map_err(cannot_keep)?;
        let end = if self.output.null { 0 } else { b'\n' };
        let mut lines = BufReader::with_capacity(BATCH, self.lines);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let read = lines.read_until(end, &mut batch).map_err(cannot_keep)?;
            if batch.len() >= BATCH || read == 0 {
                self.output.lines(&batch)?;
                batch.clear();
            }
            if read == 0 {
                return Ok(());
            }
        }
    }
}

fn cannot_keep(error: std::io::Error) -> ToolError {
    ToolError::failure(format!("temporary file: {error}"))
}
