//! Forged requests in the name of a bystander, and how much reaches it for them.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::datagram::Encoder;
use cjp2p_wire::message::ContentRequest;
use cjp2p_wire::node::Query;

use crate::content;
use crate::foreign::{Ruby, RustFebruary, RustToday};
use crate::sim::liars::odd;
use crate::sim::{Link, Peer, World};

const SERVER: SocketAddr = at(2);
const VICTIM: SocketAddr = at(3);
/// Somebody else, who fetches from the victim or shares with it.
const OTHER: SocketAddr = at(4);
/// Forged datagrams in a second, a little more than a server answers to those of one host.
const PER_SECOND: u64 = 1200;

const fn at(host: u8) -> SocketAddr {
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, host), 24254))
}

/// In whose name requests are forged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// A node of ours that never met anybody.
    Fresh,
    /// One that fetched from the server, and has nothing to do now.
    Idle,
    /// One that fetches from the server.
    Fetching,
    /// One that shares, and is fetched from.
    Serving,
    /// Today's Rust node, which never met the server.
    RustToday,
    /// The same, which fetches from the server.
    RustTodayFetching,
    /// A node that returns every value, and cannot say that it knows permanent cookies until it asks.
    Ruby,
    /// The node of February 2026, which knows no permanent cookies.
    February,
}

impl Victim {
    /// Those who know permanent cookies, and show it.
    pub const KNOW_COOKIES: [Victim; 6] = [
        Victim::Fresh,
        Victim::Idle,
        Victim::Fetching,
        Victim::Serving,
        Victim::RustToday,
        Victim::RustTodayFetching,
    ];
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Bytes that the attacker sent.
    pub forged: u64,
    /// Bytes that reached the victim.
    pub reached: u64,
    /// Bytes that the server sent to anybody.
    pub served: u64,
    /// How long it took in the world.
    pub simulated: Duration,
}

/// Makes what is forged: requests of all shapes.
pub struct Forger {
    random: fastrand::Rng,
    ids: Vec<String>,
    /// Others end of odd datagrams, and the oldest of padded content, which nodes that speak of cookies get.
    victim: Victim,
}

impl Forger {
    /// One that speaks in the name of a victim of this kind, and asks for these ids.
    pub fn new(victim: Victim, ids: Vec<String>, seed: u64) -> Forger {
        Forger { random: fastrand::Rng::with_seed(seed), ids, victim }
    }

    /// The next datagram.
    pub fn datagram(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        let is_ours =
            matches!(self.victim, Victim::Fresh | Victim::Idle | Victim::Fetching | Victim::Serving);
        if is_ours && random.u8(0..4) == 0 {
            return odd::question(random, &self.ids);
        }
        let mut encoder = Encoder::new();
        match random.u8(0..8) {
            0 | 1 if self.victim == Victim::February => {}
            0 => encoder.cookie("AlwaysReturned", "AAAAAAAAAAAAAAAAAAAAAA"),
            1 => encoder.cookie("PleaseAlwaysReturnThisMessage", "its own"),
            2 => encoder.value("PleaseReturnThisMessage", r#"{"sent_at":1.5}"#),
            3 => encoder.cookie("PleaseReturnThisMessage", "1.5"),
            _ => {}
        }
        for _ in 0..[1, 1, 1, 2, 8][random.usize(0..5)] {
            let id = &self.ids[random.usize(0..self.ids.len())];
            let block = [None, None, Some(960), Some(40_960)][random.usize(0..4)];
            let length = [1, 30, 4096, 4096, 40_960, 64 * 40_960][random.usize(0..6)];
            let offset = if random.bool() { 0 } else { random.u64(0..250) * 4096 };
            encoder.request(&ContentRequest { block, ..ContentRequest::plain(id, offset, length) });
        }
        match random.u8(0..8) {
            0 => encoder.bare("PleaseSendPeers"),
            1 => encoder.bare("PleaseListContent"),
            2 => encoder.which_parts(&self.ids[0], 0),
            _ => {}
        }
        encoder.finish(if random.u8(0..8) == 0 { random.usize(0..1400) } else { 0 })
    }
}

fn world(victim: Victim, bytes: &[u8], seed: u64) -> (World, Vec<String>) {
    let mut world = World::new(seed);
    let mut server = Peer::new(seed + 1);
    let id = server.store.share(bytes.to_vec(), Some("f"));
    let ids = vec![
        id.to_string(),
        content::sha256_id(bytes).to_string(),
        "f".to_owned(),
        "nothing of this name".to_owned(),
        id.to_string().replace("blake3/", "blake3_tree_v2/"),
    ];
    world.add(SERVER, Link::default(), server);
    let other = content::bytes(seed + 9, 300_000);
    let other_id = content::blake3_id(&other);
    // So that what it fetches lasts as long as the forged requests do.
    let slow = Link::rated(8, 10, 64 << 10);
    let fetch = |world: &mut World, id: &ContentId, from: SocketAddr| {
        world.with_peer(VICTIM, |peer, now| peer.fetch(now, id, &[from]));
    };
    match victim {
        Victim::Fresh => world.add(VICTIM, Link::default(), Peer::new(seed + 2)),
        Victim::Idle => {
            world.add(VICTIM, Link::default(), Peer::new(seed + 2));
            fetch(&mut world, &id, SERVER);
            world.with_peer(VICTIM, |peer, now| peer.node.query(now, SERVER, Query::Ping, false));
            world.run_for(Duration::from_secs(20));
        }
        Victim::Fetching => {
            world.add(VICTIM, slow, Peer::new(seed + 2));
            fetch(&mut world, &id, SERVER);
        }
        Victim::Serving => {
            let mut peer = Peer::new(seed + 2);
            peer.store.share(other.clone(), Some("other"));
            world.add(VICTIM, Link::default(), peer);
            world.add(OTHER, slow, Peer::new(seed + 3));
            world.with_peer(OTHER, |peer, now| peer.fetch(now, &other_id, &[VICTIM]));
        }
        Victim::RustToday => world.add(VICTIM, Link::default(), RustToday::new(seed).share(&other)),
        Victim::RustTodayFetching => {
            world.add(VICTIM, slow, RustToday::new(seed).share(&other).fetch(&id, &[SERVER]));
        }
        Victim::Ruby => world.add(VICTIM, Link::default(), Ruby::new(seed)),
        Victim::February => world.add(VICTIM, Link::default(), RustFebruary::new()),
    }
    (world, ids)
}

/// Lets an attacker send so many datagrams in the name of `victim`; or nobody, for as long as that would take.
///
/// # Panics
///
/// Where a node holds more than it may.
pub fn run(victim: Victim, datagrams: u64, is_attacked: bool, seed: u64) -> Outcome {
    let bytes = content::bytes(seed, (4 << 20) + 123);
    let (mut world, ids) = world(victim, &bytes, seed);
    let mut forger = Forger::new(victim, ids, seed);
    let (before, served_before) = (world.traffic(VICTIM), world.traffic(SERVER));
    let start = world.now();
    let mut forged = 0;
    for n in 0..datagrams {
        if is_attacked {
            let datagram = forger.datagram();
            forged += datagram.len() as u64;
            let back = n % 16 == 15;
            let (from, to) = if back { (SERVER, VICTIM) } else { (VICTIM, SERVER) };
            world.inject(from, to, datagram);
        }
        if n % 64 == 63 {
            world.run_for(Duration::from_nanos(64 * 1_000_000_000 / PER_SECOND));
            let sizes = world.peer(SERVER).node.sizes();
            assert!(sizes.are_within_limits(), "the server holds too much: {sizes:?}");
        }
    }
    world.run_for(Duration::from_secs(30));
    let (after, served) = (world.traffic(VICTIM), world.traffic(SERVER));
    Outcome {
        forged,
        reached: after.bytes_in - before.bytes_in,
        served: served.bytes_out - served_before.bytes_out,
        simulated: world.now().since(start),
    }
}
