//! A reader: bytes of a torrent leave in order, each of a piece that is verified, as soon as those before it have left.
//!
//! What comes waits in a file without a name. A thread of its own reads it and writes, because the reader may be slow. What left
//! lately is kept for peers, and then its place in the file is given back.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use cjp2p_cli::ToolError;
use cjp2p_io::event_loop::Waker;
use cjp2p_io::torrent::files::Files;
use cjp2p_torrent::piece_set::PieceSet;
use cjp2p_wire::range_set::RangeSet;

use crate::sinks::stream::Output;

/// Bytes beyond what the reader has taken that are asked for, and two pieces at least.
const WINDOW: u64 = 8 << 20;
/// Bytes that are kept for peers once they have left.
const KEPT: u64 = 64 << 20;
/// Bytes that are written at once.
const AT_ONCE: u64 = 128 << 10;
/// How often, in bytes, the network is told that the reader has taken some.
const TELL_EVERY: u64 = 256 << 10;

/// See the [module](self).
pub(crate) struct Outlet {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    files: Arc<Files>,
    /// What the writer is to be given, in order.
    plan: VecDeque<Range<u64>>,
    // Invariant: the same as a set.
    planned: RangeSet,
    window: u64,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Parts of pieces, and whether it is the last that is wanted of the piece.
    queue: VecDeque<(Range<u64>, bool)>,
    written: u64,
    /// Nothing more will come.
    is_closing: bool,
    error: Option<ToolError>,
    has_failed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<(Range<u64>, bool)> {
        let mut state = self.state();
        loop {
            if let Some(next) = state.queue.pop_front() {
                return Some(next);
            }
            if state.is_closing {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn write_all(&self, files: &Files, output: &Output, waker: &Waker) {
        let mut spent = VecDeque::new();
        let mut kept = 0;
        let mut buffer = vec![0; AT_ONCE as usize];
        while let Some((range, is_last)) = self.next() {
            let piece = files.info().pieces().at(range.start);
            for start in range.clone().step_by(AT_ONCE as usize) {
                let part = &mut buffer[..AT_ONCE.min(range.end - start) as usize];
                let written = files.read(start, part, true).map_err(|error| {
                    ToolError::new(cjp2p_cli::Exit::Destination, format!("temporary file: {error}"))
                });
                let written =
                    written.and_then(|()| output.write(part).map_err(|error| output.failure(error)));
                let mut state = self.state();
                if let Err(error) = written {
                    (state.error, state.has_failed) = (Some(error), true);
                    state.queue.clear();
                    waker.wake();
                    return;
                }
                let before = state.written;
                state.written += part.len() as u64;
                if before / TELL_EVERY != state.written / TELL_EVERY || state.queue.is_empty() {
                    waker.wake();
                }
            }
            if is_last {
                let len = u64::from(files.info().pieces().len_of(piece));
                spent.push_back((piece, len));
                kept += len;
            }
            while kept > KEPT
                && let Some((piece, len)) = spent.pop_front()
            {
                files.drop_pieces(piece..piece + 1);
                kept -= len;
            }
        }
    }
}

impl Outlet {
    /// Starts to write these bytes of a torrent to `output`. `waker` is woken when there is room again, or nothing can be written
    /// any more.
    ///
    /// # Errors
    ///
    /// The system has no room for a thread.
    pub(crate) fn start(
        files: Arc<Files>,
        plan: Vec<Range<u64>>,
        output: Output,
        waker: Waker,
    ) -> io::Result<Outlet> {
        let shared = Arc::new(Shared::default());
        let (for_thread, source) = (shared.clone(), files.clone());
        let writer = thread::Builder::new()
            .name("reader".into())
            .spawn(move || for_thread.write_all(&source, &output, &waker))?;
        let window = WINDOW.max(2 * u64::from(files.info().pieces().piece_length()));
        let (planned, plan) = (plan.iter().cloned().collect(), plan.into());
        Ok(Outlet { shared, writer: Some(writer), files, plan, planned, window })
    }

    /// Gives the writer all that is next and verified.
    pub(crate) fn hand_over(&mut self, have: &PieceSet) {
        let pieces = self.files.info().pieces();
        let mut state = self.shared.state();
        while let Some(next) = self.plan.front_mut() {
            let piece = pieces.at(next.start);
            if !have.contains(piece) {
                break;
            }
            let part = next.start..next.end.min(pieces.range(piece).end);
            next.start = part.end;
            if next.is_empty() {
                self.plan.pop_front();
            }
            self.planned.remove(part.clone());
            let is_last = !self.planned.overlaps(pieces.range(piece));
            state.queue.push_back((part, is_last));
        }
        drop(state);
        self.shared.changed.notify_one();
    }

    /// How many of the wanted bytes, counted from the first, may be fetched.
    pub(crate) fn room(&self) -> u64 {
        self.shared.state().written + self.window
    }

    /// Bytes that the reader has taken.
    pub(crate) fn written(&self) -> u64 {
        self.shared.state().written
    }

    /// Why nothing more can be written, the first time that this is asked.
    pub(crate) fn take_error(&self) -> Option<ToolError> {
        self.shared.state().error.take()
    }

    /// Whether all was handed over, and has left.
    pub(crate) fn is_over(&mut self) -> bool {
        if !self.plan.is_empty() {
            return false;
        }
        self.shared.state().is_closing = true;
        self.shared.changed.notify_one();
        match &self.writer {
            Some(writer) if !writer.is_finished() => false,
            _ => {
                // It has no way to panic.
                self.writer.take().map(JoinHandle::join);
                !self.shared.state().has_failed
            }
        }
    }
}
