//! Reads the lines of one list, and takes only what [`Entry::write`] would have written.

use std::fmt;

use serde::Deserialize;

use super::cut::MAX_LIST;
use super::entry::{Entry, Kind, ListRef, MAX_TARGET_LEN, Mtime};
use super::escape::unescape;
use super::path::{FolderPath, PathError, shown};
use crate::content_id::{ContentId, Hash};
use crate::tree::MAX_LENGTH;

/// Reads one list by itself: that each line is as it must be, after the one before it, and a part where the others are. Whether
/// the whole makes a folder, a [`Walk`](super::Walk) finds out.
pub fn read_list(text: &[u8]) -> Lines<'_> {
    Lines { text, at: 0, line: 0, last: None, has_parts: None, is_over: false }
}

/// The lines of a list; see [`read_list`]. Ends with the first error.
pub struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
    last: Option<FolderPath>,
    has_parts: Option<bool>,
    is_over: bool,
}

impl Iterator for Lines<'_> {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over || self.at == self.text.len() && self.text.len() <= MAX_LIST {
            return None;
        }
        self.line += 1;
        let entry = self.read();
        self.is_over = entry.is_err();
        Some(entry.map_err(|Wrong { path, what }| ReadError { line: self.line, path, what }))
    }
}

impl Lines<'_> {
    fn read(&mut self) -> Result<Entry, Wrong> {
        if self.text.len() > MAX_LIST {
            return Err(Wrong { path: None, what: Flaw::LongList });
        }
        let (entry, end) = read_line(&self.text[self.at..])?;
        self.at += end;
        let is_part = matches!(entry.kind, Kind::Part(_));
        if self.last.as_ref().is_some_and(|last| *last >= entry.path) {
            return Err(Wrong::at(&entry.path, Flaw::Order));
        }
        if *self.has_parts.get_or_insert(is_part) != is_part {
            return Err(Wrong::at(&entry.path, Flaw::Mixed));
        }
        self.last = Some(entry.path.clone());
        Ok(entry)
    }
}

/// What is wrong with a line.
#[derive(Debug)]
pub(super) struct Wrong {
    /// The path in it, for people.
    pub(super) path: Option<String>,
    pub(super) what: Flaw,
}

impl Wrong {
    pub(super) fn at(path: &FolderPath, what: Flaw) -> Wrong {
        Wrong { path: Some(path.to_string()), what }
    }
}

/// Reads the line at the beginning of `text`, and says where it ends.
pub(super) fn read_line(text: &[u8]) -> Result<(Entry, usize), Wrong> {
    let nowhere = |what| Wrong { path: None, what };
    let end = text.iter().position(|byte| *byte == b'\n').ok_or(nowhere(Flaw::NoEnd))? + 1;
    let line = &text[..end];
    let mut raw: Raw = serde_json::from_slice(line).map_err(|_| nowhere(Flaw::NoEntry))?;
    let path = bytes(raw.path.take(), raw.path_escaped.take()).ok_or(nowhere(Flaw::NoEntry))?;
    let wrong = |what| Wrong { path: Some(shown(&path)), what };
    let path = FolderPath::new(&path).map_err(|error| wrong(Flaw::Path(error)))?;
    let entry = raw.into_entry(path).map_err(wrong)?;
    let mut written = Vec::with_capacity(end);
    entry.write(&mut written);
    if written != line {
        return Err(wrong(Flaw::NotCanonical));
    }
    Ok((entry, end))
}

/// All fields that any entry has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    path: Option<String>,
    path_escaped: Option<String>,
    kind: String,
    length: Option<u64>,
    blake3: Option<String>,
    exec: Option<bool>,
    target: Option<String>,
    target_escaped: Option<String>,
    mtime: Option<i64>,
    mtime_ns: Option<u32>,
}

impl Raw {
    /// What does not belong to the kind is passed over here: it would not be written, so the line is not canonical.
    fn into_entry(self, path: FolderPath) -> Result<Entry, Flaw> {
        let list = match (self.length, self.blake3) {
            (None, None) => None,
            (Some(length), Some(digits)) if length <= MAX_LENGTH => {
                Some(ListRef { length, root: hash(&digits).ok_or(Flaw::Id)? })
            }
            (Some(length), _) if length > MAX_LENGTH => return Err(Flaw::Length),
            _ => return Err(Flaw::Id),
        };
        let kind = match &*self.kind {
            "file" => {
                let ListRef { length, root } = list.ok_or(Flaw::Id)?;
                Kind::File { length, root, exec: self.exec == Some(true) }
            }
            "link" => {
                let target = bytes(self.target, self.target_escaped).ok_or(Flaw::Target)?;
                if target.is_empty() || target.len() > MAX_TARGET_LEN || target.contains(&0) {
                    return Err(Flaw::Target);
                }
                Kind::Link { target }
            }
            "folder" => Kind::Folder { list },
            "list" => Kind::Part(list.ok_or(Flaw::Id)?),
            _ => return Err(Flaw::Kind),
        };
        let mtime = match self.mtime {
            Some(seconds) => Some(Mtime::new(seconds, self.mtime_ns.unwrap_or_default()).ok_or(Flaw::Time)?),
            None => None,
        };
        match kind {
            Kind::Part(_) if mtime.is_some() => return Err(Flaw::Time),
            Kind::Part(list) | Kind::Folder { list: Some(list) } if list.length > MAX_LIST as u64 => {
                return Err(Flaw::LongList);
            }
            _ => {}
        }
        Ok(Entry { path, kind, mtime })
    }
}

fn bytes(text: Option<String>, escaped: Option<String>) -> Option<Vec<u8>> {
    match (text, escaped) {
        (Some(text), None) => Some(text.into_bytes()),
        (None, Some(escaped)) => unescape(&escaped),
        _ => None,
    }
}

fn hash(digits: &str) -> Option<Hash> {
    match ContentId::parse(digits) {
        Ok(ContentId::Sha256(hash)) if digits.len() == 64 => Some(hash),
        _ => None,
    }
}

/// What is wrong with a list, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// The number of the line, from 1 on.
    pub line: u64,
    /// The path in it as people are shown it, if it can be read.
    pub path: Option<String>,
    /// What is wrong.
    pub what: Flaw,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "line {}, {path}: {}", self.line, self.what),
            None => write!(f, "line {}: {}", self.line, self.what),
        }
    }
}

impl std::error::Error for ReadError {}

/// What is wrong with a line of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It is no JSON object with the fields of an entry.
    NoEntry,
    /// The list does not end with a line feed.
    NoEnd,
    /// The list is longer than any may be.
    LongList,
    /// It is an entry, but not written in the one way that there is.
    NotCanonical,
    /// No path that can be.
    Path(PathError),
    /// A kind that is not known.
    Kind,
    /// A length above 2^53.
    Length,
    /// No hash of 64 hex digits where there should be one, or a hash without a length.
    Id,
    /// No target that a link can have.
    Target,
    /// No time that can be.
    Time,
    /// It should come before the one before it, or is there twice.
    Order,
    /// It is in nothing that is a folder in the same list.
    Parent,
    /// A part of the list between entries, or an entry between parts.
    Mixed,
    /// It has a time where others have none, or the other way round.
    Times,
    /// The part begins with another path than was said.
    First,
    /// There is nothing in a part.
    EmptyPart,
    /// Parts within parts, deeper than any list needs.
    Depth,
    /// There are more entries than any folder has.
    TooMany,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flaw::Path(error) => return write!(f, "{error}"),
            Flaw::NoEntry => "no entry of a folder",
            Flaw::NoEnd => "it ends without a line feed",
            Flaw::LongList => "a list of more than 64 KiB",
            Flaw::NotCanonical => "written otherwise than it must be",
            Flaw::Kind => "an unknown kind",
            Flaw::Length => "a length above 2^53",
            Flaw::Id => "no length and hash",
            Flaw::Target => "no target that a link can have",
            Flaw::Time => "no time that can be",
            Flaw::Order => "not in order",
            Flaw::Parent => "in nothing that is a folder in this list",
            Flaw::Mixed => "parts and entries in one list",
            Flaw::Times => "with a time where others have none, or without one",
            Flaw::First => "the first path of a part, which begins with another",
            Flaw::EmptyPart => "a part with nothing in it",
            Flaw::Depth => "parts within parts, too deep",
            Flaw::TooMany => "more entries than a folder may have",
        })
    }
}
