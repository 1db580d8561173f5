//! Work that would keep the network waiting, done on threads of its own.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use cjp2p_wire::io::event_loop::Waker;

/// Several, because most of this work is waiting for the disk.
const THREADS: usize = 4;

type Work<T> = Box<dyn FnOnce() -> T + Send>;

/// Threads that do pieces of work, each with an outcome.
pub(crate) struct Tasks<T> {
    queue: Sender<Work<T>>,
    outcomes: Receiver<T>,
}

impl<T: Send + 'static> Tasks<T> {
    /// Starts the threads. `waker` is woken for each outcome.
    ///
    /// # Errors
    ///
    /// Where the system has no thread left.
    pub(crate) fn start(waker: &Waker) -> io::Result<Tasks<T>> {
        let (queue, waiting) = mpsc::channel::<Work<T>>();
        let (sender, outcomes) = mpsc::channel();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..THREADS {
            let (waiting, sender, waker) = (waiting.clone(), sender.clone(), waker.clone());
            thread::Builder::new().spawn(move || {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(work) = next else { return };
                    if sender.send(work()).is_err() {
                        return;
                    }
                    waker.wake();
                }
            })?;
        }
        Ok(Tasks { queue, outcomes })
    }

    /// Has `work` done when a thread is free.
    pub(crate) fn run(&self, work: impl FnOnce() -> T + Send + 'static) {
        // The threads end only after this.
        let _ = self.queue.send(Box::new(work));
    }

    /// An outcome that is there.
    pub(crate) fn outcome(&self) -> Option<T> {
        self.outcomes.try_recv().ok()
    }
}
