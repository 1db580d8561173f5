//! An honest node of ours as a host.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::download::{DownloadEvent, RangeSpec, Resume, Spec};
use cjp2p_wire::node::{Config, Event, Node, Output};
use cjp2p_wire::range_set::RangeSet;
use cjp2p_wire::store::JobId;
use cjp2p_wire::time::Time;

use super::host::{HostBehaviour, Outbox};
use super::memory::{Fetched, MemoryBlobs};
use crate::content;

/// A node with what it shares and fetches, and what it reported.
pub struct Peer {
    /// The node.
    pub node: Node,
    /// Its files.
    pub store: MemoryBlobs,
    /// What it reported, with the time.
    pub events: Vec<(Time, Event)>,
    /// What routes carry, as the node is told.
    pub mtu: usize,
    next: Time,
    unsent: Outbox,
}

impl Peer {
    /// A peer whose secrets and choices follow from `seed`.
    pub fn new(seed: u64) -> Peer {
        Peer::with_config(config(seed))
    }

    /// A peer with this configuration.
    pub fn with_config(config: Config) -> Peer {
        Peer {
            node: Node::new(config),
            store: MemoryBlobs::default(),
            events: Vec::new(),
            mtu: 1500,
            next: Time::ZERO,
            unsent: Outbox::new(),
        }
    }

    /// Starts to fetch from `sources`, with limits of 30 s without a source and 10 s without news.
    pub fn fetch(&mut self, now: Time, id: &ContentId, sources: &[SocketAddr]) -> JobId {
        self.resume(now, id, sources, None)
    }

    /// Goes on with a fetch.
    pub fn resume(
        &mut self,
        now: Time,
        id: &ContentId,
        sources: &[SocketAddr],
        resume: Option<Resume>,
    ) -> JobId {
        self.fetch_ranges(now, id, sources, Vec::new(), resume)
    }

    /// Goes on with the first fetch of this peer, by the SHA-256 hash, where an interrupted one had staged only zeros: this many.
    pub fn resume_wrongly(
        &mut self,
        now: Time,
        bytes: &[u8],
        staged: usize,
        sources: &[SocketAddr],
    ) -> JobId {
        let done: RangeSet = std::iter::once(0..staged as u64).collect();
        let wrong = Fetched { bytes: vec![0; staged], done: done.clone(), ..Fetched::default() };
        self.store.fetched.insert(JobId(0), wrong);
        let resume = Resume { length: bytes.len() as u64, done, unchecked: RangeSet::new(), verifier: None };
        self.resume(now, &content::sha256_id(bytes), sources, Some(resume))
    }

    /// Fetches ranges.
    pub fn fetch_ranges(
        &mut self,
        now: Time,
        id: &ContentId,
        sources: &[SocketAddr],
        ranges: Vec<RangeSpec>,
        resume: Option<Resume>,
    ) -> JobId {
        let wanted = ranges.clone();
        let spec = Spec {
            id: id.clone(),
            ranges,
            in_order: false,
            resume,
            source_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(10),
        };
        let job = self.node.start_fetch(now, spec);
        self.store.wanted.insert(job, wanted);
        self.store.share_fetched(id, job);
        self.settle(now);
        for &source in sources {
            self.node.add_source(now, job, source, false);
            self.settle(now);
        }
        self.make_room(now);
        job
    }

    /// Fetches content that is said to be so long from peers that are taken for having it, and if need be from these others.
    pub fn fetch_from(
        &mut self,
        now: Time,
        id: &ContentId,
        length: u64,
        holders: &[SocketAddr],
        others: &[SocketAddr],
    ) -> JobId {
        let spec = Spec {
            id: id.clone(),
            ranges: Vec::new(),
            in_order: false,
            resume: None,
            source_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(10),
        };
        let job = self.node.start_fetch_from(now, spec, length, holders, false);
        self.store.wanted.insert(job, Vec::new());
        self.store.share_fetched(id, job);
        self.settle(now);
        for &source in others {
            self.node.add_source(now, job, source, false);
            self.settle(now);
        }
        job
    }

    /// Its destinations take more than before.
    pub fn make_room(&mut self, now: Time) {
        self.node.handle_room(now, &mut self.store);
        self.settle(now);
        let mut out = std::mem::take(&mut self.unsent);
        self.give_verdicts(now, &mut out);
        self.unsent = out;
    }

    /// Takes what the node wants done after a direct call, for [`Peer::drain`] to send.
    pub fn settle(&mut self, now: Time) {
        let mut out = std::mem::take(&mut self.unsent);
        self.take_outputs(now, &mut out);
        self.unsent = out;
    }

    /// What direct calls to the node wanted sent.
    pub fn drain(&mut self, now: Time, out: &mut Outbox) {
        self.settle(now);
        out.append(&mut self.unsent);
    }

    fn take_outputs(&mut self, now: Time, out: &mut Outbox) {
        loop {
            match self.node.poll_output() {
                Output::Transmit(transmit) => {
                    out.extend(transmit.datagrams().map(|datagram| (transmit.to, datagram.to_vec())));
                }
                Output::Event(Event::PathOpened(address)) => self.node.set_path_mtu(address, self.mtu),
                Output::Event(event) => self.events.push((now, event)),
                Output::Timeout(at) => {
                    self.next = at;
                    return;
                }
            }
        }
    }

    /// When the job was complete.
    pub fn completed_at(&self, job: JobId) -> Option<Time> {
        self.events.iter().find_map(|(at, event)| match event {
            Event::Download(of, DownloadEvent::Complete(_)) if *of == job => Some(*at),
            _ => None,
        })
    }

    /// Why the job failed.
    pub fn failure(&self, job: JobId) -> Option<String> {
        self.events.iter().find_map(|(_, event)| match event {
            Event::Download(of, DownloadEvent::Failed(why)) if *of == job => Some(format!("{why:?}")),
            _ => None,
        })
    }

    /// Whether the job is over.
    pub fn is_over(&self, job: JobId) -> bool {
        self.completed_at(job).is_some() || self.failure(job).is_some()
    }

    /// Who was found to lie, in order.
    pub fn liars(&self) -> Vec<SocketAddr> {
        let liar = |event: &Event| match event {
            Event::Download(_, DownloadEvent::Misbehaved(address, _)) => Some(*address),
            _ => None,
        };
        self.events.iter().filter_map(|(_, event)| liar(event)).collect()
    }

    /// What the job wrote.
    pub fn fetched(&self, job: JobId) -> &[u8] {
        self.store.fetched.get(&job).map_or(&[], |fetched| &fetched.bytes)
    }

    /// Judges what was staged, as a tool does that hashes the file.
    fn give_verdicts(&mut self, now: Time, out: &mut Outbox) {
        let staged: Vec<JobId> = self
            .events
            .iter()
            .filter_map(|(_, event)| match event {
                Event::Download(job, DownloadEvent::Staged(_)) => Some(*job),
                _ => None,
            })
            .collect();
        self.events.retain(|(_, event)| !matches!(event, Event::Download(_, DownloadEvent::Staged(_))));
        for job in staged {
            let Some(fetch) = self.node.fetch(job) else {
                continue;
            };
            let is_right = match fetch.id() {
                id @ ContentId::Sha256(_) => crate::content::sha256_id(self.fetched(job)) == *id,
                _ => true,
            };
            self.node.on_verdict(now, job, is_right, &mut self.store);
            self.take_outputs(now, out);
        }
    }
}

impl HostBehaviour for Peer {
    fn handle_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8], out: &mut Outbox) {
        self.node.handle_datagram(now, from, bytes, &mut self.store);
        self.take_outputs(now, out);
        self.give_verdicts(now, out);
        // The disk becomes warm at once. An unvalidated source's request is not kept until then, so this may be in vain.
        for _ in 0..1000 * self.store.cold_reads {
            if !self.store.is_cold() {
                break;
            }
            self.node.handle_library_ready(now, &mut self.store);
            self.take_outputs(now, out);
        }
    }

    fn handle_timeout(&mut self, now: Time, out: &mut Outbox) {
        self.node.handle_timeout(now, &mut self.store);
        self.take_outputs(now, out);
        self.give_verdicts(now, out);
    }

    fn next_timeout(&self) -> Time {
        self.next
    }
}

/// The configuration of an ordinary node.
pub fn config(seed: u64) -> Config {
    Config {
        secret: *blake3::hash(&seed.to_le_bytes()).as_bytes(),
        seed,
        upload_rate: None,
        upload_rate_per_host: None,
        answers: true,
        lists: true,
        raw: true,
        receive_buffer: 4 << 20,
    }
}
