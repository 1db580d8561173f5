//! Addresses that peers suggest: a victim that unvalidated sources name is hardly disturbed.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::liars::{Liar, Lie};
use cjp2p_tests::sim::peer::config;
use cjp2p_tests::sim::{HostBehaviour, Link, Outbox, Peer, World};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::datagram::{Encoder, Padding};
use cjp2p_wire::node::{MAX_CONTACTS, Query};
use cjp2p_wire::peers::cookie::CookieMint;
use cjp2p_wire::time::Time;

const GETTER: &str = "10.0.0.1:24254";
const VICTIM: &str = "203.0.113.9:24254";

fn a(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Answers each request by naming the same victims, from an address of its own.
struct Suggester {
    victims: Vec<SocketAddr>,
    named: Rc<RefCell<u64>>,
}

impl HostBehaviour for Suggester {
    fn handle_datagram(&mut self, _: Time, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        for message in cjp2p_wire::datagram::decode(bytes).unwrap_or_default() {
            if let cjp2p_wire::message::Message::PleaseSendContent(request) = message {
                let mut encoder = Encoder::new();
                encoder.referral(&request.id, &self.victims);
                *self.named.borrow_mut() += self.victims.len() as u64;
                out.push((from, encoder.finish(0)));
            }
        }
    }
}

struct Deaf;

impl HostBehaviour for Deaf {
    fn handle_datagram(&mut self, _: Time, _: SocketAddr, _: &[u8], _: &mut Outbox) {}
}

#[test]
fn a_victim_named_ten_thousand_times_gets_three_short_datagrams() {
    let mut world = World::new(1);
    world.add(a(GETTER), Link::default(), Peer::new(1));
    world.add(a(VICTIM), Link::default(), Deaf);
    let named = Rc::new(RefCell::new(0));
    let suggesters: Vec<SocketAddr> =
        (0..120u8).map(|n| SocketAddr::from(([198, 51, n, 1], 24254))).collect();
    for &suggester in &suggesters {
        let victims = vec![a(VICTIM); 20];
        world.add(suggester, Link::default(), Suggester { victims, named: named.clone() });
    }
    let ids: Vec<ContentId> = (0..5u64).map(|n| content::blake3_id(&content::bytes(n, 50_000))).collect();
    for id in &ids {
        world.with_peer(a(GETTER), |peer, now| peer.fetch(now, id, &suggesters));
    }
    for round in 0..300u64 {
        // In the victim's name, what the getter may be waiting for.
        for id in &ids {
            let mut encoder = Encoder::new();
            encoder.cookie("PleaseAlwaysReturnThisMessage", &round.to_string());
            encoder.content(&id.to_string(), 0, &[1; 900], Some(50_000), Padding::Padded);
            world.inject(a(VICTIM), a(GETTER), encoder.finish(0));
        }
        world.run_for(Duration::from_millis(100));
    }
    let victim = world.traffic(a(VICTIM));
    assert!(*named.borrow() >= 10_000, "it was named only {} times", named.borrow());
    assert!(victim.datagrams_in > 0, "it was never asked: the test tests nothing");
    assert!(victim.datagrams_in <= 3 && victim.bytes_in <= 768, "{victim:?}");
}

#[test]
fn a_victim_gets_three_datagrams_in_all_though_all_contacts_are_forgotten_between() {
    let mint = CookieMint::new(config(1).secret);
    let mut asker = Peer::new(1);
    let mut to_victim = 0;
    let mut n = 0u32;
    for round in 0..10u64 {
        let now = Time::from_millis(round * 20_000);
        let mut out = Outbox::new();
        asker.node.query(now, a(VICTIM), Query::Peers, true);
        asker.drain(now, &mut out);
        while asker.next_timeout() < now + Duration::from_secs(10) {
            let at = asker.next_timeout();
            asker.handle_timeout(at, &mut out);
        }
        to_victim += out.iter().filter(|(to, _)| *to == a(VICTIM)).count();
        // As many as are remembered, each on a host of its own, and a half.
        let now = now + Duration::from_secs(10);
        for _ in 0..MAX_CONTACTS * 3 / 2 {
            n += 1;
            let from = SocketAddr::from((std::net::Ipv4Addr::from_bits(0x1400_0000 + n), 24254));
            let mut encoder = Encoder::new();
            encoder.cookie("AlwaysReturned", &mint.mint(now, from));
            encoder.bare("PleaseSendPeers");
            asker.handle_datagram(now, from, &encoder.finish(0), &mut Outbox::new());
        }
        assert!(asker.node.acquaintances().all(|peer| peer.address != a(VICTIM)));
        assert!(asker.node.sizes().are_within_limits());
    }
    assert!((1..=3).contains(&to_victim), "it was sent {to_victim} datagrams");
}

/// Answers each request with its peers, and nothing else.
struct Gossip {
    peers: Vec<SocketAddr>,
}

impl HostBehaviour for Gossip {
    fn handle_datagram(&mut self, _: Time, from: SocketAddr, _: &[u8], out: &mut Outbox) {
        let mut encoder = Encoder::new();
        encoder.peers(&self.peers);
        out.push((from, encoder.finish(0)));
    }
}

#[test]
fn while_a_peer_that_the_user_named_may_answer_its_peers_are_left_alone() {
    for (is_named, expected) in [(true, 3000..4500), (false, 0..500)] {
        let mut world = World::new(4);
        world.add(a(GETTER), Link::default(), Peer::new(1));
        let gossip = a("198.51.100.1:24254");
        world.add(gossip, Link::default(), Gossip { peers: vec![a(VICTIM)] });
        let first = Rc::new(RefCell::new(None));
        let seen = first.clone();
        world.watch(move |now, from, to, _| {
            if from == a(GETTER) && to == a(VICTIM) {
                seen.borrow_mut().get_or_insert(now);
            }
        });
        let id = content::blake3_id(b"nobody has this");
        world.with_peer(a(GETTER), |peer, now| {
            let job = peer.fetch(now, &id, &[gossip]);
            if is_named {
                peer.node.rely_on(job, gossip, true);
            }
        });
        world.run_for(Duration::from_secs(9));
        let at = first.borrow().expect("it is asked in the end").since(Time::ZERO).as_millis();
        assert!(expected.contains(&at), "named: {is_named}: asked after {at} ms");
    }
}

#[test]
fn few_suggestions_are_followed_at_a_time_and_fewer_in_one_neighbourhood() {
    let asked = Rc::new(RefCell::new(Vec::new()));
    let mut world = World::new(2);
    world.add(a(GETTER), Link::default(), Peer::new(1));
    let seen = asked.clone();
    world.watch(move |now, from, to, _| {
        if from == a(GETTER) {
            seen.borrow_mut().push((now, to));
        }
    });
    let named = Rc::new(RefCell::new(0));
    let crowd: Vec<SocketAddr> = (1..=60).map(|n| SocketAddr::from(([203, 0, 113, n], 24254))).collect();
    let others: Vec<SocketAddr> = (1..=60).map(|n| SocketAddr::from(([203, 1, n, 1], 24254))).collect();
    let suggesters = [a("198.51.100.1:24254"), a("198.51.101.1:24254")];
    for (suggester, victims) in suggesters.into_iter().zip([crowd.clone(), others.clone()]) {
        world.add(suggester, Link::default(), Suggester { victims, named: named.clone() });
    }
    let id = content::blake3_id(b"nobody has this");
    world.with_peer(a(GETTER), |peer, now| peer.fetch(now, &id, &suggesters));
    world.run_for(Duration::from_secs(9));
    let mut first = std::collections::BTreeMap::new();
    for (at, to) in asked.borrow().iter().filter(|(_, to)| !suggesters.contains(to)) {
        first.entry(*to).or_insert(*at);
    }
    let times = |of: &[SocketAddr]| {
        let mut times: Vec<Time> = of.iter().filter_map(|to| first.get(to)).copied().collect();
        times.sort_unstable();
        times
    };
    let apart = |times: &[Time], least: u64| {
        times.windows(2).all(|pair| pair[1].since(pair[0]) >= Duration::from_millis(least))
    };
    let (crowd, others) = (times(&crowd), times(&others));
    assert!((8..=10).contains(&crowd.len()) && apart(&crowd, 1000), "{crowd:?}");
    assert!(others.len() > 50 && apart(&others, 125), "{others:?}");
}

#[test]
fn dead_suggestions_make_room_for_one_that_is_there() {
    let bytes = content::bytes(7, 60_000);
    let id = content::blake3_id(&bytes);
    let mut world = World::new(3);
    let mut getter = Peer::new(1);
    getter.store.repeats = true;
    world.add(a(GETTER), Link::default(), getter);
    let suggesters: Vec<SocketAddr> = (0..20).map(|n| SocketAddr::from(([198, 51, n, 1], 24254))).collect();
    let named = Rc::new(RefCell::new(0));
    for (n, &suggester) in (0u8..).zip(&suggesters) {
        let victims = (0..60).map(|m| SocketAddr::from(([203, n, m, 1], 24254))).collect();
        world.add(suggester, Link::default(), Suggester { victims, named: named.clone() });
    }
    let job = world.with_peer(a(GETTER), |peer, now| {
        let job = peer.node.start_fetch(
            now,
            cjp2p_wire::download::Spec {
                id: id.clone(),
                ranges: Vec::new(),
                in_order: false,
                resume: None,
                source_timeout: Duration::from_secs(3600),
                stall_timeout: Duration::from_secs(3600),
            },
        );
        peer.settle(now);
        for &suggester in &suggesters {
            peer.node.add_source(now, job, suggester, false);
            peer.settle(now);
        }
        peer.node.handle_room(now, &mut peer.store);
        job
    });
    world.run_for(Duration::from_secs(400));
    assert!(world.peer(a(GETTER)).node.sizes().are_within_limits());
    assert!(world.peer(a(GETTER)).node.sizes().unvalidated > 500, "too few were suggested to fill the room");
    let honest = a("192.0.2.7:24254");
    let mut source = Peer::new(9);
    source.store.share(bytes.clone(), None);
    world.add(honest, Link::default(), source);
    let late = a("192.0.3.7:24254");
    world.add(late, Link::default(), Suggester { victims: vec![honest], named });
    world.with_peer(a(GETTER), |peer, now| peer.node.add_source(now, job, late, false));
    assert!(world.run_until(Duration::from_secs(120), |world| world.peer(a(GETTER)).is_over(job)));
    assert!(world.peer(a(GETTER)).fetched(job) == bytes);
}

#[test]
fn a_source_that_was_suggested_brings_everything_once_it_has_proved_itself() {
    let bytes = content::bytes(8, 300_000);
    let honest = a("203.0.113.7:24254");
    let mut world = World::new(4);
    world.add(a(GETTER), Link::default(), Peer::new(1));
    let mut source = Peer::new(2);
    let id = source.store.share(bytes.clone(), None);
    world.add(honest, Link::default(), source);
    let liar = a("198.51.100.1:24254");
    world.add(liar, Link::default(), Liar::new(Lie::Referrals, &bytes, 1).aiming_at(&[honest]));
    let job = world.with_peer(a(GETTER), |peer, now| peer.fetch(now, &id, &[liar]));
    assert!(world.run_until(Duration::from_secs(20), |world| world.peer(a(GETTER)).is_over(job)));
    assert!(world.peer(a(GETTER)).fetched(job) == bytes);
}
