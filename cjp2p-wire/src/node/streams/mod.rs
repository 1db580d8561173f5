//! Streams: gives blocks to those that view them, as they come to exist, and views streams of others.
//!
//! A [`Holding`] is a stream that is given, a [`View`] one that is viewed. A view that relays has a holding beside it, which is told of
//! each block that was verified. A datagram that asks goes to the holding of its stream, one that answers to the view that asked.

mod admission;
mod assembly;
mod candidates;
mod holding;
mod places;
mod plain;
mod polls;
mod pushing;
mod queueing;
mod send_window;
mod source;
mod subscriber;
mod view;
mod window;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

pub(super) use self::admission::MAX_SUBSCRIBERS;
pub(super) use self::assembly::MAX_RECORDS;
pub(super) use self::candidates::MAX_CANDIDATES;
pub(super) use self::plain::MAX_PLAIN;
pub(super) use self::source::NamedBy;
pub(super) use self::view::MAX_SOURCES;
pub(super) use self::window::MAX_SHORT;

use self::holding::{Holding, Origin};
use self::pushing::{Gate, Push};
use self::source::Room;
use self::view::View;
use super::budget;
use super::client::{RawRun, mint_handle};
use super::event::Event;
use super::inbound::Inbound;
use super::shared::Shared;
use super::stream_event::{StreamOptions, StreamProgress};
use crate::datagram::Encoder;
use crate::message::{Handle, Message, StreamHolding, StreamRequest};
use crate::store::{Asker, JobId, Store};
use crate::stream::statement::StatementClaim;
use crate::stream::{BLOCK_LEN, BlockClaim, SignedStatement, StreamId};
use crate::time::Time;

/// Requests for streams that are looked at in one datagram.
const MAX_REQUESTS: usize = 4;
/// For whom a new block is read: for all.
const OWNER: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// The pause from one request that came in an echo to the next.
const ECHO_PAUSE: Duration = Duration::from_millis(125);
/// Handles of streams are counted from here, so that none is one of a download.
const FIRST_HANDLE: u64 = 1 << 63;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Streams {
    holdings: BTreeMap<StreamId, Holding>,
    views: BTreeMap<JobId, View>,
    gate: Gate,
    handles_made: u64,
    /// A request that came in an echo just now.
    echoed: Option<(StreamId, u64)>,
    /// When the next one counts.
    echoes_from: Time,
}

/// How much the streams hold, of the one with most; see [`Sizes`](super::Sizes).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StreamSizes {
    pub(super) subscribers: usize,
    pub(super) plain: usize,
    pub(super) sources: usize,
    pub(super) candidates: usize,
    pub(super) records: usize,
    pub(super) short: usize,
}

/// Streams that are given.
impl Streams {
    pub(super) fn publish(&mut self, id: &StreamId) {
        let holding =
            self.holdings.entry(id.clone()).or_insert_with(|| Holding::new(id.clone(), Origin::Here));
        holding.set_here();
    }

    pub(super) fn end_publishing(&mut self, id: &StreamId) {
        self.holdings.remove(id);
    }

    pub(super) fn on_block(
        &mut self,
        shared: &mut Shared,
        now: Time,
        id: &StreamId,
        index: u64,
        store: &mut dyn Store,
    ) {
        let Some(holding) = self.holdings.get_mut(id) else { return };
        let Some(block) = store.stream_block(Asker::Host(OWNER), id, index) else { return };
        holding.on_block(now, &block);
        holding.send_all(&mut Push { now, shared, store, gate: &mut self.gate });
    }

    pub(super) fn set_statement(&mut self, shared: &mut Shared, now: Time, said: &SignedStatement) {
        for view in self.views.values_mut().filter(|view| view.id == *said.id()) {
            view.take_statement(said);
        }
        if let Some(holding) = self.holdings.get_mut(said.id())
            && holding.set_statement(said)
        {
            holding.tell_statement(shared, now);
        }
    }

    pub(super) fn viewers(&self, id: &StreamId) -> usize {
        self.holdings.get(id).map_or(0, Holding::served)
    }

    /// Has nothing sent while it could not leave anyway.
    pub(super) fn hold(&mut self, hold: bool) {
        self.gate.is_held = hold;
    }
}

/// Streams that are viewed.
impl Streams {
    pub(super) fn job_of(&self, id: &StreamId) -> Option<JobId> {
        self.views.iter().find(|(_, view)| view.id == *id).map(|(&job, _)| job)
    }

    /// Whether this job is a view.
    pub(super) fn views(&self, job: JobId) -> bool {
        self.views.contains_key(&job)
    }

    pub(super) fn view(&mut self, now: Time, job: JobId, id: &StreamId, options: StreamOptions) {
        self.views.insert(job, View::new(now, job, id.clone(), options));
        if options.relay {
            let origin = Origin::Viewed(None);
            self.holdings.entry(id.clone()).or_insert_with(|| Holding::new(id.clone(), origin));
        }
    }

    pub(super) fn add_source(
        &mut self,
        shared: &mut Shared,
        now: Time,
        job: JobId,
        to: SocketAddr,
        named_by: NamedBy,
    ) {
        if let Some(view) = self.views.get_mut(&job) {
            view.add(now, to, named_by);
            self.work(shared, now);
        }
    }

    pub(super) fn set_position(&mut self, now: Time, job: JobId, offset: u64) {
        if let Some(view) = self.views.get_mut(&job) {
            view.set_position(now, offset);
        }
    }

    pub(super) fn end(&mut self, shared: &mut Shared, now: Time, job: JobId) {
        let Some(view) = self.views.remove(&job) else { return };
        view.stop(shared, now);
        if self.holdings.get(&view.id).is_some_and(|holding| holding.origin != Origin::Here) {
            self.holdings.remove(&view.id);
        }
    }

    pub(super) fn progress(&self, job: JobId) -> Option<StreamProgress> {
        let view = self.views.get(&job)?;
        Some(view.progress(self.viewers(&view.id)))
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.views.iter_mut().find_map(|(&job, view)| Some(Event::Stream(job, view.poll_event()?)))
    }

    /// The source gave us its cookie: with it, the question will be answered in full.
    pub(super) fn ask_again(&mut self, now: Time, address: SocketAddr) {
        self.views.values_mut().for_each(|view| view.ask_again(now, address));
    }

    /// Whether something is asked of this address.
    pub(super) fn asks(&self, address: SocketAddr) -> bool {
        self.views.values().any(|view| view.has(address))
    }
}

/// What comes.
impl Streams {
    /// Takes what a datagram holds for streams. Everything in it counts only with our cookie.
    pub(super) fn take(
        &mut self,
        shared: &mut Shared,
        now: Time,
        inbound: &Inbound<'_>,
        store: &mut dyn Store,
    ) {
        if let Some((id, index)) = self.echoed.take()
            && now >= self.echoes_from
        {
            self.echoes_from = now + ECHO_PAUSE;
            self.take_plain(shared, now, inbound.from, &id, index, store);
        }
        if !inbound.is_validated() || !inbound.kinds.streams {
            return;
        }
        let mut left = MAX_REQUESTS;
        let is_ours = inbound.messages.iter().any(|it| matches!(it, Message::PleaseKeepSendingStream(_)));
        for message in inbound.messages {
            match message {
                Message::PleaseKeepSendingStream(request) if left > 0 && shared.config.answers => {
                    left -= 1;
                    self.take_request(shared, now, inbound, request, store);
                }
                // Beside a request of ours it is for those who do not know that.
                Message::PleaseSendContent(request) if left > 0 && shared.config.answers && !is_ours => {
                    if let Some(id) = StreamId::on_wire(&request.id)
                        && shared.budget.may_do(now, inbound.from, budget::REQUEST + 4 * budget::READ)
                    {
                        left -= 1;
                        self.take_plain(
                            shared,
                            now,
                            inbound.from,
                            &id,
                            request.offset / BLOCK_LEN as u64,
                            store,
                        );
                    }
                }
                Message::IHaveThisOfTheStream(told) if left > 0 => {
                    left -= 1;
                    for view in self.views.values_mut().filter(|view| view.id == told.id) {
                        view.take_told(now, inbound.from, told);
                    }
                }
                Message::SignedMessage(signed) if left > 0 && self.asks(inbound.from) => {
                    left -= 1;
                    shared.budget.count(budget::bytes(signed.payload.len()));
                    if let Some(claim) = StatementClaim::read(signed) {
                        self.take_statement(shared, now, inbound.from, claim);
                    } else if let Some(claim) = BlockClaim::read(signed) {
                        self.take_plain_block(shared, now, inbound.from, claim, store);
                    }
                }
                _ => {}
            }
        }
        self.work(shared, now);
    }

    fn take_statement(
        &mut self,
        shared: &mut Shared,
        now: Time,
        from: SocketAddr,
        claim: StatementClaim<'_>,
    ) {
        let of = |view: &&View| view.id == claim.id && view.has(from);
        let Some(view) = self.views.values().find(of) else { return };
        let is_old = view.statement.as_ref().is_some_and(|known| !claim.would_be_newer_than(known));
        if is_old || !shared.budget.may_do(now, from, budget::VERIFY) {
            return;
        }
        match claim.verify() {
            Some(said) => self.set_statement(shared, now, &said),
            None => log::debug!("{from}: a wrong signature of what is said of a stream"),
        }
    }

    /// A source gives a block as other programs do.
    fn take_plain_block(
        &mut self,
        shared: &mut Shared,
        now: Time,
        from: SocketAddr,
        claim: BlockClaim,
        store: &mut dyn Store,
    ) {
        let of = |view: &&mut View| view.id == claim.id && view.has(from);
        let Some(view) = self.views.values_mut().find(of) else { return };
        let Some(block) = view.take_plain(shared, now, from, claim, store) else { return };
        if let Some(holding) = self.holdings.get_mut(&view.id).filter(|_| view.passes_on()) {
            holding.on_block(now, &block);
            holding.send_all(&mut Push { now, shared, store, gate: &mut self.gate });
        }
    }

    fn take_request(
        &mut self,
        shared: &mut Shared,
        now: Time,
        inbound: &Inbound<'_>,
        request: &StreamRequest,
        store: &mut dyn Store,
    ) {
        let from = inbound.from;
        let cost = budget::REQUEST + 2 * request.have.len() as u64 + budget::bytes(inbound.length);
        if !shared.budget.may_do(now, from, cost) {
            return;
        }
        let view = self.views.values().find(|view| view.id == request.id);
        let Some(holding) = self.holdings.get_mut(&request.id) else {
            return tell_nothing(shared, now, from, request);
        };
        if holding.origin != Origin::Here {
            holding.set_viewed(view.and_then(View::parent), view.is_none_or(View::waits));
        }
        let push = &mut Push { now, shared, store, gate: &mut self.gate };
        holding.take(push, from, request, inbound.waited);
    }

    /// A challenge came back with a request for a stream in it, from a source that returns our cookie. It may have been sent to have
    /// us answer to another, so it counts once, and few do in a second.
    pub(super) fn note_echo(&mut self, id: StreamId, offset: u64) {
        self.echoed = Some((id, offset / BLOCK_LEN as u64));
    }

    fn take_plain(
        &mut self,
        shared: &mut Shared,
        now: Time,
        from: SocketAddr,
        id: &StreamId,
        index: u64,
        store: &mut dyn Store,
    ) {
        if let Some(holding) = self.holdings.get_mut(id) {
            holding.take_plain(&mut Push { now, shared, store, gate: &mut self.gate }, from, index);
        }
    }

    /// Whether this handle is one of ours for this source.
    pub(super) fn has_handle(&self, from: SocketAddr, handle: Handle) -> bool {
        self.views.values().any(|view| view.has_handle(from, handle))
    }

    /// Takes in raw content under a handle that [`Streams::has_handle`] knows.
    pub(super) fn take_raw(
        &mut self,
        shared: &mut Shared,
        now: Time,
        from: SocketAddr,
        run: &RawRun<'_>,
        store: &mut dyn Store,
    ) {
        shared.contacts.on_raw_content(now, from);
        let Some(view) = self.views.values_mut().find(|view| view.has_handle(from, run.handle)) else {
            return;
        };
        let came = view.take_raw(shared, now, from, run, store);
        if let Some(holding) = self.holdings.get_mut(&view.id).filter(|_| view.passes_on()) {
            holding.set_viewed(view.parent(), view.waits());
            came.iter().for_each(|block| holding.on_block(now, block));
            if !came.is_empty() {
                holding.send_all(&mut Push { now, shared, store, gate: &mut self.gate });
            }
        }
        let holding = self.holdings.get(&view.id).filter(|_| view.passes_on());
        view.report_due(shared, now, &|| room_of(holding, now));
    }

    /// Does what is due for views.
    fn work(&mut self, shared: &mut Shared, now: Time) {
        let Streams { holdings, views, handles_made, .. } = self;
        let mut mint = |shared: &mut Shared| {
            *handles_made += 1;
            mint_handle(&shared.config.secret, FIRST_HANDLE + *handles_made)
        };
        for view in views.values_mut().filter(|view| view.next_at() <= now) {
            let holding = holdings.get(&view.id);
            let passes_on = view.passes_on();
            let own = || room_of(holding.filter(|_| passes_on), now);
            let serves = |address| holding.is_some_and(|holding| holding.serves(address));
            view.handle_timeout(shared, now, &own, serves, &mut mint);
            if let Some(holding) = holdings.get_mut(&view.id).filter(|holding| holding.origin != Origin::Here)
            {
                holding.set_viewed(view.parent(), view.waits());
            }
        }
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, shared: &mut Shared, now: Time, store: &mut dyn Store) {
        self.work(shared, now);
        let open_at = self.gate.open_at();
        for holding in self.holdings.values_mut().filter(|holding| holding.next_at(now, open_at) <= now) {
            holding.handle_timeout(&mut Push { now, shared, store, gate: &mut self.gate });
        }
    }

    /// When something is due.
    pub(super) fn next_at(&self, now: Time) -> Time {
        let open_at = self.gate.open_at();
        let holdings = self.holdings.values().map(|holding| holding.next_at(now, open_at)).min();
        let views = self.views.values().map(View::next_at).min();
        holdings.into_iter().chain(views).min().unwrap_or(Time::NEVER)
    }

    pub(super) fn sizes(&self) -> StreamSizes {
        let mut sizes = StreamSizes::default();
        for holding in self.holdings.values() {
            sizes.subscribers = sizes.subscribers.max(holding.len());
            sizes.plain = sizes.plain.max(holding.plain());
        }
        for view in self.views.values() {
            let [sources, candidates, records, short] = view.sizes();
            sizes.sources = sizes.sources.max(sources);
            sizes.candidates = sizes.candidates.max(candidates);
            sizes.records = sizes.records.max(records);
            sizes.short = sizes.short.max(short);
        }
        sizes
    }
}

/// Who may come to us for what is viewed, or to those below us.
fn room_of(holding: Option<&Holding>, now: Time) -> Room {
    holding.map_or_else(Room::default, |it| Room { spare: it.spare(now), places: it.places(now) })
}

/// Says that nothing of a stream is here.
fn tell_nothing(shared: &mut Shared, now: Time, to: SocketAddr, request: &StreamRequest) {
    if request.stops {
        return;
    }
    let id = request.id.clone();
    let told =
        StreamHolding { id, from: 0, until: 0, depth: None, full: true, waits: false, peers: Vec::new() };
    let mut encoder = Encoder::new();
    shared.write_cookies_beside_answer(now, to, &mut encoder);
    encoder.have_of_stream(&told);
    shared.send(to, encoder.finish(0));
}
