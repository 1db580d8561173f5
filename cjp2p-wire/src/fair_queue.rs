//! Jobs that others cause, at which their hosts take turns by what they cost: start-time fair queueing.
//!
//! A host that nobody competes with has everything. Where the queue is full, the host whose jobs wait in the largest number gives
//! up its last one, so nobody can keep others out.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

/// Hosts that are remembered without a job of theirs waiting, because they had more than the others.
const MAX_HOSTS: usize = 256;

/// See the [module](self).
#[derive(Debug)]
pub struct FairQueue<J> {
    // Invariant: of the hosts without a job, at most `MAX_HOSTS`.
    hosts: BTreeMap<IpAddr, Host<J>>,
    // Invariant: the sum of the jobs of all hosts, and at most `most`.
    total: usize,
    most: usize,
    /// What the host whose turn it last was had been given before: who comes now begins there.
    clock: u64,
}

#[derive(Debug)]
struct Host<J> {
    jobs: VecDeque<(u64, J)>,
    /// What it was given, in units of cost, compared with the others.
    given: u64,
}

impl<J> Host<J> {
    /// What it will have been given when its job at this place has its turn.
    fn given_before(&self, at: usize) -> u64 {
        self.jobs.iter().take(at).fold(self.given, |given, (cost, _)| given.saturating_add(*cost))
    }
}

impl<J> FairQueue<J> {
    /// For at most `most` jobs.
    pub fn new(most: usize) -> FairQueue<J> {
        FairQueue { hosts: BTreeMap::new(), total: 0, most: most.max(1), clock: 0 }
    }

    /// How many jobs wait.
    pub fn len(&self) -> usize {
        self.total
    }

    /// Whether no job waits.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Adds a job. Returns the one that is dropped for it where there is no room, which may be itself.
    pub fn push(&mut self, host: IpAddr, cost: u64, job: J) -> Option<J> {
        let mut dropped = None;
        if self.total >= self.most {
            let of_host = self.hosts.get(&host).map_or(0, |host| host.jobs.len());
            let largest = self.hosts.iter_mut().max_by_key(|(_, host)| host.jobs.len());
            match largest.filter(|(_, largest)| largest.jobs.len() > of_host + 1) {
                Some((_, largest)) => dropped = largest.jobs.pop_back().map(|(_, job)| job),
                None => return Some(job),
            }
            self.total -= 1;
        }
        let clock = self.clock;
        let host = self.hosts.entry(host).or_insert_with(|| Host { jobs: VecDeque::new(), given: clock });
        host.given = host.given.max(clock);
        host.jobs.push_back((cost, job));
        self.total += 1;
        dropped
    }

    /// Takes the next job that `may` be done now: of each host only its first is looked at.
    pub fn pop(&mut self, mut may: impl FnMut(&J) -> bool) -> Option<J> {
        let mut ready = self.hosts.iter().filter_map(|(&address, host)| {
            let (_, job) = host.jobs.front()?;
            may(job).then_some((host.given, address))
        });
        let first = ready.next()?;
        let (given, address) = ready.fold(first, |least, next| if next.0 < least.0 { next } else { least });
        let host = self.hosts.get_mut(&address)?;
        let (cost, job) = host.jobs.pop_front()?;
        host.given = host.given.saturating_add(cost);
        self.clock = self.clock.max(given);
        self.total -= 1;
        self.forget_hosts();
        Some(job)
    }

    /// Has a job that waits for another host wait for this one too, whichever would come to it first. Returns whether it waited.
    pub fn share(&mut self, host: IpAddr, is_it: impl Fn(&J) -> bool) -> bool {
        let found = self.hosts.iter().find_map(|(&of, waiting)| {
            let at = waiting.jobs.iter().position(|(_, job)| is_it(job))?;
            Some((of, at, waiting.given_before(at)))
        });
        let Some((of, at, turn)) = found else { return false };
        // It would come after all that this host has waiting.
        let own = self.hosts.get(&host);
        let own_turn = own.map_or(self.clock, |host| host.given_before(host.jobs.len()).max(self.clock));
        if of != host
            && own_turn < turn
            && let Some((cost, job)) = self.hosts.get_mut(&of).and_then(|of| of.jobs.remove(at))
        {
            self.total -= 1;
            self.push(host, cost, job);
        }
        true
    }

    fn forget_hosts(&mut self) {
        let clock = self.clock;
        self.hosts.retain(|_, host| !host.jobs.is_empty() || host.given > clock);
        while self.hosts.len() > MAX_HOSTS + self.total {
            let idle = self.hosts.iter().filter(|(_, host)| host.jobs.is_empty());
            let Some((&least, _)) = idle.min_by_key(|(_, host)| host.given) else { return };
            self.hosts.remove(&least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn a_host_with_one_small_job_comes_next_however_much_another_wants() {
        let mut queue = FairQueue::new(100);
        (0..100).for_each(|n| assert_eq!(queue.push(host(1), 1000, (1, n)), None));
        assert_eq!(queue.pop(|_| true), Some((1, 0)));
        assert_eq!(queue.pop(|_| true), Some((1, 1)));
        assert_eq!(queue.push(host(2), 1, (2, 0)), None);
        assert_eq!(queue.pop(|_| true), Some((2, 0)));
    }

    #[test]
    fn what_is_costly_has_its_host_wait_for_as_long_also_if_it_comes_one_by_one() {
        let mut queue = FairQueue::new(100);
        let mut done = [0; 2];
        for _ in 0..1000 {
            if queue.hosts.get(&host(0)).is_none_or(|host| host.jobs.is_empty()) {
                queue.push(host(0), 64, 0);
            }
            queue.push(host(1), 1, 1);
            done[queue.pop(|_| true).unwrap_or(0)] += 1;
        }
        assert!(done[0] <= 1000 / 64 + 2, "{done:?}");
    }

    #[test]
    fn nobody_fills_the_queue_so_that_others_find_no_room() {
        let mut queue = FairQueue::new(64);
        for n in 0..1000 {
            let dropped = queue.push(host(1), 1, (1, n));
            assert_eq!(dropped.is_some(), n >= 64);
        }
        for n in 0..32 {
            assert_eq!(queue.push(host(2), 1, (2, n)), Some((1, 63 - n)), "the last of the other goes");
        }
        assert_eq!(queue.push(host(2), 1, (2, 32)), Some((2, 32)), "both have the same");
        assert_eq!(queue.len(), 64);
    }

    #[test]
    fn a_host_alone_has_everything() {
        let mut queue = FairQueue::new(64);
        (0..64).for_each(|n| assert_eq!(queue.push(host(1), 1 << 20, n), None));
        assert_eq!(std::iter::from_fn(|| queue.pop(|_| true)).count(), 64);
        assert!(queue.is_empty());
    }

    #[test]
    fn what_two_hosts_want_is_done_at_the_turn_of_the_first() {
        let mut queue = FairQueue::new(64);
        (0..50).for_each(|n| assert_eq!(queue.push(host(1), 10, n), None));
        queue.pop(|_| true);
        assert!(!queue.share(host(2), |&job| job == 0), "it is being done");
        assert!(queue.share(host(2), |&job| job == 49));
        assert_eq!(queue.len(), 49);
        assert_eq!([queue.pop(|_| true), queue.pop(|_| true)], [Some(49), Some(1)]);
    }

    #[test]
    fn a_host_that_wants_what_another_waits_for_does_not_have_it_wait_behind_its_own() {
        let mut queue = FairQueue::new(64);
        // The first was given a little more than the second, which has much waiting.
        queue.push(host(1), 10, 0);
        assert_eq!(queue.pop(|_| true), Some(0));
        queue.push(host(1), 10, 1);
        (100..150).for_each(|n| assert_eq!(queue.push(host(2), 10, n), None));
        assert!(queue.share(host(2), |&job| job == 1));
        assert_eq!([queue.pop(|_| true), queue.pop(|_| true)], [Some(100), Some(1)]);
    }

    #[test]
    fn what_may_not_be_done_now_lets_others_pass() {
        let mut queue = FairQueue::new(64);
        queue.push(host(1), 10, 1);
        queue.push(host(2), 10, 2);
        assert_eq!(queue.pop(|&job| job == 2), Some(2));
        assert_eq!(queue.pop(|&job| job == 2), None);
        assert_eq!(queue.pop(|_| true), Some(1));
    }

    #[test]
    fn hosts_that_come_and_go_are_forgotten() {
        let mut queue = FairQueue::new(64);
        for n in 0..100_000u32 {
            queue.push(IpAddr::from(n.to_be_bytes()), u64::from(n % 1000), n);
            if n % 2 == 0 {
                queue.pop(|_| true);
            }
            assert!(queue.hosts.len() <= MAX_HOSTS + 64, "{}", queue.hosts.len());
        }
    }
}
