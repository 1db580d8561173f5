//! Groups of content of which others want to know the leaves: hashed elsewhere, a few at a time, host by host.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cjp2p_wire::fair_queue::FairQueue;
use cjp2p_wire::store::JobId;
use cjp2p_wire::tree::GroupIndex;

/// Groups that may wait. Who asks for more is told to when it asks again.
const MAX_WANTED: usize = 64;
/// Groups that are hashed side by side.
const AT_ONCE: usize = 2;

type Group = (JobId, GroupIndex);

/// See the [module](self).
pub(crate) struct LeavesWanted {
    queue: FairQueue<Group>,
    // Invariant: those in the queue, and those that are being hashed: at most `MAX_WANTED` and `AT_ONCE`.
    known: BTreeSet<Group>,
    running: usize,
    ready: bool,
}

impl Default for LeavesWanted {
    fn default() -> LeavesWanted {
        LeavesWanted { queue: FairQueue::new(MAX_WANTED), known: BTreeSet::new(), running: 0, ready: false }
    }
}

impl LeavesWanted {
    /// Somebody at `host` wants to know the leaves of this group of what `job` fetched.
    pub(crate) fn want(&mut self, host: IpAddr, job: JobId, group: GroupIndex) {
        let group = (job, group);
        if !self.known.insert(group) {
            self.queue.share(host, |other| *other == group);
        } else if let Some(dropped) = self.queue.push(host, 1, group) {
            self.known.remove(&dropped);
        }
    }

    /// The next one, if it may be hashed now.
    pub(crate) fn next(&mut self) -> Option<Group> {
        if self.running == AT_ONCE {
            return None;
        }
        let next = self.queue.pop(|_| true)?;
        self.running += 1;
        Some(next)
    }

    /// One is done.
    pub(crate) fn on_done(&mut self, job: JobId, group: GroupIndex) {
        if self.known.remove(&(job, group)) {
            self.running = self.running.saturating_sub(1);
            self.ready = true;
        }
    }

    /// Whether any was done since this was last asked.
    pub(crate) fn take_ready(&mut self) -> bool {
        std::mem::take(&mut self.ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn however_much_is_asked_for_few_wait_and_two_are_hashed_at_a_time() {
        let mut wanted = LeavesWanted::default();
        for n in 0..10_000 {
            wanted.want(host(1), JobId(1), GroupIndex(n % 5000));
        }
        assert_eq!(wanted.known.len(), MAX_WANTED);
        assert_eq!(
            [wanted.next(), wanted.next()],
            [Some((JobId(1), GroupIndex(0))), Some((JobId(1), GroupIndex(1)))]
        );
        assert_eq!(wanted.next(), None);
        wanted.want(host(1), JobId(1), GroupIndex(0));
        assert!(!wanted.take_ready());
        wanted.on_done(JobId(1), GroupIndex(0));
        assert!(wanted.take_ready() && !wanted.take_ready());
        wanted.want(host(2), JobId(2), GroupIndex(0));
        assert_eq!(
            wanted.next(),
            Some((JobId(2), GroupIndex(0))),
            "another host does not wait for all those"
        );
        assert!(wanted.known.len() <= MAX_WANTED + AT_ONCE);
    }
}
