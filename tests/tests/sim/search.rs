//! Searching: content is found by asking on, quickly, with few datagrams, and without harm to those who are named.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::search::{Network, address, chain, link, random_tables};
use cjp2p_tests::sim::{HostBehaviour, Outbox, Peer, World};
use cjp2p_wire::datagram::{self, Encoder};
use cjp2p_wire::message::Message;
use cjp2p_wire::time::Time;

const ROUND_TRIP: Duration = Duration::from_millis(40);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Sees what leaves each host: when, from where, to where, and how many bytes.
type Sent = Rc<RefCell<Vec<(Time, SocketAddr, SocketAddr, usize)>>>;

fn watch(world: &mut World) -> Sent {
    let sent = Sent::default();
    let seen = sent.clone();
    world.watch(move |now, from, to, bytes| seen.borrow_mut().push((now, from, to, bytes.len())));
    sent
}

#[test]
fn in_a_chain_of_ten_each_knowing_only_the_next_the_last_is_found() {
    for seed in 0..30 {
        let mut network = chain(seed, 10, ROUND_TRIP);
        let found = network.search(&[0], 0, seconds(30)).expect("found");
        assert!(found.after <= seconds(3) && found.datagrams <= 60, "seed {seed}: {found:?}");
    }
}

#[test]
fn a_chain_is_followed_through_loss_too() {
    for seed in 0..10 {
        let mut network = chain(seed, 10, ROUND_TRIP);
        for n in 0..10 {
            let lossy = cjp2p_tests::sim::Link { loss: 0.02, ..link(ROUND_TRIP) };
            network.world.set_link(address(n), lossy);
        }
        let found = network.search(&[0], 0, seconds(60)).expect("found");
        assert!(found.datagrams <= 120, "seed {seed}: {found:?}");
    }
}

#[test]
fn among_a_thousand_with_random_tables_a_source_is_found_with_few_datagrams() {
    let mut all = Vec::new();
    for seed in 0..2 {
        // Both know each other when one has greeted the other, so each knows about 50.
        let mut network = random_tables(seed, 1000, 25, 50, 10, ROUND_TRIP);
        for content in 0..50 {
            let known = network.pick(50);
            let found = network.search(&known, content, seconds(30));
            all.push(found.map_or(u64::MAX, |found| found.datagrams));
        }
    }
    all.sort_unstable();
    assert!(all[all.len() / 2] <= 60 && all[all.len() * 9 / 10] <= 120, "{all:?}");
    assert!(all.iter().all(|datagrams| *datagrams < u64::MAX), "some found nobody: {all:?}");
}

#[test]
fn who_is_asked_asks_nobody_else() {
    let mut network = chain(7, 10, ROUND_TRIP);
    let sent = watch(&mut network.world);
    let (asker, _) = network.ask(&[0], 0);
    network.world.run_for(seconds(20));
    let sent = sent.borrow();
    assert!(sent.iter().filter(|(_, from, ..)| *from != asker).count() > 10, "nobody answered");
    assert!(sent.iter().all(|(_, from, to, _)| *from == asker || *to == asker));
}

#[test]
fn who_looks_only_fetches_nothing_and_hears_of_all_who_have_it() {
    let mut network = random_tables(5, 60, 10, 1, 6, ROUND_TRIP);
    let holders: BTreeSet<SocketAddr> = (0..60)
        .map(address)
        .filter(|&at| network.world.peer(at).store.shares(network.contents[0].id()))
        .collect();
    assert_eq!(holders.len(), 6);
    let asker = address(900);
    network.world.add(asker, link(ROUND_TRIP), Peer::new(9));
    let id = network.contents[0].id().clone();
    let job = network.world.with_peer(asker, |peer, now| {
        let job = peer.node.start_search(now, id);
        peer.settle(now);
        peer.node.add_known(now, job, address(3));
        job
    });
    let is_over = |world: &World| !world.peer(asker).node.is_searching(job);
    assert!(network.world.run_until(seconds(60), is_over), "it never ends");
    let node = &network.world.peer(asker).node;
    let offers: BTreeMap<SocketAddr, Option<u64>> = node.fetch(job).expect("the search").offers().collect();
    assert_eq!(offers.keys().copied().collect::<BTreeSet<_>>(), holders);
    assert!(offers.values().all(|length| *length == Some(network.contents[0].length())));
    assert!(network.world.peer(asker).fetched(job).is_empty());
    assert!(network.world.traffic(asker).bytes_in < 200_000);
    let found = node.acquaintances().filter(|peer| holders.contains(&peer.address));
    assert!(
        found.filter(|peer| peer.named_by.is_some()).count() >= 5,
        "the first was known, and the others named"
    );
}

/// One that has nothing, asked about content by a peer that has greeted it.
fn asked_later(pause: Duration) -> Vec<SocketAddr> {
    let mut network = Network::new(1, 2, 1, ROUND_TRIP);
    // The one that is asked first looks for it in vain, for long enough to be known by then.
    let (first, _) = network.ask(&[0], 0);
    network.world.run_for(seconds(12));
    network.world.set_up(first, false);
    network.world.run_for(pause);
    let heard = Rc::new(RefCell::new(Vec::new()));
    let named = heard.clone();
    network.world.watch(move |_, from, _, bytes| {
        for message in datagram::decode(bytes).unwrap_or_default() {
            if let Message::MaybeTheyHaveSome(referral) = message
                && from == address(0)
            {
                named.borrow_mut().extend(referral.peers);
            }
        }
    });
    network.ask(&[0], 0);
    network.world.run_for(seconds(2));
    assert!(!heard.borrow().contains(&address(1)), "who neither asked nor has it is named only as a peer");
    let mut heard = heard.borrow().clone();
    heard.retain(|peer| *peer == first);
    heard
}

#[test]
fn who_asked_for_the_same_is_named_for_a_quarter_of_an_hour() {
    assert!(!asked_later(seconds(60)).is_empty());
    assert!(!asked_later(seconds(14 * 60)).is_empty());
    assert_eq!(asked_later(seconds(16 * 60)), []);
}

/// Names its victims for the very content and as peers, to every node that asks it for anything.
struct Poisoner {
    victims: Vec<SocketAddr>,
    named: Rc<RefCell<u64>>,
}

impl HostBehaviour for Poisoner {
    fn handle_datagram(&mut self, _: Time, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        let mut encoder = Encoder::new();
        for message in datagram::decode(bytes).unwrap_or_default() {
            match message {
                Message::PleaseSendContent(request) => encoder.referral(&request.id, &self.victims),
                Message::PleaseSendPeers => encoder.peers(&self.victims),
                Message::PleaseAlwaysReturnThisMessage(value) => {
                    encoder.value("AlwaysReturned", value.get());
                    encoder.cookie("PleaseAlwaysReturnThisMessage", "of the poisoner");
                    continue;
                }
                _ => continue,
            }
            *self.named.borrow_mut() += self.victims.len() as u64;
        }
        if !encoder.is_empty() {
            out.push((from, encoder.finish(0)));
        }
    }
}

#[test]
fn ten_thousand_poisoned_suggestions_disturb_nobody_and_keep_nobody_from_the_honest_one() {
    let bytes = content::bytes(3, 30_000);
    let mut world = World::new(1);
    let named = Rc::new(RefCell::new(0));
    // 50 liars with 100 victims each, those of each in two neighbourhoods.
    let mut known = Vec::new();
    for liar in 0..50u8 {
        let victim = |n: u8| SocketAddr::from(([60 + n % 2, liar, 1, n], 24254));
        let victims: Vec<SocketAddr> = (0..100).map(victim).collect();
        let at = SocketAddr::from(([50, liar, 1, 1], 24254));
        world.add(at, link(ROUND_TRIP), Poisoner { victims, named: named.clone() });
        known.push(at);
    }
    let (friend, holder) = (address(1), address(2));
    let mut source = Peer::new(3);
    let id = source.store.share(bytes, None);
    world.add(friend, link(ROUND_TRIP), Peer::new(2));
    world.add(holder, link(ROUND_TRIP), source);
    world.with_peer(holder, |peer, now| {
        peer.node.query(now, friend, cjp2p_wire::node::Query::Peers, false);
    });
    world.run_for(seconds(1));
    world.with_peer(holder, |peer, now| peer.node.tell_content(now, friend, std::slice::from_ref(&id)));
    world.run_for(seconds(1));
    known.push(friend);
    let asker = address(9);
    world.add(asker, link(ROUND_TRIP), Peer::new(4));
    let sent = watch(&mut world);
    let job = world.with_peer(asker, |peer, now| {
        let job = peer.fetch(now, &id, &[]);
        for &at in &known {
            peer.node.add_known(now, job, at);
            peer.settle(now);
        }
        job
    });
    let found = world.run_until(seconds(30), |world| world.peer(asker).is_over(job));
    assert!(found && world.peer(asker).failure(job).is_none(), "{:?}", world.peer(asker).failure(job));
    // One that nobody has keeps it asking.
    let other = content::blake3_id(b"nobody has this");
    world.with_peer(asker, |peer, now| peer.fetch(now, &other, &known));
    world.run_for(seconds(28));
    assert!(*named.borrow() >= 10_000, "only {} were named", named.borrow());
    let mut victims: BTreeMap<SocketAddr, Vec<(Time, usize)>> = BTreeMap::new();
    for &(at, from, to, length) in sent.borrow().iter() {
        if from == asker && (60..62).contains(&first_byte(to)) {
            victims.entry(to).or_default().push((at, length));
        }
    }
    assert!(victims.len() > 100, "only {} were tried: the test tests nothing", victims.len());
    let is_short =
        |sent: &Vec<(Time, usize)>| sent.len() <= 3 && sent.iter().all(|(_, length)| *length <= 256);
    assert!(victims.values().all(is_short));
    let mut first: Vec<(Time, SocketAddr)> = victims.iter().map(|(to, sent)| (sent[0].0, *to)).collect();
    first.sort_unstable();
    assert!(first.windows(2).all(|pair| pair[1].0.since(pair[0].0) >= Duration::from_millis(125)));
    let mut neighbourhoods: BTreeMap<[u8; 3], Time> = BTreeMap::new();
    for (at, to) in first {
        let SocketAddr::V4(v4) = to else { panic!() };
        let [a, b, c, _] = v4.ip().octets();
        if let Some(before) = neighbourhoods.insert([a, b, c], at) {
            assert!(at.since(before) >= seconds(1));
        }
    }
    assert!(world.peer(asker).node.sizes().are_within_limits());
}

fn first_byte(address: SocketAddr) -> u8 {
    match address {
        SocketAddr::V4(address) => address.ip().octets()[0],
        SocketAddr::V6(_) => 0,
    }
}

#[test]
fn what_strangers_say_they_have_is_not_passed_on_and_a_flood_of_it_takes_little_memory() {
    let mut network = Network::new(1, 1, 1, ROUND_TRIP);
    let id = network.contents[0].id().to_string();
    let told = |id: &str| {
        let mut encoder = Encoder::new();
        encoder.have_content([id]);
        encoder.finish(0)
    };
    network.world.inject(address(5), address(0), told(&id));
    network.world.run_for(seconds(1));
    assert_eq!(network.world.peer(address(0)).node.sizes().providers, 0);
    // One that is validated fills no more than its part.
    network.world.add(address(6), link(ROUND_TRIP), Peer::new(6));
    network.world.with_peer(address(6), |peer, now| {
        peer.node.query(now, address(0), cjp2p_wire::node::Query::Peers, false);
    });
    network.world.run_for(seconds(1));
    for n in 0..100u64 {
        let ids: Vec<_> = (0..10).map(|m| content::blake3_id(&content::bytes(n * 10 + m, 10))).collect();
        network.world.with_peer(address(6), |peer, now| peer.node.tell_content(now, address(0), &ids));
        network.world.run_for(Duration::from_millis(100));
    }
    let sizes = network.world.peer(address(0)).node.sizes();
    assert!(sizes.providers > 0 && sizes.providers <= 64, "{sizes:?}");
}
