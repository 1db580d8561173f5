//! `discover`: asks peers for peers, and those again.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_wire::io::peer_file::{PeerFile, milliseconds};
use cjp2p_wire::node::{Answer, Question};
use cjp2p_wire::peers::peer::Peer;
use cjp2p_wire::tool::args::LanArgs;
use cjp2p_wire::tool::{Exit, ToolError};
use serde::Serialize;

use crate::asking::{Reply, ask, listen, load, start_round, write_line};
use crate::cli::NetworkArgs;

#[derive(Serialize)]
struct Line {
    address: SocketAddr,
    round_trip_ms: f64,
    /// It was not among the verified peers of the table before.
    new: bool,
}

pub(crate) fn run(
    file: &PeerFile,
    network: &NetworkArgs,
    lan: &LanArgs,
    limit: Option<Duration>,
    json: bool,
) -> Result<Exit, ToolError> {
    let table = load(file);
    let mut round = start_round(file, network);
    if network.only.is_empty() && lan.is_on(listen(network)) {
        round.add_lan();
    }
    let mut heard = BTreeSet::new();
    ask(file, network, round, Question::Peers, limit, |round, address, reply| {
        let Reply::Answer { round_trip, answer } = reply else {
            log::info!("{address} does not answer");
            return Ok(());
        };
        if let Answer::Peers(peers) = answer {
            log::info!("{address} names {} peers", peers.len());
            round.add_suggestions(address, peers);
        }
        // A peer may answer in parts.
        if !heard.insert(address) {
            return Ok(());
        }
        let line = Line {
            address,
            round_trip_ms: milliseconds(round_trip),
            new: !table.get(address).is_some_and(Peer::is_verified),
        };
        write_line(&match json {
            true => serde_json::to_string(&line).expect("an address and a number are JSON"),
            false => {
                let new = if line.new { "\tnew" } else { "" };
                format!("{address}\t{} ms{new}", line.round_trip_ms)
            }
        })
    })
}
