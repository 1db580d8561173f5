//! Honest tools among liars of all kinds.

use std::time::{Duration, Instant};

use cjp2p_tests::sim::hostile::play;

/// Worlds looked at by the ordinary suite. Program `hostile-worlds` looks at more.
const WORLDS: u64 = 300;

fn look_at(seed: u64) -> Result<Duration, String> {
    let story = std::panic::catch_unwind(|| play(seed)).unwrap_or_else(|_| Err("it panicked".to_owned()));
    story.map(|story| story.simulated).map_err(|why| format!("seed {seed}: {why}"))
}

#[test]
fn in_worlds_drawn_at_random_nothing_false_is_believed_and_honest_peers_are_served() {
    let begun = Instant::now();
    let mut simulated = Duration::ZERO;
    for seed in 0..WORLDS {
        simulated += look_at(seed).unwrap_or_else(|why| panic!("{why}"));
    }
    println!("{simulated:?} simulated in {:?}", begun.elapsed());
}
