//! What others ask for that takes a disk or hashing: done elsewhere, a little at a time, host by host.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cjp2p_wire::fair_queue::FairQueue;
use cjp2p_wire::store::JobId;
use cjp2p_wire::tree::GroupIndex;

/// Parts that may wait. A host that asks for more is told to when it asks again.
const MAX_WANTED: usize = 64;
/// Parts that are worked on side by side.
const AT_ONCE: usize = 2;

/// What is to be done before somebody can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Hash the leaves of this group.
    Leaves(GroupIndex),
    /// Read this window of the content, for the kernel to keep it in memory.
    Window(u64),
}

/// See the [module](self).
pub struct Wanted {
    queue: FairQueue<(JobId, Part)>,
    // Invariant: those in the queue, and those that are worked on: at most `MAX_WANTED` and `AT_ONCE`.
    known: BTreeSet<(JobId, Part)>,
    running: usize,
    ready: bool,
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted { queue: FairQueue::new(MAX_WANTED), known: BTreeSet::new(), running: 0, ready: false }
    }
}

impl Wanted {
    /// Somebody at `host` wants this part of what `job` fetched.
    pub fn want(&mut self, host: IpAddr, job: JobId, part: Part) {
        let wanted = (job, part);
        if !self.known.insert(wanted) {
            self.queue.share(host, |other| *other == wanted);
        } else if let Some(dropped) = self.queue.push(host, 1, wanted) {
            self.known.remove(&dropped);
        }
    }

    /// The next one, if it may be worked on now.
    pub fn next_part(&mut self) -> Option<(JobId, Part)> {
        if self.running == AT_ONCE {
            return None;
        }
        let next = self.queue.pop(|_| true)?;
        self.running += 1;
        Some(next)
    }

    /// One is done.
    pub fn on_done(&mut self, job: JobId, part: Part) {
        if self.known.remove(&(job, part)) {
            self.running = self.running.saturating_sub(1);
            self.ready = true;
        }
    }

    /// Whether any was done since this was last asked.
    pub fn take_ready(&mut self) -> bool {
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
    fn however_much_is_asked_for_few_wait_and_two_are_worked_on_at_a_time() {
        let mut wanted = Wanted::default();
        for n in 0..10_000 {
            wanted.want(host(1), JobId(1), Part::Leaves(GroupIndex(n % 5000)));
        }
        assert_eq!(wanted.known.len(), MAX_WANTED);
        assert_eq!(
            [wanted.next_part(), wanted.next_part()],
            [Some((JobId(1), Part::Leaves(GroupIndex(0)))), Some((JobId(1), Part::Leaves(GroupIndex(1))))]
        );
        assert_eq!(wanted.next_part(), None);
        wanted.want(host(1), JobId(1), Part::Leaves(GroupIndex(0)));
        assert!(!wanted.take_ready());
        wanted.on_done(JobId(1), Part::Leaves(GroupIndex(0)));
        assert!(wanted.take_ready() && !wanted.take_ready());
        wanted.want(host(2), JobId(2), Part::Window(0));
        assert_eq!(
            wanted.next_part(),
            Some((JobId(2), Part::Window(0))),
            "another host does not wait for all those"
        );
        assert!(wanted.known.len() <= MAX_WANTED + AT_ONCE);
    }
}
