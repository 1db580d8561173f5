//! Sources that send little in a second, and paths that carry only short packets.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::peer::config;
use cjp2p_tests::sim::{Link, Peer, World};
use cjp2p_wire::node::Config;

fn at(ip: [u8; 4]) -> SocketAddr {
    SocketAddr::from((ip, 24254))
}

const SERVER: [u8; 4] = [10, 0, 0, 1];

/// How long so many getters take that begin at once to fetch content of this length each, all other content, from a server with
/// this rate; over links of which a route says that they carry packets of `mtu` bytes.
fn fetched(rate: u64, getters: u8, length: usize, mtu: usize, link: Link) -> Duration {
    let mut world = World::new(rate + u64::from(getters));
    let upload_rate = (rate > 0).then_some(rate);
    world.add(at(SERVER), Link { mtu, ..link }, Peer::with_config(Config { upload_rate, ..config(1) }));
    let jobs: Vec<_> = (0..getters)
        .map(|n| {
            let bytes = content::bytes(u64::from(n), length);
            let id = world.with_peer(at(SERVER), |peer, _| peer.store.share(bytes.clone(), None));
            let mut peer = Peer::new(10 + u64::from(n));
            peer.mtu = mtu;
            let address = at([10, 0, 1, n]);
            world.add(address, Link { mtu, ..Link::default() }, peer);
            (address, world.with_peer(address, |peer, now| peer.fetch(now, &id, &[at(SERVER)])), bytes)
        })
        .collect();
    let over = |world: &World| jobs.iter().all(|(address, job, _)| world.peer(*address).is_over(*job));
    world.run_until(Duration::from_secs(3600), over);
    for (address, job, bytes) in &jobs {
        let peer = world.peer(*address);
        let progress = peer.node.progress(*job);
        assert_eq!(
            peer.failure(*job),
            None,
            "{rate} bytes a second, {mtu}: {progress:?} at {:?}",
            world.now()
        );
        assert!(peer.fetched(*job) == bytes, "{rate}, {mtu}: {progress:?}");
    }
    world.now().since(cjp2p_wire::time::Time::ZERO)
}

#[test]
fn what_is_sent_at_a_low_rate_arrives_by_one_try() {
    for mtu in [1500, 65_536] {
        for rate in [8192, 4096, 2048, 1024, 512] {
            let took = fetched(rate, 1, 30_000, mtu, Link::default());
            let ideal = Duration::from_secs_f64(30_000.0 * 4.0 / 3.0 / rate as f64);
            println!("{rate} bytes a second, packets of {mtu}: {took:?}, {ideal:?} at best");
            assert!(
                took < ideal * 3 + Duration::from_secs(5),
                "{rate}, {mtu}: {took:?} instead of {ideal:?}"
            );
        }
    }
}

#[test]
fn eight_that_share_a_low_rate_all_have_theirs() {
    for mtu in [1500, 65_536] {
        let took = fetched(20_000, 8, 30_000, mtu, Link::default());
        println!("eight at 20,000 bytes a second, packets of {mtu}: {took:?}");
        assert!(took < Duration::from_secs(60), "{took:?}");
    }
}

#[test]
fn a_slow_uplink_without_any_limit_of_the_server_is_not_given_up() {
    for rate in [4000, 2000, 1000] {
        let link = Link { rate: Some(rate), queue: 16 << 10, ..Link::default() };
        let took = fetched(0, 1, 30_000, 1500, link);
        println!("an uplink of {rate} bytes a second: {took:?}");
        assert!(took < Duration::from_secs(300_000 / rate), "{took:?}");
    }
}

#[test]
fn paths_that_swallow_packets_longer_than_so_many_bytes_are_found_out() {
    for most in [1280, 1240, 1200, 1100, 900, 576] {
        let link = Link { swallows_above: most, ..Link::default() };
        let took = fetched(0, 1, 1 << 20, 1500, link);
        println!("packets of {most} bytes at the most: {took:?}");
        assert!(took < Duration::from_secs(20), "{most}: {took:?}");
    }
}
