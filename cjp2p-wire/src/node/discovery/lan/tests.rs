//! Asking on the link, without one.

use std::cell::RefCell;

use super::*;
use crate::content_id::ContentId;
use crate::download::Spec;
use crate::node::testing::{config, drain};
use crate::node::{MAX_UNVALIDATED_WORK, Node};
use crate::peers::links::{Links, Network};
use crate::store::{Asker, Library, Read, Sink};

/// Shares one name, and takes what is fetched.
struct Shares(&'static str);

impl Library for Shares {
    fn read(&mut self, _: Asker, id: &ContentId, offset: u64, length: usize, out: &mut Vec<u8>) -> Read {
        if id.to_string() != self.0 {
            return Read::Absent;
        }
        out.resize(length.min(5000 - offset as usize), 7);
        Read::Found { eof: Some(5000) }
    }

    fn list(&mut self, _: usize) -> Vec<(ContentId, u64)> {
        Vec::new()
    }
}

impl Sink for Shares {}

const NAME: &str = "blake3/abababababababababababababababababababababababababababababababab";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ours() -> SocketAddr {
    at("10.78.0.1:5000")
}

fn links(own: SocketAddr) -> Links {
    let network = Network { address: own.ip(), bits: 24 };
    Links::new(own, vec![network])
}

fn node(seed: u8, own: SocketAddr) -> Node {
    let mut node = Node::new(config(seed, true));
    node.attach(Time::ZERO, links(own));
    drain(&mut node);
    node
}

fn fetch(node: &mut Node, name: &str, delay: Duration) -> JobId {
    let long = Duration::from_secs(1000);
    let spec = Spec {
        id: ContentId::parse(name).unwrap(),
        ranges: Vec::new(),
        in_order: false,
        resume: None,
        source_timeout: long,
        stall_timeout: long,
    };
    let job = node.start_fetch(Time::ZERO, spec);
    drain(node);
    node.look_on_lan(Time::ZERO, job, delay);
    drain(node);
    job
}

/// All questions to everybody until a time, each with when it was asked.
fn questions(node: &mut Node, from: Time, until: Time) -> Vec<(Time, Vec<u8>)> {
    let (mut asked, mut now) = (Vec::new(), from);
    loop {
        node.handle_timeout(now, &mut Shares(NAME));
        let (_, events, next) = drain(node);
        asked.extend(events.into_iter().filter_map(|event| match event {
            Event::AskLan(question) => Some((now, question)),
            _ => None,
        }));
        if next > until {
            return asked;
        }
        assert!(next > now, "it would spin");
        now = next;
    }
}

fn seconds(asked: &[(Time, Vec<u8>)]) -> Vec<u64> {
    asked.iter().map(|(at, _)| at.as_nanos() / 1_000_000_000).collect()
}

#[test]
fn what_nobody_serves_is_asked_for_at_once_twice_more_and_then_rarely() {
    let mut node = node(1, ours());
    let job = fetch(&mut node, NAME, Duration::ZERO);
    let asked = questions(&mut node, Time::ZERO, Time::from_millis(140_000));
    assert_eq!(seconds(&asked), [0, 1, 10, 70, 130]);
    let text = String::from_utf8(asked[0].1.clone()).unwrap();
    assert_eq!(text.len(), MAX_PROBE, "padded, so that others may answer something");
    let asks = format!(r#""PleaseSendContent":{{"id":"{NAME}","offset":0,"length":30"#);
    assert!(text.contains("PleaseSendPeers") && text.contains(&asks), "{text}");

    // A new network may have it; but however often they change, it is not asked all the time.
    node.attach(Time::from_millis(140_000), links(at("10.78.1.1:5000")));
    drain(&mut node);
    node.attach(Time::from_millis(140_000), links(at("10.78.2.1:5000")));
    drain(&mut node);
    let again = questions(&mut node, Time::from_millis(140_000), Time::from_millis(160_000));
    assert_eq!(seconds(&again), [140, 141, 150]);
    node.end_fetch(Time::from_millis(160_000), job);
    drain(&mut node);
    assert!(questions(&mut node, Time::from_millis(160_000), Time::from_millis(900_000)).is_empty());
}

/// Questions for each neighbour until a time, each with when it was asked.
fn asked_one_by_one(node: &mut Node, from: Time, until: Time) -> Vec<(Time, Vec<u8>)> {
    let (mut asked, mut now) = (Vec::new(), from);
    while now <= until {
        node.handle_timeout(now, &mut Shares(NAME));
        let (_, events, next) = drain(node);
        asked.extend(events.into_iter().filter_map(|event| match event {
            Event::AskNeighbours(question) => Some((now, question)),
            _ => None,
        }));
        now = next;
    }
    asked
}

#[test]
fn neighbours_are_asked_one_by_one_until_an_answer_to_a_question_to_everybody_is_heard() {
    let mut asking = node(1, ours());
    let mut answering = node(2, at("10.78.0.2:24254"));
    fetch(&mut asking, NAME, Duration::ZERO);
    let asked = asked_one_by_one(&mut asking, Time::ZERO, Time::from_millis(999));
    assert_eq!(asked.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [Time::ZERO + ASK_EACH_AFTER]);
    assert_eq!(asked[0].1.len(), MAX_PROBE);

    // Who is asked so answers as anybody does. That says nothing about answers to everybody.
    let mut answer = |question: &[u8], now: Time, alone: bool| {
        match alone {
            true => answering.handle_datagram(now, ours(), question, &mut Shares(NAME)),
            false => answering.handle_group_datagram(now, ours(), question, &mut Shares(NAME)),
        }
        drain(&mut answering).0.remove(0).bytes
    };
    let now = Time::from_millis(999);
    asking.handle_datagram(now, at("10.78.0.2:24254"), &answer(&asked[0].1, now, true), &mut Shares(NAME));
    let (_, events, _) = drain(&mut asking);
    assert!(matches!(events[..], [Event::Neighbour(_)]), "{events:?}");
    assert!(asking.has_heard_lan());
    assert_eq!(asked_one_by_one(&mut asking, now, Time::from_millis(9_000)).len(), 1);

    // What we hear ourselves by way of the link says nothing either.
    let now = Time::from_millis(10_000);
    let question = &questions(&mut asking, now, now)[0].1;
    asking.handle_datagram(now, at("10.78.0.1:24254"), &answer(question, now, false), &mut Shares(NAME));
    drain(&mut asking);
    assert_eq!(asked_one_by_one(&mut asking, now, Time::from_millis(69_000)).len(), 1);

    let now = Time::from_millis(70_000);
    let question = &questions(&mut asking, now, now)[0].1;
    asking.handle_datagram(now, at("10.78.0.3:24254"), &answer(question, now, false), &mut Shares(NAME));
    drain(&mut asking);
    assert!(
        asked_one_by_one(&mut asking, now, Time::from_millis(300_000)).is_empty(),
        "nothing is in the way"
    );
}

#[test]
fn who_has_named_peers_waits_for_them_first() {
    let mut node = node(1, ours());
    fetch(&mut node, NAME, Duration::from_millis(500));
    let asked = questions(&mut node, Time::ZERO, Time::from_millis(1000));
    assert_eq!(asked.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [Time::from_millis(500)]);
}

#[test]
fn many_ids_share_questions_that_are_not_too_long() {
    let mut node = node(1, ours());
    let names: Vec<String> = (0..20).map(|n| format!("{n:0>100}")).collect();
    for name in &names {
        fetch(&mut node, name, Duration::ZERO);
    }
    let asked = questions(&mut node, Time::ZERO, Time::from_millis(900));
    assert!(asked.iter().all(|(_, question)| question.len() <= MAX_PROBE));
    let text: String = asked.iter().map(|(_, question)| String::from_utf8_lossy(question)).collect();
    assert!(names.iter().all(|name| text.contains(name)), "{} questions", asked.len());
    assert!(asked.len() <= 4);
}

#[test]
fn who_answers_is_told_of_and_what_was_not_asked_or_comes_from_far_away_is_no_answer() {
    let mut asking = node(1, ours());
    let answering = RefCell::new(node(2, at("10.78.0.2:6000")));
    fetch(&mut asking, NAME, Duration::ZERO);
    let asked = questions(&mut asking, Time::ZERO, Time::ZERO);
    let question = &asked[0].1;
    // We hear it ourselves.
    asking.handle_group_datagram(Time::ZERO, ours(), question, &mut Shares(NAME));
    assert!(drain(&mut asking).0.is_empty());
    let answer = |from: SocketAddr| {
        let mut answering = answering.borrow_mut();
        answering.handle_group_datagram(Time::ZERO, from, question, &mut Shares(NAME));
        drain(&mut answering).0
    };
    assert!(answer(at("198.51.100.7:5000")).is_empty(), "answered to far away");
    let sent = answer(ours());
    assert_eq!((sent.len(), sent[0].to), (1, ours()));
    assert!(sent[0].bytes.len() <= 2 * question.len());
    let told = String::from_utf8(sent[0].bytes.clone()).unwrap();
    let content = format!(r#""Content":{{"id":"{NAME}""#);
    assert!(told.contains(&content), "{told}");

    let mut take = |from: &str, bytes: &[u8]| {
        asking.handle_datagram(Time::ZERO, at(from), bytes, &mut Shares("nothing"));
        drain(&mut asking).1
    };
    assert!(take("198.51.100.7:6000", &sent[0].bytes).is_empty());
    let forged = told.replace("ReturnedMessage", "UnheardMessage");
    assert!(take("10.78.0.2:6000", forged.as_bytes()).is_empty());
    let events = take("10.78.0.2:6000", &sent[0].bytes);
    assert!(matches!(events[..], [Event::Neighbour(from)] if from == at("10.78.0.2:6000")), "{events:?}");
    assert!(take("10.78.0.2:6000", &sent[0].bytes).is_empty(), "told of twice");
    let mut others = 0;
    for host in 3..200 {
        others += take(&format!("10.78.0.{host}:6000"), &sent[0].bytes).len();
    }
    assert_eq!(others, MAX_NEIGHBOURS - 1);
}

#[test]
fn who_only_calls_out_for_peers_is_greeted_once_and_never_at_length() {
    let mut node = node(1, ours());
    let call = br#"[{"PleaseSendPeers":{}}]"#;
    let (mut sent, mut events) = (Vec::new(), Vec::new());
    let mut now = Time::ZERO;
    for _ in 0..100 {
        node.handle_group_datagram(now, at("10.78.0.2:24254"), call, &mut Shares(NAME));
        sent.extend(drain(&mut node).0);
        now += Duration::from_secs(1);
        node.handle_timeout(now, &mut Shares(NAME));
        let (more, told, _) = drain(&mut node);
        sent.extend(more);
        events.extend(told);
    }
    let greetings: Vec<_> = sent.iter().filter(|transmit| transmit.bytes.len() > 2 * call.len()).collect();
    assert!((1..=2).contains(&greetings.len()), "{}", greetings.len());
    assert!(greetings.iter().all(|transmit| transmit.bytes.len() <= 256));
    assert!(events.is_empty(), "a stranger's call would end in the peer table");
    // And not many at once, whoever calls in whose name.
    let mut greeted = 0;
    for host in 3..250 {
        node.handle_group_datagram(now, at(&format!("10.78.0.{host}:24254")), call, &mut Shares(NAME));
        greeted += drain(&mut node).0.iter().filter(|transmit| transmit.bytes.len() > 48).count();
    }
    assert_eq!(greeted, 1);
}

#[test]
fn our_own_address_is_no_source() {
    let mut node = node(1, ours());
    let job = fetch(&mut node, NAME, Duration::ZERO);
    node.add_source(Time::ZERO, job, ours(), false);
    assert!(drain(&mut node).1.is_empty());
    node.add_source(Time::ZERO, job, at("10.78.0.1:5001"), false);
    assert!(matches!(drain(&mut node).1[..], [Event::PathOpened(_)]));
}

#[test]
fn a_question_to_everybody_costs_no_more_than_another_however_much_it_wants_returned() {
    let mut node = node(1, ours());
    let wanted = |n| format!(r#"{{"PleaseReturnThisMessage":{{"cookie":"{n:022}"}}}}"#);
    let many = (0..200).map(wanted).collect::<Vec<_>>().join(",");
    let from = at("10.78.0.2:24254");
    node.handle_group_datagram(Time::ZERO, from, format!("[{many}]").as_bytes(), &mut Shares(NAME));
    let work = node.counters().work;
    assert!(work > 0 && work <= MAX_UNVALIDATED_WORK, "{work} units");
}
