//! Places of those that are asked: where all are taken, the host that has most gives one up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::contact::ports_of;
use super::{Job, Node};
use crate::peers::places_by_host::PlacesByHost;
use crate::store::JobId;

/// Peers asked for content at the most, by all fetches.
pub(crate) const MAX_ASKED: usize = 1024;
/// Sources of a fetch at the most that made themselves known by asking us for the same.
pub(super) const MAX_ASKERS: usize = 256;

/// Sources that made themselves known by asking us for what we fetch, by fetch.
#[derive(Debug, Default)]
pub(super) struct Askers {
    // Invariant: at most `MAX_ASKERS` of each fetch.
    by_job: BTreeMap<JobId, BTreeSet<SocketAddr>>,
}

impl Askers {
    /// The most of any fetch.
    pub(super) fn most(&self) -> usize {
        self.by_job.values().map(BTreeSet::len).max().unwrap_or(0)
    }

    /// Forgets those of a fetch that is over.
    pub(super) fn forget(&mut self, job: JobId) {
        self.by_job.remove(&job);
    }

    /// Notes one, where there is room or another makes some. Returns whether there was, and which other had to leave.
    fn admit(
        &mut self,
        job: JobId,
        address: SocketAddr,
        is_there: impl Fn(SocketAddr) -> bool,
        use_of: impl Fn(SocketAddr) -> u64,
    ) -> (bool, Option<SocketAddr>) {
        let askers = self.by_job.entry(job).or_default();
        if askers.contains(&address) {
            return (true, None);
        }
        let mut leaver = None;
        if askers.len() >= MAX_ASKERS {
            // The places of those that are no sources any more are free.
            askers.retain(|&asker| is_there(asker));
        }
        if askers.len() >= MAX_ASKERS {
            let mut places = PlacesByHost::default();
            askers.iter().for_each(|&asker| places.take(asker));
            let Some(host) = places.gives_way_to(address) else { return (false, None) };
            leaver = askers.range(ports_of(host)).copied().min_by_key(|&asker| use_of(asker));
            if let Some(leaver) = leaver {
                askers.remove(&leaver);
            }
        }
        askers.insert(address);
        (true, leaver)
    }
}

impl Node {
    /// Notes that this address asks us for what `job` fetches. Returns whether it may be a source for that.
    pub(super) fn admit_asker(&mut self, job: JobId, address: SocketAddr) -> bool {
        let (schedule, contacts) = (&mut self.schedule, &self.contacts);
        let Some(state) = self.fetches.get(&job) else { return false };
        let put_off = &schedule.put_off;
        let is_there = |asker| state.fetch.knows(asker) || put_off.has(job, asker);
        let delivered = |asker| {
            let path = contacts.get(asker).and_then(|contact| contact.path.as_deref());
            path.map_or(0, |path| path.path.congestion.delivered())
        };
        let (is_admitted, leaver) = schedule.askers.admit(job, address, is_there, delivered);
        if let Some(leaver) = leaver {
            self.leave(job, leaver);
        }
        is_admitted
    }

    /// This address is no source of `job` any more; nor asked for anything, if it is none of another fetch.
    fn leave(&mut self, job: JobId, address: SocketAddr) {
        if let Some(job) = self.fetches.get_mut(&job) {
            job.fetch.forget_source(address);
        }
        if !self.fetches.values().any(|job| job.fetch.knows(address)) {
            self.close_path(address);
        }
    }

    /// Whether one more address may be asked. Where all places are taken, the host that has most of them gives up the one that
    /// brought least.
    pub(super) fn has_room_to_ask(&mut self, address: SocketAddr) -> bool {
        if self.asked.len() < MAX_ASKED {
            return true;
        }
        let Some(host) = self.asked_places.gives_way_to(address) else { return false };
        let of_host = self.asked.range(ports_of(host)).copied();
        let delivered =
            |&address: &SocketAddr| self.path(address).map_or(0, |path| path.path.congestion.delivered());
        let Some(least) = of_host.min_by_key(delivered) else { return false };
        self.close_path(least);
        true
    }

    /// Gives up the path to an address. That it was tried stays known.
    pub(super) fn close_path(&mut self, address: SocketAddr) {
        for Job { fetch, .. } in self.fetches.values_mut() {
            fetch.forget_source(address);
        }
        if let Some(path) = self.contacts.get_mut(address).and_then(|contact| contact.path.take()) {
            self.in_flight -= path.counted;
            self.schedule.forget_path(path.looked_at, address);
        }
        if self.asked.remove(&address) {
            self.asked_places.leave(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::port_of as source;
    use super::*;

    const JOB: JobId = JobId(1);

    #[test]
    fn who_asks_again_and_again_takes_one_place_and_places_of_those_that_left_are_free() {
        let mut askers = Askers::default();
        for _ in 0..1000 {
            assert!(askers.admit(JOB, source(1, 1), |_| true, |_| 0).0);
        }
        assert_eq!(askers.most(), 1);
        for port in 0..1000 {
            assert!(askers.admit(JOB, source(1, port), |_| false, |_| 0).0, "{port}");
        }
        assert!(askers.most() <= MAX_ASKERS);
        askers.forget(JOB);
        assert_eq!(askers.most(), 0);
    }

    #[test]
    fn a_host_with_many_ports_makes_room_for_others_by_that_which_brought_least() {
        let mut askers = Askers::default();
        for port in 0..MAX_ASKERS as u16 {
            assert!(askers.admit(JOB, source(1, port), |_| true, |_| 0).0);
        }
        assert_eq!(askers.admit(JOB, source(1, 999), |_| true, |_| 0), (false, None));
        let brought = |asker: SocketAddr| u64::from(asker.port().abs_diff(7));
        assert_eq!(askers.admit(JOB, source(2, 1), |_| true, brought), (true, Some(source(1, 7))));
        assert_eq!(askers.most(), MAX_ASKERS);
    }
}
