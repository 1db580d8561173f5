//! Who is asked what a name stands for, and which answer counts.

use super::*;
use crate::node::testing::{Script, config, port_of};
use crate::signed::{Pointer, PointsTo, SigningKey};

fn key() -> SigningKey {
    SigningKey::from_seed(&[5; 32])
}

fn id(name: &str) -> PointerId {
    PointerId::parse(&format!("latest/{}/{name}", key().public())).unwrap()
}

fn pointer(name: &str, seq: u64) -> SignedPointer {
    let pointer =
        Pointer { id: id(name), sha256: [1; 32], seq, blake3: None, length: None, kind: PointsTo::File };
    SignedPointer::sign(&key(), pointer)
}

fn said(name: &str, seq: u64) -> String {
    format!(r#"{{"SignedMessage":{}}}"#, pointer(name, seq).to_json())
}

type Asking = Script<NameQueries>;

fn take(script: &mut Asking, inbound: &Inbound<'_>) {
    let Script { machine, shared, now, .. } = script;
    machine.take(shared, *now, inbound);
}

fn asking(peer: SocketAddr, names: &[&str], suggested: bool, watches: bool) -> Asking {
    let mut script = Script::new(config(1, true), NameQueries::default(), take);
    let ids: Vec<PointerId> = names.iter().map(|name| id(name)).collect();
    script.call(|it| it.machine.begin(&mut it.shared, it.now, peer, &ids, suggested, watches));
    script
}

fn due(script: &mut Asking, ms: u64) -> &mut Asking {
    script.at(ms).call(|it| it.machine.send_due(&mut it.shared, it.now))
}

fn latest(script: &mut Asking) -> Option<(u64, bool)> {
    match script.shared.outbox.poll_event()? {
        Event::Latest { pointer, .. } => Some((pointer.pointer().seq, true)),
        Event::Unanswered(_) => Some((0, false)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_question_is_over_when_each_name_was_answered_for() {
    let peer = port_of(1, 24254);
    let mut script = asking(peer, &["a/b", "a"], false, false);
    let (first, second) = (id("a/b"), id("a"));
    script.expect_sent(peer, &["\"name\":\"a/b\"", "\"name\":\"a\"", "PleaseAlwaysReturnThisMessage"]);
    script.at(20).receive(peer, &[&said("a", 7), &said("other", 9)]);
    assert_eq!(latest(&mut script), Some((7, true)));
    assert_eq!((latest(&mut script), script.machine.awaited()), (None, 1));
    // Only what is left is asked for again.
    due(&mut script, 400).expect_sent(peer, &["\"name\":\"a/b\""]).expect_nothing();
    let nothing = |id: &PointerId| {
        format!(r#"{{"IKnowNothingNewer":{{"ed25519":"{}","name":"{}"}}}}"#, id.key, id.name)
    };
    script.at(420).receive(peer, &[&nothing(&second)]);
    assert_eq!(script.machine.awaited(), 1);
    script.receive(peer, &[&nothing(&first)]).expect_nothing();
    assert_eq!((script.machine.awaited(), script.machine.len()), (0, 0));
}

#[test]
fn what_is_wrong_or_was_not_asked_for_is_no_answer() {
    let (peer, other) = (port_of(1, 24254), port_of(2, 24254));
    let mut script = asking(peer, &["a"], false, false);
    let forged = said("a", 9).replace("seq\\\":9", "seq\\\":8");
    let stranger = SigningKey::from_seed(&[6; 32]);
    let by_another = SignedPointer::sign(&stranger, pointer("a", 9).pointer().clone());
    let by_another = format!(r#"{{"SignedMessage":{}}}"#, by_another.to_json());
    let nested = SignedMessage::sign(&key(), format!("[{}]", said("a", 9))).to_json();
    let nested = format!(r#"{{"SignedMessage":{nested}}}"#);
    let bare = r#"{"Latest":{"name":"a","seq":9}}"#;
    for wrong in [&*forged, &by_another, &nested, &said("b", 9), bare] {
        script.at(10).receive(peer, &[wrong]);
        assert_eq!((latest(&mut script), script.machine.awaited()), (None, 1), "{wrong}");
    }
    script.receive(other, &[&said("a", 9)]);
    assert_eq!(latest(&mut script), None, "of one that was not asked nothing is taken");
    script.receive(peer, &[&said("a", 9)]);
    assert_eq!(latest(&mut script), Some((9, true)));
}

#[test]
fn many_signatures_cost_their_sender_what_it_may_cause() {
    let peer = port_of(1, 24254);
    let mut script = asking(peer, &["a"], false, true);
    let before = script.shared.budget.done();
    for seq in 0..5000 {
        let forged = said("a", seq).replace("\\\"seq\\\":", "\\\"seq\\\": ");
        script.at(10).receive(peer, &[&forged]);
    }
    let verified = (script.shared.budget.done() - before) / budget::VERIFY;
    assert!((100..1000).contains(&verified), "{verified} of 5,000 were verified at once");
    assert_eq!(latest(&mut script), None);
}

#[test]
fn one_that_is_watched_is_asked_for_what_is_newer_and_at_once_when_it_told_something() {
    let peer = port_of(1, 24254);
    let mut script = asking(peer, &["a"], false, true);
    script.expect_sent(peer, &["GetLatest"]);
    script.at(20).receive(peer, &[&said("a", 7)]);
    script.expect_sent(peer, &["\"after\":7,\"wait\":120"]).expect_nothing();
    assert_eq!(latest(&mut script), Some((7, true)));
    let nothing =
        format!(r#"{{"IKnowNothingNewer":{{"ed25519":"{}","name":"a","after":7}}}}"#, key().public());
    script.at(40).receive(peer, &[&nothing]).expect_nothing();
    assert_eq!((script.machine.awaited(), script.machine.len()), (0, 1));
    let next = script.machine.next_at();
    assert!((Time::from_millis(54_000)..=Time::from_millis(66_100)).contains(&next), "{next:?}");
    // News comes unasked, and once more since its sender does not know that it was heard.
    script.at(1000).receive(peer, &[&said("a", 8)]).expect_sent(peer, &["\"after\":8"]);
    script.at(1020).receive(peer, &[&said("a", 8)]).expect_nothing();
    assert_eq!([latest(&mut script), latest(&mut script)], [Some((8, true)); 2]);
    // An older one is told, and nothing is asked for it.
    script.at(1040).receive(peer, &[&said("a", 3)]).expect_nothing();
    assert_eq!(latest(&mut script), Some((3, true)));
    due(&mut script, 70_000).expect_sent(peer, &["\"after\":8"]);
}

#[test]
fn one_that_is_watched_rests_only_when_it_answered_for_each_name() {
    let peer = port_of(1, 24254);
    let mut script = asking(peer, &["a/b", "a"], false, true);
    script.expect_sent(peer, &["\"name\":\"a/b\"", "\"name\":\"a\""]);
    let nothing =
        format!(r#"{{"IKnowNothingNewer":{{"ed25519":"{}","name":"a/b","after":0}}}}"#, key().public());
    script.at(20).receive(peer, &[&nothing]).expect_nothing();
    assert_eq!(script.machine.awaited(), 1);
    due(&mut script, 400).expect_sent(peer, &["\"name\":\"a\""]).expect_nothing();
    script.at(420).receive(peer, &[&said("a", 7)]).expect_sent(peer, &["\"after\":7"]).expect_nothing();
    assert_eq!((latest(&mut script), script.machine.awaited()), (Some((7, true)), 0));
}

#[test]
fn a_peer_that_keeps_silent_is_given_up_and_a_suggested_one_is_hardly_disturbed() {
    for (suggested, tries) in [(false, 4), (true, 2)] {
        let peer = port_of(1, 24254);
        let mut script = asking(peer, &["a", "b", "c"], suggested, false);
        let mut sent = 0;
        while script.machine.len() > 0 {
            while let Some(transmit) = script.shared.outbox.poll_transmit() {
                sent += 1;
                let length = transmit.bytes.len();
                assert_eq!(length <= SPARING_PAD, suggested, "{length} bytes");
                assert!(String::from_utf8_lossy(&transmit.bytes).contains("GetLatest"));
            }
            script.now = script.machine.next_at();
            script.call(|it| it.machine.send_due(&mut it.shared, it.now));
        }
        assert_eq!((sent, latest(&mut script)), (tries, Some((0, false))));
    }
}

#[test]
fn a_peer_that_is_watched_may_come_back() {
    let peer = port_of(1, 24254);
    let mut script = asking(peer, &["a"], false, true);
    for ms in [400, 1200, 2800, 4800] {
        due(&mut script, ms);
    }
    assert_eq!(latest(&mut script), Some((0, false)));
    while script.shared.outbox.poll_transmit().is_some() {}
    due(&mut script, 72_000).expect_sent(peer, &["GetLatest"]);
    script.at(72_010).receive(peer, &[&said("a", 7)]);
    assert_eq!(latest(&mut script), Some((7, true)));
}

#[test]
fn no_more_peers_are_asked_than_there_is_room_for() {
    let mut script = asking(port_of(1, 1), &["a"], false, true);
    for port in 2..=2 * MAX_NAME_QUERIES as u16 {
        script.call(|it| it.machine.begin(&mut it.shared, it.now, port_of(1, port), &[id("a")], false, true));
    }
    assert_eq!(script.machine.len(), MAX_NAME_QUERIES);
    for n in 0..2 * MAX_NAMES {
        script.machine.know(pointer(&format!("n{n}"), 1));
    }
    assert_eq!(script.machine.newest.len(), MAX_NAMES);
}
