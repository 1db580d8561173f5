//! `--list`: the entries of a folder, one a line, for people or for programs.

use std::borrow::Cow;

use cjp2p_cli::{ToolError, stdout};
use cjp2p_io::names;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::folder::{Entry, Kind};
use data_encoding::HEXLOWER;
use serde::Serialize;

use super::aim::{Aim, Without};
use super::piece::{Piece, Places};
use super::select::{Select, nothing_matches};
use super::text::path;
use crate::report::{Report, ShownPath};

/// Bytes that are printed at once.
const AT_ONCE: usize = 64 << 10;

/// See the [module](self).
pub(crate) struct Listing {
    select: Select,
    json: bool,
    is_terminal: bool,
    text: Vec<u8>,
    found: bool,
}

impl Listing {
    /// Of what `select` takes; as lines of the format of lists with `json`, and safe to look at on a terminal.
    pub(crate) fn new(select: Select, json: bool, is_terminal: bool) -> Listing {
        Listing { select, json, is_terminal, text: Vec::new(), found: false }
    }

    fn print(&mut self) -> Result<(), ToolError> {
        let text = std::mem::take(&mut self.text);
        stdout::print(&names::lines_for(self.is_terminal, &text))
    }
}

impl Aim for Listing {
    fn has_room(&self) -> bool {
        !stdout::is_full()
    }

    fn take(&mut self, entry: Entry) -> Result<(), ToolError> {
        if !self.select.takes(&entry) {
            return Ok(());
        }
        self.found = true;
        match self.json {
            true => write_object(&entry, &mut self.text),
            false => write_line(&entry, &mut self.text),
        }
        if self.text.len() >= AT_ONCE { self.print() } else { Ok(()) }
    }

    fn end(&mut self) -> Result<(), ToolError> {
        self.print()?;
        if !self.found && !self.select.may_be_nothing() { Err(nothing_matches()) } else { Ok(()) }
    }

    fn turn(&mut self, _: &mut Report) -> Result<(), ToolError> {
        self.print()
    }

    fn next_piece(&mut self, _: Places) -> Option<Piece> {
        None
    }

    fn on_bytes(&mut self, _: u32, _: Vec<u8>) {}

    fn on_done(&mut self, _: u32) {}

    fn on_failed(&mut self, _: u32, _: &ToolError) -> Without {
        Without::Rest
    }

    fn is_over(&self) -> bool {
        true
    }

    fn counts(&self) -> (u64, Option<u64>) {
        (0, None)
    }
}

/// An entry, in the fields that cjp2p-hash uses too.
#[derive(Serialize)]
struct Object<'a> {
    #[serde(flatten)]
    path: ShownPath,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    exec: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified_ms: Option<i64>,
}

fn write_object(entry: &Entry, out: &mut Vec<u8>) {
    let path = ShownPath::new(path(entry.path.as_bytes()));
    let modified_ms = entry
        .mtime
        .map(|time| time.seconds().saturating_mul(1000).saturating_add(i64::from(time.nanos() / 1_000_000)));
    let (length, id, exec, target, target_hex) = (None, None, false, None, None);
    let none = Object { path, kind: "folder", length, id, exec, target, target_hex, modified_ms };
    let object = match &entry.kind {
        Kind::File { length, root, exec } => {
            let id = Some(ContentId::Blake3(*root).to_string());
            Object { kind: "file", length: Some(*length), id, exec: *exec, ..none }
        }
        Kind::Link { target } => {
            let target_hex = str::from_utf8(target).is_err().then(|| HEXLOWER.encode(target));
            Object { kind: "link", target: Some(String::from_utf8_lossy(target)), target_hex, ..none }
        }
        Kind::Folder { list } => Object { id: list.map(|list| list.folder_id()), ..none },
        Kind::Part(_) => return,
    };
    if serde_json::to_writer(&mut *out, &object).is_ok() {
        out.push(b'\n');
    }
}

/// The length, the id, and the path, escaped as in other lists; folders end with `/`, and links say where they lead.
fn write_line(entry: &Entry, out: &mut Vec<u8>) {
    let mut name = entry.path.as_bytes().to_vec();
    let (length, id) = match &entry.kind {
        Kind::File { length, root, .. } => (length.to_string(), ContentId::Blake3(*root).to_string()),
        Kind::Link { target } => {
            name.extend_from_slice(b" -> ");
            name.extend_from_slice(target);
            ("-".into(), "link".into())
        }
        Kind::Folder { list } => {
            name.push(b'/');
            let id = list.map_or_else(|| "folder".into(), |list| list.folder_id());
            ("-".into(), id)
        }
        Kind::Part(_) => return,
    };
    let (name, is_escaped) = names::escape(&name);
    let mark = if is_escaped { "\\" } else { "" };
    out.extend_from_slice(format!("{mark}{length:>14}  {id}  ").as_bytes());
    out.extend_from_slice(&name);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use cjp2p_wire::folder::{FolderPath, ListRef};

    use super::*;

    #[test]
    fn each_entry_is_a_line_whatever_its_name() {
        let entry = |path: &[u8], kind| Entry { path: FolderPath::new(path).unwrap(), kind, mtime: None };
        let lines = [
            entry(b"a b", Kind::File { length: 7, root: [0xab; 32], exec: false }),
            entry(b"n\nl", Kind::Folder { list: None }),
            entry(b"sub", Kind::Folder { list: Some(ListRef { length: 9000, root: [1; 32] }) }),
            entry(b"to", Kind::Link { target: b"a b".to_vec() }),
        ];
        let mut text = Vec::new();
        lines.iter().for_each(|entry| write_line(entry, &mut text));
        let expected = format!(
            "             7  blake3/{}  a b\n\\             -  folder  n\\nl/\n             -  folder/{}  sub/\n             -  link  to -> a b\n",
            "ab".repeat(32),
            "01".repeat(32)
        );
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
