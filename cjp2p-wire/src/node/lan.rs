//! Asking everybody on the link at once, without knowing anybody there; and answering those who ask so.
//!
//! A question to everybody cannot have a cookie in it that proves an address. It has one that shows that an answer is to
//! this question: who did not hear it cannot answer it. Who answers is only told of; he is asked again by himself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use super::ask::MAX_PROBE;
use super::inquiry::cookie_text;
use super::{Event, Node};
use crate::datagram::{self, Encoder};
use crate::message::{ContentRequest, Message};
use crate::peers::cookie::Proof;
use crate::peers::links::Links;
use crate::time::Time;
use crate::transfer::blobs::{Blobs, JobId};

/// For whom the cookie of such a question is made: for nobody in particular.
const EVERYBODY: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
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
/// Neighbours told of after one question: whoever invents addresses on the link shall not keep us busy.
pub(crate) const MAX_NEIGHBOURS: usize = 64;

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
    heard: BTreeSet<SocketAddr>,
}

#[derive(Debug)]
struct Turn {
    next_at: Time,
    asked: usize,
}

impl Lan {
    pub(super) fn next_at(&self) -> Time {
        let next = self.turns.values().map(|turn| turn.next_at).min();
        next.filter(|_| self.links.is_some()).map_or(Time::NEVER, |at| at.max(self.open_at))
    }

    /// Whether we listen at this address ourselves, as far as that is known.
    pub(super) fn is_own(&self, address: SocketAddr) -> bool {
        self.links.as_ref().is_some_and(|links| links.is_own(address))
    }

    /// Nothing more is asked for this fetch.
    pub(super) fn forget(&mut self, job: JobId) {
        self.turns.remove(&Some(job));
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

    /// Takes in a datagram that was sent to everybody on the link: a broadcast or a multicast. It is answered if it comes from
    /// the link itself. Whoever sent it from elsewhere has forged its address, or would have us all answer at once.
    pub fn handle_group_datagram(
        &mut self,
        now: Time,
        from: SocketAddr,
        bytes: &[u8],
        blobs: &mut dyn Blobs,
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
            Ok(messages) => self.answer_on_lan(now, from, bytes.len(), &messages, blobs),
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
        let mut encoder = Encoder::new();
        encoder.cookie("PleaseReturnThisMessage", &self.mint.mint(now, EVERYBODY));
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
                if job.fetch.serving().next().is_some() {
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
            self.events.push_back(Event::AskLan(encoder.finish(MAX_PROBE)));
        }
    }

    /// Whether a cookie that came back is that of a question to everybody.
    pub(super) fn is_from_lan_question(&self, now: Time, cookie: &str) -> bool {
        self.lan.links.is_some() && self.mint.check(now, EVERYBODY, cookie) != Proof::None
    }

    /// Somebody answered a question to everybody.
    pub(super) fn take_lan_answer(&mut self, from: SocketAddr) {
        let lan = &mut self.lan;
        if lan.is_on_link(from) && lan.heard.len() < MAX_NEIGHBOURS && lan.heard.insert(from) {
            self.events.push_back(Event::Neighbour(from));
        }
    }

    /// Whether a datagram is a question of ours, which we hear like everybody else.
    fn is_own_lan_question(&self, now: Time, messages: &[Message<'_>]) -> bool {
        messages.iter().any(|message| {
            let Message::PleaseReturnThisMessage(value) = message else { return false };
            cookie_text(value.get()).is_some_and(|cookie| self.is_from_lan_question(now, &cookie))
        })
    }
}
