//! Without a command: prints the table.

use cjp2p_wire::io::peer_file::PeerFile;
use cjp2p_wire::tool::{ToolError, stdout};

use crate::asking::load;

pub(crate) fn run(file: &PeerFile, lines: bool) -> Result<(), ToolError> {
    let table = load(file);
    let json = if lines { table.to_json_lines() } else { table.to_json() };
    stdout::print(json.as_bytes())
}
