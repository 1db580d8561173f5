//! A datagram that came, classified once where it enters: what it holds, what it shows of its source, and how much of it is believed.
//!
//! Most datagrams hold content and at most a cookie. One walk notes what kinds of messages there are, so that none is searched anew
//! for each thing that others hold. What the cookies show is found out once too, and noted in the
//! [`Contacts`](super::contacts::Contacts), before any machine sees the datagram.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use super::budget::{self, MAX_COOKIES, MAX_TOLD};
use super::lengths::MAX_BLOCKS;
use super::shared::Shared;
use crate::message::Message;
use crate::peers::cookie::Validation;
use crate::stream::StreamId;
use crate::time::Time;

/// A foreign cookie longer than this, in bytes of JSON, is not stored.
pub(crate) const MAX_FOREIGN_COOKIE: usize = 256;

/// Which kinds of messages are in a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kinds {
    pub(super) content: bool,
    /// A value that it says we wanted beside everything.
    pub(super) always_returned: bool,
    /// A value that it says we wanted once.
    pub(super) returned: bool,
    /// It wants a value beside everything.
    pub(super) wants_always: bool,
    /// It wants a value once.
    pub(super) wants_returned: bool,
    /// How many blocks it sends for one request.
    pub(super) blocks: bool,
    /// It tells of ids, parts, content or peers.
    pub(super) tells: bool,
    /// It names peers.
    pub(super) names: bool,
    /// It asks for peers.
    pub(super) asks_for_peers: bool,
    /// It asks for a stream, or says what its source has of one.
    pub(super) streams: bool,
    /// It asks for something, be it peers or content.
    pub(super) asks: bool,
}

impl Kinds {
    fn of(messages: &[Message<'_>]) -> Kinds {
        let mut kinds = Kinds::default();
        for message in messages {
            match message {
                Message::Content(_) => kinds.content = true,
                Message::AlwaysReturned(_) => kinds.always_returned = true,
                Message::ReturnedMessage(_) => kinds.returned = true,
                Message::PleaseAlwaysReturnThisMessage(_) => kinds.wants_always = true,
                Message::PleaseReturnThisMessage(_) => kinds.wants_returned = true,
                Message::ICanSendContentInBlocks(_) => kinds.blocks = true,
                Message::PleaseSendPeers => (kinds.asks, kinds.asks_for_peers) = (true, true),
                Message::PleaseSendContent(request) => {
                    kinds.asks = true;
                    kinds.streams |= StreamId::is_meant(&request.id);
                }
                Message::PleaseSayWhichParts(_)
                | Message::PleaseListContent(_)
                | Message::PleaseListIdsOfTheSameContent(_)
                | Message::GetLatest(_)
                | Message::PleaseListSupportedMessages => kinds.asks = true,
                Message::PleaseKeepSendingStream(_) => (kinds.asks, kinds.streams) = (true, true),
                Message::IHaveThisOfTheStream(_) | Message::SignedMessage(_) => kinds.streams = true,
                Message::MaybeTheyHaveSome(_) | Message::Peers(_) => {
                    (kinds.tells, kinds.names) = (true, true)
                }
                message if tells(message) => kinds.tells = true,
                _ => {}
            }
        }
        kinds
    }

    /// Whether the source knows of cookies that are returned beside everything.
    pub(super) fn speaks_of_cookies(self) -> bool {
        self.always_returned || self.wants_always
    }
}

/// Whether a message tells something of which each one costs more than to read it.
fn tells(message: &Message<'_>) -> bool {
    matches!(
        message,
        Message::TheseIdsNameTheSameContent(_)
            | Message::IHaveTheseParts(_)
            | Message::IHaveThisContent(_)
            | Message::MaybeTheyHaveSome(_)
            | Message::Peers(_)
            | Message::ThisWaited(_)
    )
}

/// How much of what a datagram says is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belief {
    /// Nothing: no peer is known at its address, or another speaks in its name.
    Nothing,
    /// Only what answers a query. Nobody vouches for the address, and it is not validated: a peer that names a victim to us could
    /// answer in the victim's name, and have us ask the victim for all that we want.
    Queries,
    /// Everything.
    Everything,
}

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(super) struct Inbound<'a> {
    pub(super) from: SocketAddr,
    /// Bytes of the whole datagram.
    pub(super) length: usize,
    pub(super) messages: &'a [Message<'a>],
    /// How long it had been here when it was read.
    pub(super) waited: Duration,
    pub(super) kinds: Kinds,
    /// What the cookies of ours show that came back beside the messages.
    pub(super) validation: Validation,
    /// A cookie of ours came back that we asked this peer for.
    pub(super) answers_ours: bool,
    pub(super) belief: Belief,
    /// The source gave us its cookie for the first time.
    pub(super) is_first_cookie: bool,
}

impl<'a> Inbound<'a> {
    /// A datagram of which nothing is known but what it holds.
    pub(super) fn new(from: SocketAddr, length: usize, messages: &'a [Message<'a>]) -> Inbound<'a> {
        Inbound {
            from,
            length,
            messages,
            waited: Duration::ZERO,
            kinds: Kinds::of(messages),
            validation: Validation::None,
            answers_ours: false,
            belief: Belief::Nothing,
            is_first_cookie: false,
        }
    }

    /// Whether the source returned a cookie of ours in this datagram.
    pub(super) fn is_validated(&self) -> bool {
        self.validation != Validation::None
    }

    /// Whether it asks for anything, or wants something returned.
    pub(super) fn wants_answer(&self) -> bool {
        self.kinds.asks || self.kinds.wants_returned
    }

    /// Whether it holds some of this content.
    pub(super) fn gives(&self, wire_id: &str) -> bool {
        self.kinds.content
            && self
                .messages
                .iter()
                .any(|message| matches!(message, Message::Content(block) if block.id == wire_id))
    }

    /// Content, and messages that tell something, as many as are taken: in their order.
    pub(super) fn answers(&self) -> impl Iterator<Item = &'a Message<'a>> {
        let mut left = MAX_TOLD;
        let all = if self.kinds.content || self.kinds.tells { self.messages } else { &[] };
        all.iter().filter(move |message| match message {
            Message::Content(_) => true,
            message if left > 0 && tells(message) => {
                left -= 1;
                true
            }
            _ => false,
        })
    }

    /// Messages that tell something, as many as are taken: a datagram of an honest node holds one or two.
    pub(super) fn told(&self) -> impl Iterator<Item = &'a Message<'a>> {
        let most = if self.kinds.tells { MAX_TOLD } else { 0 };
        self.messages.iter().filter(|message| tells(message)).take(most)
    }
}

/// A value that came back in a `ReturnedMessage`, and was a cookie.
#[derive(Debug)]
pub(super) enum Returned<'a> {
    /// A cookie of ours, and nothing else: it shows that the source is there, if we asked it.
    Plain,
    /// A challenge of ours that carries a request: the whole text, and the request in it.
    Challenge(Cow<'a, str>, usize),
    /// No cookie of ours for this address: that of a question to everybody, or a forged one.
    Other(Cow<'a, str>),
}

impl Shared {
    /// Whether we said this ourselves: no other asks for the return of a cookie that we made for this address. Peers
    /// tell us our own address as readily as any other.
    pub(super) fn is_own_voice(&mut self, now: Time, inbound: &Inbound<'_>) -> bool {
        if !inbound.kinds.wants_always && !inbound.kinds.wants_returned {
            return false;
        }
        self.budget.count(budget::COOKIE * MAX_COOKIES as u64);
        let wanted = inbound.messages.iter().filter_map(|message| match message {
            Message::PleaseAlwaysReturnThisMessage(value) | Message::PleaseReturnThisMessage(value) => {
                Some(value)
            }
            _ => None,
        });
        // We ask for the return of two at most.
        wanted.take(MAX_COOKIES).any(|value| {
            let cookie = cookie_text(value.get());
            cookie.is_some_and(|cookie| self.mint.check(now, inbound.from, &cookie) != Validation::None)
        })
    }

    /// What the cookies show that came back beside the messages.
    pub(super) fn read_validation(&mut self, now: Time, inbound: &Inbound<'_>) -> Validation {
        if !inbound.kinds.always_returned {
            return Validation::None;
        }
        let returned = inbound.messages.iter().filter_map(|message| match message {
            Message::AlwaysReturned(value) => Some(value),
            _ => None,
        });
        for value in returned.take(MAX_COOKIES) {
            self.budget.count(budget::COOKIE);
            if let Some(cookie) = cookie_text(value) {
                match self.mint.check(now, inbound.from, &cookie) {
                    Validation::None => {}
                    validation => return validation,
                }
            }
        }
        Validation::None
    }

    /// Which values came back that were wanted once.
    pub(super) fn read_returned<'a>(&mut self, now: Time, inbound: &Inbound<'a>) -> Vec<Returned<'a>> {
        if !inbound.kinds.returned {
            return Vec::new();
        }
        let values = inbound.messages.iter().filter_map(|message| match message {
            Message::ReturnedMessage(value) => Some(value.get()),
            _ => None,
        });
        let mut returned = Vec::new();
        for value in values.take(MAX_COOKIES) {
            self.budget.count(2 * budget::COOKIE);
            let Some(text) = cookie_text(value) else { continue };
            let end = text.find('.');
            let cookie = &text[..end.unwrap_or(text.len())];
            returned.push(match (self.mint.check(now, inbound.from, cookie), end) {
                (Validation::None, _) => Returned::Other(text),
                (_, Some(end)) => Returned::Challenge(text, end + 1),
                (_, None) => Returned::Plain,
            });
        }
        returned
    }

    /// Notes what a datagram says of its source itself, and how much of the rest is believed. `is_queried`: a query to it is open.
    pub(super) fn note_source(&mut self, inbound: &mut Inbound<'_>, is_queried: impl FnOnce() -> bool) {
        let kinds = inbound.kinds;
        let Some(contact) = self.contacts.get_mut(inbound.from) else { return };
        if contact.cookies.returns_always && !inbound.is_validated() {
            // It has our cookie: without it, this is another. Or the one it has is too old, or our own address has
            // changed on the way to it so that it does not know us any more: it is told ours again, to show who it is.
            contact.cookies.has_ours = false;
            return;
        }
        if kinds.content && contact.is_asked {
            // Without a word about cookies, though our requests ask for the return of one, it comes from a node that does not
            // know of them. Some log an error each time that they are asked.
            contact.cookies.is_silent = !kinds.speaks_of_cookies();
        }
        if kinds.blocks {
            for message in inbound.messages {
                if let Message::ICanSendContentInBlocks(offer) = message {
                    contact.blocks = offer.most.clamp(1, MAX_BLOCKS);
                    contact.sends_raw = offer.raw;
                }
            }
        }
        inbound.belief = if contact.is_only_suggested() { Belief::Queries } else { Belief::Everything };
        inbound.is_first_cookie = kinds.wants_always && self.take_foreign_cookie(inbound, is_queried());
    }

    /// Keeps the cookie that a peer of ours wants returned, or of one that returned ours when we asked. Says whether it is the first.
    fn take_foreign_cookie(&mut self, inbound: &Inbound<'_>, is_queried: bool) -> bool {
        let wanted = inbound.messages.iter().find_map(|message| match message {
            Message::PleaseAlwaysReturnThisMessage(value) => Some(value.get()),
            _ => None,
        });
        let (Some(value), Some(contact)) = (wanted, self.contacts.get_mut(inbound.from)) else {
            return false;
        };
        let shows_itself = inbound.is_validated() || inbound.answers_ours;
        // A validated source can return our cookie again. Anybody else would have us send it what it cannot know us by.
        if contact.cookies.theirs.is_some() && contact.is_validated() && !shows_itself {
            return false;
        }
        let is_ours = contact.is_asked || is_queried || shows_itself;
        if !is_ours || value.len() > MAX_FOREIGN_COOKIE || contact.cookies.theirs.as_deref() == Some(value) {
            return false;
        }
        let is_first = contact.cookies.theirs.is_none();
        contact.cookies.theirs = Some(value.into());
        // Before it knew us it could return our cookie only from the question itself. Now it will keep it: tell it again.
        contact.cookies.has_ours = false;
        is_first
    }
}

/// The text in a value of the shape `{"cookie":"text"}`.
pub(super) fn cookie_text(value: &str) -> Option<Cow<'_, str>> {
    // Our own spelling, which comes with every datagram of a download.
    let plain = value.strip_prefix(r#"{"cookie":""#).and_then(|rest| rest.strip_suffix(r#""}"#));
    if let Some(plain) = plain
        && memchr::memchr2(b'"', b'\\', plain.as_bytes()).is_none()
    {
        return Some(Cow::Borrowed(plain));
    }
    #[derive(serde::Deserialize)]
    struct Cookie<'a> {
        #[serde(borrow)]
        cookie: Cow<'a, str>,
    }
    serde_json::from_str::<Cookie<'_>>(value).ok().map(|cookie| cookie.cookie)
}
