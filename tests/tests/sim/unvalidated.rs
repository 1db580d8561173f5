//! What unvalidated sources get: little, and never a conversation of two machines for ever.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::liars::{Liar, Lie, odd};
use cjp2p_tests::sim::peer::config;
use cjp2p_tests::sim::{HostBehaviour, Link, Outbox, Peer, World};
use cjp2p_wire::datagram::{self, Encoder, Padding};
use cjp2p_wire::message::{ContentRequest, Message};
use cjp2p_wire::peers::cookie::{CookieMint, Validation};
use cjp2p_wire::time::Time;

const SERVER: &str = "10.0.0.2:24254";

fn server(files: &[Vec<u8>]) -> Peer {
    let mut peer = Peer::new(2);
    for (n, file) in files.iter().enumerate() {
        peer.store.share(file.clone(), Some(&format!("file{n}")));
    }
    peer
}

#[test]
fn a_stranger_never_gets_more_than_twice_what_it_sent() {
    let files = [content::bytes(1, 1_500_000), content::bytes(2, 10), Vec::new()];
    let mut ids: Vec<String> = files
        .iter()
        .flat_map(|f| [content::blake3_id(f).to_string(), content::sha256_id(f).to_string()])
        .collect();
    ids.push("file0".into());
    ids.push("nothing of this name".into());
    ids.push(content::blake3_id(&files[0]).to_string().replace("blake3/", "blake3_tree_v2/"));
    ids.push("../../etc/passwd".into());
    let mut peer = server(&files);
    let mut random = fastrand::Rng::with_seed(3);
    let mut answered = 0u32;
    for n in 0..200_000u32 {
        let from = SocketAddr::from(([198, 51, 100, random.u8(1..255)], random.u16(1..)));
        let bytes = odd::question(&mut random, &ids);
        let mut out = Outbox::new();
        peer.handle_datagram(Time::from_millis(u64::from(n)), from, &bytes, &mut out);
        let sent: usize = out.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(sent <= 2 * bytes.len(), "{sent} for {}: {}", bytes.len(), String::from_utf8_lossy(&bytes));
        assert!(out.iter().all(|(to, _)| *to == from));
        answered += u32::from(sent > 0);
    }
    assert!(answered > 50_000, "only {answered} of the questions were answered: the test asks nothing");
    assert_eq!(peer.node.acquaintances().count(), 0, "unvalidated sources were remembered");
}

#[test]
fn what_is_no_question_is_not_answered() {
    let mut peer = server(&[content::bytes(1, 5000)]);
    let mut encoder = Encoder::new();
    encoder.content("file0", 0, &[0; 500], Some(500), Padding::Padded);
    encoder.peers(&["192.0.2.1:5".parse().unwrap()]);
    encoder.cookie("AlwaysReturned", "x");
    encoder.cookie("ReturnedMessage", "x");
    encoder.cookie("PleaseAlwaysReturnThisMessage", "x");
    encoder.referral("file0", &[]);
    encoder.content_list([("x", 1)]);
    let mut out = Outbox::new();
    peer.handle_datagram(Time::ZERO, "192.0.2.7:7".parse().unwrap(), &encoder.finish(1400), &mut out);
    assert!(out.is_empty(), "{out:?}");
}

#[test]
fn an_echo_of_everything_comes_to_rest() {
    let bytes = content::bytes(4, 50_000);
    let (server_at, echo): (SocketAddr, SocketAddr) =
        (SERVER.parse().unwrap(), "10.0.0.3:1".parse().unwrap());
    let mut world = World::new(5);
    world.add(server_at, Link::default(), server(std::slice::from_ref(&bytes)));
    world.add(echo, Link::default(), Liar::new(Lie::Echo, &bytes, 6));
    let id = content::blake3_id(b"what only the echo is asked for");
    world.with_peer(server_at, |peer, now| peer.fetch(now, &id, &[echo]));
    for text in [
        r#"[{"PleaseReturnThisMessage":{"cookie":"x"}}]"#,
        r#"[{"PleaseAlwaysReturnThisMessage":{"cookie":"x"}},{"PleaseSendPeers":{}}]"#,
        r#"[{"PleaseSendContent":{"id":"file0","offset":0,"length":4096}}]"#,
    ] {
        world.inject(echo, server_at, text.as_bytes().to_vec());
    }
    // The fetch gives up after 30 s; then there must be silence.
    world.run_for(Duration::from_secs(60));
    let before = world.traffic(server_at);
    world.run_for(Duration::from_secs(600));
    assert_eq!(world.traffic(server_at), before);
    assert!(before.datagrams_out < 100, "{before:?}");
}

#[test]
fn two_of_ours_back_to_back_come_to_rest() {
    let mut world = World::new(7);
    let (a, b): (SocketAddr, SocketAddr) = (SERVER.parse().unwrap(), "10.0.0.3:24254".parse().unwrap());
    world.add(a, Link::default(), server(&[content::bytes(1, 9000)]));
    world.add(b, Link::default(), Peer::new(3));
    // Forged, so that each believes that the other asked.
    for (from, to) in [(a, b), (b, a)] {
        let mut encoder = Encoder::new();
        encoder.cookie("PleaseAlwaysReturnThisMessage", "x");
        encoder.value("PleaseReturnThisMessage", "{\"cookie\":\"y\"}");
        encoder.bare("PleaseSendPeers");
        encoder.bare("PleaseListContent");
        encoder.request(&ContentRequest::plain("file0", 0, 4096));
        world.inject(from, to, encoder.finish(0));
    }
    world.run_for(Duration::from_secs(10));
    let before = (world.traffic(a), world.traffic(b));
    assert!(before.0.datagrams_out + before.1.datagrams_out < 20, "{before:?}");
    world.run_for(Duration::from_secs(600));
    assert_eq!((world.traffic(a), world.traffic(b)), before);
}

/// Asks as a node does that knows no `PleaseAlwaysReturnThisMessage`, and returns what it is asked to return.
struct OldNode {
    got: Rc<RefCell<BTreeMap<u64, Vec<u8>>>>,
}

impl HostBehaviour for OldNode {
    fn handle_datagram(&mut self, _now: Time, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        for message in datagram::decode(bytes).expect("an array") {
            match message {
                Message::PleaseReturnThisMessage(value) => {
                    let mut encoder = Encoder::new();
                    encoder.value("ReturnedMessage", value.get());
                    out.push((from, encoder.finish(0)));
                }
                Message::Content(block) => {
                    assert!(!bytes.contains(&b'='), "it dies of padding");
                    self.got.borrow_mut().insert(block.offset, block.data.into_owned());
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_node_that_can_return_a_cookie_only_once_is_served_in_full_and_without_padding() {
    let bytes = content::bytes(8, 10_000);
    let got = Rc::new(RefCell::new(BTreeMap::new()));
    let (server_at, old): (SocketAddr, SocketAddr) = (SERVER.parse().unwrap(), "10.0.0.3:5".parse().unwrap());
    let mut world = World::new(9);
    world.add(server_at, Link::default(), server(std::slice::from_ref(&bytes)));
    world.add(old, Link::default(), OldNode { got: got.clone() });
    for block in 0..3u64 {
        let text =
            format!(r#"[{{"PleaseSendContent":{{"id":"file0","length":4096,"offset":{}}}}}]"#, block * 4096);
        world.inject(old, server_at, text.into_bytes());
        world.run_for(Duration::from_millis(100));
    }
    let got: Vec<u8> = got.borrow().values().flatten().copied().collect();
    assert_eq!(got, bytes);
    // An echo is worth one block.
    assert_eq!(world.traffic(server_at).datagrams_out, 6);
}

#[test]
fn a_cookie_is_of_no_use_to_anybody_else_nor_for_long() {
    let mint = CookieMint::new(config(2).secret);
    let ours: SocketAddr = "192.0.2.1:5".parse().unwrap();
    let cookie = mint.mint(Time::ZERO, ours);
    let ask = |from: SocketAddr, now: Time| {
        let mut peer = server(&[content::bytes(1, 50_000)]);
        let mut encoder = Encoder::new();
        encoder.cookie("AlwaysReturned", &cookie);
        encoder.request(&ContentRequest::plain("file0", 0, 40_960));
        let mut out = Outbox::new();
        peer.handle_datagram(now, from, &encoder.finish(0), &mut out);
        out.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
    };
    assert!(ask(ours, Time::from_millis(599_000)) > 40_000);
    for (from, ms) in [("192.0.2.1:6", 0), ("192.0.2.2:5", 0), ("192.0.2.1:5", 660_000)] {
        assert!(ask(from.parse().unwrap(), Time::from_millis(ms)) < 500, "{from} {ms}");
    }
    assert_eq!(mint.check(Time::ZERO, ours, &cookie), Validation::Current);
}

#[test]
fn forged_content_in_an_honest_sources_name_neither_harms_nor_frames_it() {
    let bytes = content::bytes(10, 2_000_000);
    let (getter, source): (SocketAddr, SocketAddr) = ("10.0.0.1:1".parse().unwrap(), SERVER.parse().unwrap());
    let mut world = World::new(11);
    world.add(getter, Link::rated(20, 10, 256 << 10), Peer::new(1));
    let mut peer = Peer::new(2);
    let id = peer.store.share(bytes.clone(), None);
    world.add(source, Link::rated(20, 10, 256 << 10), peer);
    let job = world.with_peer(getter, |peer, now| peer.fetch(now, &id, &[source]));
    // Blindly, for blocks that are surely on their way, with wrong bytes and wrong lengths.
    for n in 0..2000u64 {
        let mut encoder = Encoder::new();
        let offset = world.random_below(2_000_000);
        let eof = if n % 2 == 0 { 2_000_000 } else { 1_999_999 };
        encoder.content(&id.to_string(), offset / 960 * 960, &[0; 900], Some(eof), Padding::Padded);
        world.inject(source, getter, encoder.finish(0));
        world.run_for(Duration::from_millis(1));
    }
    assert!(world.run_until(Duration::from_secs(30), |world| world.peer(getter).is_over(job)));
    let peer = world.peer(getter);
    assert_eq!(peer.failure(job), None);
    assert!(peer.fetched(job) == bytes);
    assert_eq!(peer.liars(), []);
}

/// What the server answers to datagrams that came together, all of the same length.
fn answers(server: &mut Peer, at: Time, from: SocketAddr, datagrams: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let segment = datagrams[0].len();
    assert!(datagrams.iter().all(|datagram| datagram.len() == segment));
    server.node.handle_datagrams(at, from, &datagrams.concat(), segment, &mut server.store);
    let mut out = Outbox::new();
    server.drain(at, &mut out);
    out.into_iter().map(|(_, bytes)| bytes).collect()
}

#[test]
fn who_proves_its_address_in_datagrams_that_come_together_is_told_what_the_node_can_do() {
    let mut server = server(&[content::bytes(3, 100_000)]);
    let from: SocketAddr = "10.0.0.9:1000".parse().unwrap();
    let ask = |cookie: Option<&str>, offset: u64| {
        let mut encoder = Encoder::new();
        if let Some(cookie) = cookie {
            encoder.value("AlwaysReturned", cookie);
        }
        encoder.cookie("PleaseAlwaysReturnThisMessage", "what it wants returned");
        encoder.request(&ContentRequest::plain("file0", offset, 900));
        encoder.finish(300)
    };
    let first = answers(&mut server, Time::from_millis(1), from, &[ask(None, 0)]);
    let cookie = datagram::decode(&first[0]).unwrap().into_iter().find_map(|message| match message {
        Message::PleaseAlwaysReturnThisMessage(value) => Some(value.get().to_owned()),
        _ => None,
    });
    let cookie = cookie.expect("a stranger is asked to return a cookie");
    let together = [ask(Some(&cookie), 900), ask(Some(&cookie), 1800)];
    let answers = answers(&mut server, Time::from_millis(2), from, &together);
    assert_eq!(answers.len(), 2);
    let tells = |bytes: &Vec<u8>| {
        let messages = datagram::decode(bytes).unwrap();
        messages.iter().any(|message| matches!(message, Message::ICanSendContentInBlocks(_)))
    };
    assert!(answers.iter().any(tells), "nobody would ever ask it for more than a block at a time");
}

#[test]
fn whoever_returns_another_cookie_than_ours_is_told_ours_again() {
    let mut server = server(&[content::bytes(3, 100_000)]);
    let from: SocketAddr = "10.0.0.9:1000".parse().unwrap();
    // Somebody told it a false one in our name, and told us a false one in its name.
    let mut ask = Encoder::new();
    ask.cookie("AlwaysReturned", "what we never said");
    ask.cookie("PleaseAlwaysReturnThisMessage", "its own");
    ask.which_parts("file0", 0);
    let answers = answers(&mut server, Time::from_millis(1), from, &[ask.finish(300)]);
    let messages = datagram::decode(answers.first().expect("an answer")).unwrap();
    let says = |wanted: fn(&Message<'_>) -> bool| messages.iter().any(wanted);
    assert!(says(|m| matches!(m, Message::PleaseAlwaysReturnThisMessage(_))), "{messages:?}");
    let proves = says(|m| matches!(m, Message::AlwaysReturned(value) if value.contains("its own")));
    assert!(proves, "it cannot tell that this is from us: {messages:?}");
}

#[test]
fn whoever_wants_its_cookie_beside_what_we_say_gets_it_beside_what_it_wants_returned_too() {
    let mut server = server(&[content::bytes(3, 100_000)]);
    let from: SocketAddr = "10.0.0.9:1000".parse().unwrap();
    let mint = CookieMint::new(config(2).secret);
    let mut ask = Encoder::new();
    ask.cookie("AlwaysReturned", &mint.mint(Time::ZERO, from));
    ask.cookie("PleaseAlwaysReturnThisMessage", "its own");
    ask.request(&ContentRequest::plain("file0", 0, 900));
    answers(&mut server, Time::ZERO, from, &[ask.finish(0)]);
    // Somebody else asked it in our name, so it challenges us.
    let challenge = br#"[{"PleaseReturnThisMessage":{"cookie":"a challenge"}}]"#.to_vec();
    let returned = answers(&mut server, Time::from_millis(1), from, &[challenge]);
    let text = String::from_utf8_lossy(returned.first().expect("an answer"));
    assert!(text.contains("a challenge") && text.contains("its own"), "{text}");
}
