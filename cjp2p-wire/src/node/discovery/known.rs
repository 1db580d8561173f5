//! Known peers, which were validated before: nearest first, a few at once and the others at a steady pace.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::suggestions::Promise;
use crate::node::client::Downloads;
use crate::store::JobId;
use crate::time::Time;

/// Known peers asked for one content as soon as it is wanted.
pub(crate) const KNOWN_AT_ONCE: u32 = 8;
/// The pause from one of the others to the next, while no peer offers the content.
pub(crate) const KNOWN_PAUSE: Duration = Duration::from_millis(25);
/// The same while one does: more sources are of use, and no hurry.
pub(crate) const KNOWN_PAUSE_WITH_SOURCES: Duration = Duration::from_millis(250);
/// Known peers that wait to be asked, by all downloads.
pub(crate) const MAX_KNOWN_WAITING: usize = 8192;

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
pub(super) struct KnownPeers {
    known: BTreeMap<JobId, Known>,
}

impl KnownPeers {
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
    pub(super) fn add(
        &mut self,
        now: Time,
        job: JobId,
        address: SocketAddr,
        suggested: Option<Promise>,
    ) -> bool {
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
    pub(super) fn promote(&mut self, job: JobId, address: SocketAddr) -> bool {
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

    /// The next whose turn it is, and whether it came to be asked because a peer suggested it.
    pub(super) fn next(&mut self, now: Time, downloads: &Downloads) -> Option<(JobId, SocketAddr, bool)> {
        while let Some((job, address, suggested)) = self.take(now) {
            let Some(download) = downloads.get(job) else {
                self.forget(job);
                continue;
            };
            if download.knows(address) {
                continue;
            }
            let pause = if download.lacks_sources() { KNOWN_PAUSE } else { KNOWN_PAUSE_WITH_SOURCES };
            self.on_asked(now, job, pause);
            return Some((job, address, suggested));
        }
        None
    }

    /// Whether any wait for this download.
    pub(super) fn has(&self, job: JobId) -> bool {
        self.known.get(&job).is_some_and(|known| !known.waiting.is_empty())
    }

    /// Forgets the peers that were to be asked for a download that is over.
    pub(super) fn forget(&mut self, job: JobId) {
        self.known.remove(&job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobId = JobId(1);

    fn peer(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n], 24254))
    }

    /// The peers that are asked until this time, and when, in milliseconds.
    fn asked(search: &mut KnownPeers, end: u64) -> Vec<(u64, SocketAddr)> {
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
        let mut search = KnownPeers::default();
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
        let mut search = KnownPeers::default();
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
        let mut search = KnownPeers::default();
        for n in 0..20_000u32 {
            let address = SocketAddr::from((std::net::Ipv4Addr::from_bits(n), 1024));
            search.add(Time::ZERO, JobId(n % 50), address, Some(Promise::Content));
        }
        assert_eq!(search.len(), MAX_KNOWN_WAITING);
    }
}
