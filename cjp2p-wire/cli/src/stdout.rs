//! Standard output. Whoever reads it may be slow, or pause for good, and a tool answers signals all the same.
//!
//! At first [`print()`] writes at once, and a signal ends the process while it waits. A tool that reads signals from a descriptor
//! instead calls [`write_behind`]: then a thread of its own writes, and nobody else waits for a reader.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cjp2p_io::event_loop::Waker;
use cjp2p_stdio::{Standard, was_closed};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::Errno;

use super::error::ToolError;
use super::progress::around_the_bar;

/// With so many bytes waiting to be written, [`is_full`].
pub const MAX_WAITING: usize = 1 << 20;

/// What waits for the thread that writes, once there is one.
static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    waker: Waker,
}

#[derive(Debug, Default)]
struct State {
    texts: VecDeque<Vec<u8>>,
    /// Bytes of them, and of the one that is being written.
    waiting: usize,
    /// What the system said when nothing more could be written.
    failed: Option<i32>,
}

/// Writes `text` to standard output: all of it before this returns, or from [`write_behind`] on, soon.
///
/// # Errors
///
/// It cannot be written, or what was printed before could not.
pub fn print(text: &[u8]) -> Result<(), ToolError> {
    let printed = match QUEUE.get() {
        Some(queue) => queue.push(text),
        None => write(text),
    };
    printed.map_err(ToolError::output)
}

/// Has a thread of its own write what is printed from now on. It wakes `waker` when there is room again, and when nothing more can
/// be written. To be called after signals were taken over: threads inherit that. Where the system has no thread left, all
/// stays as it was.
pub fn write_behind(waker: Waker) {
    let queue = Arc::new(Queue { state: Mutex::default(), changed: Condvar::new(), waker });
    let for_thread = queue.clone();
    if QUEUE.get().is_none() && thread::Builder::new().spawn(move || for_thread.write_all()).is_ok() {
        // Nobody else sets it: a tool has one event loop.
        let _ = QUEUE.set(queue);
    }
}

/// Whether so much waits to be written that no more should be printed for now.
pub fn is_full() -> bool {
    QUEUE.get().is_some_and(|queue| queue.state().waiting >= MAX_WAITING)
}

/// Whether what was printed could be written, as far as that is known.
///
/// # Errors
///
/// It could not.
pub fn check() -> Result<(), ToolError> {
    QUEUE.get().map_or(Ok(()), |queue| queue.state().check()).map_err(ToolError::output)
}

/// Whether a thread writes what is printed.
pub(super) fn is_behind() -> bool {
    QUEUE.get().is_some()
}

/// Waits until everything that was printed is written, at most for `limit`.
///
/// # Errors
///
/// It cannot be written.
pub fn settle(limit: Option<Duration>) -> Result<(), ToolError> {
    QUEUE.get().map_or(Ok(()), |queue| queue.settle(limit)).map_err(ToolError::output)
}

/// Writes to a descriptor, and waits as long as it takes where that says that it would block: whoever started us may have
/// left it so.
///
/// # Errors
///
/// Where not all could be written.
pub fn write_to(descriptor: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&descriptor, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                // Should it fail, the next write says why.
                let _ = poll(&mut [PollFd::new(descriptor.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Whether there is a standard output at all.
///
/// # Errors
///
/// It was closed when the process started.
pub fn check_open() -> Result<(), ToolError> {
    if was_closed(Standard::Output) { Err(ToolError::output(Errno::BADF.into())) } else { Ok(()) }
}

fn write(text: &[u8]) -> io::Result<()> {
    if was_closed(Standard::Output) && !text.is_empty() {
        return Err(Errno::BADF.into());
    }
    let out = io::stdout();
    if out.is_terminal() { around_the_bar(|| write_to(&out, text)) } else { write_to(&out, text) }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, text: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.check()?;
        if !text.is_empty() {
            state.waiting += text.len();
            state.texts.push_back(text.to_owned());
            self.changed.notify_all();
        }
        Ok(())
    }

    fn write_all(&self) {
        loop {
            let mut state = self.state();
            let text = loop {
                match state.texts.pop_front() {
                    Some(text) => break text,
                    None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(state);
            let written = write(&text);
            let mut state = self.state();
            let was_full = state.waiting >= MAX_WAITING;
            state.waiting -= text.len();
            if let Err(error) = written {
                state.failed = Some(error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()));
                state.texts.clear();
                state.waiting = 0;
            }
            if state.failed.is_some() || was_full && state.waiting < MAX_WAITING {
                self.waker.wake();
            }
            self.changed.notify_all();
            if state.failed.is_some() {
                return;
            }
        }
    }

    fn settle(&self, limit: Option<Duration>) -> io::Result<()> {
        let end = limit.map(|limit| Instant::now() + limit);
        let mut state = self.state();
        while state.waiting > 0 {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            state = match left {
                Some(Duration::ZERO) => break,
                Some(left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.check()
    }
}

impl State {
    fn check(&self) -> io::Result<()> {
        self.failed.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }
}
