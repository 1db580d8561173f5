//! Networks of many peers, in which content is looked for by asking on.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::message::MAX_IDS;
use cjp2p_wire::node::Query;
use cjp2p_wire::store::JobId;

use super::{Link, Original, Peer, World};
use crate::content;

/// Bytes of each content.
const LENGTH: usize = 3000;

/// The address of the `n`th peer: all are public, each in a neighbourhood of its own.
pub fn address(n: usize) -> SocketAddr {
    let [_, a, b, c] = (n as u32).to_be_bytes();
    SocketAddr::from(([20 + a, b, c, 1], 24254))
}

/// A link on which a round trip to another one takes so long.
pub fn link(round_trip: Duration) -> Link {
    Link { delay: round_trip / 4, ..Link::default() }
}

/// The network, and whom each peer knows.
pub struct Network {
    /// The hosts.
    pub world: World,
    /// What can be looked for.
    pub contents: Vec<Rc<Original>>,
    round_trip: Duration,
    random: fastrand::Rng,
    peers: usize,
    askers: usize,
}

/// How a search went.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// When the first source was found, since the start.
    pub after: Duration,
    /// Datagrams that the asker had sent by then.
    pub datagrams: u64,
}

impl Network {
    /// So many peers that know nobody.
    pub fn new(seed: u64, peers: usize, contents: usize, round_trip: Duration) -> Network {
        let mut world = World::new(seed);
        for n in 0..peers {
            world.add(address(n), link(round_trip), Peer::new(seed << 32 | n as u64));
            if n % 1000 == 999 {
                // Not all of them at the same instant.
                world.run_for(Duration::from_millis(1));
            }
        }
        let contents = (0..contents).map(|n| Original::new(content::bytes(seed << 16 | n as u64, LENGTH)));
        let contents = contents.collect();
        let random = fastrand::Rng::with_seed(seed);
        Network { world, contents, round_trip, random, peers, askers: 0 }
    }

    /// Has the `n`th peer share a content.
    pub fn share(&mut self, n: usize, content: usize) {
        let original = self.contents[content].clone();
        self.world.with_peer(address(n), |peer, _| peer.store.share_original(&original));
    }

    /// So many different peers, at random.
    pub fn pick(&mut self, count: usize) -> Vec<usize> {
        let mut picked = std::collections::BTreeSet::new();
        while picked.len() < count.min(self.peers) {
            picked.insert(self.random.usize(..self.peers));
        }
        let mut picked: Vec<usize> = picked.into_iter().collect();
        self.random.shuffle(&mut picked);
        picked
    }

    /// Has the `n`th peer greet others, as cjp2p-serve greets those in its table.
    pub fn greet(&mut self, n: usize, others: &[usize]) {
        self.world.with_peer(address(n), |peer, now| {
            for &other in others {
                peer.node.query(now, address(other), Query::Peers, false);
                peer.settle(now);
            }
        });
    }

    /// Has the `n`th peer tell those that it greeted what it shares.
    pub fn tell(&mut self, n: usize, others: &[usize], ids: &[ContentId]) {
        self.world.with_peer(address(n), |peer, now| {
            for &other in others {
                peer.node.tell_content(now, address(other), ids);
                peer.settle(now);
            }
        });
    }

    /// Drops what the peers reported, which takes memory.
    fn forget_events(&mut self) {
        for n in 0..self.peers {
            self.world.with_peer(address(n), |peer, _| peer.events = Vec::new());
        }
    }

    /// Adds somebody who knows `known`, and looks for a content.
    pub fn ask(&mut self, known: &[usize], content: usize) -> (SocketAddr, JobId) {
        let asker = address(self.peers + 1000 + self.askers);
        let seed = self.random.u64(..);
        self.askers += 1;
        self.world.add(asker, link(self.round_trip), Peer::new(seed));
        let id = self.contents[content].id().clone();
        let job = self.world.with_peer(asker, |peer, now| {
            let job = peer.fetch(now, &id, &[]);
            for &n in known {
                peer.node.add_known(now, job, address(n));
                peer.settle(now);
            }
            job
        });
        (asker, job)
    }

    /// Lets somebody look until a source is found, or for `limit`.
    pub fn search(&mut self, known: &[usize], content: usize, limit: Duration) -> Option<Found> {
        let start = self.world.now();
        let (asker, job) = self.ask(known, content);
        let found = self.world.run_until(limit, |world| {
            world.peer(asker).node.fetch(job).is_none_or(|fetch| fetch.progress().received > 0)
        });
        let after = self.world.now().since(start);
        found.then(|| Found { after, datagrams: self.world.traffic(asker).datagrams_out })
    }
}

/// Peers that know only the next one each, the last of which has content 0.
pub fn chain(seed: u64, peers: usize, round_trip: Duration) -> Network {
    let mut network = Network::new(seed, peers, 1, round_trip);
    for n in 0..peers - 1 {
        network.greet(n, &[n + 1]);
    }
    network.share(peers - 1, 0);
    network.world.run_for(Duration::from_secs(2));
    network
}

/// Peers that greet `table` others each, at random, and so know about twice as many. Each content is on `holders` of them, who
/// tell those that they greeted.
pub fn random_tables(
    seed: u64,
    peers: usize,
    table: usize,
    contents: usize,
    holders: usize,
    round_trip: Duration,
) -> Network {
    let mut network = Network::new(seed, peers, contents, round_trip);
    let mut tables = Vec::new();
    for n in 0..peers {
        let mut others = network.pick(table + 1);
        others.retain(|&other| other != n);
        others.truncate(table);
        network.greet(n, &others);
        network.world.run_for(Duration::from_millis(1));
        tables.push(others);
        if n % 1000 == 999 {
            network.forget_events();
        }
    }
    network.world.run_for(Duration::from_secs(1));
    let mut shared = vec![Vec::new(); peers];
    for content in 0..contents {
        let id = network.contents[content].id().clone();
        for holder in network.pick(holders) {
            network.share(holder, content);
            shared[holder].push(id.clone());
        }
    }
    for (n, ids) in shared.iter().enumerate().filter(|(_, ids)| !ids.is_empty()) {
        // As many as are told at once.
        network.tell(n, &tables[n], &ids[..ids.len().min(MAX_IDS)]);
        network.world.run_for(Duration::from_micros(100));
    }
    network.world.run_for(Duration::from_secs(1));
    network.forget_events();
    network
}
