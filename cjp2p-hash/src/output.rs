//! What goes to standard output, and what is told beside it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use cjp2p_cli::progress::{Progress, around_the_bar};
use cjp2p_cli::stderr::{self, Priority};
use cjp2p_cli::{ToolError, stdout};
use cjp2p_io::names;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::folder::{Entry, Kind, ListRef};
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
#[derive(Serialize, Default)]
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
    id: &'a str,
    result: &'static str,
}

#[derive(Serialize, Default)]
struct JsonEntry<'a> {
    #[serde(flatten)]
    name: JsonName<'a>,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    exec: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified_ms: Option<i64>,
}

#[derive(Serialize)]
struct JsonFolder<'a> {
    #[serde(flatten)]
    name: JsonName<'a>,
    kind: &'static str,
    id: String,
    /// That of the folder's list.
    ids: [ContentId; 1],
    files: u64,
    bytes: u64,
}

/// The files of a folder.
#[derive(Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) files: u64,
    /// Their length together.
    pub(crate) bytes: u64,
}

impl Output {
    /// Shows `progress` of `total` once the work turns out to be long.
    pub(crate) fn new(null: bool, progress: Progress, total: Total) -> Output {
        Output { null, progress, start: Instant::now(), done: 0, total }
    }

    /// So many bytes will be hashed.
    pub(crate) fn expect(&mut self, total: u64) {
        self.total = Total::Known(Some(total));
    }

    /// Prints a value as a line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), ToolError> {
        json_line(value)
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
        write(&self.line(id, name))
    }

    /// Whole lines.
    pub(crate) fn lines(&mut self, lines: &[u8]) -> Result<(), ToolError> {
        write(lines)
    }

    /// The line for an id and a name, with its end.
    pub(crate) fn line(&self, id: &str, name: &OsStr) -> Vec<u8> {
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
        line
    }

    /// What is in a folder, as JSON.
    pub(crate) fn entry_json(&mut self, name: &OsStr, entry: &Entry, times: bool) -> Result<(), ToolError> {
        let shown = name.to_string_lossy();
        let mut line = JsonEntry { name: json_name(name, &shown), ..JsonEntry::default() };
        let target;
        match &entry.kind {
            Kind::File { length, root, exec } => {
                line.kind = "file";
                line.length = Some(*length);
                line.id = Some(ContentId::Blake3(*root).to_string());
                line.exec = *exec;
            }
            Kind::Link { target: bytes } => {
                line.kind = "link";
                let bytes = OsStr::from_bytes(bytes);
                target = bytes.to_string_lossy();
                line.target = Some(&target);
                line.target_hex = hex_of(bytes);
            }
            Kind::Folder { .. } | Kind::Part(_) => line.kind = "folder",
        }
        line.modified_ms = entry.mtime.filter(|_| times).map(|mtime| {
            mtime.seconds().saturating_mul(1000).saturating_add(i64::from(mtime.nanos() / 1_000_000))
        });
        json_line(&line)
    }

    /// A folder and its list, as JSON.
    pub(crate) fn folder_json(
        &mut self,
        name: &OsStr,
        list: ListRef,
        totals: Totals,
    ) -> Result<(), ToolError> {
        let (shown, Totals { files, bytes }) = (name.to_string_lossy(), totals);
        let (name, id) = (json_name(name, &shown), list.folder_id());
        json_line(&JsonFolder { name, kind: "folder", id, ids: [list.id()], files, bytes })
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
        id: &str,
        result: &'static str,
    ) -> Result<(), ToolError> {
        let shown = name.to_string_lossy();
        json_line(&JsonCheck { name: json_name(name, &shown), id, result })
    }
}

fn json_name<'a>(name: &OsStr, shown: &'a str) -> JsonName<'a> {
    JsonName { path: shown, path_hex: hex_of(name) }
}

/// The bytes of what is not UTF-8.
fn hex_of(text: &OsStr) -> Option<String> {
    let hex = || text.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    text.to_str().is_none().then(hex)
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
    around_the_bar(|| stderr::tell(Priority::Error, &format!("cjp2p-hash: {message}\n")));
}
