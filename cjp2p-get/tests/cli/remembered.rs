//! Going on without a search: who sent content is remembered beside what came.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use cjp2p_tests::content::{self, blake3_id, sha256_id};
use cjp2p_tests::sim::peer::config;
use cjp2p_tests::sim::{HostBehaviour, Outbox, Peer};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::node::Query;
use cjp2p_wire::time::Time;

use crate::support::{Bench, Ended, Host, assert_content, wait_until};

const MEBIBYTE: u64 = 1 << 20;

/// A datagram that a [`Watched`] peer got, or sent.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Inbound {
    ToIt(Vec<u8>),
    ByIt(Vec<u8>),
}

/// A peer of which each datagram is noted.
struct Watched {
    peer: Peer,
    said: Arc<Mutex<Vec<Inbound>>>,
}

impl Watched {
    fn note(&self, out: &Outbox) {
        self.said.lock().unwrap().extend(out.iter().map(|(_, bytes)| Inbound::ByIt(bytes.clone())));
    }
}

impl HostBehaviour for Watched {
    fn handle_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        self.said.lock().unwrap().push(Inbound::ToIt(bytes.to_vec()));
        self.peer.handle_datagram(now, from, bytes, out);
        self.note(out);
    }

    fn handle_timeout(&mut self, now: Time, out: &mut Outbox) {
        self.peer.handle_timeout(now, out);
        self.note(out);
    }

    fn next_timeout(&self) -> Time {
        self.peer.next_timeout()
    }
}

/// Lets a fetch to `file` come some way, kills it, and makes the tool forget all but what is beside the file. Returns where
/// the content came from.
fn interrupt(bench: &Bench, id: &ContentId, bytes: &[u8]) -> SocketAddr {
    let host = Host::limited(&[bytes], Some(16 << 20));
    let mut child = bench.begin(&[&host], &[&*id.to_string(), "-o", "file"]);
    let record = || fs::read_to_string(bench.path("file.cjp2p-resume")).unwrap_or_default();
    wait_until(|| {
        let done = record().rmatches("{\"done\"").count() as u64 * (256 << 10);
        record().contains("{\"peers\"") && done > MEBIBYTE
    });
    child.kill().unwrap();
    Ended::of(child.wait_with_output().unwrap());
    fs::remove_dir_all(bench.path("state")).unwrap();
    host.address
}

/// Goes on at the same address, with nobody named; returns what was said, and how many bytes were there.
fn go_on(bench: &Bench, id: &ContentId, bytes: &[u8], address: SocketAddr) -> (Vec<Inbound>, u64) {
    let said: Arc<Mutex<Vec<Inbound>>> = Arc::default();
    let (noted, content) = (said.clone(), bytes.to_vec());
    let host = Host::start_at(address, move || {
        let mut peer = Peer::with_config(config(7));
        peer.store.share(content, None);
        Watched { peer, said: noted }
    });
    let ended = bench.run(&[], &[&*id.to_string(), "-o", "file", "--json"]).done();
    drop(host);
    assert_content(&bench.path("file"), bytes);
    let said = said.lock().unwrap().clone();
    (said, ended.json()[0]["resumed"].as_u64().unwrap())
}

#[test]
fn a_fetch_that_goes_on_needs_no_search_and_has_content_after_two_round_trips() {
    let bytes = content::bytes(60, 32 << 20);
    for id in [blake3_id(&bytes), sha256_id(&bytes)] {
        let bench = Bench::new();
        let address = interrupt(&bench, &id, &bytes);
        let (said, resumed) = go_on(&bench, &id, &bytes, address);
        assert!(resumed > 0);
        let Some(Inbound::ToIt(first)) = said.first() else { panic!("nobody was asked") };
        let text = String::from_utf8_lossy(first);
        assert!(text.contains("\"PleaseSendContent\"") && text.contains(&id.to_string()), "{text}");
        assert!(first.len() >= 600, "an unvalidated source gets no useful answer to {} bytes", first.len());
        // Asked once by an unvalidated source, and once more when that is validated.
        let sends = |said: &Inbound| {
            matches!(said, Inbound::ByIt(bytes) if {
                let text = String::from_utf8_lossy(bytes);
                text.contains("\"Content\"") && !text.contains("\"base64\":\"\"")
            })
        };
        let before = said.iter().position(sends).expect("it came from there");
        let asked = said[..before].iter().filter(|said| matches!(said, Inbound::ToIt(_))).count();
        assert!(asked <= 2, "content came after {asked} questions");
    }
}

#[test]
fn who_sends_content_is_asked_whom_it_knows_and_those_send_some_too() {
    let bytes = content::bytes(63, 8 << 20);
    // Alone it would take eight seconds.
    let slow = Host::limited(&[&bytes], Some(1 << 20));
    let said: Arc<Mutex<Vec<Inbound>>> = Arc::default();
    let (noted, shared, known) = (said.clone(), bytes.clone(), slow.address);
    let other = Host::start(move || {
        let mut peer = Peer::with_config(config(8));
        peer.store.share(shared, None);
        peer.node.query(Time::ZERO, known, Query::Peers, false);
        peer.settle(Time::ZERO);
        Watched { peer, said: noted }
    });
    let (bench, id) = (Bench::new(), blake3_id(&bytes));
    let ended = bench.run(&[&slow], &[&*id.to_string(), "-o", "file"]).done();
    assert_eq!(ended.code, Some(0));
    assert_content(&bench.path("file"), &bytes);
    drop(other);
    let sent = said
        .lock()
        .unwrap()
        .iter()
        .filter(|said| matches!(said, Inbound::ByIt(bytes) if bytes.len() > 600))
        .count();
    assert!(sent > 100, "{sent} datagrams with content came from the one that was not named");
}

#[test]
fn a_partial_of_which_nothing_is_right_still_tells_from_whom_it_came() {
    let bytes = content::bytes(61, 32 << 20);
    let (bench, id) = (Bench::new(), blake3_id(&bytes));
    let address = interrupt(&bench, &id, &bytes);
    fs::write(bench.path("file.cjp2p-part"), "").unwrap();
    let (_, resumed) = go_on(&bench, &id, &bytes, address);
    assert_eq!(resumed, 0);
}

#[test]
fn with_nobody_remembered_either_there_is_nobody_to_ask() {
    let bytes = content::bytes(62, 32 << 20);
    let (bench, id) = (Bench::new(), blake3_id(&bytes));
    interrupt(&bench, &id, &bytes);
    let record = fs::read_to_string(bench.path("file.cjp2p-resume")).unwrap();
    fs::write(bench.path("file.cjp2p-resume"), record.replace("{\"peers\":", "{\"friends\":")).unwrap();
    bench.run(&[], &[&*id.to_string(), "-o", "file"]).failed(3, "nobody to ask");
}
