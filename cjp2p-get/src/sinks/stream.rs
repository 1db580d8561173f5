//! Standard output, or a device: bytes leave in order, each verified, as soon as those before it are there.
//!
//! What comes early waits in a window of bounded size. A thread of its own writes, because the reader may be slow.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use cjp2p_wire::io::event_loop::Waker;
use cjp2p_wire::tool::{Exit, ToolError, names};
use cjp2p_wire::tree::Verified;

use super::{Destination, Publication};

/// Bytes beyond what the reader has taken that are asked for.
const WINDOW: u64 = 8 << 20;
/// How often, in bytes, the network is told that the reader has taken some.
const TELL_EVERY: u64 = 256 << 10;

/// What the bytes are written to.
#[derive(Debug)]
pub(crate) struct Output {
    file: File,
    /// `None` is standard output.
    path: Option<PathBuf>,
}

impl Output {
    /// Standard output, without the buffer that the library has for it.
    pub(crate) fn stdout() -> Result<Output, ToolError> {
        let file = io::stdout().as_fd().try_clone_to_owned().map_err(ToolError::output)?;
        Ok(Output { file: file.into(), path: None })
    }

    /// A device or pipe. Waits until a pipe has a reader.
    pub(crate) fn device(path: &Path) -> Result<Output, ToolError> {
        let opened = OpenOptions::new().write(true).open(path);
        match opened {
            Ok(file) => Ok(Output { file, path: Some(path.to_owned()) }),
            Err(error) => Err(failure(Some(path), error)),
        }
    }

    pub(super) fn try_clone(&self) -> io::Result<Output> {
        Ok(Output { file: self.file.try_clone()?, path: self.path.clone() })
    }

    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    pub(super) fn failure(&self, error: io::Error) -> ToolError {
        failure(self.path.as_deref(), error)
    }
}

fn failure(path: Option<&Path>, error: io::Error) -> ToolError {
    match path {
        Some(path) if error.kind() != io::ErrorKind::BrokenPipe => {
            ToolError::new(Exit::Destination, format!("{}: {error}", names::shown(path)))
        }
        _ => ToolError::output(error),
    }
}

/// See the [module](self).
pub(crate) struct Stream {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    /// Blocks that wait for those before them.
    early: BTreeMap<u64, Vec<u8>>,
    /// The end of what the writer was given.
    handed: u64,
    path: Option<PathBuf>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Vec<u8>>,
    written: u64,
    /// Nothing more will come.
    closing: bool,
    failed: bool,
    /// Why, until somebody has taken it.
    error: Option<io::Error>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Vec<u8>> {
        let mut state = self.state();
        loop {
            if let Some(block) = state.queue.pop_front() {
                return Some(block);
            }
            if state.closing {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn write_all(&self, mut file: File, waker: &Waker) {
        while let Some(block) = self.next() {
            let result = file.write_all(&block);
            let mut state = self.state();
            match result {
                Ok(()) => {
                    let before = state.written;
                    state.written += block.len() as u64;
                    if before / TELL_EVERY != state.written / TELL_EVERY || state.queue.is_empty() {
                        waker.wake();
                    }
                }
                Err(error) => {
                    state.failed = true;
                    state.error = Some(error);
                    state.queue.clear();
                    waker.wake();
                    return;
                }
            }
        }
    }
}

impl State {
    fn check(&mut self) -> io::Result<()> {
        match self.error.take() {
            Some(error) => Err(error),
            None if self.failed => Err(io::ErrorKind::BrokenPipe.into()),
            None => Ok(()),
        }
    }
}

impl Stream {
    /// Starts to write to `output`. `waker` is woken when there is room again, or nothing can be written any more.
    pub(crate) fn start(output: Output, waker: Waker) -> io::Result<Stream> {
        let shared = Arc::new(Shared::default());
        let writer = {
            let shared = shared.clone();
            thread::Builder::new().spawn(move || shared.write_all(output.file, &waker))?
        };
        Ok(Stream { shared, writer: Some(writer), early: BTreeMap::new(), handed: 0, path: output.path })
    }
}

impl Destination for Stream {
    fn write(&mut self, block: Verified<'_>) -> io::Result<()> {
        self.early.insert(block.offset(), block.bytes().to_vec());
        let mut state = self.shared.state();
        state.check()?;
        while let Some(entry) = self.early.first_entry() {
            if *entry.key() != self.handed {
                break;
            }
            let next = entry.remove();
            self.handed += next.len() as u64;
            state.queue.push_back(next);
        }
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }

    fn room(&self) -> u64 {
        self.shared.state().written + WINDOW
    }

    fn problem(&mut self) -> Option<io::Error> {
        self.shared.state().error.take()
    }

    fn publish(&mut self, _: u64) -> Publication {
        let (shared, writer, path) = (self.shared.clone(), self.writer.take(), self.path.clone());
        Box::new(move || {
            shared.state().closing = true;
            shared.changed.notify_one();
            if let Some(writer) = writer {
                // It has no way to panic.
                let _ = writer.join();
            }
            let written = shared.state().check();
            written.map_err(|error| failure(path.as_deref(), error))
        })
    }

    fn failure(&self, error: io::Error) -> ToolError {
        failure(self.path.as_deref(), error)
    }
}
