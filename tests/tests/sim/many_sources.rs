//! Many sources and many getters at once, over the simulated network.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::liars::{Liar, Lie};
use cjp2p_tests::sim::{Link, Peer, World};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::store::JobId;

const fn at(n: u8) -> SocketAddr {
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, n), 24254))
}

const GETTER: SocketAddr = at(1);

fn sharing(seed: u64, bytes: &[u8]) -> Peer {
    let mut peer = Peer::new(seed);
    peer.store.share(bytes.to_vec(), None);
    peer
}

fn finish(world: &mut World, getter: SocketAddr, job: JobId, bytes: &[u8]) -> f64 {
    let begun = world.now();
    assert!(world.run_until(Duration::from_secs(300), |world| world.peer(getter).is_over(job)));
    let peer = world.peer(getter);
    assert_eq!(peer.failure(job), None, "{:?}", peer.node.progress(job));
    assert!(peer.fetched(job) == bytes);
    world.now().since(begun).as_secs_f64()
}

/// Four sources of 25 Mbit/s each at 20, 60, 100 and 200 ms round trip, and a getter with a fast link.
fn four_sources(seed: u64, bytes: &[u8]) -> (World, JobId) {
    let mut world = World::new(seed);
    let fast = Link { delay: Duration::from_millis(1), ..Link::rated(1000, 1, 4 << 20) };
    world.add(GETTER, fast, Peer::new(1));
    for (n, rtt) in [20, 60, 100, 200].into_iter().enumerate() {
        world.add(at(2 + n as u8), Link::rated(25, rtt / 2 - 1, 128 << 10), sharing(2 + n as u64, bytes));
    }
    let id = content::blake3_id(bytes);
    let job = world.with_peer(GETTER, |peer, now| peer.fetch(now, &id, &[at(2), at(3), at(4), at(5)]));
    (world, job)
}

#[test]
fn four_sources_at_different_distances_bring_the_sum_of_their_rates() {
    let bytes = content::bytes(1, 64 << 20);
    let (mut world, job) = four_sources(2, &bytes);
    let seconds = finish(&mut world, GETTER, job, &bytes);
    let megabits = (bytes.len() * 8) as f64 / seconds / 1e6;
    let progress = world.peer(GETTER).node.progress(job).unwrap();
    println!("{megabits:.1} Mbit/s, {} of {} wasted", progress.wasted, progress.received);
    assert!(megabits > 52.0, "{megabits:.1} Mbit/s");
    // At the end a near source fetches again what a far one has on its way.
    assert!(progress.wasted * 100 < progress.received, "{progress:?}");
}

#[test]
fn when_the_nearest_of_four_dies_the_others_go_on_without_a_pause() {
    let bytes = content::bytes(3, 32 << 20);
    let (mut world, job) = four_sources(4, &bytes);
    let done = move |world: &World| world.peer(GETTER).node.progress(job).map_or(0, |p| p.done);
    assert!(world.run_until(Duration::from_secs(60), move |world| done(world) > 16 << 20));
    world.set_up(at(2), false);
    let died = world.now();
    let mut last = (died, done(&world));
    let mut pause = Duration::ZERO;
    while !world.peer(GETTER).is_over(job) {
        world.run_for(Duration::from_millis(20));
        if done(&world) > last.1 {
            pause = pause.max(world.now().since(last.0));
            last = (world.now(), done(&world));
        }
        assert!(world.now().since(died) < Duration::from_secs(60));
    }
    let seconds = world.now().since(died).as_secs_f64();
    let megabits = (16u64 << 23) as f64 / seconds / 1e6;
    println!("{megabits:.1} Mbit/s, longest pause {pause:?}");
    assert!(megabits > 38.0, "{megabits:.1} Mbit/s");
    assert!(pause < Duration::from_secs(2), "{pause:?}");
    finish(&mut world, GETTER, job, &bytes);
}

#[test]
fn a_hundred_files_are_fetched_side_by_side() {
    let files: Vec<Vec<u8>> = (0..100).map(|n| content::bytes(n, 1000 * n as usize)).collect();
    let mut source = Peer::new(2);
    let ids: Vec<ContentId> = files.iter().map(|file| source.store.share(file.clone(), None)).collect();
    let link = Link { loss: 0.01, ..Link::rated(100, 5, 256 << 10) };
    let mut world = World::new(8);
    world.add(GETTER, link, Peer::new(1));
    world.add(at(2), link, source);
    let jobs: Vec<JobId> =
        world.with_peer(GETTER, |peer, now| ids.iter().map(|id| peer.fetch(now, id, &[at(2)])).collect());
    for (job, file) in jobs.iter().zip(&files) {
        finish(&mut world, GETTER, *job, file);
    }
    assert!(world.now().as_secs_f64() < 3.0, "{:?}", world.now());
}

#[test]
fn three_of_four_sources_that_turn_liars_half_way_do_not_stop_a_fetch() {
    for seed in 0..6 {
        let bytes = content::bytes(30, 6_000_000);
        let turns = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let at = |n: u8| SocketAddr::from(([10, 0, 0, n], 24254));
        let mut world = World::new(seed);
        world.add(at(1), Link::default(), Peer::new(seed));
        let link = |n: u64| Link::rated(25, 5 * n, 128 << 10);
        let lies = [Lie::Content, Lie::Tree, Lie::Length(3_000_000)];
        for (n, lie) in (2..).zip(lies) {
            let liar = Liar::new(lie, &bytes, seed + u64::from(n)).that_turns(turns.clone());
            world.add(at(n), link(n.into()), liar);
        }
        let mut honest = Peer::new(seed + 100);
        let id = honest.store.share(bytes.clone(), None);
        world.add(at(5), link(9), honest);
        let job = world.with_peer(at(1), |peer, now| peer.fetch(now, &id, &[at(2), at(3), at(4), at(5)]));
        let half = |world: &World| world.peer(at(1)).node.progress(job).is_some_and(|p| p.done > 3_000_000);
        assert!(world.run_until(Duration::from_secs(30), half));
        turns.store(true, std::sync::atomic::Ordering::Relaxed);
        let over = world.run_until(Duration::from_secs(60), |world| world.peer(at(1)).is_over(job));
        let peer = world.peer(at(1));
        assert!(over && peer.failure(job).is_none(), "seed {seed}: {:?}", peer.failure(job));
        assert!(peer.fetched(job) == bytes);
        assert!(!peer.liars().contains(&at(5)));
    }
}
