//! Getters that fetch the same at the same time, from one origin and from each other.

#![allow(clippy::print_stdout)] // What was measured is shown where a test fails.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::liars::{Liar, Lie};
use cjp2p_tests::sim::swarm::{ORIGIN, Swarm, getter};
use cjp2p_tests::sim::{Link, Peer, World};
use cjp2p_wire::datagram::decode;
use cjp2p_wire::message::Message;

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

/// Runs twenty to their end: the origin sends few copies, and nobody waits long.
fn assert_shared_well(swarm: &mut Swarm, alone: Duration) {
    let done = swarm.run(Duration::from_secs(120));
    report(swarm, alone);
    assert!(done);
    assert!(swarm.copies() <= 3.0, "{}", swarm.copies());
    assert!(*swarm.times().last().expect("somebody was done") <= alone * 4);
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
    assert!(swarm.copies() < 1.2, "{}", swarm.copies());
}

#[test]
fn twenty_that_know_each_other_share_what_leaves_the_origin_about_once() {
    let bytes = content::bytes(2, 8 << 20);
    let alone = Swarm::alone(&bytes, Link::rated(20, 15, 128 << 10));
    for (seed, apart) in [(2, Duration::ZERO), (3, 400 * MS)] {
        let mut swarm = Swarm::new(seed, bytes.clone(), Link::rated(20, 15, 128 << 10));
        swarm.start_all(20, home, apart);
        assert_shared_well(&mut swarm, alone);
    }
}

#[test]
fn an_origin_that_a_hundred_begin_to_ask_at_once_sends_hardly_more_than_its_uplink_carries() {
    // Most first questions are lost where all ask everybody at once, also those that show who exchanges parts.
    let mut swarm = Swarm::new(101, content::bytes(9, 8 << 20), Link::rated(20, 15, 128 << 10));
    swarm.start_all(100, home, Duration::ZERO);
    let time = 1500 * MS;
    swarm.run(time);
    report(&swarm, Duration::ZERO);
    let carried = time.as_secs_f64() * 20e6 / 8.0;
    let sent = swarm.world.traffic(ORIGIN).bytes_out as f64;
    assert!(sent < 1.6 * carried, "{sent} bytes over a link that carries {carried}");
    assert!(sent > 0.5 * carried, "{sent} bytes over a link that carries {carried}");
}

#[test]
fn twenty_of_which_each_knows_the_origin_and_two_more_do_as_well() {
    let bytes = content::bytes(4, 4 << 20);
    let alone = Swarm::alone(&bytes, Link::rated(20, 15, 128 << 10));
    let mut swarm = Swarm::new(4, bytes, Link::rated(20, 15, 128 << 10));
    for n in 0..20 {
        swarm.start(Link::rated(20, 15, 128 << 10), &[ORIGIN, getter((n + 1) % 20), getter((n + 2) % 20)]);
    }
    assert_shared_well(&mut swarm, alone);
}

#[test]
fn who_leaves_half_way_is_not_missed() {
    let mut swarm = Swarm::new(5, content::bytes(5, 4 << 20), Link::rated(20, 15, 128 << 10));
    swarm.start_all(12, home, Duration::ZERO);
    let done = |swarm: &Swarm, n: usize| {
        let (address, _, job) = swarm.getters[n];
        swarm.world.peer(address).node.progress(job).map_or(0, |progress| progress.done)
    };
    while done(&swarm, 0) < 2 << 20 {
        swarm.world.run_for(50 * MS);
        assert!(swarm.world.now().as_secs_f64() < 30.0);
    }
    for gone in swarm.getters.split_off(6) {
        swarm.world.set_up(gone.0, false);
    }
    assert!(swarm.run(Duration::from_secs(30)));
    report(&swarm, Duration::ZERO);
}

#[test]
fn who_leaves_when_done_leaves_nobody_behind() {
    let link = Link::rated(10, 10, 50 << 10);
    let bytes = content::bytes(8, 4 << 20);
    let alone = Swarm::alone(&bytes, link);
    // The last three once came to a stop: the origin was waited for, or kept in reserve, for ever.
    for (seed, apart) in [(20, 30 * MS), (107, 30 * MS), (210, 5 * MS), (215, 5 * MS)] {
        let mut swarm = Swarm::new(seed, bytes.clone(), link);
        swarm.start_all(20, |_| link, apart);
        let mut gone = BTreeSet::new();
        while gone.len() < swarm.getters.len() {
            swarm.world.run_for(20 * MS);
            for (n, &(address, _, job)) in swarm.getters.iter().enumerate() {
                let failure = swarm.world.peer(address).failure(job);
                assert_eq!(failure, None, "getter {n}, seed {seed}, {} are gone", gone.len());
                if swarm.time_of(n).is_some() && gone.insert(n) {
                    swarm.world.set_up(address, false);
                }
            }
        }
        report(&swarm, alone);
        assert!(*swarm.times().last().unwrap() <= alone * 4);
    }
}

#[test]
fn liars_who_say_that_they_have_everything_do_not_stop_a_swarm() {
    let bytes = content::bytes(6, 4 << 20);
    let mut swarm = Swarm::new(6, bytes.clone(), Link::rated(20, 15, 128 << 10));
    let mut known = vec![ORIGIN];
    let lies = [Lie::Promises, Lie::OddParts, Lie::OddParts, Lie::Content, Lie::Tree];
    for (n, lie) in lies.into_iter().enumerate() {
        let address = getter(1000 + n as u16);
        swarm.world.add(address, Link::rated(20, 5, 128 << 10), Liar::new(lie, &bytes, n as u64));
        known.push(address);
    }
    known.extend((0..6).map(getter));
    for n in 0..6 {
        let others: Vec<SocketAddr> = known.iter().copied().filter(|&other| other != getter(n)).collect();
        swarm.start(Link::rated(20, 15, 128 << 10), &others);
    }
    assert!(swarm.run(Duration::from_secs(60)));
    report(&swarm, Duration::ZERO);
    for n in 0..6 {
        let liars = swarm.world.peer(getter(n)).liars();
        assert!(liars.iter().all(|liar| known[1..6].contains(liar)), "{liars:?}");
    }
}

#[test]
fn only_parts_that_a_leecher_has_are_asked_of_it() {
    let link = Link::rated(20, 10, 128 << 10);
    let mut swarm = Swarm::new(7, content::bytes(7, 4 << 20), link);
    let a = getter(0);
    let refused = Rc::new(RefCell::new(0));
    let seen = refused.clone();
    swarm.world.watch(move |_, from, _, bytes| {
        let messages = decode(bytes).unwrap_or_default();
        if from == a && messages.iter().any(|message| matches!(message, Message::MaybeTheyHaveSome(_))) {
            *seen.borrow_mut() += 1;
        }
    });
    swarm.start(link, &[ORIGIN]);
    swarm.start(link, &[a]);
    assert!(swarm.run(Duration::from_secs(60)));
    // The first questions come before it is known that nothing is there yet.
    assert!(*refused.borrow() <= 5, "{}", refused.borrow());
}

#[test]
fn whoever_gave_no_cookie_is_not_asked_which_parts_it_has_and_whoever_returned_none_is_not_told() {
    let bytes = content::bytes(8, 1 << 20);
    let link = Link::rated(20, 10, 128 << 10);
    let mut world = World::new(8);
    let mut origin = Peer::new(8);
    let id = origin.store.share(bytes.clone(), None);
    world.add(ORIGIN, link, origin);
    let old = getter(1);
    world.add(old, link, Liar::new(Lie::Content, &bytes, 1).without_cookies());
    let (asked, told) = (Rc::new(RefCell::new(BTreeSet::new())), Rc::new(RefCell::new(BTreeSet::new())));
    let seen = (asked.clone(), told.clone());
    world.watch(move |_, _, to, bytes| {
        for message in decode(bytes).unwrap_or_default() {
            match message {
                Message::PleaseSayWhichParts(_) => drop(seen.0.borrow_mut().insert(to)),
                Message::IHaveTheseParts(_) => drop(seen.1.borrow_mut().insert(to)),
                _ => {}
            }
        }
    });
    world.add(getter(0), link, Peer::new(1));
    let job = world.with_peer(getter(0), |peer, now| peer.fetch(now, &id, &[ORIGIN, old]));
    let question = format!(r#"[{{"PleaseSayWhichParts":{{"id":"{id}","offset":0}}}}]"#);
    world.inject(getter(9), ORIGIN, question.into_bytes());
    assert!(world.run_until(Duration::from_secs(60), |world| world.peer(getter(0)).is_over(job)));
    assert_eq!(*asked.borrow(), BTreeSet::from([ORIGIN]));
    assert_eq!(*told.borrow(), BTreeSet::from([getter(0)]));
}
