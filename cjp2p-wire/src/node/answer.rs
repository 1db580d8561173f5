//! Answering: what strangers ask for, within what they have proved.
//!
//! Answered in full is only a datagram with our permanent cookie in it. Any other gets at most
//! [`AMPLIFICATION`](super::AMPLIFICATION) times its bytes, a request to return our cookie included, and only if it asks
//! something: a node that seems to know `PleaseAlwaysReturnThisMessage` is sent that, and any other a
//! [challenge](super::challenge).

use std::net::SocketAddr;

use super::budget::{self, MAX_RETURNED, MAX_SAME};
use super::challenge::{carries_request, is_challenge};
use super::inbound::Inbound;
use super::lists::MAX_LIST;
use super::referrals::{MAX_PEERS_TOLD, cost_of_peers};
use super::schema::SUPPORTED_MESSAGES;
use super::serving::{MAX_ANSWER, MAX_BLOCKS};
use super::{AMPLIFICATION, Node, ORDINARY_DATAGRAM};
use crate::content_id::ContentId;
use crate::datagram::{Encoder, Padding, content_that_fits};
use crate::message::{ContentRequest, MAX_NUMBER, Message};
use crate::peers::cookie::Validation;
use crate::store::{Read, Store};
use crate::time::Time;

/// Content shorter than this is not worth sending to a source that has to ask again anyway.
const MIN_TASTE: usize = 30;

/// A datagram within a budget.
pub(super) struct Reply {
    encoder: Encoder,
    budget: usize,
    /// Whether anything but cookies is in it.
    says_something: bool,
    /// Whether content is in it.
    gives_content: bool,
}

impl Reply {
    fn new(budget: usize) -> Reply {
        Reply { encoder: Encoder::new(), budget, says_something: false, gives_content: false }
    }

    /// Writes what fits the budget; returns whether it did.
    fn add(&mut self, write: impl FnOnce(&mut Encoder)) -> bool {
        let mark = self.encoder.mark();
        write(&mut self.encoder);
        let fits = self.encoder.len() <= self.budget;
        if !fits {
            self.encoder.rewind(mark);
        }
        fits
    }

    /// How many bytes are left of the budget.
    pub(super) fn room(&self) -> usize {
        self.budget.saturating_sub(self.encoder.len())
    }

    /// The same for what is worth sending a datagram for.
    pub(super) fn say(&mut self, write: impl FnOnce(&mut Encoder)) -> bool {
        let fits = self.add(write);
        self.says_something |= fits;
        fits
    }
}

/// Whether a message is one of those that are answered together, in one datagram.
fn is_answered_briefly(message: &Message<'_>) -> bool {
    matches!(
        message,
        Message::PleaseReturnThisMessage(_)
            | Message::PleaseSendPeers
            | Message::PleaseListIdsOfTheSameContent(_)
            | Message::PleaseListSupportedMessages
    )
}

impl Node {
    /// Answers the requests in a datagram that asks something, or wants something returned.
    pub(super) fn answer(
        &mut self,
        now: Time,
        from: SocketAddr,
        messages: &[Message<'_>],
        inbound: Inbound,
        validation: Validation,
        store: &mut dyn Store,
    ) {
        // Our cookie counts in the datagram that it is in, and not for those that come after it: anybody may have sent them.
        if validation != Validation::None {
            self.answer_validated(now, from, messages, inbound, store);
        } else if self.unvalidated_limiter.may_be_answered(now, from, &self.config.secret) {
            // It wanted its cookie beside whatever we say to it. Without it a challenge that we answer seems to be answered by another
            // node, which has taken our place. Whoever does not challenge us may itself be another, and not know the message.
            let challenges = inbound.wants_returned && messages.iter().any(is_challenge);
            let wanted =
                self.contacts.get(from).filter(|_| challenges).and_then(|known| known.cookie.clone());
            self.answer_unvalidated(now, from, messages, inbound, wanted.as_deref(), store);
        }
    }

    /// Answers a datagram that was sent to everybody on the link: as that of a stranger, whoever sent it.
    pub(super) fn answer_on_lan(
        &mut self,
        now: Time,
        from: SocketAddr,
        messages: &[Message<'_>],
        inbound: Inbound,
        store: &mut dyn Store,
    ) {
        if (inbound.asks || inbound.wants_returned)
            && self.unvalidated_limiter.may_be_answered(now, from, &self.config.secret)
        {
            // It could not return to everybody what each of them wants returned, nor tell everybody what it wants itself.
            let wanted = self.contacts.get(from).and_then(|contact| contact.cookie.clone());
            self.answer_unvalidated(now, from, messages, inbound, wanted.as_deref(), store);
        }
    }

    fn answer_validated(
        &mut self,
        now: Time,
        from: SocketAddr,
        messages: &[Message<'_>],
        inbound: Inbound,
        store: &mut dyn Store,
    ) {
        if messages.iter().any(|message| matches!(message, Message::PleaseSendContent(_)))
            && let Some(contact) = self.contacts.get_mut(from)
        {
            contact.asks_for_peers = inbound.asks_for_peers;
        }
        for message in messages {
            if !self.budget.may_do(now, from, self.cost_of(from, message), &self.config.secret) {
                // What comes after it was asked for later.
                break;
            }
            match message {
                Message::PleaseSayWhichParts(request) => self.tell_parts(now, from, request, store),
                Message::PleaseSendContent(request) if self.serves_now(now, from, request) => {
                    self.queue_content(from, request);
                }
                Message::PleaseSendContent(request) => {
                    let part = request.offset..request.offset.saturating_add(request.length);
                    self.refer(now, from, &request.id, part, request.block.is_some(), false);
                }
                Message::PleaseListContent(after) if self.config.answers => {
                    self.want_list(from, after.as_deref());
                }
                _ => {}
            }
        }
        if !messages.iter().any(is_answered_briefly) {
            return;
        }
        let cost =
            cost_of_peers(MAX_PEERS_TOLD) + MAX_SAME as u64 * budget::READ + budget::bytes(ORDINARY_DATAGRAM);
        if !self.budget.may_begin(now, from, cost, &self.config.secret) {
            return;
        }
        let mut reply = Reply::new(ORDINARY_DATAGRAM);
        let asks = self.write_cookies_unsent(now, from, self.wants_cookie_from(from), &mut reply.encoder);
        self.name_the_same(messages, MAX_SAME, &mut reply, store);
        self.answer_small(now, from, messages, MAX_PEERS_TOLD, &mut reply);
        if reply.says_something {
            if asks {
                self.contacts.on_asked(from);
            }
            self.send_small(now, from, reply.encoder.finish(0));
        }
    }

    /// What it costs to take up this message of a source that returned our cookie, before anything is done for it.
    fn cost_of(&self, from: SocketAddr, message: &Message<'_>) -> u64 {
        match message {
            // Each that waits is looked at, and of each block it is seen whether it is here.
            Message::PleaseSendContent(request) => {
                let blocks = request.block.map_or(1, |block| request.length.div_ceil(block.max(1)));
                budget::REQUEST + self.turns.waiting_of(from) as u64 / 8 + blocks.min(MAX_BLOCKS)
            }
            Message::PleaseSayWhichParts(_) => budget::PARTS,
            Message::PleaseListContent(_) => 4 * MAX_LIST as u64,
            _ => 0,
        }
    }

    /// Whether this proved source should be asked to return our cookie: it knows of such, and has not the present one.
    pub(super) fn wants_cookie_from(&self, from: SocketAddr) -> bool {
        self.contacts.get(from).is_some_and(|contact| contact.cookie.is_some() && !contact.has_cookie)
    }

    /// Says by which BLAKE3 id content is known that was asked for by its SHA-256 id, if that is here.
    fn name_the_same(
        &mut self,
        messages: &[Message<'_>],
        most: usize,
        reply: &mut Reply,
        store: &mut dyn Store,
    ) {
        let asked = messages.iter().filter_map(|message| match message {
            Message::PleaseListIdsOfTheSameContent(id) if self.config.answers => Some(id),
            _ => None,
        });
        for id in asked.take(most).collect::<Vec<_>>() {
            self.budget.count(budget::READ);
            if let Ok(ContentId::Sha256(sha256)) = ContentId::parse(id)
                && let Some(blake3) = store.blake3_of(&sha256)
            {
                let blake3 = ContentId::Blake3(blake3).to_string();
                reply.say(|e| e.same_content([id, &blake3]));
            }
        }
    }

    /// Answers what needs no library: returned messages, peers, the schema.
    fn answer_small(
        &mut self,
        now: Time,
        from: SocketAddr,
        messages: &[Message<'_>],
        max_peers: usize,
        reply: &mut Reply,
    ) {
        let wanted_back = messages.iter().filter_map(|message| match message {
            // We ask with a cookie of ours beside each request, so this was caused by another.
            Message::PleaseReturnThisMessage(value) if !carries_request(value.get()) => Some(value.get()),
            _ => None,
        });
        for value in wanted_back.take(MAX_RETURNED) {
            self.budget.count(budget::bytes(value.len()));
            reply.say(|e| e.value("ReturnedMessage", value));
        }
        let asks = |wanted: fn(&Message<'_>) -> bool| messages.iter().any(wanted);
        if self.config.answers && asks(|message| matches!(message, Message::PleaseSendPeers)) {
            let peers = self.peers_for(now, from, max_peers);
            let mut told = peers.len();
            while told > 0 && !reply.say(|e| e.peers(&peers[..told])) {
                told /= 2;
            }
            // Nobody is no news to who is given what it asked for.
            if told == 0 && !reply.gives_content {
                reply.say(|e| e.peers(&[]));
            }
        }
        if asks(|message| matches!(message, Message::PleaseListSupportedMessages)) {
            self.budget.count(budget::bytes(SUPPORTED_MESSAGES.len()));
            reply.say(|e| e.value("SupportedMessages", SUPPORTED_MESSAGES));
        }
    }

    fn answer_unvalidated(
        &mut self,
        now: Time,
        from: SocketAddr,
        messages: &[Message<'_>],
        inbound: Inbound,
        wanted_back: Option<&str>,
        store: &mut dyn Store,
    ) {
        let budget = (inbound.length * AMPLIFICATION).min(ORDINARY_DATAGRAM);
        let mut reply = Reply::new(budget);
        let theirs = messages.iter().find_map(|message| match message {
            Message::PleaseAlwaysReturnThisMessage(value) => Some(value.get()),
            _ => None,
        });
        let knows_cookies = self.seems_to_know_cookies(now, from, messages, inbound);
        let inbound = Inbound { knows_cookies, ..inbound };
        if let Some(cookie) = theirs.or(wanted_back) {
            reply.add(|e| e.value("AlwaysReturned", cookie));
        }
        // Whatever else it asks for can be asked for again with our cookie.
        let request = messages.iter().find_map(|message| match message {
            Message::PleaseSendContent(request) if self.config.answers => Some(request),
            _ => None,
        });
        if inbound.asks && knows_cookies {
            let cookie = self.mint.mint(now, from);
            reply.say(|e| e.cookie("PleaseAlwaysReturnThisMessage", &cookie));
        }
        self.name_the_same(messages, 1, &mut reply, store);
        if let Some(request) = request {
            let whole = self.answer_content_within(now, from, request, inbound, &mut reply, store);
            if !whole && !knows_cookies {
                self.challenge(now, from, request, &mut reply);
            }
        }
        self.answer_small(now, from, messages, 1, &mut reply);
        if reply.says_something {
            debug_assert!(reply.encoder.len() <= budget);
            self.send(from, reply.encoder.finish(0));
        }
    }

    /// Answers a stranger's request as far as the budget goes. Returns whether nothing was held back.
    fn answer_content_within(
        &mut self,
        now: Time,
        from: SocketAddr,
        request: &ContentRequest<'_>,
        inbound: Inbound,
        reply: &mut Reply,
        store: &mut dyn Store,
    ) -> bool {
        let Ok(id) = ContentId::parse(&request.id) else {
            return true;
        };
        // Who knows of cookies asks for the rest with ours beside it. Who does not say so asks on when any content comes.
        let least = if inbound.speaks_of_cookies() { MIN_TASTE } else { 1 };
        let mut wanted = request.length.min(MAX_ANSWER as u64) as usize;
        if inbound.knows_cookies && self.upload_slots.is_contended(now, &id) {
            wanted = wanted.min(MIN_TASTE);
        }
        let fits = content_that_fits(reply.budget, &request.id, MAX_NUMBER, reply.encoder.len());
        let mut data = Vec::new();
        self.budget.count(budget::READ + budget::bytes(wanted.min(fits)));
        match store.glance(&id, request.offset, wanted.min(fits), &mut data) {
            Read::Found { eof } => {
                let rest =
                    eof.map_or(wanted, |eof| eof.saturating_sub(request.offset).min(wanted as u64) as usize);
                let whole = data.len() >= rest;
                if whole || (inbound.knows_cookies && data.len() >= least) {
                    let padding = if inbound.speaks_of_cookies() { Padding::Padded } else { Padding::Bare };
                    let fitted = reply.say(|e| e.content(&request.id, request.offset, &data, eof, padding));
                    if fitted {
                        reply.gives_content = true;
                        self.counters.requests_served += 1;
                        self.counters.content_out += data.len() as u64;
                    }
                    return whole && fitted;
                }
                false
            }
            Read::Absent => {
                let at_random = if inbound.asks_for_peers { 0 } else { 1 };
                let peers = self.referred_for(now, from, &id, 1, at_random);
                if store.is_withdrawn(&id) && reply.say(|e| e.withdrawal(&request.id, &peers)) {
                    return true;
                }
                if !reply.say(|e| e.referral(&request.id, &peers)) {
                    reply.say(|e| e.referral(&request.id, &[]));
                }
                true
            }
            Read::Later => false,
        }
    }
}
