//! Our node and foreign ones, each fetching from the other over the simulated network. See
//! [`cjp2p_tests::foreign`]: a stand-in panics where the node it stands for would end.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::foreign::{Ruby, RustFebruary, RustToday};
use cjp2p_tests::sim::{HostBehaviour, Link, Peer, World};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::node::{ECHO_RATE_OF_HOST, Query};

const OURS: SocketAddr = at(1);
const THEIRS: SocketAddr = at(2);
const LOSSES: [f64; 2] = [0.0, 0.01];
/// Seconds that content takes in the blocks of a node that can only echo: base64, and what is beside it.
fn seconds_for_echoes(length: usize) -> f64 {
    length as f64 * 1.4 / ECHO_RATE_OF_HOST as f64
}

/// Around one block, two, and many.
const LENGTHS: [usize; 8] = [1, 2, 4095, 4096, 4097, 8192, 10_000, 300_000];

const fn at(n: u8) -> SocketAddr {
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, n), 24254))
}

fn name() -> ContentId {
    ContentId::parse("file").expect("a plain name")
}

fn lossy(loss: f64) -> Link {
    Link { loss, ..Link::default() }
}

fn sharing(bytes: &[u8]) -> Peer {
    let mut peer = Peer::new(7);
    peer.store.share(bytes.to_vec(), Some("file"));
    peer
}

/// Fetches from a foreign node; returns the seconds it took.
fn ours_fetches(theirs: impl HostBehaviour, id: &ContentId, bytes: &[u8], loss: f64) -> f64 {
    let mut world = World::new(1);
    world.add(OURS, lossy(loss), Peer::new(1));
    world.add(THEIRS, lossy(loss), theirs);
    let job = world.with_peer(OURS, |peer, now| peer.fetch(now, id, &[THEIRS]));
    let over = world.run_until(Duration::from_secs(120), |world| world.peer(OURS).is_over(job));
    let peer = world.peer(OURS);
    let what = format!("{} bytes by {id}, loss {loss}: {:?}", bytes.len(), peer.node.progress(job));
    assert!(over, "not over: {what}");
    assert_eq!(peer.failure(job), None, "{what}");
    assert!(peer.fetched(job) == bytes, "something else came: {what}");
    assert_eq!(peer.liars(), [], "{what}");
    world.now().as_secs_f64()
}

/// Lets a foreign node fetch from ours; returns the seconds it took.
fn theirs_fetches<C: HostBehaviour>(
    theirs: C,
    file: impl Fn(&C) -> Option<&[u8]>,
    bytes: &[u8],
    loss: f64,
    limit: u64,
) -> f64 {
    let mut world = World::new(1);
    world.add(OURS, lossy(loss), sharing(bytes));
    world.add(THEIRS, lossy(loss), theirs);
    let done = world.run_until(Duration::from_secs(limit), |world| file(world.host::<C>(THEIRS)).is_some());
    assert!(done, "{} bytes, loss {loss}: not there after {limit} s", bytes.len());
    assert!(file(world.host::<C>(THEIRS)) == Some(bytes), "{} bytes, loss {loss}: damaged", bytes.len());
    world.now().as_secs_f64()
}

#[test]
fn ours_fetches_from_todays_rust_node() {
    for loss in LOSSES {
        for length in LENGTHS {
            let bytes = content::bytes(1, length);
            for id in [content::blake3_id(&bytes), content::sha256_id(&bytes)] {
                let seconds = ours_fetches(RustToday::new(2).share(&bytes), &id, &bytes, loss);
                assert!(loss > 0.0 || seconds < 1.0, "{length} bytes by {id}: {seconds} s");
            }
        }
    }
}

#[test]
fn ours_fetches_from_a_february_node() {
    for loss in LOSSES {
        for length in LENGTHS {
            let bytes = content::bytes(2, length);
            for id in [content::sha256_id(&bytes), name()] {
                let theirs = RustFebruary::new().share(&id.to_string(), &bytes);
                let seconds = ours_fetches(theirs, &id, &bytes, loss);
                assert!(loss > 0.0 || seconds < 1.0, "{length} bytes by {id}: {seconds} s");
            }
        }
    }
}

#[test]
fn ours_fetches_from_a_ruby_node() {
    for loss in LOSSES {
        for length in LENGTHS {
            let bytes = content::bytes(3, length);
            for id in [content::sha256_id(&bytes), name()] {
                let theirs = Ruby::new(3).share(&id.to_string(), &bytes);
                let seconds = ours_fetches(theirs, &id, &bytes, loss);
                assert!(loss > 0.0 || seconds < 1.0, "{length} bytes by {id}: {seconds} s");
            }
        }
    }
}

#[test]
fn todays_rust_node_fetches_from_ours() {
    for loss in LOSSES {
        for length in LENGTHS {
            let bytes = content::bytes(4, length);
            // It makes nothing of the tree of a single leaf.
            let blake3 = Some(content::blake3_id(&bytes)).filter(|_| length > 4096);
            for id in [Some(content::sha256_id(&bytes)), blake3].into_iter().flatten() {
                let theirs = RustToday::new(4).fetch(&id, &[OURS]);
                let seconds = theirs_fetches(theirs, |node| node.file(&id), &bytes, loss, 120);
                assert!(loss > 0.0 || seconds < 2.0, "{length} bytes by {id}: {seconds} s");
            }
        }
    }
}

#[test]
fn a_february_node_fetches_from_ours() {
    for loss in LOSSES {
        for length in LENGTHS {
            let bytes = content::bytes(5, length);
            for id in [content::sha256_id(&bytes), name()] {
                let wire_id = id.to_string();
                let theirs = RustFebruary::new().fetch(&wire_id, &[OURS]);
                // It asks again for what was lost every 3 s only.
                let seconds = theirs_fetches(theirs, |node| node.file(&wire_id), &bytes, loss, 300);
                let limit = 1.0 + seconds_for_echoes(length);
                assert!(loss > 0.0 || seconds < limit, "{length} bytes by {id}: {seconds} s");
            }
        }
    }
}

#[test]
fn a_ruby_node_fetches_from_ours() {
    for loss in LOSSES {
        for length in LENGTHS {
            let bytes = content::bytes(6, length);
            for id in [content::sha256_id(&bytes), name()] {
                let wire_id = id.to_string();
                let theirs = Ruby::new(6).fetch(&wire_id, &[OURS]);
                let seconds = theirs_fetches(theirs, |node| node.file(&wire_id), &bytes, loss, 300);
                assert!(loss > 0.0 || seconds < 2.5, "{length} bytes by {id}: {seconds} s");
            }
        }
    }
}

#[test]
fn a_february_node_hears_once_of_what_it_would_log_an_error_for() {
    let bytes = content::bytes(7, 100_000);
    let mut world = World::new(1);
    world.add(OURS, Link::default(), sharing(&bytes));
    world.add(THEIRS, Link::default(), RustFebruary::new().fetch("file", &[OURS]));
    world.run_for(Duration::from_secs(30));
    let theirs: &RustFebruary = world.host(THEIRS);
    assert!(theirs.file("file") == Some(&bytes));
    // Its first requests, of which there are two, ask whether it knows more than it does.
    assert!(theirs.complaints <= 2, "it complained {} times", theirs.complaints);
}

#[test]
fn a_february_node_is_not_asked_again_and_again_for_what_it_does_not_know() {
    let bytes = content::bytes(12, 1_000_000);
    let mut world = World::new(1);
    world.add(OURS, Link::default(), Peer::new(1));
    world.add(THEIRS, Link::default(), RustFebruary::new().share("file", &bytes));
    let job = world.with_peer(OURS, |peer, now| peer.fetch(now, &name(), &[THEIRS]));
    assert!(world.run_until(Duration::from_secs(20), |world| world.peer(OURS).is_over(job)));
    let theirs: &RustFebruary = world.host(THEIRS);
    assert!(theirs.complaints < 5, "it complained {} times", theirs.complaints);
}

#[test]
fn an_older_node_at_the_address_of_a_newer_one_is_served_as_what_it_is() {
    let bytes = content::bytes(14, 50_000);
    let id = content::sha256_id(&bytes);
    let mut world = World::new(1);
    world.add(OURS, Link::default(), sharing(&bytes));
    world.add(THEIRS, Link::default(), RustToday::new(4).fetch(&id, &[OURS]));
    world.run_for(Duration::from_secs(5));
    let newer: &RustToday = world.host(THEIRS);
    assert!(newer.file(&id).is_some() && newer.keeps_cookie_of(OURS));
    // What an echo shows of an address where cookies are known is nothing, for ten minutes.
    world.add(THEIRS, Link::default(), RustFebruary::new());
    world.run_for(Duration::from_secs(600));
    world.add(THEIRS, Link::default(), RustFebruary::new().fetch("file", &[OURS]));
    world.run_for(Duration::from_secs(10));
    let older: &RustFebruary = world.host(THEIRS);
    assert!(older.file("file") == Some(&bytes));
    assert!(older.complaints < 3, "it complained {} times", older.complaints);
}

#[test]
fn todays_rust_node_is_given_its_cookie_and_keeps_ours() {
    let bytes = content::bytes(8, 200_000);
    let id = content::sha256_id(&bytes);
    let mut world = World::new(1);
    world.add(OURS, Link::default(), sharing(&bytes));
    world.add(THEIRS, Link::default(), RustToday::new(4).fetch(&id, &[OURS]));
    let cookieless = Rc::new(RefCell::new(0));
    let count = cookieless.clone();
    world.watch(move |_, from, _, bytes| {
        let asks_again = from == THEIRS && String::from_utf8_lossy(bytes).contains("PleaseAlwaysReturn");
        *count.borrow_mut() += u32::from(asks_again);
    });
    world.run_until(Duration::from_secs(5), |world| world.host::<RustToday>(THEIRS).file(&id).is_some());
    assert!(world.host::<RustToday>(THEIRS).keeps_cookie_of(OURS));
    assert!(*cookieless.borrow() < 20, "it asked {} times for its cookie", cookieless.borrow());
}

#[test]
fn a_download_in_progress_of_todays_rust_node_is_of_use() {
    let bytes = content::bytes(9, 4_000_000);
    let id = content::blake3_id(&bytes);
    // It comes to the beginning last. The one that has all of it is far away and slow.
    let partial = RustToday::new(5).fetch_in_vain(&bytes, 8..708);
    let whole = RustToday::new(6).share(&bytes);
    let mut world = World::new(1);
    world.add(OURS, Link::default(), Peer::new(1));
    world.add(at(2), Link::default(), partial);
    world.add(at(3), Link::rated(2, 100, 64 << 10), whole);
    let job = world.with_peer(OURS, |peer, now| peer.fetch(now, &id, &[at(2), at(3)]));
    let over = world.run_until(Duration::from_secs(60), |world| world.peer(OURS).is_over(job));
    let peer = world.peer(OURS);
    assert!(over && peer.failure(job).is_none(), "{:?} {:?}", peer.failure(job), peer.node.progress(job));
    assert!(peer.fetched(job) == bytes);
    // A quarter comes from the slow one: 7 s. All of it would take 27 s.
    assert!(world.now().as_secs_f64() < 12.0, "{:?}", world.now());
    let refusals = world.traffic(at(2)).datagrams_out - 700;
    assert!(refusals < 600, "it was asked {refusals} times for what it did not have");
    assert_eq!(peer.liars(), [], "{:?}", peer.events);
}

#[test]
fn a_download_in_progress_of_todays_rust_node_leads_to_its_own_source() {
    let bytes = content::bytes(13, 3_000_000);
    let id = content::blake3_id(&bytes);
    let mut world = World::new(1);
    let link = Link { delay: Duration::from_millis(10), ..Link::default() };
    world.add(at(2), link, RustToday::new(5).fetch(&id, &[at(3)]));
    world.add(at(3), link, RustToday::new(6).share(&bytes));
    world.run_for(Duration::from_secs(2));
    assert!(world.host::<RustToday>(at(2)).file(&id).is_none(), "it is no download in progress any more");
    world.add(OURS, link, Peer::new(1));
    let job = world.with_peer(OURS, |peer, now| peer.fetch(now, &id, &[at(2)]));
    let over = world.run_until(Duration::from_secs(60), |world| world.peer(OURS).is_over(job));
    let peer = world.peer(OURS);
    assert!(over && peer.failure(job).is_none(), "{:?} {:?}", peer.failure(job), peer.node.progress(job));
    assert!(peer.fetched(job) == bytes);
    assert_eq!(peer.liars(), [], "{:?}", peer.events);
}

#[test]
fn blocks_of_todays_rust_node_are_taken_whole_when_it_knows_no_other_source() {
    let bytes = content::bytes(15, 1_000_000);
    let id = content::blake3_id(&bytes);
    let mut world = World::new(1);
    world.add(OURS, Link::default(), Peer::new(1));
    world.add(THEIRS, Link::default(), RustToday::new(5).fetch_in_vain(&bytes, 0..244));
    world.add(at(3), Link::rated(2, 100, 64 << 10), RustToday::new(6).share(&bytes));
    let job = world.with_peer(OURS, |peer, now| peer.fetch(now, &id, &[THEIRS, at(3)]));
    let over = world.run_until(Duration::from_secs(60), |world| world.peer(OURS).is_over(job));
    let peer = world.peer(OURS);
    assert!(over && peer.failure(job).is_none(), "{:?} {:?}", peer.failure(job), peer.node.progress(job));
    assert!(peer.fetched(job) == bytes);
    assert!(world.now().as_secs_f64() < 2.0, "{:?}", world.now());
    let asked = world.traffic(THEIRS).datagrams_in;
    assert!(asked < 400, "it was asked {asked} times for 244 blocks");
}

#[test]
fn a_relaying_ruby_node_beside_a_whole_one_does_no_harm() {
    let bytes = content::bytes(10, 300_000);
    let id = content::sha256_id(&bytes);
    let mut world = World::new(1);
    // It is slow to get it and passes on what it has, without saying how long it is.
    let link = Link { delay: Duration::from_millis(40), ..Link::default() };
    world.add(at(2), link, Ruby::new(2).fetch(&id.to_string(), &[at(3)]));
    world.add(at(3), link, Ruby::new(3).share(&id.to_string(), &bytes));
    world.run_for(Duration::from_secs(2));
    assert!(world.host::<Ruby>(at(2)).file(&id.to_string()).is_none(), "it relays nothing any more");
    world.add(OURS, Link::default(), Peer::new(1));
    let job = world.with_peer(OURS, |peer, now| peer.fetch(now, &id, &[at(2), at(3)]));
    let over = world.run_until(Duration::from_secs(30), |world| world.peer(OURS).is_over(job));
    let peer = world.peer(OURS);
    assert!(over && peer.failure(job).is_none(), "{:?} {:?}", peer.failure(job), peer.node.progress(job));
    assert!(peer.fetched(job) == bytes);
    assert_eq!(peer.liars(), [], "{:?}", peer.events);
}

#[test]
fn a_ruby_node_is_told_of_no_address_that_it_would_end_of() {
    let bytes = content::bytes(11, 50_000);
    let mut world = World::new(1);
    let over_ipv6: SocketAddr = "[2001:db8::5]:24254".parse().expect("an address");
    world.add(OURS, Link::default(), sharing(&bytes));
    world.add(over_ipv6, Link::default(), Peer::new(5));
    let fetch = |peer: &mut Peer, now| peer.fetch(now, &content::sha256_id(&bytes), &[OURS]);
    world.with_peer(over_ipv6, fetch);
    world.run_for(Duration::from_secs(2));
    let met = world.peer(OURS).node.acquaintances().find(|peer| peer.address == over_ipv6);
    let known = met.is_some_and(|peer| peer.validated_since.is_some());
    assert!(known, "there is no IPv6 address to be told of");
    world.add(THEIRS, Link::default(), Ruby::new(6).fetch("nothing of this name", &[OURS]));
    world.run_for(Duration::from_secs(2));
    world.inject(THEIRS, OURS, br#"[{"PleaseSendPeers":{}}]"#.to_vec());
    world.run_for(Duration::from_secs(20));
    assert!(world.traffic(THEIRS).datagrams_in > 5, "it was told nothing");
}

#[test]
fn our_own_address_told_by_others_is_not_taken_for_a_peer() {
    let mut world = World::new(1);
    world.add(OURS, Link::default(), Peer::new(1));
    world.add(THEIRS, Link::default(), Ruby::new(2));
    for (whom, question) in [(THEIRS, Query::Peers), (OURS, Query::Peers), (OURS, Query::Ping)] {
        world.with_peer(OURS, |peer, now| peer.node.query(now, whom, question, whom == OURS));
        world.run_for(Duration::from_secs(8));
    }
    let peer = world.peer(OURS);
    let met: Vec<SocketAddr> = peer.node.acquaintances().map(|peer| peer.address).collect();
    assert_eq!(met, [THEIRS]);
    let unanswered = peer.events.iter().filter(
        |(_, event)| matches!(event, cjp2p_wire::node::Event::Unanswered(address) if *address == OURS),
    );
    assert_eq!(unanswered.count(), 2, "{:?}", peer.events);
}
