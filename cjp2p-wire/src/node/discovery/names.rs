//! Asking peers what names stand for: once, or as long as somebody wants to know what is new.
//!
//! Which peers are asked is for the owner of the node to say; the newest of what they answer counts. Each answer is verified, which
//! costs its sender some of what it may cause, and reported. To one that is to be watched the question goes again each minute: a
//! peer that knows nothing newer keeps it, and answers when it does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::datagram::Encoder;
use crate::message::{LatestRequest, MAX_WAIT, Message};
use crate::node::budget::{self, MAX_LATEST};
use crate::node::event::Event;
use crate::node::inbound::Inbound;
use crate::node::lengths::ORDINARY_DATAGRAM;
use crate::node::shared::Shared;
use crate::signed::{Claim, PointerId, SignedMessage, SignedPointer};
use crate::time::Time;

/// When a question is asked again, and at last given up.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
    Duration::from_millis(2000),
];
/// The same for an address that only another peer named, and that may want nothing of us.
const SPARING_PAUSES: [Duration; 2] = [Duration::from_millis(1000), Duration::from_millis(2000)];
/// A question is padded to this size: twice that is room for an answer and what goes with it.
const PAD: usize = 600;
/// The same for an address that only another peer named, until it is validated.
const SPARING_PAD: usize = 256;
/// One that is watched is asked again after this time, a tenth more or less: not all that watch a name ask at once.
const WATCH_EVERY: Duration = Duration::from_secs(60);
const WATCH_JITTER: Duration = Duration::from_secs(6);

/// Peers that may be asked at a time.
pub(crate) const MAX_NAME_QUERIES: usize = 512;
/// Names of which the newest pointer is remembered here.
const MAX_NAMES: usize = 64;

#[derive(Debug)]
struct OpenQuery {
    /// The names that have no answer yet, or are watched. Never more than `MAX_LATEST`.
    wanted: Vec<PointerId>,
    /// So many of them, the first, have no answer yet: the others are asked for again only because they are watched.
    unanswered: usize,
    sent_at: Time,
    next_at: Time,
    tries: usize,
    /// Somebody waits for the answer. Not so between two questions to one that is watched.
    is_awaited: bool,
    sparing: bool,
    watches: bool,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct NameQueries {
    // Invariant: at most `MAX_NAME_QUERIES`.
    open: BTreeMap<SocketAddr, OpenQuery>,
    /// The newest that was verified of each name. Invariant: at most `MAX_NAMES`.
    newest: BTreeMap<PointerId, SignedPointer>,
}

impl NameQueries {
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.open.contains_key(&address)
    }

    /// How many peers are asked.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// How many questions may still be answered soon.
    pub(crate) fn awaited(&self) -> usize {
        self.open.values().filter(|query| query.is_awaited).count()
    }

    /// Whether the question to this peer may still be answered soon.
    pub(crate) fn awaits(&self, address: SocketAddr) -> bool {
        self.open.get(&address).is_some_and(|query| query.is_awaited)
    }

    pub(super) fn next_at(&self) -> Time {
        self.open.values().map(|query| query.next_at).min().unwrap_or(Time::NEVER)
    }

    /// This much is known already. Peers that are watched are asked for what is newer.
    pub(crate) fn know(&mut self, pointer: SignedPointer) {
        let id = &pointer.pointer().id;
        let is_news = match self.newest.get(id) {
            Some(known) => pointer.is_newer_than(known),
            None => self.newest.len() < MAX_NAMES,
        };
        if is_news {
            self.newest.insert(id.clone(), pointer);
        }
    }

    /// Drops the question to a peer; returns whether there was one.
    pub(super) fn give_up(&mut self, address: SocketAddr) -> bool {
        self.open.remove(&address).is_some()
    }

    /// The peer gave us its cookie: with it, the question will be answered in full.
    pub(super) fn ask_again(&mut self, now: Time, address: SocketAddr) {
        if let Some(query) = self.open.get_mut(&address).filter(|query| query.is_awaited) {
            query.next_at = now;
        }
    }

    /// Asks a peer what some names stand for, the first few of them. `suggested`: nobody vouches for the address. `watches`: it is
    /// asked on and on for what is newer.
    pub(crate) fn begin(
        &mut self,
        shared: &mut Shared,
        now: Time,
        address: SocketAddr,
        ids: &[PointerId],
        suggested: bool,
        watches: bool,
    ) {
        if !self.open.contains_key(&address) && self.open.len() >= MAX_NAME_QUERIES {
            return shared.outbox.report(Event::Unanswered(address));
        }
        // Answers are taken only from contacts.
        let is_validated = shared.contacts.entry(now, address).is_validated();
        let query = self.open.entry(address).or_insert(OpenQuery {
            wanted: Vec::new(),
            unanswered: 0,
            sent_at: now,
            next_at: now,
            tries: 0,
            is_awaited: true,
            sparing: suggested && !is_validated,
            watches,
        });
        for id in ids {
            if query.wanted.len() < MAX_LATEST && !query.wanted.contains(id) {
                query.wanted.insert(query.unanswered, id.clone());
                query.unanswered += 1;
                (query.next_at, query.tries, query.is_awaited) = (now, 0, true);
            }
        }
        query.watches |= watches;
        self.send_due(shared, now);
    }

    /// Sends the questions that are due.
    pub(super) fn send_due(&mut self, shared: &mut Shared, now: Time) {
        let due = self.open.iter().filter(|(_, query)| query.next_at <= now).map(|(&address, _)| address);
        for address in due.collect::<Vec<_>>() {
            self.send(shared, now, address);
        }
    }

    fn send(&mut self, shared: &mut Shared, now: Time, address: SocketAddr) {
        let Some(query) = self.open.get_mut(&address) else { return };
        let pauses: &[Duration] = if query.sparing { &SPARING_PAUSES } else { &PAUSES };
        let Some(&pause) = pauses.get(query.tries) else {
            if query.is_awaited {
                shared.outbox.report(Event::Unanswered(address));
            }
            match query.watches {
                true => rest(query, shared, now),
                false => drop(self.open.remove(&address)),
            }
            return;
        };
        query.tries += 1;
        query.sent_at = now;
        query.next_at = now + pause;
        // One that was forgotten meanwhile, since nothing came from it.
        let is_validated = shared.contacts.entry(now, address).is_validated();
        let spares = query.sparing && !is_validated;
        let most = if spares { SPARING_PAD } else { ORDINARY_DATAGRAM };
        let mut encoder = Encoder::new();
        shared.write_cookies(now, address, true, &mut encoder);
        for id in &query.wanted {
            let known = self.newest.get(id).map_or(0, |known| known.pointer().seq);
            let after = query.watches.then_some(known);
            let wait = after.map(|_| MAX_WAIT.min(2 * WATCH_EVERY.as_secs()));
            let mark = encoder.mark();
            encoder.get_latest(&LatestRequest { id: id.clone(), after, wait });
            if encoder.len() > most {
                encoder.rewind(mark);
                break;
            }
        }
        if encoder.is_empty() || !is_validated && encoder.len() + PROOF <= most {
            // The oldest nodes can show themselves in no other way.
            encoder.cookie("PleaseReturnThisMessage", &shared.mint.mint(now, address));
        }
        let pad = if spares { SPARING_PAD } else { PAD };
        if !spares || shared.probes.may_send(now, address) {
            shared.send(address, encoder.finish(pad));
        }
    }

    /// Takes in what answers a question.
    pub(super) fn take(&mut self, shared: &mut Shared, now: Time, inbound: &Inbound<'_>) {
        let Inbound { from, messages, .. } = *inbound;
        if !self.has(from) {
            return;
        }
        let mut left = MAX_LATEST;
        for message in messages {
            match message {
                Message::SignedMessage(signed) if left > 0 => {
                    left -= 1;
                    self.take_signed(shared, now, from, signed);
                }
                Message::IKnowNothingNewer(nothing) => self.take_answer(shared, now, from, &nothing.id),
                _ => {}
            }
        }
        self.send_due(shared, now);
    }

    fn take_signed(&mut self, shared: &mut Shared, now: Time, from: SocketAddr, signed: &SignedMessage<'_>) {
        let Some(query) = self.open.get(&from) else { return };
        shared.budget.count(budget::bytes(signed.payload.len()));
        let Some(claim) = Claim::read(signed) else { return };
        let id = claim.pointer.id.clone();
        if !query.wanted.contains(&id) {
            return;
        }
        // What was not asked for lately is told because it is new.
        let (round_trip, is_answer) = (now.since(query.sent_at), query.is_awaited);
        let pointer = match self.newest.get(&id) {
            Some(known) if claim.is_same_as(known) => known.clone(),
            // Charged before it is done, and to whoever sent it.
            _ if !shared.budget.may_do(now, from, budget::VERIFY) => return,
            _ => match claim.verify() {
                Some(pointer) => pointer,
                None => return log::debug!("{from}: a wrong signature of {id}"),
            },
        };
        let is_news = self.newest.get(&id).is_none_or(|known| pointer.is_newer_than(known));
        self.know(pointer.clone());
        if is_answer {
            shared.contacts.on_round_trip(from, round_trip);
        }
        shared.outbox.report(Event::Latest { from, round_trip, pointer: Box::new(pointer) });
        self.take_answer(shared, now, from, &id);
        if let Some(query) = self.open.get_mut(&from).filter(|query| query.watches && is_news) {
            // It is asked for what comes after that, and so hears that this was heard.
            (query.next_at, query.tries) = (now, 0);
        }
    }

    /// A name was answered for. A question of which all are is over, or rests if it is watched.
    fn take_answer(&mut self, shared: &mut Shared, now: Time, from: SocketAddr, id: &PointerId) {
        let Some(query) = self.open.get_mut(&from) else { return };
        let Some(at) = query.wanted.iter().position(|wanted| wanted == id) else { return };
        query.unanswered -= usize::from(at < query.unanswered);
        if query.watches {
            // What has no answer yet stays in front: there may not be room for the answers to all.
            query.wanted[at..].rotate_left(1);
            if query.unanswered == 0 {
                rest(query, shared, now);
            }
            return;
        }
        query.wanted.swap_remove(at);
        if query.wanted.is_empty() {
            self.open.remove(&from);
        }
    }
}

/// Bytes of the message that asks for the return of a cookie once.
const PROOF: usize = 70;

/// One that is watched is not asked again for a while.
fn rest(query: &mut OpenQuery, shared: &mut Shared, now: Time) {
    query.is_awaited = false;
    query.tries = 0;
    query.unanswered = 0;
    let jitter = shared.random.u64(0..=2 * WATCH_JITTER.as_millis() as u64);
    query.next_at = now + (WATCH_EVERY - WATCH_JITTER) + Duration::from_millis(jitter);
}

#[cfg(test)]
mod tests;
