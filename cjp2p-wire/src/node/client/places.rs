//! Places of the sources that are asked: where all are taken, the host that has most gives one up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::node::contacts::ports_of;
use crate::peers::places_by_host::PlacesByHost;
use crate::store::JobId;

/// Peers asked for content at most, by all downloads.
pub(crate) const MAX_ASKED: usize = 1024;
/// Sources of a download, at most, that made themselves known by asking us for the same.
pub(crate) const MAX_ASKERS: usize = 256;

/// Suggested addresses that are not validated and are remembered as sources; the first of those that had all
/// their datagrams then makes room. The others keep their places among [`MAX_ASKED`].
pub(crate) const MAX_UNVALIDATED: usize = 512;

/// Sources that made themselves known by asking us for what we download, by download.
#[derive(Debug, Default)]
pub(super) struct Askers {
    // Invariant: at most `MAX_ASKERS` of each download.
    by_job: BTreeMap<JobId, BTreeSet<SocketAddr>>,
}

impl Askers {
    /// The most of any download.
    pub(super) fn most(&self) -> usize {
        self.by_job.values().map(BTreeSet::len).max().unwrap_or(0)
    }

    /// Forgets those of a download that is over.
    pub(super) fn forget(&mut self, job: JobId) {
        self.by_job.remove(&job);
    }

    /// Notes one, where there is room or another makes some. Returns whether there was, and which other had to leave.
    pub(super) fn admit(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::testing::port_of as source;

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
