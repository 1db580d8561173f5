//! A host that takes as many places as it can, by many ports, beside others: of those that are served, and of those that are asked.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::{HostBehaviour, Link, Outbox, Peer, World};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::datagram::{self, Encoder, Padding};
use cjp2p_wire::message::{ContentRequest, Message, TheseParts};
use cjp2p_wire::store::JobId;
use cjp2p_wire::time::Time;

/// One port of a host that holds slots and makes no use of them: it asks which parts there are, and for a few bytes, ten times in
/// a second.
struct Squatter {
    target: SocketAddr,
    id: ContentId,
    asks: u64,
    cookie: Option<String>,
    next: Time,
}

impl HostBehaviour for Squatter {
    fn handle_datagram(&mut self, _: Time, _: SocketAddr, bytes: &[u8], _: &mut Outbox) {
        for message in datagram::decode(bytes).unwrap_or_default() {
            if let Message::PleaseAlwaysReturnThisMessage(value) = message {
                self.cookie = Some(value.get().to_owned());
            }
        }
    }

    fn handle_timeout(&mut self, now: Time, out: &mut Outbox) {
        self.next = now + Duration::from_millis(100);
        let mut encoder = Encoder::new();
        match &self.cookie {
            Some(cookie) => encoder.value("AlwaysReturned", cookie),
            None => encoder.cookie("PleaseAlwaysReturnThisMessage", "x"),
        }
        let id = self.id.to_string();
        encoder.which_parts(&id, 0);
        encoder.request(&ContentRequest::plain(id, 0, self.asks));
        out.push((self.target, encoder.finish(400)));
    }

    fn next_timeout(&self) -> Time {
        self.next
    }
}

const ORIGIN: SocketAddr = at([10, 0, 0, 1], 24254);

const fn at(ip: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3]), port))
}

fn world(seed: u64, length: usize) -> (World, Vec<u8>, ContentId) {
    let bytes = content::bytes(seed, length);
    let mut origin = Peer::new(seed);
    let id = origin.store.share(bytes.clone(), None);
    let mut world = World::new(seed);
    world.add(ORIGIN, Link::rated(100, 5, 1 << 20), origin);
    (world, bytes, id)
}

fn fetch(world: &mut World, address: SocketAddr, id: &ContentId, seed: u64) -> (SocketAddr, JobId) {
    world.add(address, Link::rated(20, 10, 128 << 10), Peer::new(seed));
    let job = world.with_peer(address, |peer, now| peer.fetch(now, id, &[ORIGIN]));
    (address, job)
}

/// Lets all finish. Returns how long the last of them took.
fn finish(world: &mut World, jobs: &[(SocketAddr, JobId)], bytes: &[u8]) -> Duration {
    let begun = world.now();
    let over = |world: &World| jobs.iter().all(|&(address, job)| world.peer(address).is_over(job));
    assert!(world.run_until(Duration::from_secs(120), over));
    for &(address, job) in jobs {
        let peer = world.peer(address);
        assert_eq!(peer.failure(job), None, "{address}: {:?}", peer.node.progress(job));
        assert!(world.peer(address).fetched(job) == bytes);
    }
    world.now().since(begun)
}

#[test]
fn whatever_one_host_does_getters_of_others_have_their_first_blocks_within_two_seconds_and_finish() {
    for (seed, ports, hosts, asks) in [(1, 48, 1, 1), (2, 500, 1, 1), (3, 48, 4, 1), (4, 48, 1, 4096)] {
        let (mut world, bytes, id) = world(seed, 2 << 20);
        for n in 0..ports {
            let (host, port) = (n % hosts, 1024 + n);
            let squatter = Squatter { target: ORIGIN, id: id.clone(), asks, cookie: None, next: Time::ZERO };
            let address = at([10, 0, 1, host as u8], port);
            match n < hosts {
                true => world.add(address, Link::rated(100, 5, 1 << 20), squatter),
                false => world.add_behind(at([10, 0, 1, host as u8], 1024 + host), address, squatter),
            }
        }
        world.run_for(Duration::from_secs(3));
        for n in 0..3 {
            let (address, job) = fetch(&mut world, at([10, 0, 2, n], 24254), &id, seed + u64::from(n));
            let begins = |world: &World| world.peer(address).node.progress(job).is_some_and(|p| p.done > 0);
            assert!(world.run_until(Duration::from_secs(2), begins), "seed {seed}, getter {n}");
            let took = finish(&mut world, &[(address, job)], &bytes);
            assert!(took < Duration::from_secs(4), "seed {seed}, getter {n}: {took:?}");
        }
    }
}

#[test]
fn a_hundred_getters_behind_one_address_have_everything_where_nobody_else_asks() {
    let time = |behind_one: bool| {
        let (mut world, bytes, id) = world(5, 256 << 10);
        let jobs: Vec<_> = (0..100u16)
            .map(|n| {
                let (seed, link) = (100 + u64::from(n), Link::rated(10_000, 5, 4 << 20));
                let address =
                    if behind_one { at([10, 0, 3, 1], 1024 + n) } else { at([10, 0, 3, n as u8], 1) };
                match behind_one && n > 0 {
                    true => world.add_behind(at([10, 0, 3, 1], 1024), address, Peer::new(seed)),
                    false => world.add(address, link, Peer::new(seed)),
                }
                (address, world.with_peer(address, |peer, now| peer.fetch(now, &id, &[ORIGIN])))
            })
            .collect();
        finish(&mut world, &jobs, &bytes)
    };
    let (apart, together) = (time(false), time(true));
    assert!(together < apart * 2, "{together:?} behind one address, {apart:?} behind a hundred");
}

/// What a source says that it has, and then never sends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Claim {
    /// All of it.
    All,
    /// All but the last leaf, as one that fetches the same.
    Most,
    /// All of something longer, each of them of another length, with bytes at the beginning that are not of the content.
    Longer,
    /// All of it, and it sends the first block each time that it is asked for that.
    First,
}

/// A port of a host that claims to have content.
struct Claimant {
    claim: Claim,
    nth: u64,
    bytes: std::rc::Rc<Vec<u8>>,
    cookie: Option<String>,
}

impl HostBehaviour for Claimant {
    fn handle_datagram(&mut self, _: Time, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        let messages = datagram::decode(bytes).unwrap_or_default();
        for message in &messages {
            if let Message::PleaseAlwaysReturnThisMessage(value) = message {
                self.cookie = Some(value.get().to_owned());
            }
        }
        let Some(cookie) = self.cookie.clone() else { return };
        let length = self.bytes.len() as u64 + if self.claim == Claim::Longer { 1 + self.nth } else { 0 };
        for message in messages {
            let mut encoder = Encoder::new();
            encoder.value("AlwaysReturned", &cookie);
            encoder.cookie("PleaseAlwaysReturnThisMessage", "x");
            match message {
                Message::PleaseSayWhichParts(asked) => {
                    let end = if self.claim == Claim::Most { length - 1024 } else { length };
                    encoder.these_parts(&TheseParts {
                        id: asked.id.clone(),
                        offset: 0,
                        until: length,
                        parts: std::iter::once(0..end).collect(),
                        eof: Some(length),
                        busy: false,
                    });
                }
                Message::PleaseSendContent(asked) if asked.offset == 0 => {
                    let first = &self.bytes[..1024];
                    let data = match self.claim {
                        Claim::All | Claim::Most => continue,
                        Claim::First => first.to_vec(),
                        Claim::Longer => vec![7; 1024],
                    };
                    encoder.content(&asked.id, 0, &data, Some(length), Padding::Padded);
                }
                _ => continue,
            }
            out.push((from, encoder.finish(0)));
        }
    }

    fn handle_timeout(&mut self, _: Time, _: &mut Outbox) {}

    fn next_timeout(&self) -> Time {
        Time::NEVER
    }
}

#[test]
fn a_thousand_ports_that_claim_to_have_it_do_not_keep_the_honest_source_from_being_asked() {
    for (claim, is_staged) in [
        (Claim::All, false),
        (Claim::Most, false),
        (Claim::Longer, false),
        (Claim::First, false),
        (Claim::Longer, true),
        (Claim::First, true),
    ] {
        let bytes = content::bytes(9, 1 << 20);
        let mut world = World::new(9);
        let (getter, honest) = (at([10, 0, 0, 2], 24254), at([10, 0, 2, 1], 24254));
        let mut source = Peer::new(2);
        let mut id = source.store.share(bytes.clone(), None);
        if is_staged {
            // Without a tree by which it could be checked while it comes.
            id = content::sha256_id(&bytes);
            source.store.forget_hints();
        }
        world.add(honest, Link::rated(50, 5, 1 << 20), source);
        let shared = std::rc::Rc::new(bytes.clone());
        let mut sources = Vec::new();
        for nth in 0..1000u16 {
            let claimant = Claimant { claim, nth: u64::from(nth), bytes: shared.clone(), cookie: None };
            let address = at([10, 0, 1, 1], 1024 + nth);
            match nth {
                0 => world.add(address, Link::rated(100, 5, 1 << 20), claimant),
                _ => world.add_behind(at([10, 0, 1, 1], 1024), address, claimant),
            }
            sources.push(address);
        }
        world.add(getter, Link::rated(100, 5, 1 << 20), Peer::new(3));
        let job = world.with_peer(getter, |peer, now| peer.fetch(now, &id, &sources));
        world.run_for(Duration::from_secs(5));
        world.with_peer(getter, |peer, now| peer.node.add_source(now, job, honest, false));
        let begun = world.now();
        assert!(world.run_until(Duration::from_secs(60), |world| world.peer(getter).is_over(job)));
        let peer = world.peer(getter);
        let took = world.now().since(begun);
        println!("{claim:?}, checked as a whole {is_staged}: {took:?}");
        assert_eq!(peer.failure(job), None, "{claim:?}: {:?} after {took:?}", peer.node.progress(job));
        assert!(peer.fetched(job) == bytes, "{claim:?}");
        assert!(peer.node.sizes().are_within_limits(), "{:?}", peer.node.sizes());
        assert!(took < Duration::from_secs(20), "{claim:?}, {is_staged}: {took:?}");
    }
}
