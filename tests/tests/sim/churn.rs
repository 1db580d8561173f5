//! Getters that come, fetch something and go, for hours: what is remembered of them does not grow.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::{Link, Peer, World};
use cjp2p_wire::node::Query;

const SECOND: Duration = Duration::from_secs(1);
/// Who was heard for so long stays, for the peer table.
const STAY: Duration = Duration::from_secs(600);

fn at(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], port))
}

/// A server to which a getter comes every second, at one of so many addresses, of which each host has 400, for so many seconds; and a
/// neighbour that asks whom it knows every five minutes.
fn world_of(addresses: u64, seconds: u64) -> World {
    let (server, neighbour) = (at(1, 24254), at(2, 24254));
    let link = || Link::rated(1000, 1, 1 << 20);
    let mut world = World::new(11);
    world.add(server, link(), Peer::new(1));
    world.add(neighbour, link(), Peer::new(2));
    let id = world.with_peer(server, |peer, _| peer.store.share(content::bytes(3, 40_000), None));
    for second in 0..seconds {
        if second.is_multiple_of(300) {
            world.with_peer(neighbour, |peer, now| peer.node.query(now, server, Query::Peers, false));
        }
        let nth = second % addresses;
        let getter = at(3 + (nth / 400) as u8, 10_000 + (nth % 400) as u16);
        // It takes the place of the one before.
        world.add(getter, link(), Peer::new(100 + second));
        let job = world.with_peer(getter, |peer, now| peer.fetch(now, &id, &[server]));
        world.run_for(SECOND);
        assert!(world.peer(getter).completed_at(job).is_some(), "it takes longer, so that they are more");
        world.set_up(getter, false);
        assert!(world.peer(server).node.sizes().are_within_limits());
    }
    world
}

/// Those that seem to stay.
fn stayed(world: &World) -> Vec<SocketAddr> {
    let known = world.peer(at(1, 24254)).node.acquaintances();
    let stayed =
        known.filter(|peer| peer.validated_since.is_some_and(|at| peer.last_heard.since(at) >= STAY));
    stayed.map(|peer| peer.address).collect()
}

#[test]
fn getters_that_have_each_others_ports_one_after_another_are_not_taken_for_peers_that_stay() {
    for addresses in [1, 25] {
        assert_eq!(stayed(&world_of(addresses, 1000)), [at(2, 24254)], "{addresses} addresses");
    }
}

#[test]
fn a_server_forgets_getters_that_have_gone() {
    let world = world_of(u64::MAX, 2400);
    let known = world.peer(at(1, 24254)).node.sizes().contacts;
    assert!((900..1000).contains(&known), "{known}: those of the last 15 minutes and no others");
}
