//! Work that would keep the network waiting, done on threads of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use cjp2p_io::event_loop::Waker;

/// Several, because most of this work is waiting for the disk.
const THREADS: usize = 4;

type Work<T> = Box<dyn FnOnce() -> T + Send>;

/// Threads that do pieces of work, each with an outcome. They are started when there is work for them: a short fetch needs
/// one or two.
pub(crate) struct Tasks<T> {
    queue: Sender<Work<T>>,
    waiting: Arc<Mutex<Receiver<Work<T>>>>,
    done: Sender<T>,
    outcomes: Receiver<T>,
    waker: Waker,
    started: usize,
    /// Pieces of work that wait or are being done.
    open: Arc<AtomicUsize>,
}

impl<T: Send + 'static> Tasks<T> {
    /// No thread yet. `waker` is woken for each outcome.
    pub(crate) fn new(waker: Waker) -> Tasks<T> {
        let (queue, waiting) = mpsc::channel();
        let (done, outcomes) = mpsc::channel();
        let waiting = Arc::new(Mutex::new(waiting));
        Tasks { queue, waiting, done, outcomes, waker, started: 0, open: Arc::default() }
    }

    /// Has `work` done when a thread is free; at once where the system has none left.
    pub(crate) fn run(&mut self, work: impl FnOnce() -> T + Send + 'static) {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        if open >= self.started && self.started < THREADS && self.start_thread() {
            self.started += 1;
        }
        // Neither end is gone as long as this is there.
        if self.started > 0 {
            let _ = self.queue.send(Box::new(work));
        } else {
            self.open.fetch_sub(1, Ordering::Relaxed);
            let _ = self.done.send(work());
            self.waker.wake();
        }
    }

    fn start_thread(&self) -> bool {
        let (waiting, done, waker) = (self.waiting.clone(), self.done.clone(), self.waker.clone());
        let open = self.open.clone();
        let started = thread::Builder::new().spawn(move || {
            loop {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(work) = next else { return };
                let outcome = work();
                open.fetch_sub(1, Ordering::Relaxed);
                if done.send(outcome).is_err() {
                    return;
                }
                waker.wake();
            }
        });
        started.is_ok()
    }

    /// An outcome that is there.
    pub(crate) fn outcome(&self) -> Option<T> {
        self.outcomes.try_recv().ok()
    }
}
