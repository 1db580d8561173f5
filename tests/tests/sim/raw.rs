//! Raw content: who gets it, and what becomes of it among liars, forgers and programs that know nothing of it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::foreign::{Ruby, RustFebruary, RustToday};
use cjp2p_tests::sim::liars::raw::RawLie;
use cjp2p_tests::sim::liars::{Liar, Lie};
use cjp2p_tests::sim::peer::config;
use cjp2p_tests::sim::{HostBehaviour, Link, Outbox, Peer, World};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::datagram::raw::RawHeader;
use cjp2p_wire::datagram::{self, Encoder};
use cjp2p_wire::message::{ContentRequest, Handle, Message};
use cjp2p_wire::node::{AMPLIFICATION, Config};
use cjp2p_wire::time::Time;

const GETTER: SocketAddr = at(1);
const SERVER: SocketAddr = at(2);
const LIAR: SocketAddr = at(3);

const fn at(n: u8) -> SocketAddr {
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, n), 24254))
}

/// What was seen on its way.
#[derive(Default)]
struct Seen {
    /// Raw datagrams, the bytes of content in them, and in the one with most.
    raw: usize,
    raw_bytes: u64,
    fullest: usize,
    /// The longest of them.
    longest: usize,
    /// Bytes of content in JSON.
    json_bytes: u64,
    /// Handles that were told.
    handles: BTreeSet<String>,
    /// Datagrams that ask for content, and those of them that ask for the return of a cookie too.
    requests: usize,
    offers: usize,
    /// The raw datagrams, with whom they were for.
    kept: Vec<(SocketAddr, Vec<u8>)>,
}

impl Seen {
    fn see(&mut self, to: SocketAddr, bytes: &[u8]) {
        let (mut asks, mut offers) = (false, false);
        for message in datagram::decode(bytes).unwrap_or_default() {
            match message {
                Message::BytesFollow(block) => {
                    self.raw += 1;
                    self.raw_bytes += block.length;
                    self.fullest = self.fullest.max(block.data.len());
                    self.longest = self.longest.max(bytes.len());
                    self.kept.push((to, bytes.to_vec()));
                }
                Message::Content(block) => self.json_bytes += block.data.len() as u64,
                Message::PleaseSendContent(request) => {
                    asks = true;
                    self.handles.extend(request.handle.map(|handle| handle.as_str().to_owned()));
                }
                Message::PleaseAlwaysReturnThisMessage(_) => offers = true,
                _ => {}
            }
        }
        self.requests += usize::from(asks);
        self.offers += usize::from(asks && offers);
    }
}

fn watch(world: &mut World) -> Rc<RefCell<Seen>> {
    let seen = Rc::new(RefCell::new(Seen::default()));
    let sees = seen.clone();
    world.watch(move |_, _, to, bytes| sees.borrow_mut().see(to, bytes));
    seen
}

fn without_raw(seed: u64) -> Config {
    Config { raw: false, ..config(seed) }
}

fn sharing(config: Config, bytes: &[u8]) -> Peer {
    let mut peer = Peer::with_config(config);
    peer.store.share(bytes.to_vec(), Some("file"));
    peer
}

/// Fetches until it is over; the bytes are right, and nobody but `liars` is blamed.
fn fetch(world: &mut World, bytes: &[u8], id: &ContentId, sources: &[SocketAddr], liars: &[SocketAddr]) {
    let job = world.with_peer(GETTER, |peer, now| peer.fetch(now, id, sources));
    world.run_until(Duration::from_secs(120), |world| world.peer(GETTER).is_over(job));
    let getter = world.peer(GETTER);
    let progress = getter.node.progress(job);
    assert!(getter.completed_at(job).is_some(), "{:?}, {progress:?}", getter.failure(job));
    assert!(getter.fetched(job) == bytes);
    let blamed: Vec<SocketAddr> =
        getter.liars().into_iter().filter(|blamed| !liars.contains(blamed)).collect();
    assert_eq!(blamed, [], "they are honest");
}

#[test]
fn a_getter_has_nearly_all_content_raw_from_a_server_of_ours_in_packets_that_are_full() {
    let bytes = content::bytes(1, 4 << 20);
    for id in [content::blake3_id(&bytes), content::sha256_id(&bytes), ContentId::parse("file").unwrap()] {
        let mut world = World::new(1);
        world.add(GETTER, Link::default(), Peer::new(1));
        world.add(SERVER, Link::default(), sharing(config(2), &bytes));
        let seen = watch(&mut world);
        fetch(&mut world, &bytes, &id, &[SERVER], &[]);
        let seen = seen.borrow();
        assert!(seen.raw_bytes >= bytes.len() as u64 * 99 / 100, "{id}: {} bytes were raw", seen.raw_bytes);
        // What it asks for before it knows the server is JSON.
        assert!(seen.json_bytes < 50_000, "{id}: {} bytes were JSON", seen.json_bytes);
        // What fits a packet of 1,500 bytes over IPv4: of content with offsets of seven digits.
        assert_eq!((seen.fullest, seen.longest), (1403, 1472), "{id}");
        assert!(seen.handles.iter().all(|handle| handle.len() == 11), "{:?}", seen.handles);
        assert!(seen.offers < 60, "{id}: {} of {} asked for a cookie", seen.offers, seen.requests);
    }
}

#[test]
fn where_either_side_has_it_switched_off_no_content_is_raw() {
    let bytes = content::bytes(2, 500_000);
    for (getter, server) in
        [(without_raw(1), config(2)), (config(1), without_raw(2)), (without_raw(1), without_raw(2))]
    {
        let mut world = World::new(2);
        world.add(GETTER, Link::default(), Peer::with_config(getter));
        world.add(SERVER, Link::default(), sharing(server, &bytes));
        let seen = watch(&mut world);
        fetch(&mut world, &bytes, &content::blake3_id(&bytes), &[SERVER], &[]);
        let seen = seen.borrow();
        assert_eq!((seen.raw, seen.handles.len()), (0, 0));
        assert!(seen.json_bytes >= bytes.len() as u64);
    }
}

#[test]
fn a_request_with_a_handle_is_answered_in_json_by_a_server_that_has_it_switched_off() {
    let mut server = sharing(without_raw(2), &content::bytes(2, 500_000));
    let mint = cjp2p_wire::peers::cookie::CookieMint::new(config(2).secret);
    let mut encoder = Encoder::new();
    encoder.cookie("AlwaysReturned", &mint.mint(Time::ZERO, GETTER));
    let handle = Handle::parse(b"k3J9x0aQ7_Z");
    encoder.request(&ContentRequest { block: Some(100), handle, ..ContentRequest::plain("file", 0, 1000) });
    let mut out = Outbox::new();
    server.handle_datagram(Time::ZERO, GETTER, &encoder.finish(0), &mut out);
    let mut seen = Seen::default();
    out.iter().for_each(|(to, bytes)| seen.see(*to, bytes));
    assert_eq!((seen.raw, seen.json_bytes), (0, 1000));
}

/// What a world with a program of others and one of ours sees until `done`.
fn beside(theirs: impl HostBehaviour, ours: Peer, done: impl Fn(&World) -> bool) -> Rc<RefCell<Seen>> {
    let mut world = World::new(3);
    world.add(GETTER, Link::default(), ours);
    world.add(SERVER, Link::default(), theirs);
    let seen = watch(&mut world);
    assert!(world.run_until(Duration::from_secs(120), done), "not done");
    seen
}

#[test]
fn programs_that_know_nothing_of_raw_content_never_receive_it_nor_are_asked_for_it() {
    let bytes = content::bytes(3, 300_000);
    let (blake3, sha256) = (content::blake3_id(&bytes), content::sha256_id(&bytes));
    let ours = || sharing(config(1), &bytes);
    let wire_id = sha256.to_string();
    let has = |file: Option<&[u8]>| file == Some(&bytes);
    let fetched_from_ours = [
        beside(RustToday::new(4).fetch(&blake3, &[GETTER]), ours(), |world| {
            has(world.host::<RustToday>(SERVER).file(&blake3))
        }),
        beside(RustFebruary::new().fetch(&wire_id, &[GETTER]), ours(), |world| {
            has(world.host::<RustFebruary>(SERVER).file(&wire_id))
        }),
        beside(Ruby::new(6).fetch(&wire_id, &[GETTER]), ours(), |world| {
            has(world.host::<Ruby>(SERVER).file(&wire_id))
        }),
    ];
    for seen in fetched_from_ours {
        let seen = seen.borrow();
        assert_eq!((seen.raw, seen.handles.len()), (0, 0));
        assert!(seen.json_bytes >= bytes.len() as u64);
    }
    fn asked(theirs: impl HostBehaviour, id: &ContentId, bytes: &[u8]) {
        let mut world = World::new(3);
        world.add(GETTER, Link::default(), Peer::new(1));
        world.add(SERVER, Link::default(), theirs);
        let seen = watch(&mut world);
        fetch(&mut world, bytes, id, &[SERVER], &[]);
        assert_eq!((seen.borrow().raw, seen.borrow().handles.len()), (0, 0));
    }
    asked(RustToday::new(4).share(&bytes), &blake3, &bytes);
    asked(RustFebruary::new().share(&wire_id, &bytes), &sha256, &bytes);
    asked(Ruby::new(3).share(&wire_id, &bytes), &sha256, &bytes);
}

#[test]
fn an_unvalidated_request_with_a_handle_is_answered_in_json_within_twice_its_bytes() {
    let mut server = sharing(config(2), &content::bytes(4, 100_000));
    let mut random = fastrand::Rng::with_seed(4);
    let mut answered = 0;
    for n in 0..500u32 {
        let from = SocketAddr::from((std::net::Ipv4Addr::from_bits(0x1400_0000 + n * 613), 24254));
        let mut encoder = Encoder::new();
        match random.u8(0..4) {
            0 => encoder.cookie("AlwaysReturned", "AAAAAAAAAAAAAAAAAAAAAA"),
            1 => encoder.cookie("PleaseAlwaysReturnThisMessage", "mine"),
            _ => {}
        }
        let block = random.bool().then(|| random.u64(1..2000));
        let handle = Handle::parse(b"k3J9x0aQ7_Z");
        let plain = ContentRequest::plain("file", random.u64(0..99_000), random.u64(1..90_000));
        encoder.request(&ContentRequest { block, handle, ..plain });
        let question = encoder.finish(random.usize(0..1400));
        let mut out = Outbox::new();
        server.handle_datagram(Time::from_millis(u64::from(n) * 200), from, &question, &mut out);
        let mut seen = Seen::default();
        out.iter().for_each(|(to, bytes)| seen.see(*to, bytes));
        let sent: usize = out.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(sent <= AMPLIFICATION * question.len(), "{sent} bytes for {}", question.len());
        assert_eq!(seen.raw, 0);
        answered += usize::from(seen.json_bytes > 0);
    }
    assert!(answered > 100, "only {answered} were given anything");
}

/// A getter, an honest server and a liar in raw content, with what is seen. The liar knows all handles that the getter tells the server.
fn world_with(lie: RawLie, bytes: &[u8]) -> (World, Rc<RefCell<Seen>>) {
    let link = Link::rated(50, 10, 128 << 10);
    let mut world = World::new(5);
    world.add(GETTER, Link::rated(1000, 1, 4 << 20), Peer::new(1));
    world.add(SERVER, link, sharing(config(2), bytes));
    let told = Arc::new(Mutex::new(Vec::new()));
    world.add(LIAR, link, Liar::new(Lie::Raw(lie), bytes, 3).knowing(told.clone()));
    let seen = Rc::new(RefCell::new(Seen::default()));
    let sees = seen.clone();
    world.watch(move |_, from, to, bytes| {
        for message in datagram::decode(bytes).unwrap_or_default() {
            if let (GETTER, SERVER, Message::PleaseSendContent(request)) = (from, to, message) {
                told.lock().expect("no other thread panicked").extend(request.handle);
            }
        }
        if from == LIAR || to == LIAR {
            sees.borrow_mut().see(to, bytes);
        }
    });
    (world, seen)
}

#[test]
fn whatever_is_wrong_with_raw_content_the_right_bytes_come_and_no_honest_source_is_blamed() {
    let bytes = content::bytes(5, 1_500_000);
    for lie in RawLie::all(bytes.len() as u64) {
        for id in [content::blake3_id(&bytes), content::sha256_id(&bytes)] {
            let (mut world, seen) = world_with(lie, &bytes);
            println!("{lie:?} {id}");
            fetch(&mut world, &bytes, &id, &[LIAR, SERVER], &[LIAR]);
            assert!(!seen.borrow().handles.is_empty(), "it was never asked for raw content");
        }
    }
}

#[test]
fn a_source_that_sends_wrong_bytes_raw_is_blamed_and_alone() {
    let bytes = content::bytes(6, 3_000_000);
    for lie in [RawLie::Content, RawLie::OneOfTwenty] {
        let (mut world, _) = world_with(lie, &bytes);
        fetch(&mut world, &bytes, &content::blake3_id(&bytes), &[LIAR, SERVER], &[LIAR]);
        assert_eq!(world.peer(GETTER).liars(), [LIAR], "{lie:?}");
    }
}

#[test]
fn a_source_that_answers_under_handles_of_another_gives_nothing_and_nobody_is_blamed_for_it() {
    let bytes = content::bytes(7, 3_000_000);
    let (mut world, seen) = world_with(RawLie::OthersHandle, &bytes);
    fetch(&mut world, &bytes, &content::blake3_id(&bytes), &[LIAR, SERVER], &[]);
    // The first it answers as it should, since it knows no other handle then.
    assert!(seen.borrow().raw > 20, "{} blocks", seen.borrow().raw);
    let met = world.peer(GETTER).node.acquaintances().find(|peer| peer.address == LIAR);
    assert!(met.is_some());
}

#[test]
fn what_is_odd_and_right_is_enough_alone() {
    let bytes = content::bytes(8, 1_000_000);
    for lie in [RawLie::Spelling, RawLie::Thrice, RawLie::Backwards, RawLie::Short] {
        for id in [content::blake3_id(&bytes), content::sha256_id(&bytes)] {
            let (mut world, seen) = world_with(lie, &bytes);
            println!("{lie:?} {id}");
            fetch(&mut world, &bytes, &id, &[LIAR], &[]);
            let seen = seen.borrow();
            assert!(seen.raw_bytes >= bytes.len() as u64 - 10_000, "{} bytes were raw", seen.raw_bytes);
            // It knows our cookie, though it does not return it beside these.
            assert!(seen.offers < 30, "{} of {} requests asked for a cookie", seen.offers, seen.requests);
        }
    }
}

/// A raw datagram with wrong bytes.
fn forged(handle: Handle, offset: u64, eof: Option<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    RawHeader { handle, places: 0 }.write(offset, &[7; 1379], eof, &mut bytes);
    bytes
}

#[test]
fn nobody_who_does_not_see_the_requests_answers_in_the_name_of_a_source() {
    let bytes = content::bytes(9, 3_000_000);
    let id = content::blake3_id(&bytes);
    let mut world = World::new(9);
    let link = Link::rated(20, 10, 128 << 10);
    world.add(GETTER, link, Peer::new(1));
    world.add(SERVER, link, sharing(config(2), &bytes));
    world.add(at(4), link, sharing(config(4), &bytes));
    let seen = watch(&mut world);
    let told = Rc::new(RefCell::new(Vec::new()));
    let tells = told.clone();
    world.watch_arrivals(move |_, from, _, bytes| {
        for message in datagram::decode(bytes).unwrap_or_default() {
            if let (GETTER, Message::PleaseSendContent(request)) = (from, message) {
                tells.borrow_mut().extend(request.handle);
            }
        }
    });
    // Another download came from there before, so that there are handles of one that is over.
    let other = content::bytes(10, 300_000);
    let first = world.with_peer(SERVER, |peer, _| peer.store.share(other.clone(), None));
    fetch(&mut world, &other, &first, &[SERVER], &[]);
    let over = told.borrow().clone();
    assert!(!over.is_empty());

    let job = world.with_peer(GETTER, |peer, now| peer.fetch(now, &id, &[SERVER, at(4)]));
    let mut random = fastrand::Rng::with_seed(9);
    let mut forgeries = 0;
    while !world.peer(GETTER).is_over(job) {
        world.run_for(Duration::from_millis(5));
        let offset = random.u64(0..bytes.len() as u64) / 1403 * 1403;
        let eof = random.bool().then(|| random.u64(0..1 << 40));
        let guess: Vec<u8> = (0..11).map(|_| random.alphanumeric() as u8).collect();
        let guess = Handle::parse(&guess).unwrap();
        let true_one = random.choice(told.borrow().iter()).copied().unwrap_or(guess);
        let old = random.choice(over.iter()).copied().unwrap_or(guess);
        let replayed = seen.borrow().kept.iter().rev().nth(random.usize(0..2000)).cloned();
        // In a source's name without its handle; with true handles from elsewhere; what was once right.
        world.inject(SERVER, GETTER, forged(guess, offset, eof));
        world.inject(SERVER, GETTER, forged(old, offset, eof));
        world.inject(at(9), GETTER, forged(true_one, offset, eof));
        let mut other_port = SERVER;
        other_port.set_port(24255);
        world.inject(other_port, GETTER, forged(true_one, offset, eof));
        if let Some((to, datagram)) = replayed
            && to == GETTER
        {
            world.inject(SERVER, GETTER, datagram.clone());
            world.inject(at(4), GETTER, datagram);
        }
        forgeries += 1;
        assert!(forgeries < 10_000, "it never ends");
    }
    let getter = world.peer(GETTER);
    assert_eq!(getter.failure(job), None);
    assert!(getter.fetched(job) == bytes);
    assert_eq!(getter.liars(), []);
    assert!(forgeries > 100, "only {forgeries}");
    // Each link carries the content in 0.7 s; the forgeries are as much again.
    assert!(forgeries < 600, "it took {} ms", forgeries * 5);
}

#[test]
fn two_sources_never_have_the_same_handle_and_one_has_another_for_the_tree() {
    let bytes = content::bytes(11, 2_000_000);
    let mut world = World::new(11);
    world.add(GETTER, Link::default(), Peer::new(1));
    let told = Rc::new(RefCell::new(BTreeSet::new()));
    let tells = told.clone();
    world.watch(move |_, _, to, bytes| {
        for message in datagram::decode(bytes).unwrap_or_default() {
            if let Message::PleaseSendContent(request) = message
                && let Some(handle) = request.handle
            {
                tells.borrow_mut().insert((handle, to, request.id.into_owned()));
            }
        }
    });
    let servers = [at(2), at(3), at(4)];
    for (n, &server) in (2..).zip(&servers) {
        world.add(server, Link::default(), sharing(config(n), &bytes));
    }
    fetch(&mut world, &bytes, &content::blake3_id(&bytes), &servers, &[]);
    let told = told.borrow();
    let handles: BTreeSet<Handle> = told.iter().map(|(handle, ..)| *handle).collect();
    assert_eq!(handles.len(), told.len(), "{told:?}");
    assert!(told.len() > 3 && told.iter().any(|(.., id)| id.starts_with("blake3_tree_v2/")), "{told:?}");
}

/// How long it takes, and how it ends, over a link of 4,000 bytes a second from one source.
fn slowly(source: impl HostBehaviour, bytes: &[u8]) -> (f64, bool, usize) {
    let mut world = World::new(12);
    world.add(GETTER, Link::default(), Peer::new(1));
    world.add(SERVER, Link { rate: Some(4000), queue: 32 << 10, ..Link::default() }, source);
    let seen = watch(&mut world);
    let id = content::blake3_id(bytes);
    let job = world.with_peer(GETTER, |peer, now| peer.fetch(now, &id, &[SERVER]));
    assert!(world.run_until(Duration::from_secs(3600), |world| world.peer(GETTER).is_over(job)));
    let getter = world.peer(GETTER);
    assert_eq!(getter.liars(), []);
    let handles = seen.borrow().handles.len();
    (world.now().as_secs_f64(), getter.completed_at(job).is_some(), handles)
}

#[test]
fn a_handle_is_renewed_in_a_long_download_and_refused_after_ten_minutes() {
    let bytes = content::bytes(12, 2_800_000);
    let (seconds, is_complete, handles) = slowly(sharing(config(2), &bytes), &bytes);
    assert!(is_complete && seconds > 660.0, "{seconds}");
    assert!((3..10).contains(&handles), "{handles} handles");
    let (seconds, is_complete, _) = slowly(Liar::new(Lie::Raw(RawLie::FirstHandle), &bytes, 1), &bytes);
    assert!(!is_complete && (600.0..650.0).contains(&seconds), "{seconds}");
}

#[test]
fn a_source_that_comes_back_without_raw_content_or_with_it_goes_on() {
    let bytes = content::bytes(13, 4 << 20);
    for (before, after) in [(config(2), without_raw(3)), (without_raw(2), config(3))] {
        let mut world = World::new(13);
        let link = Link::rated(20, 10, 128 << 10);
        world.add(GETTER, link, Peer::new(1));
        world.add(SERVER, link, sharing(before, &bytes));
        let id = content::blake3_id(&bytes);
        let job = world.with_peer(GETTER, |peer, now| peer.fetch(now, &id, &[SERVER]));
        world.run_for(Duration::from_secs(1));
        let done = world.peer(GETTER).node.progress(job).map_or(0, |progress| progress.done);
        assert!(done > 100_000 && !world.peer(GETTER).is_over(job), "{done}");
        let becomes_raw = after.raw;
        world.add(SERVER, link, sharing(after, &bytes));
        world.run_for(Duration::from_millis(300));
        let seen = watch(&mut world);
        world.run_until(Duration::from_secs(60), |world| world.peer(GETTER).is_over(job));
        let getter = world.peer(GETTER);
        assert!(
            getter.completed_at(job).is_some(),
            "{:?} {:?}",
            getter.failure(job),
            getter.node.progress(job)
        );
        assert!(getter.fetched(job) == bytes);
        assert_eq!(getter.liars(), []);
        let seen = seen.borrow();
        assert_eq!(seen.raw_bytes > seen.json_bytes, becomes_raw, "{} {}", seen.raw_bytes, seen.json_bytes);
        assert!(becomes_raw || seen.raw == 0);
    }
}
