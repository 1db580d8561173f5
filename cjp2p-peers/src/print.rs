//! Without a command: prints the table.

use std::io::{self, Write};

use cjp2p_wire::io::peer_file::PeerFile;
use cjp2p_wire::tool::ToolError;

use crate::asking::load;

pub(crate) fn run(file: &PeerFile, lines: bool) -> Result<(), ToolError> {
    let table = load(file);
    let json = if lines { table.to_json_lines() } else { table.to_json() };
    io::stdout().write_all(json.as_bytes()).map_err(ToolError::output)
}
