//! Which of the standard descriptors a process was started without.
//!
//! Before `main`, Rust opens /dev/null in the place of standard descriptors that are closed, so that no file takes their
//! numbers. From then on `tool >&-` looks like a tool whose output somebody has thrown away on purpose, and content that went
//! nowhere would count as written. There is no telling the two apart afterwards: the programs that throw output away open
//! /dev/null in the same way. So it is looked at earlier, by a function that the loader calls.

use std::sync::atomic::{AtomicU8, Ordering};

use rustix::io::fcntl_getfd;
use rustix::stdio;

/// One of the descriptors that a process is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standard {
    /// 0.
    Input,
    /// 1.
    Output,
    /// 2.
    Error,
}

/// A bit for each.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Makes system calls and nothing else: the library is not ready yet.
#[ctor::ctor(unsafe)]
fn look() {
    let descriptors = [
        (Standard::Input, stdio::stdin()),
        (Standard::Output, stdio::stdout()),
        (Standard::Error, stdio::stderr()),
    ];
    for (standard, descriptor) in descriptors {
        if fcntl_getfd(descriptor).is_err() {
            CLOSED.fetch_or(1 << standard as u8, Ordering::Relaxed);
        }
    }
}

/// Whether the process was started without this descriptor.
pub fn was_closed(standard: Standard) -> bool {
    CLOSED.load(Ordering::Relaxed) >> standard as u8 & 1 == 1
}
