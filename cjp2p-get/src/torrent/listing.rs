//! `--list`: the files of a torrent, one a line, for people or for programs.

use std::io::{self, IsTerminal};

use cjp2p_cli::{ToolError, stdout};
use cjp2p_io::names;
use cjp2p_torrent::layout::{Layout, Role};
use serde::Serialize;

use crate::folder::text::path;
use crate::report::ShownPath;

/// Bytes that are printed at once.
const AT_ONCE: usize = 64 << 10;

/// A file, in JSON.
#[derive(Serialize)]
struct Object {
    /// Counted from 1, as `--file` takes it.
    index: usize,
    #[serde(flatten)]
    path: ShownPath,
    length: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    exec: bool,
}

/// Prints the files that are wanted, with their paths below the name of the torrent.
///
/// # Errors
///
/// They cannot be printed.
pub(crate) fn print(layout: &Layout, wanted: &[bool], json: bool) -> Result<(), ToolError> {
    let is_terminal = io::stdout().is_terminal();
    let mut text = Vec::new();
    for (index, file) in layout.files().iter().enumerate().filter(|(index, _)| wanted[*index]) {
        let name = layout.path_below_top(index).as_bytes();
        if json {
            let (path, exec) =
                (ShownPath::new(path(name)), file.role() == Role::File { is_executable: true });
            let object = Object { index: index + 1, path, length: file.len(), exec };
            serde_json::to_writer(&mut text, &object).map_err(|error| ToolError::output(error.into()))?;
        } else {
            let (name, is_escaped) = names::escape(name);
            let mark = if is_escaped { "\\" } else { "" };
            text.extend_from_slice(format!("{mark}{:>6}  {:>14}  ", index + 1, file.len()).as_bytes());
            text.extend_from_slice(&name);
        }
        text.push(b'\n');
        if text.len() >= AT_ONCE {
            stdout::print(&names::lines_for(is_terminal, &std::mem::take(&mut text)))?;
        }
    }
    stdout::print(&names::lines_for(is_terminal, &text))
}
