//! `ping`: asks whether peers are there, and prints round trips.

use std::net::SocketAddr;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::learned::milliseconds;
use cjp2p_io::peer_file::PeerFile;
use cjp2p_wire::node::Query;
use serde::Serialize;

use crate::asking::{Reply, ask, start_round, write_line};
use crate::cli::NetworkArgs;

#[derive(Serialize)]
struct Line {
    address: SocketAddr,
    round_trip_ms: Option<f64>,
}

pub(crate) fn run(file: &PeerFile, network: &NetworkArgs, json: bool) -> Result<Exit, ToolError> {
    let round = start_round(file, network);
    ask(file, network, round, (Query::Ping, None), None, |_, address, reply| {
        let round_trip_ms = match reply {
            Reply::Answer { round_trip, .. } => Some(milliseconds(round_trip)),
            Reply::Silence { .. } => None,
        };
        write_line(&match (json, round_trip_ms) {
            (true, _) => {
                let line = Line { address, round_trip_ms };
                serde_json::to_string(&line).expect("an address and a number are JSON")
            }
            (false, Some(ms)) => format!("{address}\t{ms} ms"),
            (false, None) => format!("{address}\tno answer"),
        })
    })
}
