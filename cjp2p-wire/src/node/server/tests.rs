//! The server alone, against a scripted other side.

use std::time::Duration;

use super::*;
use crate::node::client::Client;
use crate::node::testing::{Script, config, port_of};

const NAME: &str = "blake3/abababababababababababababababababababababababababababababababab";

struct Alone {
    server: Server,
    client: Client,
    /// What the last datagram asked about that we download.
    leeches: Vec<ContentId>,
}

fn take(script: &mut Script<Alone>, inbound: &Inbound<'_>) {
    let Script { machine, shared, store, now, .. } = script;
    let downloads = machine.client.downloads();
    let mut cx = Context { now: *now, shared, downloads, store };
    machine.leeches = machine.server.take(&mut cx, inbound);
    machine.server.serve_turns(&mut cx);
}

/// A server that shares one content of 5,000 bytes.
fn alone() -> Script<Alone> {
    let config = config(1, true);
    let machine = Alone { server: Server::new(&config), client: Client::default(), leeches: Vec::new() };
    let mut script = Script::new(config, machine, take);
    script.store.shared = Some((ContentId::parse(NAME).unwrap(), vec![7; 5000]));
    script
}

fn request(id: &str) -> String {
    format!(r#"{{"PleaseSendContent":{{"id":"{id}","length":4096,"offset":0}}}}"#)
}

#[test]
fn an_unvalidated_source_is_asked_for_our_cookie_and_a_validated_one_gets_the_content() {
    let (mut script, peer) = (alone(), port_of(1, 24254));
    script.at(0).receive(peer, &[&request(NAME)]).expect_sent(peer, &["PleaseAlwaysReturnThisMessage"]);
    let cookie = script.cookie("AlwaysReturned", peer);
    script.at(10).receive(peer, &[&cookie, &request(NAME)]);
    script.expect_sent(peer, &[r#""Content""#, r#""eof":5000"#]).expect_nothing();
    // The cookie is that of one address.
    script.at(20).receive(port_of(1, 24255), &[&cookie, &request(NAME)]);
    script.expect_sent(port_of(1, 24255), &["PleaseAlwaysReturnThisMessage"]).expect_nothing();
}

#[test]
fn answers_that_could_not_leave_are_held_and_leave_later() {
    let (mut script, peer) = (alone(), port_of(1, 24254));
    let cookie = script.cookie("AlwaysReturned", peer);
    script.call(|it| it.machine.server.hold_answers(true));
    script.at(0).receive(peer, &[&cookie, &request(NAME)]).expect_nothing();
    assert_eq!(script.machine.server.next_at(script.now), Time::NEVER);
    script.call(|it| it.machine.server.hold_answers(false));
    assert_eq!(script.machine.server.next_at(script.now), script.now);
}

#[test]
fn a_peer_that_says_what_it_has_is_named_to_others_that_ask_for_it() {
    let (mut script, has, asks) = (alone(), port_of(1, 24254), port_of(2, 24254));
    let other = NAME.replace("ab", "cd");
    let [cookie, its] = [asks, has].map(|peer| script.cookie("AlwaysReturned", peer));
    script.at(0).receive(has, &[&its, &format!(r#"{{"IHaveThisContent":{{"ids":["{other}"]}}}}"#)]);
    script.expect_nothing().at(10).receive(asks, &[&cookie, &request(&other)]);
    script.expect_sent(asks, &["MaybeTheyHaveSome", "192.0.2.1:24254"]).expect_nothing();
}

#[test]
fn a_peer_that_asks_which_parts_are_here_of_what_is_downloaded_is_handed_to_the_client() {
    let (mut script, peer) = (alone(), port_of(1, 24254));
    let cookie = script.cookie("AlwaysReturned", peer);
    let other = ContentId::parse(&NAME.replace("ab", "cd")).unwrap();
    let asks = |id: &ContentId| format!(r#"{{"PleaseSayWhichParts":{{"id":"{id}","offset":0}}}}"#);
    script.at(0).receive(peer, &[&cookie, &asks(&other)]).expect_nothing();
    assert_eq!(script.machine.leeches, []);
    script.call(|it| _ = it.machine.client.start_search(&mut it.shared, it.now, other.clone()));
    script.at(10).receive(peer, &[&cookie, &asks(&other)]).expect_sent(peer, &["IHaveTheseParts"]);
    assert_eq!(script.machine.leeches, [other]);
}

const HOW_LONG: &str = r#"{"PleaseSayHowLongThisWaited":{"number":77}}"#;

#[test]
fn a_source_that_asks_how_long_it_waited_is_told_before_the_answers_and_once() {
    let (mut script, peer) = (alone(), port_of(1, 24254));
    let cookie = script.cookie("AlwaysReturned", peer);
    script.waited = Duration::from_millis(3);
    script.at(100).receive(peer, &[&cookie, HOW_LONG, &request(NAME), &request(NAME)]);
    script.expect_sent(peer, &[r#"{"ThisWaited":{"number":77,"us":3000}}"#]);
    script.expect_sent(peer, &[r#""Content""#]).expect_nothing();
    // What waits for its turn waits too.
    script.call(|it| it.machine.server.hold_answers(true));
    script.at(110).receive(peer, &[&cookie, HOW_LONG, &request(NAME)]).expect_nothing();
    script.call(|it| it.machine.server.hold_answers(false));
    script.at(150).receive(peer, &[&cookie]);
    script.expect_sent(peer, &[r#""number":77,"us":43000"#]).expect_sent(peer, &["Content"]).expect_nothing();
}

#[test]
fn a_short_wait_and_that_of_a_source_that_is_not_validated_are_not_told() {
    let (mut script, peer) = (alone(), port_of(1, 24254));
    let cookie = script.cookie("AlwaysReturned", peer);
    script.waited = Duration::from_micros(249);
    script.at(100).receive(peer, &[&cookie, HOW_LONG, &request(NAME)]);
    script.expect_sent(peer, &[r#""Content""#]).expect_nothing();
    script.waited = Duration::from_millis(3);
    let other = port_of(2, 24254);
    script.at(110).receive(other, &[HOW_LONG, &request(NAME)]);
    script.expect_sent(other, &["PleaseAlwaysReturnThisMessage"]).expect_nothing();
}

#[test]
fn a_wait_that_the_owner_wants_is_not_told() {
    let config = Config { upload_rate: Some(1 << 20), ..config(1, true) };
    let (mut script, peer) = (alone(), port_of(1, 24254));
    script.machine.server = Server::new(&config);
    let cookie = script.cookie("AlwaysReturned", peer);
    script.waited = Duration::from_millis(3);
    script.at(100).receive(peer, &[&cookie, HOW_LONG, &request(NAME)]);
    script.expect_sent(peer, &[r#""Content""#]).expect_nothing();
}

fn asks_latest(name: &str, after: &str) -> String {
    format!(r#"{{"GetLatest":{{"ed25519":"{}","name":"{name}"{after}}}}}"#, "ab".repeat(32))
}

#[test]
fn a_name_that_nobody_here_knows_has_an_answer_and_may_be_waited_for() {
    let (mut script, peer) = (alone(), port_of(1, 24254));
    let cookie = script.cookie("AlwaysReturned", peer);
    script.at(0).receive(peer, &[&cookie, &asks_latest("a", "")]);
    script.expect_sent(peer, &["IKnowNothingNewer", "\"name\":\"a\""]).expect_nothing();
    assert_eq!(script.machine.server.sizes().watchers, 0);
    script.receive(peer, &[&cookie, &asks_latest("a", r#","after":7,"wait":9"#)]);
    script.expect_sent(peer, &["\"after\":7"]).expect_nothing();
    assert_eq!(script.machine.server.sizes().watchers, 1);
    // An unvalidated source waits for nothing.
    let padded = asks_latest("a", r#","after":7,"wait":9"#) + &" ".repeat(500);
    script.receive(port_of(2, 1), &[&padded]);
    assert_eq!(script.machine.server.sizes().watchers, 1);
}
