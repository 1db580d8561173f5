//! Honest tools among liars of all kinds.

use std::time::{Duration, Instant};

use cjp2p_tests::sim::hostile::play;

/// Worlds looked at by the ordinary suite. Program `hostile-worlds` looks at more.
const WORLDS: u64 = 300;

#[test]
fn in_worlds_drawn_at_random_nothing_false_is_believed_and_honest_peers_are_served() {
    let begun = Instant::now();
    let mut simulated = Duration::ZERO;
    for seed in 0..WORLDS {
        let story = std::panic::catch_unwind(|| play(seed));
        match story {
            Ok(Ok(story)) => simulated += story.simulated,
            Ok(Err(why)) => panic!("seed {seed}: {why}"),
            Err(panic) => {
                println!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{WORLDS} worlds, {simulated:?} simulated in {:?}", begun.elapsed());
}
