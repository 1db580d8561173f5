//! Fetching ranges of content over the simulated network.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::liars::{Liar, Lie};
use cjp2p_tests::sim::memory::Fetched;
use cjp2p_tests::sim::{Link, Peer, World};
use cjp2p_wire::download::{Progress, RangeSpec, select};
use cjp2p_wire::store::JobId;
use cjp2p_wire::time::Time;
use proptest::prelude::*;

const fn at(n: u8) -> SocketAddr {
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, n), 24254))
}

const GETTER: SocketAddr = at(1);
const SOURCE: SocketAddr = at(2);

fn sharing(bytes: &[u8]) -> Peer {
    let mut peer = Peer::new(2);
    peer.store.share(bytes.to_vec(), None);
    peer
}

/// A getter beside a source at the end of this link, and a fetch of these ranges.
fn start(seed: u64, link: Link, bytes: &[u8], ranges: Vec<RangeSpec>) -> (World, JobId) {
    let mut world = World::new(seed);
    world.add(GETTER, Link::default(), Peer::new(1));
    world.add(SOURCE, link, sharing(bytes));
    let id = content::blake3_id(bytes);
    let job = world.with_peer(GETTER, |peer, now| peer.fetch_ranges(now, &id, &[SOURCE], ranges, None));
    (world, job)
}

/// Runs it to its end, which is a good one, and checks that what is wanted came.
fn finish(world: &mut World, job: JobId, bytes: &[u8], ranges: &[RangeSpec]) -> Progress {
    let over = world.run_until(Duration::from_secs(120), |world| world.peer(GETTER).is_over(job));
    let peer = world.peer(GETTER);
    let progress = peer.node.progress(job).expect("the fetch is there");
    assert!(over, "{progress:?}");
    assert_eq!(peer.failure(job), None, "{progress:?}");
    let selected = select(ranges, bytes.len() as u64);
    let wanted = selected.iter().map(|range| range.end - range.start).sum();
    assert_eq!((progress.done, progress.wanted), (wanted, Some(wanted)));
    for range in selected {
        assert!(has(world, job, range.clone()), "{range:?}");
        let range = range.start as usize..range.end as usize;
        assert!(fetched(world, job).bytes[range.clone()] == bytes[range]);
    }
    progress
}

fn fetched(world: &World, job: JobId) -> &Fetched {
    &world.peer(GETTER).store.fetched[&job]
}

fn has(world: &World, job: JobId, range: Range<u64>) -> bool {
    world.peer(GETTER).store.fetched.get(&job).is_some_and(|fetched| fetched.done.contains(range))
}

#[test]
fn a_range_of_a_large_file_costs_little_more_than_itself() {
    // The tree is as high as that of 8 GiB.
    let bytes = content::bytes(40, 200 << 20);
    let (from, to) = (100_000_001, 101_048_577);
    for ranges in [vec![RangeSpec::Span(from..to)], vec![RangeSpec::Last(1 << 20)]] {
        let link = Link::rated(100, 20, 256 << 10);
        let (mut world, job) = start(41, link, &bytes, ranges.clone());
        let progress = finish(&mut world, job, &bytes, &ranges);
        assert!(progress.received < (to - from) * 115 / 100, "{}", progress.received);
        assert!(progress.wasted < 2000, "{}", progress.wasted);
        // Beside the range, its leaves' other bytes, and the end.
        let written = fetched(&world, job).done.total();
        assert!(written <= to - from + 2 * 4095 + (16 << 10), "{written}");
    }
}

#[test]
fn a_range_comes_as_soon_as_the_beginning_of_everything_does() {
    let bytes = content::bytes(54, 200 << 20);
    let length = bytes.len() as u64;
    let took = |ranges: Vec<RangeSpec>, first: Range<u64>| {
        let link = Link { delay: Duration::from_millis(50), ..Link::default() };
        let (mut world, job) = start(55, link, &bytes, ranges);
        assert!(world.run_until(Duration::from_secs(5), |world| has(world, job, first.clone())));
        world.now().since(Time::ZERO)
    };
    let everything = took(Vec::new(), 0..65_536);
    for range in
        [RangeSpec::Span(0..65_536), RangeSpec::Span(100_000_000..100_065_536), RangeSpec::Last(65_536)]
    {
        let took = took(vec![range.clone()], range.within(length));
        assert!(
            took <= everything + Duration::from_millis(3),
            "{range:?} took {took:?}, and the beginning of everything {everything:?}"
        );
    }
}

#[test]
fn ranges_come_in_the_order_they_are_named() {
    let bytes = content::bytes(42, 4 << 20);
    let (first, second) = (3_000_000..3_500_000, 100..600_000);
    let ranges = vec![RangeSpec::Span(first.clone()), RangeSpec::Span(second), RangeSpec::Last(500_000)];
    let (mut world, job) = start(43, Link::rated(20, 20, 256 << 10), &bytes, ranges.clone());
    assert!(world.run_until(Duration::from_secs(10), |world| has(world, job, first.clone())));
    assert!(!has(&world, job, 500_000..600_000));
    assert!(world.run_until(Duration::from_secs(10), |world| has(world, job, 0..600_000)));
    assert!(!has(&world, job, 4_000_000..4_100_000));
    finish(&mut world, job, &bytes, &ranges);
    assert!(!has(&world, job, 1_000_000..1_100_000));
}

#[test]
fn a_range_past_the_end_fails_as_soon_as_the_length_is_proven_and_one_across_it_is_clipped() {
    for length in [1u64, 4096, 65_536, 65_537, 5_000_000] {
        let bytes = content::bytes(44, length as usize);
        for begin in [length, length + 1, length + 100_000, u64::MAX - 1] {
            let ranges =
                vec![RangeSpec::Last(1), RangeSpec::Span(begin..u64::MAX), RangeSpec::Span(0..length)];
            let (mut world, job) = start(45, Link::rated(20, 20, 256 << 10), &bytes, ranges);
            assert!(world.run_until(Duration::from_secs(2), |world| world.peer(GETTER).is_over(job)));
            let failure = world.peer(GETTER).failure(job);
            let expected = format!("PastTheEnd {{ nth: 1, length: {length} }}");
            assert_eq!(failure.as_deref(), Some(&*expected), "{length} {begin}");
        }
        for ranges in [vec![RangeSpec::Span(length - 1..u64::MAX)], vec![RangeSpec::Last(u64::MAX)]] {
            let (mut world, job) = start(46, Link::default(), &bytes, ranges.clone());
            finish(&mut world, job, &bytes, &ranges);
        }
    }
}

#[test]
fn of_empty_content_nothing_can_be_had_but_its_end() {
    let (mut world, job) = start(47, Link::default(), b"", vec![RangeSpec::Last(5)]);
    finish(&mut world, job, b"", &[RangeSpec::Last(5)]);
    let (world, job) = start(47, Link::default(), b"", vec![RangeSpec::Span(0..1)]);
    let failure = world.peer(GETTER).failure(job);
    assert_eq!(failure.as_deref(), Some("PastTheEnd { nth: 0, length: 0 }"));
}

#[test]
fn the_last_bytes_are_those_of_the_true_length_whatever_liars_claim() {
    let bytes = content::bytes(48, 3_000_000);
    let length = bytes.len() as u64;
    let lies = [length - 1, length + 1, length / 2, length * 2, 4096, 100_000, 1 << 53];
    for lie in lies.map(Lie::Length).into_iter().chain([Lie::LengthThenSilence(length - 5000)]) {
        println!("{lie:?}");
        let mut world = World::new(49);
        world.add(GETTER, Link::default(), Peer::new(1));
        // The liar is nearer, and so is heard first.
        let near = Link { delay: Duration::from_millis(1), ..Link::default() };
        world.add(at(3), near, Liar::new(lie, &bytes, 3));
        world.add(SOURCE, Link::rated(50, 20, 256 << 10), sharing(&bytes));
        let id = content::blake3_id(&bytes);
        let ranges = vec![RangeSpec::Span(2_400_000..2_500_000), RangeSpec::Last(200_000)];
        let job = world.with_peer(GETTER, |peer, now| {
            peer.store.repeats = true;
            peer.fetch_ranges(now, &id, &[at(3), SOURCE], ranges.clone(), None)
        });
        finish(&mut world, job, &bytes, &ranges);
        assert!(world.peer(GETTER).liars().iter().all(|liar| *liar == at(3)));
    }
}

#[test]
fn a_slow_reader_of_ranges_out_of_order_holds_the_fetch_and_does_not_fail_it() {
    let bytes = content::bytes(50, 4_000_000);
    let ranges = vec![
        RangeSpec::Span(2_000_000..2_300_000),
        RangeSpec::Span(10..20),
        RangeSpec::Span(3_000_000..3_000_001),
        RangeSpec::Span(1_000_000..1_500_000),
        RangeSpec::Span(3_900_000..u64::MAX),
    ];
    let mut world = World::new(51);
    world.add(GETTER, Link::default(), Peer::new(1));
    world.add(SOURCE, Link::default(), sharing(&bytes));
    let job = world.with_peer(GETTER, |peer, now| {
        peer.store.room.insert(JobId(0), 400_000);
        peer.fetch_ranges(now, &content::blake3_id(&bytes), &[SOURCE], ranges.clone(), None)
    });
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.peer(GETTER).failure(job), None);
    for range in [2_000_000..2_300_000, 10..20, 3_000_000..3_000_001, 1_000_000..1_080_000] {
        assert!(has(&world, job, range));
    }
    assert!(!has(&world, job, 1_100_000..1_100_001));
    // What is taken bit by bit comes bit by bit, to the end.
    for room in (500_000..=900_011).step_by(40_001) {
        world.with_peer(GETTER, |peer, now| {
            peer.store.room.insert(JobId(0), room);
            peer.node.handle_room(now, &mut peer.store);
        });
        world.run_for(Duration::from_secs(30));
    }
    world.with_peer(GETTER, |peer, now| {
        peer.store.room.insert(JobId(0), 900_011);
        peer.node.handle_room(now, &mut peer.store);
    });
    finish(&mut world, job, &bytes, &ranges);
}

/// Has the getter want something else of what it fetches.
fn want(world: &mut World, job: JobId, ranges: Vec<RangeSpec>) -> bool {
    world.with_peer(GETTER, |peer, now| peer.node.want(now, job, ranges, &mut peer.store))
}

#[test]
fn a_reader_that_goes_elsewhere_is_there_after_two_round_trips_and_what_lies_between_is_not_fetched() {
    let bytes = content::bytes(56, 200 << 20);
    let all = || vec![RangeSpec::Span(0..u64::MAX)];
    let link = Link { delay: Duration::from_millis(50), ..Link::rated(40, 50, 512 << 10) };
    let (mut world, job) = start(57, link, &bytes, all());
    world.run_for(Duration::from_secs(2));
    let read = fetched(&world, job).done.first_gap(0..u64::MAX).map_or(0, |gap| gap.start);
    assert!(read > 4 << 20, "{read}");
    for (nth, to) in [150_000_000, 60_000_000, 199_000_000].into_iter().enumerate() {
        assert!(want(&mut world, job, vec![RangeSpec::Span(to..u64::MAX)]));
        let before = world.now();
        assert!(world.run_until(Duration::from_secs(5), |world| has(world, job, to..to + 65_536)));
        let took = world.now().since(before);
        // The way there and back, the proofs above, and what was on its way.
        assert!(took <= Duration::from_millis(250), "seek {nth} took {took:?}");
    }
    let done = fetched(&world, job).done.total();
    assert!(done < 40 << 20, "{done}");
    assert!(!has(&world, job, 100_000_000..100_000_001));
    // What is here already is all that is wanted: it is over.
    assert!(want(&mut world, job, vec![RangeSpec::Span(0..1000), RangeSpec::Last(1)]));
    assert!(world.run_until(Duration::from_secs(1), |world| world.peer(GETTER).is_over(job)));
    assert!(!want(&mut world, job, all()), "it is over");
}

#[test]
fn wanting_what_is_past_the_end_fails_and_what_is_wanted_before_the_length_is_known_counts() {
    let bytes = content::bytes(58, 3_000_000);
    let (mut world, job) = start(59, Link::default(), &bytes, vec![RangeSpec::Span(0..u64::MAX)]);
    let last = vec![RangeSpec::Span(2_000_000..2_000_100)];
    assert!(want(&mut world, job, last.clone()));
    finish(&mut world, job, &bytes, &last);
    assert!(!has(&world, job, 1_000_000..1_000_001));
    let (mut world, job) =
        start(59, Link::rated(10, 20, 256 << 10), &bytes, vec![RangeSpec::Span(0..u64::MAX)]);
    world.run_for(Duration::from_millis(500));
    want(&mut world, job, vec![RangeSpec::Span(3_000_000..u64::MAX)]);
    let failure = world.peer(GETTER).failure(job);
    assert_eq!(failure.as_deref(), Some("PastTheEnd { nth: 0, length: 3000000 }"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn however_often_a_reader_changes_its_mind_what_it_wants_last_comes(
        seeks in prop::collection::vec((0u64..3_000_000, 1u64..400_000, 0u64..120), 1..12),
        loss in 0.0..0.05,
    ) {
        let bytes = content::bytes(60, 3_000_000);
        let link = Link { loss, ..Link::rated(50, 20, 256 << 10) };
        let (mut world, job) = start(61, link, &bytes, vec![RangeSpec::Span(0..u64::MAX)]);
        let mut last = Vec::new();
        for (from, length, pause) in seeks {
            world.run_for(Duration::from_millis(pause));
            let ranges = vec![RangeSpec::Span(from..from + length)];
            // What was wanted before may be here already, and all of it over.
            if !want(&mut world, job, ranges.clone()) {
                break;
            }
            last = ranges;
        }
        let over = world.run_until(Duration::from_secs(60), |world| world.peer(GETTER).is_over(job));
        prop_assert!(over);
        prop_assert_eq!(world.peer(GETTER).failure(job), None);
        let done = &fetched(&world, job).done;
        prop_assert!(last.iter().all(|range| done.contains(range.within(3_000_000))));
    }
}

fn range(length: u64) -> impl Strategy<Value = RangeSpec> {
    prop_oneof![
        (0..length, 1..200_000u64).prop_map(|(start, len)| RangeSpec::Span(start..start + len)),
        (0..length, 1..10u64).prop_map(|(start, len)| RangeSpec::Span(start..start + len)),
        (1..2 * length).prop_map(RangeSpec::Last),
    ]
}

fn length_and_ranges() -> impl Strategy<Value = (u64, Vec<RangeSpec>)> {
    prop_oneof![1u64..70_000, 60_000u64..3_000_000]
        .prop_flat_map(|length| (Just(length), prop::collection::vec(range(length), 1..8)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_ranges_come_whole_and_little_else((length, ranges) in length_and_ranges(), loss in 0.0..0.05) {
        let bytes = content::bytes(52, length as usize);
        let link = Link { loss, ..Link::rated(50, 10, 256 << 10) };
        let (mut world, job) = start(53, link, &bytes, ranges.clone());
        finish(&mut world, job, &bytes, &ranges);
        let selected = select(&ranges, length);
        let wanted: u64 = selected.iter().map(|range| range.end - range.start).sum();
        let written = fetched(&world, job).done.total();
        prop_assert!(written <= wanted + 8192 * selected.len() as u64 + (64 << 10), "{} of {}", written, wanted);
    }
}
