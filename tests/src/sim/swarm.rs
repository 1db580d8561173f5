//! Swarms: one origin, and getters that fetch the same from it and from each other.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use cjp2p_wire::store::JobId;
use cjp2p_wire::time::Time;

use super::{Link, Original, Peer, World};

/// One origin and its getters.
pub struct Swarm {
    /// The network.
    pub world: World,
    /// What is fetched.
    pub original: Rc<Original>,
    /// Each getter, in the order in which they start: where it is, when it started, and its job.
    pub getters: Vec<(SocketAddr, Time, JobId)>,
    /// In which order each getter knows the others, and where links differ.
    random: fastrand::Rng,
}

/// The one that has everything.
pub const ORIGIN: SocketAddr = getter(u16::MAX);

/// The address of the `n`th getter.
pub const fn getter(n: u16) -> SocketAddr {
    let [high, low] = n.to_be_bytes();
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, high, low), 24254))
}

impl Swarm {
    /// An origin with `bytes` behind `link`.
    pub fn new(seed: u64, bytes: Vec<u8>, link: Link) -> Swarm {
        let original = Original::new(bytes);
        let mut world = World::new(seed);
        let mut origin = Peer::new(seed);
        origin.store.share_original(&original);
        world.add(ORIGIN, link, origin);
        let random = fastrand::Rng::with_seed(seed);
        Swarm { world, original, getters: Vec::new(), random }
    }

    /// The next getter begins to fetch from `sources`.
    pub fn start(&mut self, link: Link, sources: &[SocketAddr]) -> SocketAddr {
        let address = getter(self.getters.len() as u16);
        let mut peer = Peer::new(1 + self.random.u64(..));
        peer.store.expected = Some(self.original.clone());
        self.world.add(address, link, peer);
        let id = self.original.id().clone();
        let now = self.world.now();
        let job = self.world.with_peer(address, |peer, now| peer.fetch(now, &id, sources));
        self.getters.push((address, now, job));
        address
    }

    /// `count` getters begin that know the origin and each other, each after a pause of up to `apart`.
    pub fn start_all(&mut self, count: u16, link: impl Fn(&mut fastrand::Rng) -> Link, apart: Duration) {
        for n in 0..count {
            let mut others: Vec<SocketAddr> = (0..count).filter(|&m| m != n).map(getter).collect();
            self.random.shuffle(&mut others);
            others.insert(0, ORIGIN);
            let link = link(&mut self.random);
            self.start(link, &others);
            if !apart.is_zero() {
                self.world.run_for(apart.mul_f64(self.random.f64()));
            }
        }
    }

    /// Lets time pass until all of these getters are done or `limit` has passed; returns whether they are.
    pub fn run(&mut self, limit: Duration) -> bool {
        let until = self.world.now() + limit;
        while self.world.now() < until {
            self.world.run_for(Duration::from_millis(100));
            let is_over =
                |(address, _, job): &(SocketAddr, Time, JobId)| self.world.peer(*address).is_over(*job);
            if self.getters.iter().all(is_over) {
                break;
            }
        }
        self.getters.iter().all(|(address, _, job)| self.world.peer(*address).completed_at(*job).is_some())
    }

    /// How long the `n`th getter took, if it is complete.
    pub fn time_of(&self, n: usize) -> Option<Duration> {
        let (address, started, job) = self.getters[n];
        Some(self.world.peer(address).completed_at(job)?.since(started))
    }

    /// How long each getter took that is complete, the shortest first.
    pub fn times(&self) -> Vec<Duration> {
        let mut times: Vec<Duration> = (0..self.getters.len()).filter_map(|n| self.time_of(n)).collect();
        times.sort_unstable();
        times
    }

    /// How many times the content's length the origin has sent, as content and tree.
    pub fn copies(&self) -> f64 {
        self.world.peer(ORIGIN).node.counters().content_out as f64 / self.original.length() as f64
    }

    /// Bytes of content and tree that came to all getters, and how many of those were of no use.
    pub fn received(&self) -> (u64, u64) {
        let mut sum = (0, 0);
        for (address, _, job) in &self.getters {
            let progress = self.world.peer(*address).node.progress(*job).unwrap_or_default();
            sum = (sum.0 + progress.received, sum.1 + progress.wasted);
        }
        sum
    }

    /// How long one getter alone takes over this link, from an origin with the same.
    pub fn alone(bytes: &[u8], link: Link) -> Duration {
        let mut swarm = Swarm::new(1, bytes.to_vec(), link);
        swarm.start(link, &[ORIGIN]);
        assert!(swarm.run(Duration::from_secs(600)), "one alone does not get it");
        swarm.times()[0]
    }
}
