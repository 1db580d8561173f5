//! Cases that wait, all at once.

use std::panic::resume_unwind;
use std::thread;

/// Runs `check` on each case in a thread of its own, and returns when all are over.
///
/// # Panics
///
/// Where one of them does.
pub fn at_once<T: Send>(cases: impl IntoIterator<Item = T>, check: impl Fn(T) + Sync) {
    thread::scope(|scope| {
        let check = &check;
        let threads: Vec<_> = cases.into_iter().map(|case| scope.spawn(move || check(case))).collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
    });
}
