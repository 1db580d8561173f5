//! A few threads that do what strangers cause, host by host, and let everything else on the machine go first.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cjp2p_wire::fair_queue::FairQueue;

use crate::workers::spawn_up_to;

/// A job that costs more than this is a large one. One of these is done at a time, so that small ones are never behind several. In
/// KiB to be read and hashed, like all costs here.
pub const LARGE: u64 = 1024;
/// Large jobs may cost so much in a second, of all hosts together, in the long run.
pub const LARGE_PER_SECOND: u64 = 64 << 10;
/// And so much at once: whole trees of files of a few GiB, as some nodes fetch them.
pub const LARGE_AT_ONCE: u64 = 4 << 20;
/// How much less the threads want than others (`nice`).
const NICE: i32 = 10;

struct State<J> {
    queue: FairQueue<(u64, J)>,
    is_large_running: bool,
    /// When what large jobs cost will be made up for.
    large_until: Option<Instant>,
    ended: bool,
}

impl<J> State<J> {
    fn may_large(&self, now: Instant) -> bool {
        let at_once = time_for(LARGE_AT_ONCE);
        !self.is_large_running
            && self.large_until.is_none_or(|until| until.saturating_duration_since(now) < at_once)
    }

    /// Takes the next job that may be done.
    fn next(&mut self, now: Instant) -> Option<(u64, J)> {
        let may_large = self.may_large(now);
        let next = self.queue.pop(|(cost, _)| *cost <= LARGE || may_large)?;
        if next.0 > LARGE {
            self.is_large_running = true;
            let from = self.large_until.map_or(now, |until| until.max(now));
            self.large_until = from.checked_add(time_for(next.0));
        }
        Some(next)
    }
}

fn time_for(cost: u64) -> Duration {
    Duration::from_millis(cost.saturating_mul(1000) / LARGE_PER_SECOND)
}

struct Shared<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
}

impl<J> Shared<J> {
    fn state(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next job; `None` at the end.
    fn wait(&self) -> Option<(u64, J)> {
        let mut state = self.state();
        loop {
            if let Some(next) = state.next(Instant::now()) {
                return Some(next);
            }
            if state.ended && state.queue.is_empty() {
                return None;
            }
            // Large ones that have to wait for the time are looked at again.
            let pause = if state.queue.is_empty() { Duration::MAX } else { Duration::from_millis(20) };
            state = match pause {
                Duration::MAX => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                pause => self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

/// See the [module](self). The threads end when this is dropped and what they are at is done.
pub struct FairWorkers<J> {
    shared: Arc<Shared<J>>,
}

impl<J: Send + 'static> FairWorkers<J> {
    /// Starts `count` threads, or as many as the system has room for, for at most `most` jobs that wait.
    ///
    /// # Errors
    ///
    /// The system has no room for a single one.
    pub fn start(
        name: &str,
        count: usize,
        most: usize,
        work: impl Fn(J) + Send + Sync + 'static,
    ) -> io::Result<FairWorkers<J>> {
        let queue = FairQueue::new(most);
        let state = State { queue, is_large_running: false, large_until: None, ended: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let workers = FairWorkers { shared: shared.clone() };
        let work = Arc::new(work);
        spawn_up_to(count, name, move || {
            // Of this thread alone, on Linux. Where it may not be, nothing is lost but a little of the others' speed.
            let _ = rustix::process::setpriority_process(None, NICE);
            while let Some((cost, job)) = shared.wait() {
                work(job);
                if cost > LARGE {
                    shared.state().is_large_running = false;
                    shared.changed.notify_all();
                }
            }
        })?;
        Ok(workers)
    }

    /// Has a job done that `host` causes. Returns the one that is dropped for it where too many wait, which may be itself.
    pub fn send(&self, host: IpAddr, cost: u64, job: J) -> Option<J> {
        let dropped = self.shared.state().queue.push(host, cost, (cost, job));
        self.shared.changed.notify_one();
        dropped.map(|(_, job)| job)
    }

    /// Notes that `host` wants a job too that another one caused, if it waits.
    pub fn share(&self, host: IpAddr, is_it: impl Fn(&J) -> bool) {
        self.shared.state().queue.share(host, |(_, job)| is_it(job));
    }
}

impl<J> Drop for FairWorkers<J> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.ended = true;
        state.queue = FairQueue::new(1);
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{self, RecvTimeoutError};

    /// A test that waits for longer fails.
    const LIMIT: Duration = Duration::from_secs(60);

    fn host(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    /// Threads that do nothing but say which job they are at, and wait to be let on.
    fn gated(count: usize) -> (FairWorkers<u32>, mpsc::Receiver<u32>, mpsc::Sender<()>) {
        let (said, jobs) = mpsc::channel();
        let (gate, passes) = mpsc::channel::<()>();
        let passes = Mutex::new(passes);
        let workers = FairWorkers::start("test", count, 100, move |job: u32| {
            said.send(job).unwrap();
            let _ = passes.lock().unwrap().recv();
        });
        (workers.unwrap(), jobs, gate)
    }

    #[test]
    fn a_small_job_of_one_host_is_not_behind_the_large_ones_of_another() {
        let (workers, jobs, gate) = gated(2);
        (0..50).for_each(|n| assert_eq!(workers.send(host(1), 32 << 10, n), None));
        assert_eq!(jobs.recv_timeout(LIMIT).unwrap(), 0);
        workers.send(host(2), 4, 100);
        assert_eq!(jobs.recv_timeout(LIMIT).unwrap(), 100, "the other thread is free for it");
        workers.send(host(2), 4, 101);
        // Either thread may be let on; one that is takes up one job more.
        let next = [(); 2].map(|()| {
            gate.send(()).unwrap();
            jobs.recv_timeout(LIMIT).unwrap()
        });
        assert!(next.contains(&101), "{next:?}");
    }

    #[test]
    fn large_jobs_stop_when_they_have_cost_as_much_as_they_may() {
        let queue = FairQueue::new(1000);
        let mut state = State { queue, is_large_running: false, large_until: None, ended: false };
        (0..1000).for_each(|n| assert!(state.queue.push(host(1), 32 << 10, (32 << 10, n)).is_none()));
        let start = Instant::now();
        let mut done_by = |ms: u64| {
            let mut done = 0;
            while state.next(start + Duration::from_millis(ms)).is_some() {
                state.is_large_running = false;
                done += 1;
            }
            done
        };
        let at_once = LARGE_AT_ONCE / (32 << 10);
        assert_eq!(done_by(0), at_once);
        assert_eq!(done_by(10_000), 10 * LARGE_PER_SECOND / (32 << 10));
    }

    #[test]
    fn the_threads_end_with_it() {
        let (sender, ended) = mpsc::channel::<()>();
        let workers = FairWorkers::start("test", 3, 100, move |_: u32| {
            let _ = &sender;
        });
        drop(workers.unwrap());
        assert_eq!(
            ended.recv_timeout(LIMIT),
            Err(RecvTimeoutError::Disconnected),
            "all have given up their ends"
        );
    }
}
