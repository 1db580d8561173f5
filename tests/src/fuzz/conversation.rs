//! Whole conversations: a node that serves and fetches, and a script of what arrives, from whom, and when. It never
//! fails, gives unvalidated sources no more than twice what they sent, and neither writes nor serves a wrong byte.

mod checked;
mod checks;
mod contents;
mod resumed;
mod script;
mod talk;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_wire::download::{DownloadEvent, Spec};
use cjp2p_wire::node::{Event, Node, Output, Query};
use cjp2p_wire::store::JobId;
use cjp2p_wire::time::Time;

use self::checked::Checked;
use self::contents::{ADDRESSES, wanted};
use self::talk::Talk;
use super::input::Input;
use crate::content;
use crate::sim::peer::config;

/// The most that a node may want done after one call; it is far from any honest figure.
const MAX_OUTPUTS: usize = 20_000;

pub(super) fn body(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut talk = Talk::new();
    for _ in 0..200 {
        if input.is_empty() {
            break;
        }
        talk.step(&mut input);
    }
    // What is left comes to its end.
    talk.pass(Duration::from_secs(120));
    for peer in talk.node.acquaintances() {
        let met = talk.met.get(&peer.address).is_some_and(|met| met.named || met.proved);
        assert!(met, "a stranger is remembered: {}", peer.address);
    }
}

impl Talk {
    fn new() -> Talk {
        let now = Time::from_millis(1_000_000);
        let mut node = Node::new(config(1));
        let mut store = Checked::new();
        node.handle_timeout(now, &mut store);
        let met = BTreeMap::new();
        let (jobs, unchecked) = (BTreeMap::new(), BTreeMap::new());
        let last_from = SocketAddr::from(ADDRESSES[0]);
        let mut talk = Talk { node, store, now, next: now, met, jobs, unchecked, last_from };
        talk.drain(None);
        talk
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0..7 => {
                let from = self.address(input);
                let datagram = self.compose(from, input);
                self.deliver(from, &datagram, datagram.len());
            }
            7 | 8 => {
                let from = self.address(input);
                let datagram = self.honest_answer(from, input);
                self.deliver(from, &datagram, datagram.len());
            }
            9 => {
                let from = self.address(input);
                let datagram = input.counted().to_vec();
                let segment = input.byte().max(1).into();
                self.deliver(from, &datagram, segment);
            }
            10 | 11 => {
                let ms = input.number() % 700_000;
                self.pass(Duration::from_millis(ms));
            }
            12 => self.fetch(input),
            13 => {
                let job = JobId(input.byte().into());
                self.node.end_fetch(self.now, job);
                self.jobs.remove(&job);
                self.unchecked.remove(&job);
                self.drain(None);
            }
            14 => {
                let address = self.address(input);
                let question = *input.choose(&[Query::Ping, Query::Peers, Query::List]);
                self.met.entry(address).or_default().named = true;
                self.node.query(self.now, address, question, input.byte() & 1 != 0);
                self.drain(None);
            }
            _ if !self.unchecked.is_empty() => self.check(input),
            _ => {
                self.node.handle_room(self.now, &mut self.store);
                self.drain(None);
            }
        }
    }

    fn address(&mut self, input: &mut Input<'_>) -> SocketAddr {
        // Mostly the one that spoke last.
        let byte = input.byte();
        if byte < 128 {
            self.last_from = ADDRESSES[usize::from(byte) % ADDRESSES.len()].into();
        }
        self.last_from
    }

    fn fetch(&mut self, input: &mut Input<'_>) {
        let (id, sample) = wanted(input.byte().into());
        let kind = input.byte();
        let resume = (kind & 16 != 0).then(|| resumed::left(&id, sample, input));
        let there = resume.as_ref().map(|resume| (resume.done.clone(), resume.unchecked.clone()));
        let spec = Spec {
            id: id.clone(),
            ranges: Vec::new(),
            in_order: kind & 1 != 0,
            resume,
            source_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(10),
        };
        let job = self.node.start_fetch(self.now, spec);
        self.store.expect(job, &id, sample);
        if let (None, Some((done, unchecked))) = (self.jobs.insert(job, sample), there) {
            self.take_up(job, sample, &done, &unchecked);
        }
        self.drain(None);
        for address in ADDRESSES.into_iter().skip(4).take(usize::from(kind >> 1 & 3) + 1) {
            let address = SocketAddr::from(address);
            self.met.entry(address).or_default().named = true;
            self.node.add_source(self.now, job, address, kind & 8 != 0);
            self.drain(None);
        }
        self.node.handle_room(self.now, &mut self.store);
        self.drain(None);
    }

    /// What `datagrams` say arrives.
    fn deliver(&mut self, from: SocketAddr, datagrams: &[u8], segment: usize) {
        for datagram in datagrams.chunks(segment.max(1)) {
            self.note_arrival(from, datagram);
        }
        self.node.handle_datagrams(self.now, from, datagrams, segment, &mut self.store);
        self.drain(Some((from, datagrams.len())));
    }

    /// Time passes, and what is due is done.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..2_000 {
            if self.next > end {
                break;
            }
            self.now = self.now.max(self.next);
            self.node.handle_timeout(self.now, &mut self.store);
            self.drain(None);
        }
        self.now = self.now.max(end);
    }

    /// Looks at all that the node wants done, after a datagram from this address of so many bytes, if it was one.
    fn drain(&mut self, after: Option<(SocketAddr, usize)>) {
        let mut to_sender = 0;
        for _ in 0..MAX_OUTPUTS {
            match self.node.poll_output() {
                Output::Transmit(transmit) => {
                    for datagram in transmit.datagrams() {
                        self.check_sent(transmit.to, datagram);
                        let met = self.met.entry(transmit.to).or_default();
                        if !met.named && !met.proved {
                            assert_eq!(
                                after.map(|(from, _)| from),
                                Some(transmit.to),
                                "a stranger is bothered"
                            );
                            to_sender += datagram.len();
                        }
                    }
                }
                Output::Event(Event::PathOpened(address)) => {
                    // Over a long one few answers are enough for a whole content.
                    let mtu = if address.port() == 24254 { 65_536 } else { 1500 };
                    self.node.set_path_mtu(address, mtu);
                }
                Output::Event(Event::Download(job, event)) => self.on_fetch(job, &event),
                Output::Event(_) => {}
                Output::Timeout(at) => {
                    self.next = at;
                    let received = after.map_or(0, |(_, received)| received);
                    assert!(to_sender <= 2 * received, "{to_sender} bytes for {received} of a stranger");
                    return self.give_verdicts();
                }
            }
        }
        panic!("the node always wants something more");
    }

    fn on_fetch(&mut self, job: JobId, event: &DownloadEvent) {
        match event {
            DownloadEvent::Complete(length) => {
                let sample = self.jobs.get(&job).expect("only what was wanted is fetched");
                assert_eq!(*length, sample.content.len() as u64);
                assert!(self.store.fetched(job) == sample.content, "what is complete is not what was wanted");
            }
            DownloadEvent::Staged(_) => self.store.to_judge.push(job),
            DownloadEvent::Length(_) | DownloadEvent::Misbehaved(..) | DownloadEvent::Failed(_) => {}
        }
    }

    /// Judges what was staged, as a tool does that hashes the file.
    fn give_verdicts(&mut self) {
        while let Some(job) = self.store.to_judge.pop() {
            let Some(fetch) = self.node.fetch(job) else { continue };
            let is_right = content::sha256_id(self.store.fetched(job)) == *fetch.id();
            self.node.on_verdict(self.now, job, is_right, &mut self.store);
            self.drain(None);
        }
    }
}
