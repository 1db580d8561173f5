//! The client alone, against a scripted other side.

use super::*;
use crate::download::Failure;
use crate::node::inbound::Inbound;
use crate::node::testing::{Script, config, port_of};

const CONTENT: &[u8] = b"hello";

fn take(script: &mut Script<Client>, inbound: &Inbound<'_>) {
    let Script { machine: client, shared, store, now, .. } = script;
    client.take(shared, *now, inbound, store);
    client.on_heard(shared, *now, inbound.from, store);
}

fn id() -> ContentId {
    ContentId::Blake3(*blake3::hash(CONTENT).as_bytes())
}

/// A client that downloads [`CONTENT`] from these sources.
fn alone(sources: &[SocketAddr]) -> (Script<Client>, JobId) {
    let mut script = Script::new(config(1, true), Client::default(), take);
    script.at(1000);
    let (source_timeout, stall_timeout) = (Duration::from_secs(30), Duration::from_secs(10));
    let (ranges, in_order, resume) = (Vec::new(), false, None);
    let spec = Spec { id: id(), ranges, in_order, resume, source_timeout, stall_timeout };
    let Script { machine: client, shared, store, now, .. } = &mut script;
    let job = client.start(shared, *now, spec);
    for &source in sources {
        client.open_source(shared, *now, job, source, false);
    }
    client.ask_everybody(shared, *now, store);
    (script, job)
}

/// Does what is due until this time. Returns what the download reports.
fn run_until(script: &mut Script<Client>, ms: u64) -> Vec<DownloadEvent> {
    let mut reported = Vec::new();
    let end = Time::from_millis(ms);
    loop {
        let Script { machine: client, shared, store, now, .. } = &mut *script;
        while let Some(Event::Download(_, event)) = client.poll_event(shared, *now) {
            reported.push(event);
        }
        let next = client.next_at(*now);
        if next > end {
            return reported;
        }
        *now = next.max(*now);
        let due = client.take_due(*now);
        client.handle_timeout(*now, store);
        client.look_at_due(shared, *now, due, store);
    }
}

#[test]
fn a_source_is_asked_and_what_it_sends_is_verified_and_written() {
    let peer = port_of(1, 24254);
    let (mut script, job) = alone(&[peer]);
    let wire_id = id().to_string();
    script.expect_event(|event| matches!(event, Event::PathOpened(_)));
    script.expect_sent(peer, &["PleaseSendContent", &wire_id]).expect_nothing();
    let content = format!(r#"{{"Content":{{"id":"{wire_id}","offset":0,"base64":"aGVsbG8=","eof":5}}}}"#);
    script.at(1040).receive(port_of(2, 24254), &[&content]);
    assert_eq!(script.store.written, b"", "it was not asked for there");
    script.at(1050).receive(peer, &[&content]);
    assert_eq!(script.store.written, CONTENT);
    assert!(matches!(
        run_until(&mut script, 1050)[..],
        [DownloadEvent::Length(5), DownloadEvent::Complete(5)]
    ));
    assert_eq!(script.machine.round_trip(peer), Some(Duration::from_millis(50)));
    assert!(script.machine.end(script.now, job).is_some() && script.machine.downloads().get(job).is_none());
}

#[test]
fn a_source_that_refuses_is_not_asked_again_at_once() {
    let [first, second] = [port_of(1, 24254), port_of(2, 24254)];
    let (mut script, _) = alone(&[first, second]);
    script.expect_sent(first, &["PleaseSendContent"]).expect_sent(second, &["PleaseSendContent"]);
    let refusal = format!(r#"{{"MaybeTheyHaveSome":{{"id":"{}","peers":[]}}}}"#, id());
    script.at(1020).receive(first, &[&refusal]).expect_nothing();
}

#[test]
fn where_nobody_answers_the_download_fails_and_no_path_is_left_waiting() {
    let (mut script, job) = alone(&[port_of(1, 24254)]);
    let reported = run_until(&mut script, 60_000);
    assert!(matches!(reported[..], [DownloadEvent::Failed(Failure::NoSource)]), "{reported:?}");
    script.machine.end(script.now, job);
    assert_eq!(script.machine.sizes().put_off, 0);
}
