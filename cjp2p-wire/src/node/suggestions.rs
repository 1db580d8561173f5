//! Addresses that peers suggest: nobody vouches for them, so they are tried few at a time, and each is sent next to nothing
//! until it proves that it is there.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::Node;
use crate::peers::address;
use crate::peers::neighbourhoods::Neighbourhoods;
use crate::time::Time;
use crate::transfer::blobs::JobId;

/// Suggested addresses tried in a second at the most.
pub(crate) const SUGGESTIONS_PER_SECOND: u32 = 8;
/// Suggested addresses that wait to be tried, at the most.
pub(crate) const MAX_SUGGESTIONS: usize = 1024;
/// Suggestions taken from one peer for one fetch.
pub(crate) const MAX_SUGGESTIONS_EACH: u32 = 64;
/// Datagrams that a suggested address is sent in all until it proves itself: whoever was named against his will shall hardly
/// notice, however many name him and however many fetches there are.
pub(crate) const MAX_UNPROVED_DATAGRAMS: u32 = 3;
/// Suggested addresses that have not proved themselves and are remembered as sources; the first of those that had all
/// their datagrams then makes room. The others keep their places among [`MAX_ASKED`](super::ask::MAX_ASKED).
pub(crate) const MAX_UNPROVED: usize = 512;
/// So long after it was last asked, such an address will not answer any more.
const PATIENCE: Duration = Duration::from_secs(10);
/// When the fetches have enough sources, it is looked at again after so long.
const ENOUGH_PAUSE: Duration = Duration::from_secs(1);

/// Addresses that peers suggested, and how fast they may be tried.
#[derive(Debug, Default)]
pub(super) struct Suggestions {
    waiting: VecDeque<(JobId, SocketAddr)>,
    taken: BTreeMap<(JobId, SocketAddr), u32>,
    /// When the rate allows the next one.
    rate_at: Time,
    neighbourhoods: Neighbourhoods,
    /// When to look again, if any are waiting. Invariant: not later than the first of them may be tried.
    wake_at: Time,
    /// Those who were tried and have not proved themselves, in the order in which they were. Some have, since.
    unproved: VecDeque<SocketAddr>,
}

impl Suggestions {
    pub(super) fn next_at(&self) -> Time {
        if self.waiting.is_empty() { Time::NEVER } else { self.wake_at }
    }

    /// Notes an address for a fetch, to be tried when it may. `by`: who suggested it.
    pub(super) fn add(&mut self, job: JobId, by: Option<SocketAddr>, address: SocketAddr) {
        if self.waiting.len() >= MAX_SUGGESTIONS {
            return;
        }
        if let Some(by) = by {
            let taken = self.taken.entry((job, by)).or_insert(0);
            if *taken >= MAX_SUGGESTIONS_EACH {
                return;
            }
            *taken += 1;
        }
        if self.waiting.contains(&(job, address)) {
            return;
        }
        self.waiting.push_back((job, address));
        self.wake_at = self.wake_at.min(self.may_try_at(address));
    }

    /// How many have not proved themselves, and how many wait.
    pub(super) fn lengths(&self) -> (usize, usize) {
        (self.unproved.len(), self.waiting.len())
    }

    /// Forgets what was suggested for a fetch that is over.
    pub(super) fn forget(&mut self, job: JobId) {
        self.waiting.retain(|(of, _)| *of != job);
        self.taken.retain(|(of, _), _| *of != job);
    }

    fn may_try_at(&self, address: SocketAddr) -> Time {
        self.neighbourhoods.open_at(address).max(self.rate_at)
    }

    /// Takes out the first that may be tried now of those for which `wants` says that they are of use.
    fn take(&mut self, now: Time, wants: impl Fn(JobId) -> bool) -> Option<(JobId, SocketAddr)> {
        let may = |&(job, address): &(JobId, SocketAddr)| wants(job) && self.may_try_at(address) <= now;
        let Some(first) = self.waiting.iter().position(may) else {
            let open = |&(job, address): &(JobId, SocketAddr)| {
                let at = self.may_try_at(address);
                if wants(job) { at } else { at.max(now + ENOUGH_PAUSE) }
            };
            self.wake_at = self.waiting.iter().map(open).min().unwrap_or(Time::NEVER);
            return None;
        };
        let (job, address) = self.waiting.remove(first)?;
        self.rate_at = now + Duration::from_secs(1) / SUGGESTIONS_PER_SECOND;
        self.neighbourhoods.disturb(now, address);
        Some((job, address))
    }
}

impl Node {
    /// Adds peers that `by` named as possible sources of what `job` fetches, as far as it may send us to them. They are asked
    /// sparingly, when their turn comes.
    pub fn add_suggestions(&mut self, now: Time, job: JobId, by: SocketAddr, peers: &[SocketAddr]) {
        self.enter(now);
        for peer in peers.iter().filter_map(|&peer| address::referred(by, peer)) {
            self.suggestions.add(job, Some(by), peer);
        }
        self.follow_suggestions(now);
    }

    /// Tries the suggested addresses whose time has come.
    pub(super) fn follow_suggestions(&mut self, now: Time) {
        if now < self.suggestions.next_at() {
            return;
        }
        let fetches = &self.fetches;
        self.suggestions.waiting.retain(|(job, address)| {
            fetches.get(job).is_some_and(|job| !job.fetch.is_over() && !job.fetch.knows(*address))
        });
        let wants = |job| fetches.get(&job).is_some_and(|job: &super::Job| job.fetch.wants_sources());
        if let Some((job, address)) = self.suggestions.take(now, wants) {
            // The rate lets no other go at once.
            self.suggestions.wake_at = self.suggestions.rate_at;
            self.open_source_now(now, job, address, true);
        }
    }

    /// Whether there is room for one more that has not proved itself; makes some where it can.
    pub(super) fn has_room_for_unproved(&mut self, now: Time) -> bool {
        let contacts = &self.contacts;
        self.suggestions
            .unproved
            .retain(|&address| contacts.get(address).is_some_and(|contact| contact.is_only_suggested()));
        if self.suggestions.unproved.len() < MAX_UNPROVED {
            return true;
        }
        let is_spent = |&address: &SocketAddr| {
            let contact = contacts.get(address);
            contact.is_some_and(|contact| contact.is_spent(now, MAX_UNPROVED_DATAGRAMS, PATIENCE))
        };
        let Some(spent) = self.suggestions.unproved.iter().position(is_spent) else { return false };
        if let Some(address) = self.suggestions.unproved.remove(spent) {
            self.close_path(address);
        }
        true
    }

    /// Notes that an address was tried which only peers suggested.
    pub(super) fn note_unproved(&mut self, address: SocketAddr) {
        self.suggestions.unproved.push_back(address);
    }

    /// Gives up the path to an address. That it was tried stays known.
    fn close_path(&mut self, address: SocketAddr) {
        for job in self.fetches.values_mut() {
            job.fetch.forget_source(address);
        }
        if let Some(path) = self.contacts.get_mut(address).and_then(|contact| contact.path.take()) {
            self.in_flight -= path.counted;
            self.schedule.forget_path(path.looked_at, address);
        }
        self.asked.remove(&address);
    }
}
