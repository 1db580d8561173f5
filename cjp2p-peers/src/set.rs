//! `set`: replaces the table by JSON.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use cjp2p_cli::{ToolError, stdin};
use cjp2p_io::names;
use cjp2p_io::peer_file::{MAX_BYTES, PeerFile};
use cjp2p_wire::peers::table::{Limits, ParsedTable, PeerTable};

use crate::edit::edit;

pub(crate) fn run(file: &PeerFile, input: &Path) -> Result<(), ToolError> {
    let standard_input = input == Path::new("-");
    let text = if standard_input { stdin::open().and_then(read) } else { File::open(input).and_then(read) };
    let table = text.map_err(|error| error.to_string()).and_then(|text| parse(&text)).map_err(|problem| {
        let name = if standard_input { "standard input".into() } else { names::shown(input) };
        ToolError::failure(format!("nothing was changed: {name}: {problem}"))
    })?;
    edit(file, |current| {
        *current = table;
        Ok(())
    })
}

fn read(input: impl Read) -> io::Result<String> {
    let mut text = String::new();
    input.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("larger than {} MiB", MAX_BYTES >> 20)));
    }
    Ok(text)
}

fn parse(text: &str) -> Result<PeerTable, String> {
    if text.trim().is_empty() {
        return Err("it is empty; to empty the table, give it []".into());
    }
    let ParsedTable { table, problems, trimmed } = PeerTable::parse(text);
    match problems.as_slice() {
        [] => {}
        [problem] => return Err(problem.to_string()),
        [problem, rest @ ..] => return Err(format!("{problem} (and {} more)", rest.len())),
    }
    if trimmed > 0 {
        let limits = Limits::default();
        return Err(format!(
            "{trimmed} peers too many: the table holds {} verified and {} suggested ones, {} in a /24 (IPv6 /48) and {} in \
             a /16 (IPv6 /32)",
            limits.verified, limits.suggested, limits.per_narrow_prefix, limits.per_wide_prefix,
        ));
    }
    Ok(table)
}
