//! `find`: asks peers for providers of some content, and those that they name, without fetching it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_cli::start::end_by;
use cjp2p_cli::{Exit, ToolError, list, stdout};
use cjp2p_io::learned::milliseconds;
use cjp2p_io::mainline::{Mainline, key};
use cjp2p_io::peer_file::PeerFile;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::node::{Acquaintance, Event};
use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::store::JobId;
use cjp2p_wire::time::Time;
use nix::sys::signal::Signal;
use serde::Serialize;

use crate::asking::{ANYWHERE, DHT_TIMEOUT, Network, load, write_line};
use crate::cli::SearchArgs;

/// Peers of the table that are asked at the most.
const FROM_TABLE: usize = 256;
/// A peer that has not answered after this time will not.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How long those on the local network have to answer: they are asked twice.
const LAN_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the answers are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Serialize)]
struct Line<'a> {
    address: SocketAddr,
    id: &'a str,
    /// In bytes, as the peer says; `null` where it does not.
    length: Option<u64>,
    round_trip_ms: Option<f64>,
    /// How its address came to us, as the table says it.
    origin: Origin,
    /// The same, but `table` for all that stood in the table; kept for compatibility.
    found: String,
}

/// Addresses asked in one search: an end to it, however many are invented on the local network.
const MAX_ASKED: usize = 8192;

/// How an address came to be asked.
enum Asked {
    /// It stands in the table, where this is its origin.
    Table(Origin),
    /// It was named now.
    Now(Origin),
}

/// A search under way.
struct Search {
    network: Network,
    job: JobId,
    wire_id: String,
    asked: BTreeMap<SocketAddr, (Asked, Time)>,
    printed: BTreeSet<SocketAddr>,
    /// Everybody on the local network is asked too.
    asks_lan: bool,
}

pub(crate) fn run(
    file: &PeerFile,
    id: &str,
    search: &SearchArgs,
    limit: Duration,
) -> Result<Exit, ToolError> {
    let network = &search.network;
    let is_bare = id.len() == 64;
    let id = parse(id)?;
    let names = network.look_up();
    let table = if network.only.is_empty() { of_table(file) } else { Vec::new() };
    let listen = network.listen.listen.unwrap_or(ANYWHERE);
    let dht = search.dht.entry(listen, &network.peers).zip(key(&id));
    let asks_lan = network.only.is_empty() && search.lan.is_on(listen);
    if names.is_empty() && table.is_empty() && dht.is_none() && !asks_lan {
        let message = "nobody to ask: the table is empty, and no peer that was named has an address";
        return Err(ToolError::new(Exit::NoSource, message));
    }
    let mut network = Network::start(network, file.state(), asks_lan, names, dht)?;
    let job = network.session.call(|node, now, _| node.start_search(now, id.clone()));
    if network.session.node().fetch(job).is_some_and(|fetch| fetch.is_over()) {
        log::warn!("{id}: this content is empty, and needs no peer");
        return Ok(Exit::Done);
    }
    let (asked, printed) = (BTreeMap::new(), BTreeSet::new());
    let mut search = Search { network, job, wire_id: id.to_string(), asked, printed, asks_lan };
    if asks_lan {
        search.network.join_lan()?;
        search.network.session.call(|node, now, _| node.look_on_lan(now, job, Duration::ZERO));
    }
    search.ask_named();
    for (address, origin, suggested) in table {
        search.ask(address, Asked::Table(origin), suggested);
    }
    let outcome = search.run(limit);
    search.record(file);
    if let Some(signal) = outcome? {
        end_by(signal);
        return Ok(Exit::Failure);
    }
    match search.printed.len() {
        0 => {
            let mut message = format!("no peer that was asked has {id}");
            if is_bare && matches!(id, ContentId::Sha256(_)) {
                message += &format!("; {}", list::of_bare_digits(&id));
            }
            Err(ToolError::new(Exit::NoSource, message))
        }
        _ => Ok(Exit::Done),
    }
}

fn parse(text: &str) -> Result<ContentId, ToolError> {
    let shown: String = text.chars().take(100).collect();
    match ContentId::parse_any_spelling(text) {
        Ok(ContentId::Tree(root)) => {
            let content = ContentId::Blake3(root);
            let message = format!("{shown:?} is the hash tree of {content}: who has that has the tree too");
            Err(ToolError::usage(message))
        }
        Ok(id) => Ok(id),
        Err(error) => Err(ToolError::usage(format!("{shown:?}: {error}"))),
    }
}

/// The best peers of the table, nearest first, and whether each is to be asked sparingly, as it is only suggested.
fn of_table(file: &PeerFile) -> Vec<(SocketAddr, Origin, bool)> {
    let table = load(file);
    let best = table.best(FROM_TABLE, 0).into_iter();
    best.filter_map(|address| {
        let peer = table.get(address)?;
        let origin = peer.origin().clone();
        let suggested = !peer.is_verified() && !origin.is_local();
        Some((address, origin, suggested))
    })
    .collect()
}

impl Search {
    /// Asks those whose names have an address now.
    fn ask_named(&mut self) {
        for (address, origin) in self.network.names.news() {
            self.ask(address, Asked::Now(origin), false);
        }
    }

    fn ask(&mut self, address: SocketAddr, how: Asked, suggested: bool) {
        if self.asked.contains_key(&address) || self.asked.len() >= MAX_ASKED {
            return;
        }
        let job = self.job;
        self.network.session.call(|node, now, _| match how {
            Asked::Table(_) if !suggested => node.add_known(now, job, address),
            _ => node.add_source(now, job, address, suggested),
        });
        self.asked.insert(address, (how, self.network.session.now()));
    }

    /// Returns the signal that ended it early, if one did.
    fn run(&mut self, limit: Duration) -> Result<Option<Signal>, ToolError> {
        let start = self.network.session.now();
        loop {
            self.print_new()?;
            let now = self.network.session.now();
            let dht_may = self.network.dht.is_some() && now.since(start) < DHT_TIMEOUT;
            let lan_may = self.asks_lan && now.since(start) < LAN_TIMEOUT;
            let may = dht_may
                || lan_may
                || self.network.names.is_pending()
                || self.network.session.node().is_searching(self.job);
            if now.since(start) >= limit || !may {
                return Ok(None);
            }
            let wake = self
                .network
                .session
                .turn(now + LOOK_EVERY)
                .map_err(|error| ToolError::failure(format!("network: {error}")))?;
            if wake.signal.is_some() {
                self.print_new()?;
                return Ok(wake.signal);
            }
            if wake.woken {
                stdout::check()?;
            }
            self.ask_named();
            // What else it found is looked at, not told.
            while let Some(event) = self.network.session.next_event() {
                if let Event::Neighbour(address) = event {
                    self.ask(address, Asked::Now(Origin::Lan), false);
                }
            }
            let found: Vec<SocketAddr> =
                self.network.dht.iter().flat_map(Mainline::found).map(|f| f.address).collect();
            for address in found {
                self.ask(address, Asked::Now(Origin::Dht), true);
            }
        }
    }

    /// Prints the peers that have said since the last time that they have the content.
    fn print_new(&mut self) -> Result<(), ToolError> {
        let node = self.network.session.node();
        let Some(fetch) = node.fetch(self.job) else { return Ok(()) };
        let new: Vec<_> = fetch.offers().filter(|(address, _)| !self.printed.contains(address)).collect();
        for (address, length) in new {
            self.printed.insert(address);
            let peer = node.acquaintances().find(|peer| peer.address == address);
            let line = Line {
                address,
                id: &self.wire_id,
                length,
                round_trip_ms: peer.and_then(|peer| peer.round_trip).map(milliseconds),
                origin: origin(&self.asked, address, peer.as_ref()),
                found: self.found(address, peer.as_ref()),
            };
            write_line(&serde_json::to_string(&line).expect("strings and numbers are JSON"))?;
        }
        Ok(())
    }

    fn found(&self, address: SocketAddr, peer: Option<&Acquaintance>) -> String {
        match self.asked.get(&address) {
            Some((Asked::Table(_), _)) => "table".into(),
            _ => origin(&self.asked, address, peer).to_string(),
        }
    }

    /// Notes in the table which peers answered, and which did not.
    fn record(&mut self, file: &PeerFile) {
        let node = self.network.session.node();
        let met: BTreeMap<SocketAddr, Acquaintance> =
            node.acquaintances().map(|peer| (peer.address, peer)).collect();
        let now = self.network.session.now();
        let is_silent = |(address, (_, since)): &(&SocketAddr, &(Asked, Time))| {
            node.has_asked(**address) && !met.contains_key(address) && now.since(*since) >= TIMEOUT
        };
        let silent: Vec<SocketAddr> =
            self.asked.iter().filter(is_silent).map(|(address, _)| *address).collect();
        self.network.silent = silent;
        self.network.note_in(file, |address| origin(&self.asked, address, met.get(&address)));
    }
}

/// How an address came to us, as the table says it.
fn origin(
    asked: &BTreeMap<SocketAddr, (Asked, Time)>,
    address: SocketAddr,
    peer: Option<&Acquaintance>,
) -> Origin {
    match asked.get(&address) {
        Some((Asked::Table(origin) | Asked::Now(origin), _)) => origin.clone(),
        None => peer.and_then(|peer| peer.named_by).map_or(Origin::Incoming, Origin::Referral),
    }
}
