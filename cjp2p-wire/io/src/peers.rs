//! Whom to ask: peers that were named, the best of the table, and the bootstrap list, and those remembered beside a partial
//! download; and the table afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::learned::{Admit, Learned};
use crate::lookup::Lookups;
use crate::peer_file::PeerFile;
use crate::peer_saver::PeerSaver;
use crate::session::Session;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::store::Store;
use cjp2p_wire::time::Time;

use crate::partial::sources::Sources;

/// Peers of the table that are asked.
const FROM_TABLE: usize = 64;
/// Peers that are known at the most, but for those that were named: any host on the local network can invent addresses there.
const MAX_KNOWN: usize = 4096;
/// How often the table is written.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// A peer that has not answered after this time will not.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A peer that was not seen to send for longer than this, in milliseconds, may be another one by now.
const STALE_MS: u64 = 7 * 24 * 3600 * 1000;
/// Peers that the user named have so much time to send something before everybody on the local network is asked.
const HEAD_START: Duration = Duration::from_millis(500);

/// A peer to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    origin: Origin,
    /// It is only suggested, so it is asked sparingly.
    pub suggested: bool,
    since: Time,
}

/// See the [module](self).
pub struct Peers {
    table: PeerSaver,
    named: Lookups,
    /// Only the peers that the user named are to be asked.
    is_limited: bool,
    known: BTreeMap<SocketAddr, Peer>,
    /// Those of them that were validated some time, and were not named: nearest first.
    nearest: Vec<SocketAddr>,
    /// Those that were found beside partial downloads.
    remembered: BTreeSet<SocketAddr>,
    /// Everybody on the local network is asked too.
    has_lan: bool,
    saved_at: Time,
}

impl Peers {
    /// Those that were named, as their names are looked up, and those of the table unless the named ones alone may be asked.
    pub fn new(file: PeerFile, named: Lookups, has_lan: bool, is_limited: bool) -> Peers {
        let mut peers = Peers {
            table: PeerSaver::new(file),
            named,
            is_limited,
            known: BTreeMap::new(),
            nearest: Vec::new(),
            remembered: BTreeSet::new(),
            has_lan,
            saved_at: Time::ZERO,
        };
        if !is_limited {
            peers.read_table();
        }
        peers.take_named(Time::ZERO);
        peers
    }

    /// Takes in the addresses of named peers that were found since. Gives them, and whether the user named each.
    pub fn take_named(&mut self, now: Time) -> Vec<(SocketAddr, bool)> {
        let news = self.named.news();
        for (address, origin) in &news {
            self.nearest.retain(|other| other != address);
            let peer = Peer { origin: origin.clone(), suggested: false, since: now };
            self.known.insert(*address, peer);
        }
        news.into_iter().map(|(address, origin)| (address, origin == Origin::CommandLine)).collect()
    }

    /// Whether the user named anybody, whether or not that name has an address.
    pub fn has_named(&self) -> bool {
        self.named.has_named()
    }

    /// The peers that the user named.
    pub fn of_user(&self) -> impl Iterator<Item = SocketAddr> {
        self.named
            .addresses()
            .filter(|(_, origin)| **origin == Origin::CommandLine)
            .map(|(address, _)| address)
    }

    /// Whether nobody but those may be asked for this content. Of a plain name nobody can tell whether what comes is right, so
    /// what a neighbour has under the same name is not taken for it.
    pub fn limits(&self, id: &ContentId) -> bool {
        self.is_limited || matches!(id, ContentId::Name(_))
    }

    /// Whether only the peers that the user named are to be asked.
    pub fn is_limited(&self) -> bool {
        self.is_limited
    }

    fn read_table(&mut self) {
        let (table, warning) = self.table.file().load();
        if let Some(warning) = warning {
            log::warn!("{warning}");
        }
        for address in table.best(FROM_TABLE, unix_ms()) {
            if let Some(peer) = table.get(address) {
                let origin = peer.origin().clone();
                let suggested = !peer.is_verified() && !origin.is_local();
                self.known.insert(address, Peer { origin, suggested, since: Time::ZERO });
                if !suggested {
                    self.nearest.push(address);
                }
            }
        }
    }

    /// The validated ones of the table, nearest first: to be asked one after another.
    pub fn nearest(&self) -> &[SocketAddr] {
        &self.nearest
    }

    /// All others.
    pub fn others(&self) -> impl Iterator<Item = (SocketAddr, &Peer)> {
        self.iter().filter(|(address, _)| !self.nearest.contains(address))
    }

    /// Everybody known so far.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &Peer)> {
        self.known.iter().map(|(&address, peer)| (address, peer))
    }

    /// Whether nobody is known, no name may have an address yet, and nobody may be found on the local network.
    pub fn is_nobody(&self) -> bool {
        self.known.is_empty() && !self.named.may_find_more() && !self.has_lan
    }

    /// Whether names of peers are still looked up for the first time.
    pub fn may_have_more(&self) -> bool {
        self.named.is_pending()
    }

    /// Takes in a peer that was found so. `suggested`: it is not validated.
    pub fn add_found(&mut self, address: SocketAddr, origin: Origin, suggested: bool, now: Time) {
        if self.known.len() < MAX_KNOWN {
            let peer = Peer { origin, suggested, since: now };
            self.known.entry(address).or_insert(peer);
        }
    }

    /// Takes in those that an interrupted download had its content from. Gives them, and whether to ask each sparingly, because it
    /// may be somebody else by now; without those that are asked anyway.
    pub fn add_remembered(&mut self, sources: &Sources) -> Vec<(SocketAddr, bool)> {
        let now = unix_ms();
        let others = sources.iter().filter(|(address, _)| !self.known.contains_key(address));
        let others: Vec<_> =
            others.map(|(address, seen)| (address, now.saturating_sub(seen) > STALE_MS)).collect();
        self.remembered.extend(others.iter().map(|(address, _)| address));
        others
    }

    /// After which time everybody on the local network is asked for what nobody has sent until then.
    pub fn lan_delay(&self) -> Option<Duration> {
        self.has_lan.then_some(if self.has_named() { HEAD_START } else { Duration::ZERO })
    }

    /// Writes the peers that we met into the table, from time to time.
    pub fn save_sometimes(&mut self, session: &Session<impl Store>) {
        if session.now().since(self.saved_at) >= SAVE_EVERY {
            self.save(session, &[]);
        }
    }

    /// Writes the peers that we met into the table, and those that did not answer in all this time.
    pub fn save_at_end(&mut self, session: &Session<impl Store>) {
        let heard: Vec<SocketAddr> = session.node().acquaintances().map(|peer| peer.address).collect();
        let now = session.now();
        let silent: Vec<SocketAddr> = self
            .iter()
            .filter(|(address, _)| session.node().has_asked(*address) && !heard.contains(address))
            .filter(|(_, peer)| now.since(peer.since) >= TIMEOUT)
            .map(|(address, _)| address)
            .collect();
        self.save(session, &silent);
        self.table.finish();
    }

    fn save(&mut self, session: &Session<impl Store>, silent: &[SocketAddr]) {
        let since = std::mem::replace(&mut self.saved_at, session.now());
        let named_by: BTreeMap<SocketAddr, SocketAddr> =
            session.node().acquaintances().filter_map(|peer| Some((peer.address, peer.named_by?))).collect();
        let origin = |address| match (self.known.get(&address), named_by.get(&address)) {
            (Some(peer), _) => peer.origin.clone(),
            (None, _) if self.remembered.contains(&address) => Origin::Record,
            (None, Some(by)) => Origin::Referral(*by),
            (None, None) => Origin::Incoming,
        };
        let learned = Learned::of(session, since, silent, Admit::Lasting, origin);
        self.table.save(learned);
    }
}

/// The time of day, in milliseconds since 1970.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_are_found_on_the_link_so_many_are_known() {
        let mut peers = Peers::new(PeerFile::new(None), Lookups::none(), true, true);
        for n in 0..2 * MAX_KNOWN as u32 {
            let address = SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0a00_0000 + n), 24254));
            peers.add_found(address, Origin::Lan, false, Time::ZERO);
        }
        assert_eq!(peers.known.len(), MAX_KNOWN);
    }
}
