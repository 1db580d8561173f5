//! Answering what others ask, within what they have shown of themselves.
//!
//! Answered in full is only a datagram with our permanent cookie in it. Any other gets at most
//! [`AMPLIFICATION`](crate::node::AMPLIFICATION) times its bytes, a request to return our cookie included, and only if it asks
//! something: a node that seems to know `PleaseAlwaysReturnThisMessage` is sent that, and any other a
//! [challenge](super::challenge).

use std::net::SocketAddr;

use super::challenge::{carries_request, is_challenge};
use super::limits::{MAX_LIST, MAX_PEERS_TOLD};
use super::names::{names_wanted, tell_first_name};
use super::referrals::{cost_of_peers, peers_for};
use super::reply::Reply;
use super::schema::SUPPORTED_MESSAGES;
use super::{Context, Server};
use crate::content_id::ContentId;
use crate::datagram::{Padding, content_that_fits};
use crate::message::{BlocksOffer, ContentRequest, MAX_NUMBER, Message};
use crate::node::budget::{self, MAX_LATEST, MAX_RETURNED, MAX_SAME};
use crate::node::inbound::Inbound;
use crate::node::lengths::{AMPLIFICATION, MAX_ANSWER, MAX_BLOCKS, ORDINARY_DATAGRAM};
use crate::store::{Asker, Read};
use crate::stream::StreamId;

/// Content shorter than this is not worth sending to a source that has to ask again anyway.
const MIN_TASTE: usize = 30;

/// Whether a message is one of those that are answered together, in one datagram.
fn is_answered_briefly(message: &Message<'_>) -> bool {
    matches!(
        message,
        Message::PleaseReturnThisMessage(_)
            | Message::PleaseSendPeers
            | Message::PleaseListIdsOfTheSameContent(_)
            | Message::GetLatest(_)
            | Message::PleaseListSupportedMessages
    )
}

impl Server {
    /// Answers the requests in a datagram. Returns which contents the source asked about that we download: it may have some too.
    pub(super) fn answer(&mut self, cx: &mut Context<'_>, inbound: &Inbound<'_>) -> Vec<ContentId> {
        // Our cookie counts in the datagram that it is in, and not for those that come after it: anybody may have sent them.
        if inbound.is_validated() {
            return self.answer_validated(cx, inbound);
        }
        if cx.shared.budget.may_answer_unvalidated(cx.now, inbound.from) {
            // It wanted its cookie beside whatever we say to it. Without it a challenge that we answer seems to be answered by another
            // node, which has taken our place. A source that does not challenge us may itself be another, and not know the message.
            let challenges = inbound.kinds.wants_returned && inbound.messages.iter().any(is_challenge);
            let contact = cx.shared.contacts.get(inbound.from).filter(|_| challenges);
            let wanted = contact.and_then(|known| known.cookies.theirs.clone());
            self.answer_unvalidated(cx, inbound, wanted.as_deref());
        }
        Vec::new()
    }

    /// Answers a datagram that was sent to everybody on the link, as if its source was unvalidated.
    pub(crate) fn answer_on_lan(&mut self, cx: &mut Context<'_>, inbound: &Inbound<'_>) {
        if inbound.wants_answer() && cx.shared.budget.may_answer_unvalidated(cx.now, inbound.from) {
            // It could not return to everybody what each of them wants returned, nor tell everybody what it wants itself.
            let wanted =
                cx.shared.contacts.get(inbound.from).and_then(|contact| contact.cookies.theirs.clone());
            self.answer_unvalidated(cx, inbound, wanted.as_deref());
        }
    }

    fn answer_validated(&mut self, cx: &mut Context<'_>, inbound: &Inbound<'_>) -> Vec<ContentId> {
        let Inbound { from, messages, .. } = *inbound;
        let mut leeches = Vec::new();
        let mut wants_wait = messages.iter().find_map(|message| match message {
            Message::PleaseSayHowLongThisWaited(number) => Some((*number, cx.now - inbound.waited)),
            _ => None,
        });
        if messages.iter().any(|message| matches!(message, Message::PleaseSendContent(_)))
            && let Some(contact) = cx.shared.contacts.get_mut(from)
        {
            contact.asks_for_peers = inbound.kinds.asks_for_peers;
        }
        for message in messages {
            if !cx.shared.budget.may_do(cx.now, from, self.cost_of(from, message)) {
                // What comes after it was asked for later.
                break;
            }
            match message {
                Message::PleaseSayWhichParts(request) => leeches.extend(self.tell_parts(cx, from, request)),
                // That is for the streams to answer.
                Message::PleaseSendContent(request) if StreamId::is_meant(&request.id) => {}
                Message::PleaseSendContent(request) if self.serves_now(cx, from, request) => {
                    // Once for all requests of the datagram.
                    self.queue_content(cx.shared, from, request, wants_wait.take());
                }
                Message::PleaseSendContent(request) => {
                    let part = request.offset..request.offset.saturating_add(request.length);
                    self.refer(cx, from, &request.id, part, request.block.is_some(), false);
                }
                Message::PleaseListContent(after) if cx.shared.config.answers => {
                    self.want_list(from, after.as_deref());
                }
                _ => {}
            }
        }
        if !messages.iter().any(is_answered_briefly) {
            return leeches;
        }
        let names = names_wanted(messages, MAX_LATEST).count() as u64;
        let cost = cost_of_peers(MAX_PEERS_TOLD)
            + MAX_SAME as u64 * budget::READ
            + names * budget::LATEST
            + budget::bytes(ORDINARY_DATAGRAM);
        if !cx.shared.budget.may_begin(cx.now, from, cost) {
            return leeches;
        }
        let mut reply = Reply::new(ORDINARY_DATAGRAM);
        let wants_cookie = cx.shared.contacts.wants_cookie_from(from);
        let asks = cx.shared.write_cookies_unsent(cx.now, from, wants_cookie, &mut reply.encoder);
        name_the_same(cx, messages, MAX_SAME, &mut reply);
        self.tell_names(cx, from, messages, &mut reply);
        answer_small(cx, inbound, MAX_PEERS_TOLD, &mut reply);
        if reply.says_something {
            if asks {
                cx.shared.contacts.on_asked(from);
            }
            self.send_small(cx, from, reply.encoder.finish(0));
        }
        leeches
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

    fn answer_unvalidated(&mut self, cx: &mut Context<'_>, inbound: &Inbound<'_>, wanted_back: Option<&str>) {
        let Inbound { from, messages, .. } = *inbound;
        let mut reply = Reply::new((inbound.length * AMPLIFICATION).min(ORDINARY_DATAGRAM));
        let theirs = messages.iter().find_map(|message| match message {
            Message::PleaseAlwaysReturnThisMessage(value) => Some(value.get()),
            _ => None,
        });
        let knows_cookies = self.seems_to_know_cookies(cx, inbound);
        if let Some(cookie) = theirs.or(wanted_back) {
            reply.add(|e| e.value("AlwaysReturned", cookie));
        }
        // Whatever else it asks for can be asked for again with our cookie.
        let request = messages.iter().find_map(|message| match message {
            Message::PleaseSendContent(request) if cx.shared.config.answers => Some(request),
            _ => None,
        });
        let is_ours = messages.iter().any(|message| matches!(message, Message::PleaseKeepSendingStream(_)));
        // A viewer of another program does not ask again when it is asked for our cookie: the request must come back with that.
        let wants_stream =
            !is_ours && request.is_some_and(|request| StreamId::on_wire(&request.id).is_some());
        if inbound.kinds.asks && knows_cookies && !wants_stream {
            let cookie = cx.shared.mint.mint(cx.now, from);
            reply.say(|e| e.cookie("PleaseAlwaysReturnThisMessage", &cookie));
            if cx.shared.config.answers && request.is_some() && theirs.is_some() {
                // Its next requests can share datagrams then.
                let offer = BlocksOffer { most: MAX_BLOCKS, raw: cx.shared.config.raw };
                reply.add(|e| e.can_send_blocks(offer));
            }
        }
        name_the_same(cx, messages, 1, &mut reply);
        tell_first_name(cx, messages, &mut reply);
        if let Some(request) = request.filter(|_| wants_stream) {
            self.challenge(cx, from, request, &mut reply);
        } else if let Some(request) = request {
            let whole = self.answer_content_within(cx, request, inbound, knows_cookies, &mut reply);
            if !whole && !knows_cookies {
                self.challenge(cx, from, request, &mut reply);
            }
        }
        answer_small(cx, inbound, 1, &mut reply);
        if reply.says_something {
            debug_assert!(reply.encoder.len() <= reply.limit());
            cx.shared.send(from, reply.encoder.finish(0));
        }
    }

    /// Answers the request of an unvalidated source as far as its bytes go. Returns whether nothing was held back.
    fn answer_content_within(
        &mut self,
        cx: &mut Context<'_>,
        request: &ContentRequest<'_>,
        inbound: &Inbound<'_>,
        knows_cookies: bool,
        reply: &mut Reply,
    ) -> bool {
        let Ok(id) = ContentId::parse(&request.id) else {
            return true;
        };
        // A source that knows of cookies asks for the rest with ours beside it. One that does not say so asks on when any content comes.
        let least = if inbound.kinds.speaks_of_cookies() { MIN_TASTE } else { 1 };
        let mut wanted = request.length.min(MAX_ANSWER as u64) as usize;
        if knows_cookies && self.upload_slots.is_contended(cx.now, &id) {
            wanted = wanted.min(MIN_TASTE);
        }
        let fits = content_that_fits(reply.limit(), &request.id, MAX_NUMBER, reply.encoder.len());
        let mut data = Vec::new();
        cx.shared.budget.count(budget::READ + budget::bytes(wanted.min(fits)));
        match cx.store.read(Asker::Unvalidated, &id, request.offset, wanted.min(fits), &mut data) {
            Read::Found { eof } => {
                let rest =
                    eof.map_or(wanted, |eof| eof.saturating_sub(request.offset).min(wanted as u64) as usize);
                let whole = data.len() >= rest;
                if whole || (knows_cookies && data.len() >= least) {
                    let padding =
                        if inbound.kinds.speaks_of_cookies() { Padding::Padded } else { Padding::Bare };
                    let fitted = reply.say(|e| e.content(&request.id, request.offset, &data, eof, padding));
                    if fitted {
                        reply.gives_content = true;
                        cx.shared.outbox.on_served(data.len());
                    }
                    return whole && fitted;
                }
                false
            }
            Read::Absent => {
                let at_random = if inbound.kinds.asks_for_peers { 0 } else { 1 };
                let peers = self.referred_for(cx, inbound.from, &id, 1, at_random);
                if cx.store.is_withdrawn(&id) && reply.say(|e| e.withdrawal(&request.id, &peers)) {
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

/// Says by which BLAKE3 id content is known that was asked for by its SHA-256 id, if that is here.
fn name_the_same(cx: &mut Context<'_>, messages: &[Message<'_>], most: usize, reply: &mut Reply) {
    let asked = messages.iter().filter_map(|message| match message {
        Message::PleaseListIdsOfTheSameContent(id) if cx.shared.config.answers => Some(id),
        _ => None,
    });
    for id in asked.take(most).collect::<Vec<_>>() {
        cx.shared.budget.count(budget::READ);
        if let Ok(ContentId::Sha256(sha256)) = ContentId::parse(id)
            && let Some(blake3) = cx.store.blake3_of(&sha256)
        {
            let blake3 = ContentId::Blake3(blake3).to_string();
            reply.say(|e| e.same_content([id, &blake3]));
        }
    }
}

/// Answers what needs no library: returned messages, peers, the schema.
fn answer_small(cx: &mut Context<'_>, inbound: &Inbound<'_>, max_peers: usize, reply: &mut Reply) {
    let messages = inbound.messages;
    let wanted_back = messages.iter().filter_map(|message| match message {
        // We ask with a cookie of ours beside each request, so this was caused by another.
        Message::PleaseReturnThisMessage(value) if !carries_request(value.get()) => Some(value.get()),
        _ => None,
    });
    for value in wanted_back.take(MAX_RETURNED) {
        cx.shared.budget.count(budget::bytes(value.len()));
        reply.say(|e| e.value("ReturnedMessage", value));
    }
    let asks = |wanted: fn(&Message<'_>) -> bool| messages.iter().any(wanted);
    if cx.shared.config.answers && asks(|message| matches!(message, Message::PleaseSendPeers)) {
        let peers = peers_for(cx, inbound.from, max_peers);
        let mut told = peers.len();
        while told > 0 && !reply.say(|e| e.peers(&peers[..told])) {
            told /= 2;
        }
        // An empty list is no news to a source that is given what it asked for.
        if told == 0 && !reply.gives_content {
            reply.say(|e| e.peers(&[]));
        }
    }
    if asks(|message| matches!(message, Message::PleaseListSupportedMessages)) {
        cx.shared.budget.count(budget::bytes(SUPPORTED_MESSAGES.len()));
        reply.say(|e| e.value("SupportedMessages", SUPPORTED_MESSAGES));
    }
}
