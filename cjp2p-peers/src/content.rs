//! `content`: asks peers what they share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::peer_file::PeerFile;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::node::{Answer, ListEnd, MAX_LIST, Query};
use cjp2p_wire::peers::peer::Origin;
use serde::Serialize;

use crate::asking::{Reply, ask, start_round, write_line};
use crate::cli::NetworkArgs;

/// Entries of a list that are remembered, so that none is printed twice. A longer one comes part by part, and in order.
const MAX_REMEMBERED: usize = 65_536;
/// Peers whose lists are not complete that are named; of more, it is told how many.
const MAX_NAMED: usize = 5;

#[derive(Serialize)]
struct Line {
    address: SocketAddr,
    id: String,
    length: u64,
}

pub(crate) fn run(file: &PeerFile, network: &NetworkArgs, json: bool) -> Result<Exit, ToolError> {
    let round = start_round(file, network);
    let mut listed: BTreeMap<SocketAddr, (BTreeSet<ContentId>, usize)> = BTreeMap::new();
    // What is missing, by whom.
    let mut problems: Vec<String> = Vec::new();
    let exit = ask(file, network, round, (Query::List, None), None, |round, address, reply| {
        let list = match reply {
            Reply::Answer { answer: Answer::List(list), .. } => list,
            Reply::Answer { answer: Answer::ListEnd(end), .. } => {
                let came = listed.remove(&address).map_or(0, |(_, came)| came);
                problems.extend(problem(*end, came).map(|problem| format!("{address}: {problem}")));
                return Ok(());
            }
            Reply::Answer { .. } => return Ok(()),
            Reply::Silence { is_there } => {
                let what = if is_there { "is there and sends no list" } else { "does not answer" };
                // Whoever stands in the table may be gone for long.
                match round.origin(address) {
                    Origin::CommandLine => problems.push(format!("{address} {what}")),
                    _ => log::info!("{address} {what}"),
                }
                return Ok(());
            }
        };
        let (known, came) = listed.entry(address).or_default();
        for (id, length) in list {
            // What is no id cannot be fetched, and might do things to a terminal.
            let Ok(id) = ContentId::parse(id) else {
                log::info!("{address} lists {id:?}, which is no content id");
                continue;
            };
            if known.len() >= MAX_REMEMBERED {
                known.clear();
            }
            if !known.insert(id.clone()) {
                continue;
            }
            *came += 1;
            let line = Line { address, id: id.to_string(), length: *length };
            write_line(&match json {
                true => serde_json::to_string(&line).expect("strings and a number are JSON"),
                false => format!("{address}\t{}\t{}", line.length, line.id),
            })?;
        }
        Ok(())
    })?;
    if exit != Exit::Done || problems.is_empty() {
        return Ok(exit);
    }
    let more = problems.len().saturating_sub(MAX_NAMED);
    problems.truncate(MAX_NAMED);
    if more > 0 {
        problems.push(format!("and so it is with {more} more peers"));
    }
    Err(ToolError::new(Exit::Incomplete, format!("not all is listed: {}", problems.join("; "))))
}

/// What is missing of a list that ended so, after so many entries.
fn problem(end: ListEnd, came: usize) -> Option<String> {
    match end {
        ListEnd::Complete => None,
        ListEnd::Missing { total, came } => Some(format!("{} of {total} contents are missing", total - came)),
        ListEnd::Withheld => Some("tells nobody what it shares (--no-list)".into()),
        // So many and no more were told by those of our kind that knew of no parts.
        ListEnd::Unknown if came >= MAX_LIST => {
            Some(format!("lists {came} entries and does not say how many are missing"))
        }
        ListEnd::Unknown => None,
    }
}
