//! A path in a folder: what lies there, found by another process of this program that prints the list of the folder.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::listen::Listen;
use serde::Deserialize;

use super::resolved::{MAX_LINE, Resolved, is_verifiable};
use super::resolver::beside;
use super::run::{exit_of, this_program};
use crate::cli::Cli;

/// What is read of an entry of the list.
#[derive(Deserialize)]
struct Entry {
    path: String,
    kind: String,
    #[serde(default)]
    id: Option<String>,
}

/// Puts what lies at a path in a folder in its place, if that is what is wanted. A folder without a list of its own stays a path in the
/// other.
///
/// # Errors
///
/// Where the list cannot be had, which was said already; where nothing lies there, or a link.
pub(crate) fn find(cli: &Cli, resolved: &Resolved) -> Result<Resolved, ToolError> {
    let Some((folder, path)) = split(&resolved.id) else { return Ok(resolved.clone()) };
    let failed = |error: std::io::Error| ToolError::failure(format!("looking into {folder}: {error}"));
    let mut command = this_program();
    command.args(["--end-with-parent", "--list", "--json", "--progress", "never"]);
    command.arg(format!("--look-up={path}"));
    // What there is to warn of, this process warns of.
    command.args(vec!["--quiet"; usize::from(cli.log.quiet).max(1)]);
    command.args(resolved.peers.iter().map(|peer| format!("--known-peer={peer}")));
    command.args(cli.peers.peers.iter().map(|peer| format!("--peer={peer}")));
    command.args(cli.only_peers.iter().map(|peer| format!("--only-peer={peer}")));
    for (option, is_given) in [
        ("--no-bootstrap", cli.peers.no_bootstrap),
        ("--no-lan", cli.lan.no_lan),
        ("--no-raw", cli.framing.no_raw),
        ("--no-sandbox", cli.sandbox.no_sandbox),
        ("--no-share", cli.no_share),
    ] {
        command.args(is_given.then_some(option));
    }
    if let Listen::At(address) = beside(cli.listen.listen) {
        command.arg(format!("--listen={address}"));
    }
    if let Some(state) = &cli.state.state {
        command.arg("--state").arg(state);
    }
    command.arg("--timeout").arg(format!("{}ms", cli.timeout.as_millis()));
    command.arg(folder).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let mut found = None;
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout);
        let mut line = Vec::new();
        while lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(failed)? > 0 {
            found = found.or(serde_json::from_slice::<Entry>(&line).ok().filter(|entry| entry.path == path));
            line.clear();
        }
    }
    let exit = exit_of(child.wait().map_err(failed)?);
    match found {
        Some(Entry { id: Some(id), .. }) if is_verifiable(&id) => Ok(Resolved { id, ..resolved.clone() }),
        Some(Entry { kind, .. }) if kind == "folder" => {
            Ok(Resolved { id: format!("{folder}/{path}"), ..resolved.clone() })
        }
        Some(Entry { kind, .. }) => {
            Err(ToolError::usage(format!("{folder}: {path:?} is a {kind}, which is no content of its own")))
        }
        None if exit == Exit::Done => {
            Err(ToolError::new(Exit::NoSource, format!("{folder}: there is no {path:?} in it")))
        }
        None => Err(ToolError::new(exit, "")),
    }
}

/// A folder, and a path in it.
fn split(id: &str) -> Option<(&str, &str)> {
    let slash = "folder/".len() + 64;
    if !id.starts_with("folder/") || id.as_bytes().get(slash) != Some(&b'/') {
        return None;
    }
    let path = id.get(slash + 1..)?;
    let path = path.strip_suffix('/').unwrap_or(path);
    (!path.is_empty()).then_some((id.get(..slash)?, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_in_a_folder_is_looked_up() {
        let folder = format!("folder/{}", "ab".repeat(32));
        let slash = format!("{folder}/");
        for id in [&*folder, &slash, &folder[..70], "blake3/ab", "", &folder.replace("folder/", "blake3/")] {
            assert_eq!(split(id), None, "{id}");
        }
        for end in ["", "/"] {
            assert_eq!(split(&format!("{folder}/a/b c{end}")), Some((&*folder, "a/b c")));
        }
    }
}
