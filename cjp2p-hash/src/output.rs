//! What goes to standard output, and what is told beside it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use cjp2p_cli::progress::{Progress, around_the_bar};
use cjp2p_cli::{ToolError, stderr, stdout};
use cjp2p_io::names;
use cjp2p_wire::content_id::ContentId;
use serde::Serialize;

use crate::files;

/// Work that is done sooner shows no progress.
const SHOW_PROGRESS_AFTER: Duration = Duration::from_millis(500);

/// Standard output and standard error of the tool.
pub(crate) struct Output {
    /// Lines end with NUL, and names are not escaped.
    pub(crate) null: bool,
    progress: Progress,
    start: Instant,
    done: u64,
    total: Total,
}

/// How many bytes there are to hash. Found out only once that is shown: with many files it takes a while.
pub(crate) enum Total {
    /// The bytes of all these files.
    Of(Vec<OsString>),
    Known(Option<u64>),
}

impl Total {
    fn get(&mut self) -> Option<u64> {
        if let Total::Of(names) = self {
            *self = Total::Known(files::total_length(names));
        }
        match self {
            Total::Known(total) => *total,
            Total::Of(_) => None,
        }
    }
}

/// A file's name in JSON.
#[derive(Serialize)]
struct JsonName<'a> {
    path: &'a str,
    /// The bytes of a name that is not UTF-8, in hex; `path` is then only near to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
}

#[derive(Serialize)]
struct JsonFile<'a> {
    #[serde(flatten)]
    name: JsonName<'a>,
    length: u64,
    ids: Vec<&'a ContentId>,
    cids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tree: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonCheck<'a> {
    #[serde(flatten)]
    name: JsonName<'a>,
    id: &'a ContentId,
    result: &'static str,
}

impl Output {
    /// Shows `progress` of `total` once the work turns out to be long.
    pub(crate) fn new(null: bool, progress: Progress, total: Total) -> Output {
        Output { null, progress, start: Instant::now(), done: 0, total }
    }

    /// Counts bytes that were hashed.
    pub(crate) fn advance(&mut self, length: u64) {
        self.done += length;
        if self.start.elapsed() >= SHOW_PROGRESS_AFTER {
            self.progress.update(self.done, self.total.get(), 0);
        }
    }

    /// All is done.
    pub(crate) fn finish(self) {
        if self.start.elapsed() >= SHOW_PROGRESS_AFTER {
            self.progress.finish();
        }
    }

    /// An id and a name as sha256sum prints them.
    pub(crate) fn id_line(&mut self, id: &str, name: &OsStr) -> Result<(), ToolError> {
        let mut line = Vec::with_capacity(id.len() + name.len() + 4);
        if self.null {
            line.extend_from_slice(id.as_bytes());
            line.extend_from_slice(b"  ");
            line.extend_from_slice(name.as_bytes());
            line.push(0);
        } else {
            let (escaped, marked) = names::escape(name.as_bytes());
            line.extend_from_slice(if marked { b"\\" } else { b"" });
            line.extend_from_slice(id.as_bytes());
            line.extend_from_slice(b"  ");
            line.extend_from_slice(&escaped);
            line.push(b'\n');
        }
        write(&line)
    }

    /// What was computed of a file, as JSON.
    pub(crate) fn file_json(
        &mut self,
        name: &OsStr,
        length: u64,
        ids: &[ContentId],
        tree: Option<&Path>,
    ) -> Result<(), ToolError> {
        let tree = tree.map(|path| path.to_string_lossy());
        let shown = name.to_string_lossy();
        json_line(&JsonFile {
            name: json_name(name, &shown),
            length,
            ids: ids.iter().collect(),
            cids: ids.iter().filter_map(ContentId::cid).collect(),
            tree: tree.as_deref(),
        })
    }

    /// The result of a check as sha256sum prints it: a name is escaped only where it has a line feed.
    pub(crate) fn check_line(&mut self, name: &OsStr, result: &str) -> Result<(), ToolError> {
        let mut line = Vec::new();
        match names::escape(name.as_bytes()) {
            (escaped, true) if name.as_bytes().contains(&b'\n') => {
                line.push(b'\\');
                line.extend_from_slice(&escaped);
            }
            _ => line.extend_from_slice(name.as_bytes()),
        }
        line.extend_from_slice(b": ");
        line.extend_from_slice(result.as_bytes());
        line.push(b'\n');
        write(&line)
    }

    /// The result of a check as JSON.
    pub(crate) fn check_json(
        &mut self,
        name: &OsStr,
        id: &ContentId,
        result: &'static str,
    ) -> Result<(), ToolError> {
        let shown = name.to_string_lossy();
        json_line(&JsonCheck { name: json_name(name, &shown), id, result })
    }
}

fn json_name<'a>(name: &OsStr, shown: &'a str) -> JsonName<'a> {
    let hex = || name.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    JsonName { path: shown, path_hex: name.to_str().is_none().then(hex) }
}

fn json_line(value: &impl Serialize) -> Result<(), ToolError> {
    let mut line = serde_json::to_vec(value).map_err(|error| ToolError::output(error.into()))?;
    line.push(b'\n');
    write(&line)
}

fn write(line: &[u8]) -> Result<(), ToolError> {
    stdout::print(&names::lines_for(io::stdout().is_terminal(), line))
}

/// One line on standard error.
pub(crate) fn complain(message: impl fmt::Display) {
    around_the_bar(|| stderr::tell(format!("cjp2p-hash: {message}\n").as_bytes()));
}
