//! Changes of the table in its file.

use cjp2p_cli::ToolError;
use cjp2p_io::peer_file::PeerFile;
use cjp2p_wire::peers::table::PeerTable;

/// Changes the table in the file, or leaves it as it was where `change` fails.
pub(crate) fn edit(
    file: &PeerFile,
    change: impl FnOnce(&mut PeerTable) -> Result<(), ToolError>,
) -> Result<(), ToolError> {
    let (result, warning) = file
        .update(|table| {
            let mut edited = table.clone();
            change(&mut edited).map(|()| *table = edited)
        })
        .map_err(|error| ToolError::failure(format!("the peer table cannot be changed: {error}")))?;
    if let Some(warning) = warning {
        log::warn!("{warning}");
    }
    result
}
