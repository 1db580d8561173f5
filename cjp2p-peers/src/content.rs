//! `content`: asks peers what they share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::io::peer_file::PeerFile;
use cjp2p_wire::node::{Answer, Question};
use cjp2p_wire::tool::{Exit, ToolError};
use serde::Serialize;

use crate::asking::{Reply, ask, start_round, write_line};
use crate::cli::NetworkArgs;

/// Entries printed of one peer's list: an end to it, however many it sends.
const MAX_LISTED: usize = 65_536;

#[derive(Serialize)]
struct Line {
    address: SocketAddr,
    id: String,
    length: u64,
}

pub(crate) fn run(file: &PeerFile, network: &NetworkArgs, json: bool) -> Result<Exit, ToolError> {
    let round = start_round(file, network);
    let mut listed: BTreeMap<SocketAddr, BTreeSet<ContentId>> = BTreeMap::new();
    ask(file, network, round, (Question::List, None), None, |_, address, reply| {
        let list = match reply {
            Reply::Answer { answer: Answer::List(list), .. } => list,
            Reply::Answer { .. } => return Ok(()),
            Reply::Silence => {
                log::info!("{address} sends no list");
                return Ok(());
            }
        };
        let known = listed.entry(address).or_default();
        for (id, length) in list {
            // What is no id cannot be fetched, and might do things to a terminal.
            let Ok(id) = ContentId::parse(id) else {
                log::info!("{address} lists {id:?}, which is no content id");
                continue;
            };
            if known.len() >= MAX_LISTED || !known.insert(id.clone()) {
                continue;
            }
            let line = Line { address, id: id.to_string(), length: *length };
            write_line(&match json {
                true => serde_json::to_string(&line).expect("strings and a number are JSON"),
                false => format!("{address}\t{}\t{}", line.length, line.id),
            })?;
        }
        Ok(())
    })
}
