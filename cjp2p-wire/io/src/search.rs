//! Looking in the Mainline DHT for providers of what no known peer offers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::mainline::{Mainline, key, key_of_publisher};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::download::Download;
use cjp2p_wire::node::Node;
use cjp2p_wire::peers::announcements::Key;
use cjp2p_wire::signed::PublicKey;
use cjp2p_wire::store::JobId;
use cjp2p_wire::time::Time;

/// Known peers have this time to offer it before others are asked.
const AFTER: Duration = Duration::from_secs(2);
/// While still nobody has it, it is looked up again after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// What is fetched, and may lack sources.
#[derive(Clone, Copy, Debug)]
pub struct Sought<'a> {
    /// The fetch.
    pub fetch: JobId,
    /// What it fetches.
    pub id: &'a ContentId,
    /// When it began.
    pub started: Time,
    /// Whether anybody known may offer it yet.
    pub waits: bool,
}

/// See the [module](self).
pub struct Search {
    /// `None` where the DHT is not to be used.
    dht: Option<Mainline>,
    /// What was looked up, for which fetch, and when.
    asked: BTreeMap<Key, (JobId, Time)>,
}

impl Search {
    /// Looks by this node of the DHT.
    pub fn new(dht: Option<Mainline>) -> Search {
        Search { dht, asked: BTreeMap::new() }
    }

    /// Whether it could find anybody at all.
    pub fn is_on(&self) -> bool {
        self.dht.is_some()
    }

    /// Looks for those of `fetches` to which nobody has offered anything.
    pub fn turn<'a>(&mut self, now: Time, node: &Node, fetches: impl Iterator<Item = Sought<'a>>) {
        if !self.is_on() {
            return;
        }
        for Sought { fetch, id, started, waits } in fetches {
            if node.fetch(fetch).is_some_and(Download::lacks_sources) {
                self.look(now, fetch, id, started, waits);
            }
        }
    }

    fn look(&mut self, now: Time, fetch: JobId, id: &ContentId, started: Time, waits: bool) {
        let Some((dht, key)) = self.dht.as_ref().zip(key(id)) else { return };
        if waits && now.since(started) < AFTER {
            return;
        }
        let again =
            self.asked.get(&key).is_none_or(|(before, at)| *before != fetch || now.since(*at) >= AGAIN_AFTER);
        if again {
            log::info!("{id}: looking in the DHT");
            self.asked.insert(key, (fetch, now));
            dht.look_up(key);
        }
    }

    /// The fetch has ended.
    pub fn forget(&mut self, fetch: JobId) {
        self.asked.retain(|_, (other, _)| *other != fetch);
    }

    /// Looks for those who have what this key publishes; see [`Search::found`].
    pub fn look_for_publisher(&self, publisher: &PublicKey) {
        if let Some(dht) = &self.dht {
            dht.look_up(key_of_publisher(publisher));
        }
    }

    /// The providers that were found since, and for which fetch; without one, for what somebody publishes.
    pub fn found(&self) -> Vec<(Option<JobId>, SocketAddr)> {
        let Some(dht) = &self.dht else { return Vec::new() };
        dht.found()
            .map(|found| (self.asked.get(&found.key).map(|(fetch, _)| *fetch), found.address))
            .collect()
    }
}
