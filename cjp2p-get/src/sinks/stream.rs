//! Standard output, or a device: bytes leave in order, each verified, as soon as those before it are there.
//!
//! What comes early waits in a window of bounded size. A thread of its own writes, because the reader may be slow. What
//! was written lately is kept for others who fetch the same at the same time.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use cjp2p_wire::content_id::Hash;
use cjp2p_wire::io::event_loop::Waker;
use cjp2p_wire::tool::{Exit, ToolError, names};
use cjp2p_wire::transfer::blobs::{Parts, Read};
use cjp2p_wire::tree::{GROUP_LEN, Run, Verified};

use super::known_tree::KnownTree;
use super::{Destination, Publication};

/// Bytes beyond what the reader has taken that are asked for.
const WINDOW: u64 = 8 << 20;
/// Bytes kept, those included that are still to be written.
const KEPT: u64 = 2 * WINDOW;
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
    /// Blocks by their offset.
    // Invariant: all those that the writer was not given yet, and of the others the last.
    kept: BTreeMap<u64, Arc<[u8]>>,
    // Invariant: the sum of the lengths of `kept`.
    kept_len: u64,
    /// The end of what the writer was given.
    handed: u64,
    tree: KnownTree,
    /// Of the whole content, once that is proven.
    length: Option<u64>,
    path: Option<PathBuf>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<[u8]>>,
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

    fn next(&self) -> Option<Arc<[u8]>> {
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
    /// Starts to write the content with this BLAKE3 hash to `output`. `waker` is woken when there is room again, or nothing
    /// can be written any more.
    pub(crate) fn start(root: Hash, output: Output, waker: Waker) -> io::Result<Stream> {
        let shared = Arc::new(Shared::default());
        let writer = {
            let shared = shared.clone();
            thread::Builder::new().spawn(move || shared.write_all(output.file, &waker))?
        };
        Ok(Stream {
            shared,
            writer: Some(writer),
            kept: BTreeMap::new(),
            kept_len: 0,
            handed: 0,
            tree: KnownTree::new(root),
            length: None,
            path: output.path,
        })
    }

    /// Gives the writer what is next.
    fn hand_over(&mut self) -> io::Result<()> {
        let mut state = self.shared.state();
        state.check()?;
        while let Some(next) = self.kept.get(&self.handed).filter(|next| !next.is_empty()) {
            self.handed += next.len() as u64;
            state.queue.push_back(next.clone());
        }
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Forgets the oldest of what the writer was given, and of the tree what only that needed.
    fn forget(&mut self) {
        while self.kept_len > KEPT {
            let Some(oldest) = self.kept.first_entry().filter(|entry| *entry.key() < self.handed) else {
                return;
            };
            let group = oldest.key() / GROUP_LEN;
            self.kept_len -= oldest.remove().len() as u64;
            if self.kept.first_key_value().is_none_or(|(next, _)| next / GROUP_LEN > group) {
                self.tree.forget_leaves(group);
            }
        }
    }

    /// Appends what is kept of `range`, from its start on.
    fn copy(&self, range: Range<u64>, out: &mut Vec<u8>) {
        let mut at = range.start;
        while at < range.end {
            let Some((start, block)) = self.kept.range(..=at).next_back() else { return };
            let skip = (at - start) as usize;
            let Some(rest) = block.get(skip..).filter(|rest| !rest.is_empty()) else { return };
            let wanted = rest.len().min(usize::try_from(range.end - at).unwrap_or(usize::MAX));
            out.extend_from_slice(&rest[..wanted]);
            at += wanted as u64;
        }
    }
}

impl Destination for Stream {
    fn write(&mut self, block: Verified<'_>) -> io::Result<()> {
        if let (None, Some(length)) = (self.length, block.proves_length()) {
            self.tree.prove(length);
            self.length = Some(length);
        }
        self.kept.insert(block.offset(), block.bytes().into());
        self.kept_len += block.bytes().len() as u64;
        self.hand_over()?;
        self.forget();
        Ok(())
    }

    fn keep_run(&mut self, length: u64, run: Run, bytes: &[u8]) -> io::Result<()> {
        self.tree.keep(length, run, bytes);
        Ok(())
    }

    fn read(&mut self, offset: u64, length: usize, out: &mut Vec<u8>) -> Read {
        let Some(total) = self.length else { return Read::Absent };
        let before = out.len();
        self.copy(offset..offset.saturating_add(length as u64).min(total), out);
        if out.len() == before && offset < total && length > 0 {
            return Read::Absent;
        }
        Read::Found { eof: Some(total) }
    }

    fn parts(&self, from: u64, most: usize) -> Option<Parts> {
        let length = self.length?;
        let kept = self.kept.iter().map(|(&start, block)| start..start + block.len() as u64);
        Some(Parts::of(&kept.collect(), length, from, most))
    }

    fn read_tree(&mut self, offset: u64, length: usize, out: &mut Vec<u8>) -> Read {
        let mut tree = std::mem::replace(&mut self.tree, KnownTree::new(Hash::default()));
        let mut content = |range: Range<u64>| {
            let mut bytes = Vec::new();
            self.copy(range.clone(), &mut bytes);
            (bytes.len() as u64 == range.end - range.start).then_some(bytes)
        };
        let eof = tree.read(offset..offset.saturating_add(length as u64), &mut content, out);
        self.tree = tree;
        eof.map_or(Read::Absent, |eof| Read::Found { eof: Some(eof) })
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
