//! The server of a node: answers what others ask, within what they have shown of themselves and what the owner allows.
//!
//! It owns the requests that wait for their turn, the upload slots, the challenges that came back, and the hearsay of which peers
//! provide which content. It reads content from the [`Store`], and writes nothing there.
//!
//! A datagram goes through [`Server::take`]; content leaves in [`Server::serve_turns`], each source in its turn.

mod answer;
mod challenge;
mod dialect;
mod echo;
mod given;
mod limits;
mod lists;
mod names;
mod parts;
mod providers;
mod referrals;
mod reply;
mod respond;
mod schema;
#[cfg(test)]
mod tests;
pub mod turns;
mod upload_slots;
mod watchers;

use std::net::SocketAddr;

pub use self::echo::{ECHO_FACTOR, ECHO_LIFETIME, ECHO_RATE, ECHO_RATE_OF_HOST};
pub(super) use self::echo::{MAX_ANSWERED, MAX_ECHOED};
pub use self::limits::{MAX_LIST, MAX_PEERS_TOLD};
pub(super) use self::providers::MAX_PROVIDERS;
pub(super) use self::turns::debts::MAX_DEBTORS;
pub(super) use self::turns::{MAX_WAITING, MAX_WAITING_SOURCES};
pub(super) use self::upload_slots::{MAX_CONTENTS, MAX_GETTERS};
pub(super) use self::watchers::MAX_WATCHERS;

use self::dialect::Dialects;
use self::echo::Echoes;
use self::limits::Wanted;
use self::providers::ProviderCache;
use self::turns::Turns;
use self::upload_slots::UploadSlots;
use self::watchers::Watchers;
use super::client::Downloads;
use super::inbound::{Belief, Inbound};
use super::shared::{Config, Shared};
use crate::content_id::ContentId;
use crate::message::Message;
use crate::store::Store;
use crate::time::Time;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Server {
    turns: Turns,
    upload_slots: UploadSlots,
    echoes: Echoes,
    dialects: Dialects,
    providers: ProviderCache,
    watchers: Watchers,
    /// The source that asked for a list, in the datagrams that came together.
    list_wanted: Option<(SocketAddr, Wanted)>,
    /// No answers are made now: they could not leave anyway.
    holds_answers: bool,
    read_buffer: Vec<u8>,
}

/// What the server is given with each call: the time, what it shares with the others, and where it reads from.
pub(super) struct Context<'a> {
    pub(super) now: Time,
    pub(super) shared: &'a mut Shared,
    /// What is downloaded here: its sources are named to others that ask for it.
    pub(super) downloads: &'a Downloads,
    pub(super) store: &'a mut dyn Store,
}

/// How much the server holds; see [`Sizes`](super::Sizes).
pub(super) struct ServerSizes {
    pub(super) providers: usize,
    pub(super) requests: usize,
    pub(super) requesters: usize,
    pub(super) debtors: usize,
    pub(super) lists_wanted: usize,
    pub(super) exchanged: usize,
    pub(super) getters: usize,
    pub(super) echoed: usize,
    pub(super) echoes_answered: usize,
    pub(super) watchers: usize,
}

impl Server {
    pub(super) fn new(config: &Config) -> Server {
        Server {
            turns: Turns::new(config.upload_rate, config.upload_rate_per_host),
            upload_slots: UploadSlots::default(),
            echoes: Echoes::default(),
            dialects: Dialects::default(),
            providers: ProviderCache::default(),
            watchers: Watchers::default(),
            list_wanted: None,
            holds_answers: false,
            read_buffer: Vec::new(),
        }
    }

    /// Takes in a datagram. Returns which contents its source asked about that we download: it may have some of them too.
    pub(super) fn take(&mut self, cx: &mut Context<'_>, inbound: &Inbound<'_>) -> Vec<ContentId> {
        if inbound.belief == Belief::Everything && inbound.is_validated() && cx.shared.config.answers {
            for message in inbound.told() {
                if let Message::IHaveThisContent(ids) = message {
                    let ids = ids.iter().filter_map(|id| ContentId::parse(id).ok());
                    ids.for_each(|id| self.providers.note(cx.now, &id, inbound.from));
                }
            }
        }
        if inbound.wants_answer() { self.answer(cx, inbound) } else { Vec::new() }
    }

    /// Notes that this peer sent us some of the content.
    pub(super) fn note_provider(&mut self, now: Time, id: &ContentId, peer: SocketAddr) {
        self.providers.note(now, id, peer);
    }

    /// The library has in memory what it had to answer [`Read::Later`](crate::store::Read::Later) for.
    pub(super) fn on_library_ready(&mut self) {
        self.turns.unpark();
    }

    /// Has no answers made while they could not leave anyway.
    pub(super) fn hold_answers(&mut self, hold: bool) {
        self.holds_answers = hold;
    }

    /// When the next answer is due.
    pub(super) fn next_at(&self, now: Time) -> Time {
        let at = self.echoes.next_at().min(self.watchers.next_at());
        if self.turns.is_empty() || self.holds_answers { at } else { at.min(self.turns.ready_at().max(now)) }
    }

    pub(super) fn sizes(&self) -> ServerSizes {
        let (exchanged, getters) = self.upload_slots.lengths();
        let (echoed, echoes_answered) = self.echoes.lengths();
        let (requesters, debtors) = self.turns.sources_and_debtors();
        ServerSizes {
            providers: self.providers.len(),
            requests: self.turns.len(),
            requesters,
            debtors,
            lists_wanted: usize::from(self.list_wanted.is_some()),
            exchanged,
            getters,
            echoed,
            echoes_answered,
            watchers: self.watchers.len(),
        }
    }
}
