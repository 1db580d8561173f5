//! Questions to single peers that are not about fetching: is it there, whom does it know, what does it share.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::value::RawValue;

use super::{Event, Node};
use crate::datagram::Encoder;
use crate::message::Message;
use crate::time::Time;

/// When a question is asked again, and at last given up.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(1500),
    Duration::from_millis(2000),
];
/// A question is padded to this size: a peer that does not know us answers with little more than we send.
const PAD: usize = 600;

/// What to ask a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Whether it is there.
    Ping,
    /// Which peers it knows.
    Peers,
    /// Which content it shares.
    List,
}

/// What a peer answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is there.
    Ping,
    /// Peers it knows.
    Peers(Vec<SocketAddr>),
    /// Ids, as it writes them, and lengths in bytes. A long list comes in several answers.
    List(Vec<(String, u64)>),
}

#[derive(Debug)]
struct Inquiry {
    sent_at: Time,
    next_at: Time,
    tries: usize,
    answered: bool,
}

/// Questions under way.
#[derive(Debug, Default)]
pub(super) struct Inquiries {
    open: BTreeMap<(SocketAddr, Question), Inquiry>,
}

impl Inquiries {
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.open
            .range((address, Question::Ping)..=(address, Question::List))
            .next()
            .is_some()
    }

    pub(super) fn next_at(&self) -> Time {
        self.open
            .values()
            .map(|inquiry| inquiry.next_at)
            .min()
            .unwrap_or(Time::NEVER)
    }

    /// The peer gave us its cookie: with it, the question will be answered in full.
    pub(super) fn ask_again(&mut self, now: Time, address: SocketAddr) {
        for (_, inquiry) in self
            .open
            .range_mut((address, Question::Ping)..=(address, Question::List))
        {
            inquiry.next_at = now;
        }
    }
}

impl Node {
    /// Asks a peer something; an [`Event::Answer`] or [`Event::Unanswered`] follows.
    pub fn inquire(&mut self, now: Time, address: SocketAddr, question: Question) {
        self.enter(now);
        self.contacts.entry(address);
        let inquiry = Inquiry {
            sent_at: now,
            next_at: now,
            tries: 0,
            answered: false,
        };
        self.inquiries
            .open
            .entry((address, question))
            .or_insert(inquiry);
        self.send_inquiries(now);
    }

    /// Sends the questions that are due.
    pub(super) fn send_inquiries(&mut self, now: Time) {
        let due: Vec<_> = self
            .inquiries
            .open
            .iter()
            .filter(|(_, i)| i.next_at <= now)
            .map(|(&key, _)| key)
            .collect();
        for key in due {
            let (address, question) = key;
            let Some(inquiry) = self.inquiries.open.get_mut(&key) else {
                continue;
            };
            let Some(&pause) = PAUSES.get(inquiry.tries) else {
                let answered = inquiry.answered;
                self.inquiries.open.remove(&key);
                if !answered {
                    self.events.push_back(Event::Unanswered(address));
                }
                continue;
            };
            inquiry.tries += 1;
            inquiry.sent_at = now;
            inquiry.next_at = now + pause;
            let mut encoder = Encoder::new();
            self.write_cookies(now, address, true, &mut encoder);
            match question {
                Question::Ping => {
                    encoder.cookie("PleaseReturnThisMessage", &self.mint.mint(now, address));
                }
                Question::Peers => encoder.bare("PleaseSendPeers"),
                Question::List => encoder.bare("PleaseListContent"),
            }
            self.send(address, encoder.finish(PAD));
        }
    }

    pub(super) fn take_inquiry_answers(
        &mut self,
        now: Time,
        from: SocketAddr,
        messages: &[Message<'_>],
    ) {
        if !self.inquiries.has(from) {
            return;
        }
        let held_back = messages
            .iter()
            .any(|m| matches!(m, Message::PleaseAlwaysReturnThisMessage(_)));
        for message in messages {
            let (question, answer) = match message {
                Message::ReturnedMessage(_) => (Question::Ping, Answer::Ping),
                Message::Peers(peers) => (Question::Peers, Answer::Peers(peers.clone())),
                Message::ContentList(list) => {
                    let list = list
                        .iter()
                        .map(|(id, length)| (id.to_string(), *length))
                        .collect();
                    (Question::List, Answer::List(list))
                }
                _ => continue,
            };
            let Some(inquiry) = self.inquiries.open.get_mut(&(from, question)) else {
                continue;
            };
            let round_trip = now.since(inquiry.sent_at);
            inquiry.answered = true;
            // A peer that does not know us yet told only a part; a list may have more parts.
            let final_answer =
                question == Question::Ping || (question == Question::Peers && !held_back);
            if final_answer {
                self.inquiries.open.remove(&(from, question));
            } else if !held_back {
                inquiry.tries = PAUSES.len();
            }
            self.contacts.on_round_trip(from, round_trip);
            self.events.push_back(Event::Answer {
                from,
                round_trip,
                answer,
            });
        }
        self.send_inquiries(now);
    }
}

/// The text in a value of the shape `{"cookie":"text"}`.
pub(super) fn cookie_text(value: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(serde::Deserialize)]
    struct Cookie<'a> {
        #[serde(borrow)]
        cookie: Cow<'a, str>,
    }
    serde_json::from_str::<Cookie<'_>>(value.get())
        .ok()
        .map(|c| c.cookie)
}
