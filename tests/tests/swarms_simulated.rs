//! Getters that fetch the same at the same time, from one origin and from each other.

use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::Link;
use cjp2p_tests::sim::swarm::{ORIGIN, Swarm, getter};

const MS: Duration = Duration::from_millis(1);

/// Like a home: 20 Mbit/s both ways, 20 to 100 ms from each other.
fn home(random: &mut fastrand::Rng) -> Link {
    Link::rated(20, random.u64(5..=25), 128 << 10)
}

fn report(swarm: &Swarm, alone: Duration) {
    let times = swarm.times();
    let (received, wasted) = swarm.received();
    println!(
        "alone {alone:?}; {} done, first {:?}, median {:?}, last {:?}; {:.2} copies; {:.1} % wasted; {} getters, {:?}",
        times.len(),
        times.first(),
        times.get(times.len() / 2),
        times.last(),
        swarm.copies(),
        wasted as f64 * 100.0 / received as f64,
        swarm.getters.len(),
        swarm.world.now(),
    );
}

#[test]
fn one_behind_another_is_hardly_later() {
    let link = Link::rated(20, 10, 128 << 10);
    let mut swarm = Swarm::new(1, content::bytes(1, 8 << 20), link);
    let a = swarm.start(link, &[ORIGIN]);
    swarm.start(link, &[a]);
    assert!(swarm.run(Duration::from_secs(60)));
    let (first, second) = (swarm.time_of(0).unwrap(), swarm.time_of(1).unwrap());
    println!("{first:?}, {second:?}");
    assert!(second < first.mul_f64(1.25), "{first:?}, {second:?}");
    assert!(swarm.copies() < 1.05, "{}", swarm.copies());
}

#[test]
fn twenty_that_know_each_other_share_what_leaves_the_origin_about_once() {
    let bytes = content::bytes(2, 8 << 20);
    let alone = Swarm::alone(&bytes, Link::rated(20, 15, 128 << 10));
    for (seed, apart) in [(2, Duration::ZERO), (3, 400 * MS)] {
        let mut swarm = Swarm::new(seed, bytes.clone(), Link::rated(20, 15, 128 << 10));
        swarm.start_all(20, home, apart);
        let done = swarm.run(Duration::from_secs(120));
        report(&swarm, alone);
        assert!(done);
        assert!(swarm.copies() <= 3.0, "{}", swarm.copies());
        assert!(*swarm.times().last().unwrap() <= alone * 4);
    }
}

#[test]
fn twenty_of_which_each_knows_the_origin_and_two_more_do_as_well() {
    let bytes = content::bytes(4, 8 << 20);
    let alone = Swarm::alone(&bytes, Link::rated(20, 15, 128 << 10));
    let mut swarm = Swarm::new(4, bytes, Link::rated(20, 15, 128 << 10));
    for n in 0..20 {
        swarm.start(Link::rated(20, 15, 128 << 10), &[ORIGIN, getter((n + 1) % 20), getter((n + 2) % 20)]);
    }
    let done = swarm.run(Duration::from_secs(120));
    report(&swarm, alone);
    assert!(done);
    assert!(swarm.copies() <= 3.0, "{}", swarm.copies());
    assert!(*swarm.times().last().unwrap() <= alone * 4);
}
