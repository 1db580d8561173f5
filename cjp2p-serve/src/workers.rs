//! A few threads that do jobs one after the other.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Threads that wait for jobs. They end when this is dropped and the jobs in the queue are done.
#[derive(Debug)]
pub struct Workers<J> {
    queue: Sender<J>,
}

impl<J: Send + 'static> Workers<J> {
    /// Starts `count` threads, or as many as the system has room for.
    ///
    /// # Errors
    ///
    /// The system has no room for a single one.
    pub fn start(
        name: &str,
        count: usize,
        work: impl Fn(J) + Send + Sync + 'static,
    ) -> io::Result<Workers<J>> {
        let (queue, jobs) = mpsc::channel();
        let shared = Arc::new((Mutex::new(jobs), work));
        spawn_up_to(count, name, move || {
            let (jobs, work) = &*shared;
            loop {
                // One thread at a time waits in the queue, the others for the lock.
                let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                match next {
                    Ok(job) => work(job),
                    Err(mpsc::RecvError) => break,
                }
            }
        })?;
        Ok(Workers { queue })
    }

    /// Puts a job at the end of the queue.
    pub fn send(&self, job: J) {
        // Fails only if all threads have panicked, and then there is nobody left to do it.
        let _ = self.queue.send(job);
    }
}

/// Starts `count` threads of this name that each do `work` once. Where the system has no room for all of them, there are fewer.
///
/// # Errors
///
/// The system has no room for a single one.
pub(crate) fn spawn_up_to(
    count: usize,
    name: &str,
    work: impl Fn() + Clone + Send + 'static,
) -> io::Result<()> {
    for started in 0..count {
        match thread::Builder::new().name(name.into()).spawn(work.clone()) {
            Err(error) if started == 0 => return Err(error),
            Err(error) => {
                log::info!("{started} threads of {count} for this: {name}: {error}");
                break;
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_is_done_once_also_after_the_sender_went() {
        let (done, results) = mpsc::channel();
        let workers = Workers::start("test", 3, move |job: u32| {
            let _ = done.send(job);
        })
        .unwrap();
        (0..100).for_each(|job| workers.send(job));
        drop(workers);
        let mut results: Vec<u32> = results.iter().collect();
        results.sort_unstable();
        assert_eq!(results, (0..100).collect::<Vec<_>>());
    }
}
