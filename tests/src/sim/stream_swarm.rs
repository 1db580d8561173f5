//! Swarms that watch a live stream: one origin, and viewers that come one after another, know nobody but the origin, and pass on what
//! they get.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::time::Duration;

use cjp2p_wire::node::{Event, Start, StreamEvent, StreamOptions};
use cjp2p_wire::store::JobId;
use cjp2p_wire::stream::{BLOCK_LEN, SignedBlock};
use cjp2p_wire::time::Time;

use super::{Link, Origin, Peer, World};

/// The time from one block to the next: 2 Mbit/s.
const EACH: Duration = Duration::from_micros(16_384);
/// How often the origin says how far it is, and what the viewers have is looked at.
const SECOND: Duration = Duration::from_secs(1);
/// Blocks that a viewer keeps: a minute.
const KEPT: u64 = 3660;

/// Who watches, and what goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// How many watch.
    pub viewers: u16,
    /// The pause from one that comes to the next.
    pub apart: Duration,
    /// Percent of the viewers that can send no more than reports.
    pub mute: u32,
    /// Percent that pass on what was tampered with.
    pub liars: u32,
    /// Percent that vanish when half of the time is over, all at once.
    pub leave: u32,
    /// How long it goes on once all are there.
    pub lasts: Duration,
}

impl Scene {
    /// So many viewers, each well.
    pub fn of(viewers: u16) -> Scene {
        let apart = Duration::from_millis(if viewers > 200 { 20 } else { 100 });
        Scene { viewers, apart, mute: 0, liars: 0, leave: 0, lasts: Duration::from_secs(20) }
    }
}

/// How it went, from when all were there until the end.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the origin sent in multiples of the stream, all of it counted.
    pub copies: f64,
    /// How late a block can be read: of all blocks at all viewers.
    pub median: Duration,
    /// 99 of 100 viewers have 99 of 100 of their blocks within this time; `None` where some read nothing of it.
    pub most: Option<Duration>,
    /// The share of blocks that are late by more than two seconds.
    pub late: f64,
    /// Viewers that lack something in the end.
    pub lacking: usize,
    /// The greatest number of hops from the origin.
    pub depth: u64,
}

/// What one viewer has had.
struct Viewer {
    address: SocketAddr,
    job: JobId,
    /// The next block to be read.
    next: Option<u64>,
    /// When what is read now was there.
    readable: Time,
    /// What came and cannot be read yet.
    came: BTreeMap<u64, Time>,
    /// In milliseconds, since all were there.
    delays: Vec<u32>,
    is_here: bool,
    counts: bool,
}

struct Swarm {
    world: World,
    origin: Origin,
    shared: Rc<RefCell<BTreeMap<u64, SignedBlock>>>,
    produced: Vec<Time>,
    viewers: Vec<Viewer>,
    random: fastrand::Rng,
    counted_from: Option<Time>,
}

const ORIGIN: SocketAddr = at(0);

const fn at(n: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 0, (n >> 8) as u8, n as u8), 24254))
}

impl Swarm {
    /// 10 Mbit/s out of the origin, 10 ms from the middle of the network.
    fn new(seed: u64) -> Swarm {
        let (mut world, origin) = (World::new(seed), Origin::new());
        let mut peer = Peer::new(seed);
        peer.node.publish_stream(Time::ZERO, &origin.id);
        peer.settle(Time::ZERO);
        world.add(ORIGIN, Link::rated(10, 10, 256 << 10), peer);
        Swarm {
            world,
            origin,
            shared: Rc::default(),
            produced: Vec::new(),
            viewers: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            counted_from: None,
        }
    }

    /// 5 Mbit/s each way, and 5 to 25 ms to the middle.
    fn join(&mut self, is_mute: bool, lies: bool) {
        let address = at(1 + self.viewers.len() as u16);
        let up = is_mute.then_some(25_000);
        let link = Link { up, ..Link::rated(5, self.random.u64(5..=25), 128 << 10) };
        let mut peer = Peer::new(self.random.u64(..));
        peer.store.streams.lies = lies;
        peer.store.streams.shared = Some(self.shared.clone());
        self.world.add(address, link, peer);
        let id = self.origin.id.clone();
        let options = StreamOptions { from: Start::Edge, window: 4 << 20, relay: true };
        let job = self.world.with_peer(address, |peer, now| {
            let job = peer.node.view_stream(now, &id, options);
            peer.store.streams.viewed.insert(job, id.clone());
            peer.settle(now);
            peer.node.add_named_source(now, job, ORIGIN);
            peer.settle(now);
            job
        });
        self.viewers.push(Viewer {
            address,
            job,
            next: None,
            readable: Time::ZERO,
            came: BTreeMap::new(),
            delays: Vec::new(),
            is_here: true,
            counts: !lies,
        });
    }

    fn produce(&mut self) {
        let bytes: Vec<u8> = (0..BLOCK_LEN).map(|_| self.random.u8(..)).collect();
        let index = self.produced.len() as u64;
        self.produced.push(self.world.now());
        let (origin, shared) = (&mut self.origin, &self.shared);
        self.world.with_peer(ORIGIN, |peer, now| {
            origin.append(peer, now, &bytes, true);
            let blocks = peer.store.streams.blocks.entry(origin.id.clone()).or_default();
            shared.borrow_mut().extend(blocks.get(&index).map(|block| (index, block.clone())));
            *blocks = blocks.split_off(&index.saturating_sub(KEPT));
        });
        self.shared.borrow_mut().retain(|other, _| other + KEPT > index);
        self.world.run_for(EACH);
    }

    /// The origin says how far it is; all that came is read.
    fn read_on(&mut self) {
        let (origin, produced) = (&mut self.origin, &self.produced);
        self.world.with_peer(ORIGIN, |peer, now| origin.say(peer, now, false));
        for viewer in self.viewers.iter_mut().filter(|viewer| viewer.is_here) {
            let id = &origin.id;
            self.world.with_peer(viewer.address, |peer, now| {
                for (time, event) in std::mem::take(&mut peer.events) {
                    match event {
                        Event::Stream(_, StreamEvent::Started { offset }) => {
                            viewer.next = Some(offset / BLOCK_LEN as u64);
                        }
                        Event::Stream(_, StreamEvent::Block { index }) => {
                            viewer.came.entry(index).or_insert(time);
                        }
                        _ => {}
                    }
                }
                let Some(next) = &mut viewer.next else { return };
                let first = *next;
                while let Some(time) = viewer.came.remove(next) {
                    viewer.readable = viewer.readable.max(time);
                    let made = produced[*next as usize];
                    if self.counted_from.is_some_and(|from| made >= from) {
                        viewer.delays.push(viewer.readable.since(made).as_millis() as u32);
                    }
                    *next += 1;
                }
                if *next > first {
                    peer.node.set_stream_position(now, viewer.job, *next * BLOCK_LEN as u64);
                    peer.settle(now);
                }
                if let Some(blocks) = peer.store.streams.blocks.get_mut(id) {
                    let newest = blocks.last_key_value().map_or(0, |(index, _)| *index);
                    *blocks = blocks.split_off(&newest.saturating_sub(KEPT).min(*next));
                }
            });
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.world.now() + time;
        let mut read_at = self.world.now() + SECOND;
        while self.world.now() < end {
            self.produce();
            if self.world.now() >= read_at {
                read_at += SECOND;
                self.read_on();
            }
        }
        self.read_on();
    }

    /// So many of the viewers vanish without a word.
    fn leave(&mut self, percent: u32) {
        for viewer in &mut self.viewers {
            if self.random.u32(..100) < percent {
                viewer.is_here = false;
                self.world.set_up(viewer.address, false);
            }
        }
    }

    fn depth(&self) -> u64 {
        let here = self.viewers.iter().filter(|viewer| viewer.is_here);
        let progress = here.filter_map(|it| self.world.peer(it.address).node.stream_progress(it.job));
        progress.filter_map(|progress| progress.depth).max().unwrap_or(0)
    }

    fn bytes_out(&self) -> u64 {
        self.world.traffic(ORIGIN).bytes_out
    }
}

/// Plays a scene. Everything follows from `seed`.
pub fn play(scene: &Scene, seed: u64) -> Outcome {
    let mut swarm = Swarm::new(seed);
    swarm.run_for(SECOND);
    for n in 0..u32::from(scene.viewers) {
        // Spread evenly over those that come.
        let is_one =
            |percent: u32, shift: u32| (n + shift) * percent / 100 != (n + shift + 1) * percent / 100;
        swarm.join(is_one(scene.mute, 0), is_one(scene.liars, 3));
        let due = Time::from_millis(1000) + scene.apart * (n + 1);
        while swarm.world.now() < due {
            swarm.produce();
            if swarm.produced.len().is_multiple_of(61) {
                swarm.read_on();
            }
        }
    }
    swarm.run_for(SECOND * 5);
    let (out, made) = (swarm.bytes_out(), swarm.produced.len());
    swarm.counted_from = Some(swarm.world.now());
    swarm.run_for(scene.lasts / 2);
    swarm.leave(scene.leave);
    swarm.run_for(scene.lasts / 2);
    let depth = swarm.depth();
    let content = (swarm.produced.len() - made) * BLOCK_LEN;
    let copies = (swarm.bytes_out() - out) as f64 / content as f64;
    for _ in 0..10 {
        swarm.world.run_for(SECOND);
        swarm.read_on();
    }
    let last = swarm.produced.len() as u64;
    let here = || swarm.viewers.iter().filter(|viewer| viewer.is_here && viewer.counts);
    let mut all: Vec<u32> = here().flat_map(|viewer| viewer.delays.iter().copied()).collect();
    let mut each: Vec<u32> = here().map(|viewer| percentile(&mut viewer.delays.clone(), 99)).collect();
    Outcome {
        copies,
        median: Duration::from_millis(percentile(&mut all, 50).into()),
        most: Some(percentile(&mut each, 99))
            .filter(|most| *most != u32::MAX)
            .map(|most| Duration::from_millis(most.into())),
        late: all.iter().filter(|delay| **delay > 2000).count() as f64 / all.len().max(1) as f64,
        lacking: here().filter(|viewer| viewer.next != Some(last)).count(),
        depth,
    }
}

fn percentile(all: &mut [u32], percent: usize) -> u32 {
    all.sort_unstable();
    all.get(all.len().saturating_sub(1) * percent / 100).copied().unwrap_or(u32::MAX)
}
