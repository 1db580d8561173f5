//! The thread that writes a stream where it goes. The network never waits for a reader that is slow, and knows how far that has come.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cjp2p_cli::{Exit, ToolError, stdout};
use cjp2p_io::event_loop::Waker;
use cjp2p_io::names;
use cjp2p_wire::stream::SignedBlock;

use super::place::StreamFile;
use crate::sinks::stream::Output;

/// How often a file is brought to the disk, so that it can be gone on with.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Where it goes.
#[derive(Debug)]
pub(super) enum Target {
    Output(Output),
    File(Box<StreamFile>),
}

impl Target {
    fn write(&mut self, piece: &Piece) -> io::Result<()> {
        let bytes = &piece.block.data()[piece.range.clone()];
        match self {
            Target::Output(output) => output.write(bytes),
            Target::File(file) => {
                stdout::write_to(&file.file, bytes)?;
                let start = piece.block.offset();
                file.note(start + piece.range.start as u64..start + piece.range.end as u64);
                Ok(())
            }
        }
    }

    fn save(&self) -> io::Result<()> {
        match self {
            Target::Output(_) => Ok(()),
            Target::File(file) => file.save(),
        }
    }

    /// What to tell of what the system said.
    fn failure(&self, error: io::Error) -> ToolError {
        match self {
            Target::Output(output) => output.failure(error),
            Target::File(file) => {
                ToolError::new(Exit::Destination, format!("{}: {error}", names::shown(file.partial())))
            }
        }
    }
}

/// Bytes of a block.
struct Piece {
    block: SignedBlock,
    range: Range<usize>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes that were written.
    written: u64,
    /// The byte of the stream after the last of them.
    position: u64,
    failed: Option<ToolError>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Outlet {
    pieces: Option<Sender<Piece>>,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<Target>>,
    handed: u64,
}

impl Outlet {
    /// Starts to write. `waker` is woken when something was written.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub(super) fn start(target: Target, waker: Waker) -> io::Result<Outlet> {
        let (pieces, waiting) = mpsc::channel();
        let state = Arc::new(Mutex::new(State::default()));
        let theirs = state.clone();
        let thread = thread::Builder::new()
            .name("output".into())
            .spawn(move || write(target, &waiting, &theirs, &waker))?;
        Ok(Outlet { pieces: Some(pieces), state, thread: Some(thread), handed: 0 })
    }

    /// Has these bytes of a block written.
    pub(super) fn push(&mut self, block: SignedBlock, range: Range<usize>) {
        self.handed += (range.end - range.start) as u64;
        if let Some(pieces) = &self.pieces {
            // Fails only where nothing can be written any more, which is told.
            let _ = pieces.send(Piece { block, range });
        }
    }

    /// Bytes that wait to be written.
    pub(super) fn waiting(&self) -> u64 {
        self.handed - lock(&self.state).written.min(self.handed)
    }

    /// The byte of the stream after the last that was written; `None` before there is one.
    pub(super) fn position(&self) -> Option<u64> {
        let state = lock(&self.state);
        (state.written > 0).then_some(state.position)
    }

    /// Bytes that were written.
    pub(super) fn written(&self) -> u64 {
        lock(&self.state).written
    }

    /// Whether all could be written so far.
    ///
    /// # Errors
    ///
    /// It could not.
    pub(super) fn check(&self) -> Result<(), ToolError> {
        lock(&self.state).failed.take().map_or(Ok(()), Err)
    }

    /// Waits until all that it was given is written, and gives back where that is.
    ///
    /// # Errors
    ///
    /// It could not be written.
    pub(super) fn finish(&mut self) -> Result<Option<Target>, ToolError> {
        self.pieces = None;
        // It has no way to panic.
        let target = self.thread.take().and_then(|thread| thread.join().ok());
        self.check().map(|()| target)
    }

    /// Drops what is left to be written, where the writer is not stuck in the middle of it; of a file all is saved that was written.
    pub(super) fn abandon(&mut self, is_file: bool) -> Option<PathBuf> {
        if !is_file {
            // A reader that does not read is not waited for.
            self.pieces = None;
            return None;
        }
        match self.finish() {
            Ok(Some(Target::File(file))) if file.length() > 0 => Some(file.partial().to_path_buf()),
            _ => None,
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(mut target: Target, pieces: &Receiver<Piece>, state: &Mutex<State>, waker: &Waker) -> Target {
    let mut save_at: Option<Instant> = None;
    loop {
        let wait = save_at.map_or(SAVE_EVERY, |at| at.saturating_duration_since(Instant::now()));
        let result = match pieces.recv_timeout(wait) {
            Ok(piece) => {
                save_at.get_or_insert_with(|| Instant::now() + SAVE_EVERY);
                target.write(&piece).map(|()| {
                    let mut state = lock(state);
                    state.written += (piece.range.end - piece.range.start) as u64;
                    state.position = piece.block.offset() + piece.range.end as u64;
                })
            }
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => {
                let saved = target.save();
                lock(state).failed = saved.err().map(|error| target.failure(error));
                waker.wake();
                return target;
            }
        };
        let result = match save_at.filter(|at| Instant::now() >= *at) {
            Some(_) => {
                save_at = None;
                result.and_then(|()| target.save())
            }
            None => result,
        };
        if let Err(error) = result {
            lock(state).failed = Some(target.failure(error));
            waker.wake();
            return target;
        }
        waker.wake();
    }
}
