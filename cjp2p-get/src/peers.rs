//! Whom to ask: peers that were named, the best of the table, and the bootstrap list; and the table afterwards.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cjp2p_wire::io::event_loop::{EventLoop, Waker};
use cjp2p_wire::io::peer_file::PeerFile;
use cjp2p_wire::node::Node;
use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::time::Time;
use cjp2p_wire::tool::args::PeerArgs;

/// Peers of the table that are asked.
const FROM_TABLE: usize = 64;
/// How often the table is written.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// Who has not answered after this time will not.
const PATIENCE: Duration = Duration::from_secs(5);

/// A peer to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    origin: Origin,
    /// Only strangers vouch for it, so it is asked sparingly.
    pub(crate) suggested: bool,
    since: Time,
}

/// See the [module](self).
pub(crate) struct Peers {
    /// `None` where there is no state folder.
    file: Option<PeerFile>,
    known: BTreeMap<SocketAddr, Peer>,
    looked_up: Option<Receiver<Vec<(SocketAddr, Origin)>>>,
    saved_at: Time,
}

impl Peers {
    /// Reads the table, and looks up names in the background: the name service may take long.
    pub(crate) fn new(file: Option<PeerFile>, named: PeerArgs, waker: Waker) -> Peers {
        let (found, looked_up) = mpsc::channel();
        thread::spawn(move || {
            let _ = found.send(named.resolve());
            waker.wake();
        });
        let mut peers =
            Peers { file, known: BTreeMap::new(), looked_up: Some(looked_up), saved_at: Time::ZERO };
        peers.read_table();
        peers
    }

    fn read_table(&mut self) {
        let Some(file) = &self.file else { return };
        let (table, warning) = file.load();
        if let Some(warning) = warning {
            log::warn!("{warning}");
        }
        for address in table.best(FROM_TABLE, unix_ms()) {
            if let Some(peer) = table.get(address) {
                let origin = peer.origin().clone();
                let suggested = !peer.is_verified() && !origin.is_local();
                self.known.insert(address, Peer { origin, suggested, since: Time::ZERO });
            }
        }
    }

    /// Everybody known so far.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SocketAddr, &Peer)> {
        self.known.iter().map(|(&address, peer)| (address, peer))
    }

    /// Whether there is nobody, and nobody will come.
    pub(crate) fn is_nobody(&self) -> bool {
        self.known.is_empty() && self.looked_up.is_none()
    }

    /// Takes in a peer that somebody in the DHT named.
    pub(crate) fn add_found(&mut self, address: SocketAddr, now: Time) {
        let peer = Peer { origin: Origin::Dht, suggested: true, since: now };
        self.known.entry(address).or_insert(peer);
    }

    /// Takes in the names that were looked up. Returns the addresses that are new.
    pub(crate) fn take_looked_up(&mut self, now: Time) -> Vec<SocketAddr> {
        let Some(names) = &self.looked_up else { return Vec::new() };
        let found = match names.try_recv() {
            Ok(found) => found,
            Err(TryRecvError::Empty) => return Vec::new(),
            Err(TryRecvError::Disconnected) => Vec::new(),
        };
        self.looked_up = None;
        let mut new = Vec::new();
        for (address, origin) in found {
            let peer = Peer { origin, suggested: false, since: now };
            if self.known.insert(address, peer).is_none_or(|before| before.suggested) {
                new.push(address);
            }
        }
        new
    }

    /// Writes whom we met into the table, from time to time.
    pub(crate) fn save_sometimes(&mut self, event_loop: &EventLoop, node: &Node) {
        if event_loop.now().since(self.saved_at) >= SAVE_EVERY {
            self.save(event_loop, node, &[]);
        }
    }

    /// Writes whom we met into the table, and who did not answer in all this time.
    pub(crate) fn save_at_end(&mut self, event_loop: &EventLoop, node: &Node) {
        let heard: Vec<SocketAddr> = node.acquaintances().map(|peer| peer.address).collect();
        let now = event_loop.now();
        let silent: Vec<SocketAddr> = self
            .iter()
            .filter(|(address, peer)| !heard.contains(address) && now.since(peer.since) >= PATIENCE)
            .map(|(address, _)| address)
            .collect();
        self.save(event_loop, node, &silent);
    }

    fn save(&mut self, event_loop: &EventLoop, node: &Node, silent: &[SocketAddr]) {
        let since = std::mem::replace(&mut self.saved_at, event_loop.now());
        let Some(file) = &self.file else { return };
        let origin = |address| self.known.get(&address).map_or(Origin::Incoming, |peer| peer.origin.clone());
        match file.record(event_loop, node, since, silent, origin) {
            Ok(None) => {}
            Ok(Some(warning)) => log::warn!("{warning}"),
            Err(error) => log::warn!("the peer table was not written: {error}"),
        }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
