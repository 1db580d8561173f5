//! One stream that is viewed: whom it is asked of, and what comes of it.
//!
//! One source, the *parent*, is told to send what is wanted. Up to two others stand by, and tell how far the stream goes: if the parent
//! is silent while one of them has more, that one becomes the parent. Every block is verified before it is kept, counted or passed on.

mod parents;
mod polling;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::assembly::{Assemblies, Came};
use super::candidates::Candidates;
use super::polls::Polls;
use super::source::{NamedBy, Report, Room, Source};
use super::window::{News, Window};
use crate::message::{Handle, MAX_STREAM_RANGES, StreamHolding};
use crate::node::budget;
use crate::node::client::RawRun;
use crate::node::shared::Shared;
use crate::node::stream_event::{Start, StreamEvent, StreamOptions, StreamProgress};
use crate::peers::address::referred;
use crate::range_set::RangeSet;
use crate::store::{JobId, Store};
use crate::stream::{BLOCK_LEN, BlockClaim, SignedBlock, SignedStatement, Statement, StreamId, record};
use crate::time::Time;

/// Peers that are asked at a time, of one view.
pub(crate) const MAX_SOURCES: usize = 16;
/// As long as so many answered, no more are asked.
const ENOUGH: usize = 3;
/// Where to begin is what the origin says, if anybody passes that on within this time after the first answer.
const AWAIT_STATEMENT: Duration = Duration::from_millis(500);
/// One that was of no use is left alone for so long, twice as long each time.
const REST: Duration = Duration::from_secs(2);
const MAX_REST: Duration = Duration::from_secs(30);
/// One that gave so many blocks that are wrong is left alone for so long.
const MAX_WRONG: u32 = 8;
const WRONG_REST: Duration = Duration::from_secs(60);
/// How often one is looked for while there is no parent.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How often it is looked how the parent does.
const LOOK_PARENT: Duration = Duration::from_millis(50);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct View {
    pub(super) job: JobId,
    pub(super) id: StreamId,
    options: StreamOptions,
    /// `None` until it is known where to begin.
    window: Option<Window>,
    pub(super) statement: Option<SignedStatement>,
    // Invariant: at most `MAX_SOURCES`.
    sources: BTreeMap<SocketAddr, Source>,
    parent: Option<(SocketAddr, Time)>,
    // Since when the parent has given nothing for longer than usual, until one gives something again.
    alarm_at: Option<Time>,
    // Nothing comes because there is nothing, as the parent says.
    is_quiet: bool,
    candidates: Candidates,
    assemblies: Assemblies,
    polls: Polls,
    events: VecDeque<StreamEvent>,
    verified: u64,
    // When the first source answered.
    answered_at: Option<Time>,
    settled_at: Time,
    // The first block of which something is missing, and since when it is this one.
    lacks: (u64, Time),
    // It was level with what others said.
    was_level: bool,
    look_at: Time,
    said_no_source: bool,
    is_over: bool,
}

impl View {
    pub(super) fn new(now: Time, job: JobId, id: StreamId, options: StreamOptions) -> View {
        let mut view = View {
            job,
            id,
            options,
            window: None,
            statement: None,
            sources: BTreeMap::new(),
            parent: None,
            alarm_at: None,
            is_quiet: false,
            candidates: Candidates::default(),
            assemblies: Assemblies::default(),
            polls: Polls::default(),
            events: VecDeque::new(),
            verified: 0,
            answered_at: None,
            settled_at: now,
            lacks: (0, now),
            was_level: false,
            look_at: Time::NEVER,
            said_no_source: false,
            is_over: false,
        };
        if let Start::Offset(offset) = options.from {
            view.start(offset);
        }
        view
    }

    fn start(&mut self, offset: u64) {
        if self.window.is_none() {
            self.window = Some(Window::new(offset, self.options.window));
            self.events.push_back(StreamEvent::Started { offset });
            self.advance();
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }

    /// Whether blocks are passed on to others.
    pub(super) fn passes_on(&self) -> bool {
        self.options.relay && !self.is_over
    }

    /// Whom blocks come from, and how many hops that is away from the origin.
    pub(super) fn parent(&self) -> Option<(SocketAddr, Option<u64>)> {
        let (address, _) = self.parent?;
        let told = self.sources.get(&address).and_then(|source| source.told);
        Some((address, told.and_then(|told| told.depth)))
    }

    /// Whether nothing comes now, though something should.
    pub(super) fn waits(&self) -> bool {
        let has_no_source = self.parent.is_none() && !self.polls();
        !self.is_complete() && (has_no_source || self.alarm_at.is_some())
    }

    pub(super) fn progress(&self, viewers: usize) -> StreamProgress {
        let told = || self.sources.values().filter_map(|source| source.told.filter(|told| told.until > 0));
        let oldest = told().map(|told| record::bytes_before(told.from)).min();
        let edge = told().map(|told| record::bytes_before(told.until)).max().unwrap_or(0);
        let said = self.statement.as_ref().map_or(0, |said| said.statement().end);
        StreamProgress {
            parent: self.parent.map(|(address, _)| address),
            sources: self.sources.len(),
            oldest,
            viewers,
            edge: edge.max(said).max(self.window.as_ref().map_or(0, |it| record::bytes_before(it.edge()))),
            verified: self.verified,
            depth: self.parent().and_then(|(_, depth)| depth.map(|depth| depth + 1)),
        }
    }

    /// How much it holds: sources, candidates, incomplete records, short blocks.
    pub(super) fn sizes(&self) -> [usize; 4] {
        let short = self.window.as_ref().map_or(0, Window::short_len);
        [self.sources.len(), self.candidates.len(), self.assemblies.len(), short]
    }

    pub(super) fn set_position(&mut self, now: Time, offset: u64) {
        let Some(window) = &mut self.window else { return };
        let before = window.wanted();
        window.set_position(offset);
        self.polls.wake(now);
        self.advance();
        let Some(window) = &self.window else { return };
        // Credit that the parent needs, or else with the next report.
        let is_short = before.end < window.edge() + (self.options.window / 2).min(1 << 20);
        if let (true, Some((parent, _))) = (is_short && window.wanted().end > before.end, self.parent)
            && let Some(source) = self.sources.get_mut(&parent)
        {
            source.tell_at(now);
        }
    }

    fn advance(&mut self) {
        let Some(window) = &mut self.window else { return };
        window.advance(self.statement.as_ref().map(SignedStatement::statement));
        self.assemblies.forget_before(window.frontier());
    }

    /// Asks one, when its turn comes or at once.
    pub(super) fn add(&mut self, now: Time, address: SocketAddr, named_by: NamedBy) {
        if let Some(source) = self.sources.get_mut(&address) {
            source.named_by = source.named_by.min(named_by);
            return;
        }
        self.said_no_source = false;
        self.candidates.add(now, address, named_by);
        self.look_at = self.look_at.min(now);
    }

    /// The source gave us its cookie: with it, the question will be answered in full.
    pub(super) fn ask_again(&mut self, now: Time, address: SocketAddr) {
        if let Some(source) = self.sources.get_mut(&address) {
            source.tell_at(now);
        }
    }

    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.sources.contains_key(&address)
    }

    pub(super) fn has_handle(&self, address: SocketAddr, handle: Handle) -> bool {
        self.sources.get(&address).is_some_and(|source| source.handle == handle)
    }

    /// Takes in what the origin says, verified. Returns whether it is news.
    pub(super) fn take_statement(&mut self, said: &SignedStatement) -> bool {
        if self.statement.as_ref().is_some_and(|known| !said.is_newer_than(known)) {
            return false;
        }
        self.statement = Some(said.clone());
        self.events.push_back(StreamEvent::Statement(Box::new(said.clone())));
        self.advance();
        // In a first answer what the source has comes after this.
        let told = self.sources.values().filter_map(|source| source.told).max_by_key(|told| told.until);
        if let Some(told) = told {
            self.decide_start(Some((told.from, told.until)), true);
        }
        true
    }

    /// Finds out where to begin: by what the origin says; if nobody passes that on, by what a source has. With `waits`, others may still
    /// answer that have older parts.
    fn decide_start(&mut self, told: Option<(u64, u64)>, waits: bool) {
        if self.window.is_some() {
            return;
        }
        let newest_block = |bytes: u64| bytes.saturating_sub(1) / BLOCK_LEN as u64 * BLOCK_LEN as u64;
        let said = self.statement.as_ref().map(SignedStatement::statement);
        let offset = match (self.options.from, said) {
            (Start::Offset(offset), _) => offset,
            (Start::Edge, Some(said)) => {
                let end = told.map_or(said.end, |(_, until)| said.end.max(record::bytes_before(until)));
                said.joins.last().map_or_else(|| newest_block(end), |join| join.offset)
            }
            // What the origin has, the source may have no longer.
            (Start::Oldest, said) => {
                let told =
                    self.sources.values().filter_map(|source| source.told.filter(|told| told.until > 0));
                let Some(oldest) = told.map(|told| record::bytes_before(told.from)).min() else { return };
                let first = said.map_or(0, Statement::start);
                let is_asking =
                    self.candidates.len() > 0 || self.sources.values().any(Source::is_asked_lately);
                if waits && is_asking && first < oldest {
                    return;
                }
                oldest.max(first)
            }
            (Start::Before(time), Some(said)) => {
                let then = said.time.saturating_sub(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
                let join = said.joins.iter().rev().find(|join| join.time <= then).or(said.joins.first());
                join.map_or_else(|| newest_block(said.end), |join| join.offset)
            }
            (_, None) => match told {
                Some((_, until)) => newest_block(record::bytes_before(until)),
                None => return,
            },
        };
        self.start(offset);
    }

    /// Takes in what a validated source says that it has.
    pub(super) fn take_told(&mut self, now: Time, from: SocketAddr, told: &StreamHolding) {
        let edge = self.window.as_ref().map_or(0, Window::edge);
        let Some(source) = self.sources.get_mut(&from) else { return };
        source.on_told(now, told, edge);
        self.answered_at = self.answered_at.or(Some(now));
        // The first of them is to be the first that is asked.
        for &peer in told.peers.iter().take(8).rev() {
            if let Some(peer) = referred(from, peer).filter(|peer| !self.sources.contains_key(peer)) {
                self.candidates.add(now, peer, NamedBy::Peer);
            }
        }
        if self.statement.is_some() && (!told.full || told.until > 0) {
            self.decide_start(Some((told.from, told.until)), true);
        }
        self.look_at = self.look_at.min(now);
    }

    /// Takes in raw content under a handle of this source. Returns the blocks that were verified and kept.
    pub(super) fn take_raw(
        &mut self,
        shared: &mut Shared,
        now: Time,
        from: SocketAddr,
        run: &RawRun<'_>,
        store: &mut dyn Store,
    ) -> Vec<SignedBlock> {
        let mut kept = Vec::new();
        let mut offset = run.offset;
        for &data in run.pieces {
            let came = Came { from, offset, data, eof: run.eof };
            offset += data.len() as u64;
            kept.extend(self.take_piece(shared, now, run.waited, came, store));
        }
        kept
    }

    fn take_piece(
        &mut self,
        shared: &mut Shared,
        now: Time,
        waited: Duration,
        came: Came<'_>,
        store: &mut dyn Store,
    ) -> Option<SignedBlock> {
        let source = self.sources.get_mut(&came.from).filter(|_| !self.is_over)?;
        source.on_piece(now, waited, came.offset, came.data.len() as u64);
        let window = self.window.as_mut()?;
        let index = record::index_at(came.offset);
        if !window.wants(index, came.eof.unwrap_or(record::range_of(index).end)) {
            return None;
        }
        let known = window.short(index).filter(|_| !source.is_suspect);
        let complete = self.assemblies.take(index, came, known)?;
        shared.budget.count(budget::VERIFY);
        let Some(block) = SignedBlock::verify(&self.id, index, &complete.data, complete.signature) else {
            self.on_wrong(shared, now, came.from, complete.is_mixed);
            return None;
        };
        self.keep(&block, store)
    }

    /// Takes in a block that a source gives which is another program.
    pub(super) fn take_plain(
        &mut self,
        shared: &mut Shared,
        now: Time,
        from: SocketAddr,
        claim: BlockClaim,
        store: &mut dyn Store,
    ) -> Option<SignedBlock> {
        let source = self.sources.get_mut(&from).filter(|source| source.told.is_none() && !self.is_over)?;
        let (index, end) = (claim.index, record::position_of(claim.end()));
        if self.window.as_ref().is_some_and(|window| !window.wants(index, end)) {
            return None;
        }
        shared.budget.count(budget::VERIFY);
        let Some(block) = claim.verify() else {
            // It may pass on what it has kept wrongly: that is no malice.
            source.wrong += 1;
            if source.wrong >= MAX_WRONG {
                self.drop_source(now, from, now + WRONG_REST);
            }
            return None;
        };
        source.is_plain = true;
        (source.heard_at, source.data_at) = (now, now);
        self.answered_at = self.answered_at.or(Some(now));
        self.polls.on_block(now, index);
        self.look_at = self.look_at.min(now);
        self.keep(&block, store)
    }

    /// Keeps a block that was verified. Returns it if it is news.
    fn keep(&mut self, block: &SignedBlock, store: &mut dyn Store) -> Option<SignedBlock> {
        let index = block.index();
        let window = self.window.as_mut()?;
        match window.take(block) {
            News::Old => return None,
            News::Contradiction => {
                self.events.push_back(StreamEvent::Contradiction { index });
                return None;
            }
            News::New => {}
        }
        if let Err(error) = store.write_stream(self.job, block) {
            self.events.push_back(StreamEvent::Failed(error.to_string()));
            self.is_over = true;
            return None;
        }
        self.verified += block.data().len() as u64;
        if block.is_whole() {
            self.assemblies.forget(index);
        }
        let edge = window.edge();
        self.sources.values_mut().for_each(|source| source.on_edge(edge));
        self.was_level |= self.sources.values().all(|source| source.ahead.is_none());
        self.advance();
        self.events.push_back(StreamEvent::Block { index });
        Some(block.clone())
    }

    /// A source sent what the stream's key did not sign. Where some of it was of a shorter block, that may be why: once.
    fn on_wrong(&mut self, shared: &mut Shared, now: Time, from: SocketAddr, is_mixed: bool) {
        let Some(source) = self.sources.get_mut(&from) else { return };
        if is_mixed && !source.is_suspect {
            source.is_suspect = true;
            source.tell_at(now);
            return;
        }
        log::info!("{from}: what it sends of {:?} is not signed by its key; it is left alone", self.id);
        if let Some(contact) = shared.contacts.get_mut(from).filter(|it| it.cookies.returns_always) {
            contact.banned = true;
        }
        self.events.push_back(StreamEvent::Misbehaved(from));
        self.drop_source(now, from, now + Duration::from_secs(600));
    }

    fn drop_source(&mut self, now: Time, address: SocketAddr, until: Time) {
        self.sources.remove(&address);
        self.assemblies.forget_source(address);
        self.candidates.rest(now, address, until);
        self.parent = self.parent.filter(|(parent, _)| *parent != address);
        self.look_at = self.look_at.min(now);
    }

    /// Does what is due. `own`: who may come to us.
    pub(super) fn handle_timeout(
        &mut self,
        shared: &mut Shared,
        now: Time,
        own: &dyn Fn() -> Room,
        serves: impl Fn(SocketAddr) -> bool,
        mint: &mut dyn FnMut(&mut Shared) -> Handle,
    ) {
        if self.is_over {
            return;
        }
        if self.window.is_none() && self.answered_at.is_some_and(|at| now.since(at) >= AWAIT_STATEMENT) {
            let told = self.sources.values().filter_map(|source| source.told);
            let most = told.filter(|told| told.until > 0).max_by_key(|told| told.until);
            self.decide_start(most.map(|told| (told.from, told.until)), false);
        }
        let frontier = self.window.as_ref().map_or(0, Window::frontier);
        if frontier != self.lacks.0 {
            self.lacks = (frontier, now);
        }
        self.leave_parent(now);
        self.choose_parent(now, &serves);
        self.drop_spare(shared, now);
        self.open_sources(shared, now, mint);
        self.report_due(shared, now, own);
        self.poll(shared, now);
        self.look_at = match (self.is_complete(), self.parent) {
            (true, _) => Time::NEVER,
            (_, Some(_)) => now + LOOK_PARENT,
            (_, None) => now + LOOK_AGAIN,
        };
        if self.lacks_sources(now) {
            self.look_at = self.look_at.min(self.candidates.next_at().max(now + Duration::from_millis(1)));
        }
    }

    /// Whether the stream has ended and all that is wanted of it is here.
    fn is_complete(&self) -> bool {
        self.window.as_ref().is_some_and(Window::is_complete)
    }

    /// Asks others while few answered.
    fn open_sources(&mut self, shared: &mut Shared, now: Time, mint: &mut dyn FnMut(&mut Shared) -> Handle) {
        let spent: Vec<SocketAddr> = self
            .sources
            .iter()
            .filter(|(_, it)| it.told.is_none() && it.is_spent(now))
            .map(|(&a, _)| a)
            .collect();
        for address in spent {
            self.drop_source(now, address, now + MAX_REST);
        }
        while self.lacks_sources(now) {
            if self.sources.len() >= MAX_SOURCES {
                let may_go = |source: &Source| source.named_by != NamedBy::User && !source.is_asked();
                let least = self.sources.iter().filter(|(address, source)| {
                    may_go(source) && self.parent.is_none_or(|(parent, _)| parent != **address)
                });
                let Some((&least, _)) = least.max_by_key(|(_, source)| source.rests_until) else { break };
                self.drop_source(now, least, now + MAX_REST);
            }
            let Some((address, named_by)) = self.candidates.next(now, self.alarm_at.is_some()) else { break };
            let is_shunned = shared.contacts.get(address).is_some_and(|contact| contact.is_shunned());
            if self.sources.contains_key(&address) || is_shunned || shared.is_own(address) {
                continue;
            }
            let handle = mint(shared);
            self.sources.insert(address, Source::new(now, handle, named_by));
        }
        let is_hopeless = self.parent.is_none()
            && self.candidates.len() == 0
            && self
                .sources
                .values()
                .all(|it| !it.is_asked() && !it.is_plain && it.told.is_none_or(|told| told.full));
        if is_hopeless && !self.said_no_source && !self.is_complete() {
            self.said_no_source = true;
            self.events.push_back(StreamEvent::NoSource);
        }
    }

    /// Whether more should be asked.
    fn lacks_sources(&self, now: Time) -> bool {
        let is_of_use = |source: &Source| {
            let is_fit = source.told.is_some_and(|told| !told.full && told.until > 0);
            source.rests_until <= now && (is_fit || source.is_plain || source.is_asked_lately())
        };
        !self.is_complete() && self.sources.values().filter(|source| is_of_use(source)).count() < ENOUGH
    }

    /// Tells those whose time has come what is wanted.
    pub(super) fn report_due(&mut self, shared: &mut Shared, now: Time, own: &dyn Fn() -> Room) {
        let due: Vec<SocketAddr> =
            self.sources.iter().filter(|(_, it)| it.next_at() <= now).map(|(&address, _)| address).collect();
        if due.is_empty() {
            return;
        }
        let room = own();
        let depth = self.parent().and_then(|(_, depth)| depth.map(|depth| depth + 1));
        let wanted = self.window.as_ref().map_or(0..0, Window::wanted);
        for address in due {
            let Some(source) = self.sources.get_mut(&address) else { continue };
            let is_parent = self.parent.is_some_and(|(parent, _)| parent == address);
            let mut here = RangeSet::new();
            if let (true, Some(window)) = (is_parent, &self.window) {
                // More than one report holds.
                let known = window.have(!source.is_suspect).take(2 * MAX_STREAM_RANGES);
                here = known.chain(self.assemblies.of(address)).collect();
            }
            let report = Report {
                id: &self.id,
                wanted: wanted.clone(),
                here: &here,
                room: &room,
                depth,
                seeks: self.parent.is_none(),
                is_parent,
            };
            source.report(shared, now, address, &report);
        }
    }

    /// It is viewed no longer.
    pub(super) fn stop(&self, shared: &mut Shared, now: Time) {
        for (&address, source) in &self.sources {
            source.stop(shared, now, address, &self.id);
        }
    }

    /// When something is due.
    pub(super) fn next_at(&self) -> Time {
        if self.is_over {
            return Time::NEVER;
        }
        let sources = self.sources.values().map(Source::next_at).min().unwrap_or(Time::NEVER);
        let polls = if self.polls() { self.polls.next_at() } else { Time::NEVER };
        sources.min(self.look_at).min(polls)
    }
}
