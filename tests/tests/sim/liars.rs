//! Seven liars of each kind beside one honest source.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::liars::{Liar, Lie};
use cjp2p_tests::sim::{Link, Peer, World};

const LENGTH: usize = 8 << 20;

const fn at(n: u8) -> SocketAddr {
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, n), 24254))
}

/// How long a fetch takes from the honest one beside these, in seconds; `None` where it failed.
fn seconds(bytes: &[u8], lies: &[Lie]) -> Option<f64> {
    let link = Link::rated(50, 10, 128 << 10);
    let mut world = World::new(6);
    let mut getter = Peer::new(1);
    getter.store.repeats = true;
    world.add(at(1), Link::rated(1000, 1, 4 << 20), getter);
    let mut sources = vec![at(9)];
    for (n, &lie) in (0u8..).zip(lies) {
        world.add(at(20 + n), link, Liar::new(lie, bytes, n.into()));
        sources.push(at(20 + n));
    }
    let mut honest = Peer::new(9);
    let id = honest.store.share(bytes.to_vec(), None);
    world.add(at(9), link, honest);
    let job = world.with_peer(at(1), |peer, now| peer.fetch(now, &id, &sources));
    world.run_until(Duration::from_secs(60), |world| world.peer(at(1)).is_over(job));
    let getter = world.peer(at(1));
    assert!(!getter.liars().contains(&at(9)), "{lies:?}: the honest one was taken for a liar");
    let at = getter.completed_at(job)?;
    assert!(getter.fetched(job) == bytes, "{lies:?}");
    Some(at.as_secs_f64())
}

/// What was slower than promised.
fn too_slow(mixes: &[Vec<Lie>]) -> Vec<String> {
    let bytes = content::bytes(5, LENGTH);
    let alone = seconds(&bytes, &[]).expect("one honest source is enough");
    let mut missed = Vec::new();
    for lies in mixes {
        let share = seconds(&bytes, lies).map_or(0.0, |seconds| alone / seconds);
        if share < 0.8 {
            missed.push(format!("{share:.2} beside {lies:?}"));
        }
    }
    missed
}

#[test]
fn seven_liars_of_any_one_kind_leave_an_honest_source_four_fifths_of_its_rate() {
    let mixes: Vec<Vec<Lie>> = Lie::all(LENGTH as u64).into_iter().map(|lie| vec![lie; 7]).collect();
    assert_eq!(too_slow(&mixes), Vec::<String>::new());
}

#[test]
fn two_or_four_liars_of_a_kind_leave_an_honest_source_four_fifths_of_its_rate() {
    // Parts come from liars and the honest one together here, and are asked for again: what was asked for twice comes twice.
    let all = Lie::all(LENGTH as u64);
    let mixes: Vec<Vec<Lie>> = all.into_iter().flat_map(|lie| [vec![lie; 2], vec![lie; 4]]).collect();
    assert_eq!(too_slow(&mixes), Vec::<String>::new());
}

#[test]
fn seven_liars_of_different_kinds_leave_an_honest_source_four_fifths_of_its_rate() {
    let all = Lie::all(LENGTH as u64);
    let mut random = fastrand::Rng::with_seed(3);
    let mixes: Vec<Vec<Lie>> =
        (0..8).map(|_| (0..7).map(|_| all[random.usize(0..all.len())]).collect()).collect();
    assert_eq!(too_slow(&mixes), Vec::<String>::new());
}
