//! Swarms of the machines of this crate over simulated connections.

mod world;

use std::time::Duration;

use cjp2p_torrent::piece_set::PieceSet;
use cjp2p_torrent::public::Origin;
use cjp2p_torrent::swarm::Event;
use world::{Honesty, World, content};

const MB: f64 = 1e6;
const LEECHERS: usize = 40;

#[test]
fn a_leecher_gets_all_from_a_seed_as_fast_as_the_link_is() {
    let mut world = World::new(content(20_000_000, 256 << 10), Duration::from_millis(20), 1);
    let seed = world.seed(10.0 * MB);
    let leecher = world.leecher(1.0 * MB);
    world.introduce(leecher, seed, Origin::Tracker);
    let began = world.now;
    assert!(world.run_until(Duration::from_secs(60), |world| world.hosts[leecher].complete_at.is_some()));
    let took = world.hosts[leecher].complete_at.unwrap().since(began).as_secs_f64();
    assert!(took < 2.4, "2 s at best: {took}");
    assert_eq!(world.hosts[leecher].store.written, 20_000_000, "nothing twice");
    world.run(Duration::from_secs(5));
    assert_eq!(world.hosts[seed].swarm.status(world.now).peers, 0, "they have nothing to say any more");
}

#[test]
fn a_magnet_gets_its_metadata_from_the_peer_and_then_the_bytes() {
    let mut world = World::new(content(3_000_000, 64 << 10), Duration::from_millis(50), 2);
    let seed = world.seed(10.0 * MB);
    let config = world.config();
    let leecher = world.add(config, None, MB, Honesty::Honest);
    world.introduce(leecher, seed, Origin::Torrent);
    let began = world.now;
    assert!(world.run_until(Duration::from_secs(60), |world| world.hosts[leecher].complete_at.is_some()));
    let host = &world.hosts[leecher];
    let first = host.first_piece_at.unwrap().since(began);
    assert!(first <= Duration::from_millis(12 * 100), "{first:?}");
    assert!(host.events.iter().any(|(_, event)| matches!(event, Event::Metadata(_))));
}

/// Everybody knows the seed and some others.
fn mingle(world: &mut World, leechers: &[usize], each: usize, random: &mut fastrand::Rng) {
    for &leecher in leechers {
        for _ in 0..each {
            let other = leechers[random.usize(..leechers.len())];
            if other != leecher {
                world.introduce(leecher, other, Origin::Tracker);
            }
        }
    }
}

#[test]
fn of_eight_peers_the_one_that_corrupts_everything_is_banned_and_only_that_one() {
    let mut world = World::new(content(16_000_000, 256 << 10), Duration::from_millis(20), 3);
    let all = PieceSet::all(world.content.torrent.pieces.count());
    let mut peers = Vec::new();
    for n in 0..8 {
        let honesty = if n == 3 { Honesty::Corrupts } else { Honesty::Honest };
        let config = world.config();
        peers.push(world.add(config, Some(all.clone()), MB, honesty));
    }
    let leecher = world.leecher(MB);
    for &peer in &peers {
        world.introduce(leecher, peer, Origin::Tracker);
    }
    assert!(world.run_until(Duration::from_secs(120), |world| world.hosts[leecher].complete_at.is_some()));
    let banned: Vec<_> = world.hosts[leecher]
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::Banned(host, _) => Some(*host),
            _ => None,
        })
        .collect();
    assert_eq!(banned, [world.hosts[peers[3]].address.ip()]);
}

#[test]
fn a_swarm_of_leechers_takes_little_more_than_one_copy_from_its_seed() {
    let mut world = World::new(content(16_000_000, 64 << 10), Duration::from_millis(30), 4);
    let seed = world.seed(2.0 * MB);
    let leechers: Vec<usize> = (0..LEECHERS).map(|_| world.leecher(2.0 * MB)).collect();
    for &leecher in &leechers {
        world.introduce(leecher, seed, Origin::Tracker);
    }
    let mut random = fastrand::Rng::with_seed(4);
    mingle(&mut world, &leechers, 20, &mut random);
    let began = world.now;
    let done = world.run_until(Duration::from_secs(300), |world| {
        leechers.iter().all(|&leecher| world.hosts[leecher].complete_at.is_some())
    });
    let finished = leechers.iter().filter(|&&leecher| world.hosts[leecher].complete_at.is_some()).count();
    assert!(done, "{finished} of {LEECHERS}");
    let copies = world.hosts[seed].sent as f64 / 16e6;
    let last = leechers.iter().map(|&leecher| world.hosts[leecher].complete_at.unwrap()).max().unwrap();
    let ideal = 16e6 / (2.0 * MB);
    let took = last.since(began).as_secs_f64();
    let excess: u64 = leechers.iter().map(|&leecher| world.hosts[leecher].store.written).sum();
    println!(
        "{copies:.2} copies, the last after {took:.1} s, ideal {ideal:.1} s, written {:.3}",
        excess as f64 / 16e6 / LEECHERS as f64
    );
    assert!(copies < 1.5 && took < 1.5 * ideal);
}
