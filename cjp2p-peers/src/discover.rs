//! `discover`: asks peers for peers, and those again; the first are those of the table, the bootstrap list, and with `--dht`
//! those who make themselves known there.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::learned::milliseconds;
use cjp2p_io::peer_file::PeerFile;
use cjp2p_wire::node::{Answer, Query};
use cjp2p_wire::peers::peer::{Origin, Peer};
use serde::Serialize;

use crate::asking::{ANYWHERE, Reply, ask, load, start_round, write_line};
use crate::cli::SearchArgs;

#[derive(Serialize)]
struct Line {
    address: SocketAddr,
    round_trip_ms: f64,
    /// How its address came to us.
    origin: Origin,
    /// It was not among the verified peers of the table before.
    new: bool,
}

pub(crate) fn run(
    file: &PeerFile,
    search: &SearchArgs,
    limit: Option<Duration>,
    json: bool,
) -> Result<Exit, ToolError> {
    let network = &search.network;
    let listen = network.listen.listen.unwrap_or(ANYWHERE);
    let table = load(file);
    let (mut round, names) = start_round(file, network);
    if network.only.is_empty() && search.lan.is_on(listen) {
        round.add_lan();
    }
    let mut heard = BTreeSet::new();
    let dht = search.dht.entry(listen, &network.peers);
    ask(file, network, (round, names), (Query::Peers, limit), dht, |round, address, reply| {
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
            origin: round.origin(address),
            new: !table.get(address).is_some_and(Peer::is_verified),
        };
        write_line(&match json {
            true => serde_json::to_string(&line).expect("addresses, numbers and words are JSON"),
            false => {
                let new = if line.new { "\tnew" } else { "" };
                format!("{address}\t{} ms\t{}{new}", line.round_trip_ms, line.origin)
            }
        })
    })
}
