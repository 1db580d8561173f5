//! Live streams over the simulated network: from an origin to viewers, with loss, through relays, and beside liars.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use cjp2p_tests::sim::{Link, Origin, Peer, World};
use cjp2p_wire::node::{Event, Start, StreamEvent, StreamOptions};
use cjp2p_wire::store::JobId;
use cjp2p_wire::stream::{BLOCK_LEN, Join};
use cjp2p_wire::time::Time;

const ORIGIN: SocketAddr = at(1);
const MS: Duration = Duration::from_millis(1);

const fn at(n: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 0, (n >> 8) as u8, n as u8), 24254))
}

/// A world with an origin that has signed nothing yet.
struct Stage {
    world: World,
    origin: Origin,
    /// When each byte count was there.
    produced: Vec<(Time, usize)>,
    /// How far each viewer has read.
    readers: BTreeMap<u16, (JobId, u64)>,
    random: fastrand::Rng,
}

impl Stage {
    fn new(link: Link) -> Stage {
        let (mut world, origin) = (World::new(7), Origin::new());
        let mut peer = Peer::new(1);
        peer.node.publish_stream(Time::ZERO, &origin.id);
        peer.settle(Time::ZERO);
        world.add(ORIGIN, link, peer);
        Stage {
            world,
            origin,
            produced: Vec::new(),
            readers: BTreeMap::new(),
            random: fastrand::Rng::with_seed(3),
        }
    }

    /// Adds one that views it from these peers.
    fn view(&mut self, n: u16, link: Link, from: Start, relay: bool, sources: &[SocketAddr]) -> JobId {
        self.world.add(at(n), link, Peer::new(n.into()));
        let id = self.origin.id.clone();
        let job = self.world.with_peer(at(n), |peer, now| {
            let job = peer.node.view_stream(now, &id, StreamOptions { from, window: 4 << 20, relay });
            peer.store.streams.viewed.insert(job, id.clone());
            peer.settle(now);
            for &source in sources {
                peer.node.add_named_source(now, job, source);
                peer.settle(now);
            }
            job
        });
        self.readers.insert(n, (job, 0));
        job
    }

    /// All viewers read what is here.
    fn read_on(&mut self) {
        let id = self.origin.id.clone();
        let started: BTreeMap<u16, Option<u64>> =
            self.readers.keys().map(|&n| (n, self.started(n))).collect();
        for (n, (job, position)) in &mut self.readers {
            *position = (*position).max(started[n].unwrap_or(0));
            self.world.with_peer(at(*n), |peer, now| {
                let blocks = peer.store.streams.blocks.get(&id);
                let end = |position: u64| Some(blocks?.get(&(position / BLOCK_LEN as u64))?.end());
                let before = *position;
                while let Some(end) = end(*position).filter(|end| end > position) {
                    *position = end;
                }
                if *position > before {
                    peer.node.set_stream_position(now, *job, *position);
                    peer.settle(now);
                }
            });
        }
    }

    /// Signs more bytes.
    fn produce(&mut self, length: usize, flush: bool) {
        let bytes: Vec<u8> = (0..length).map(|_| self.random.u8(..)).collect();
        let origin = &mut self.origin;
        self.world.with_peer(ORIGIN, |peer, now| origin.append(peer, now, &bytes, flush));
        self.produced.push((self.world.now(), self.origin.bytes.len()));
    }

    fn say(&mut self, ended: bool) {
        let origin = &mut self.origin;
        self.world.with_peer(ORIGIN, |peer, now| origin.say(peer, now, ended));
    }

    /// So many blocks, one each `pause`, and what the origin says each second. Readers follow what comes.
    fn run(&mut self, blocks: usize, pause: Duration) {
        let mut said = Time::ZERO;
        for _ in 0..blocks {
            self.produce(BLOCK_LEN, true);
            if self.world.now().since(said) > MS * 1000 {
                self.read_on();
                said = self.world.now();
                self.say(false);
            }
            self.world.run_for(pause);
        }
    }

    fn events(&self, n: u16) -> impl Iterator<Item = (Time, &StreamEvent)> {
        self.world.peer(at(n)).events.iter().filter_map(|(time, event)| match event {
            Event::Stream(_, event) => Some((*time, event)),
            _ => None,
        })
    }

    fn started(&self, n: u16) -> Option<u64> {
        self.events(n).find_map(|(_, event)| match event {
            StreamEvent::Started { offset } => Some(*offset),
            _ => None,
        })
    }

    /// How long after a block was signed all up to it could be read by this viewer: of each block from its first on.
    fn delays(&self, n: u16) -> Vec<Duration> {
        let start = self.started(n).expect("it started") / BLOCK_LEN as u64;
        let mut came = BTreeMap::new();
        for (time, event) in self.events(n) {
            if let StreamEvent::Block { index } = event {
                came.insert(*index, time);
            }
        }
        let last = self.origin.bytes.len() as u64 / BLOCK_LEN as u64;
        let mut readable = Time::ZERO;
        let mut delays = Vec::new();
        for index in start..last {
            let Some(time) = came.get(&index) else { break };
            readable = readable.max(*time);
            let end = (index as usize + 1) * BLOCK_LEN;
            let (made, _) = self.produced.iter().find(|(_, bytes)| *bytes >= end).expect("it was made");
            delays.push(readable.since(*made));
        }
        delays
    }

    fn read(&self, n: u16) -> Vec<u8> {
        self.world.peer(at(n)).store.streams.read(&self.origin.id, self.started(n).unwrap_or(0))
    }

    /// Whether this viewer has everything from its first byte on.
    fn has_all(&self, n: u16) -> bool {
        self.started(n).is_some_and(|start| self.read(n) == self.origin.bytes[start as usize..])
    }
}

fn percentile(delays: &[Duration], percent: usize) -> Duration {
    let mut all = delays.to_vec();
    all.sort_unstable();
    all.get(all.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
}

fn link(delay_ms: u64, loss: f64) -> Link {
    Link { delay: MS * delay_ms as u32, loss, ..Link::default() }
}

#[test]
fn a_viewer_has_each_block_half_a_round_trip_after_it_was_signed() {
    let mut stage = Stage::new(link(25, 0.0));
    stage.view(2, link(25, 0.0), Start::Edge, false, &[ORIGIN]);
    stage.say(false);
    stage.run(200, MS * 20);
    stage.say(true);
    stage.world.run_for(MS * 500);
    let delays = stage.delays(2);
    assert!(delays.len() >= 180, "{} blocks came", delays.len());
    let late = &delays[20..];
    assert!(percentile(late, 100) <= MS * 52, "{:?}", percentile(late, 100));
    assert!(stage.has_all(2));
    let ended = stage.events(2).any(|(_, event)| match event {
        StreamEvent::Statement(said) => said.statement().ended,
        _ => false,
    });
    assert!(ended, "its end is told");
    let (out, content) = (stage.world.traffic(ORIGIN).bytes_out, stage.origin.bytes.len() as u64);
    assert!(out < content * 112 / 100, "{out} bytes left for {content}");
    assert!(stage.world.traffic(at(2)).bytes_out < content / 10);
}

#[test]
fn loss_delays_a_block_by_little_more_than_a_round_trip() {
    for loss in [0.01, 0.05] {
        // 100 ms there and back.
        let mut stage = Stage::new(link(25, 0.0));
        stage.view(2, link(25, loss / 2.0), Start::Edge, false, &[ORIGIN]);
        stage.run(600, MS * 8);
        stage.say(true);
        stage.world.run_for(MS * 3000);
        let delays = stage.delays(2);
        assert!(stage.has_all(2), "{loss}: {} blocks of 600", delays.len());
        let late = &delays[60..];
        let figures = [50, 99, 100].map(|percent| percentile(late, percent));
        assert!(
            figures[0] <= MS * 160 && figures[1] <= MS * 420 && figures[2] <= MS * 800,
            "{loss}: {figures:?}"
        );
    }
}

#[test]
fn a_backlog_comes_as_fast_as_the_path_takes_it_and_no_further_than_the_window() {
    let mut stage = Stage::new(Link::rated(20, 25, 256 << 10));
    stage.produce(8 << 20, true);
    stage.say(false);
    stage.view(2, link(25, 0.0), Start::Oldest, false, &[ORIGIN]);
    stage.world.run_for(MS * 4000);
    assert_eq!((stage.started(2), stage.read(2).len()), (Some(0), 4 << 20), "no more than the window");
    stage.read_on();
    stage.world.run_for(MS * 4000);
    assert!(stage.has_all(2), "{}", stage.read(2).len());
    // 8 MiB take 3.4 s at 20 Mbit/s.
    assert!(stage.world.traffic(ORIGIN).bytes_out < (8 << 20) * 115 / 100);
}

#[test]
fn a_line_comes_at_once_and_costs_little_more_than_itself() {
    let mut stage = Stage::new(link(10, 0.0));
    stage.view(2, link(10, 0.0), Start::Edge, false, &[ORIGIN]);
    stage.say(false);
    stage.world.run_for(MS * 1000);
    let before = stage.world.traffic(ORIGIN).bytes_out;
    for _ in 0..100 {
        stage.produce(90, true);
        stage.world.run_for(MS * 22);
        assert!(stage.has_all(2), "of {} bytes {} came", stage.origin.bytes.len(), stage.read(2).len());
        stage.world.run_for(MS * 100);
    }
    let out = stage.world.traffic(ORIGIN).bytes_out - before;
    assert!(out < 100 * 1000, "{out}");
}

#[test]
fn lines_come_over_a_lossy_path_too() {
    let mut stage = Stage::new(link(10, 0.0));
    stage.view(2, link(10, 0.1), Start::Edge, false, &[ORIGIN]);
    stage.say(false);
    stage.world.run_for(MS * 2000);
    for _ in 0..300 {
        stage.produce(90, true);
        stage.world.run_for(MS * 50);
    }
    stage.world.run_for(MS * 3000);
    assert!(stage.has_all(2), "of {} bytes {} came", stage.origin.bytes.len(), stage.read(2).len());
}

#[test]
fn a_late_viewer_begins_where_the_origin_says_that_one_may_join() {
    let mut stage = Stage::new(link(10, 0.0));
    for second in 0..20u64 {
        let offset = stage.origin.bytes.len() as u64;
        stage.origin.statement.joins.push(Join { offset, time: second * 1000 });
        stage.produce(10_000, true);
        stage.world.run_for(MS * 1000);
    }
    stage.say(false);
    for (n, from, expected) in [
        (2, Start::Edge, 190_000),
        (3, Start::Before(Duration::from_secs(5)), 150_000),
        (4, Start::Before(Duration::from_secs(500)), 40_000),
        (5, Start::Oldest, 0),
        (6, Start::Offset(77_777), 77_777),
    ] {
        stage.view(n, link(10, 0.0), from, false, &[ORIGIN]);
        stage.world.run_for(MS * 2000);
        assert_eq!(stage.started(n), Some(expected), "{from:?}");
        assert!(stage.has_all(n), "{from:?}");
    }
}

#[test]
fn writes_of_any_length_at_any_pace_come_through_a_relay_and_beside_it() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let near = Link { delay: Duration::from_micros(random.u64(20..3000)), ..Link::default() };
        let mut stage = Stage::new(near);
        stage.say(false);
        stage.view(2, near, Start::Edge, true, &[ORIGIN]);
        stage.world.run_for(Duration::from_micros(random.u64(0..300_000)));
        stage.view(3, near, Start::Offset(0), random.bool(), &[at(2), ORIGIN]);
        for _ in 0..random.usize(5..60) {
            let length = *random.choice(&[1, 100, 1024, 4096, 5000, 61_440, 65_536]).expect("one");
            stage.produce(length, true);
            stage
                .world
                .run_for(Duration::from_micros(*random.choice(&[0, 10, 500, 3000, 30_000]).expect("one")));
        }
        stage.say(true);
        stage.world.run_for(MS * 8000);
        for n in [2, 3] {
            let has = stage.read(n).len();
            assert!(stage.has_all(n), "seed {seed}: {n} has {has} of {}", stage.origin.bytes.len());
        }
    }
}

#[test]
fn a_stream_that_is_quiet_for_long_keeps_its_parent() {
    let mut stage = Stage::new(link(10, 0.0));
    stage.say(false);
    for (n, sources) in [(2, &[ORIGIN][..]), (3, &[ORIGIN, at(2)])] {
        stage.view(n, link(10, 0.0), Start::Edge, true, sources);
        stage.world.run_for(MS * 1000);
    }
    let parent = |stage: &Stage| {
        stage.world.peer(at(3)).node.stream_progress(JobId(0)).and_then(|progress| progress.parent)
    };
    stage.produce(5000, true);
    stage.world.run_for(MS * 1000);
    let first = parent(&stage).expect("it has one");
    for _ in 0..60 {
        stage.world.run_for(MS * 500);
        assert_eq!(parent(&stage), Some(first), "at {:?}", stage.world.now());
        stage.say(false);
    }
    assert!(stage.has_all(3));
}

#[test]
fn the_oldest_is_what_any_source_has_and_not_what_the_first_to_answer_has() {
    let mut stage = Stage::new(link(20, 0.0));
    stage.produce(200_000, true);
    stage.say(false);
    // A relay that began late, and is nearer.
    stage.view(2, link(2, 0.0), Start::Edge, true, &[ORIGIN]);
    stage.world.run_for(MS * 1000);
    stage.view(3, link(2, 0.0), Start::Oldest, false, &[at(2), ORIGIN]);
    stage.world.run_for(MS * 3000);
    assert!(stage.started(2) > Some(0) && stage.started(3) == Some(0));
    assert!(stage.has_all(3));
    // Where nobody else answers, it is what there is.
    stage.world.set_up(ORIGIN, false);
    stage.view(4, link(2, 0.0), Start::Oldest, false, &[at(2), ORIGIN]);
    stage.world.run_for(MS * 3000);
    assert_eq!(stage.started(4), stage.started(2));
}

/// Viewers that pass the stream on, each from the one before.
fn chain(stage: &mut Stage, length: u16, link: Link) {
    for n in 2..2 + length {
        stage.view(n, link, Start::Edge, true, &[at(n - 1)]);
        stage.world.run_for(MS * 400);
    }
}

#[test]
fn through_three_relays_each_hop_adds_its_way_and_little_more() {
    let mut stage = Stage::new(link(25, 0.0));
    stage.say(false);
    stage.run(10, MS * 20);
    chain(&mut stage, 4, link(25, 0.0));
    stage.run(200, MS * 20);
    stage.world.run_for(MS * 1000);
    assert!(stage.has_all(5));
    let delays = stage.delays(5);
    let late = &delays[delays.len() - 150..];
    assert!(percentile(late, 50) <= MS * 210 && percentile(late, 99) <= MS * 230, "{late:?}");
    // What is said of the whole comes through too, as it was signed.
    assert!(stage.events(5).any(|(_, event)| matches!(event, StreamEvent::Statement(_))));
    let progress = |n| stage.world.peer(at(n)).node.stream_progress(JobId(0)).expect("it views");
    assert_eq!([2, 3, 4, 5].map(|n| progress(n).depth), [1, 2, 3, 4].map(Some));
    assert_eq!([2, 3, 4, 5].map(|n| progress(n).viewers), [1, 1, 1, 0]);
}

#[test]
fn a_parent_that_vanishes_is_replaced_within_a_second_and_nothing_is_missing() {
    let mut stage = Stage::new(link(10, 0.0));
    stage.say(false);
    stage.run(10, MS * 20);
    for n in [2, 3] {
        stage.view(n, link(10, 0.0), Start::Edge, true, &[ORIGIN]);
    }
    stage.run(50, MS * 20);
    stage.view(4, link(10, 0.0), Start::Edge, true, &[at(2), at(3)]);
    stage.run(100, MS * 20);
    let parent = stage.world.peer(at(4)).node.stream_progress(JobId(0)).and_then(|it| it.parent);
    let parent = parent.expect("it has one");
    stage.world.set_up(parent, false);
    stage.run(200, MS * 20);
    stage.world.run_for(MS * 500);
    assert!(stage.has_all(4), "{} of {}", stage.read(4).len(), stage.origin.bytes.len());
    let delays = stage.delays(4);
    assert!(percentile(&delays[20..], 100) <= MS * 1000, "{:?}", percentile(&delays[20..], 100));
}

#[test]
fn one_that_catches_up_keeps_those_that_it_sends_to() {
    // The origin can send a little more than twice as much as the stream has.
    let mut stage = Stage::new(Link::rated(10, 10, 256 << 10));
    stage.say(false);
    stage.run(10, MS * 8);
    for (n, source) in [(2, ORIGIN), (3, ORIGIN), (4, at(2)), (5, at(2))] {
        stage.view(n, link(10, 0.0), Start::Edge, true, &[source]);
        stage.run(50, MS * 8);
    }
    // Not so long that it is taken for gone.
    stage.world.set_up(at(2), false);
    stage.run(35, MS * 8);
    stage.world.set_up(at(2), true);
    let behind = |stage: &Stage| stage.world.peer(at(2)).node.stream_progress(JobId(0)).map(|it| it.verified);
    let before = behind(&stage);
    for _ in 0..40 {
        stage.run(12, MS * 8);
        let parent = |n| stage.world.peer(at(n)).node.stream_progress(JobId(0)).expect("it views").parent;
        let parents = [parent(4), parent(5)];
        // One of them may be sooner level than the other, and give it what it lacks.
        assert!(parents.contains(&Some(at(2))), "{parents:?} at {:?}", stage.world.now());
        assert!(!parents.contains(&Some(ORIGIN)), "{parents:?} at {:?}", stage.world.now());
    }
    assert!(behind(&stage) > before);
    stage.world.run_for(MS * 8000);
    assert!((2..6).all(|n| stage.has_all(n)));
}

/// A peer that has what was signed until now, says that it is the origin, and will never have more.
fn add_frozen(stage: &mut Stage, n: u16) {
    let mut peer = Peer::new(n.into());
    let blocks = stage.world.peer(ORIGIN).store.streams.blocks.clone();
    peer.store.streams.blocks = blocks;
    peer.node.publish_stream(Time::ZERO, &stage.origin.id);
    peer.settle(Time::ZERO);
    stage.world.add(at(n), link(1, 0.0), peer);
}

#[test]
fn a_relay_that_freezes_the_stream_is_left_for_one_that_has_more() {
    let mut stage = Stage::new(link(10, 0.0));
    stage.say(false);
    stage.run(50, MS * 20);
    add_frozen(&mut stage, 9);
    stage.view(2, link(10, 0.0), Start::Offset(0), true, &[at(9), ORIGIN]);
    stage.run(200, MS * 20);
    stage.world.run_for(MS * 500);
    assert!(stage.has_all(2), "{} of {}", stage.read(2).len(), stage.origin.bytes.len());
    let delays = stage.delays(2);
    assert!(percentile(&delays[60..], 100) <= MS * 1000, "{:?}", percentile(&delays[60..], 100));
}

#[test]
fn one_that_sends_what_was_not_signed_is_found_and_left_alone() {
    let mut stage = Stage::new(link(10, 0.0));
    stage.say(false);
    stage.run(50, MS * 20);
    add_frozen(&mut stage, 9);
    stage.world.with_peer(at(9), |peer, _| peer.store.streams.lies = true);
    stage.view(2, link(10, 0.0), Start::Offset(0), true, &[at(9), ORIGIN]);
    stage.run(100, MS * 20);
    stage.world.run_for(MS * 500);
    assert!(stage.has_all(2));
    let liars: Vec<_> = stage
        .events(2)
        .filter_map(|(_, event)| match event {
            StreamEvent::Misbehaved(address) => Some(*address),
            _ => None,
        })
        .collect();
    assert_eq!(liars, [at(9)]);
}

/// So many viewers of a stream of 2 Mbit/s, who can send 5 Mbit/s each and know nobody but the origin.
fn swarm(viewers: u16, join_pause: Duration, seconds: u64) -> Stage {
    let mut stage = Stage::new(Link::rated(10, 10, 256 << 10));
    stage.say(false);
    let each = Duration::from_micros(16_384);
    let mut joined = 0;
    let (mut now, end) = (Duration::ZERO, Duration::from_secs(seconds));
    let mut said = Duration::ZERO;
    while now < end {
        while joined < viewers && join_pause * joined.into() <= now {
            stage.view(2 + joined, Link::rated(5, 10, 128 << 10), Start::Edge, true, &[ORIGIN]);
            joined += 1;
        }
        stage.produce(BLOCK_LEN, true);
        if now - said > MS * 1000 {
            said = now;
            stage.say(false);
            stage.read_on();
        }
        stage.world.run_for(each);
        now += each;
    }
    stage
}

/// Lets so many come, one each 100 ms, and looks at the ten seconds after that: how many copies the origin sent, and how late each of
/// the viewers had what; everything must come to all in the end.
fn copies_and_delays(viewers: u16) -> (f64, Vec<Vec<Duration>>) {
    let mut stage = swarm(viewers, MS * 100, u64::from(viewers) / 10 + 5);
    let before = (stage.world.traffic(ORIGIN).bytes_out, stage.origin.bytes.len() as u64);
    for n in 0..600 {
        if n % 60 == 0 {
            stage.read_on();
        }
        stage.produce(BLOCK_LEN, true);
        stage.world.run_for(Duration::from_micros(16_384));
    }
    let out = stage.world.traffic(ORIGIN).bytes_out - before.0;
    let content = stage.origin.bytes.len() as u64 - before.1;
    stage.say(true);
    stage.world.run_for(MS * 8000);
    let missing: Vec<u16> = (2..2 + viewers).filter(|&n| !stage.has_all(n)).collect();
    assert!(missing.is_empty(), "{missing:?} miss something");
    let late = |n| {
        let delays = stage.delays(n);
        delays[delays.len() - 500..].to_vec()
    };
    (out as f64 / content as f64, (2..2 + viewers).map(late).collect())
}

fn assert_swarm(viewers: u16, most: Duration) {
    let (copies, delays) = copies_and_delays(viewers);
    let worst: Vec<Duration> = delays.iter().map(|delays| percentile(delays, 99)).collect();
    let (median, worst) = (percentile(&delays.concat(), 50), percentile(&worst, 99));
    let figures = format!("{copies:.2} copies, median {median:?}, 99 % of viewers {worst:?}");
    assert!(copies <= 2.5 && median <= MS * 1000 && worst <= most, "{figures}");
    eprintln!("{viewers} viewers: {figures}");
}

#[test]
fn forty_viewers_cost_the_origin_little_more_than_two() {
    assert_swarm(40, MS * 1000);
}

#[test]
fn a_hundred_viewers_cost_the_origin_little_more_than_two() {
    assert_swarm(100, MS * 1500);
}
