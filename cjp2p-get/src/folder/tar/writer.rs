//! The thread that writes a tar stream: the reader may be slow, and nobody waits for it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use cjp2p_cli::ToolError;
use cjp2p_io::event_loop::Waker;

use crate::sinks::stream::Output;

/// Bytes that wait to be written.
const MOST: usize = 2 << 20;
/// Pieces are written together up to so many bytes.
const AT_ONCE: usize = 128 << 10;

/// See the [module](self).
pub(super) struct Writer {
    shared: Arc<Shared>,
    output: Output,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Vec<u8>>,
    /// Bytes of it, and of what is being written.
    waiting: usize,
    closing: bool,
    error: Option<io::Error>,
    failed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, output: &Output, waker: &Waker) {
        let mut text = Vec::with_capacity(AT_ONCE);
        loop {
            text.clear();
            let mut state = self.state();
            while state.queue.is_empty() && !state.closing {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            while let Some(piece) =
                state.queue.front().filter(|piece| text.is_empty() || text.len() + piece.len() <= AT_ONCE)
            {
                text.extend_from_slice(piece);
                state.queue.pop_front();
            }
            if text.is_empty() {
                return;
            }
            drop(state);
            let written = output.write(&text);
            let mut state = self.state();
            let was_full = state.waiting >= MOST;
            state.waiting -= text.len();
            let is_room = was_full && state.waiting < MOST || state.waiting == 0;
            if let Err(error) = written {
                (state.error, state.failed) = (Some(error), true);
            }
            if is_room || state.failed {
                waker.wake();
            }
            if state.failed {
                return;
            }
        }
    }
}

impl Writer {
    pub(super) fn start(output: Output, waker: Waker) -> io::Result<Writer> {
        let shared = Arc::new(Shared::default());
        let (for_thread, to) = (shared.clone(), output.try_clone()?);
        thread::Builder::new().spawn(move || for_thread.run(&to, &waker))?;
        Ok(Writer { shared, output })
    }

    /// Has this written after what was pushed before.
    pub(super) fn push(&self, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let mut state = self.shared.state();
        state.waiting += bytes.len();
        state.queue.push_back(bytes);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Whether no more should be pushed for now.
    pub(super) fn is_full(&self) -> bool {
        self.shared.state().waiting >= MOST
    }

    /// Whether all is written.
    pub(super) fn is_idle(&self) -> bool {
        self.shared.state().waiting == 0
    }

    /// Whether all could be written, as far as that is known.
    pub(super) fn check(&self) -> Result<(), ToolError> {
        let mut state = self.shared.state();
        match state.error.take() {
            Some(error) => Err(self.output.failure(error)),
            None if state.failed => Err(ToolError::output(io::ErrorKind::BrokenPipe.into())),
            None => Ok(()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.state().closing = true;
        self.shared.changed.notify_one();
    }
}
