//! One socket's conversations: answers what is asked, asks for what is wanted, and proves who is who.
//!
//! # How to drive it
//!
//! A node has no clock and no socket. Call [`Node::handle_datagram`] for each datagram, [`Node::handle_timeout`] at the
//! time that the last [`Output::Timeout`] named, and the other methods as needed. After every such call, take
//! [`Node::poll_output`] until it gives an [`Output::Timeout`]; debug builds check that this was done. `now` must never
//! go back.

mod answer;
mod ask;
mod buckets;
mod budget;
mod challenge;
mod contact;
mod dialect;
mod echo;
mod fetching;
mod given;
mod inbound;
mod lan;
mod list_reader;
mod lists;
mod parts;
mod peer_path;
mod places;
mod probes;
mod providers;
mod put_off;
mod query;
mod referrals;
mod schedule;
mod schema;
mod search;
mod serving;
mod sizes;
mod suggestions;
mod take;
#[cfg(test)]
mod testing;
pub mod turns;
mod unvalidated_limiter;
mod upload_slots;
mod validation;
mod width;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use budget::MAX_COOKIES;
pub use budget::{
    MAX_UNVALIDATED_WORK, WORK_PER_SECOND, WORK_PER_SECOND_OF_HOST, WORK_PER_SECOND_OF_LONE_HOST,
};
pub use contact::{Acquaintance, MAX_CONTACTS, MAX_CONTACTS_OF_HOST};
use contact::{Contact, Contacts};
pub use echo::{ECHO_FACTOR, ECHO_LIFETIME, ECHO_RATE, ECHO_RATE_OF_HOST};
use inbound::Inbound;
pub use lan::MAX_NEIGHBOURS;
pub use list_reader::ListEnd;
pub use lists::MAX_LIST;
use lists::Wanted;
pub use query::{Answer, Query};
pub use referrals::MAX_PEERS_TOLD;
pub use sizes::Sizes;
pub use unvalidated_limiter::{UNVALIDATED_ANSWERS_AT_ONCE, UNVALIDATED_ANSWERS_PER_SECOND};

use crate::content_id::{ContentId, Hash};
use crate::datagram;
use crate::download::{Download, DownloadEvent};
use crate::message::Message;
use crate::node::turns::Turns;
use crate::peers::cookie::{CookieMint, Validation};
use crate::peers::places_by_host::PlacesByHost;
use crate::store::{JobId, Store};
use crate::time::Time;

/// Bytes an unvalidated source is sent at the most, as a multiple of what it sent (draft-pearson-lcdp-04).
pub const AMPLIFICATION: usize = 2;
/// The longest datagram of ours that is not an answer to a request for a large block: 1,500 less IPv6 and UDP headers.
pub const ORDINARY_DATAGRAM: usize = 1452;

/// What a node is to be like.
#[derive(Clone, Debug)]
pub struct Config {
    /// Makes our cookies. Nobody else may know it; a new one at each start is fine.
    pub secret: Hash,
    /// Where all random choices come from.
    pub seed: u64,
    /// Bytes of datagrams with content that may leave in a second.
    pub upload_rate: Option<u64>,
    /// The same for those that go to one [host](crate::peers::address::host_of).
    pub upload_rate_per_host: Option<u64>,
    /// Whether to answer requests for content and peers at all.
    pub answers: bool,
    /// Whether to tell which content is shared.
    pub lists: bool,
    /// Bytes that may be on their way to us in all: what the socket's receive buffer was granted.
    pub receive_buffer: u64,
}

/// What a node wants done.
#[derive(Debug)]
pub enum Output {
    /// Send this datagram.
    Transmit(Transmit),
    /// Take note.
    Event(Event),
    /// Nothing more now: call [`Node::handle_timeout`] at this time if nothing else happened.
    Timeout(Time),
}

/// A datagram to send, or several to the same destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The destination.
    pub to: SocketAddr,
    /// The payload of each datagram has so many bytes; the last may be shorter.
    pub segment: usize,
    /// The payloads, one after another.
    pub bytes: Vec<u8>,
}

impl Transmit {
    /// The payload of each datagram.
    pub fn datagrams(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.bytes.chunks(self.segment.max(1))
    }
}

/// What a node reports.
#[derive(Debug)]
pub enum Event {
    /// Something about a fetch.
    Download(JobId, DownloadEvent),
    /// The answer to a [`Query`].
    Answer {
        /// Who answered.
        from: SocketAddr,
        /// Since the question was last sent.
        round_trip: Duration,
        /// What it answered.
        answer: Answer,
    },
    /// A question was not answered in all its tries.
    Unanswered(SocketAddr),
    /// This address will be asked for content: tell the route's MTU with [`Node::set_path_mtu`], if known.
    PathOpened(SocketAddr),
    /// Send this datagram to everybody on the link, on every link; see [`Node::attach`].
    AskLan(Vec<u8>),
    /// Nobody on the link was heard to answer this question: send it to each neighbour by itself, to port
    /// [`DEFAULT_PORT`](crate::peers::address::DEFAULT_PORT). A firewall that lets in answers only lets in those of who was asked.
    AskNeighbours(Vec<u8>),
    /// Somebody on the link answered such a question.
    Neighbour(SocketAddr),
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Bytes of them.
    pub bytes_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Bytes of them.
    pub bytes_out: u64,
    /// Datagrams that were not JSON arrays.
    pub unreadable: u64,
    /// Requests for content answered with content.
    pub requests_served: u64,
    /// Bytes of content and trees sent.
    pub content_out: u64,
    /// Units of work that others caused beside content: see [`MAX_UNVALIDATED_WORK`].
    pub work: u64,
}

/// See the [module](self).
pub struct Node {
    config: Config,
    mint: CookieMint,
    random: fastrand::Rng,
    contacts: Contacts,
    turns: Turns,
    budget: budget::Budget,
    unvalidated_limiter: unvalidated_limiter::UnvalidatedLimiter,
    echoes: echo::Echoes,
    dialects: dialect::Dialects,
    upload_slots: upload_slots::UploadSlots,
    fetches: BTreeMap<JobId, Job>,
    jobs: BTreeMap<ContentId, JobId>,
    next_job: u32,
    // Addresses with a path, which are the ones that a fetch may ask.
    asked: BTreeSet<SocketAddr>,
    // Invariant: the same by their hosts.
    asked_places: PlacesByHost,
    schedule: schedule::Schedule,
    in_flight: u64,
    /// Who asks for a list in the datagram that is being taken in.
    list_wanted: Option<(SocketAddr, Wanted)>,
    holds_answers: bool,
    read_buffer: Vec<u8>,
    /// The bytes of a block that came.
    decoded: Vec<u8>,
    /// The fetch that the last block was for.
    last_taken: JobId,
    suggestions: suggestions::Suggestions,
    probes: probes::Probes,
    search: search::Search,
    providers: providers::ProviderCache,
    queries: query::Queries,
    lan: lan::Lan,
    outputs: VecDeque<Transmit>,
    /// Memory for answers: to get it from the system each time costs as much as to fill it.
    spare: Vec<Vec<u8>>,
    events: VecDeque<Event>,
    counters: Counters,
    now: Time,
    drained: bool,
}

struct Job {
    fetch: Download,
    wire_id: String,
    /// By which its content is checked, and that tree's id. Of content wanted by its SHA-256 hash, a hint: it comes and goes.
    tree: Option<(Hash, String)>,
}

impl Job {
    fn new(fetch: Download) -> Job {
        let wire_id = fetch.id().to_string();
        let mut job = Job { fetch, wire_id, tree: None };
        job.follow_hint();
        job
    }

    /// Notes by which tree the fetch checks its content now.
    fn follow_hint(&mut self) {
        let root = self.fetch.tree_root();
        if self.tree.as_ref().map(|(root, _)| *root) == root {
            return;
        }
        self.tree = root.map(|root| (root, ContentId::Tree(root).to_string()));
        if let (Some(root), ContentId::Sha256(_)) = (root, self.fetch.id()) {
            let hint = ContentId::Blake3(root);
            log::info!("{}: checked while it comes by the tree of {hint}, as a peer says", self.wire_id);
        }
    }

    fn tree_id(&self) -> Option<&str> {
        self.tree.as_ref().map(|(_, id)| &**id)
    }
}

impl Node {
    /// A node that knows nobody.
    pub fn new(config: Config) -> Node {
        Node {
            mint: CookieMint::new(config.secret),
            random: fastrand::Rng::with_seed(config.seed),
            contacts: Contacts::default(),
            unvalidated_limiter: unvalidated_limiter::UnvalidatedLimiter::default(),
            budget: budget::Budget::new(config.upload_rate),
            echoes: echo::Echoes::default(),
            dialects: dialect::Dialects::default(),
            turns: Turns::new(config.upload_rate, config.upload_rate_per_host),
            upload_slots: upload_slots::UploadSlots::default(),
            fetches: BTreeMap::new(),
            jobs: BTreeMap::new(),
            next_job: 0,
            asked: BTreeSet::new(),
            asked_places: PlacesByHost::default(),
            schedule: schedule::Schedule::default(),
            in_flight: 0,
            list_wanted: None,
            holds_answers: false,
            read_buffer: Vec::new(),
            decoded: Vec::new(),
            last_taken: JobId(0),
            suggestions: suggestions::Suggestions::default(),
            probes: probes::Probes::default(),
            search: search::Search::default(),
            providers: providers::ProviderCache::default(),
            queries: query::Queries::default(),
            lan: lan::Lan::default(),
            outputs: VecDeque::new(),
            spare: Vec::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
            now: Time::ZERO,
            drained: true,
            config,
        }
    }

    /// Counters since the start.
    pub fn counters(&self) -> Counters {
        Counters { work: self.budget.done(), ..self.counters }
    }

    /// Whom we have met, for the peer table.
    pub fn acquaintances(&self) -> impl Iterator<Item = Acquaintance> + '_ {
        self.contacts.acquaintances()
    }

    /// Addresses that turned out to be our own: what was sent there came to us.
    pub fn own_addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.contacts.own()
    }

    /// The library has in memory what it had to answer [`Read::Later`](crate::store::Read::Later) for.
    pub fn handle_library_ready(&mut self, now: Time, store: &mut dyn Store) {
        self.enter(now);
        self.turns.unpark();
        self.serve_turns(now, store);
    }

    /// Takes in a datagram.
    pub fn handle_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8], store: &mut dyn Store) {
        self.handle_datagrams(now, from, bytes, bytes.len(), store);
    }

    /// Takes in datagrams that came together from one address: those in `bytes` of `segment` bytes each, the last of which
    /// may be shorter.
    pub fn handle_datagrams(
        &mut self,
        now: Time,
        from: SocketAddr,
        bytes: &[u8],
        segment: usize,
        store: &mut dyn Store,
    ) {
        self.enter(now);
        if bytes.is_empty() {
            self.take_datagram(now, from, bytes, store);
        }
        for datagram in bytes.chunks(segment.max(1)) {
            self.take_datagram(now, from, datagram, store);
        }
        self.serve_turns(now, store);
        if self.asked.contains(&from) {
            self.detect_losses(now, from);
            self.look_at(now, from, store);
        }
        self.look_at_waiting(now, store);
    }

    fn take_datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8], store: &mut dyn Store) {
        self.counters.datagrams_in += 1;
        self.counters.bytes_in += bytes.len() as u64;
        let mut room = std::mem::take(&mut self.decoded);
        match datagram::decode_into(bytes, &mut room) {
            Ok(messages) => self.take_messages(now, from, bytes.len(), &messages, store),
            Err(error) => {
                self.counters.unreadable += 1;
                log::debug!("{from}: {error}");
            }
        }
        self.decoded = room;
    }

    fn take_messages(
        &mut self,
        now: Time,
        from: SocketAddr,
        received: usize,
        messages: &[Message<'_>],
        store: &mut dyn Store,
    ) {
        let inbound = Inbound::of(messages, received);
        if inbound.wants_always || inbound.wants_returned {
            self.budget.count(budget::COOKIE * MAX_COOKIES as u64);
        }
        if (inbound.wants_always || inbound.wants_returned) && self.is_own_voice(now, from, messages) {
            self.on_own_voice(now, from);
            return;
        }
        let known = self.contacts.get(from);
        let was_only_suggested = known.is_some_and(Contact::is_only_suggested);
        let was_validated = known.is_some_and(Contact::is_validated);
        let validation = if inbound.always_returned {
            self.read_validation(now, from, messages)
        } else {
            Validation::None
        };
        if validation == Validation::None {
            self.contacts.on_unvalidated(now, from);
        }
        let answers_ours = inbound.returned && self.take_returned(now, from, messages, inbound, validation);
        let inbound = Inbound { answers_ours, ..inbound };
        if !was_validated && self.contacts.get(from).is_some_and(Contact::is_validated) {
            self.probes.forget(from);
        }
        if was_only_suggested && !self.contacts.get(from).is_some_and(Contact::is_only_suggested) {
            self.probe_again(now, from);
        }
        self.take_answers(now, from, messages, inbound, validation, store);
        if inbound.asks || inbound.wants_returned {
            self.answer(now, from, messages, inbound, validation, store);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time, store: &mut dyn Store) {
        self.enter(now);
        let due = self.take_due_paths(now);
        for &address in &due {
            self.detect_losses(now, address);
        }
        for job in self.fetches.values_mut() {
            job.fetch.handle_timeout(now, store);
        }
        self.send_queries(now);
        self.follow_suggestions(now);
        self.ask_known(now);
        self.ask_on_lan(now);
        self.answer_echoes(now);
        self.serve_turns(now, store);
        for address in due {
            self.look_at(now, address, store);
        }
        self.look_at_waiting(now, store);
    }

    /// The next thing to do. [`Output::Timeout`] says that there is nothing more.
    pub fn poll_output(&mut self) -> Output {
        if let Some(transmit) = self.outputs.pop_front() {
            self.counters.datagrams_out += transmit.datagrams().len() as u64;
            self.counters.bytes_out += transmit.bytes.len() as u64;
            return Output::Transmit(transmit);
        }
        if let Some(event) = self.next_event() {
            return Output::Event(event);
        }
        self.drained = true;
        Output::Timeout(self.next_timeout())
    }

    fn next_event(&mut self) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        let (job, event) = self
            .fetches
            .iter_mut()
            .find_map(|(&job, state)| state.fetch.poll_event().map(|event| (job, event)))?;
        match &event {
            DownloadEvent::Misbehaved(address, why) => {
                log::info!("{address}: {why}; it is left alone from now on");
                self.ban(*address);
            }
            DownloadEvent::Complete(_) | DownloadEvent::Failed(_) => self.withdraw(job),
            DownloadEvent::Length(_) | DownloadEvent::Staged(_) => {}
        }
        Some(Event::Download(job, event))
    }

    fn next_timeout(&self) -> Time {
        let now = self.now;
        let mut at = self.queries.next_at().min(self.suggestions.next_at()).min(self.search.next_at());
        at = at.min(self.lan.next_at()).min(self.echoes.next_at());
        if !self.turns.is_empty() && !self.holds_answers {
            at = at.min(self.turns.ready_at().max(now));
        }
        for job in self.fetches.values() {
            at = at.min(job.fetch.next_wake());
        }
        at.min(self.schedule.next_at(now))
    }

    /// Begins a call: see the module's contract.
    fn enter(&mut self, now: Time) {
        debug_assert!(now >= self.now, "time went back from {:?} to {now:?}", self.now);
        debug_assert!(self.drained, "poll_output was not drained after the last call");
        self.drained = false;
        self.now = now;
    }
}
