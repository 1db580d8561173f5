//! Without a command: prints the table.

use cjp2p_cli::{ToolError, stdout};
use cjp2p_io::peer_file::PeerFile;

pub(crate) fn run(file: &PeerFile, lines: bool) -> Result<(), ToolError> {
    let (table, warning) =
        file.read().map_err(|error| ToolError::failure(format!("the peer table cannot be read: {error}")))?;
    if let Some(warning) = warning {
        log::warn!("{warning}");
    }
    let json = if lines { table.to_json_lines() } else { table.to_json() };
    stdout::print(json.as_bytes())
}
