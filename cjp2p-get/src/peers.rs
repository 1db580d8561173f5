//! Whom to ask: peers that were named, the best of the table, and the bootstrap list; and the table afterwards.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cjp2p_wire::io::event_loop::EventLoop;
use cjp2p_wire::io::peer_file::PeerFile;
use cjp2p_wire::node::Node;
use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::time::Time;

/// Peers of the table that are asked.
const FROM_TABLE: usize = 64;
/// How often the table is written.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// Who has not answered after this time will not.
const PATIENCE: Duration = Duration::from_secs(5);

/// Peers that the user named have so much time to send something before everybody on the local network is asked.
const HEAD_START: Duration = Duration::from_millis(500);

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
    /// Everybody on the local network is asked too.
    has_lan: bool,
    saved_at: Time,
}

impl Peers {
    /// Those that were named, and those of the table.
    pub(crate) fn new(file: Option<PeerFile>, named: Vec<(SocketAddr, Origin)>, has_lan: bool) -> Peers {
        let mut peers = Peers { file, known: BTreeMap::new(), has_lan, saved_at: Time::ZERO };
        peers.read_table();
        for (address, origin) in named {
            peers.known.insert(address, Peer { origin, suggested: false, since: Time::ZERO });
        }
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

    /// Whether nobody is known, and nobody may be found on the local network.
    pub(crate) fn is_nobody(&self) -> bool {
        self.known.is_empty() && !self.has_lan
    }

    /// Takes in a peer that was found so. `suggested`: only strangers vouch for it.
    pub(crate) fn add_found(&mut self, address: SocketAddr, origin: Origin, suggested: bool, now: Time) {
        let peer = Peer { origin, suggested, since: now };
        self.known.entry(address).or_insert(peer);
    }

    /// After which time everybody on the local network is asked for what nobody has sent until then.
    pub(crate) fn lan_delay(&self) -> Option<Duration> {
        let named = self.known.values().any(|peer| peer.origin == Origin::CommandLine);
        self.has_lan.then_some(if named { HEAD_START } else { Duration::ZERO })
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
