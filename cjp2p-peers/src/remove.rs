//! `remove`: removes peers from the table.

use cjp2p_cli::ToolError;
use cjp2p_io::peer_file::PeerFile;
use cjp2p_io::peer_name::PeerName;

use crate::edit::edit;

pub(crate) fn run(file: &PeerFile, peers: &[PeerName]) -> Result<(), ToolError> {
    let mut resolved = Vec::new();
    for peer in peers {
        let addresses =
            peer.resolve().map_err(|error| ToolError::failure(format!("nothing was removed: {error}")))?;
        resolved.push((peer, addresses));
    }
    edit(file, |table| {
        for (peer, addresses) in resolved {
            let removed = addresses.into_iter().filter(|address| table.remove(*address).is_some()).count();
            // Not an error: a repeated command has nothing to do.
            if removed == 0 {
                log::warn!("{peer} is not in the table");
            }
        }
        Ok(())
    })
}
