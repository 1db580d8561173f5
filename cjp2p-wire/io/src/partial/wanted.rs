//! What others ask for that takes a disk or hashing: done elsewhere, a little at a time, host by host.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

use cjp2p_wire::fair_queue::FairQueue;
use cjp2p_wire::store::{Asker, JobId, Read};
use cjp2p_wire::tree::GroupIndex;

use super::group::WINDOW;
use super::known_tree::{HASHED_AT_ONCE, HASHED_FOR_ANYBODY, NoTree};

/// Parts that may wait. A host that asks for more is told to when it asks again.
const MAX_WANTED: usize = 64;
/// Parts that are worked on side by side.
const AT_ONCE: usize = 2;

/// Windows of which it is remembered that they were brought into memory.
const MAX_WARMED: usize = 64;

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
    /// Windows that were brought into memory, the oldest first. A read of one may wait: it was taken out of memory again at once, or it
    /// cannot be known whether a read would wait.
    // Invariant: at most `MAX_WARMED`.
    warmed: VecDeque<Warmed>,
}

/// A window that was brought into memory.
struct Warmed {
    job: JobId,
    window: u64,
    /// For one read. Where it cannot be known whether a read would wait, for all: else each would have it brought again.
    once: bool,
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted {
            queue: FairQueue::new(MAX_WANTED),
            known: BTreeSet::new(),
            running: 0,
            ready: false,
            warmed: VecDeque::new(),
        }
    }
}

impl Wanted {
    /// Reads bytes at `offset` of what `job` fetched for somebody, by a function that is told whether the read may wait. What has to be
    /// waited for is wanted from then on, if the one who asks is somebody.
    pub fn read(&mut self, asker: Asker, job: JobId, offset: u64, read: impl FnOnce(bool) -> Read) -> Read {
        let window = offset / WINDOW;
        let host = host(asker);
        let may_wait = host.is_some() && self.may_wait(job, window);
        let read = read(may_wait);
        if let (Read::Later, Some(host)) = (read, host) {
            self.want(host, job, Part::Window(window));
        }
        read
    }

    /// Reads of the tree of what `job` fetched for somebody, by a function that is told how many bytes may be hashed for that. What has to
    /// be hashed before is wanted from then on, if the one who asks is somebody.
    pub fn read_tree(
        &mut self,
        asker: Asker,
        job: JobId,
        read: impl FnOnce(u64) -> Result<u64, NoTree>,
    ) -> Read {
        let host = host(asker);
        match (read(if host.is_some() { HASHED_AT_ONCE } else { HASHED_FOR_ANYBODY }), host) {
            (Ok(eof), _) => Read::Found { eof: Some(eof) },
            (Err(NoTree::Unknown), _) => Read::Absent,
            (Err(NoTree::Needs(_)), None) => Read::Later,
            (Err(NoTree::Needs(group)), Some(host)) => {
                self.want(host, job, Part::Leaves(group));
                Read::Later
            }
        }
    }

    /// This window is in memory now, as far as it can be. `can_tell`: its file system says whether a read would wait.
    pub fn on_warmed(&mut self, job: JobId, window: u64, can_tell: bool) {
        self.on_done(job, Part::Window(window));
        if self.warmed.len() >= MAX_WARMED {
            self.warmed.pop_front();
        }
        self.warmed.push_back(Warmed { job, window, once: can_tell });
    }

    /// Whether a read of this window may wait.
    fn may_wait(&mut self, job: JobId, window: u64) -> bool {
        let Some(at) = self.warmed.iter().position(|warmed| (warmed.job, warmed.window) == (job, window))
        else {
            return false;
        };
        if self.warmed[at].once {
            self.warmed.remove(at);
        }
        true
    }

    /// There is nothing of this job any more.
    pub fn forget(&mut self, job: JobId) {
        self.warmed.retain(|warmed| warmed.job != job);
    }

    /// Somebody at `host` wants this part of what `job` fetched.
    fn want(&mut self, host: IpAddr, job: JobId, part: Part) {
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

/// Whose turn it is that is answered; nobody's who was not validated.
fn host(asker: Asker) -> Option<IpAddr> {
    match asker {
        Asker::Host(host) => Some(host),
        Asker::Unvalidated => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_was_brought_into_memory_may_be_waited_for_once_or_where_nobody_can_tell_always() {
        let mut wanted = Wanted::default();
        let asker = Asker::Host(host(1));
        let read = |wanted: &mut Wanted, asker, window: u64| {
            let mut may_wait = false;
            let found = wanted.read(asker, JobId(1), window * WINDOW + 5, |may| {
                may_wait = may;
                if may { Read::Found { eof: None } } else { Read::Later }
            });
            (may_wait, found == Read::Later)
        };
        assert_eq!(read(&mut wanted, asker, 0), (false, true));
        assert_eq!(wanted.next_part(), Some((JobId(1), Part::Window(0))));
        wanted.on_warmed(JobId(1), 0, true);
        assert_eq!(read(&mut wanted, Asker::Unvalidated, 0), (false, true));
        assert_eq!(
            (read(&mut wanted, asker, 0), read(&mut wanted, asker, 0)),
            ((true, false), (false, true))
        );
        wanted.on_warmed(JobId(1), 1, false);
        assert!((0..9).all(|_| read(&mut wanted, asker, 1) == (true, false)));
        (2..1000).for_each(|window| wanted.on_warmed(JobId(1), window, false));
        assert_eq!(wanted.warmed.len(), MAX_WARMED);
        assert_eq!(
            (read(&mut wanted, asker, 1), read(&mut wanted, asker, 999)),
            ((false, true), (true, false))
        );
        wanted.forget(JobId(1));
        assert_eq!(read(&mut wanted, asker, 999), (false, true));
    }

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
