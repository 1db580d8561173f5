//! Peers that are written behind an id: `ID#peer=HOST[:PORT][,...]`, to be pasted in one piece. They are never sent to anybody.

use cjp2p_cli::ToolError;
use cjp2p_io::peer_name::PeerName;

/// What stands before the peers.
const MARK: &str = "#peer=";

/// An id without its peers, and the peers.
///
/// # Errors
///
/// Where what stands behind the mark names no peers.
pub(crate) fn split(text: &str) -> Result<(&str, Vec<PeerName>), ToolError> {
    let Some((id, peers)) = text.rsplit_once(MARK) else { return Ok((text, Vec::new())) };
    let peers: Result<Vec<PeerName>, String> = peers.split(',').map(str::parse).collect();
    match peers {
        Ok(peers) if !id.is_empty() => Ok((id, peers)),
        Ok(_) => Err(ToolError::usage(format!("{text:?}: peers without an id"))),
        Err(error) => Err(ToolError::usage(format!("{MARK}: {error}"))),
    }
}

/// Takes the peers out of all ids.
///
/// # Errors
///
/// As for [`split`].
pub(crate) fn take(ids: &mut [String]) -> Result<Vec<PeerName>, ToolError> {
    let mut all: Vec<PeerName> = Vec::new();
    for text in ids {
        let (id, peers) = split(text)?;
        let id = id.to_owned();
        *text = id;
        for peer in peers {
            if !all.contains(&peer) {
                all.push(peer);
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cjp2p_cli::Exit;

    #[test]
    fn peers_behind_an_id_are_taken_off_it_and_each_counts_once() {
        let mut ids: Vec<String> = [
            "a#peer=203.0.113.7",
            "b",
            "c#1#peer=[2001:db8::1]:5,example.org,203.0.113.7:24254",
            "latest/x/y#peer=2001:db8::2",
        ]
        .map(str::to_owned)
        .into();
        let peers: Vec<String> = take(&mut ids).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(ids, ["a", "b", "c#1", "latest/x/y"]);
        assert_eq!(
            peers,
            ["203.0.113.7:24254", "[2001:db8::1]:5", "example.org:24254", "[2001:db8::2]:24254"]
        );
    }

    #[test]
    fn what_names_no_peer_is_an_error() {
        for text in ["a#peer=", "a#peer=b,", "a#peer=b c", "a#peer=b:0", "#peer=b"] {
            assert_eq!(split(text).unwrap_err().exit, Exit::Usage, "{text}");
        }
    }
}
