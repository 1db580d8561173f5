//! A million sources, none of which ever validates its address.

use std::net::SocketAddr;

use cjp2p_tests::alone::alone;
use cjp2p_tests::content;
use cjp2p_tests::real::server::resident_memory;
use cjp2p_tests::sim::liars::odd;
use cjp2p_tests::sim::peer::config;
use cjp2p_tests::sim::{HostBehaviour, Outbox, Peer};
use cjp2p_wire::datagram::Encoder;
use cjp2p_wire::message::ContentRequest;
use cjp2p_wire::peers::cookie::CookieMint;
use cjp2p_wire::time::Time;

#[test]
fn a_million_forged_sources_take_no_memory_and_cost_honest_peers_nothing() {
    // It looks at the memory of the whole process.
    alone("forged_sources::a_million_forged_sources_take_no_memory_and_cost_honest_peers_nothing", a_million);
}

fn a_million() {
    let bytes = content::bytes(1, 100_000);
    let mut server = Peer::new(2);
    let ids = [server.store.share(bytes, Some("file")).to_string(), "file".to_owned()];
    let mint = CookieMint::new(config(2).secret);
    let honest: SocketAddr = "192.0.2.1:24254".parse().expect("an address");
    let asks = |server: &mut Peer, now: Time| {
        let mut encoder = Encoder::new();
        encoder.cookie("AlwaysReturned", &mint.mint(now, honest));
        encoder.request(&ContentRequest::plain("file", 0, 40_960));
        let mut out = Outbox::new();
        server.handle_datagram(now, honest, &encoder.finish(0), &mut out);
        out.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
    };
    assert!(asks(&mut server, Time::ZERO) > 40_000);
    let mut random = fastrand::Rng::with_seed(1);
    let mut says: Vec<Vec<u8>> = (0..1000).map(|_| odd::question(&mut random, &ids)).collect();
    says.retain(|datagram| datagram.len() > 2);
    let mut before = 0;
    for n in 0..1_000_000u32 {
        if n == 10_000 {
            before = resident_memory(std::process::id());
        }
        let from = SocketAddr::from((std::net::Ipv4Addr::from_bits(0x1400_0000 + n * 613), 24254));
        let mut out = Outbox::new();
        let now = Time::from_millis(u64::from(n / 10));
        server.handle_datagram(now, from, &says[n as usize % says.len()], &mut out);
    }
    let after = resident_memory(std::process::id());
    assert!(after < before + (8 << 20), "{before} bytes before, {after} after");
    let known: Vec<SocketAddr> = server.node.acquaintances().map(|peer| peer.address).collect();
    assert_eq!(known, [honest]);
    assert!(asks(&mut server, Time::from_millis(100_000)) > 40_000);
}
