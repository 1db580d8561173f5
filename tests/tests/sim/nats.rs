//! Hosts behind routers of the four classic kinds.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_tests::content::{self, blake3_id};
use cjp2p_tests::sim::{Link, NatKind, Peer, World};
use cjp2p_wire::node::Query;

fn a(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Whether a getter behind one router gets content from a source behind another. Both know each other's addresses as somebody
/// else sees them. `both_ask`: the source asks for the getter too.
fn reach(getters: NatKind, sources: NatKind, both_ask: bool) -> bool {
    let (getter, source, known) = (a("10.0.1.2:5000"), a("10.0.2.2:6000"), a("203.0.113.1:24254"));
    let (getter_outside, source_outside) = (a("198.51.100.1:5000"), a("192.0.2.2:6000"));
    let link = Link { delay: Duration::from_millis(20), ..Link::default() };
    let bytes = content::bytes(80, 50_000);
    let mut world = World::new(1);
    world.add(known, link, Peer::new(1));
    world.add(getter, link, Peer::new(2));
    world.add(source, link, Peer::new(3));
    world.add_nat(getter, getters, getter_outside.ip());
    world.add_nat(source, sources, source_outside.ip());
    for host in [getter, source] {
        world.with_peer(host, |peer, now| {
            peer.node.query(now, known, Query::Peers, false);
        });
    }
    world.run_for(Duration::from_secs(1));
    let met: Vec<SocketAddr> = world.peer(known).node.acquaintances().map(|peer| peer.address).collect();
    assert_eq!(
        met,
        [source_outside, getter_outside],
        "they are known by the ports that they have themselves"
    );
    let id = blake3_id(&bytes);
    world.with_peer(source, |peer, now| {
        peer.store.share(bytes.clone(), None);
        if both_ask {
            peer.node.query(now, getter_outside, Query::Ping, false);
        }
    });
    let job = world.with_peer(getter, |peer, now| peer.fetch(now, &id, &[source_outside]));
    world.run_until(Duration::from_secs(60), |world| world.peer(getter).is_over(job));
    let done = world.peer(getter).completed_at(job).is_some();
    assert!(!done || world.peer(getter).fetched(job) == bytes);
    done
}

#[test]
fn two_nodes_behind_routers_that_keep_ports_reach_one_another_when_both_ask() {
    for getters in NatKind::ALL {
        for sources in NatKind::ALL {
            // A symmetric router shows each peer another port, which nobody else can name.
            let hopeless = sources == NatKind::Symmetric
                || (getters == NatKind::Symmetric && sources == NatKind::PortRestricted);
            assert_eq!(reach(getters, sources, true), !hopeless, "{getters:?} {sources:?}");
        }
    }
}

#[test]
fn a_node_that_did_not_ask_is_reached_only_where_its_router_lets_everybody_in() {
    for sources in NatKind::ALL {
        let open = sources == NatKind::FullCone;
        assert_eq!(reach(NatKind::PortRestricted, sources, false), open, "{sources:?}");
    }
}
