//! What is told of each id: lines on standard error for what failed, JSON on standard output where asked for.

use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cjp2p_cli::progress::around_the_bar;
use cjp2p_cli::stderr::{self, Priority};
use cjp2p_cli::{Exit, ToolError, logging, stdout};
use cjp2p_io::names;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::download::Progress;
use cjp2p_wire::range_set::RangeSet;
use data_encoding::HEXLOWER;
use serde::Serialize;

use crate::cli::TOOL;

/// What became of an id.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
    Complete {
        id: &'a ContentId,
        #[serde(flatten)]
        path: ShownPath,
        /// Of the content, in bytes.
        length: u64,
        /// What of it was asked for, in the order in which it lies there; without `--range` nothing is told.
        #[serde(skip_serializing_if = "Option::is_none")]
        ranges: Option<Vec<ShownRange>>,
        took_ms: u64,
        /// The same in seconds, kept for compatibility.
        seconds: f64,
        /// Bytes of content and tree that came.
        received: u64,
        /// Bytes of them that were of no use.
        wasted: u64,
        /// Bytes that an interrupted download had.
        resumed: u64,
        /// Peers that sent some of it.
        sources: usize,
        /// It was there already, so nothing was fetched.
        already: bool,
    },
    Skipped {
        id: &'a ContentId,
        #[serde(flatten)]
        path: ShownPath,
    },
    /// A folder was written.
    Folder {
        id: &'a str,
        #[serde(flatten)]
        path: ShownPath,
        #[serde(flatten)]
        written: &'a Written,
    },
    /// A torrent was written.
    #[serde(rename = "complete")]
    Torrent {
        /// `urn:btih:` and the info hash.
        id: String,
        #[serde(flatten)]
        path: ShownPath,
        #[serde(skip_serializing_if = "Option::is_none")]
        ranges: Option<Vec<ShownRange>>,
        #[serde(flatten)]
        done: TorrentNumbers,
    },
    /// What `--dry-run` would do.
    Would {
        action: &'a str,
        #[serde(flatten)]
        path: ShownPath,
        length: u64,
    },
    #[serde(rename = "failed")]
    EntryFailed {
        #[serde(flatten)]
        path: ShownPath,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a ContentId>,
        exit: u8,
        error: &'a str,
    },
    #[serde(rename = "failed")]
    FolderFailed { id: &'a str, exit: u8, error: &'a str },
    Failed {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a ContentId>,
        exit: u8,
        error: &'a str,
    },
}

/// How much of a folder was written, and how.
#[derive(Serialize)]
pub(crate) struct Written {
    pub(crate) exit: u8,
    /// In the folder, and their bytes.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Files that were written, and of them those whose content was there under another name.
    pub(crate) fetched: u64,
    pub(crate) copied: u64,
    /// Entries that were right, were replaced, went, and could not be had or were refused.
    pub(crate) unchanged: u64,
    pub(crate) replaced: u64,
    pub(crate) deleted: u64,
    pub(crate) left_out: u64,
}

/// What it took to fetch a torrent.
pub(crate) struct TorrentDone {
    /// The info hash, in digits.
    pub(crate) hash: String,
    /// The file or folder that was written.
    pub(crate) path: PathBuf,
    /// What of one file of the torrent is in it, if not simply all.
    pub(crate) ranges: Option<RangeSet>,
    pub(crate) numbers: TorrentNumbers,
}

/// The same in numbers; bytes where nothing else is said.
#[derive(Serialize)]
pub(crate) struct TorrentNumbers {
    /// Of the files that were wanted.
    pub(crate) length: u64,
    /// How many files.
    pub(crate) files: u64,
    pub(crate) took_ms: u64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) wasted: u64,
    pub(crate) resumed: u64,
    pub(crate) already: bool,
}

#[derive(Serialize)]
struct ShownRange {
    offset: u64,
    length: u64,
}

/// A path in JSON, which knows no bytes.
#[derive(Serialize)]
pub(crate) struct ShownPath {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
}

impl ShownPath {
    pub(crate) fn new(path: &Path) -> ShownPath {
        let path_hex = path.to_str().is_none().then(|| HEXLOWER.encode(path.as_os_str().as_encoded_bytes()));
        ShownPath { path: path.to_string_lossy().into_owned(), path_hex }
    }
}

fn shown(range: &Range<u64>) -> ShownRange {
    ShownRange { offset: range.start, length: range.end - range.start }
}

/// What it took to fetch something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effort {
    pub(crate) length: u64,
    /// What of it was asked for, in the order in which it lies there, if not all.
    pub(crate) ranges: Option<Vec<Range<u64>>>,
    pub(crate) took: Duration,
    pub(crate) progress: Progress,
    pub(crate) resumed: u64,
    pub(crate) already: bool,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Report {
    json: bool,
    /// Of the id that failed, of those that did the first in the order in which they were given.
    failed: Option<(u64, Exit)>,
}

impl Report {
    pub(crate) fn new(json: bool) -> Report {
        Report { json, failed: None }
    }

    /// How the tool is to end.
    pub(crate) fn exit(&self) -> Exit {
        self.failed.map_or(Exit::Done, |(_, exit)| exit)
    }

    /// Content is there and right. `path` is where, if that is a file.
    pub(crate) fn complete(
        &self,
        id: &ContentId,
        path: Option<&Path>,
        effort: &Effort,
    ) -> Result<(), ToolError> {
        let Some(path) = path else { return Ok(()) };
        self.print(&Event::Complete {
            id,
            path: ShownPath::new(path),
            length: effort.length,
            ranges: effort.ranges.as_ref().map(|ranges| ranges.iter().map(shown).collect()),
            took_ms: effort.took.as_millis() as u64,
            seconds: (effort.took.as_secs_f64() * 1000.0).round() / 1000.0,
            received: effort.progress.received,
            wasted: effort.progress.wasted,
            resumed: effort.resumed,
            sources: effort.progress.sources,
            already: effort.already,
        })
    }

    /// Another process fetches it, and that is fine.
    pub(crate) fn skipped(&self, id: &ContentId, path: &Path) -> Result<(), ToolError> {
        log::info!("{id}: another process fetches it already");
        self.print(&Event::Skipped { id, path: ShownPath::new(path) })
    }

    /// The id that was given as number `number` failed; `None` where it was not even an id.
    pub(crate) fn failed(
        &mut self,
        number: u64,
        id: Option<&ContentId>,
        error: &ToolError,
    ) -> Result<(), ToolError> {
        if self.failed.is_none_or(|(first, _)| number < first) {
            self.failed = Some((number, error.exit));
        }
        if !error.message.is_empty() && logging::tells_of(error.exit) {
            let line = match id {
                Some(id) => format!("{TOOL}: {id}: {error}\n"),
                None => format!("{TOOL}: {error}\n"),
            };
            around_the_bar(|| stderr::tell(Priority::Error, &line));
        }
        self.print(&Event::Failed { id, exit: error.exit as u8, error: &error.message })
    }

    /// An entry of the folder was left out: what is at this path in it, with this id.
    pub(crate) fn entry_failed(
        &mut self,
        path: &[u8],
        id: Option<&ContentId>,
        error: &ToolError,
    ) -> Result<(), ToolError> {
        self.note(error.exit);
        let path = Path::new(OsStr::from_bytes(path));
        if !error.message.is_empty() && logging::tells_of(error.exit) {
            let line = format!("{TOOL}: {}: {error}\n", names::shown(path));
            around_the_bar(|| stderr::tell(Priority::Error, &line));
        }
        self.print(&Event::EntryFailed {
            path: ShownPath::new(path),
            id,
            exit: error.exit as u8,
            error: &error.message,
        })
    }

    /// Without `--dry-run` this would be done at this path.
    pub(crate) fn would(&self, what: &str, path: &[u8], length: u64) -> Result<(), ToolError> {
        let path = Path::new(OsStr::from_bytes(path));
        if self.json {
            return self.print(&Event::Would { action: what, path: ShownPath::new(path), length });
        }
        let (name, is_escaped) = names::escape(path.as_os_str().as_bytes());
        let mark = if is_escaped { "\\" } else { "" };
        let mut line = format!("{mark}{what:<7}  ").into_bytes();
        line.extend_from_slice(&name);
        line.push(b'\n');
        stdout::print(&names::lines_for(io::stdout().is_terminal(), &line))
    }

    /// The folder with this id is at this path, as far as it could be had.
    pub(crate) fn folder_done(&self, name: &str, path: &Path, written: &Written) -> Result<(), ToolError> {
        self.print(&Event::Folder { id: name, path: ShownPath::new(path), written })
    }

    /// A torrent is where it belongs.
    pub(crate) fn torrent_done(&self, done: TorrentDone) -> Result<(), ToolError> {
        let TorrentDone { hash, path, ranges, numbers } = done;
        self.print(&Event::Torrent {
            id: format!("urn:btih:{hash}"),
            path: ShownPath::new(&path),
            ranges: ranges.map(|ranges| ranges.iter().map(|range| shown(&range)).collect()),
            done: numbers,
        })
    }

    /// The folder with this id cannot be had, or not all of it.
    pub(crate) fn folder_failed(&mut self, name: &str, error: &ToolError) -> Result<(), ToolError> {
        // What ends it counts, whatever was wrong with an entry before.
        self.failed = Some((0, error.exit));
        if !error.message.is_empty() && logging::tells_of(error.exit) {
            around_the_bar(|| stderr::tell(Priority::Error, &format!("{TOOL}: {name}: {error}\n")));
        }
        self.print(&Event::FolderFailed { id: name, exit: error.exit as u8, error: &error.message })
    }

    /// Something failed so, and was told.
    pub(crate) fn note(&mut self, exit: Exit) {
        if exit != Exit::Done {
            self.failed.get_or_insert((0, exit));
        }
    }

    fn print(&self, event: &Event<'_>) -> Result<(), ToolError> {
        if !self.json {
            return Ok(());
        }
        let mut line = serde_json::to_string(event).map_err(|error| ToolError::failure(error.to_string()))?;
        line.push('\n');
        stdout::print(line.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_its_documented_fields() {
        let id = ContentId::parse("name").unwrap();
        for (ranges, in_json) in
            [(None, ""), (Some(vec![shown(&(7..9))]), r#""ranges":[{"offset":7,"length":2}],"#)]
        {
            let event = Event::Complete {
                id: &id,
                path: ShownPath::new(Path::new("a")),
                length: 1,
                ranges,
                took_ms: 250,
                seconds: 0.25,
                received: 2,
                wasted: 3,
                resumed: 4,
                sources: 5,
                already: false,
            };
            let expected = format!(
                r#"{{"event":"complete","id":"name","path":"a","length":1,{in_json}"took_ms":250,"seconds":0.25,"received":2,"wasted":3,"resumed":4,"sources":5,"already":false}}"#
            );
            assert_eq!(serde_json::to_string(&event).unwrap(), expected);
        }
        let event = Event::Failed { id: None, exit: 2, error: "no" };
        assert_eq!(serde_json::to_string(&event).unwrap(), r#"{"event":"failed","exit":2,"error":"no"}"#);
    }

    #[test]
    fn the_exit_code_is_that_of_the_first_id_that_failed_in_the_order_given() {
        let mut report = Report::new(false);
        assert_eq!(report.exit(), Exit::Done);
        for (number, exit) in [(7, Exit::Stalled), (3, Exit::NoSource), (5, Exit::Mismatch)] {
            report.failed(number, None, &ToolError::new(exit, "")).unwrap();
        }
        assert_eq!(report.exit(), Exit::NoSource);
    }
}
