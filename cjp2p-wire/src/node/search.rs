//! Searching: whom to ask for content that nobody asked so far offers.
//!
//! Three kinds of peers are asked, side by side. Those that are known, which proved themselves before: nearest first, a few
//! at once and the others at a steady pace. Those that are named for the very content, and those that are merely named as
//! peers: see [`suggestions`](super::suggestions). Each question asks for content and for peers, so that whoever does not
//! have it says who may. Nobody asks for others: a question is answered from what is known, and never passed on.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::contact::Contact;
use super::suggestions::{Promise, Suggestion};
use super::{Job, Node, ORDINARY_DATAGRAM};
use crate::content_id::ContentId;
use crate::datagram::Encoder;
use crate::download::Spec;
use crate::message::MAX_IDS;
use crate::peers::address;
use crate::store::JobId;
use crate::time::Time;

/// Known peers asked for one content as soon as it is wanted.
pub(crate) const KNOWN_AT_ONCE: u32 = 8;
/// The pause from one of the others to the next, while nobody offers the content.
pub(crate) const KNOWN_PAUSE: Duration = Duration::from_millis(25);
/// The same while somebody does: more sources are of use, and no hurry.
pub(crate) const KNOWN_PAUSE_WITH_SOURCES: Duration = Duration::from_millis(250);
/// Known peers that wait to be asked, by all fetches.
pub(crate) const MAX_KNOWN_WAITING: usize = 8192;
/// A limit of a fetch that has none.
const FOR_EVER: Duration = Duration::from_secs(1 << 32);

/// Known peers that are to be asked for one content.
#[derive(Debug)]
struct Known {
    /// With whether it came to be asked because a peer suggested it.
    waiting: VecDeque<(SocketAddr, bool)>,
    /// How many may be asked without a pause.
    at_once: u32,
    next_at: Time,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Search {
    known: BTreeMap<JobId, Known>,
}

impl Search {
    pub(super) fn next_at(&self) -> Time {
        let waits = self.known.values().filter(|known| !known.waiting.is_empty());
        waits.map(|known| known.next_at).min().unwrap_or(Time::NEVER)
    }

    /// How many peers wait.
    pub(super) fn len(&self) -> usize {
        self.known.values().map(|known| known.waiting.len()).sum()
    }

    /// Notes a known peer, to be asked when its turn comes; before the others where it was named for this very content.
    /// Returns whether it did not wait already.
    fn add(&mut self, now: Time, job: JobId, address: SocketAddr, suggested: Option<Promise>) -> bool {
        if self.len() >= MAX_KNOWN_WAITING {
            return false;
        }
        let known = self.known.entry(job).or_insert_with(|| Known {
            waiting: VecDeque::new(),
            at_once: KNOWN_AT_ONCE,
            next_at: now,
        });
        if known.waiting.iter().any(|(waiting, _)| *waiting == address) {
            return false;
        }
        let entry = (address, suggested.is_some());
        match suggested {
            Some(Promise::Content) => known.waiting.push_front(entry),
            Some(Promise::Peer) | None => known.waiting.push_back(entry),
        }
        true
    }

    /// Has one that waits asked before the others. Returns whether it waits.
    fn promote(&mut self, job: JobId, address: SocketAddr) -> bool {
        let Some(known) = self.known.get_mut(&job) else { return false };
        let place = known.waiting.iter().position(|(waiting, _)| *waiting == address);
        let Some(entry) = place.and_then(|place| known.waiting.remove(place)) else { return false };
        known.waiting.push_front(entry);
        true
    }

    /// Takes out one whose turn it is.
    fn take(&mut self, now: Time) -> Option<(JobId, SocketAddr, bool)> {
        let due = |known: &Known| !known.waiting.is_empty() && known.next_at <= now;
        let (&job, known) = self.known.iter_mut().find(|(_, known)| due(known))?;
        let (address, suggested) = known.waiting.pop_front()?;
        Some((job, address, suggested))
    }

    /// Notes that one was asked.
    fn on_asked(&mut self, now: Time, job: JobId, pause: Duration) {
        if let Some(known) = self.known.get_mut(&job) {
            known.at_once = known.at_once.saturating_sub(1);
            if known.at_once == 0 {
                known.next_at = now + pause;
            }
        }
    }

    /// Whether any wait for this fetch.
    pub(super) fn has(&self, job: JobId) -> bool {
        self.known.get(&job).is_some_and(|known| !known.waiting.is_empty())
    }

    /// Forgets who was to be asked for a fetch that is over.
    pub(super) fn forget(&mut self, job: JobId) {
        self.known.remove(&job);
    }
}

impl Node {
    /// Adds a peer that proved itself at some time, and may know who has what `job` fetches, or have it: to be asked when its
    /// turn comes. Those added first are asked first.
    pub fn add_known(&mut self, now: Time, job: JobId, address: SocketAddr) {
        self.enter(now);
        if self.fetches.get(&job).is_some_and(|job| !job.fetch.is_over()) {
            self.search.add(now, job, address, None);
            self.ask_known(now);
        }
    }

    /// Whether this peer was asked for content, or is to be asked now.
    pub fn has_asked(&self, address: SocketAddr) -> bool {
        self.asked.contains(&address)
    }

    /// Starts to look for those who have some content, without fetching it: see [`Download::offers`] of the job, which has no
    /// limits of time. Content that is fetched or looked for already has a job, which is returned.
    ///
    /// [`Download::offers`]: crate::download::Download::offers
    pub fn start_search(&mut self, now: Time, id: ContentId) -> JobId {
        let is_new = !self.jobs.contains_key(&id);
        let (source_timeout, stall_timeout) = (FOR_EVER, FOR_EVER);
        let (ranges, in_order, resume) = (Vec::new(), false, None);
        let spec = Spec { id, ranges, in_order, resume, source_timeout, stall_timeout };
        let job = self.start_fetch(now, spec);
        if let Some(state) = self.fetches.get_mut(&job).filter(|_| is_new) {
            state.fetch.only_look();
        }
        job
    }

    /// Whether somebody is still to be asked for what `job` wants, or may answer yet.
    pub fn is_searching(&self, job: JobId) -> bool {
        let Some(state) = self.fetches.get(&job).filter(|job| !job.fetch.is_over()) else { return false };
        self.search.has(job) || self.suggestions.has(job) || state.fetch.awaits_answers(self.now)
    }

    /// Tells a peer that this content is to be had here, for those who ask it. Only to one that has given us its cookie, as
    /// greeted peers have; as many as fit a datagram, [`MAX_IDS`] at the most.
    pub fn tell_content(&mut self, now: Time, to: SocketAddr, ids: &[ContentId]) {
        self.enter(now);
        let is_known = |contact: &Contact| contact.cookie.is_some() && !contact.is_shunned();
        if ids.is_empty() || !self.contacts.get(to).is_some_and(is_known) {
            return;
        }
        let mut encoder = Encoder::new();
        self.write_cookies(now, to, true, &mut encoder);
        let mut ids: Vec<String> = ids.iter().take(MAX_IDS).map(ContentId::to_string).collect();
        loop {
            let mark = encoder.mark();
            encoder.have_content(ids.iter().map(|id| &**id));
            if encoder.len() <= ORDINARY_DATAGRAM || ids.is_empty() {
                break;
            }
            encoder.rewind(mark);
            ids.pop();
        }
        self.send(to, encoder.finish(0));
    }

    /// A peer that has proved its address says what it has.
    pub(super) fn take_told(&mut self, now: Time, from: SocketAddr, ids: &[Cow<'_, str>]) {
        for id in ids.iter().filter_map(|id| ContentId::parse(id).ok()) {
            if self.config.answers {
                self.providers.note(now, &id, from);
            }
            if let Some(&job) = self.jobs.get(&id) {
                self.open_source(now, job, from, false);
            }
        }
    }

    /// A peer that was asked for content names others, for all fetches that nobody gives anything. Returns whether any of
    /// them is news.
    pub(super) fn take_peers(&mut self, now: Time, from: SocketAddr, peers: &[SocketAddr]) -> bool {
        let lacking =
            self.fetches.iter().filter(|(_, job)| job.fetch.lacks_sources() && job.fetch.knows(from));
        let lacking: Vec<JobId> = lacking.map(|(&job, _)| job).collect();
        let mut is_news = false;
        for job in lacking {
            for &peer in peers {
                is_news |= self.suggest(job, from, peer, Promise::Peer);
            }
        }
        self.follow_suggestions(now);
        is_news
    }

    /// The peer `by` names an address for a fetch. Returns whether it is news, and may be tried.
    pub(super) fn suggest(
        &mut self,
        job: JobId,
        by: SocketAddr,
        named: SocketAddr,
        promise: Promise,
    ) -> bool {
        let Some(address) = address::referred(by, named) else { return false };
        let is_wanted =
            |job: &Job| !job.fetch.is_over() && !job.fetch.knows(address) && job.fetch.admits(address);
        if !self.fetches.get(&job).is_some_and(is_wanted) {
            return false;
        }
        if promise == Promise::Content && self.search.promote(job, address) {
            return true;
        }
        match self.contacts.get(address) {
            Some(contact) if contact.is_shunned() => false,
            Some(contact) if contact.is_validated() => self.search.add(self.now, job, address, Some(promise)),
            _ => {
                let near = self.contacts.get(by).and_then(Contact::round_trip).unwrap_or(Duration::MAX);
                self.suggestions.add(Suggestion { job, address, by: Some(by), promise, near })
            }
        }
    }

    /// Asks the known peers whose turn it is.
    pub(super) fn ask_known(&mut self, now: Time) {
        while let Some((job, address, suggested)) = self.search.take(now) {
            let Some(state) = self.fetches.get(&job) else {
                self.search.forget(job);
                continue;
            };
            if state.fetch.knows(address) {
                continue;
            }
            let pause = if state.fetch.lacks_sources() { KNOWN_PAUSE } else { KNOWN_PAUSE_WITH_SOURCES };
            self.search.on_asked(now, job, pause);
            if !self.search.has(job) {
                self.suggestions.look_again(now);
            }
            self.open_source(now, job, address, suggested);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobId = JobId(1);

    fn peer(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n], 24254))
    }

    /// Who is asked until this time, and when, in milliseconds.
    fn asked(search: &mut Search, end: u64) -> Vec<(u64, SocketAddr)> {
        let mut asked = Vec::new();
        for ms in 0..end {
            let now = Time::from_millis(ms);
            assert!(ms == 0 || search.next_at() >= now, "it was to be asked before");
            while let Some((job, address, _)) = search.take(now) {
                asked.push((ms, address));
                search.on_asked(now, job, KNOWN_PAUSE);
            }
        }
        asked
    }

    #[test]
    fn known_peers_are_asked_in_order_a_few_at_once_and_the_rest_at_a_pace() {
        let mut search = Search::default();
        for n in 0..12 {
            assert!(search.add(Time::ZERO, JOB, peer(n), None));
        }
        assert!(!search.add(Time::ZERO, JOB, peer(3), None), "it waits already");
        let expected: Vec<(u64, SocketAddr)> =
            (0..12).map(|n| (25 * u64::from(n).saturating_sub(KNOWN_AT_ONCE as u64 - 1), peer(n))).collect();
        assert_eq!(asked(&mut search, 500), expected);
        assert_eq!((search.len(), search.next_at()), (0, Time::NEVER));
    }

    #[test]
    fn who_is_named_for_the_very_content_comes_first() {
        let mut search = Search::default();
        for n in 0..3 {
            search.add(Time::ZERO, JOB, peer(n), None);
        }
        search.add(Time::ZERO, JOB, peer(3), Some(Promise::Peer));
        search.add(Time::ZERO, JOB, peer(4), Some(Promise::Content));
        assert!(search.promote(JOB, peer(2)) && !search.promote(JOB, peer(9)));
        let order: Vec<SocketAddr> = asked(&mut search, 1).into_iter().map(|(_, peer)| peer).collect();
        assert_eq!(order, [2, 4, 0, 1, 3].map(peer));
    }

    #[test]
    fn however_many_are_named_few_wait() {
        let mut search = Search::default();
        for n in 0..20_000u32 {
            let address = SocketAddr::from((std::net::Ipv4Addr::from_bits(n), 1024));
            search.add(Time::ZERO, JobId(n % 50), address, Some(Promise::Content));
        }
        assert_eq!(search.len(), MAX_KNOWN_WAITING);
    }
}
