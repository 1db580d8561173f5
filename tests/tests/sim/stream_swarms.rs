//! Swarms that watch a stream while something goes wrong: half of them vanish, some lie.

use std::time::Duration;

use cjp2p_tests::sim::stream_swarm::{Outcome, Scene, play};

const VIEWERS: u16 = 50;

fn assert_well(outcome: &Outcome, late: f64, most: Duration) {
    let is_well = outcome.lacking == 0 && outcome.late <= late && outcome.copies <= 2.6;
    assert!(is_well && outcome.most.is_some_and(|it| it <= most), "{outcome:?}");
}

/// They hang together again before anybody is much behind; it was 40 % that came late.
#[test]
fn where_half_of_the_viewers_vanish_at_once_the_others_find_new_places() {
    let scene = Scene { leave: 50, ..Scene::of(VIEWERS) };
    assert_well(&play(&scene, 3), 0.05, Duration::from_millis(4000));
}

/// They are few, found out, and left.
#[test]
fn liars_among_the_viewers_delay_little() {
    let scene = Scene { liars: 10, ..Scene::of(VIEWERS) };
    assert_well(&play(&scene, 3), 0.02, Duration::from_millis(3000));
}
