//! The discovery alone, against a scripted other side.

use super::*;
use crate::content_id::ContentId;
use crate::node::Answer;
use crate::node::client::Client;
use crate::node::testing::{Script, config, port_of};

const NAME: &str = "blake3/abababababababababababababababababababababababababababababababab";

struct Alone {
    discovery: Discovery,
    client: Client,
}

fn take(script: &mut Script<Alone>, inbound: &Inbound<'_>) {
    let Script { machine, shared, now, .. } = script;
    let giver = Giver { address: inbound.from, round_trip: None };
    machine.discovery.take(shared, machine.client.downloads(), *now, giver, inbound);
    machine.discovery.take_query_answers(shared, *now, inbound);
}

/// Looks for one content, and has asked one validated peer for it.
fn alone(asked: SocketAddr) -> (Script<Alone>, JobId) {
    let machine = Alone { discovery: Discovery::default(), client: Client::default() };
    let mut script = Script::new(config(1, true), machine, take);
    let Script { machine, shared, now, .. } = &mut script;
    let job = machine.client.start_search(shared, *now, ContentId::parse(NAME).unwrap());
    machine.client.open_source(shared, *now, job, asked, false);
    (script, job)
}

fn next(script: &mut Script<Alone>) -> Option<SocketAddr> {
    let found = script.machine.discovery.next_suggested(script.machine.client.downloads(), script.now);
    found.map(|found| found.address)
}

#[test]
fn peers_that_a_source_names_are_handed_out_one_after_another() {
    let peer = port_of(1, 24254);
    let (mut script, _) = alone(peer);
    let referral = format!(
        r#"{{"MaybeTheyHaveSome":{{"id":"{NAME}","peers":["20.0.0.1:24254","20.0.1.1:24254","10.0.0.1:24254"]}}}}"#
    );
    // Of an address that was not asked nothing is believed.
    script.at(0).receive(port_of(9, 24254), &[&referral]);
    assert_eq!(next(&mut script), None);
    script.at(10).receive(peer, &[&referral]);
    assert_eq!(next(&mut script), Some("20.0.0.1:24254".parse().unwrap()));
    assert_eq!(next(&mut script), None, "they are tried at a pace");
    script.at(200);
    assert_eq!(next(&mut script), Some("20.0.1.1:24254".parse().unwrap()));
    script.at(1000);
    assert_eq!(next(&mut script), None, "a private address is nothing that this peer may send us to");
}

#[test]
fn known_peers_are_handed_out_in_their_order_and_not_for_a_download_that_is_over() {
    let (mut script, job) = alone(port_of(1, 24254));
    let Script { machine: Alone { discovery, client }, now, .. } = &mut script;
    for n in 2..5 {
        discovery.add_known(client.downloads(), *now, job, port_of(n, 24254));
    }
    assert_eq!(discovery.next_known(client.downloads(), *now).unwrap().address, port_of(2, 24254));
    assert!(discovery.has_more(job));
    client.end(*now, job);
    assert_eq!(discovery.next_known(client.downloads(), *now), None);
    discovery.forget(job);
    assert!(!discovery.has_more(job));
}

#[test]
fn a_query_is_asked_again_and_answered_or_given_up() {
    let (mut script, peer) = (alone(port_of(1, 24254)).0, port_of(2, 24254));
    let send = |it: &mut Script<Alone>| it.machine.discovery.send_queries(&mut it.shared, it.now);
    script.expect_event(|event| matches!(event, Event::PathOpened(_)));
    script.call(|it| it.machine.discovery.query(&mut it.shared, it.now, peer, Query::Ping, false));
    script.expect_sent(peer, &["PleaseReturnThisMessage"]).expect_nothing();
    script.at(500).call(send).expect_sent(peer, &["PleaseReturnThisMessage"]).expect_nothing();
    let cookie = script.cookie("ReturnedMessage", peer);
    script.at(540).receive(peer, &[&cookie]);
    let round_trip = Duration::from_millis(40);
    let is_answer = |event: &Event| matches!(event, Event::Answer { answer: Answer::Ping, round_trip: took, .. } if *took == round_trip);
    script.expect_event(is_answer);
    script.call(|it| it.machine.discovery.query(&mut it.shared, it.now, peer, Query::Ping, false));
    for ms in (1000..20_000).step_by(500) {
        script.at(ms).call(send);
    }
    script.expect_event(|event| matches!(event, Event::Unanswered(address) if *address == peer));
}
