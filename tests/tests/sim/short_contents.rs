//! Many short contents of known length, as of a folder with many files: from peers that most likely have them, without a round trip
//! for each. Whatever is wrong with what is said of them shows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::liars::{Liar, Lie};
use cjp2p_tests::sim::{Link, Peer, World};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::store::JobId;

const GETTER: SocketAddr = at(1);
const HOLDER: SocketAddr = at(2);
const OTHER: SocketAddr = at(3);

const fn at(n: u8) -> SocketAddr {
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, n), 24254))
}

/// A getter that has fetched something from [`HOLDER`], which has this too.
fn met(link: Link, contents: &[Vec<u8>]) -> (World, Vec<ContentId>) {
    let mut world = World::new(7);
    let (mut getter, mut holder) = (Peer::new(1), Peer::new(2));
    getter.store.repeats = true;
    let first = holder.store.share(content::bytes(1, 9000), None);
    let ids = contents.iter().map(|bytes| holder.store.share(bytes.clone(), None)).collect();
    world.add(GETTER, link, getter);
    world.add(HOLDER, link, holder);
    let job = world.with_peer(GETTER, |peer, now| peer.fetch(now, &first, &[HOLDER]));
    assert!(world.run_until(Duration::from_secs(30), |world| world.peer(GETTER).is_over(job)));
    (world, ids)
}

fn fetch_all(world: &mut World, ids: &[ContentId], contents: &[Vec<u8>]) -> Vec<JobId> {
    world.with_peer(GETTER, |peer, now| {
        let each = ids.iter().zip(contents);
        each.map(|(id, bytes)| peer.fetch_from(now, id, bytes.len() as u64, &[HOLDER], &[])).collect()
    })
}

fn all_right(world: &World, jobs: &[JobId], contents: &[Vec<u8>]) {
    for (&job, bytes) in jobs.iter().zip(contents) {
        let failure = world.peer(GETTER).failure(job);
        assert!(world.peer(GETTER).fetched(job) == bytes, "{} bytes: {failure:?}", bytes.len());
    }
}

fn run(world: &mut World, jobs: &[JobId], limit: u64) -> Duration {
    let began = world.now();
    let is_over = |world: &World| jobs.iter().all(|&job| world.peer(GETTER).is_over(job));
    assert!(world.run_until(Duration::from_secs(limit), is_over), "not over");
    world.now().since(began)
}

#[test]
fn two_hundred_contents_share_datagrams_and_a_few_round_trips() {
    let contents: Vec<Vec<u8>> = (0..200).map(|n| content::bytes(n, 1024)).collect();
    let (mut world, ids) = met(Link::rated(1000, 20, 1 << 20), &contents);
    let before = world.traffic(GETTER).datagrams_out;
    let jobs = fetch_all(&mut world, &ids, &contents);
    let took = run(&mut world, &jobs, 30);
    all_right(&world, &jobs, &contents);
    let asked = world.traffic(GETTER).datagrams_out - before;
    assert!(asked <= 66, "{asked} datagrams for 200 contents");
    assert!(took <= Duration::from_millis(40 * 6), "{took:?} at a round trip of 40 ms");
}

#[test]
fn contents_of_any_length_come_though_a_tenth_of_all_datagrams_is_lost() {
    let lengths = [1, 100, 1023, 1024, 4095, 4097, 20_000, 65_536, 65_537, 300_000];
    let contents: Vec<Vec<u8>> =
        (0..100).map(|n| content::bytes(n, lengths[n as usize % lengths.len()])).collect();
    let (mut world, ids) = met(Link { loss: 0.1, ..Link::rated(100, 5, 256 << 10) }, &contents);
    let jobs = fetch_all(&mut world, &ids, &contents);
    run(&mut world, &jobs, 60);
    all_right(&world, &jobs, &contents);
}

#[test]
fn a_false_length_is_found_out_and_held_against_nobody() {
    for (length, said) in
        [(1024, 1025), (1024, 1), (5000, 4096), (100, 70_000), (70_000, 100), (70_000, 80_000)]
    {
        let bytes = content::bytes(3, length);
        let (mut world, ids) = met(Link::rated(100, 5, 256 << 10), std::slice::from_ref(&bytes));
        let job = world.with_peer(GETTER, |peer, now| peer.fetch_from(now, &ids[0], said, &[HOLDER], &[]));
        run(&mut world, &[job], 20);
        let getter = world.peer(GETTER);
        assert!(getter.fetched(job) == bytes, "{length} said to be {said}: {:?}", getter.failure(job));
        assert_eq!(getter.liars(), [], "{length} said to be {said}");
    }
}

#[test]
fn another_source_is_asked_where_the_likely_one_has_nothing_or_is_gone() {
    let contents: Vec<Vec<u8>> = (0..20).map(|n| content::bytes(50 + n, 2000)).collect();
    for is_up in [true, false] {
        let (mut world, _) = met(Link::rated(100, 5, 256 << 10), &[]);
        let mut other = Peer::new(3);
        let ids: Vec<ContentId> =
            contents.iter().map(|bytes| other.store.share(bytes.clone(), None)).collect();
        world.add(OTHER, Link::rated(100, 5, 256 << 10), other);
        world.set_up(HOLDER, is_up);
        let jobs: Vec<JobId> = world.with_peer(GETTER, |peer, now| {
            let each = ids.iter().zip(&contents);
            each.map(|(id, bytes)| peer.fetch_from(now, id, bytes.len() as u64, &[HOLDER], &[OTHER]))
                .collect()
        });
        run(&mut world, &jobs, 20);
        all_right(&world, &jobs, &contents);
        assert_eq!(world.peer(GETTER).liars(), []);
    }
}

#[test]
fn a_likely_source_that_sends_wrong_bytes_is_left_alone_and_another_is_asked() {
    let bytes = content::bytes(60, 2000);
    let link = Link::rated(100, 5, 256 << 10);
    let mut world = World::new(8);
    let turns = Arc::new(AtomicBool::new(false));
    let mut getter = Peer::new(1);
    getter.store.repeats = true;
    world.add(GETTER, link, getter);
    world.add(HOLDER, link, Liar::new(Lie::Content, &bytes, 4).that_turns(turns.clone()));
    let mut other = Peer::new(3);
    let id = other.store.share(bytes.clone(), None);
    world.add(OTHER, link, other);
    let job = world.with_peer(GETTER, |peer, now| peer.fetch(now, &id, &[HOLDER]));
    run(&mut world, &[job], 10);
    turns.store(true, Ordering::Relaxed);
    let again = world.with_peer(GETTER, |peer, now| {
        peer.node.end_fetch(now, job);
        peer.settle(now);
        peer.fetch_from(now, &id, 2000, &[HOLDER], &[OTHER])
    });
    run(&mut world, &[again], 20);
    all_right(&world, &[again], &[bytes]);
    assert!(!world.peer(GETTER).liars().contains(&OTHER));
}
