//! `add`: adds peers to the table.

use cjp2p_cli::ToolError;
use cjp2p_io::peer_file::PeerFile;
use cjp2p_io::peer_name::PeerName;
use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::peers::table::Admission;

use crate::edit::edit;

pub(crate) fn run(file: &PeerFile, peers: &[PeerName]) -> Result<(), ToolError> {
    let mut addresses = Vec::new();
    for peer in peers {
        addresses.extend(
            peer.resolve().map_err(|error| ToolError::failure(format!("nothing was added: {error}")))?,
        );
    }
    edit(file, |table| {
        for address in addresses {
            match table.suggest(address, Origin::Added) {
                Admission::Added => log::info!("{address} added"),
                Admission::Known => log::info!("{address} was known already"),
                Admission::Unusable | Admission::Full => {
                    let message = format!(
                        "nothing was added: no room for {address} among its neighbours or in the table"
                    );
                    return Err(ToolError::failure(message));
                }
            }
        }
        Ok(())
    })
}
