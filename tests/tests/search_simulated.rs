//! Searching: content is found by asking on, quickly, with few datagrams, and without harm to those who are named.

use std::time::Duration;

use cjp2p_tests::sim::search::{chain, random_tables};

const ROUND_TRIP: Duration = Duration::from_millis(40);

#[test]
fn in_a_chain_of_ten_each_knowing_only_the_next_the_last_is_found() {
    for seed in 0..20 {
        let mut network = chain(seed, 10, ROUND_TRIP);
        let found = network.search(&[0], 0, Duration::from_secs(30)).expect("found");
        eprintln!("{seed} {found:?}");
        assert!(found.after <= Duration::from_secs(3) && found.datagrams <= 60, "seed {seed}: {found:?}");
    }
}

#[test]
fn among_a_thousand_with_random_tables_a_source_is_found_with_few_datagrams() {
    let mut all = Vec::new();
    let mut network = random_tables(1, 1000, 50, 40, 10, ROUND_TRIP);
    for content in 0..40 {
        let known = network.pick(50);
        let found = network.search(&known, content, Duration::from_secs(30));
        eprintln!("{found:?}");
        all.push(found.map_or(u64::MAX, |found| found.datagrams));
    }
    all.sort_unstable();
    assert!(all[all.len() / 2] <= 60, "{all:?}");
}

#[test]
#[ignore]
fn debug() {
    let network = random_tables(1, 1000, 50, 40, 10, ROUND_TRIP);
    for n in 0..3 {
        let node = &network.world.peer(cjp2p_tests::sim::search::address(n)).node;
        eprintln!("{n} {:?} {:?}", node.sizes(), node.counters());
    }
}
