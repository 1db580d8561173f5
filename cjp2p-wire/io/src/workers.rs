//! Threads that read disks and hash: the thread of the network does neither.
//!
//! What a tool does for its user is done in the order in which it was given. What hosts cause by asking is done host by host. Few of these jobs
//! wait, and everything else on the machine goes first.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cjp2p_wire::fair_queue::FairQueue;

/// A job that costs more than this is a large one. One of these is done at a time, so that small ones are never behind several. In
/// KiB to be read and hashed, like all costs here.
pub const LARGE: u64 = 1024;
/// Large jobs may cost so much in a second, of all hosts together, in the long run.
pub const LARGE_PER_SECOND: u64 = 64 << 10;
/// And so much at once: whole trees of files of a few GiB, as some nodes fetch them.
pub const LARGE_AT_ONCE: u64 = 4 << 20;
/// How much less the threads for what hosts cause want than others (`nice`).
const NICE: i32 = 10;

/// What a pool is like.
#[derive(Clone, Copy, Debug)]
pub struct Crew {
    /// What the threads are called.
    pub name: &'static str,
    /// Threads at the most.
    pub threads: usize,
    /// Jobs that hosts cause and that wait, at the most.
    pub most_for_hosts: usize,
    /// Whether everything else on the machine goes first.
    pub is_nice: bool,
}

/// See the [module](self). When this is dropped, what hosts caused is dropped too; the threads end when the rest is done.
pub struct Workers<J> {
    shared: Arc<Shared<J>>,
}

struct Shared<J> {
    crew: Crew,
    work: Box<dyn Fn(J) + Send + Sync>,
    state: Mutex<State<J>>,
    changed: Condvar,
}

struct State<J> {
    own: VecDeque<J>,
    for_hosts: FairQueue<(u64, J)>,
    is_large_running: bool,
    /// When what large jobs cost will be made up for.
    large_until: Option<Instant>,
    /// Threads that are there, and those of them that have nothing to do.
    threads: usize,
    idle: usize,
    ended: bool,
}

impl<J> State<J> {
    fn new(crew: &Crew) -> State<J> {
        State {
            own: VecDeque::new(),
            for_hosts: FairQueue::new(crew.most_for_hosts.max(1)),
            is_large_running: false,
            large_until: None,
            threads: 0,
            idle: 0,
            ended: false,
        }
    }

    fn may_large(&self, now: Instant) -> bool {
        let at_once = time_for(LARGE_AT_ONCE);
        !self.is_large_running
            && self.large_until.is_none_or(|until| until.saturating_duration_since(now) < at_once)
    }

    /// Takes the next job that may be done, with its cost.
    fn next(&mut self, now: Instant) -> Option<(u64, J)> {
        if let Some(job) = self.own.pop_front() {
            return Some((0, job));
        }
        let may_large = self.may_large(now);
        let next = self.for_hosts.pop(|(cost, _)| *cost <= LARGE || may_large)?;
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

impl<J: Send + 'static> Shared<J> {
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
            if state.ended && state.for_hosts.is_empty() {
                return None;
            }
            state.idle += 1;
            state = match state.for_hosts.is_empty() {
                true => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                // Large ones that have to wait for the time are looked at again.
                false => {
                    let pause = Duration::from_millis(20);
                    self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.idle -= 1;
        }
    }

    fn work(&self) {
        if self.crew.is_nice {
            // Of this thread alone, on Linux. Where it may not be, nothing is lost but a little of the others' speed.
            let _ = rustix::process::setpriority_process(None, NICE);
        }
        while let Some((cost, job)) = self.wait() {
            (self.work)(job);
            if cost > LARGE {
                self.state().is_large_running = false;
                self.changed.notify_all();
            }
        }
    }

    /// One more, where the system has room for it.
    fn start_thread(self: &Arc<Shared<J>>) -> io::Result<()> {
        let shared = self.clone();
        self.state().threads += 1;
        let started = thread::Builder::new().name(self.crew.name.into()).spawn(move || shared.work());
        started.map(drop).inspect_err(|_| self.state().threads -= 1)
    }
}

impl<J: Send + 'static> Workers<J> {
    /// A pool that does jobs by `work`, and starts threads when there is something to do for them. Where the system has no room for a
    /// single one, [`Workers::send`] does what it is given.
    pub fn on_demand(crew: Crew, work: impl Fn(J) + Send + Sync + 'static) -> Workers<J> {
        let state = Mutex::new(State::new(&crew));
        Workers { shared: Arc::new(Shared { crew, work: Box::new(work), state, changed: Condvar::new() }) }
    }

    /// The same with all threads at once, or as many as the system has room for.
    ///
    /// # Errors
    ///
    /// The system has no room for a single one.
    pub fn start(crew: Crew, work: impl Fn(J) + Send + Sync + 'static) -> io::Result<Workers<J>> {
        let workers = Workers::on_demand(crew, work);
        for started in 0..crew.threads {
            match workers.shared.start_thread() {
                Ok(()) => {}
                Err(error) if started == 0 => return Err(error),
                Err(error) => {
                    log::info!("{started} threads of {} for this: {}: {error}", crew.threads, crew.name);
                    break;
                }
            }
        }
        Ok(workers)
    }

    /// Has a job done after those that were given so before.
    pub fn send(&self, job: J) {
        self.shared.state().own.push_back(job);
        self.call_up();
        // Nobody is left to do it, if not we.
        while self.shared.state().threads == 0 {
            let next = self.shared.state().own.pop_front();
            let Some(job) = next else { return };
            (self.shared.work)(job);
        }
    }

    /// Has a job done that `host` causes. Returns the one that is dropped for it where too many wait, which may be itself.
    pub fn send_for(&self, host: IpAddr, cost: u64, job: J) -> Option<J> {
        let dropped = self.shared.state().for_hosts.push(host, cost, (cost, job));
        self.call_up();
        dropped.map(|(_, job)| job)
    }

    /// Notes that `host` wants a job too that another one caused, if it waits.
    pub fn share(&self, host: IpAddr, is_it: impl Fn(&J) -> bool) {
        self.shared.state().for_hosts.share(host, |(_, job)| is_it(job));
    }

    /// Wakes a thread, or starts one where more jobs wait than threads.
    fn call_up(&self) {
        let crew = &self.shared.crew;
        let (is_short, threads) = {
            let state = self.shared.state();
            (state.own.len() + state.for_hosts.len() > state.idle, state.threads)
        };
        if is_short
            && threads < crew.threads
            && let Err(error) = self.shared.start_thread()
        {
            log::debug!("{threads} threads for this: {}: {error}", crew.name);
        }
        self.shared.changed.notify_one();
    }
}

impl<J> Drop for Workers<J> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended = true;
        state.for_hosts = FairQueue::new(1);
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{self, RecvTimeoutError};

    /// A test that waits for longer fails.
    const LIMIT: Duration = Duration::from_secs(60);

    const TEST: Crew = Crew { name: "test", threads: 3, most_for_hosts: 100, is_nice: true };

    fn host(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    /// Threads that do nothing but say which job they are at, and wait to be let on.
    fn gated(count: usize) -> (Workers<u32>, mpsc::Receiver<u32>, mpsc::Sender<()>) {
        let (said, jobs) = mpsc::channel();
        let (gate, passes) = mpsc::channel::<()>();
        let passes = Mutex::new(passes);
        let workers = Workers::start(Crew { threads: count, ..TEST }, move |job: u32| {
            said.send(job).unwrap();
            let _ = passes.lock().unwrap().recv();
        });
        (workers.unwrap(), jobs, gate)
    }

    #[test]
    fn a_small_job_of_one_host_is_not_behind_the_large_ones_of_another() {
        let (workers, jobs, gate) = gated(2);
        (0..50).for_each(|n| assert_eq!(workers.send_for(host(1), 32 << 10, n), None));
        assert_eq!(jobs.recv_timeout(LIMIT).unwrap(), 0);
        workers.send_for(host(2), 4, 100);
        assert_eq!(jobs.recv_timeout(LIMIT).unwrap(), 100, "the other thread is free for it");
        workers.send_for(host(2), 4, 101);
        // Whichever thread this lets on takes up the small job. Another pass could go to the same thread, and find nothing but large
        // jobs, of which one is running.
        gate.send(()).unwrap();
        assert_eq!(jobs.recv_timeout(LIMIT).unwrap(), 101);
    }

    #[test]
    fn large_jobs_stop_when_they_have_cost_as_much_as_they_may() {
        let mut state = State::new(&Crew { most_for_hosts: 1000, ..TEST });
        (0..1000).for_each(|n| assert!(state.for_hosts.push(host(1), 32 << 10, (32 << 10, n)).is_none()));
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
    fn every_job_is_done_once_also_after_the_sender_went() {
        for is_on_demand in [false, true] {
            let (done, results) = mpsc::channel();
            let work = move |job: u32| {
                let _ = done.send(job);
            };
            let workers = if is_on_demand {
                Workers::on_demand(TEST, work)
            } else {
                Workers::start(TEST, work).unwrap()
            };
            (0..100).for_each(|job| workers.send(job));
            drop(workers);
            let mut results: Vec<u32> = results.iter().collect();
            results.sort_unstable();
            assert_eq!(results, (0..100).collect::<Vec<_>>());
        }
    }

    #[test]
    fn where_the_system_has_no_room_for_a_thread_jobs_are_done_at_once() {
        let crew = Crew { threads: 0, ..TEST };
        let (done, results) = mpsc::channel();
        let workers = Workers::on_demand(crew, move |job: u32| done.send(job).unwrap());
        workers.send(7);
        assert_eq!(results.try_recv(), Ok(7));
    }

    #[test]
    fn the_threads_end_with_it() {
        let (sender, ended) = mpsc::channel::<()>();
        let workers = Workers::start(TEST, move |_: u32| {
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
