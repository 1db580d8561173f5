//! How many round trips pass from the start until the first verified bytes are written.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::{Link, Original, Peer, World};

const RTT: Duration = Duration::from_millis(100);

fn at(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 24254))
}

/// Long enough for a tree of three levels of runs, whose right spine is nearly as long as can be.
const LENGTH: usize = 96 << 20;

/// In round trips, when a getter that starts now has verified the first of these bytes, and each other number of them.
fn round_trips<const N: usize>(world: &mut World, original: &Original, firsts: [u64; N]) -> [f64; N] {
    let start = world.now();
    let job = world.with_peer(at(1), |peer, now| peer.fetch(now, original.id(), &[at(2)]));
    firsts.map(|first| {
        let has = |world: &World| {
            let fetched = world.peer(at(1)).store.fetched.get(&job);
            fetched.is_some_and(|fetched| fetched.done.contains(0..first))
        };
        assert!(world.run_until(Duration::from_secs(10), has), "{first} bytes never came");
        world.now().since(start).as_secs_f64() / RTT.as_secs_f64()
    })
}

#[test]
fn the_first_bytes_from_a_peer_never_met_take_less_than_three_round_trips() {
    let original = Original::new(content::bytes(1, LENGTH));
    let mut world = World::new(1);
    world.add(at(1), Link { delay: Duration::ZERO, ..Link::default() }, Peer::new(1));
    let mut source = Peer::new(2);
    source.store.share_original(&original);
    world.add(at(2), Link { delay: RTT / 2, ..Link::rated(100, 0, 1 << 20) }, source);
    let [first, more] = round_trips(&mut world, &original, [4096, 65_536]);
    println!("{first:.2} round trips for the first bytes, {more:.2} for 64 KiB");
    assert!(first < 2.5 && more < 3.5, "{first:.2} and {more:.2} round trips");
}
