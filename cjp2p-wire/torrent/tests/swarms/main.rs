//! Swarms of the machines of this crate over simulated connections.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod world;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use cjp2p_torrent::piece_set::PieceSet;
use cjp2p_torrent::pieces::BLOCK;
use cjp2p_torrent::public::Origin;
use cjp2p_torrent::swarm::{Event, Order};
use world::{Honesty, World, content};

const MB: f64 = 1e6;

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

/// So many leechers and a seed with as much of a link as each. Returns how many copies the seed sent, and by how much longer the last
/// leecher took than the seed needs for one copy.
fn swarm_of(count: usize, length: usize, seed: u64) -> (f64, f64) {
    let rate = 2.0 * MB;
    let mut world = World::new(content(length, 64 << 10), Duration::from_millis(30), seed);
    let first = world.seed(rate);
    let leechers: Vec<usize> = (0..count).map(|_| world.leecher(rate)).collect();
    for &leecher in &leechers {
        world.introduce(leecher, first, Origin::Tracker);
    }
    let mut random = fastrand::Rng::with_seed(seed);
    mingle(&mut world, &leechers, 20, &mut random);
    let began = world.now;
    let done = world.run_until(Duration::from_secs(600), |world| {
        leechers.iter().all(|&leecher| world.hosts[leecher].complete_at.is_some())
    });
    assert!(done, "some do not end");
    let last = leechers.iter().map(|&leecher| world.hosts[leecher].complete_at.unwrap()).max().unwrap();
    let written: u64 = leechers.iter().map(|&leecher| world.hosts[leecher].store.written).sum();
    let copies = world.hosts[first].sent as f64 / length as f64;
    let times = last.since(began).as_secs_f64() / (length as f64 / rate);
    let twice = written as f64 / length as f64 / count as f64;
    println!(
        "{count} leechers: {copies:.2} copies from the seed, {times:.2} of the ideal time, {twice:.3} written"
    );
    assert!(twice < 1.01, "{twice}");
    (copies, times)
}

#[test]
fn a_swarm_of_leechers_takes_little_more_than_one_copy_from_its_seed() {
    let (copies, times) = swarm_of(30, 24_000_000, 4);
    assert!(copies < 1.5 && times < 1.5, "{copies} copies, {times} of the ideal time");
}

#[test]
#[ignore = "takes three minutes: cargo test -p cjp2p-torrent two_hundred -- --ignored --nocapture"]
fn so_does_a_swarm_of_two_hundred() {
    let (copies, times) = swarm_of(200, 48_000_000, 5);
    assert!(copies < 1.5 && times < 1.5, "{copies} copies, {times} of the ideal time");
}

#[test]
fn leechers_that_upload_end_before_those_that_never_do() {
    let mut world = World::new(content(32_000_000, 64 << 10), Duration::from_millis(30), 6);
    let seed = world.seed(MB);
    let mut leechers = Vec::new();
    for n in 0..24 {
        let mut config = world.config();
        if n % 3 == 0 {
            config.upload_slots = 0;
        }
        let none = PieceSet::none(world.content.torrent.pieces.count());
        leechers.push(world.add(config, Some(none), MB, Honesty::Honest));
        world.introduce(leechers[n], seed, Origin::Tracker);
    }
    let mut random = fastrand::Rng::with_seed(6);
    mingle(&mut world, &leechers, 20, &mut random);
    assert!(world.run_until(Duration::from_secs(600), |world| {
        leechers.iter().all(|&leecher| world.hosts[leecher].complete_at.is_some())
    }));
    let ended = |takes_only: bool| {
        let ends = leechers.iter().enumerate().filter(move |(n, _)| (n % 3 == 0) == takes_only);
        let mut ends: Vec<_> = ends.map(|(_, &leecher)| world.hosts[leecher].complete_at.unwrap()).collect();
        ends.sort();
        ends
    };
    let (giving, taking) = (ended(false), ended(true));
    println!("gave: {:?} to {:?}; took only: {:?} to {:?}", giving[0], giving[15], taking[0], taking[7]);
    // In the end those that have all give to the others.
    let sooner = giving.iter().filter(|&&end| end < taking[0]).count();
    assert!(sooner >= 13 && giving[15] < taking[7], "{sooner} of 16 end before all that never give");
}

#[test]
fn a_reader_in_order_has_the_beginning_first_and_no_more_than_there_is_room_for() {
    let mut world = World::new(content(8_000_000, 64 << 10), Duration::from_millis(20), 7);
    let seeds: Vec<usize> = (0..3).map(|_| world.seed(MB)).collect();
    let leecher = world.leecher(MB);
    let wanted = 2_000_000..6_000_000;
    world.hosts[leecher].swarm.want(std::iter::once(wanted.clone()).collect(), Order::InOrder);
    world.hosts[leecher].swarm.set_room(1_000_000);
    for &seed in &seeds {
        world.introduce(leecher, seed, Origin::User);
    }
    world.run(Duration::from_secs(10));
    let pieces = world.content.torrent.pieces;
    let have = world.hosts[leecher].swarm.have().unwrap().clone();
    assert!(pieces.overlapping(&(2_000_000..2_900_000)).all(|piece| have.contains(piece)));
    assert!(!pieces.overlapping(&(3_100_000..8_000_000)).any(|piece| have.contains(piece)));
    world.hosts[leecher].swarm.set_room(u64::MAX);
    assert!(world.run_until(Duration::from_secs(30), |world| world.hosts[leecher].complete_at.is_some()));
    assert_eq!(
        world.hosts[leecher].swarm.have().unwrap().iter().collect::<Vec<_>>(),
        pieces.overlapping(&wanted).collect::<Vec<_>>()
    );
}

#[test]
fn a_range_of_few_bytes_moves_few_pieces() {
    let mut world = World::new(content(20_000_000, 256 << 10), Duration::from_millis(20), 8);
    let seed = world.seed(10.0 * MB);
    let leecher = world.leecher(MB);
    world.hosts[leecher].swarm.want(std::iter::once(9_999_000..10_003_096).collect(), Order::InOrder);
    world.introduce(leecher, seed, Origin::User);
    assert!(world.run_until(Duration::from_secs(30), |world| world.hosts[leecher].complete_at.is_some()));
    assert!(world.hosts[leecher].store.written <= 2 * (256 << 10));
}

#[test]
fn more_peers_than_a_seed_has_places_for_have_their_turn_all_the_same() {
    let mut world = World::new(content(2_000_000, 64 << 10), Duration::from_millis(30), 9);
    let all = PieceSet::all(world.content.torrent.pieces.count());
    let mut config = world.config();
    config.max_connections = 300;
    let seed = world.add(config, Some(all), 20.0 * MB, Honesty::Honest);
    let leechers: Vec<usize> = (0..400)
        .map(|_| {
            let mut config = world.config();
            // They do not know each other.
            config.exchange_peers = false;
            config.port = None;
            let none = PieceSet::none(world.content.torrent.pieces.count());
            world.add(config, Some(none), MB, Honesty::Honest)
        })
        .collect();
    for &leecher in &leechers {
        world.introduce(leecher, seed, Origin::User);
    }
    let done = world.run_until(Duration::from_secs(3600), |world| {
        leechers.iter().all(|&leecher| world.hosts[leecher].complete_at.is_some())
    });
    let ended = leechers.iter().filter(|&&leecher| world.hosts[leecher].complete_at.is_some()).count();
    assert!(done, "{ended} of {}", leechers.len());
}

#[test]
fn a_rate_is_kept_and_all_of_it_used() {
    let mut world = World::new(content(4_000_000, 64 << 10), Duration::from_millis(20), 10);
    let all = PieceSet::all(world.content.torrent.pieces.count());
    let mut config = world.config();
    config.upload_rate = std::num::NonZeroU64::new(500_000);
    let seed = world.add(config, Some(all), 10.0 * MB, Honesty::Honest);
    let leechers = [world.leecher(MB), world.leecher(MB)];
    for leecher in leechers {
        // They have nothing to give to each other that the other has not.
        world.hosts[leecher].swarm.want(std::iter::once(0..2_000_000).collect(), Order::RarestFirst);
        world.introduce(leecher, seed, Origin::User);
    }
    let began = world.now;
    assert!(world.run_until(Duration::from_secs(60), |world| {
        leechers.iter().all(|&leecher| world.hosts[leecher].complete_at.is_some())
    }));
    let rate = world.hosts[seed].sent as f64 / world.now.since(began).as_secs_f64();
    assert!((400_000.0..560_000.0).contains(&rate), "{rate} bytes per second");
}

#[test]
fn peers_tell_each_other_of_peers_unless_the_torrent_is_private() {
    for is_private in [false, true] {
        let mut content = content(1_000_000, 64 << 10);
        Arc::get_mut(&mut content).unwrap().torrent.is_private = is_private;
        let mut world = World::new(content, Duration::from_millis(20), 11);
        let seed = world.seed(MB);
        // It has nothing, and knows the seed.
        let mut config = world.config();
        config.upload_slots = 0;
        let none = PieceSet::none(world.content.torrent.pieces.count());
        let between = world.add(config, Some(none), 1000.0, Honesty::Honest);
        world.hosts[between].swarm.set_room(0);
        let leecher = world.leecher(MB);
        world.introduce(between, seed, Origin::User);
        world.introduce(leecher, between, Origin::User);
        world.run(Duration::from_secs(150));
        assert_eq!(world.hosts[leecher].complete_at.is_some(), !is_private);
    }
}

#[test]
fn idle_peers_make_place_for_those_that_want_something() {
    let mut world = World::new(content(1_000_000, 64 << 10), Duration::from_millis(20), 12);
    let all = PieceSet::all(world.content.torrent.pieces.count());
    let mut config = world.config();
    config.max_connections = 4;
    let seed = world.add(config, Some(all), MB, Honesty::Honest);
    for _ in 0..4 {
        let idle = world.leecher(MB);
        world.hosts[idle].swarm.want(Vec::new(), Order::InOrder);
        world.introduce(idle, seed, Origin::User);
    }
    world.run(Duration::from_secs(100));
    let leecher = world.leecher(MB);
    world.introduce(leecher, seed, Origin::User);
    assert!(world.run_until(Duration::from_secs(100), |world| world.hosts[leecher].complete_at.is_some()));
}

#[test]
fn two_that_call_each_other_at_once_keep_one_connection() {
    for seed in 0..8 {
        let mut world = World::new(content(3_000_000, 64 << 10), Duration::from_millis(20), 20 + seed);
        let one = world.leecher(MB);
        let other = world.leecher(MB);
        world.introduce(one, other, Origin::Tracker);
        world.introduce(other, one, Origin::Tracker);
        world.run(Duration::from_secs(5));
        let peers = |host: usize| world.hosts[host].swarm.status(world.now).peers;
        assert_eq!((peers(one), peers(other)), (1, 1), "seed {seed}");
    }
}

#[test]
fn a_peer_that_dies_half_way_is_replaced_and_what_it_owed_comes_from_others() {
    let mut world = World::new(content(8_000_000, 64 << 10), Duration::from_millis(20), 30);
    let seeds = [world.seed(MB), world.seed(MB)];
    let leecher = world.leecher(MB);
    for seed in seeds {
        world.introduce(leecher, seed, Origin::Tracker);
    }
    world.run(Duration::from_secs(2));
    world.mute(seeds[0]);
    let began = world.now;
    assert!(world.run_until(Duration::from_secs(120), |world| world.hosts[leecher].complete_at.is_some()));
    let took = world.now.since(began);
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_host_that_connects_again_and_again_gets_no_more_than_its_rate() {
    const RATE: u64 = 20_000;
    let mut world = World::new(content(4_000_000, 64 << 10), Duration::from_millis(10), 9);
    let mut config = world.config();
    config.upload_rate_per_host = NonZeroU64::new(RATE);
    let all = PieceSet::all(world.content.torrent.pieces.count());
    let seed = world.add(config, Some(all), MB, Honesty::Honest);
    let began = world.now;
    for _ in 0..40 {
        // Many places of one host, of which each is there for a moment.
        let leecher = world.leecher(MB);
        world.hosts[leecher].address.set_ip([21, 0, 0, 1].into());
        world.introduce(leecher, seed, Origin::Tracker);
        world.run(Duration::from_millis(300));
        world.hang_up(leecher);
        world.run(Duration::from_millis(50));
    }
    let status = world.hosts[seed].swarm.status(world.now);
    let most = world.now.since(began).as_secs_f64() * RATE as f64 + f64::from(2 * BLOCK);
    assert!(status.sent > u64::from(BLOCK), "it is served: {status:?}");
    assert!((status.sent as f64) < most, "{} bytes of {most}", status.sent);
    assert_eq!(status.peers, 0);
}
