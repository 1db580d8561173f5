//! What names stand for, over the simulated network: from peers that know it, do not, or lie about it.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use cjp2p_tests::sim::{HostBehaviour, Link, Outbox, Peer, World};
use cjp2p_wire::datagram;
use cjp2p_wire::message::Message;
use cjp2p_wire::node::Event;
use cjp2p_wire::signed::{Pointer, PointerId, PointsTo, SignedMessage, SignedPointer, SigningKey};
use cjp2p_wire::time::Time;

const READER: SocketAddr = at(1);
const HOLDER: SocketAddr = at(2);
const LIAR: SocketAddr = at(3);

const fn at(n: u8) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, n), 24254))
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

fn id(name: &str) -> PointerId {
    PointerId::parse(&format!("latest/{}/{name}", key().public())).expect("a name")
}

fn signed_by(key: &SigningKey, name: &str, seq: u64) -> SignedPointer {
    let kind = PointsTo::Folder;
    let blake3 = Some([seq as u8; 32]);
    SignedPointer::sign(key, Pointer { id: id(name), sha256: [1; 32], seq, blake3, length: Some(9), kind })
}

fn pointer(name: &str, seq: u64) -> SignedPointer {
    signed_by(&key(), name, seq)
}

fn holder(seed: u64, pointers: &[SignedPointer]) -> Peer {
    let mut peer = Peer::new(seed);
    for pointer in pointers {
        peer.store.names.insert(pointer.pointer().id.clone(), pointer.clone());
    }
    peer
}

fn ask(world: &mut World, to: SocketAddr, names: &[&str], watches: bool) {
    let ids: Vec<PointerId> = names.iter().map(|name| id(name)).collect();
    world.with_peer(READER, |peer, now| peer.node.ask_latest(now, to, &ids, false, watches));
}

/// What the reader was told, by whom, and when.
fn told(world: &World) -> Vec<(SocketAddr, SignedPointer, Time)> {
    let latest = |(at, event): &(Time, Event)| match event {
        Event::Latest { from, pointer, .. } => Some((*from, (**pointer).clone(), *at)),
        _ => None,
    };
    world.peer(READER).events.iter().filter_map(latest).collect()
}

fn seqs(world: &World) -> Vec<u64> {
    told(world).iter().map(|(_, pointer, _)| pointer.pointer().seq).collect()
}

#[test]
fn peers_that_never_met_tell_what_a_name_stands_for_and_what_they_do_not_know() {
    for loss in [0.0, 0.1] {
        let mut world = World::new(7);
        let link = Link { loss, ..Link::default() };
        world.add(READER, link, Peer::new(1));
        world.add(HOLDER, link, holder(2, &[pointer("site", 7), pointer("site/a", 8)]));
        ask(&mut world, HOLDER, &["site/a/b", "site/a", "site"], false);
        let over = |world: &World| world.peer(READER).node.awaits_latest() == 0;
        assert!(world.run_until(Duration::from_secs(20), over), "it asks for ever");
        let mut seqs = seqs(&world);
        seqs.sort_unstable();
        assert_eq!(seqs, [7, 8], "{loss} lost");
        if loss == 0.0 {
            assert!(world.traffic(READER).datagrams_out <= 4);
        }
    }
}

#[test]
fn who_watches_a_name_hears_of_what_is_new_within_a_trip() {
    let mut world = World::new(7);
    world.add(READER, Link::default(), Peer::new(1));
    world.add(HOLDER, Link::default(), holder(2, &[pointer("site", 7)]));
    ask(&mut world, HOLDER, &["site"], true);
    world.run_for(Duration::from_secs(600));
    assert_eq!(seqs(&world), [7], "what is not new is not told again");
    let (before, sent) = (world.now(), world.traffic(HOLDER).datagrams_out);
    world.with_peer(HOLDER, |peer, now| {
        let news = pointer("site", 9);
        peer.store.names.insert(id("site"), news);
        peer.node.handle_news_of(now, &id("site"), &mut peer.store);
    });
    world.run_for(Duration::from_secs(10));
    let told = told(&world);
    assert_eq!(told[1].1.pointer().seq, 9);
    assert!(told[1].2.since(before) < Duration::from_millis(500), "{:?}", told[1].2.since(before));
    assert!(
        world.traffic(HOLDER).datagrams_out - sent <= 3,
        "it is told once, and that it was heard is answered"
    );
    assert_eq!(world.peer(HOLDER).node.sizes().watchers, 1, "it waits for what comes next");
}

#[test]
fn news_that_is_lost_comes_again() {
    let mut world = World::new(7);
    world.add(READER, Link::default(), Peer::new(1));
    world.add(HOLDER, Link::default(), holder(2, &[pointer("site", 7)]));
    ask(&mut world, HOLDER, &["site"], true);
    world.run_for(Duration::from_secs(3));
    world.set_link(READER, Link { loss: 1.0, ..Link::default() });
    let publish = |world: &mut World, seq| {
        world.with_peer(HOLDER, |peer, now| {
            peer.store.names.insert(id("site"), pointer("site", seq));
            peer.node.handle_news_of(now, &id("site"), &mut peer.store);
        });
    };
    publish(&mut world, 8);
    world.run_for(Duration::from_millis(300));
    world.set_link(READER, Link::default());
    world.run_for(Duration::from_secs(3));
    assert_eq!(seqs(&world), [7, 8], "it is told again soon");
    // And if it was lost too often, the reader asks.
    world.set_link(READER, Link { loss: 1.0, ..Link::default() });
    publish(&mut world, 9);
    world.run_for(Duration::from_secs(5));
    world.set_link(READER, Link::default());
    world.run_for(Duration::from_secs(75));
    assert_eq!(seqs(&world), [7, 8, 9]);
}

/// Answers each question for a name with what it likes.
struct Liar {
    says: Vec<String>,
    /// Whether it says it again and again, unasked.
    insists: bool,
    reader: Option<(SocketAddr, String)>,
    next: Time,
}

impl Liar {
    fn new(says: Vec<String>) -> Liar {
        Liar { says, insists: false, reader: None, next: Time::NEVER }
    }

    fn speak(&self, out: &mut Outbox) {
        let Some((reader, cookie)) = &self.reader else { return };
        for said in &self.says {
            out.push((*reader, format!("[{cookie}{said}]").into_bytes()));
        }
    }
}

impl HostBehaviour for Liar {
    fn handle_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        let Ok(messages) = datagram::decode(bytes) else { return };
        let mut asks = false;
        for message in &messages {
            match message {
                Message::GetLatest(_) => asks = true,
                Message::PleaseAlwaysReturnThisMessage(value) => {
                    self.reader = Some((from, format!(r#"{{"AlwaysReturned":{}}},"#, value.get())));
                }
                _ => {}
            }
        }
        if asks {
            self.speak(out);
            self.next = if self.insists { now + Duration::from_millis(20) } else { Time::NEVER };
        }
    }

    fn handle_timeout(&mut self, now: Time, out: &mut Outbox) {
        self.speak(out);
        self.next = now + Duration::from_millis(20);
    }

    fn next_timeout(&self) -> Time {
        self.next
    }
}

fn message(json: &str) -> String {
    format!(r#"{{"SignedMessage":{json}}}"#)
}

#[test]
fn no_lie_about_a_name_is_believed_and_an_honest_peer_is_heard_beside_the_liar() {
    let honest = pointer("site", 7);
    let other = SigningKey::from_seed(&[8; 32]);
    let newer = pointer("site", 9);
    let nested = SignedMessage::sign(&key(), format!("[{}]", message(&newer.to_json())));
    let with_more = SignedMessage::sign(&key(), r#"[{"PleaseSendPeers":{}},{"Latest":{}}]"#);
    let mut by_other = SignedMessage::read(&newer.to_json()).expect("it is one").into_owned();
    by_other.key = other.public();
    let giant = SignedMessage::sign(&key(), format!("[{}\"\"]", "\"\",".repeat(20_000)));
    let lies = [
        ("a changed number", message(&newer.to_json().replace("seq\\\":9", "seq\\\":99"))),
        ("a key that is not the name's", message(&signed_by(&other, "site", 9).to_json())),
        ("the name's signature under another key", message(&by_other.to_json())),
        ("another name of that key", message(&pointer("site/x", 9).to_json())),
        ("a message within a message", message(&nested.to_json())),
        ("several messages", message(&with_more.to_json())),
        ("one that is too long", message(&giant.to_json())),
        ("one without a signature", r#"{"Latest":{"name":"site","seq":9}}"#.to_owned()),
    ];
    for (what, lie) in lies {
        let mut world = World::new(7);
        world.add(READER, Link::default(), Peer::new(1));
        world.add(HOLDER, Link::default(), holder(2, std::slice::from_ref(&honest)));
        world.add(LIAR, Link::default(), Liar::new(vec![lie]));
        ask(&mut world, LIAR, &["site"], false);
        ask(&mut world, HOLDER, &["site"], false);
        let over = |world: &World| world.peer(READER).node.awaits_latest() == 0;
        assert!(world.run_until(Duration::from_secs(20), over), "{what}: it asks for ever");
        let told: Vec<_> = told(&world).into_iter().map(|(from, pointer, _)| (from, pointer)).collect();
        assert_eq!(told, [(HOLDER, honest.clone())], "{what}");
    }
}

#[test]
fn who_gives_an_older_pointer_does_not_take_the_newer_one_away() {
    let mut world = World::new(7);
    world.add(READER, Link::default(), Peer::new(1));
    world.add(HOLDER, Link::default(), holder(2, &[pointer("site", 9)]));
    let mut replayer = Liar::new(vec![message(&pointer("site", 3).to_json())]);
    replayer.insists = true;
    world.add(LIAR, Link::default(), replayer);
    ask(&mut world, HOLDER, &["site"], true);
    ask(&mut world, LIAR, &["site"], true);
    world.run_for(Duration::from_secs(70));
    // It is asked for what is newer than the newest, whatever the other says meanwhile.
    let newest = told(&world).iter().map(|(_, pointer, _)| pointer.pointer().seq).max();
    assert_eq!(newest, Some(9));
    world.with_peer(HOLDER, |peer, now| {
        peer.store.names.insert(id("site"), pointer("site", 10));
        peer.node.handle_news_of(now, &id("site"), &mut peer.store);
    });
    world.run_for(Duration::from_secs(1));
    assert!(seqs(&world).contains(&10), "the flood of old ones hides nothing");
    assert_eq!(world.peer(READER).node.sizes().name_queries, 2);
}

#[test]
fn forged_questions_get_no_more_than_twice_their_bytes_and_no_place_to_wait() {
    let mut peer = holder(2, &[pointer("site", 9)]);
    let question =
        |extra: &str| format!(r#"[{{"GetLatest":{{"ed25519":"{}","name":"site"{extra}}}}}]"#, key().public());
    for (text, answered) in [
        (question(""), false),
        (question("") + &" ".repeat(400), true),
        (question(r#","after":9,"wait":300"#) + &" ".repeat(400), false),
    ] {
        let mut out = Outbox::new();
        peer.handle_datagram(Time::ZERO, at(9), text.as_bytes(), &mut out);
        let bytes: usize = out.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes <= 2 * text.len(), "{bytes} for {}", text.len());
        let said = String::from_utf8(out.into_iter().flat_map(|(_, bytes)| bytes).collect()).expect("text");
        assert_eq!(said.contains("SignedMessage"), answered, "{said}");
        assert!(!said.contains("IKnowNothingNewer"), "{said}");
        assert_eq!(peer.node.sizes().watchers, 0);
    }
}
