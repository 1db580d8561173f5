//! Whole downloads, step by step, without a network.

use std::io;
use std::time::Duration;

use sha2::Digest;

use super::*;
use crate::message::TheseParts;
use crate::pieces::{Have, HaveMap};
use crate::slices::Slices;
use crate::store::Sink;
use crate::tree::LEAF_LEN as LEAF;
use source::Standing;

struct Staging;

impl Sink for Staging {
    fn stage(&mut self, _: JobId, offset: u64, _: &[u8]) -> io::Result<()> {
        assert!(offset < 1 << 30, "a file would have to be as long as a source claims");
        Ok(())
    }

    fn restage(&mut self, _: JobId) -> io::Result<()> {
        Ok(())
    }

    fn room(&self, _: JobId) -> u64 {
        u64::MAX
    }
}

const LENGTH: u64 = 100_000;

fn source(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 24254))
}

fn at(ms: u64) -> Time {
    Time::from_millis(ms)
}

fn of(id: ContentId) -> Download {
    let spec = Spec {
        id,
        ranges: Vec::new(),
        in_order: false,
        resume: None,
        source_timeout: Duration::from_secs(30),
        stall_timeout: Duration::from_secs(10),
    };
    Download::new(at(0), JobId(0), spec, 1)
}

/// Content that is wanted by its SHA-256 hash, from so many sources.
fn staged(sources: u8) -> Download {
    let mut download = of(ContentId::Sha256(sha2::Sha256::digest(b"the content").into()));
    (1..=sources).for_each(|n| download.add_source(at(0), source(n), false));
    download
}

/// A short path to a source that answers with `block` bytes and brings `rate` bytes in a second.
fn path(block: u64, rate: f64) -> PathTerms {
    PathTerms {
        block,
        tree_block: block,
        probe_block: block,
        least_block: block.min(300),
        blocks: 1,
        round_trip: Duration::from_millis(1),
        is_short: false,
        rate,
    }
}

/// Lets this source answer at most `most` requests with content of `length` bytes, each in a
/// millisecond. Its address is validated but for the answers of which `validated` says otherwise.
fn answer(
    download: &mut Download,
    now: u64,
    n: u8,
    length: u64,
    most: usize,
    validated: impl Fn(usize) -> bool,
) -> u64 {
    let path = path(4096, 4e6);
    let mut now = now;
    for nth in 0..most {
        let Some(ask) = download.next_ask(at(now), source(n), path, &Staging) else { break };
        now += 1;
        let data = vec![0; (ask.range.end.min(length) - ask.range.start) as usize];
        let (space, offset) = (Space::Content, ask.range.start);
        let slices: [&[u8]; 1] = [&data];
        let block = Block {
            space,
            offset,
            data: Slices::new(&slices),
            length: Some(length),
            answers: validated(nth),
        };
        download.on_block(at(now), source(n), block, &mut Staging);
    }
    now
}

fn events(download: &mut Download) -> Vec<String> {
    std::iter::from_fn(|| download.poll_event()).map(|event| format!("{event:?}")).collect()
}

fn is_blamed(download: &mut Download) -> bool {
    events(download).iter().any(|event| event.starts_with("Misbehaved"))
}

fn length_tried(download: &Download) -> Option<u64> {
    download.kind.assemblies().first().map(Assembly::length)
}

#[test]
fn the_only_source_of_what_has_another_hash_is_blamed() {
    let mut download = staged(1);
    let now = answer(&mut download, 0, 1, LENGTH, 1000, |_| true);
    assert!(events(&mut download).contains(&format!("Staged({LENGTH})")));
    download.on_verdict(at(now), false, &mut Staging);
    assert!(is_blamed(&mut download));
}

#[test]
fn no_source_is_blamed_for_another_hash_where_another_node_may_have_sent_some_of_it() {
    let mut download = staged(1);
    let now = answer(&mut download, 0, 1, LENGTH, 1000, |nth| nth > 0);
    assert!(events(&mut download).contains(&format!("Staged({LENGTH})")));
    download.on_verdict(at(now), false, &mut Staging);
    assert!(!is_blamed(&mut download));
    answer(&mut download, now + 1000, 1, LENGTH, 1000, |_| true);
    assert!(events(&mut download).contains(&format!("Staged({LENGTH})")), "it is asked again");
}

#[test]
fn a_shorter_length_is_tried_first_while_little_has_come() {
    let mut download = staged(2);
    let now = answer(&mut download, 0, 1, 1 << 40, 10, |_| true);
    assert_eq!(length_tried(&download), Some(1 << 40));
    let now = answer(&mut download, now, 2, LENGTH, 1, |_| true);
    assert_eq!(length_tried(&download), Some(LENGTH));
    assert_eq!(answer(&mut download, now, 1, 1 << 40, 10, |_| true), now, "it waits");
}

#[test]
fn an_attempt_that_brings_far_more_than_a_shorter_one_would_makes_way_and_then_may_bring_more() {
    let mut download = staged(2);
    answer(&mut download, 0, 1, 1 << 40, 10, |_| true);
    answer(&mut download, 20, 2, LENGTH, 2, |_| true);
    let mut brought = Vec::new();
    let mut now = 100;
    for _ in 0..3 {
        // The shorter one brings nothing for a while.
        now += 4000;
        download.handle_timeout(at(now), &mut Staging);
        assert_eq!(length_tried(&download), Some(1 << 40));
        let before = download.traffic.received;
        while length_tried(&download) == Some(1 << 40) {
            now = answer(&mut download, now, 1, 1 << 40, 1, |_| true);
            download.handle_timeout(at(now), &mut Staging);
            assert!(download.traffic.received < 64 << 20, "it is believed for ever");
        }
        brought.push((download.traffic.received - before) >> 20);
    }
    assert_eq!(brought, [1, 2, 4]);
}

#[test]
fn an_attempt_that_drips_makes_way_for_another() {
    let mut download = staged(2);
    answer(&mut download, 0, 1, LENGTH, 1, |_| true);
    answer(&mut download, 10, 2, 2 * LENGTH, 1, |_| true);
    assert_eq!(length_tried(&download), Some(LENGTH));
    let path = path(100, 100.0);
    let mut turns = vec![LENGTH];
    for ms in (500..40_000).step_by(500) {
        if let Some(ask) = download.next_ask(at(ms), source(1), path, &Staging) {
            let (space, offset, data) = (Space::Content, ask.range.start, [0; 100]);
            let slices: [&[u8]; 1] = [&data];
            let block =
                Block { space, offset, data: Slices::new(&slices), length: Some(LENGTH), answers: true };
            download.on_block(at(ms), source(1), block, &mut Staging);
        }
        download.handle_timeout(at(ms), &mut Staging);
        let tried = length_tried(&download).expect("something is tried");
        if turns.last() != Some(&tried) {
            turns.push(tried);
            assert!(turns.len() > 2 || ms <= 6000, "only after {ms} ms");
        }
    }
    assert_eq!(turns[..3], [LENGTH, 2 * LENGTH, LENGTH], "and it has its turn again");
}

#[test]
fn attempts_that_bring_nothing_take_turns() {
    let mut download = staged(2);
    answer(&mut download, 0, 1, LENGTH, 2, |_| true);
    answer(&mut download, 10, 2, LENGTH / 2, 2, |_| true);
    let mut tried = Vec::new();
    for n in 1..5 {
        tried.push(length_tried(&download));
        download.handle_timeout(at(n * 2400), &mut Staging);
        download.handle_timeout(at(n * 2400 + 1000), &mut Staging);
    }
    let (long, short) = (Some(LENGTH), Some(LENGTH / 2));
    assert!(tried.contains(&long) && tried.contains(&short), "{tried:?}");
    assert_ne!(tried[2], tried[3], "{tried:?}");
}

#[test]
fn the_end_of_content_of_a_claimed_length_is_not_staged_when_its_hint_is_dropped() {
    let mut download = staged(1);
    answer(&mut download, 0, 1, 1 << 40, 1, |_| true);
    assert!(download.wants_hint(at(1), source(1)));
    download.on_hint(at(1), source(1), [7; 32], &mut Staging);
    let path = path(4096, 4e6);
    let mut trees = Vec::new();
    let mut far = 0;
    while let (true, Some(ask)) = (far < 1, download.next_ask(at(2), source(1), path, &Staging)) {
        if ask.space == Space::Tree {
            trees.push(ask);
            continue;
        }
        far += 1;
        assert!(ask.range.start > 1 << 39, "what proves the length comes first");
        let data = vec![0; (ask.range.end - ask.range.start) as usize];
        let (space, offset) = (Space::Content, ask.range.start);
        let slices: [&[u8]; 1] = [&data];
        let block = Block { space, offset, data: Slices::new(&slices), length: Some(1 << 40), answers: true };
        download.on_block(at(2), source(1), block, &mut Staging);
    }
    download.on_refusal(at(3), source(1), trees.first().expect("it is asked for the tree"));
    download.handle_timeout(at(3), &mut Staging);
    assert!(download.tree_root().is_none(), "no source has the tree");
    let next = download.next_ask(at(4), source(1), path, &Staging).expect("it goes on");
    assert!(next.range.start < 1 << 20);
}

struct Nowhere;

impl Sink for Nowhere {
    fn room(&self, _: JobId) -> u64 {
        u64::MAX
    }
}

#[test]
fn what_turns_out_wrong_keeps_no_download_waiting() {
    let at = |seconds: u64| Time::from_millis(seconds * 1000);
    let liar = SocketAddr::from(([10, 0, 0, 1], 24254));
    let mut download = of(ContentId::Blake3(*blake3::hash(&[1; 3000]).as_bytes()));
    download.add_source(at(0), liar, false);
    let path = path(500, 100.0);
    for second in 1..9 {
        let Some(ask) = download.next_ask(at(second), liar, path, &Nowhere) else { continue };
        let (space, offset, data) = (ask.space, ask.range.start, [7; 500]);
        let slices: [&[u8]; 1] = [&data];
        let block = Block { space, offset, data: Slices::new(&slices), length: Some(3000), answers: true };
        download.on_block(at(second), liar, block, &mut Nowhere);
    }
    download.handle_timeout(at(10), &mut Nowhere);
    assert!(!download.is_over(), "it was found a second after the start");
    download.handle_timeout(at(11), &mut Nowhere);
    let events: Vec<DownloadEvent> = std::iter::from_fn(|| download.poll_event()).collect();
    assert!(
        matches!(events[..], [DownloadEvent::Misbehaved(..), DownloadEvent::Failed(Failure::Mismatch)]),
        "{events:?}"
    );
}

#[test]
fn what_a_source_has_counts_no_more_when_it_cannot_be_asked_again() {
    let mut download = of(ContentId::Blake3([1; 32]));
    let address = SocketAddr::from(([10, 0, 0, 1], 24254));
    download.add_source(at(0), address, false);
    let mut busy = HaveMap::of_leecher(at(0));
    busy.take(&Have { offset: 0, until: 0, parts: &[], length: None, is_busy: true }, 1);
    let source = download.sources.get_mut(address).expect("it was added");
    source.standing = Standing::Waiting;
    source.exchange.have = Some(busy);
    download.put_off_parts_question(at(10), address);
    let source = download.sources.get(address).expect("it was added");
    assert!(source.exchange.have.is_none(), "it would be busy for ever");
    assert_eq!(source.standing, Standing::Unknown);
}

#[test]
fn a_leecher_that_gets_no_place_leaves_its_part_to_others_at_once() {
    let path = path(LEAF, 1e6);
    let mut download = of(ContentId::Blake3([1; 32]));
    let peer = |host: u8| SocketAddr::from(([192, 0, 2, host], 24254));
    for leecher in (1..=MAX_LEECHERS as u8).map(peer) {
        download.add_source(at(0), leecher, false);
        download.on_leecher(at(0), leecher);
    }
    let (partial, whole) = (peer(100), peer(101));
    for source in [partial, whole] {
        download.add_source(at(0), source, false);
        let source = download.sources.get_mut(source).expect("it was added");
        source.claim.length = Some(LEAF);
        source.on_serving();
    }
    download.settle_claims(at(0));
    assert!(download.next_ask(at(1), partial, path, &Nowhere).is_some());
    assert!(
        download.next_ask(at(1), whole, path, &Nowhere).is_none(),
        "the other was asked for all there is"
    );
    let (id, parts, eof) = ("x".into(), Vec::new(), Some(LEAF));
    let parts = TheseParts { id, offset: 0, until: LEAF, parts, eof, busy: false };
    download.on_have(at(2), partial, &parts, path, &mut Nowhere);
    assert!(download.sources.get(partial).is_some_and(|source| source.exchange.in_reserve));
    assert!(download.next_ask(at(2), whole, path, &Nowhere).is_some());
}
