//! Streams between our nodes and other programs: scripted nodes that do what was seen of the real one.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use cjp2p_tests::sim::{HostBehaviour, Link, Origin, Outbox, Peer, World};
use cjp2p_wire::datagram;
use cjp2p_wire::message::Message;
use cjp2p_wire::node::{Event, Start, StreamEvent, StreamOptions};
use cjp2p_wire::stream::{BLOCK_LEN, BlockClaim, SignedBlock};
use cjp2p_wire::time::Time;

const ONE: SocketAddr = at(1);
const OTHER: SocketAddr = at(2);
const MS: Duration = Duration::from_millis(1);

const fn at(n: u8) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, n), 24254))
}

fn link(loss: f64) -> Link {
    Link { delay: MS * 10, loss, ..Link::default() }
}

/// A viewer that asks for one block for each that comes, whichever it counts to; and after a second of silence for where it reads.
struct OtherViewer {
    origin: SocketAddr,
    id: String,
    /// What the origin wants returned.
    cookie: Option<String>,
    blocks: BTreeMap<u64, SignedBlock>,
    came: BTreeMap<u64, Time>,
    counter: u64,
    /// What came or was asked for last.
    stirred: Time,
    round: Time,
}

impl OtherViewer {
    fn new(origin: SocketAddr, id: String) -> OtherViewer {
        let (blocks, came) = (BTreeMap::new(), BTreeMap::new());
        let (stirred, round) = (Time::ZERO, Time::from_millis(1));
        OtherViewer { origin, id, cookie: None, blocks, came, counter: 0, stirred, round }
    }

    /// The first block that is missing.
    fn reads_at(&self) -> u64 {
        (0..).find(|index| !self.blocks.contains_key(index)).unwrap_or(0)
    }

    fn request(&self, index: u64) -> String {
        format!(
            r#"{{"PleaseSendContent":{{"id":"{}","length":4096,"offset":{}}}}}"#,
            self.id,
            index * BLOCK_LEN as u64
        )
    }

    fn send(&self, messages: &[String], out: &mut Outbox) {
        let returned = self.cookie.as_ref().map(|cookie| format!(r#"{{"AlwaysReturned":{cookie}}}"#));
        let all: Vec<_> = messages.iter().cloned().chain(returned).collect();
        out.push((self.origin, format!("[{}]", all.join(",")).into_bytes()));
    }
}

impl HostBehaviour for OtherViewer {
    fn handle_datagram(&mut self, now: Time, _: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        let messages = datagram::decode(bytes).expect("our nodes send arrays");
        let (mut requests, mut returned) = (Vec::new(), None);
        for message in &messages {
            match message {
                Message::PleaseAlwaysReturnThisMessage(value) => self.cookie = Some(value.get().to_owned()),
                Message::PleaseReturnThisMessage(value) => returned = Some(value.get().to_owned()),
                Message::SignedMessage(signed) => {
                    let Some(block) = BlockClaim::read(signed).and_then(BlockClaim::verify) else { continue };
                    assert!(block.is_whole(), "a short block would spoil what comes after it");
                    let index = block.index();
                    self.blocks.insert(index, block);
                    self.came.entry(index).or_insert(now);
                    self.counter += 1;
                    while self.blocks.contains_key(&self.counter) {
                        self.counter += 1;
                    }
                    requests.push(self.request(self.counter));
                    self.stirred = now;
                }
                _ => {}
            }
        }
        if let Some(value) = returned {
            self.send(&[format!(r#"{{"ReturnedMessage":{value}}}"#)], out);
        }
        if !requests.is_empty() {
            self.send(&requests, out);
        }
    }

    fn handle_timeout(&mut self, now: Time, out: &mut Outbox) {
        self.round = now + MS * 1260;
        if now.since(self.stirred) >= MS * 1000 || self.blocks.is_empty() {
            self.counter = self.reads_at();
            self.stirred = now;
            for _ in 0..if self.blocks.is_empty() { 1 } else { 3 } {
                self.send(&[self.request(self.counter)], out);
            }
        }
    }

    fn next_timeout(&self) -> Time {
        self.round
    }
}

/// An origin that answers with the block that holds the offset, to whoever returns its cookie, and is silent about the rest.
#[derive(Default)]
struct OtherOrigin {
    id: String,
    blocks: BTreeMap<u64, String>,
    /// What each asker wants returned beside everything.
    cookies: BTreeMap<SocketAddr, String>,
}

impl HostBehaviour for OtherOrigin {
    fn handle_datagram(&mut self, _: Time, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        let Ok(messages) = datagram::decode(bytes) else { return };
        let returns = |message: &Message<'_>| matches!(message, Message::AlwaysReturned(value) if value.contains("b61c5b14"));
        let is_proved = messages.iter().any(returns);
        let mut said = Vec::new();
        for message in &messages {
            match message {
                Message::PleaseAlwaysReturnThisMessage(value) => {
                    self.cookies.insert(from, value.get().to_owned());
                }
                Message::PleaseSendContent(request) if request.id == self.id => {
                    match self.blocks.get(&(request.offset / BLOCK_LEN as u64)) {
                        Some(block) if is_proved => said.push(format!(r#"{{"SignedMessage":{block}}}"#)),
                        Some(_) => {
                            said.push(r#"{"PleaseAlwaysReturnThisMessage":{"cookie":"b61c5b14"}}"#.to_owned())
                        }
                        None => {}
                    }
                }
                _ => {}
            }
        }
        if !said.is_empty() {
            said.extend(self.cookies.get(&from).map(|cookie| format!(r#"{{"AlwaysReturned":{cookie}}}"#)));
            out.push((from, format!("[{}]", said.join(",")).into_bytes()));
        }
    }

    fn handle_timeout(&mut self, _: Time, _: &mut Outbox) {}

    fn next_timeout(&self) -> Time {
        Time::NEVER
    }
}

fn bytes(n: u64) -> Vec<u8> {
    (0..BLOCK_LEN as u64).map(|i| (i * 7 + n) as u8).collect()
}

/// A viewer of another program beside an origin of ours, which has a backlog and then goes on: how late each later block came.
fn viewed(loss: f64, pause: Duration) -> Vec<Duration> {
    let (mut world, mut origin) = (World::new(7), Origin::new());
    let mut peer = Peer::new(1);
    peer.node.publish_stream(Time::ZERO, &origin.id);
    peer.settle(Time::ZERO);
    world.add(ONE, link(0.0), peer);
    let mut made = Vec::new();
    let mut sign = |world: &mut World, n: u64| {
        world.with_peer(ONE, |peer, now| origin.append(peer, now, &bytes(n), true));
        made.push(world.now());
    };
    (0..40).for_each(|n| sign(&mut world, n));
    world.add(OTHER, link(loss), OtherViewer::new(ONE, Origin::new().id.to_string()));
    world.run_for(MS * 4000);
    for n in 40..240 {
        sign(&mut world, n);
        world.run_for(pause);
    }
    world.run_for(MS * 5000);
    let viewer: &OtherViewer = world.host(OTHER);
    assert_eq!(viewer.reads_at(), 240, "at {loss} loss");
    (40..240).map(|n| viewer.came[&n].since(made[n as usize])).collect()
}

#[test]
fn other_viewers_get_each_block_at_once_and_never_freeze() {
    let mut delays = viewed(0.0, MS * 40);
    delays.sort_unstable();
    assert!(delays[100] <= MS * 45 && delays[199] <= MS * 100, "{delays:?}");
    // Of a datagram in four packets four times as many are lost.
    let mut delays = viewed(0.01, MS * 80);
    delays.sort_unstable();
    assert!(delays[100] <= MS * 100 && delays[199] <= MS * 2000, "{delays:?}");
}

/// A viewer of ours beside an origin of another program that has so many blocks, and 100 more, one each 40 ms: from which block on it
/// saw them, and how late each of the later ones came.
fn of_another(backlog: u64, from: Start, loss: f64) -> (u64, Vec<Duration>) {
    let (mut world, origin) = (World::new(7), Origin::new());
    let id = origin.id.clone();
    let block = |n: u64| {
        SignedBlock::sign(&origin.key, &origin.id, n, &bytes(n)).expect("a block").to_json(&origin.id)
    };
    let blocks = (0..backlog + 100).map(|n| (n, block(n))).collect::<BTreeMap<_, _>>();
    world.add(ONE, link(0.0), Peer::new(1));
    let mut all = blocks.into_iter();
    let mut other = OtherOrigin { id: id.to_string(), ..OtherOrigin::default() };
    other.blocks.extend(all.by_ref().take(backlog as usize));
    world.add(OTHER, link(loss), other);
    world.with_peer(ONE, |peer, now| {
        let job = peer.node.view_stream(now, &id, StreamOptions { from, window: 64 << 20, relay: true });
        peer.store.streams.viewed.insert(job, id.clone());
        peer.settle(now);
        peer.node.add_named_source(now, job, OTHER);
    });
    world.run_for(MS * 15_000);
    let mut made = Vec::new();
    for (n, block) in all {
        made.push(world.now());
        world.with_host(OTHER, |other: &mut OtherOrigin| other.blocks.insert(n, block));
        world.run_for(MS * 40);
    }
    world.run_for(MS * 5000);
    let mut came = BTreeMap::new();
    let mut start = None;
    for (time, event) in &world.peer(ONE).events {
        match event {
            Event::Stream(_, StreamEvent::Started { offset }) => start = Some(offset / BLOCK_LEN as u64),
            Event::Stream(_, StreamEvent::Block { index }) => {
                came.insert(*index, *time);
            }
            _ => {}
        }
    }
    let start = start.expect("it began");
    for n in start..backlog + 100 {
        assert!(came.contains_key(&n), "block {n} is missing, of those from {start} on");
    }
    (start, (0..100).map(|n| came[&(backlog + n)].since(made[n as usize])).collect())
}

#[test]
fn a_stream_of_another_program_is_viewed_from_its_beginning_or_its_newest_block() {
    // At first the next block is asked for once a second: nothing came for long.
    let later = |delays: Vec<Duration>| {
        let mut later = delays[30..].to_vec();
        later.sort_unstable();
        later
    };
    let (start, delays) = of_another(300, Start::Oldest, 0.0);
    let delays = later(delays);
    assert_eq!(start, 0);
    assert!(delays[35] <= MS * 80 && delays[69] <= MS * 150, "{delays:?}");
    let (start, delays) = of_another(1000, Start::Edge, 0.0);
    let delays = later(delays);
    assert_eq!(start, 999);
    assert!(delays[35] <= MS * 80 && delays[69] <= MS * 150, "{delays:?}");
    let (start, delays) = of_another(50, Start::Offset(20 * BLOCK_LEN as u64), 0.01);
    let delays = later(delays);
    assert_eq!(start, 20);
    assert!(delays[35] <= MS * 150 && delays[69] <= MS * 1500, "{delays:?}");
}
