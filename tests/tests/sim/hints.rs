//! Content wanted by its SHA-256 hash, checked by the tree that a source names, over the simulated network.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::foreign::RustToday;
use cjp2p_tests::sim::liars::{Liar, Lie};
use cjp2p_tests::sim::{Link, Peer, World};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::datagram;
use cjp2p_wire::download::Progress;
use cjp2p_wire::message::Message;
use cjp2p_wire::store::JobId;
use proptest::prelude::*;

const GETTER: SocketAddr = at(1);

const fn at(n: u8) -> SocketAddr {
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, n), 24254))
}

fn sharing(seed: u64, bytes: &[u8]) -> Peer {
    let mut peer = Peer::new(seed);
    peer.store.share(bytes.to_vec(), None);
    peer
}

/// Shares content and says nothing of its other id, as nodes do that know no hints.
fn sharing_without_hints(seed: u64, bytes: &[u8]) -> Peer {
    let mut peer = sharing(seed, bytes);
    peer.store.forget_hints();
    peer
}

fn world(seed: u64) -> World {
    let mut world = World::new(seed);
    world.add(GETTER, Link::rated(1000, 1, 4 << 20), Peer::new(1));
    world
}

fn link() -> Link {
    Link::rated(50, 10, 256 << 10)
}

fn start(world: &mut World, bytes: &[u8], sources: &[SocketAddr]) -> JobId {
    let id = content::sha256_id(bytes);
    world.with_peer(GETTER, |peer, now| peer.fetch(now, &id, sources))
}

fn add_source(world: &mut World, job: JobId, source: SocketAddr) {
    world.with_peer(GETTER, |peer, now| {
        peer.node.add_source(now, job, source, false);
        peer.settle(now);
        peer.node.handle_room(now, &mut peer.store);
    });
}

struct Outcome {
    seconds: f64,
    progress: Progress,
    liars: Vec<SocketAddr>,
    restaged: u32,
}

fn finish(world: &mut World, job: JobId, bytes: &[u8], limit: u64) -> Outcome {
    let begun = world.now();
    let over = world.run_until(Duration::from_secs(limit), |world| world.peer(GETTER).is_over(job));
    let peer = world.peer(GETTER);
    let progress = peer.node.progress(job);
    assert!(over, "not over after {limit} s: {progress:?}");
    assert_eq!(peer.failure(job), None, "{progress:?}");
    assert!(peer.fetched(job) == bytes, "what was written is not the content");
    Outcome {
        seconds: world.now().since(begun).as_secs_f64(),
        progress: progress.expect("the fetch is there"),
        liars: peer.liars(),
        restaged: peer.store.fetched[&job].restaged,
    }
}

/// Counts requests for parts of a tree, by whom they go to.
fn count_tree_requests(world: &mut World, to_whom: SocketAddr) -> Rc<Cell<u32>> {
    let count = Rc::new(Cell::new(0));
    let counted = count.clone();
    world.watch(move |_, from, to, bytes| {
        if from == GETTER && to == to_whom {
            let messages = datagram::decode(bytes).expect("we send arrays");
            let of_tree = |message: &Message<'_>| match message {
                Message::PleaseSendContent(request) => request.id.starts_with("blake3_tree_v2/"),
                _ => false,
            };
            counted.set(counted.get() + messages.iter().filter(|message| of_tree(message)).count() as u32);
        }
    });
    count
}

#[test]
fn content_is_checked_by_the_tree_of_the_id_that_its_source_names() {
    let bytes = content::bytes(1, 8 << 20);
    let mut world = world(2);
    world.add(at(2), link(), sharing(2, &bytes));
    let asked = count_tree_requests(&mut world, at(2));
    let job = start(&mut world, &bytes, &[at(2)]);
    let outcome = finish(&mut world, job, &bytes, 60);
    assert!(asked.get() >= 16, "{}", asked.get());
    assert_eq!((outcome.liars, outcome.restaged), (vec![], 0));
    let wasted = outcome.progress.wasted;
    assert!(wasted * 100 < outcome.progress.received, "{:?}", outcome.progress);
    let tree = world.peer(GETTER).node.fetch(job).and_then(|fetch| fetch.verifier());
    let root = tree.map(|tree| ContentId::Blake3(*tree.root()));
    assert_eq!(root, Some(content::blake3_id(&bytes)), "the hint is proven in the end");
}

#[test]
fn without_a_hint_the_same_bytes_come_and_nobody_is_asked_for_a_tree() {
    let bytes = content::bytes(3, 4 << 20);
    let mut world = world(4);
    world.add(at(2), link(), sharing_without_hints(2, &bytes));
    let asked = count_tree_requests(&mut world, at(2));
    let job = start(&mut world, &bytes, &[at(2)]);
    finish(&mut world, job, &bytes, 60);
    assert_eq!(asked.get(), 0);
    assert!(world.peer(GETTER).node.fetch(job).and_then(|fetch| fetch.verifier()).is_none());
}

#[test]
fn a_source_that_knows_no_hints_helps_with_the_content_and_is_not_asked_for_the_tree() {
    let bytes = content::bytes(5, 8 << 20);
    let mut world = world(6);
    world.add(at(2), link(), sharing(2, &bytes));
    world.add(at(3), link(), RustToday::new(3).share(&bytes));
    let asked = count_tree_requests(&mut world, at(3));
    let job = start(&mut world, &bytes, &[at(2), at(3)]);
    let outcome = finish(&mut world, job, &bytes, 60);
    assert_eq!(asked.get(), 0);
    assert!(world.traffic(at(3)).bytes_out > 1 << 20, "it sent some of it");
    assert_eq!((outcome.liars, outcome.restaged), (vec![], 0));
}

#[test]
fn three_of_four_sources_lie_in_each_way_and_the_honest_one_is_enough() {
    let bytes = content::bytes(7, 4 << 20);
    let lies = [
        Lie::Content,
        Lie::Tree,
        Lie::After(300),
        Lie::HintOfNothing,
        Lie::HintOfOther,
        Lie::OtherContent,
        Lie::Length(bytes.len() as u64 + 1),
        Lie::LengthThenSilence(bytes.len() as u64 / 2),
    ];
    for lie in lies {
        for (hints, cookies) in [(true, true), (false, true), (true, false)] {
            for honest_hints in [true, false] {
                let mut world = world(8);
                for n in 2..5 {
                    let mut liar = Liar::new(lie, &bytes, u64::from(n));
                    liar = if hints { liar } else { liar.without_hints() };
                    liar = if cookies { liar } else { liar.without_cookies() };
                    world.add(at(n), link(), liar);
                }
                let honest = if honest_hints { sharing } else { sharing_without_hints };
                world.add(at(9), link(), honest(9, &bytes));
                let job = start(&mut world, &bytes, &[at(2), at(3), at(4), at(9)]);
                let outcome = finish(&mut world, job, &bytes, 120);
                let case = format!("{lie:?} hints: {hints} {honest_hints} cookies: {cookies}");
                println!("{case}: {:.1} s, {:?}, {:?}", outcome.seconds, outcome.liars, outcome.progress);
                assert!(!outcome.liars.contains(&at(9)), "{case}: {:?}", outcome.liars);
                let certain = match lie {
                    // What turns out wrong at once, or by the end.
                    Lie::Content | Lie::After(_) => honest_hints || hints,
                    Lie::HintOfNothing => hints && honest_hints,
                    Lie::HintOfOther | Lie::OtherContent | Lie::Tree => hints,
                    _ => false,
                };
                if certain && cookies && (honest_hints || lie != Lie::Tree) {
                    assert_eq!(outcome.liars.len(), 3, "{case}: {:?}", outcome.liars);
                }
            }
        }
    }
}

#[test]
fn where_all_agree_on_false_content_the_fetch_ends_in_a_mismatch() {
    let bytes = content::bytes(19, 1 << 20);
    let mut world = world(20);
    world.add(at(2), link(), Liar::new(Lie::OtherContent, &bytes, 1));
    world.add(at(3), link(), Liar::new(Lie::OtherContent, &bytes, 2));
    let job = start(&mut world, &bytes, &[at(2), at(3)]);
    assert!(world.run_until(Duration::from_secs(60), |world| world.peer(GETTER).is_over(job)));
    let getter = world.peer(GETTER);
    assert_eq!(getter.failure(job).as_deref(), Some("Mismatch"));
    assert_eq!(getter.liars(), [at(2), at(3)]);
    assert!(getter.node.fetch(job).and_then(|fetch| fetch.verifier()).is_none());
}

#[test]
fn a_false_hint_whose_content_drips_in_does_not_keep_honest_sources_out_for_ever() {
    let bytes = content::bytes(21, 8 << 20);
    let mut world = world(22);
    let slow = Link { rate: Some(8_000), ..link() };
    world.add(at(2), slow, Liar::new(Lie::OtherContent, &bytes, 1));
    world.add(at(3), link(), sharing(3, &bytes));
    let job = start(&mut world, &bytes, &[at(2)]);
    world.run_for(Duration::from_secs(1));
    add_source(&mut world, job, at(3));
    let outcome = finish(&mut world, job, &bytes, 5000);
    assert_eq!(outcome.liars, [at(2)]);
    assert!((500.0..700.0).contains(&outcome.seconds), "{} s", outcome.seconds);
}

#[test]
fn who_claims_a_tebibyte_and_sends_for_ever_does_not_keep_honest_sources_out() {
    let bytes = content::bytes(23, 6 << 20);
    for head_start in [0, 5] {
        let mut world = world(24);
        world.add(at(2), link(), Liar::new(Lie::EndlessTree, &bytes, 1).without_hints());
        world.add(at(3), link(), sharing_without_hints(3, &bytes));
        let job = start(&mut world, &bytes, &[at(2)]);
        world.run_for(Duration::from_secs(head_start));
        add_source(&mut world, job, at(3));
        let outcome = finish(&mut world, job, &bytes, 60);
        assert_eq!(outcome.liars, [at(2)]);
        assert!(outcome.seconds < head_start as f64 + 5.0, "{} s", outcome.seconds);
    }
}

#[test]
fn a_hint_that_comes_late_is_followed_and_nothing_is_fetched_twice() {
    let bytes = content::bytes(9, 16 << 20);
    let mut world = world(10);
    world.add(at(2), link(), sharing_without_hints(2, &bytes));
    world.add(at(3), link(), sharing(3, &bytes));
    let job = start(&mut world, &bytes, &[at(2)]);
    world.run_for(Duration::from_secs(1));
    let done = |world: &World| world.peer(GETTER).node.progress(job).map_or(0, |p| p.done);
    assert!((1 << 20..8 << 20).contains(&done(&world)), "{}", done(&world));
    let asked = count_tree_requests(&mut world, at(3));
    add_source(&mut world, job, at(3));
    let outcome = finish(&mut world, job, &bytes, 60);
    assert!(asked.get() > 8, "{}", asked.get());
    assert_eq!(outcome.restaged, 0);
    assert!(outcome.progress.wasted * 50 < outcome.progress.received, "{:?}", outcome.progress);
    let tree = world.peer(GETTER).node.fetch(job).and_then(|fetch| fetch.verifier());
    assert!(tree.is_none(), "of what came before, the hint shows nothing");
}

#[test]
fn where_the_only_source_with_the_tree_dies_the_others_go_on_without_it() {
    let bytes = content::bytes(11, 40 << 20);
    let mut world = world(12);
    world.add(at(2), Link::rated(20, 10, 256 << 10), sharing(2, &bytes));
    world.add(at(3), link(), sharing_without_hints(3, &bytes));
    let job = start(&mut world, &bytes, &[at(2), at(3)]);
    let done = move |world: &World| world.peer(GETTER).node.progress(job).map_or(0, |p| p.done);
    assert!(world.run_until(Duration::from_secs(60), move |world| done(world) > 4 << 20));
    world.set_up(at(2), false);
    let outcome = finish(&mut world, job, &bytes, 60);
    assert_eq!((outcome.liars, outcome.restaged), (vec![], 0));
    assert!(outcome.progress.wasted * 10 < outcome.progress.received, "{:?}", outcome.progress);
}

#[test]
fn what_an_interrupted_fetch_had_staged_is_not_held_against_the_hint() {
    let bytes = content::bytes(13, 4 << 20);
    let mut world = world(14);
    world.add(at(2), link(), sharing(2, &bytes));
    let job = world.with_peer(GETTER, |peer, now| peer.resume_wrongly(now, &bytes, 65_536, &[at(2)]));
    let outcome = finish(&mut world, job, &bytes, 30);
    assert_eq!((outcome.liars, outcome.restaged), (vec![], 1));
    assert!(world.peer(GETTER).node.fetch(job).and_then(|fetch| fetch.verifier()).is_some());
}

#[test]
fn the_same_content_by_both_ids_at_once_is_fetched_by_one_tree() {
    let bytes = content::bytes(15, 4 << 20);
    let mut world = world(16);
    world.add(at(2), link(), sharing(2, &bytes));
    let by_sha256 = start(&mut world, &bytes, &[at(2)]);
    let by_blake3 =
        world.with_peer(GETTER, |peer, now| peer.fetch(now, &content::blake3_id(&bytes), &[at(2)]));
    finish(&mut world, by_blake3, &bytes, 60);
    let outcome = finish(&mut world, by_sha256, &bytes, 60);
    assert_eq!((outcome.liars, outcome.restaged), (vec![], 0));
    assert!(world.now().as_secs_f64() < 3.0, "{:?}", world.now());
}

#[test]
fn strangers_are_told_other_ids_within_the_rule_of_two_and_only_when_they_ask() {
    let bytes = content::bytes(17, 100_000);
    let id = content::sha256_id(&bytes).to_string();
    let mut world = World::new(18);
    world.add(at(2), Link::default(), sharing(2, &bytes));
    let told = Rc::new(Cell::new((0, 0)));
    let counted = told.clone();
    world.watch(move |_, from, _, bytes| {
        if from == at(2) {
            let messages = datagram::decode(bytes).expect("we send arrays");
            let hints = messages.iter().filter(|m| matches!(m, Message::TheseIdsNameTheSameContent(_)));
            counted.set((counted.get().0 + hints.count(), bytes.len()));
        }
    });
    let ask = |text: String, pad: usize| format!("{text:pad$}").into_bytes();
    let question = format!(r#"{{"PleaseListIdsOfTheSameContent":{{"id":"{id}"}}}}"#);
    let always = r#"{"PleaseAlwaysReturnThisMessage":{"cookie":"x"}}"#;
    let plain = format!(r#"[{always},{{"PleaseSendContent":{{"id":"{id}","offset":0,"length":900}}}}]"#);
    let short = format!("[{question}]");
    let long = format!("[{always},{question}]");
    // A short question is answered with a wish for our cookie, which leaves no room beside it: who returns that may ask again.
    let cases = [(7, plain, 800, 0), (7, short.clone(), 0, 0), (8, short, 0, 0), (7, long, 0, 1)];
    for (asker, text, pad, expected) in cases {
        told.set((0, 0));
        let bytes = ask(text.clone(), pad);
        let sent = bytes.len();
        world.inject(at(asker), at(2), bytes);
        world.run_for(Duration::from_secs(1));
        assert_eq!(told.get().0, expected, "{asker}: {text}");
        assert!(told.get().1 <= 2 * sent, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whoever_gives_hints_and_whoever_lies_the_bytes_are_the_same(
        seed in 0u64..1000,
        length in 1usize..1_500_000,
        by_sha256: bool,
        honest_hints: bool,
        lies in prop::collection::vec((0usize..7, any::<bool>(), any::<bool>()), 0..3),
        loss in 0.0..0.05f64,
    ) {
        let bytes = content::bytes(seed, length);
        let mut world = World::new(seed);
        let link = Link { loss, ..link() };
        world.add(GETTER, link, Peer::new(1));
        let kinds = [
            Lie::Content,
            Lie::Tree,
            Lie::After(20),
            Lie::HintOfNothing,
            Lie::HintOfOther,
            Lie::OtherContent,
            Lie::Length(length as u64 * 2),
        ];
        let mut sources = Vec::new();
        for (n, (lie, hints, cookies)) in lies.into_iter().enumerate() {
            let mut liar = Liar::new(kinds[lie], &bytes, seed + n as u64);
            liar = if hints { liar } else { liar.without_hints() };
            liar = if cookies { liar } else { liar.without_cookies() };
            let place = at(2 + n as u8);
            world.add(place, link, liar);
            sources.push(place);
        }
        // Where the liars are asked first, and where last.
        let honest = at(if seed % 2 == 0 { 9 } else { 0 });
        world.add(honest, link, if honest_hints { sharing } else { sharing_without_hints }(9, &bytes));
        sources.push(honest);
        let id = if by_sha256 { content::sha256_id(&bytes) } else { content::blake3_id(&bytes) };
        let job = world.with_peer(GETTER, |peer, now| peer.fetch(now, &id, &sources));
        let outcome = finish(&mut world, job, &bytes, 200);
        prop_assert!(!outcome.liars.contains(&honest), "{:?}", outcome.liars);
    }
}
