//! Work that would keep the network waiting, done by [`Workers`], and what comes of it.

use std::sync::mpsc::{self, Receiver, Sender};

use crate::event_loop::Waker;
use crate::workers::{Crew, Workers};

/// Several threads, because most of this work is waiting for the disk. A short fetch needs one or two.
const CREW: Crew = Crew { name: "tasks", threads: 4, most_for_hosts: 0, is_nice: false };

type Work<T> = Box<dyn FnOnce() -> T + Send>;

/// Does pieces of work, each with an outcome.
pub struct Tasks<T> {
    workers: Workers<Work<T>>,
    outcomes: Receiver<T>,
    done: Sender<T>,
    waker: Waker,
}

impl<T: Send + 'static> Tasks<T> {
    /// No thread yet. `waker` is woken for each outcome.
    pub fn new(waker: Waker) -> Tasks<T> {
        let (done, outcomes) = mpsc::channel();
        let (sender, woken) = (done.clone(), waker.clone());
        let workers = Workers::on_demand(CREW, move |work: Work<T>| {
            // Fails only at the end.
            let _ = sender.send(work());
            woken.wake();
        });
        Tasks { workers, outcomes, done, waker }
    }

    /// Has `work` done when a thread is free; at once where the system has none left.
    pub fn run(&mut self, work: impl FnOnce() -> T + Send + 'static) {
        self.workers.send(Box::new(work));
    }

    /// Something by which a thread of its own tells an outcome.
    pub fn teller(&self) -> impl Fn(T) + Send + 'static {
        let (done, waker) = (self.done.clone(), self.waker.clone());
        move |outcome| {
            // Fails only at the end.
            let _ = done.send(outcome);
            waker.wake();
        }
    }

    /// An outcome that is there.
    pub fn outcome(&self) -> Option<T> {
        self.outcomes.try_recv().ok()
    }
}
