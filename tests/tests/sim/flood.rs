//! One who asks for as much as it can, by many ports and in many names, beside an honest getter.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::peer::config;
use cjp2p_tests::sim::{Link, Peer, World};
use cjp2p_wire::datagram::Encoder;
use cjp2p_wire::message::ContentRequest;
use cjp2p_wire::node::Config;

const MEGABIT: u64 = 125_000;

fn at(ip: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::from((ip, port))
}

/// Forged requests in each hundredth of a second: 16 Mbit/s of datagrams of a thousand bytes.
const FORGED: u16 = 20;

/// Megabits per second that an honest getter of 20 Mbit/s gets from a server that sends at most 50 Mbit/s. Its flooder
/// fetches by so many ports of one address, and asks in the names of a hundred others that know nothing of it.
fn rate_beside_a_flood(ports: u16, forged: bool) -> f64 {
    let (honest, server, flooder) = (at([10, 0, 0, 1], 24254), at([10, 0, 0, 2], 24254), [10, 0, 1, 1]);
    let mut world = World::new(7);
    world.add(server, Link::rated(200, 10, 1 << 20), {
        Peer::with_config(Config { upload_rate: Some(50 * MEGABIT), ..config(2) })
    });
    world.add(honest, Link::rated(20, 10, 100_000), Peer::new(1));
    let (wanted, flooded) = (content::bytes(1, 64 << 20), content::bytes(2, 4 << 20));
    let id = world.with_peer(server, |peer, _| peer.store.share(wanted, None));
    let other = world.with_peer(server, |peer, _| peer.store.share(flooded, None));
    for port in 0..ports {
        // They exchange nothing, so nobody puts them off.
        let peer = Peer::with_config(Config { answers: false, ..config(100 + u64::from(port)) });
        let address = at(flooder, 1024 + port);
        match port {
            0 => world.add(address, Link::rated(1000, 5, 1 << 20), peer),
            _ => world.add_behind(at(flooder, 1024), address, peer),
        }
        world.with_peer(address, |peer, now| peer.fetch(now, &other, &[server]));
    }
    world.with_peer(honest, |peer, now| peer.fetch(now, &id, &[server]));
    let mut random = fastrand::Rng::with_seed(3);
    let mut flood = |world: &mut World, seconds: u64| {
        for _ in 0..seconds * 100 {
            for _ in 0..if forged { FORGED } else { 0 } {
                let mut encoder = Encoder::new();
                encoder.request(&ContentRequest::plain(other.to_string(), random.u64(0..1000) * 4096, 4096));
                let from = at([10, 0, 2, random.u8(0..100)], 1024 + random.u16(0..100));
                world.inject(from, server, encoder.finish(1000));
            }
            world.run_for(Duration::from_millis(10));
        }
    };
    flood(&mut world, 5);
    let before = world.traffic(honest).bytes_in;
    flood(&mut world, 15);
    assert_eq!(
        world.peer(server).node.acquaintances().count(),
        usize::from(ports) + 1,
        "who proved an address"
    );
    (world.traffic(honest).bytes_in - before) as f64 / 15.0 / MEGABIT as f64
}

#[test]
fn an_honest_getter_keeps_its_rate_beside_a_hundred_ports_and_a_hundred_forged_sources() {
    let alone = rate_beside_a_flood(0, false);
    assert!(alone > 15.0, "{alone} Mbit/s alone");
    let beside = rate_beside_a_flood(100, true);
    assert!(beside > 0.8 * alone, "{beside} Mbit/s beside a flood, {alone} alone");
}
