//! Raw content: read at fixed places it says what a JSON parser reads. A node that downloads from two servers, and is fed with their
//! trains changed, misplaced, repeated and under each other's name, writes only what is right. Where nothing was changed in the name of
//! a server itself, all of it comes, and neither is blamed.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::datagram::raw::{RawHeader, read};
use cjp2p_wire::datagram::{self, Encoder};
use cjp2p_wire::download::{DownloadEvent, Spec};
use cjp2p_wire::message::{Handle, MAX_NUMBER, Message};
use cjp2p_wire::node::{Event, Node, Output, Transmit};
use cjp2p_wire::store::{Asker, JobId, Library, Read, Sink, Store};
use cjp2p_wire::time::Time;
use cjp2p_wire::tree::{Run, Verified};

use super::input::Input;
use super::mutate::edit;
use super::sample::{SAMPLES, Sample};
use crate::sim::memory::{MemoryBlobs, Original};
use crate::sim::peer::config;

/// Which content is downloaded: a little more than is fetched without a tree.
const SAMPLE: usize = 8;
/// Outputs of a node after one call: far from any honest figure.
const MAX_OUTPUTS: usize = 2000;
/// Rounds in which all must come that was not changed.
const MAX_ROUNDS: usize = 3000;
/// Trains that wait to be delivered; what comes beyond is lost.
const MAX_WAITING: usize = 256;
/// A limit that is never reached.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);

pub(super) fn body(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() % 4 {
        0 => drop(agree(input.rest())),
        1 => {
            let mut datagram = ours(&mut input);
            if input.is_empty() {
                assert!(agree(&datagram), "not recognised: {}", String::from_utf8_lossy(&datagram));
            } else {
                edit(&mut datagram, &mut input);
                agree(&datagram);
            }
        }
        _ => Trains::new().run(&mut input),
    }
}

/// Both ways of reading agree where the quick one reads at all. Returns whether it does.
fn agree(bytes: &[u8]) -> bool {
    let slow = datagram::decode(bytes);
    let Some(quick) = read(bytes) else { return false };
    assert!(bytes.ends_with(quick.data) && quick.data.len() as u64 == quick.length);
    match slow.as_deref() {
        Ok([Message::BytesFollow(block)]) if *block == quick => true,
        other => panic!("{quick:?} is {other:?}"),
    }
}

/// A datagram as we write it.
fn ours(input: &mut Input<'_>) -> Vec<u8> {
    let kind = input.byte();
    let handle = any_handle(input.counted());
    let offset = input.number().min(MAX_NUMBER);
    let eof = (kind & 1 != 0).then(|| input.number().min(MAX_NUMBER));
    let mut bytes = Vec::new();
    RawHeader { handle, places: usize::from(kind >> 3) }.write(offset, input.counted(), eof, &mut bytes);
    bytes
}

/// These letters, as far as they may be some.
fn any_handle(bytes: &[u8]) -> Handle {
    let letters: Vec<u8> = bytes.iter().take(16).map(|byte| b'a' + byte % 26).collect();
    Handle::parse(&letters).unwrap_or_else(|| Handle::parse(b"x").expect("a letter is one"))
}

/// Takes only what is right.
struct Exact {
    sample: &'static Sample,
    written: u64,
}

impl Library for Exact {
    fn read(&mut self, _: Asker, _: &ContentId, _: u64, _: usize, _: &mut Vec<u8>) -> Read {
        Read::Absent
    }

    fn list(&mut self, _: usize) -> Vec<(ContentId, u64)> {
        Vec::new()
    }
}

impl Sink for Exact {
    fn write(&mut self, _: JobId, block: Verified<'_>) -> io::Result<()> {
        let start = block.offset() as usize;
        let there = self.sample.content.get(start..start + block.bytes().len());
        assert_eq!(there, Some(block.bytes()), "wrong bytes at {start}");
        self.written += block.bytes().len() as u64;
        assert!(self.written <= self.sample.content.len() as u64, "something is written twice");
        Ok(())
    }

    fn keep_run(&mut self, _: JobId, _: u64, _: Run, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn room(&self, _: JobId) -> u64 {
        u64::MAX
    }
}

/// A node with what it reads and writes.
struct End<S> {
    node: Node,
    store: S,
    next: Time,
}

impl<S: Store> End<S> {
    fn new(seed: u64, store: S) -> End<S> {
        End { node: Node::new(config(seed)), store, next: Time::ZERO }
    }

    /// What it wants sent, and what it reports.
    fn drain(&mut self) -> (Vec<Transmit>, Vec<DownloadEvent>) {
        let (mut sent, mut events) = (Vec::new(), Vec::new());
        for _ in 0..MAX_OUTPUTS {
            match self.node.poll_output() {
                Output::Transmit(transmit) => sent.push(transmit),
                Output::Event(Event::Download(_, event)) => events.push(event),
                Output::Event(Event::PathOpened(address)) => self.node.set_path_mtu(address, 1500),
                Output::Event(_) => {}
                Output::Timeout(at) => {
                    self.next = at;
                    return (sent, events);
                }
            }
        }
        panic!("the node always wants something more");
    }
}

const GETTER: ([u8; 4], u16) = ([10, 0, 0, 1], 24254);
const SERVERS: [([u8; 4], u16); 2] = [([10, 0, 0, 2], 24254), ([10, 0, 0, 3], 24254)];

/// A download, two servers, and what is between.
struct Trains {
    getter: End<Exact>,
    servers: [End<MemoryBlobs>; 2],
    now: Time,
    /// What servers sent, and which of them.
    waiting: Vec<(usize, Transmit)>,
    old: Vec<(usize, Transmit)>,
    /// Under which names the getter asked which server.
    handles: Vec<Handle>,
    /// Something else than was sent came in the name of a server, under a handle that it has or might have.
    is_changed: bool,
    is_complete: bool,
}

thread_local! {
    static ORIGINAL: std::rc::Rc<Original> = Original::new(SAMPLES[SAMPLE].content.clone());
}

impl Trains {
    fn new() -> Trains {
        let sample = &SAMPLES[SAMPLE];
        let mut getter = End::new(1, Exact { sample, written: 0 });
        let servers = [2, 3].map(|seed| {
            let mut server = End::new(seed, MemoryBlobs::default());
            ORIGINAL.with(|original| server.store.share_original(original));
            server
        });
        let now = Time::from_millis(1_000_000);
        let id = ContentId::Blake3(sample.root);
        let (source_timeout, stall_timeout) = (FOR_EVER, FOR_EVER);
        let spec =
            Spec { id, ranges: Vec::new(), in_order: false, resume: None, source_timeout, stall_timeout };
        let job = getter.node.start_fetch(now, spec);
        let mut first = getter.drain().0;
        for server in SERVERS {
            getter.node.add_source(now, job, server.into(), false);
            first.extend(getter.drain().0);
        }
        getter.node.handle_room(now, &mut getter.store);
        first.extend(getter.drain().0);
        let (waiting, old, handles) = (Vec::new(), Vec::new(), Vec::new());
        let mut trains =
            Trains { getter, servers, now, waiting, old, handles, is_changed: false, is_complete: false };
        trains.ask(first);
        trains
    }

    fn run(mut self, input: &mut Input<'_>) {
        for _ in 0..100 {
            if input.is_empty() || self.is_complete {
                break;
            }
            self.step(input);
        }
        let sizes = self.getter.node.sizes();
        assert!(sizes.are_within_limits(), "{sizes:?}");
        if self.is_changed {
            return;
        }
        for _ in 0..MAX_ROUNDS {
            if self.is_complete {
                assert_eq!(self.getter.store.written, self.getter.store.sample.content.len() as u64);
                return;
            }
            match self.waiting.is_empty() {
                true => self.pass(Duration::ZERO),
                false => self.arrive(0, |_, _| {}),
            }
        }
        panic!("it does not end: {} bytes were written", self.getter.store.written);
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let kind = input.byte() % 16;
        let nth = if self.waiting.is_empty() { 0 } else { input.below(256) as usize % self.waiting.len() };
        match kind {
            0..5 => self.arrive(0, |_, _| {}),
            5 => {
                self.is_changed = true;
                let script = input.take(8);
                self.arrive(nth, |_, transmit| edit(&mut transmit.bytes, &mut Input::new(script)));
            }
            6 => {
                self.is_changed = true;
                let segment = input.below(3000) as usize;
                self.arrive(nth, |_, transmit| transmit.segment = segment);
            }
            // In the other's name.
            7 => self.arrive(nth, |from, _| *from = SERVERS[usize::from(*from == SERVERS[0].into())].into()),
            8 => self.arrive(nth, |from, _| from.set_port(4000)),
            9 => self.arrive(nth, |_, _| {}),
            10 if !self.waiting.is_empty() => drop(self.waiting.remove(nth)),
            11 if !self.old.is_empty() => {
                let again = self.old[nth % self.old.len()].clone();
                self.waiting.insert(0, again);
                self.arrive(0, |_, _| {});
            }
            12 => self.pass(Duration::from_millis(input.number() % 700_000)),
            13 | 14 => self.forge(input),
            _ => self.beside(input),
        }
    }

    /// A train of somebody's own, in the name of a server or of nobody.
    fn forge(&mut self, input: &mut Input<'_>) {
        let kind = input.byte();
        let from = match kind % 4 {
            0 | 1 => SERVERS[usize::from(kind % 4)],
            _ => ([198, 51, 100, kind], 24254),
        };
        let known = self.handles.get(usize::from(kind >> 2) % self.handles.len().max(1));
        let handle = match known {
            Some(handle) if kind & 128 != 0 => *handle,
            _ => any_handle(input.counted()),
        };
        self.is_changed |= kind % 4 < 2 && self.handles.contains(&handle);
        let (mut offset, data) = (input.number().min(MAX_NUMBER), input.counted());
        let eof = (kind & 64 != 0).then(|| input.number().min(MAX_NUMBER));
        let (mut train, mut segment) = (Vec::new(), 0);
        for _ in 0..input.byte() % 70 {
            RawHeader { handle, places: 16 }.write(offset, data, eof, &mut train);
            segment = segment.max(train.len());
            offset = (offset + data.len() as u64).min(MAX_NUMBER);
        }
        let transmit = Transmit { to: GETTER.into(), segment: segment.max(1), bytes: train };
        self.deliver(from.into(), &transmit);
    }

    /// A datagram in which raw content stands beside other messages.
    fn beside(&mut self, input: &mut Input<'_>) {
        let handle = any_handle(input.counted());
        let data = input.counted();
        let mut encoder = Encoder::new();
        encoder.bare("PleaseSendPeers");
        let fields = format!(
            r#"{{"length":{},"offset":{},"as":"{}"}}"#,
            data.len(),
            input.number().min(MAX_NUMBER),
            handle.as_str()
        );
        encoder.value("BytesFollow", &fields);
        let bytes = [&encoder.finish(0)[..], data].concat();
        let from = SERVERS[usize::from(input.byte() % 2)];
        self.is_changed |= self.handles.contains(&handle);
        self.deliver(from.into(), &Transmit { to: GETTER.into(), segment: bytes.len(), bytes });
    }

    /// One of the trains that wait arrives, after this was done to it.
    fn arrive(&mut self, nth: usize, change: impl FnOnce(&mut SocketAddr, &mut Transmit)) {
        if nth >= self.waiting.len() {
            return self.pass(Duration::ZERO);
        }
        let (server, mut transmit) = self.waiting.remove(nth);
        if self.old.len() < MAX_WAITING {
            self.old.push((server, transmit.clone()));
        }
        let mut from = SERVERS[server].into();
        change(&mut from, &mut transmit);
        self.deliver(from, &transmit);
    }

    fn deliver(&mut self, from: SocketAddr, transmit: &Transmit) {
        let End { node, store, .. } = &mut self.getter;
        node.handle_datagrams(self.now, from, &transmit.bytes, transmit.segment, store);
        self.settle();
    }

    /// Time passes, and what is due is done: at least the next thing.
    fn pass(&mut self, time: Duration) {
        let next = self.servers.iter().map(|server| server.next).fold(self.getter.next, Time::min);
        self.now = (self.now + time).max(next.min(self.now + Duration::from_secs(60)));
        self.getter.node.handle_timeout(self.now, &mut self.getter.store);
        self.settle();
        for n in 0..SERVERS.len() {
            let server = &mut self.servers[n];
            server.node.handle_timeout(self.now, &mut server.store);
            self.take_answers(n);
        }
    }

    /// Takes what the getter wants sent to the servers.
    fn settle(&mut self) {
        let (sent, events) = self.getter.drain();
        for event in events {
            match event {
                DownloadEvent::Complete(_) => self.is_complete = true,
                DownloadEvent::Misbehaved(..) | DownloadEvent::Failed(_) => {
                    assert!(self.is_changed, "{event:?}, though all that came was as it was sent");
                }
                DownloadEvent::Length(_) | DownloadEvent::Staged(_) => {}
            }
        }
        self.ask(sent);
    }

    fn ask(&mut self, sent: Vec<Transmit>) {
        for transmit in sent {
            for message in transmit.datagrams().flat_map(|bytes| datagram::decode(bytes).expect("ours")) {
                if let Message::PleaseSendContent(request) = message
                    && let Some(handle) = request.handle
                    && !self.handles.contains(&handle)
                {
                    self.handles.push(handle);
                }
            }
            let Some(n) = SERVERS.iter().position(|server| transmit.to == (*server).into()) else { continue };
            let server = &mut self.servers[n];
            let (bytes, segment) = (&transmit.bytes, transmit.segment);
            server.node.handle_datagrams(self.now, GETTER.into(), bytes, segment, &mut server.store);
            self.take_answers(n);
        }
    }

    fn take_answers(&mut self, n: usize) {
        let (sent, _) = self.servers[n].drain();
        self.waiting.extend(sent.into_iter().filter(|sent| sent.to == GETTER.into()).map(|sent| (n, sent)));
        self.waiting.truncate(MAX_WAITING);
    }
}
