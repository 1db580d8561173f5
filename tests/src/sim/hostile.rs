//! Worlds drawn at random: honest tools among liars of all kinds, and what must hold there whatever these do.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::datagram;
use cjp2p_wire::message::{Handle, Message};
use cjp2p_wire::node::{Config, Query, Sizes};
use cjp2p_wire::peers::cookie::{CookieMint, Validation};
use cjp2p_wire::store::{Asker, JobId, Library, Read};
use cjp2p_wire::time::Time;

use super::liars::forger::{Forger, Hopper};
use super::liars::{Liar, Lie};
use super::peer::config;
use super::{HostBehaviour, Link, MemoryBlobs, Original, Outbox, Peer, World};
use crate::content;

/// The one that fetches, and shares what it has.
const GETTER: SocketAddr = at(10, 1);
/// The one that asks everybody what they know and share.
const ASKER: SocketAddr = at(10, 2);
/// Somebody who has nothing to do with all this.
const VICTIM: SocketAddr = at(203, 9);

/// Honest peers must be done after this time.
const LIMIT: Duration = Duration::from_secs(240);
/// And then, after so long again, be silent for ever.
const TO_REST: Duration = Duration::from_secs(60);

/// What a node may send in all to an address that was only suggested to it.
const SUGGESTED_BYTES: u64 = 3 * 256;

const fn at(net: u8, host: u8) -> SocketAddr {
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(net, 0, 113, host), 24254))
}

/// What happened in a world in which all was well.
#[derive(Clone, Copy, Debug, Default)]
pub struct Story {
    /// How long it took in the world.
    pub simulated: Duration,
    /// How many liars there were, and others that send in false names or from many ports.
    pub liars: usize,
    /// Datagrams sent by honest hosts.
    pub datagrams: u64,
    /// Bytes to an unverified source per byte from it, the worst.
    pub worst_ratio: f64,
}

/// Counts only.
struct Deaf;

impl HostBehaviour for Deaf {
    fn handle_datagram(&mut self, _: Time, _: SocketAddr, _: &[u8], _: &mut Outbox) {}
}

/// Looks at every datagram to and from honest hosts.
struct Watcher {
    /// Honest hosts, and how they make their cookies.
    honest: BTreeMap<SocketAddr, CookieMint>,
    /// Under which names honest hosts were asked for raw content, and of what: (host, asker, handle).
    handles: BTreeMap<(SocketAddr, SocketAddr, Handle), String>,
    /// Whom their users named: (host, named).
    named: BTreeSet<(SocketAddr, SocketAddr)>,
    /// All that exists.
    truth: MemoryBlobs,
    /// Between an honest host and another address: bytes to the host, bytes from it while the other was unvalidated,
    /// and whether it has.
    between: BTreeMap<(SocketAddr, SocketAddr), (u64, u64, bool)>,
    worst_ratio: f64,
    datagrams: u64,
    violations: Vec<String>,
}

impl Watcher {
    fn arrives(&mut self, now: Time, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let Some(mint) = self.honest.get(&to) else { return };
        let messages = datagram::decode(bytes).unwrap_or_default();
        for message in &messages {
            if let Message::PleaseSendContent(request) = message
                && let Some(handle) = request.handle
            {
                self.handles.insert((to, from, handle), request.id.to_string());
            }
        }
        let proves = messages.iter().any(|message| {
            let value = match message {
                Message::AlwaysReturned(text) => text,
                Message::ReturnedMessage(value) => value.get(),
                _ => return false,
            };
            let Ok(value) = serde_json::from_str::<serde_json::Value>(value) else { return false };
            let text = value["cookie"].as_str().unwrap_or_default();
            mint.check(now, from, text.split('.').next().unwrap_or_default()) != Validation::None
        });
        let (received, _, proved) = self.between.entry((to, from)).or_default();
        *received += bytes.len() as u64;
        *proved |= proves;
    }

    fn leaves(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        if !self.honest.contains_key(&from) {
            return;
        }
        self.datagrams += 1;
        let (received, sent, proved) = self.between.entry((from, to)).or_default();
        if !*proved && !self.named.contains(&(from, to)) {
            *sent += bytes.len() as u64;
            let free = if from == GETTER { SUGGESTED_BYTES } else { 0 };
            let owed = sent.saturating_sub(free);
            if *received > 0 {
                self.worst_ratio = self.worst_ratio.max(owed as f64 / *received as f64);
            }
            if owed > 2 * *received {
                let told = format!("{from} sent {sent} bytes to {to}, unvalidated, which sent {received}");
                self.violations.push(told);
            }
        }
        let messages = datagram::decode(bytes).unwrap_or_default();
        if messages.is_empty() {
            self.violations
                .push(format!("{from} sent what cannot be read: {}", String::from_utf8_lossy(bytes)));
        }
        for message in &messages {
            match message {
                Message::Content(block) => {
                    let eof = self.true_eof(&block.id, block.offset, &block.data);
                    if eof.is_none_or(|eof| block.eof != eof) {
                        self.violations
                            .push(format!("{from} served what is not so: {} at {}", block.id, block.offset));
                    }
                }
                Message::BytesFollow(block) => {
                    let asked = self.handles.get(&(from, to, block.handle)).cloned();
                    let eof = asked.and_then(|id| self.true_eof(&id, block.offset, block.data));
                    let proved = self.between.get(&(from, to)).is_some_and(|(.., proved)| *proved);
                    if !proved || eof.is_none_or(|eof| block.eof.is_some() && block.eof != eof) {
                        self.violations.push(format!("{from} served {to} raw what is not so: {block:?}"));
                    }
                }
                Message::Peers(peers) => self.check_told(from, peers),
                Message::MaybeTheyHaveSome(referral) => self.check_told(from, &referral.peers),
                _ => {}
            }
        }
    }

    /// The length that is told with these bytes of the content with this id; `None` where they are not so.
    fn true_eof(&mut self, id: &str, offset: u64, data: &[u8]) -> Option<Option<u64>> {
        let mut right = Vec::new();
        let id = ContentId::parse(id).ok()?;
        match self.truth.read(Asker::Unvalidated, &id, offset, data.len(), &mut right) {
            Read::Found { eof } if right == data => Some(eof),
            _ => None,
        }
    }

    /// No node names an unvalidated address to others.
    fn check_told(&mut self, from: SocketAddr, peers: &[SocketAddr]) {
        for &peer in peers {
            if !self.between.get(&(from, peer)).is_some_and(|(.., proved)| *proved) {
                self.violations.push(format!("{from} told others of {peer}, which proved nothing"));
            }
        }
    }
}

/// A world that is about to begin.
struct Scene {
    world: World,
    watcher: Rc<RefCell<Watcher>>,
    bytes: Vec<u8>,
    job: JobId,
    honest: Vec<SocketAddr>,
    liars: Vec<String>,
}

fn any_link(random: &mut fastrand::Rng) -> Link {
    Link {
        jitter: Duration::from_millis(random.u64(0..20)),
        loss: if random.bool() { random.f64() * 0.03 } else { 0.0 },
        duplication: if random.bool() { random.f64() * 0.02 } else { 0.0 },
        ..Link::rated(random.u64(5..100), random.u64(0..60), random.u64(32..512) << 10)
    }
}

fn any_length(random: &mut fastrand::Rng) -> usize {
    match random.u8(0..6) {
        0 => random.usize(1..5000),
        1 => [4095, 4096, 4097, 8192, 524_288, 524_289][random.usize(0..6)],
        2 => random.usize(300_000..1_200_000),
        _ => random.usize(5000..300_000),
    }
}

fn draw(seed: u64) -> Scene {
    let mut random = fastrand::Rng::with_seed(seed);
    let length = any_length(&mut random);
    let bytes = content::bytes(seed, length);
    let mut truth = MemoryBlobs::default();
    truth.share(bytes.clone(), None);
    let id = match random.u8(0..4) {
        0 => content::sha256_id(&bytes),
        _ => content::blake3_id(&bytes),
    };
    let all_ids = [content::sha256_id(&bytes), content::blake3_id(&bytes)];
    let servers: Vec<SocketAddr> = (0..random.u8(1..=3)).map(|n| at(10, 100 + n)).collect();
    let honest: Vec<SocketAddr> = [GETTER, ASKER].into_iter().chain(servers.iter().copied()).collect();
    let mut mints = BTreeMap::new();
    let mut config_of = |address: SocketAddr, n: u64| -> Config {
        let config = config(seed.wrapping_mul(16) + n);
        mints.insert(address, CookieMint::new(config.secret));
        config
    };
    let mut world = World::new(seed);
    for (n, &server) in (2..).zip(&servers) {
        let mut peer = Peer::with_config(config_of(server, n));
        peer.store.share(bytes.clone(), None);
        world.add(server, any_link(&mut random), peer);
    }
    let mut getter = Peer::with_config(config_of(GETTER, 0));
    // A false length may have the same bytes written twice.
    getter.store.repeats = true;
    if let ContentId::Blake3(_) = id {
        getter.store.expected = Some(Original::new(bytes.clone()));
    }
    world.add(GETTER, any_link(&mut random), getter);
    let asker = Config { answers: false, lists: false, ..config_of(ASKER, 1) };
    world.add(ASKER, any_link(&mut random), Peer::with_config(asker));
    world.add(VICTIM, Link::default(), Deaf);

    let kinds = Lie::all(length as u64);
    let mut liars = Vec::new();
    let mut told = Vec::new();
    for n in 0..random.u8(0..=8) {
        let address = at([10, 198][random.usize(0..2)], 10 + n);
        let lie = kinds[random.usize(0..kinds.len())];
        let mut liar = Liar::new(lie, &bytes, random.u64(..)).aiming_at(&[VICTIM, honest[0]]);
        if random.u8(0..4) == 0 {
            liar = liar.without_cookies();
        }
        if random.u8(0..4) == 0 {
            liar = liar.without_hints();
        }
        world.add(address, any_link(&mut random), liar);
        liars.push(address);
        told.push(format!("{address} {lie:?}"));
    }
    if random.u8(0..5) < 2 {
        let names: Vec<SocketAddr> = honest.iter().chain(&liars).copied().chain([VICTIM]).collect();
        let forger = Forger::new(&honest, &names, &all_ids, length as u64, 2000, random.u64(..));
        world.add(at(198, 200), Link::default(), forger);
        told.push("a forger".to_owned());
    }
    if random.u8(0..3) == 0 {
        for port in 1..=24u16 {
            let target = honest[random.usize(0..honest.len())];
            let mut address = at(198, 201);
            address.set_port(2000 + port);
            world.add(address, Link::default(), Hopper::new(target, &all_ids, 30, random.u64(..)));
        }
        told.push("a host with many ports".to_owned());
    }

    let mut sources: Vec<SocketAddr> = servers.iter().chain(&liars).copied().collect();
    random.shuffle(&mut sources);
    let named = sources.iter().flat_map(|&source| [(GETTER, source), (ASKER, source)]).collect();
    let watcher = Rc::new(RefCell::new(Watcher {
        honest: mints,
        handles: BTreeMap::new(),
        named,
        truth,
        between: BTreeMap::new(),
        worst_ratio: 0.0,
        datagrams: 0,
        violations: Vec::new(),
    }));
    let (leaving, arriving) = (watcher.clone(), watcher.clone());
    world.watch(move |_, from, to, bytes| leaving.borrow_mut().leaves(from, to, bytes));
    world.watch_arrivals(move |now, from, to, bytes| arriving.borrow_mut().arrives(now, from, to, bytes));
    let job = world.with_peer(GETTER, |peer, now| peer.fetch(now, &id, &sources));
    world.with_peer(ASKER, |peer, now| {
        for &source in &sources {
            for question in [Query::Ping, Query::Peers, Query::List] {
                peer.node.query(now, source, question, false);
                peer.settle(now);
            }
        }
    });
    told.push(format!("{length} bytes of {id} from {servers:?}"));
    Scene { world, watcher, bytes, job, honest, liars: told }
}

impl Scene {
    fn check(&self) -> Result<(), String> {
        if let Some(violation) = self.watcher.borrow().violations.first() {
            return Err(violation.clone());
        }
        for &address in &self.honest {
            let sizes: Sizes = self.world.peer(address).node.sizes();
            if !sizes.are_within_limits() {
                return Err(format!("{address} holds too much: {sizes:?}"));
            }
        }
        let taken = self.world.peer(GETTER).fetched(self.job).len();
        // What can be checked only as a whole, or by a hint, is taken as it comes.
        let is_checked = self.world.peer(GETTER).store.expected.is_some();
        if is_checked && taken > self.bytes.len() {
            return Err(format!("{taken} bytes were written of {}", self.bytes.len()));
        }
        let victim = self.world.traffic(VICTIM);
        let forged = self.watcher.borrow().between.contains_key(&(GETTER, VICTIM));
        if !forged && victim.datagrams_in > 3 * self.honest.len() as u64 {
            return Err(format!("the victim got {} datagrams", victim.datagrams_in));
        }
        Ok(())
    }

    fn sent(&self) -> u64 {
        self.watcher.borrow().datagrams
    }
}

/// Lets the world of this seed happen.
///
/// # Errors
///
/// What was not as it must be.
///
/// # Panics
///
/// Where a wrong byte is written, or a machine panics.
pub fn play(seed: u64) -> Result<Story, String> {
    let mut scene = draw(seed);
    tell(&mut scene).map_err(|why| format!("{why}; {}", scene.liars.join(", ")))
}

fn tell(scene: &mut Scene) -> Result<Story, String> {
    let job = scene.job;
    let begun = scene.world.now();
    loop {
        scene.world.run_for(Duration::from_millis(250));
        scene.check()?;
        let getter = scene.world.peer(GETTER);
        if let Some(why) = getter.failure(job) {
            return Err(format!("the getter failed: {why}, {:?}", getter.node.progress(job)));
        }
        if getter.completed_at(job).is_some() && scene.world.peer(ASKER).node.open_questions() == 0 {
            break;
        }
        if scene.world.now().since(begun) > LIMIT {
            let questions = scene.world.peer(ASKER).node.open_questions();
            return Err(format!("not done: {:?}, {questions} questions", getter.node.progress(job)));
        }
    }
    if scene.world.peer(GETTER).fetched(job) != scene.bytes
        && scene.world.peer(GETTER).store.expected.is_none()
    {
        return Err("the getter has other bytes".into());
    }
    let liars = scene.world.peer(GETTER).liars();
    if let Some(framed) = liars.iter().find(|liar| scene.honest.contains(liar)) {
        return Err(format!("{framed} is honest, and was taken for a liar"));
    }
    scene.world.run_for(TO_REST);
    scene.check()?;
    let before = scene.sent();
    scene.world.run_for(TO_REST);
    if scene.sent() > before {
        return Err(format!("{} datagrams were sent after all was done", scene.sent() - before));
    }
    let watcher = scene.watcher.borrow();
    Ok(Story {
        simulated: scene.world.now().since(begun),
        liars: scene.liars.len() - 1,
        datagrams: watcher.datagrams,
        worst_ratio: watcher.worst_ratio,
    })
}
