//! Asking everybody on the link at once, without knowing anybody there; and greeting those that ask so.
//!
//! A question to everybody cannot have a cookie in it that validates an address. It has one that shows that an answer is to
//! this question: a host that did not hear it cannot answer it. A host that answers is only reported; it is asked again by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use crate::datagram::Encoder;
use crate::message::{ContentRequest, Message};
use crate::node::budget::{self, MAX_COOKIES};
use crate::node::client::Downloads;
use crate::node::event::Event;
use crate::node::inbound::{Inbound, cookie_text};
use crate::node::lengths::MAX_PROBE;
use crate::node::shared::Shared;
use crate::peers::cookie::Validation;
use crate::store::JobId;
use crate::time::Time;

/// The address that the cookie of such a question is made for: none in particular.
const EVERYBODY: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
/// The same where such a question is put to each host by itself.
const EACH: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 1));
/// When a question is asked again, after the first time and after the second.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(9)];
/// And from then on.
const RARELY: Duration = Duration::from_secs(60);
/// A download that has sources is looked at again after this time: they may have gone.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// The pause between two questions, however much is wanted.
const BETWEEN: Duration = Duration::from_millis(250);
/// Which hosts are there at all is asked this often.
const PEERS_ASKED: usize = 2;
/// Ids that are asked for in one question.
const MAX_IDS: usize = 8;
/// Few bytes of content show which hosts have it. A node without cookies sends anybody as much as is asked for, and many may.
const TASTE: u64 = 30;
/// This long after a question to everybody, neighbours are asked one by one, if an answer to such a question was never heard: a
/// firewall that lets in only answers does not know that these are some.
/// Shorter than [`BETWEEN`], so that each question can be asked again.
const ASK_EACH_AFTER: Duration = Duration::from_millis(200);
/// Neighbours reported after one question: a host that invents addresses on the link shall not keep us busy.
pub const MAX_NEIGHBOURS: usize = 64;
/// A host that calls out for peers and was greeted is not greeted again for this time, whether it has answered or not.
const GREET_AGAIN: Duration = Duration::from_secs(900);
/// The pause between two greetings.
const BETWEEN_GREETINGS: Duration = Duration::from_millis(125);
/// This many are greeted in [`GREET_AGAIN`], at most.
pub(crate) const MAX_GREETED: usize = 256;

/// What is asked for on the link, and when.
#[derive(Debug, Default)]
pub(crate) struct Lan {
    /// By download; `None` is which hosts are there at all.
    turns: BTreeMap<Option<JobId>, Turn>,
    /// Nothing is asked before.
    open_at: Time,
    /// The hosts that answered the last question.
    // Invariant: at most `MAX_NEIGHBOURS`.
    heard: BTreeSet<SocketAddr>,
    /// Another host on the link was heard to answer a question that was not put to it alone.
    answered: bool,
    /// Another host on the link was heard to answer.
    has_neighbours: bool,
    /// The last question, and when it is put to each neighbour.
    ask_each: Option<(Time, Vec<u8>)>,
    /// The hosts that were greeted, and when.
    // Invariant: at most `MAX_GREETED`.
    greeted: BTreeMap<SocketAddr, Time>,
    /// No host is greeted before.
    greet_at: Time,
}

#[derive(Debug)]
struct Turn {
    next_at: Time,
    asked: usize,
}

impl Lan {
    /// When something is due, where networks are attached.
    pub(super) fn next_at(&self) -> Time {
        let next = self.turns.values().map(|turn| turn.next_at).min();
        let next = next.map_or(Time::NEVER, |at| at.max(self.open_at));
        self.ask_each.as_ref().map_or(next, |(at, _)| next.min(*at))
    }

    /// How many answered the last question, and how many were greeted lately.
    pub(super) fn lengths(&self) -> (usize, usize) {
        (self.heard.len(), self.greeted.len())
    }

    /// Nothing more is asked for this download.
    pub(super) fn forget(&mut self, job: JobId) {
        self.turns.remove(&Some(job));
    }

    /// Whether this address was asked of our own accord, because it called: the owner does not wait to hear of it, and no file lists it.
    pub(super) fn has_greeted(&self, address: SocketAddr) -> bool {
        self.greeted.contains_key(&address)
    }

    /// Networks were attached or changed, or a question may get further than the last one: what is wanted is asked for again.
    pub(crate) fn on_attached(&mut self, now: Time) {
        for turn in self.turns.values_mut().filter(|turn| turn.asked > 0) {
            *turn = Turn { next_at: now, asked: 0 };
        }
    }

    /// Looks on the link for sources of what `job` downloads, whenever it lacks them, for the first time at this time.
    pub(crate) fn look(&mut self, job: JobId, at: Time) {
        self.turns.entry(Some(job)).or_insert(Turn { next_at: at, asked: 0 });
    }

    /// Looks for any hosts on the link.
    pub(crate) fn look_for_neighbours(&mut self, now: Time) {
        self.turns.insert(None, Turn { next_at: now, asked: 0 });
    }

    /// Whether neighbours that were looked for may still answer.
    pub(crate) fn looks_for_neighbours(&self, shared: &Shared) -> bool {
        shared.links.is_some() && self.turns.contains_key(&None)
    }

    /// Whether the link has yet to be asked for what `job` downloads, or may answer yet.
    pub(crate) fn awaits(&self, shared: &Shared, now: Time, job: JobId) -> bool {
        let turn = self.turns.get(&Some(job)).filter(|_| shared.links.is_some());
        turn.is_some_and(|turn| turn.asked == 0 || (turn.asked == 1 && now < turn.next_at))
    }

    /// Whether another host on the link was heard to answer a question.
    pub(crate) fn has_heard(&self) -> bool {
        self.has_neighbours
    }

    /// Asks what is due.
    pub(crate) fn ask(&mut self, shared: &mut Shared, downloads: &Downloads, now: Time) {
        if shared.links.is_none() || now < self.next_at() {
            return;
        }
        if let Some((_, question)) = self.ask_each.take_if(|(at, _)| *at <= now)
            && !self.answered
        {
            shared.outbox.report(Event::AskNeighbours(question));
        }
        if now < self.open_at {
            return;
        }
        let mut encoder = Encoder::new();
        let cookie = shared.mint.mint(now, EVERYBODY);
        encoder.cookie("PleaseReturnThisMessage", &cookie);
        encoder.bare("PleaseSendPeers");
        let (mut ids, mut asks) = (0, false);
        let mut due: Vec<(Time, Option<JobId>)> =
            self.turns.iter().map(|(&subject, turn)| (turn.next_at, subject)).collect();
        due.retain(|(at, _)| *at <= now);
        due.sort();
        for (_, subject) in due {
            let Some(turn) = self.turns.get_mut(&subject) else { continue };
            if let Some(job) = subject {
                let download = downloads.get(job).filter(|download| !download.is_over());
                let (Some(download), Some(wire_id)) = (download, downloads.wire_id(job)) else {
                    self.turns.remove(&subject);
                    continue;
                };
                if !download.lacks_sources() {
                    turn.next_at = now + LOOK_AGAIN;
                    continue;
                }
                let mark = encoder.mark();
                encoder.request(&ContentRequest::plain(wire_id, 0, TASTE));
                ids += 1;
                if ids > 1 && (ids > MAX_IDS || encoder.len() > MAX_PROBE) {
                    encoder.rewind(mark);
                    break;
                }
            } else if turn.asked == PEERS_ASKED {
                self.turns.remove(&subject);
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
            self.open_at = now + BETWEEN;
            self.heard.clear();
            let question = encoder.finish(MAX_PROBE);
            if !self.answered {
                let text = String::from_utf8_lossy(&question);
                let to_each = text.replacen(&cookie, &shared.mint.mint(now, EACH), 1);
                self.ask_each = Some((now + ASK_EACH_AFTER, to_each.into_bytes()));
            }
            shared.outbox.report(Event::AskLan(question));
        }
    }

    /// Whether to make us known to a host that calls out for peers and says nothing else, as nodes do that look for others to keep.
    /// An answer of twice the few bytes that came cannot say what such a node needs to hear.
    pub(super) fn greets(&mut self, shared: &Shared, now: Time, inbound: &Inbound<'_>) -> bool {
        if !matches!(inbound.messages, [Message::PleaseSendPeers]) {
            return false;
        }
        let from = inbound.from;
        let contact = shared.contacts.get(from);
        let knows_us = contact.is_some_and(|contact| contact.is_presentable(now) || contact.is_shunned());
        self.greeted.retain(|_, at| now.since(*at) < GREET_AGAIN);
        let may =
            now >= self.greet_at && self.greeted.len() < MAX_GREETED && !self.greeted.contains_key(&from);
        let greets = shared.config.answers && may && !knows_us;
        if greets {
            self.greeted.insert(from, now);
            self.greet_at = now + BETWEEN_GREETINGS;
        }
        greets
    }

    /// Takes note of the source as one that answered a question on the link, if that is whence this cookie comes.
    pub(crate) fn take_answer(&mut self, shared: &mut Shared, now: Time, from: SocketAddr, cookie: &str) {
        let is_to_everybody = is_of_question(shared, now, cookie);
        let is_known = shared.contacts.get(from).is_some_and(|contact| contact.is_asked);
        if !is_to_everybody && shared.mint.check(now, EACH, cookie) == Validation::None {
            return;
        }
        let Some(links) = &shared.links else { return };
        let is_other = links.is_on_link(from) && !links.is_here(from);
        self.has_neighbours |= is_other;
        self.answered |= is_other && is_to_everybody && !is_known;
        if links.is_on_link(from) && self.heard.len() < MAX_NEIGHBOURS && self.heard.insert(from) {
            shared.outbox.report(Event::Neighbour(from));
        }
    }
}

/// Whether a cookie is that of a question to everybody.
fn is_of_question(shared: &Shared, now: Time, cookie: &str) -> bool {
    shared.links.is_some() && shared.mint.check(now, EVERYBODY, cookie) != Validation::None
}

/// Whether a datagram is a question of ours to everybody, which we hear like all others.
pub(crate) fn is_own_lan_question(shared: &mut Shared, now: Time, messages: &[Message<'_>]) -> bool {
    let wanted = messages.iter().filter_map(|message| match message {
        Message::PleaseReturnThisMessage(value) => Some(value),
        _ => None,
    });
    wanted.take(MAX_COOKIES).any(|value| {
        shared.budget.count(budget::COOKIE);
        cookie_text(value.get()).is_some_and(|cookie| is_of_question(shared, now, &cookie))
    })
}

#[cfg(test)]
mod tests;
