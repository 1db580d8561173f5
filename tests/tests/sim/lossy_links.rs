//! Links that lose packets at random: the end of a fetch may not wait long for a single one.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::{Link, Original, Peer, World};

fn at(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 24254))
}

#[test]
fn a_few_losses_at_the_end_hold_up_a_fetch_but_little() {
    const LENGTH: usize = 32 << 20;
    let original = Original::new(content::bytes(1, LENGTH));
    // In these worlds several repeats of the last block were lost.
    for (seed, least) in [(2, 44.5), (10, 43.0), (17, 43.0)] {
        let mut world = World::new(seed);
        let near = Link { delay: Duration::ZERO, ..Link::rated(1000, 0, 256 << 10) };
        world.add(at(1), near, Peer::new(1 + seed * 2));
        let mut source = Peer::new(2 + seed * 2);
        source.store.share_original(&original);
        world.add(at(2), Link { loss: 0.05, ..Link::rated(100, 50, 256 << 10) }, source);
        let job = world.with_peer(at(1), |peer, now| peer.fetch(now, original.id(), &[at(2)]));
        assert!(world.run_until(Duration::from_secs(60), |world| world.peer(at(1)).is_over(job)));
        let megabits = LENGTH as f64 * 8.0 / world.now().as_secs_f64() / 1e6;
        println!("seed {seed}: {megabits:.1} Mbit/s");
        assert!(megabits > least, "seed {seed}: {megabits:.1} Mbit/s");
    }
}
