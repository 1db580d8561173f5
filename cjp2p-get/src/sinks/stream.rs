//! Standard output, or a device: bytes leave in order, each verified, as soon as those before it are there. The order is
//! that in which they are wanted: of all of the content that of its offsets, of ranges that of their priorities.
//!
//! What comes early waits in a window of bounded size. A thread of its own writes, because the reader may be slow. What
//! was written lately is kept for others who fetch the same at the same time.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use cjp2p_cli::{Exit, ToolError, stdout};
use cjp2p_io::event_loop::Waker;
use cjp2p_io::names;
use cjp2p_wire::content_id::Hash;
use cjp2p_wire::download::{RangeSpec, select};
use cjp2p_wire::range_set::RangeSet;
use cjp2p_wire::store::{Parts, Read};
use cjp2p_wire::tree::{GroupIndex, Run, Verified};

use super::destination::{Destination, Publication};
use crate::links::{Leads, follow, open_own};
use cjp2p_io::partial::known_tree::{Content, KnownTree, NoTree};

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
        stdout::check_open()?;
        let file = io::stdout().as_fd().try_clone_to_owned().map_err(ToolError::output)?;
        Ok(Output { file: file.into(), path: None })
    }

    /// A device or pipe, or a descriptor of ours. Waits until a pipe has a reader.
    pub(crate) fn device(path: &Path) -> Result<Output, ToolError> {
        let opened = match follow(path) {
            Ok(Leads::Own(number)) => open_own(number),
            _ => OpenOptions::new().write(true).open(path),
        };
        match opened {
            Ok(file) => Ok(Output { file, path: Some(path.to_owned()) }),
            Err(error) => Err(failure(Some(path), error)),
        }
    }

    pub(crate) fn try_clone(&self) -> io::Result<Output> {
        Ok(Output { file: self.file.try_clone()?, path: self.path.clone() })
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        stdout::write_to(&self.file, bytes)
    }

    pub(crate) fn failure(&self, error: io::Error) -> ToolError {
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
    wanted: Vec<RangeSpec>,
    /// What the writer is to be given, in order. While the length is not proven, up to a range that depends on it.
    plan: VecDeque<Range<u64>>,
    // Invariant: the same as a set.
    planned: RangeSet,
    /// How many bytes the writer was given.
    handed: u64,
    /// Blocks by their offset, apart from each other.
    // Invariant: all those with bytes that the writer may have to be given yet, and of the others the last.
    kept: BTreeMap<u64, Arc<[u8]>>,
    // Invariant: the ranges of `kept`.
    have: RangeSet,
    /// Those that the writer needs no more, in the order in which they are forgotten.
    spent: VecDeque<u64>,
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
    queue: VecDeque<Piece>,
    written: u64,
    /// Nothing more will come.
    closing: bool,
    failed: bool,
    /// Why, until somebody has taken it.
    error: Option<io::Error>,
}

/// A range of a block.
struct Piece {
    block: Arc<[u8]>,
    range: Range<usize>,
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        &self.block[self.range.clone()]
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Piece> {
        let mut state = self.state();
        loop {
            if let Some(piece) = state.queue.pop_front() {
                return Some(piece);
            }
            if state.closing {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn write_all(&self, file: &File, waker: &Waker) {
        while let Some(piece) = self.next() {
            let result = stdout::write_to(file, piece.bytes());
            let mut state = self.state();
            match result {
                Ok(()) => {
                    let before = state.written;
                    state.written += piece.bytes().len() as u64;
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
    /// Starts to write these ranges of the content with this BLAKE3 hash to `output`. `waker` is woken when there is room
    /// again, or nothing can be written any more.
    pub(crate) fn start(
        root: Hash,
        wanted: Vec<RangeSpec>,
        output: Output,
        waker: Waker,
    ) -> io::Result<Stream> {
        let shared = Arc::new(Shared::default());
        let writer = {
            let shared = shared.clone();
            thread::Builder::new().spawn(move || shared.write_all(&output.file, &waker))?
        };
        let mut stream = Stream {
            shared,
            writer: Some(writer),
            wanted,
            plan: VecDeque::new(),
            planned: RangeSet::new(),
            handed: 0,
            kept: BTreeMap::new(),
            have: RangeSet::new(),
            spent: VecDeque::new(),
            tree: KnownTree::new(root),
            length: None,
            path: output.path,
        };
        stream.make_plan();
        Ok(stream)
    }

    /// Plans all that is left to be written, as far as that is known.
    fn make_plan(&mut self) {
        // What lies past the end is left out once that is known, and nothing of it comes.
        let length = self.length.unwrap_or(u64::MAX);
        let known = if self.length.is_some() { &self.wanted[..] } else { self.first_spans() };
        let waits = known.is_empty() && !self.wanted.is_empty();
        let selected = if waits { Vec::new() } else { select(known, length) };
        // Nothing of what was written can change: it was there.
        let mut handed = self.handed;
        self.plan.clear();
        for range in selected {
            let skipped = handed.min(range.end - range.start);
            handed -= skipped;
            if range.start + skipped < range.end {
                self.plan.push_back(range.start + skipped..range.end);
            }
        }
        self.planned = self.plan.iter().cloned().collect();
    }

    /// The ranges that do not depend on the length, up to the first that does.
    fn first_spans(&self) -> &[RangeSpec] {
        let spans = self.wanted.iter().take_while(|range| matches!(range, RangeSpec::Span(_))).count();
        &self.wanted[..spans]
    }

    /// Whether the writer will not be given any of this block from now on.
    fn is_spent(&self, block: Range<u64>) -> bool {
        let plan_is_whole = self.length.is_some() || self.first_spans().len() == self.wanted.len();
        plan_is_whole && !self.planned.overlaps(block)
    }

    /// The length is proven: completes the plan by it.
    fn prove(&mut self, length: u64) {
        self.tree.prove(length);
        self.length = Some(length);
        self.make_plan();
        let blocks = self.kept.iter().map(|(&start, block)| start..start + block.len() as u64);
        self.spent = blocks.filter(|block| self.is_spent(block.clone())).map(|block| block.start).collect();
    }

    /// Keeps what is new of a block: under a false length that somebody claimed some may have come before.
    fn keep(&mut self, block: &Verified<'_>) {
        let (offset, bytes) = (block.offset(), block.bytes());
        let gaps: Vec<_> = self.have.gaps(offset..offset + bytes.len() as u64).collect();
        for gap in gaps {
            let new = &bytes[(gap.start - offset) as usize..(gap.end - offset) as usize];
            self.kept.insert(gap.start, new.into());
            self.have.insert(gap.clone());
            if self.is_spent(gap.clone()) {
                self.spent.push_back(gap.start);
            }
        }
    }

    /// Gives the writer what is next.
    fn hand_over(&mut self) -> io::Result<()> {
        let mut state = self.shared.state();
        state.check()?;
        while let Some(next) = self.plan.front().cloned() {
            let Some((&start, block)) = self.kept.range(..=next.start).next_back() else { break };
            let block_end = start + block.len() as u64;
            let end = next.end.min(block_end);
            if end <= next.start {
                break;
            }
            let range = (next.start - start) as usize..(end - start) as usize;
            state.queue.push_back(Piece { block: block.clone(), range });
            self.handed += end - next.start;
            self.planned.remove(next.start..end);
            match self.plan.front_mut() {
                Some(first) if end < next.end => first.start = end,
                _ => drop(self.plan.pop_front()),
            }
            if self.is_spent(start..block_end) {
                self.spent.push_back(start);
            }
        }
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Forgets the oldest of what the writer needs no more, and of the tree what only that needed.
    fn forget(&mut self) {
        while self.have.total() > KEPT {
            let Some(start) = self.spent.pop_front() else { return };
            let Some(block) = self.kept.remove(&start) else { continue };
            self.have.remove(start..start + block.len() as u64);
            let group = GroupIndex::holding(start);
            if !self.have.overlaps(group.offset()..group.next().offset()) {
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

/// The leaves of whatever is kept are kept too.
struct NothingToHash;

impl Content for NothingToHash {
    fn has(&self, _: Range<u64>) -> bool {
        false
    }

    fn bytes(&self, _: Range<u64>) -> Option<Vec<u8>> {
        None
    }
}

impl Destination for Stream {
    fn write(&mut self, block: Verified<'_>) -> io::Result<()> {
        self.keep(&block);
        if let (None, Some(length)) = (self.length, block.proves_length()) {
            self.prove(length);
        }
        self.hand_over()?;
        self.forget();
        Ok(())
    }

    fn keep_run(&mut self, length: u64, run: Run, bytes: &[u8]) -> io::Result<()> {
        self.tree.keep(length, run, bytes);
        Ok(())
    }

    fn read(&mut self, offset: u64, length: usize, _: bool, out: &mut Vec<u8>) -> Read {
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

    fn read_tree(&mut self, offset: u64, length: usize, _: u64, out: &mut Vec<u8>) -> Result<u64, NoTree> {
        self.tree.read(offset..offset.saturating_add(length as u64), &NothingToHash, 0, out)
    }

    fn room(&self) -> u64 {
        self.shared.state().written + WINDOW
    }

    fn problem(&mut self) -> Option<io::Error> {
        self.shared.state().error.take()
    }

    fn publish(&mut self, length: u64) -> Publication {
        // Nothing at all was written of empty content.
        if self.length.is_none() {
            self.prove(length);
        }
        debug_assert!(self.plan.is_empty(), "the end comes after everything");
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

#[cfg(test)]
mod tests;
