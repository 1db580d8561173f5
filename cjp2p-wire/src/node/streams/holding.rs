//! One stream that is given: to whom, and what of it each is sent now.
//!
//! Those that ask are *served*, as many as seems wise: two, and more only where none of these has room to pass it on and the way out
//! takes it. All others are told who may have room; some of them *stand by*, and are told how far the stream goes.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::admission::{Admission, MAX_SUBSCRIBERS, is_there, passes_on};
use super::places::{self, Named, Place};
use super::plain::PlainViewers;
use super::pushing::Push;
use super::subscriber::{GONE, Subscriber};
use crate::datagram::Encoder;
use crate::message::{MAX_STREAM_PLACES, StreamHolding, StreamRequest};
use crate::node::shared::Shared;
use crate::peers::address::{host_of, referred};
use crate::store::{Asker, Store};
use crate::stream::{BLOCK_LEN, SignedBlock, SignedStatement, StreamId, record};
use crate::time::Time;

/// Of one [host](host_of).
const MAX_OF_HOST: usize = 16;
/// Those that stand by, of one stream.
const MAX_STANDING_BY: usize = 8;
/// One that is served is behind if what it lacks was here so long ago, a few round trips aside.
const BEHIND: Duration = Duration::from_millis(600);
/// What came within this time is new.
const NEW: Duration = Duration::from_millis(1500);
/// How often it is looked who is.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// One that is sent blocks and says nothing for so long is sent no more.
const CUT_OFF: Duration = Duration::from_secs(3);
/// How often one is told a new edge that stands by or that nothing came to for so long, and any other that is served what is here.
const TELL_EDGE: Duration = Duration::from_millis(300);
const TELL: Duration = Duration::from_secs(1);
/// No more often than that one is answered.
const ANSWER: Duration = Duration::from_millis(75);
/// Others that one is told of.
const MAX_NAMED: usize = 4;
/// The edge is remembered so often, and so long.
const EDGE_EVERY: Duration = Duration::from_millis(50);
const EDGES: usize = 200;
/// No more hops are told: a circle would go on for ever.
const MAX_DEPTH: u64 = 64;
/// Blocks kept at hand: the same is sent to several, in several datagrams.
const AT_HAND: usize = 4;

/// Where a stream comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It is here.
    Here,
    /// This peer, if any: it is viewed here and passed on. With how many hops it is away.
    Viewed(Option<(SocketAddr, Option<u64>)>),
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Holding {
    pub(super) id: StreamId,
    pub(super) origin: Origin,
    // Nothing comes here now, though something should.
    waits: bool,
    pub(super) statement: Option<SignedStatement>,
    // Where the newest record ends.
    edge: u64,
    // What the edge was, and when; the oldest first.
    edges: VecDeque<(Time, u64)>,
    // Invariant: at most `MAX_SUBSCRIBERS`.
    subscribers: BTreeMap<SocketAddr, Subscriber>,
    plain: PlainViewers,
    // The last that was sent some.
    turn: Option<SocketAddr>,
    at_hand: VecDeque<SignedBlock>,
    admission: Admission,
    named: Named,
    // When to look who is behind.
    look_at: Time,
}

impl Holding {
    pub(super) fn new(id: StreamId, origin: Origin) -> Holding {
        Holding {
            id,
            origin,
            waits: origin != Origin::Here,
            statement: None,
            edge: 0,
            edges: VecDeque::new(),
            subscribers: BTreeMap::new(),
            plain: PlainViewers::default(),
            turn: None,
            at_hand: VecDeque::new(),
            admission: Admission::new(origin == Origin::Here),
            named: Named::default(),
            look_at: Time::ZERO,
        }
    }

    /// It comes from here.
    pub(super) fn set_here(&mut self) {
        (self.origin, self.waits) = (Origin::Here, false);
        self.admission = Admission::new(true);
    }

    /// What is given is viewed here: from whom, and whether nothing comes now.
    pub(super) fn set_viewed(&mut self, parent: Option<(SocketAddr, Option<u64>)>, waits: bool) {
        (self.origin, self.waits) = (Origin::Viewed(parent), waits);
    }

    pub(super) fn len(&self) -> usize {
        self.subscribers.len()
    }

    /// How many viewers of other programs there are.
    pub(super) fn plain(&self) -> usize {
        self.plain.len()
    }

    /// How many of our own viewers are sent blocks.
    pub(super) fn served(&self) -> usize {
        self.subscribers.values().filter(|one| one.is_served).count()
    }

    /// Whether this one is sent blocks by us.
    pub(super) fn serves(&self, address: SocketAddr) -> bool {
        self.subscribers.get(&address).is_some_and(|one| one.is_served)
    }

    /// How many hops it is to the origin, where it is known.
    pub(super) fn depth(&self) -> Option<u64> {
        match self.origin {
            Origin::Here => Some(0),
            Origin::Viewed(from) => from?.1.map(|depth| (depth + 1).min(MAX_DEPTH)),
        }
    }

    /// How many more may be served.
    fn room(&self, now: Time) -> usize {
        self.admission.room(now, self.subscribers.values())
    }

    /// To how many others it could be sent from here. Who has lost its parent has nothing to send.
    pub(super) fn spare(&self, now: Time) -> u64 {
        if self.waits { 0 } else { self.room(now) as u64 }
    }

    /// Others below that could send it to one more: those nearest to the origin.
    pub(super) fn places(&self, now: Time) -> Vec<Place> {
        if self.waits { Vec::new() } else { places::nearest(self.places_below(now, None)) }
    }

    /// The free places below, but for those below this one.
    fn places_below(&self, now: Time, except: Option<SocketAddr>) -> Vec<Place> {
        let least = self.depth().map_or(1, |depth| depth + 1);
        let mut places = Vec::new();
        for (&address, one) in &self.subscribers {
            if Some(address) == except || !passes_on(now, one) {
                continue;
            }
            if one.spare > 0 {
                places.push(Place { depth: one.depth.unwrap_or(least).max(least), address });
            }
            places
                .extend(one.places.iter().map(|place| Place { depth: place.depth.max(least + 1), ..*place }));
        }
        places
    }

    /// The library has a block, or has it longer.
    pub(super) fn on_block(&mut self, now: Time, block: &SignedBlock) {
        let end = record::end_of(block);
        self.at_hand.retain(|other| other.index() != block.index());
        self.at_hand.push_back(block.clone());
        if self.at_hand.len() > AT_HAND {
            self.at_hand.pop_front();
        }
        self.edge = self.edge.max(end);
        if self.edges.back().is_none_or(|(at, _)| now.since(*at) >= EDGE_EVERY) {
            self.edges.push_back((now, self.edge));
            if self.edges.len() > EDGES {
                self.edges.pop_front();
            }
        }
        self.subscribers.values_mut().for_each(|one| one.on_block(block.index(), end));
    }

    /// Says what the origin says now. Returns whether that is news.
    pub(super) fn set_statement(&mut self, said: &SignedStatement) -> bool {
        let is_news = self.statement.as_ref().is_none_or(|known| said.is_newer_than(known));
        if is_news {
            self.statement = Some(said.clone());
        }
        is_news
    }

    /// Tells all what the origin says now.
    pub(super) fn tell_statement(&mut self, shared: &mut Shared, now: Time) {
        let Some(said) = &self.statement else { return };
        let json = said.to_json();
        for &address in self.subscribers.keys() {
            let mut encoder = Encoder::new();
            shared.write_cookies_beside_answer(now, address, &mut encoder);
            encoder.value("SignedMessage", &json);
            shared.send(address, encoder.finish(0));
        }
    }

    /// Takes in a request of a validated source.
    pub(super) fn take(
        &mut self,
        push: &mut Push<'_>,
        from: SocketAddr,
        request: &StreamRequest,
        waited: Duration,
    ) {
        let now = push.now;
        if request.stops {
            return self.remove(now, from);
        }
        let wants = request.from < request.until;
        let is_new = !self.subscribers.contains_key(&from);
        if is_new && !self.has_place(from, wants) {
            return self.tell(push, from, true);
        }
        if is_new {
            let local = from.ip().is_loopback();
            self.subscribers.insert(from, Subscriber::new(now, request.handle, local));
        }
        let is_parent = matches!(self.origin, Origin::Viewed(Some((parent, _))) if parent == from);
        let may_serve = !is_parent && self.room(now) > 0;
        let Some(one) = self.subscribers.get_mut(&from) else { return };
        one.take(now, request, waited);
        if let Some(places) = &request.places {
            let places = places.iter().take(MAX_STREAM_PLACES);
            let places = places
                .filter_map(|&(address, depth)| Some(Place { depth, address: referred(from, address)? }));
            one.places = places.collect();
        }
        let mut is_refused = false;
        match (wants, one.is_served) {
            (true, false) if may_serve => {
                one.is_served = true;
                one.served_since = now;
            }
            (true, false) => is_refused = true,
            (false, true) => one.stop_serving(),
            _ => {}
        }
        // Who asks to whom nothing came for a while wants to know whether we are there.
        let is_sent = one.is_served && request.got.is_some_and(|got| got.ago < ANSWER);
        let pause = if is_sent { TELL } else { ANSWER };
        if one.told.is_none_or(|(at, _)| now.since(at) >= pause) || is_refused {
            self.tell(push, from, is_refused);
        }
        self.send(push, from);
    }

    /// Whether one more may be remembered.
    fn has_place(&self, from: SocketAddr, wants: bool) -> bool {
        let host = host_of(from);
        let of_host = self.subscribers.keys().filter(|other| host_of(**other) == host).count();
        let local = from.ip().is_loopback();
        let standing_by = self.subscribers.len() - self.served();
        self.subscribers.len() < MAX_SUBSCRIBERS
            && (local || of_host < MAX_OF_HOST)
            && (standing_by < MAX_STANDING_BY || wants)
    }

    /// Tells one what is here, and who else may have it.
    fn tell(&mut self, push: &mut Push<'_>, to: SocketAddr, full: bool) {
        let now = push.now;
        let from = match push.store.stream_extent(&self.id) {
            Some(extent) => {
                self.edge = self.edge.max(record::position_of(extent.end));
                record::position_of(extent.start)
            }
            None => 0,
        };
        let full = full || !(self.serves(to) || self.room(now) > 0);
        // Who was refused, or says that it has no parent.
        let seeks =
            full && self.subscribers.get(&to).is_none_or(|one| one.depth.is_none() || one.from < one.until);
        let peers = self.others(push.shared, now, to, seeks);
        let told = StreamHolding {
            id: self.id.clone(),
            from: from.min(self.edge),
            until: self.edge,
            depth: self.depth(),
            full,
            waits: self.waits,
            peers,
        };
        let mut encoder = Encoder::new();
        push.shared.write_cookies_beside_answer(now, to, &mut encoder);
        // What its origin says comes with the first answer, and is told anew when that changes.
        let is_first = self.subscribers.get(&to).is_some_and(|one| one.told.is_none());
        if let Some(said) = self.statement.as_ref().filter(|_| is_first) {
            encoder.value("SignedMessage", &said.to_json());
        }
        encoder.have_of_stream(&told);
        push.shared.send(to, encoder.finish(0));
        if let Some(one) = self.subscribers.get_mut(&to) {
            one.told = Some((now, self.edge));
        }
    }

    /// Some that may have room for this one: those nearest to the origin that nobody was told of just now, and those of other hosts.
    fn others(&mut self, shared: &mut Shared, now: Time, to: SocketAddr, seeks: bool) -> Vec<SocketAddr> {
        // What is below it shall not be named to it.
        let mut places = self.places_below(now, Some(to));
        places.retain(|place| place.address != to && referred(place.address, to).is_some());
        let host = host_of(to);
        places.sort_by_cached_key(|place| {
            let depth = if seeks { place.depth } else { 0 };
            (self.named.at(now, place.address), host_of(place.address) == host, depth, shared.random.u32(..))
        });
        places.dedup_by_key(|place| place.address);
        places.truncate(MAX_NAMED);
        if seeks {
            places.iter().for_each(|place| self.named.note(now, place.address));
        }
        places.into_iter().map(|place| place.address).collect()
    }

    fn remove(&mut self, now: Time, address: SocketAddr) {
        let Some(one) = self.subscribers.remove(&address) else { return };
        if one.behind_since.is_some_and(|since| now.since(since) >= BEHIND) {
            self.admission.be_cautious(now, self.served());
        }
    }

    /// A viewer of another program, validated or let in once, asks for a block.
    pub(super) fn take_plain(&mut self, push: &mut Push<'_>, from: SocketAddr, index: u64) {
        self.plain.ask(push.now, from, index);
        self.send_plain(push);
    }

    /// Sends viewers of other programs what they wait for, as far as it is here.
    fn send_plain(&mut self, push: &mut Push<'_>) {
        for (to, first, count) in self.plain.waiting() {
            let next = first * BLOCK_LEN as u64;
            let said = self.statement.as_ref().map(SignedStatement::statement);
            let skipped = said.and_then(|said| said.next(next)).map_or(first, |next| next / BLOCK_LEN as u64);
            // Nothing will ever come where a part has ended; they show zeros there.
            let is_gap =
                skipped > first && find(&mut self.at_hand, push.store, &self.id, to, first).is_none();
            let first = if is_gap { skipped } else { first };
            if is_gap {
                self.plain.skip(to, first);
            }
            self.send_plain_blocks(push, to, first, count, 0);
        }
    }

    /// Sends up to `count` blocks in one datagram. One that is short is sent only where it is the last of all: others take what comes
    /// later for what comes after it.
    fn send_plain_blocks(&mut self, push: &mut Push<'_>, to: SocketAddr, first: u64, count: u64, tries: u32) {
        if !push.may_send() {
            return;
        }
        let said = self.statement.as_ref().map(SignedStatement::statement);
        let end = said.filter(|said| said.ended).map(|said| said.end);
        let mut encoder = Encoder::new();
        let mut sent = 0;
        while sent < count {
            let Some(block) = find(&mut self.at_hand, push.store, &self.id, to, first + sent) else { break };
            if !block.is_whole() && end != Some(block.end()) {
                break;
            }
            encoder.value("SignedMessage", &block.to_json(&self.id));
            sent += 1;
        }
        if sent > 0 {
            push.shared.write_cookies_beside_answer(push.now, to, &mut encoder);
            push.datagram(to, encoder.finish(0), sent as usize * BLOCK_LEN);
            self.plain.on_sent(push.now, to, first + sent, tries + 1);
        }
    }

    /// Sends all what they lack, as far as their paths take it, each in its turn.
    pub(super) fn send_all(&mut self, push: &mut Push<'_>) {
        let after = self.turn;
        let mut all: Vec<SocketAddr> = self.subscribers.keys().copied().collect();
        let first = all.partition_point(|address| Some(*address) <= after);
        all.rotate_left(first);
        for address in all {
            self.send(push, address);
        }
        self.send_plain(push);
    }

    fn send(&mut self, push: &mut Push<'_>, to: SocketAddr) {
        let mut left = push.quantum();
        let recent = self.edge_before(push.now - NEW);
        loop {
            let Some(one) = self.subscribers.get_mut(&to) else { return };
            if !one.is_served {
                return;
            }
            let Some(wanted) = one.wanted(self.edge) else { return };
            if left == 0 || !push.may_send() {
                return;
            }
            if !one.may_send(push.now) {
                return one.on_full();
            }
            // What is old waits while others lack what is new: it would queue before that.
            if wanted.start < recent && self.others_lack_after(recent, to) {
                return;
            }
            let Some(one) = self.subscribers.get_mut(&to) else { return };
            left -= 1;
            let index = record::index_at(wanted.start);
            let Some(block) = find(&mut self.at_hand, push.store, &self.id, to, index) else {
                one.on_absent(record::range_of(index));
                continue;
            };
            let end = record::end_of(&block);
            if wanted.start >= end || one.has_all_of(&block) {
                one.on_absent(wanted.start.max(record::start_of(index))..record::range_of(index).end);
                continue;
            }
            let piece = one.cut(wanted.start..wanted.end.min(end));
            let eof = (!block.is_whole()).then_some(end);
            push.piece(to, one.handle, &block, piece.clone(), eof);
            one.on_sent(push.now, piece, eof);
            self.turn = Some(to);
        }
    }

    /// Where the newest record ended at this time; 0 where that is forgotten.
    fn edge_before(&self, time: Time) -> u64 {
        self.edges.iter().rev().find(|(at, _)| *at <= time).map_or(0, |(_, edge)| *edge)
    }

    /// Whether another one that is served waits for some of what came after this.
    fn others_lack_after(&self, recent: u64, address: SocketAddr) -> bool {
        let lacks = |one: &Subscriber| one.wanted(self.edge).is_some_and(|wanted| wanted.start >= recent);
        self.subscribers.iter().any(|(other, one)| *other != address && one.is_served && lacks(one))
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, push: &mut Push<'_>) {
        let now = push.now;
        let gone = |one: &Subscriber| now.since(one.heard_at) >= GONE;
        let all: Vec<SocketAddr> = self.subscribers.keys().copied().collect();
        for address in all {
            let Some(one) = self.subscribers.get_mut(&address) else { continue };
            if gone(one) {
                self.remove(now, address);
                continue;
            }
            if one.is_served && now.since(one.heard_at.max(one.served_since)) >= CUT_OFF {
                one.stop_serving();
            }
            one.detect_losses(now);
            let is_news = !one.is_served
                && one.told.is_some_and(|(at, edge)| edge < self.edge && now.since(at) >= TELL_EDGE);
            if is_news {
                self.tell(push, address, false);
            }
        }
        if now >= self.look_at {
            self.look_at = now + LOOK_EVERY;
            self.admission.look(now, self.subscribers.values());
            self.give_up_slow(push);
        }
        for (to, first, count, tries) in self.plain.take_overdue(now) {
            self.send_plain_blocks(push, to, first, count, tries);
        }
        self.send_all(push);
    }

    /// Notes who is behind, and gives up the one that came last if any is for long: we cannot send to so many.
    fn give_up_slow(&mut self, push: &mut Push<'_>) {
        let now = push.now;
        let (edges, end) = (&self.edges, self.edge);
        for one in self.subscribers.values_mut().filter(|one| one.is_served) {
            let round_trip = one.round_trip().unwrap_or_default();
            let long_ago = now - (BEHIND + round_trip * 3);
            let then = edges.iter().rev().find(|(at, _)| *at <= long_ago).map_or(0, |(_, edge)| *edge);
            if one.from >= then {
                one.level_at = end;
                self.admission.on_level(now, one);
            }
            // One that never was level reads what is old.
            // Where all has left, it is not for us to mend.
            let lacks = one.wanted(end).is_some_and(|wanted| wanted.start < then);
            let is_behind = lacks && is_there(now, one) && one.level_at > 0 && one.until >= then;
            one.behind_since = if is_behind { one.behind_since.or(Some(now)) } else { None };
        }
        let served = self.served();
        let slow = |one: &Subscriber| self.admission.is_too_slow(now, one);
        let all = self.subscribers.iter().filter(|(_, one)| one.is_served);
        let last = all.max_by_key(|(_, one)| one.served_since).map(|(&address, _)| address);
        // Who cannot send to anybody relays nothing; but from an origin one takes what comes.
        let least = if self.origin == Origin::Here { 2 } else { 1 };
        let last = last.filter(|_| served >= least && self.subscribers.values().any(slow));
        if let Some(address) = last {
            if let Some(one) = self.subscribers.get_mut(&address) {
                one.stop_serving();
            }
            log::debug!("{now:?} depth {:?}: gives up {address}, which is behind", self.depth());
            self.admission.be_cautious(now, self.served());
            self.tell(push, address, true);
        }
    }

    /// When one is to be looked at. One that must wait for others is with them.
    fn due_at(&self, now: Time, address: SocketAddr, one: &Subscriber, open_at: Time) -> Time {
        let recent = self.edge_before(now - NEW);
        let waits = one.is_served && one.wanted(self.edge).is_some_and(|wanted| wanted.start < recent);
        if waits && self.others_lack_after(recent, address) {
            return one.check_at();
        }
        one.next_at(now, self.edge, open_at)
    }

    /// When something is due.
    pub(super) fn next_at(&self, now: Time, open_at: Time) -> Time {
        let of = |(&address, one): (&SocketAddr, &Subscriber)| {
            let tell = one.told.filter(|(_, edge)| !one.is_served && *edge < self.edge);
            self.due_at(now, address, one, open_at).min(tell.map_or(Time::NEVER, |(at, _)| at + TELL_EDGE))
        };
        let look = if self.served() > 0 { self.look_at } else { Time::NEVER };
        self.subscribers.iter().map(of).min().unwrap_or(Time::NEVER).min(look).min(self.plain.next_at())
    }
}

/// A block that is at hand, or else the library's.
fn find(
    at_hand: &mut VecDeque<SignedBlock>,
    store: &mut dyn Store,
    id: &StreamId,
    to: SocketAddr,
    index: u64,
) -> Option<SignedBlock> {
    if let Some(block) = at_hand.iter().rev().find(|block| block.index() == index) {
        return Some(block.clone());
    }
    let block = store.stream_block(Asker::Host(host_of(to)), id, index)?;
    at_hand.push_back(block.clone());
    if at_hand.len() > AT_HAND {
        at_hand.pop_front();
    }
    Some(block)
}
