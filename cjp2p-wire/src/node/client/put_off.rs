//! Sources that were named where there are many already: they wait to be asked.
//!
//! Where there is no room for all of them the host that has most gives way, and of those that wait the next is of the host that
//! has fewest: so a host with a thousand ports does not keep out the only address of another.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use crate::peers::address::host_of;
use crate::peers::places_by_host::PlacesByHost;
use crate::store::JobId;

/// Sources that may wait, of all downloads.
pub(crate) const MAX_PUT_OFF: usize = 4096;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct PutOff {
    /// With whether nobody vouches for the address. In the order in which they came.
    // Invariant: at most `MAX_PUT_OFF`, each source of a download once.
    waiting: VecDeque<(JobId, SocketAddr, bool)>,
    // Invariant: those that wait.
    known: BTreeSet<(JobId, SocketAddr)>,
    // Invariant: the same by their hosts.
    places: PlacesByHost,
}

impl PutOff {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether this source of a download waits.
    pub(super) fn has(&self, job: JobId, address: SocketAddr) -> bool {
        self.known.contains(&(job, address))
    }

    /// Notes a source that is to be asked later. `suggested`: nobody vouches for its address.
    pub(super) fn add(&mut self, job: JobId, address: SocketAddr, suggested: bool) {
        if self.has(job, address) {
            return;
        }
        if self.waiting.len() >= MAX_PUT_OFF {
            let Some(host) = self.places.gives_way_to(address) else { return };
            let latest = self.waiting.iter().rposition(|&(_, waiting, _)| host_of(waiting) == host);
            let Some(latest) = latest else { return };
            self.remove(latest);
        }
        self.waiting.push_back((job, address, suggested));
        self.known.insert((job, address));
        self.places.take(address);
    }

    /// Takes out the next: the first of those whose hosts hold fewest of the places that are `held`.
    pub(super) fn take(&mut self, held: &PlacesByHost) -> Option<(JobId, SocketAddr, bool)> {
        let of = |&nth: &usize| held.of(self.waiting[nth].1);
        let next = (0..self.waiting.len()).min_by_key(of)?;
        self.remove(next)
    }

    fn remove(&mut self, nth: usize) -> Option<(JobId, SocketAddr, bool)> {
        let (job, address, suggested) = self.waiting.remove(nth)?;
        self.known.remove(&(job, address));
        self.places.leave(address);
        Some((job, address, suggested))
    }

    /// Forgets what waits for a download that is over.
    pub(super) fn forget(&mut self, job: JobId) {
        let places = &mut self.places;
        self.known.retain(|&(of, _)| of != job);
        self.waiting.retain(|&(of, address, _)| {
            if of == job {
                places.leave(address);
            }
            of != job
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::testing::port_of as source;

    const JOB: JobId = JobId(1);

    #[test]
    fn a_source_waits_once_however_often_it_asks() {
        let mut put_off = PutOff::default();
        (0..100).for_each(|_| put_off.add(JOB, source(1, 1), true));
        assert_eq!((put_off.len(), put_off.has(JOB, source(1, 1))), (1, true));
        put_off.take(&PlacesByHost::default());
        assert!(put_off.is_empty() && !put_off.has(JOB, source(1, 1)));
    }

    #[test]
    fn the_only_address_of_a_host_has_room_beside_a_host_with_every_port_and_is_asked_before_it() {
        let mut put_off = PutOff::default();
        (0..=u16::MAX).for_each(|port| put_off.add(JOB, source(1, port), false));
        put_off.add(JOB, source(2, 1), false);
        assert_eq!(put_off.len(), MAX_PUT_OFF);
        let mut held = PlacesByHost::default();
        held.take(source(1, 1));
        assert_eq!(put_off.take(&held), Some((JOB, source(2, 1), false)));
        assert_eq!(put_off.take(&held), Some((JOB, source(1, 0), false)), "then in their order");
        put_off.forget(JOB);
        assert_eq!((put_off.len(), put_off.places.total()), (0, 0));
    }
}
