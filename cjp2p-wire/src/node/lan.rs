//! Asking everybody on the link at once, without knowing anybody there; and answering those who ask so.
//!
//! A question to everybody cannot have a cookie in it that proves an address. It has one that shows that an answer is to
//! this question: who did not hear it cannot answer it. Who answers is only told of; he is asked again by himself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use super::ask::MAX_PROBE;
use super::budget::{self, MAX_COOKIES};
use super::inbound::Inbound;
use super::query::cookie_text;
use super::{Event, Node, Query};
use crate::datagram::{self, Encoder};
use crate::message::{ContentRequest, Message};
use crate::peers::cookie::Validation;
use crate::peers::links::Links;
use crate::store::{JobId, Store};
use crate::time::Time;

/// For whom the cookie of such a question is made: for nobody in particular.
const EVERYBODY: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
/// The same where such a question is put to each host by itself.
const EACH: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 1));
/// When a question is asked again, after the first time and after the second.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(9)];
/// And from then on.
const RARELY: Duration = Duration::from_secs(60);
/// A fetch that somebody serves is looked at again after this time: they may have gone.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// The pause between two questions, however much is wanted.
const BETWEEN: Duration = Duration::from_millis(250);
/// Who is there at all is asked so often.
const PEERS_ASKED: usize = 2;
/// Ids that are asked for in one question.
const MAX_IDS: usize = 8;
/// So few bytes of content show who has it. A node without cookies sends anybody as much as is asked for, and many may.
const TASTE: u64 = 30;
/// So long after a question to everybody neighbours are asked one by one, if an answer to such a question was never heard: a
/// firewall that lets in only answers does not know that these are some.
/// Shorter than [`BETWEEN`], so that each question can be asked again.
const ASK_EACH_AFTER: Duration = Duration::from_millis(200);
/// Neighbours told of after one question: whoever invents addresses on the link shall not keep us busy.
pub const MAX_NEIGHBOURS: usize = 64;
/// Who calls out for peers and was greeted is not greeted again for this time, whether he has answered or not.
const GREET_AGAIN: Duration = Duration::from_secs(900);
/// The pause between two greetings.
const BETWEEN_GREETINGS: Duration = Duration::from_millis(125);
/// So many are greeted in [`GREET_AGAIN`].
pub(crate) const MAX_GREETED: usize = 256;

/// What is asked for on the link, and when.
#[derive(Debug, Default)]
pub(super) struct Lan {
    /// `None` where nobody is to be asked or answered on the link.
    links: Option<Links>,
    /// By fetch; `None` is who is there at all.
    turns: BTreeMap<Option<JobId>, Turn>,
    /// Nothing is asked before.
    open_at: Time,
    /// Who answered the last question.
    // Invariant: at most `MAX_NEIGHBOURS`.
    heard: BTreeSet<SocketAddr>,
    /// Another host on the link was heard to answer a question that nobody had put to it alone.
    answered: bool,
    /// Another host on the link was heard to answer.
    has_neighbours: bool,
    /// The last question, and when it is put to each neighbour.
    ask_each: Option<(Time, Vec<u8>)>,
    /// Who was greeted, and when.
    // Invariant: at most `MAX_GREETED`.
    greeted: BTreeMap<SocketAddr, Time>,
    /// Nobody is greeted before.
    greet_at: Time,
}

#[derive(Debug)]
struct Turn {
    next_at: Time,
    asked: usize,
}

impl Lan {
    pub(super) fn next_at(&self) -> Time {
        if self.links.is_none() {
            return Time::NEVER;
        }
        let next = self.turns.values().map(|turn| turn.next_at).min();
        let next = next.map_or(Time::NEVER, |at| at.max(self.open_at));
        self.ask_each.as_ref().map_or(next, |(at, _)| next.min(*at))
    }

    /// How many answered the last question, and how many were greeted lately.
    pub(super) fn lengths(&self) -> (usize, usize) {
        (self.heard.len(), self.greeted.len())
    }

    /// Whether we listen at this address ourselves, as far as that is known.
    pub(super) fn is_own(&self, address: SocketAddr) -> bool {
        self.links.as_ref().is_some_and(|links| links.is_own(address))
    }

    /// Nothing more is asked for this fetch.
    pub(super) fn forget(&mut self, job: JobId) {
        self.turns.remove(&Some(job));
    }

    /// Whether this address was asked of our own accord, because it called: nobody waits to hear of it, least of all a file.
    pub(super) fn has_greeted(&self, address: SocketAddr) -> bool {
        self.greeted.contains_key(&address)
    }

    fn is_on_link(&self, address: SocketAddr) -> bool {
        self.links.as_ref().is_some_and(|links| links.is_on_link(address))
    }
}

impl Node {
    /// Says which networks are attached, at first and when that changed, or when a question may get further than the last one.
    /// From then on questions are asked there, by [`Event::AskLan`], and those of others answered.
    pub fn attach(&mut self, now: Time, links: Links) {
        self.enter(now);
        self.lan.links = Some(links);
        for turn in self.lan.turns.values_mut().filter(|turn| turn.asked > 0) {
            *turn = Turn { next_at: now, asked: 0 };
        }
    }

    /// Looks on the link for who has what `job` fetches, whenever nobody serves it, for the first time after `delay`. Whoever
    /// answers is an [`Event::Neighbour`], and may be added as a source.
    pub fn look_on_lan(&mut self, now: Time, job: JobId, delay: Duration) {
        self.enter(now);
        self.lan.turns.entry(Some(job)).or_insert(Turn { next_at: now + delay, asked: 0 });
    }

    /// Looks for who is on the link at all. Whoever answers is an [`Event::Neighbour`].
    pub fn look_for_neighbours(&mut self, now: Time) {
        self.enter(now);
        self.lan.turns.insert(None, Turn { next_at: now, asked: 0 });
    }

    /// Whether neighbours that were looked for may still answer.
    pub fn looks_for_neighbours(&self) -> bool {
        self.lan.links.is_some() && self.lan.turns.contains_key(&None)
    }

    /// Whether the link has yet to be asked for what `job` fetches, or may answer yet.
    pub fn awaits_lan(&self, now: Time, job: JobId) -> bool {
        let turn = self.lan.turns.get(&Some(job)).filter(|_| self.lan.links.is_some());
        turn.is_some_and(|turn| turn.asked == 0 || (turn.asked == 1 && now < turn.next_at))
    }

    /// Whether another host on the link was heard to answer a question.
    pub fn has_heard_lan(&self) -> bool {
        self.lan.has_neighbours
    }

    /// Takes in a datagram that was sent to everybody on the link: a broadcast or a multicast. It is answered if it comes from
    /// the link itself. Whoever sent it from elsewhere has forged its address, or would have us all answer at once.
    pub fn handle_group_datagram(
        &mut self,
        now: Time,
        from: SocketAddr,
        bytes: &[u8],
        store: &mut dyn Store,
    ) {
        self.enter(now);
        self.counters.datagrams_in += 1;
        self.counters.bytes_in += bytes.len() as u64;
        if !self.lan.is_on_link(from) {
            log::debug!("{from}: a question to all that is not from here");
            return;
        }
        match datagram::decode(bytes) {
            Ok(messages) if self.is_own_lan_question(now, &messages) => {}
            Ok(messages) => {
                self.answer_on_lan(now, from, &messages, Inbound::of(&messages, bytes.len()), store);
                if matches!(messages[..], [Message::PleaseSendPeers]) {
                    self.greet(now, from);
                }
            }
            Err(error) => {
                self.counters.unreadable += 1;
                log::debug!("{from}: {error}");
            }
        }
    }

    /// Asks what is due.
    pub(super) fn ask_on_lan(&mut self, now: Time) {
        if now < self.lan.next_at() {
            return;
        }
        if let Some((_, question)) = self.lan.ask_each.take_if(|(at, _)| *at <= now)
            && !self.lan.answered
        {
            self.events.push_back(Event::AskNeighbours(question));
        }
        if now < self.lan.open_at {
            return;
        }
        let mut encoder = Encoder::new();
        let cookie = self.mint.mint(now, EVERYBODY);
        encoder.cookie("PleaseReturnThisMessage", &cookie);
        encoder.bare("PleaseSendPeers");
        let (mut ids, mut asks) = (0, false);
        let mut due: Vec<(Time, Option<JobId>)> =
            self.lan.turns.iter().map(|(&subject, turn)| (turn.next_at, subject)).collect();
        due.retain(|(at, _)| *at <= now);
        due.sort();
        for (_, subject) in due {
            let Some(turn) = self.lan.turns.get_mut(&subject) else { continue };
            if let Some(job) = subject {
                let Some(job) = self.fetches.get(&job).filter(|job| !job.fetch.is_over()) else {
                    self.lan.turns.remove(&subject);
                    continue;
                };
                if !job.fetch.lacks_sources() {
                    turn.next_at = now + LOOK_AGAIN;
                    continue;
                }
                let mark = encoder.mark();
                encoder.request(&ContentRequest::plain(&job.wire_id, 0, TASTE));
                ids += 1;
                if ids > 1 && (ids > MAX_IDS || encoder.len() > MAX_PROBE) {
                    encoder.rewind(mark);
                    break;
                }
            } else if turn.asked == PEERS_ASKED {
                self.lan.turns.remove(&subject);
                continue;
            }
            asks = true;
            turn.next_at = now + PAUSES.get(turn.asked).copied().unwrap_or(RARELY);
            turn.asked += 1;
            if subject.is_none() {
                // The last answers may take as long.
                turn.next_at = turn.next_at.min(now + PAUSES[0]);
            }
        }
        if asks {
            self.lan.open_at = now + BETWEEN;
            self.lan.heard.clear();
            let question = encoder.finish(MAX_PROBE);
            if !self.lan.answered {
                let text = String::from_utf8_lossy(&question);
                let to_each = text.replacen(&cookie, &self.mint.mint(now, EACH), 1);
                self.lan.ask_each = Some((now + ASK_EACH_AFTER, to_each.into_bytes()));
            }
            self.events.push_back(Event::AskLan(question));
        }
    }

    /// Makes us known to somebody who calls out for peers and says nothing else, as nodes do that look for others to keep. An
    /// answer of twice the few bytes that came cannot say what such a node needs to hear.
    fn greet(&mut self, now: Time, from: SocketAddr) {
        let contact = self.contacts.get(from);
        let knows_us = contact.is_some_and(|contact| contact.is_presentable(now) || contact.is_shunned());
        let lan = &mut self.lan;
        lan.greeted.retain(|_, at| now.since(*at) < GREET_AGAIN);
        let may = now >= lan.greet_at && lan.greeted.len() < MAX_GREETED && !lan.greeted.contains_key(&from);
        if self.config.answers && may && !knows_us {
            lan.greeted.insert(from, now);
            lan.greet_at = now + BETWEEN_GREETINGS;
            self.begin_query(now, from, Query::Peers, true);
        }
    }

    /// Whether a cookie is that of a question to everybody.
    fn is_from_lan_question(&self, now: Time, cookie: &str) -> bool {
        self.lan.links.is_some() && self.mint.check(now, EVERYBODY, cookie) != Validation::None
    }

    /// Takes note of who answered a question on the link, if that is whence this cookie comes.
    pub(super) fn take_lan_answer(&mut self, now: Time, from: SocketAddr, cookie: &str) {
        let is_to_everybody = self.is_from_lan_question(now, cookie);
        let is_known = self.asked.contains(&from);
        if !is_to_everybody && self.mint.check(now, EACH, cookie) == Validation::None {
            return;
        }
        let lan = &mut self.lan;
        let is_other = lan.links.as_ref().is_some_and(|links| links.is_on_link(from) && !links.is_here(from));
        lan.has_neighbours |= is_other;
        lan.answered |= is_other && is_to_everybody && !is_known;
        if lan.is_on_link(from) && lan.heard.len() < MAX_NEIGHBOURS && lan.heard.insert(from) {
            self.events.push_back(Event::Neighbour(from));
        }
    }

    /// Whether a datagram is a question of ours, which we hear like everybody else.
    fn is_own_lan_question(&mut self, now: Time, messages: &[Message<'_>]) -> bool {
        let wanted = messages.iter().filter_map(|message| match message {
            Message::PleaseReturnThisMessage(value) => Some(value),
            _ => None,
        });
        wanted.take(MAX_COOKIES).any(|value| {
            self.budget.count(budget::COOKIE);
            cookie_text(value.get()).is_some_and(|cookie| self.is_from_lan_question(now, &cookie))
        })
    }
}

#[cfg(test)]
mod tests;
