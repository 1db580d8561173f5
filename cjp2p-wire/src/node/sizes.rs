//! How much a node holds: what strangers can make grow has a limit, which tests watch.

use super::Node;
use super::contact::MAX_CONTACTS;
use super::crowd::{MAX_CONTENTS, MAX_GETTERS};
use super::echo::{MAX_ANSWERED, MAX_ECHOED};
use super::places::{MAX_ASKED, MAX_ASKERS};
use super::probes::MAX_PROBED;
use super::put_off::MAX_PUT_OFF;
use super::search::MAX_KNOWN_WAITING;
use super::suggestions::{MAX_SUGGESTIONS, MAX_UNPROVED};
use super::whereabouts::MAX_WHEREABOUTS;
use crate::transfer::serve::MAX_WAITING;

/// Entries in a node's tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Addresses of which anything is known.
    pub contacts: usize,
    /// Of these, those that may be asked for content.
    pub asked: usize,
    /// Of these, those that were only suggested and have not proved themselves; some of them have since.
    pub unproved: usize,
    /// Suggested addresses that wait to be tried.
    pub suggestions: usize,
    /// Known peers that wait to be asked.
    pub known: usize,
    /// Contents and peers that may have them.
    pub whereabouts: usize,
    /// Requests that wait to be answered.
    pub requests: usize,
    /// Contents that several exchange.
    pub exchanged: usize,
    /// Who exchanges them.
    pub getters: usize,
    /// Sources of a fetch that made themselves known by asking for the same, of the fetch with most.
    pub askers: usize,
    /// Sources that wait to be asked.
    pub put_off: usize,
    /// Requests that rode in echoes, and wait for their share of what those are answered with.
    pub echoed: usize,
    /// Echoes remembered because they were answered.
    pub echoes_answered: usize,
    /// Suggested addresses of which is remembered how many datagrams they were sent.
    pub probed: usize,
}

impl Sizes {
    /// What none of them exceeds, whatever comes.
    pub const LIMITS: Sizes = Sizes {
        contacts: MAX_CONTACTS,
        asked: MAX_ASKED,
        unproved: MAX_UNPROVED,
        suggestions: MAX_SUGGESTIONS,
        known: MAX_KNOWN_WAITING,
        whereabouts: MAX_WHEREABOUTS,
        requests: MAX_WAITING,
        exchanged: MAX_CONTENTS,
        getters: MAX_GETTERS,
        askers: MAX_ASKERS,
        put_off: MAX_PUT_OFF,
        echoed: MAX_ECHOED,
        echoes_answered: MAX_ANSWERED,
        probed: MAX_PROBED,
    };

    /// Whether all are within [`Sizes::LIMITS`].
    pub fn are_within_limits(&self) -> bool {
        let limits = Sizes::LIMITS;
        self.contacts <= limits.contacts
            && self.asked <= limits.asked
            && self.unproved <= limits.unproved
            && self.suggestions <= limits.suggestions
            && self.known <= limits.known
            && self.whereabouts <= limits.whereabouts
            && self.requests <= limits.requests
            && self.exchanged <= limits.exchanged
            && self.getters <= limits.getters
            && self.askers <= limits.askers
            && self.put_off <= limits.put_off
            && self.echoed <= limits.echoed
            && self.echoes_answered <= limits.echoes_answered
            && self.probed <= limits.probed
    }
}

impl Node {
    /// How much it holds at present.
    pub fn sizes(&self) -> Sizes {
        let (unproved, suggestions) = self.suggestions.lengths();
        let (exchanged, getters) = self.crowds.lengths();
        let (echoed, echoes_answered) = self.echoes.lengths();
        Sizes {
            contacts: self.contacts.len(),
            asked: self.asked.len(),
            unproved,
            suggestions,
            known: self.search.len(),
            whereabouts: self.whereabouts.len(),
            requests: self.turns.len(),
            exchanged,
            getters,
            askers: self.schedule.askers.most(),
            put_off: self.schedule.put_off.len(),
            echoed,
            echoes_answered,
            probed: self.probes.len(),
        }
    }
}
