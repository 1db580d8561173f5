//! Fetching over the simulated network: honest, lossy and hostile.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::liars::{Liar, Lie};
use cjp2p_tests::sim::{Link, Peer, World};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::node::Config;
use cjp2p_wire::store::JobId;
use cjp2p_wire::time::Time;

const GETTER: SocketAddr = at(1);

const fn at(n: u8) -> SocketAddr {
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, n), 24254))
}

struct Outcome {
    seconds: f64,
    received: u64,
    wasted: u64,
    liars: Vec<SocketAddr>,
}

fn sharing(seed: u64, bytes: &[u8]) -> Peer {
    let mut peer = Peer::new(seed);
    peer.store.share(bytes.to_vec(), Some("file"));
    peer
}

fn start(world: &mut World, id: &ContentId, sources: &[SocketAddr]) -> JobId {
    world.with_peer(GETTER, |peer, now| peer.fetch(now, id, sources))
}

fn finish(world: &mut World, job: JobId, bytes: &[u8], limit: u64) -> Outcome {
    let begun = world.now();
    let over = world.run_until(Duration::from_secs(limit), |world| world.peer(GETTER).is_over(job));
    let peer = world.peer(GETTER);
    let progress = peer.node.progress(job);
    assert!(over, "not over after {limit} s: {progress:?}");
    assert_eq!(peer.failure(job), None, "{progress:?}");
    if !bytes.is_empty() {
        assert!(peer.fetched(job) == bytes, "what was written is not the content");
    }
    let progress = progress.expect("the fetch is there");
    Outcome {
        seconds: world.now().since(begun).as_secs_f64(),
        received: progress.received,
        wasted: progress.wasted,
        liars: peer.liars(),
    }
}

/// One getter and one honest source over two such links.
fn one_source(seed: u64, link: Link, id_of: impl Fn(&[u8]) -> ContentId, length: usize) -> Outcome {
    let bytes = content::bytes(seed, length);
    let mut world = World::new(seed);
    world.add(GETTER, link, Peer::new(1));
    world.add(at(2), link, sharing(2, &bytes));
    let job = start(&mut world, &id_of(&bytes), &[at(2)]);
    finish(&mut world, job, &bytes, 600)
}

#[test]
fn content_of_every_length_arrives_by_either_id() {
    for length in
        [0, 1, 2, 4095, 4096, 4097, 65_535, 65_536, 65_537, 524_288, 524_289, (1 << 20) + 1, 5_000_000]
    {
        one_source(3, Link::default(), content::blake3_id, length);
        one_source(4, Link::default(), content::sha256_id, length);
    }
}

#[test]
fn a_plain_name_is_fetched_without_proof() {
    one_source(5, Link::default(), |_| ContentId::parse("file").unwrap(), 300_000);
    one_source(5, Link::default(), |_| ContentId::parse("file").unwrap(), 0);
}

#[test]
fn a_getter_whose_address_changes_goes_on_within_three_seconds() {
    let bytes = content::bytes(7, 16 << 20);
    let mut world = World::new(7);
    let link = Link::rated(20, 10, 64 << 10);
    world.add(GETTER, link, Peer::new(1));
    world.add(at(2), link, sharing(2, &bytes));
    let job = start(&mut world, &content::blake3_id(&bytes), &[at(2)]);
    world.run_for(Duration::from_secs(3));
    let elsewhere = SocketAddr::from(([10, 0, 0, 1], 31_000));
    world.move_host(GETTER, elsewhere);
    let done = move |world: &World| world.peer(elsewhere).node.progress(job).map_or(0, |p| p.done);
    let before = done(&world);
    assert!(before > 1 << 20);
    let goes_on = world.run_until(Duration::from_secs(3), move |world| done(world) > before + (1 << 20));
    assert!(goes_on, "{before} bytes before, {} now", done(&world));
    assert!(world.run_until(Duration::from_secs(60), |world| world.peer(elsewhere).is_over(job)));
    assert!(world.peer(elsewhere).fetched(job) == bytes);
}

#[test]
fn a_rated_link_is_filled() {
    let outcome = one_source(6, Link::rated(100, 25, 256 << 10), content::blake3_id, 32 << 20);
    let megabits = (32u64 << 23) as f64 / outcome.seconds / 1e6;
    assert!(megabits > 50.0, "{megabits:.1} Mbit/s");
    assert!(outcome.wasted * 100 < outcome.received, "{} of {}", outcome.wasted, outcome.received);
}

#[test]
fn loss_slows_little() {
    let link = Link { loss: 0.01, ..Link::rated(100, 25, 256 << 10) };
    let outcome = one_source(7, link, content::blake3_id, 32 << 20);
    let megabits = (32u64 << 23) as f64 / outcome.seconds / 1e6;
    assert!(megabits > 45.0, "{megabits:.1} Mbit/s");
    assert!(outcome.wasted * 100 < outcome.received * 3, "{} of {}", outcome.wasted, outcome.received);
}

#[test]
fn reordering_and_duplicates_do_no_harm() {
    let link = Link {
        jitter: Duration::from_millis(8),
        duplication: 0.05,
        loss: 0.05,
        ..Link::rated(50, 10, 256 << 10)
    };
    for seed in 0..10 {
        one_source(seed, link, content::blake3_id, 2_000_000);
        one_source(seed, link, content::sha256_id, 500_000);
    }
}

#[test]
fn each_way_of_lying_beside_one_honest_peer_is_survived() {
    let bytes = content::bytes(9, 3_000_000);
    let length = bytes.len() as u64;
    let lies = [
        Lie::Content,
        Lie::Tree,
        Lie::Length(length + 1),
        Lie::Length(length * 2),
        Lie::Length(length / 2),
        Lie::Length(4096),
        Lie::Length(0),
        Lie::Length(1 << 53),
        Lie::LengthThenSilence(length - 1),
        Lie::Silence,
        Lie::Garbage,
        Lie::Elsewhere,
        Lie::Echo,
        Lie::After(100),
    ];
    for lie in lies {
        for id in [content::blake3_id(&bytes), content::sha256_id(&bytes)] {
            for cookies in [true, false] {
                let mut world = World::new(10);
                world.add(GETTER, Link::default(), Peer::new(1));
                world.with_peer(GETTER, |peer, _| peer.store.repeats = true);
                let liar = Liar::new(lie, &bytes, 11);
                let liar = if cookies { liar } else { liar.without_cookies() };
                // The liar is nearer, and so is heard first.
                world.add(at(2), Link { delay: Duration::from_millis(1), ..Link::default() }, liar);
                world.add(at(3), Link::rated(100, 10, 256 << 10), sharing(3, &bytes));
                let job = start(&mut world, &id, &[at(2), at(3)]);
                println!("{lie:?} {id:?} cookies: {cookies}");
                let outcome = finish(&mut world, job, &bytes, 60);
                assert!(outcome.liars.iter().all(|liar| *liar == at(2)), "{lie:?} {:?}", outcome.liars);
            }
        }
    }
}

#[test]
fn ten_liars_about_the_length_do_not_keep_one_honest_peer_from_being_heard() {
    let bytes = content::bytes(12, 2_000_000);
    let mut world = World::new(13);
    world.add(GETTER, Link::default(), Peer::new(1));
    let mut sources = vec![at(100)];
    for n in 0..10u8 {
        let lie = if n % 2 == 0 {
            Lie::Length(1_000_000 + u64::from(n))
        } else {
            Lie::LengthThenSilence(5 + u64::from(n))
        };
        world.add(
            at(10 + n),
            Link { delay: Duration::from_millis(1), ..Link::default() },
            Liar::new(lie, &bytes, 1),
        );
        sources.push(at(10 + n));
    }
    world.add(at(100), Link::default(), sharing(3, &bytes));
    let job = start(&mut world, &content::blake3_id(&bytes), &sources);
    let outcome = finish(&mut world, job, &bytes, 30);
    assert!(!outcome.liars.contains(&at(100)));
}

#[test]
fn only_liars_end_in_a_mismatch_and_nobody_at_all_in_no_source() {
    let bytes = content::bytes(14, 300_000);
    for id in [content::blake3_id(&bytes), content::sha256_id(&bytes)] {
        let mut world = World::new(15);
        world.add(GETTER, Link::default(), Peer::new(1));
        world.add(at(2), Link::default(), Liar::new(Lie::Content, &bytes, 1));
        world.add(at(3), Link::default(), Liar::new(Lie::Content, &bytes, 2));
        world.add(at(4), Link::default(), Peer::new(4));
        let job = start(&mut world, &id, &[at(2), at(3)]);
        world.run_until(Duration::from_secs(60), |world| world.peer(GETTER).is_over(job));
        assert_eq!(world.peer(GETTER).failure(job).as_deref(), Some("Mismatch"));

        let job = start(&mut world, &content::blake3_id(b"something else"), &[at(4), at(5)]);
        world.run_until(Duration::from_secs(60), |world| world.peer(GETTER).is_over(job));
        assert_eq!(world.peer(GETTER).failure(job).as_deref(), Some("NoSource"));
    }
}

#[test]
fn a_source_that_dies_half_way_is_replaced() {
    let bytes = content::bytes(16, 8_000_000);
    let mut world = World::new(17);
    world.add(GETTER, Link::default(), Peer::new(1));
    world.add(at(2), Link::rated(40, 5, 256 << 10), sharing(2, &bytes));
    world.add(at(3), Link::rated(20, 20, 256 << 10), sharing(3, &bytes));
    let job = start(&mut world, &content::blake3_id(&bytes), &[at(2), at(3)]);
    let half = |world: &World| world.peer(GETTER).node.progress(job).is_some_and(|p| p.done > 4_000_000);
    assert!(world.run_until(Duration::from_secs(60), half));
    world.set_up(at(2), false);
    finish(&mut world, job, &bytes, 60);
}

#[test]
fn a_slow_reader_holds_the_fetch_and_does_not_fail_it() {
    let bytes = content::bytes(18, 4_000_000);
    let mut world = World::new(19);
    world.add(GETTER, Link::default(), Peer::new(1));
    world.add(at(2), Link::default(), sharing(2, &bytes));
    let job = world.with_peer(GETTER, |peer, now| {
        peer.store.room.insert(JobId(0), 1 << 20);
        peer.fetch(now, &content::blake3_id(&bytes), &[at(2)])
    });
    // Longer than any cookie is good for.
    world.run_for(Duration::from_secs(1207));
    assert_eq!(world.peer(GETTER).failure(job), None);
    assert_eq!(world.peer(GETTER).store.fetched[&job].done.iter().next(), Some(0..1 << 20));
    world.with_peer(GETTER, |peer, now| {
        peer.store.room.clear();
        peer.node.handle_room(now, &mut peer.store);
    });
    finish(&mut world, job, &bytes, 60);
}

#[test]
fn a_destination_that_is_busy_now_and_then_is_given_nothing_meanwhile_and_everything_in_the_end() {
    let bytes = content::bytes(61, 6 << 20);
    let link = Link::rated(100, 10, 256 << 10);
    for id_of in [content::blake3_id, content::sha256_id] {
        let mut world = World::new(62);
        world.add(GETTER, link, Peer::new(1));
        for n in [2, 3] {
            world.add(at(n), link, sharing(n.into(), &bytes));
        }
        let job = start(&mut world, &id_of(&bytes), &[at(2), at(3)]);
        let mut in_vain = 0;
        while !world.peer(GETTER).is_over(job) && world.now() < Time::from_millis(60_000) {
            world.with_peer(GETTER, |peer, _| peer.store.busy = true);
            let before = received(&world, job);
            world.run_for(Duration::from_millis(60));
            // What was on its way comes, and then nothing.
            let came = received(&world, job);
            world.run_for(Duration::from_millis(100));
            in_vain += received(&world, job) - came;
            assert!(came - before < 2 << 20, "{}", came - before);
            world.with_peer(GETTER, |peer, now| {
                peer.store.busy = false;
                peer.make_room(now);
            });
            world.run_for(Duration::from_millis(40));
        }
        assert!(in_vain < bytes.len() as u64 / 10, "{in_vain} bytes were asked for while nothing is taken");
        let outcome = finish(&mut world, job, &bytes, 1);
        assert_eq!(outcome.liars, []);
        assert!(outcome.wasted < bytes.len() as u64 / 20, "{}", outcome.wasted);
    }
}

fn received(world: &World, job: JobId) -> u64 {
    world.peer(GETTER).node.progress(job).map_or(0, |progress| progress.received)
}

#[test]
fn a_slow_source_that_others_use_too_is_not_taken_for_silent() {
    let bytes = content::bytes(35, 4 << 20);
    let near = Link { delay: Duration::from_micros(50), ..Link::default() };
    for seed in 0..20 {
        let mut world = World::new(36 + seed);
        let mut source =
            Peer::with_config(Config { upload_rate: Some(4 << 20), ..cjp2p_tests::sim::peer::config(2) });
        source.store.share(bytes.clone(), None);
        world.add(at(2), near, source);
        for getter in [GETTER, at(3)] {
            let mut peer = Peer::new(seed + u64::from(getter == GETTER));
            peer.mtu = 65_536;
            world.add(getter, near, peer);
        }
        world.with_peer(at(3), |peer, now| peer.fetch(now, &content::blake3_id(&bytes), &[at(2)]));
        world.run_for(Duration::from_millis(100 + 10 * seed));
        let job = start(&mut world, &content::blake3_id(&bytes), &[at(2)]);
        let outcome = finish(&mut world, job, &bytes, 60);
        // Half of the rate, less what base64 adds.
        assert!(outcome.seconds < 4.0, "{} s with seed {seed}", outcome.seconds);
    }
}

#[test]
fn without_a_hint_nobody_is_blamed_for_wrong_bytes_that_an_interrupted_fetch_had_staged() {
    let bytes = content::bytes(33, 500_000);
    let mut world = World::new(34);
    world.add(GETTER, Link::default(), Peer::new(1));
    let mut source = sharing(2, &bytes);
    source.store.forget_hints();
    world.add(at(2), Link::default(), source);
    let job = world.with_peer(GETTER, |peer, now| peer.resume_wrongly(now, &bytes, 65_536, &[at(2)]));
    let outcome = finish(&mut world, job, &bytes, 30);
    assert_eq!(outcome.liars, []);
}

#[test]
fn fetches_side_by_side_take_turns_at_a_source() {
    let (large, small) = (content::bytes(30, 20_000_000), content::bytes(31, 2_000_000));
    let mut world = World::new(32);
    let link = Link::rated(40, 10, 256 << 10);
    let mut source = sharing(2, &large);
    source.store.share(small.clone(), None);
    world.add(GETTER, link, Peer::new(1));
    world.add(at(2), link, source);
    let first = start(&mut world, &content::blake3_id(&large), &[at(2)]);
    let second = start(&mut world, &content::blake3_id(&small), &[at(2)]);
    finish(&mut world, second, &small, 60);
    let done = world.peer(GETTER).node.progress(first).unwrap().done;
    assert!((1_000_000..5_000_000).contains(&done), "{done} bytes of the other are here");
    finish(&mut world, first, &large, 60);
}

#[test]
fn a_cold_disk_at_the_source_delays_and_loses_nothing() {
    let bytes = content::bytes(20, 1_000_000);
    let mut source = sharing(2, &bytes);
    source.store.cold_reads = 3;
    let mut world = World::new(21);
    world.add(GETTER, Link::default(), Peer::new(1));
    world.add(at(2), Link::default(), source);
    let job = start(&mut world, &content::blake3_id(&bytes), &[at(2)]);
    finish(&mut world, job, &bytes, 60);
}

#[test]
fn a_referral_leads_to_the_content() {
    let bytes = content::bytes(22, 200_000);
    let mut world = World::new(23);
    world.add(GETTER, Link::default(), Peer::new(1));
    world.add(at(2), Link::default(), Peer::new(2));
    world.add(at(3), Link::default(), sharing(3, &bytes));
    // The one in the middle knows the source: it fetched something from it.
    let other = content::bytes(24, 1000);
    world.with_peer(at(3), |peer, _| peer.store.share(other.clone(), None));
    world.with_peer(at(2), |peer, now| peer.fetch(now, &content::blake3_id(&other), &[at(3)]));
    world.run_for(Duration::from_secs(2));
    let job = start(&mut world, &content::blake3_id(&bytes), &[at(2)]);
    finish(&mut world, job, &bytes, 20);
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let run = || {
        let link = Link { loss: 0.03, jitter: Duration::from_millis(3), ..Link::rated(20, 10, 64 << 10) };
        let bytes = content::bytes(25, 1_000_000);
        let mut world = World::new(26);
        world.add(GETTER, link, Peer::new(1));
        world.add(at(2), link, sharing(2, &bytes));
        world.add(at(3), link, sharing(3, &bytes));
        let job = start(&mut world, &content::blake3_id(&bytes), &[at(2), at(3)]);
        let outcome = finish(&mut world, job, &bytes, 60);
        (outcome.seconds.to_bits(), outcome.received, world.traffic(GETTER), world.traffic(at(2)))
    };
    assert_eq!(run(), run());
}

/// A fetch whose link changes at half time; returns how long after the change the getter had something new again.
fn with_change(seed: u64, before: Link, after: Link) -> (Duration, Outcome) {
    let bytes = content::bytes(seed, 16 << 20);
    let mut world = World::new(seed);
    world.add(GETTER, Link { delay: Duration::from_millis(1), ..Link::default() }, Peer::new(1));
    world.add(at(2), before, sharing(2, &bytes));
    let job = start(&mut world, &content::blake3_id(&bytes), &[at(2)]);
    let done = move |world: &World| world.peer(GETTER).node.progress(job).map_or(0, |p| p.done);
    assert!(world.run_until(Duration::from_secs(60), move |world| done(world) > 8 << 20));
    world.set_link(at(2), after);
    let changed = world.now();
    // What was on its way already may still arrive.
    world.run_for(before.delay * 2 + Duration::from_millis(50));
    let had = done(&world);
    assert!(world.run_until(Duration::from_secs(30), move |world| done(world) > had + (200 << 10)));
    let pause = world.now().since(changed);
    (pause, finish(&mut world, job, &bytes, 120))
}

#[test]
fn a_path_that_begins_to_swallow_long_packets_is_used_with_short_ones() {
    let link = Link::rated(50, 20, 256 << 10);
    let (pause, outcome) = with_change(30, link, Link { swallows_above: 1280, ..link });
    assert!(pause < Duration::from_secs(3), "{pause:?}");
    assert!(outcome.seconds < 4.0, "{}", outcome.seconds);
}

#[test]
fn a_rate_that_halves_and_a_round_trip_that_triples_are_adapted_to() {
    let link = Link::rated(50, 20, 256 << 10);
    let (pause, _) = with_change(31, link, Link { rate: Some(25 * 125_000), ..link });
    assert!(pause < Duration::from_secs(3), "rate: {pause:?}");
    let (pause, _) = with_change(32, link, Link { delay: link.delay * 3, ..link });
    assert!(pause < Duration::from_secs(3), "round trip: {pause:?}");
    let (pause, _) = with_change(33, link, Link { rate: Some(200 * 125_000), ..link });
    assert!(pause < Duration::from_secs(1), "more rate: {pause:?}");
}

#[test]
fn a_blackout_is_survived() {
    let bytes = content::bytes(34, 16 << 20);
    let mut world = World::new(35);
    world.add(GETTER, Link { delay: Duration::from_millis(1), ..Link::default() }, Peer::new(1));
    world.add(at(2), Link::rated(50, 20, 256 << 10), sharing(2, &bytes));
    let job = start(&mut world, &content::blake3_id(&bytes), &[at(2)]);
    let done = move |world: &World| world.peer(GETTER).node.progress(job).map_or(0, |p| p.done);
    assert!(world.run_until(Duration::from_secs(60), move |world| done(world) > 4 << 20));
    world.set_up(at(2), false);
    world.run_for(Duration::from_secs(2));
    world.set_up(at(2), true);
    let (back, had) = (world.now(), done(&world));
    assert!(world.run_until(Duration::from_secs(30), move |world| done(world) > had + (200 << 10)));
    let pause = world.now().since(back);
    assert!(pause < Duration::from_secs(3), "{pause:?}");
    finish(&mut world, job, &bytes, 60);
}

#[test]
fn among_our_own_nodes_no_packet_is_fragmented_and_requests_share_datagrams() {
    let bytes = content::bytes(50, 4 << 20);
    let mut world = World::new(51);
    world.add(GETTER, Link::default(), Peer::new(1));
    world.add(at(2), Link::rated(100, 20, 256 << 10), sharing(2, &bytes));
    let longest = std::rc::Rc::new(std::cell::Cell::new(0));
    let seen = longest.clone();
    world.watch(move |_, _, _, datagram| seen.set(seen.get().max(datagram.len())));
    let job = start(&mut world, &content::blake3_id(&bytes), &[at(2)]);
    finish(&mut world, job, &bytes, 60);
    assert!(longest.get() <= 1472, "{}", longest.get());
    let (asked, answered) = (world.traffic(GETTER).datagrams_out, world.traffic(at(2)).datagrams_out);
    assert!(asked * 2 < answered, "{asked} datagrams asked for {answered}");
}

#[test]
fn a_source_that_limits_its_rate_is_not_asked_twice() {
    let bytes = content::bytes(60, 8 << 20);
    let mut source = Peer::with_config(cjp2p_wire::node::Config {
        upload_rate: Some(8 << 20),
        ..cjp2p_tests::sim::peer::config(2)
    });
    source.store.share(bytes.clone(), None);
    // Next to each other, so that the limit is all that delays.
    let link = Link { delay: Duration::from_micros(10), mtu: 65_536, ..Link::default() };
    let mut world = World::new(61);
    let mut getter = Peer::new(1);
    getter.mtu = 65_536;
    world.add(GETTER, link, getter);
    world.add(at(2), link, source);
    let job = start(&mut world, &content::blake3_id(&bytes), &[at(2)]);
    let outcome = finish(&mut world, job, &bytes, 60);
    assert!(outcome.seconds < 2.0, "{}", outcome.seconds);
    assert!(outcome.wasted * 50 < outcome.received, "{} of {}", outcome.wasted, outcome.received);
}
