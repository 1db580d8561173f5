//! Going on with what an interrupted fetch wrote while that is still being verified.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::memory::Fetched;
use cjp2p_tests::sim::{Link, Peer, World};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::download::{RangeSpec, Resume};
use cjp2p_wire::node::Event;
use cjp2p_wire::peers::links::{Links, Network};
use cjp2p_wire::range_set::RangeSet;
use cjp2p_wire::store::JobId;
use cjp2p_wire::tree::{GROUP_LEN, Geometry, LEAF_LEN, TreeBuilder, TreeVerifier};

const GETTER: SocketAddr = at(1);
const LENGTH: u64 = 9 * GROUP_LEN + 70_000;
const LAST_GROUP: Range<u64> = 9 * GROUP_LEN..LENGTH;

const fn at(n: u8) -> SocketAddr {
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, n), 24254))
}

/// What an interrupted fetch left beside the last group.
struct Left {
    bytes: Vec<u8>,
    unchecked: RangeSet,
    wrong: RangeSet,
}

impl Left {
    /// Whole leaves here and there, some of them wrong.
    fn drawn(random: &mut fastrand::Rng) -> Left {
        let mut left = Left::of(random.u64(..), &[]);
        for _ in 0..random.u64(1..12) {
            let start = random.u64(0..LAST_GROUP.start / LEAF_LEN);
            let end = (start + random.u64(1..400)).min(LAST_GROUP.start / LEAF_LEN);
            left.unchecked.insert(start * LEAF_LEN..end * LEAF_LEN);
        }
        for range in left.unchecked.clone().iter() {
            if random.bool() {
                let first = random.u64(range.start / LEAF_LEN..range.end / LEAF_LEN);
                let last = random.u64(first..range.end / LEAF_LEN);
                left.wrong.insert(first * LEAF_LEN..(last + 1) * LEAF_LEN);
            }
        }
        left
    }

    /// These ranges, all right.
    fn of(seed: u64, ranges: &[Range<u64>]) -> Left {
        let bytes = content::bytes(seed, LENGTH as usize);
        Left { bytes, unchecked: ranges.iter().cloned().collect(), wrong: RangeSet::new() }
    }

    fn id(&self) -> ContentId {
        content::blake3_id(&self.bytes)
    }

    /// What is in the file and right.
    fn right(&self) -> RangeSet {
        let right = self.unchecked.iter().flat_map(|range| self.wrong.gaps(range));
        right.chain([LAST_GROUP]).collect()
    }

    fn is_there(&self, range: Range<u64>) -> u64 {
        let there: RangeSet = self.unchecked.iter().chain([LAST_GROUP]).collect();
        range.end - range.start - there.gaps(range).map(|gap| gap.end - gap.start).sum::<u64>()
    }

    fn world(&self, sources: u8) -> World {
        let mut world = World::new(5);
        world.add(GETTER, Link::rated(100, 10, 256 << 10), Peer::new(1));
        for n in 2..2 + sources {
            let mut peer = Peer::new(n.into());
            peer.store.share(self.bytes.clone(), None);
            world.add(at(n), Link::rated(100, 10, 256 << 10), peer);
        }
        world
    }

    /// Goes on with it. The file has what is right, so that nobody can write it a second time.
    fn go_on(&self, world: &mut World, sources: &[SocketAddr], ranges: Vec<RangeSpec>) -> JobId {
        let mut builder = TreeBuilder::new();
        builder.update(&self.bytes);
        let tree = builder.finish();
        let geometry = Geometry::new(LENGTH).unwrap();
        let mut verifier = TreeVerifier::new(*tree.root(), geometry);
        let top = geometry.top_run();
        let span = geometry.run_bytes(top);
        verifier.insert_run(top, &tree.prefix()[span.start as usize..span.end as usize]).unwrap();
        let resume = Resume {
            length: LENGTH,
            done: std::iter::once(LAST_GROUP).collect(),
            unchecked: self.unchecked.clone(),
            verifier: Some(verifier),
        };
        world.with_peer(GETTER, |peer, now| {
            let mut bytes = vec![0; LENGTH as usize];
            for range in self.right().iter() {
                let range = range.start as usize..range.end as usize;
                bytes[range.clone()].copy_from_slice(&self.bytes[range]);
            }
            let there = Fetched { bytes, done: self.right(), length: Some(LENGTH), ..Fetched::default() };
            peer.store.fetched.insert(JobId(0), there);
            peer.fetch_ranges(now, &self.id(), sources, ranges, Some(resume))
        })
    }

    /// This range was verified.
    fn check(&self, world: &mut World, job: JobId, range: Range<u64>) {
        let right = self.right();
        let right: RangeSet = right.within(range.clone()).collect();
        world.with_peer(GETTER, |peer, now| {
            peer.node.on_checked(now, job, range, &right, &mut peer.store);
            peer.settle(now);
        });
    }
}

fn is_over(job: JobId) -> impl Fn(&World) -> bool {
    move |world| world.peer(GETTER).is_over(job)
}

fn look_on_lan(world: &mut World, job: JobId) {
    let network = Network { address: GETTER.ip(), bits: 24 };
    world.with_peer(GETTER, |peer, now| {
        peer.node.attach(now, Links::new(GETTER, vec![network]));
        peer.settle(now);
        peer.node.look_on_lan(now, job, Duration::ZERO);
        peer.settle(now);
    });
}

fn has_asked_lan(peer: &Peer) -> bool {
    peer.events.iter().any(|(_, event)| matches!(event, Event::AskLan(_)))
}

#[test]
fn what_is_missing_comes_while_the_rest_is_verified_and_only_what_was_wrong_comes_again() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let left = Left::drawn(&mut random);
        let mut world = left.world(2);
        let job = left.go_on(&mut world, &[at(2), at(3)], Vec::new());
        let missing = LENGTH - left.is_there(0..LENGTH);
        let all_missing = |world: &World| {
            world
                .peer(GETTER)
                .node
                .progress(job)
                .is_some_and(|p| p.done == missing + LENGTH - LAST_GROUP.start)
        };
        if random.bool() {
            assert!(world.run_until(Duration::from_secs(20), all_missing), "seed {seed}");
            world.run_for(Duration::from_millis(random.u64(0..40_000)));
            let peer = world.peer(GETTER);
            assert!(!peer.is_over(job), "seed {seed}: nothing is verified yet");
            let came: RangeSet =
                left.unchecked.gaps(0..LAST_GROUP.start).chain(left.right().iter()).collect();
            assert_eq!(
                peer.store.fetched[&job].done, came,
                "seed {seed}: wrong is not known to be wrong yet"
            );
        }
        let mut pieces: Vec<Range<u64>> = left
            .unchecked
            .iter()
            .flat_map(|range| {
                let middle = (range.start + range.end) / 2 / LEAF_LEN * LEAF_LEN;
                [range.start..middle, middle..range.end]
            })
            .filter(|range| !range.is_empty())
            .collect();
        random.shuffle(&mut pieces);
        for piece in pieces {
            world.run_for(Duration::from_millis(random.u64(0..300)));
            left.check(&mut world, job, piece);
        }
        assert!(world.run_until(Duration::from_secs(30), is_over(job)), "seed {seed}");
        let peer = world.peer(GETTER);
        assert_eq!(peer.failure(job), None, "seed {seed}");
        assert!(peer.fetched(job) == left.bytes, "seed {seed}");
        assert_eq!(peer.liars(), [], "seed {seed}");
    }
}

#[test]
fn what_is_all_on_the_disk_is_complete_without_asking_anybody_however_long_it_takes_to_verify() {
    let left = Left::of(1, std::slice::from_ref(&(0..LAST_GROUP.start)));
    let mut world = left.world(1);
    let job = left.go_on(&mut world, &[at(2)], Vec::new());
    look_on_lan(&mut world, job);
    world.run_for(Duration::from_secs(3600));
    left.check(&mut world, job, 0..LAST_GROUP.start);
    let peer = world.peer(GETTER);
    assert_eq!(peer.failure(job), None);
    assert!(!has_asked_lan(peer));
    assert!(peer.completed_at(job).is_some());
    assert_eq!(peer.node.counters().datagrams_out, 0, "nobody was needed");
}

#[test]
fn the_time_to_find_a_source_begins_when_one_is_needed() {
    let mut left = Left::of(2, std::slice::from_ref(&(0..LAST_GROUP.start)));
    left.wrong.insert(0..LEAF_LEN);
    let mut world = left.world(0);
    let job = left.go_on(&mut world, &[], Vec::new());
    look_on_lan(&mut world, job);
    world.run_for(Duration::from_secs(3600));
    left.check(&mut world, job, 0..LAST_GROUP.start);
    world.run_for(Duration::from_secs(29));
    assert!(has_asked_lan(world.peer(GETTER)), "now somebody is needed");
    assert!(!world.peer(GETTER).is_over(job));
    world.run_for(Duration::from_secs(3));
    assert_eq!(world.peer(GETTER).failure(job).as_deref(), Some("NoSource"));
}

#[test]
fn nobody_waits_for_what_is_being_verified_where_other_content_is_missing_and_nobody_has_it() {
    let left = Left::of(3, std::slice::from_ref(&(GROUP_LEN..LAST_GROUP.start)));
    let mut world = left.world(0);
    let job = left.go_on(&mut world, &[], Vec::new());
    world.run_for(Duration::from_secs(31));
    assert_eq!(world.peer(GETTER).failure(job).as_deref(), Some("NoSource"));
}

#[test]
fn a_range_is_complete_when_it_is_here_whatever_else_is_still_verified() {
    let left = Left::of(4, &[0..GROUP_LEN, 3 * GROUP_LEN..5 * GROUP_LEN]);
    let mut world = left.world(1);
    let wanted = RangeSpec::Span(2 * GROUP_LEN..4 * GROUP_LEN);
    let job = left.go_on(&mut world, &[at(2)], vec![wanted]);
    world.run_for(Duration::from_secs(5));
    assert!(!world.peer(GETTER).is_over(job), "half of it is not verified");
    left.check(&mut world, job, 3 * GROUP_LEN..4 * GROUP_LEN);
    assert!(world.peer(GETTER).completed_at(job).is_some());
    left.check(&mut world, job, 0..GROUP_LEN);
}
