//! The discovery of a node: finds peers that may have what is downloaded, and asks single peers what they know and share.
//!
//! It owns whom to ask: peers that the user or the peer table knows ([`known`]), addresses that peers suggest ([`suggestions`]), and
//! questions to everybody on the link ([`lan`]); and the open queries to single peers ([`query`]). It opens no source itself. It
//! hands out whom to ask next, when their turn comes, and the [client](super::client) asks.
//!
//! For each download three kinds of peers are asked, side by side: known ones, those named for the very content, and those merely
//! named as peers. Each question asks for content and for peers, so that a peer that does not have it says which may. No node asks for
//! others: a question is answered from what is known, and never passed on.

mod known;
mod lan;
mod list_reader;
mod names;
mod query;
mod suggestions;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

pub(super) use self::known::MAX_KNOWN_WAITING;
pub use self::lan::MAX_NEIGHBOURS;
pub(super) use self::lan::{MAX_GREETED, is_own_lan_question};
pub(super) use self::list_reader::MAX_ALL_AHEAD_BYTES;
pub(super) use self::names::MAX_NAME_QUERIES;
pub(super) use self::query::MAX_QUERIES;
pub(super) use self::suggestions::{MAX_GIVERS, MAX_SUGGESTIONS};

use self::known::KnownPeers;
use self::lan::Lan;
use self::names::NameQueries;
use self::query::Queries;
use self::suggestions::{Promise, Suggestion, Suggestions};
use super::budget::MAX_NAMED;
use super::client::Downloads;
use super::event::{Event, Query};
use super::inbound::Inbound;
use super::shared::Shared;
use crate::message::Message;
use crate::peers::address;
use crate::store::JobId;
use crate::time::Time;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Discovery {
    known: KnownPeers,
    suggestions: Suggestions,
    queries: Queries,
    names: NameQueries,
    lan: Lan,
}

/// How much the discovery holds; see [`Sizes`](super::Sizes).
pub(super) struct DiscoverySizes {
    pub(super) suggestions: usize,
    pub(super) givers: usize,
    pub(super) known: usize,
    pub(super) queries: usize,
    pub(super) name_queries: usize,
    pub(super) list_bytes: usize,
    pub(super) neighbours: usize,
    pub(super) greeted: usize,
}

/// A peer to ask for what is downloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) job: JobId,
    pub(super) address: SocketAddr,
    /// Nobody vouches for the address.
    pub(super) suggested: bool,
    /// The peer that named it; `None` where the user or another network did.
    pub(super) by: Option<SocketAddr>,
}

/// A peer that names others, and the round trip to it: what is near to it is about as far away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Giver {
    pub(super) address: SocketAddr,
    pub(super) round_trip: Option<Duration>,
}

impl Discovery {
    pub(super) fn sizes(&self) -> DiscoverySizes {
        let (queries, list_bytes) = self.queries.lengths();
        let (neighbours, greeted) = self.lan.lengths();
        DiscoverySizes {
            suggestions: self.suggestions.len(),
            givers: self.suggestions.givers(),
            known: self.known.len(),
            queries,
            name_queries: self.names.len(),
            list_bytes,
            neighbours,
            greeted,
        }
    }

    /// Whether a query to this address is open.
    pub(super) fn queries(&self, address: SocketAddr) -> bool {
        self.queries.has(address) || self.names.has(address)
    }

    /// Whether a peer is still to be asked for what `job` downloads.
    pub(super) fn has_more(&self, job: JobId) -> bool {
        self.known.has(job) || self.suggestions.has(job)
    }

    /// Notes a known peer, to be asked when its turn comes. Those added first are asked first.
    pub(super) fn add_known(&mut self, downloads: &Downloads, now: Time, job: JobId, address: SocketAddr) {
        if downloads.get(job).is_some_and(|download| !download.is_over()) {
            self.known.add(now, job, address, None);
        }
    }

    /// Notes an address that nobody vouches for and no peer named, to be tried when its turn comes.
    pub(super) fn add_suggested(&mut self, job: JobId, address: SocketAddr) {
        let (promise, near) = (Promise::Content, Duration::ZERO);
        self.suggestions.add(Suggestion { job, address, by: None, promise, near });
    }

    /// Notes peers that a source of `job` named: they are as likely to have some of it as if they were named for it.
    pub(super) fn add_named(
        &mut self,
        shared: &Shared,
        downloads: &Downloads,
        now: Time,
        job: JobId,
        giver: Giver,
        peers: &[SocketAddr],
    ) {
        for &peer in peers {
            self.suggest(shared, downloads, now, giver, Named { job, peer, promise: Promise::Content });
        }
    }

    /// Takes in which peers a datagram names that is believed. Returns whether any of them is news.
    pub(super) fn take(
        &mut self,
        shared: &Shared,
        downloads: &Downloads,
        now: Time,
        giver: Giver,
        inbound: &Inbound<'_>,
    ) -> bool {
        let mut left = MAX_NAMED;
        let mut first = |all: &'_ [SocketAddr]| {
            let count = all.len().min(left);
            left -= count;
            count
        };
        let mut is_news = false;
        for message in inbound.told() {
            match message {
                Message::MaybeTheyHaveSome(referral) => {
                    let count = first(&referral.peers);
                    // A referral is believed of a peer that was asked.
                    let is_asked = shared.contacts.get(inbound.from).is_some_and(|contact| contact.is_asked);
                    let Some((job, _)) = downloads.find(&referral.id).filter(|_| is_asked) else { continue };
                    for &peer in &referral.peers[..count] {
                        let named = Named { job, peer, promise: Promise::Content };
                        is_news |= self.suggest(shared, downloads, now, giver, named);
                    }
                }
                Message::Peers(peers) => {
                    let count = first(peers);
                    // It was asked for content: what it names is for all downloads that lack sources.
                    let lacking =
                        downloads.iter().filter(|(_, it)| it.lacks_sources() && it.knows(inbound.from));
                    for job in lacking.map(|(job, _)| job).collect::<Vec<_>>() {
                        for &peer in &peers[..count] {
                            let named = Named { job, peer, promise: Promise::Peer };
                            is_news |= self.suggest(shared, downloads, now, giver, named);
                        }
                    }
                }
                _ => {}
            }
        }
        is_news
    }

    /// A peer names another. Returns whether that is news, and may be tried.
    fn suggest(
        &mut self,
        shared: &Shared,
        downloads: &Downloads,
        now: Time,
        giver: Giver,
        Named { job, peer, promise }: Named,
    ) -> bool {
        let Some(address) = address::referred(giver.address, peer) else { return false };
        let is_wanted = downloads.get(job).is_some_and(|download| {
            !download.is_over() && !download.knows(address) && download.admits(address)
        });
        if !is_wanted {
            return false;
        }
        if promise == Promise::Content && self.known.promote(job, address) {
            return true;
        }
        match shared.contacts.get(address) {
            Some(contact) if contact.is_shunned() => false,
            Some(contact) if contact.is_validated() => self.known.add(now, job, address, Some(promise)),
            _ => {
                let near = giver.round_trip.unwrap_or(Duration::MAX);
                self.suggestions.add(Suggestion { job, address, by: Some(giver.address), promise, near })
            }
        }
    }

    /// The next suggested address that may be tried now.
    pub(super) fn next_suggested(&mut self, downloads: &Downloads, now: Time) -> Option<Found> {
        let known = &self.known;
        let Suggestion { job, address, by, .. } =
            self.suggestions.next(now, downloads, |job| known.has(job))?;
        Some(Found { job, address, suggested: true, by })
    }

    /// The next known peer whose turn it is.
    pub(super) fn next_known(&mut self, downloads: &Downloads, now: Time) -> Option<Found> {
        let (job, address, suggested) = self.known.next(now, downloads)?;
        if !self.known.has(job) {
            self.suggestions.look_again(now);
        }
        Some(Found { job, address, suggested, by: None })
    }

    /// Asks a peer something; an [`Event::Answer`] or [`Event::Unanswered`] follows. `suggested`: nobody vouches for the
    /// address, so it is asked sparingly.
    pub(super) fn query(
        &mut self,
        shared: &mut Shared,
        now: Time,
        address: SocketAddr,
        question: Query,
        suggested: bool,
    ) {
        self.queries.begin(shared, &self.lan, now, (address, question), suggested);
    }

    /// How many queries may still be answered. After the first answer to one, more of it may follow.
    pub(super) fn open_queries(&self) -> usize {
        self.queries.len()
    }

    /// Sends the queries that are due.
    pub(super) fn send_queries(&mut self, shared: &mut Shared, now: Time) {
        self.queries.send_due(shared, &self.lan, now);
        self.names.send_due(shared, now);
    }

    /// Takes in what answers a query.
    pub(super) fn take_query_answers(&mut self, shared: &mut Shared, now: Time, inbound: &Inbound<'_>) {
        self.queries.take_answers(shared, &self.lan, now, inbound);
        self.names.take(shared, now, inbound);
    }

    /// A peer gave us its cookie, or shows otherwise that more can be had of it: it is asked again at once.
    pub(super) fn ask_again(&mut self, now: Time, from: SocketAddr) {
        self.queries.ask_again(now, from);
        self.names.ask_again(now, from);
    }

    /// Nothing comes from this address, which is our own.
    pub(super) fn give_up(&mut self, shared: &mut Shared, address: SocketAddr) {
        if self.queries.give_up(address) | self.names.give_up(address) {
            shared.outbox.report(Event::Unanswered(address));
        }
    }

    /// What peers are asked about names.
    pub(super) fn names(&self) -> &NameQueries {
        &self.names
    }

    pub(super) fn names_mut(&mut self) -> &mut NameQueries {
        &mut self.names
    }

    /// What the link is asked, and what was heard there.
    pub(super) fn lan(&self) -> &Lan {
        &self.lan
    }

    pub(super) fn lan_mut(&mut self) -> &mut Lan {
        &mut self.lan
    }

    /// Makes us known to a host on the link that calls out for peers.
    pub(super) fn greet(&mut self, shared: &mut Shared, now: Time, inbound: &Inbound<'_>) {
        if self.lan.greets(shared, now, inbound) {
            self.query(shared, now, inbound.from, Query::Peers, true);
        }
    }

    /// Forgets what was to be asked for a download that is over.
    pub(super) fn forget(&mut self, job: JobId) {
        self.suggestions.forget(job);
        self.known.forget(job);
        self.lan.forget(job);
    }

    /// When something is due.
    pub(super) fn next_at(&self, shared: &Shared) -> Time {
        let at = self.queries.next_at().min(self.names.next_at());
        let at = at.min(self.suggestions.next_at()).min(self.known.next_at());
        if shared.links.is_some() { at.min(self.lan.next_at()) } else { at }
    }
}

/// A peer that another named for a download.
struct Named {
    job: JobId,
    peer: SocketAddr,
    promise: Promise,
}
