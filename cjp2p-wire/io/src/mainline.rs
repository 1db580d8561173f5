//! The BitTorrent Mainline DHT, in which nodes anywhere find providers of some content.
//!
//! The crate `mainline` is the node of it, with a socket and a thread of its own. Here is what our tools need of that: the key
//! that stands for an id, announcing, and looking up, each on threads that may wait.

use std::env;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::peers::address;
use cjp2p_wire::peers::announcements::Key;
use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::signed::PublicKey;
use futures_lite::{StreamExt, future};
use mainline::async_dht::AsyncDht;
use mainline::{DEFAULT_BOOTSTRAP_NODES, Dht, Id};

use super::event_loop::Waker;
use super::lookup::Lookup;
use crate::peer_name::PeerName;

/// What is hashed before an id to get its key. Ours alone, so that no torrent has the same.
const PREFIX: &[u8] = b"CJP2P content 1\0";
/// What stands for all nodes, in the place of an id.
const MEETING: &[u8] = b"CJP2P nodes 1\0";
/// The same before the 32 bytes of a public key.
const PUBLISHER: &[u8] = b"CJP2P names 1\0";
/// Lookups that go on at a time; more wait for their turn.
const LOOKUPS: usize = 4;
/// Addresses taken from one lookup.
const MOST_FOUND: usize = 64;
/// Announcements that are made at a time: each takes some seconds.
const ANNOUNCERS: usize = 4;

/// The key that stands for `id` in the DHT: the first 20 bytes of the BLAKE3 hash of a prefix and the id as the wire spells
/// it. Plain names have none: they are not unique, and nobody else's business.
pub fn key(id: &ContentId) -> Option<Key> {
    if !matches!(id, ContentId::Blake3(_) | ContentId::Sha256(_)) {
        return None;
    }
    Some(hashed(&[PREFIX, id.to_string().as_bytes()]))
}

/// The key under which nodes make themselves known, whatever they share: the first 20 bytes of the BLAKE3 hash of a text.
pub fn meeting_key() -> Key {
    hashed(&[MEETING])
}

/// The key under which a publisher makes itself known, and whoever else knows what its names stand for.
pub fn key_of_publisher(publisher: &PublicKey) -> Key {
    hashed(&[PUBLISHER, publisher.as_bytes()])
}

fn hashed(parts: &[&[u8]]) -> Key {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    let mut key = Key::default();
    key.copy_from_slice(&hasher.finalize().as_bytes()[..20]);
    key
}

/// A provider of something, as a node of the DHT says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What was looked up.
    pub key: Key,
    /// Where a peer is said to be: canonical, and not nearer than the DHT itself.
    pub address: SocketAddr,
}

/// Where to join the DHT.
pub struct Entry {
    /// The address of this machine to use.
    bind: Ipv4Addr,
    nodes: Lookup,
}

impl Entry {
    /// By the nodes that `CJP2P_DHT_BOOTSTRAP` names, separated by commas; by well-known ones where it is not set and they are not
    /// unwanted. Their names are looked up beside all else; to be called before this process is confined.
    pub fn look_up(bind: Ipv4Addr, well_known: bool) -> Entry {
        let mut names = Vec::new();
        for name in bootstrap(|name| env::var(name).ok(), well_known) {
            match name.parse::<PeerName>() {
                Ok(name) => names.push((name, Origin::Dht)),
                Err(error) => log::warn!("DHT: {error}"),
            }
        }
        Entry { bind, nodes: Lookup::start(names) }
    }
}

/// A node of the DHT. See the [module](self).
#[derive(Debug)]
pub struct Mainline {
    announcements: SyncSender<(Key, u16)>,
    lookups: Sender<Key>,
    found: Receiver<Found>,
}

impl Mainline {
    /// Joins the DHT in the background. `waker` is used whenever [`Mainline::found`] has something. Should it not work, that is
    /// logged, and nothing is ever found.
    ///
    /// `None`, and a warning, where there is no thread to be had.
    pub fn start(entry: Entry, waker: Waker) -> Option<Mainline> {
        let (announcements, to_announce) = mpsc::sync_channel(ANNOUNCERS);
        let (lookups, to_look_up) = mpsc::channel();
        let (sender, found) = mpsc::channel();
        let Entry { bind, nodes } = entry;
        let run = move || {
            let mut nodes = nodes.watch(|| ());
            let result = join(bind, &nodes.wait_for_addresses()).map(|dht| {
                let (to_announce, to_look_up) = (Mutex::new(to_announce), Mutex::new(to_look_up));
                let dht = &dht;
                thread::scope(|scope| {
                    let announcers = (0..ANNOUNCERS).map(|_| {
                        let keys = &to_announce;
                        let thread = thread::Builder::new().name("announce".into());
                        thread.spawn_scoped(scope, move || announce(dht, keys))
                    });
                    let lookups = (0..LOOKUPS).map(|_| {
                        let (keys, sender, waker) = (&to_look_up, sender.clone(), &waker);
                        let thread = thread::Builder::new().name("look up".into());
                        thread.spawn_scoped(scope, move || look_up(dht, bind, keys, &sender, waker))
                    });
                    // The others do what these would, only slower.
                    if let Some(error) = announcers.chain(lookups).filter_map(Result::err).last() {
                        log::warn!("DHT: not all threads for it could be started: {error}");
                    }
                });
            });
            if let Err(error) = result {
                log::warn!("DHT: {error}");
            }
        };
        if let Err(error) = thread::Builder::new().name("mainline".into()).spawn(run) {
            log::warn!("DHT: {error}");
            return None;
        }
        Some(Mainline { announcements, lookups, found })
    }

    /// Says in the background that this machine has what `key` stands for, at `port`. Returns whether there was room for
    /// it: where the network is slow or gone, announcements are not kept for later.
    pub fn announce(&self, key: Key, port: u16) -> bool {
        self.announcements.try_send((key, port)).is_ok()
    }

    /// Looks for `key` in the background.
    pub fn look_up(&self, key: Key) {
        // Fails only where the DHT could not be joined, which was logged.
        let _ = self.lookups.send(key);
    }

    /// What was found since, by all lookups. At most 64 addresses by each.
    pub fn found(&self) -> impl Iterator<Item = Found> + '_ {
        self.found.try_iter()
    }
}

/// The nodes to join by. An empty `CJP2P_BOOTSTRAP` switches off all built-in peers, and the crate's are some.
fn bootstrap(variable: impl Fn(&str) -> Option<String>, well_known: bool) -> Vec<String> {
    if let Some(nodes) = variable("CJP2P_DHT_BOOTSTRAP") {
        return nodes.split(',').map(str::trim).filter(|node| !node.is_empty()).map(str::to_owned).collect();
    }
    match variable("CJP2P_BOOTSTRAP") {
        Some(peers) if peers.trim().is_empty() => Vec::new(),
        _ if !well_known => Vec::new(),
        _ => DEFAULT_BOOTSTRAP_NODES.map(str::to_owned).to_vec(),
    }
}

fn join(bind: Ipv4Addr, nodes: &[SocketAddr]) -> io::Result<AsyncDht> {
    let v4 = nodes.iter().filter_map(|node| match node {
        SocketAddr::V4(node) => Some(*node),
        SocketAddr::V6(_) => None,
    });
    let mut builder = Dht::builder();
    builder.bind_address(bind).bootstrap(&v4.collect::<Vec<SocketAddrV4>>());
    Ok(builder.build()?.as_async())
}

/// The next of what waits, for one of several threads. `None`: there will be nothing more.
fn next<T>(waiting: &Mutex<Receiver<T>>) -> Option<T> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn announce(dht: &AsyncDht, keys: &Mutex<Receiver<(Key, u16)>>) {
    while let Some((key, port)) = next(keys) {
        match future::block_on(dht.announce_peer(Id::from(key), Some(port))) {
            Ok(_) => log::debug!("announced a key in the DHT"),
            Err(error) => log::info!("DHT: not announced: {error}"),
        }
    }
}

fn look_up(
    dht: &AsyncDht,
    bind: Ipv4Addr,
    keys: &Mutex<Receiver<Key>>,
    found: &Sender<Found>,
    waker: &Waker,
) {
    // The DHT counts as being where it is entered: on the internet, unless this machine's address for it says otherwise.
    let dht_at = SocketAddr::from((bind, 1));
    while let Some(key) = next(keys) {
        let mut answers = dht.get_peers(Id::from(key));
        let mut left = MOST_FOUND;
        while let Some(addresses) = future::block_on(answers.next()) {
            for address in addresses.into_iter().take(left) {
                left -= 1;
                let Some(address) = address::referred(dht_at, address.into()) else { continue };
                if found.send(Found { key, address }).is_err() {
                    return;
                }
            }
            waker.wake();
            if left == 0 {
                break;
            }
        }
        log::debug!("DHT: {} addresses found", MOST_FOUND - left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_has_its_own_key_and_a_name_has_none() {
        let blake3 = ContentId::Blake3([7; 32]);
        let sha256 = ContentId::Sha256([7; 32]);
        assert_ne!(key(&blake3), key(&sha256));
        assert_eq!(key(&blake3), key(&ContentId::parse(&blake3.to_string()).unwrap()));
        assert_eq!(key(&ContentId::parse("film.mkv").unwrap()), None);
        // So that no later version changes it unnoticed; docs/protocol.md has the same example.
        let id = ContentId::Sha256(*b"CJP2P content id of 32 bytes, ok");
        let shown: String = key(&id).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown, "ada7150cbdb5d17fe4e3932b59f6d6e2745f097e");
        let shown: String = meeting_key().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown, "54e6c0f8c5758adb3383c39e81d0380c1e55e466");
        let publisher = key_of_publisher(&PublicKey::from_bytes([7; 32]));
        assert!(publisher != key(&blake3).unwrap() && publisher != meeting_key());
    }

    #[test]
    fn built_in_nodes_are_left_out_where_no_built_in_peer_is_wanted() {
        let variables = |dht: Option<&'static str>, peers: Option<&'static str>| {
            move |name: &str| if name == "CJP2P_BOOTSTRAP" { peers } else { dht }.map(str::to_owned)
        };
        let with = |dht, peers| bootstrap(variables(dht, peers), true);
        assert_eq!(with(None, None), DEFAULT_BOOTSTRAP_NODES);
        assert_eq!(with(None, Some("127.0.0.1:1")), DEFAULT_BOOTSTRAP_NODES);
        assert!(with(None, Some("")).is_empty());
        assert!(with(Some(""), None).is_empty());
        assert!(bootstrap(variables(None, None), false).is_empty());
        assert_eq!(bootstrap(variables(Some("127.0.0.1:7"), None), false), ["127.0.0.1:7"]);
        let named = ["127.0.0.1:7", "example.org:6881"];
        assert_eq!(with(Some("127.0.0.1:7, example.org:6881"), Some("")), named);
    }
}
