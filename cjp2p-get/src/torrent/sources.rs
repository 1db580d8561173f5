//! Who may have a torrent: peers that were named, and those that the DHT finds.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_io::lookup::{Lookup, Lookups};
use cjp2p_io::mainline::Mainline;
use cjp2p_torrent::info_hash::InfoHash;
use cjp2p_torrent::public::Origin;
use cjp2p_wire::time::Time;

/// How often the DHT is asked, and told of us.
const ASK_DHT_EVERY: Duration = Duration::from_secs(300);

/// See the [module](self).
pub(crate) struct Sources {
    named: Lookups,
    /// Those of a magnet, until they were taken.
    of_torrent: Vec<SocketAddr>,
    dht: Option<Mainline>,
    asked_dht_at: Option<Time>,
    /// Where peers can call.
    port: Option<u16>,
}

impl Sources {
    /// `notify` is called, on another thread, when a name has an address.
    pub(crate) fn new(
        named: Lookup,
        notify: impl Fn() + Send + 'static,
        of_torrent: Vec<SocketAddr>,
        dht: Option<Mainline>,
        port: Option<u16>,
    ) -> Sources {
        Sources { named: named.watch(notify), of_torrent, dht, asked_dht_at: None, port }
    }

    /// Peers that were found since. A private torrent is not looked up in the DHT.
    pub(crate) fn take(&mut self, now: Time, hash: InfoHash, is_private: bool) -> Vec<(SocketAddr, Origin)> {
        let mut found: Vec<_> =
            self.named.news().into_iter().map(|(address, _)| (address, Origin::User)).collect();
        found.extend(
            std::mem::take(&mut self.of_torrent).into_iter().map(|address| (address, Origin::Torrent)),
        );
        let Some(dht) = self.dht.as_ref().filter(|_| !is_private) else { return found };
        if self.asked_dht_at.is_none_or(|at| now.since(at) >= ASK_DHT_EVERY) {
            self.asked_dht_at = Some(now);
            dht.look_up(*hash.as_bytes());
            if let Some(port) = self.port {
                dht.announce(*hash.as_bytes(), port);
            }
        }
        let hits = dht.found().filter(|hit| hit.key == *hash.as_bytes());
        found.extend(hits.map(|hit| (hit.address, Origin::Dht)));
        found
    }

    /// What could still find a peer, for whoever wonders why there is none.
    pub(crate) fn lacking(&self, has_trackers: bool) -> &'static str {
        match (has_trackers, self.dht.is_some()) {
            (false, false) => "; it names no tracker, and the DHT is asked only with --dht",
            (true, false) => "; the DHT is asked only with --dht",
            _ => "",
        }
    }
}
