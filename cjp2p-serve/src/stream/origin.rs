//! The thread of a stream that begins here: cuts what comes into blocks, signs each, and says of the whole what viewers need to know.
//!
//! Offsets are reserved before anything is signed at them, so no block is ever signed twice with different content: after any end of the
//! process the next part begins where the reserve ended.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cjp2p_io::event_loop::Waker;
use cjp2p_io::stream_files::{BlockFiles, Floor, Record};
use cjp2p_wire::signed::SigningKey;
use cjp2p_wire::stream::marks::{Joins, MarkKind, Marks};
use cjp2p_wire::stream::{BLOCK_LEN, Join, SignedBlock, SignedStatement, Statement, StreamId};
use cjp2p_wire::time::Time;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::input::{Got, Input};
use super::pace::Pace;
use super::reserve::Reserve;

/// How often the origin says how far the stream goes, whether or not anything came.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// Between two statements that tell of new places to join, at the least.
const SAY_NO_SOONER: Duration = Duration::from_millis(100);
/// Bytes read at once.
const READ_LEN: usize = 64 << 10;
/// When it is to stop, so many reads take what is there: more than a pipe holds.
const READS_AT_THE_END: usize = 32;
/// News on the way before the thread waits: so many blocks.
const MAX_NEWS: usize = 4096;

/// What the thread tells.
#[derive(Debug)]
pub(super) enum News {
    /// A block is new, or longer than before.
    Block(SignedBlock),
    /// What is said now of the whole.
    Statement(SignedStatement),
    /// A part begins at this offset, and why.
    Part(u64, &'static str),
    /// The input ended: the stream has so many bytes, and where it is one part from the start, this BLAKE3 hash.
    Ended { length: u64, blake3: Option<blake3::Hash> },
    /// It cannot go on.
    Failed(String),
}

/// A stream that is to begin here.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) key: SigningKey,
    pub(super) id: StreamId,
    pub(super) input: Input,
    pub(super) record: Record,
    pub(super) record_path: PathBuf,
    pub(super) files: BlockFiles,
    pub(super) marks: MarkKind,
    /// What came is given after a pause of so long.
    pub(super) flush: Duration,
}

/// The thread, to be told to end.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) news: Receiver<News>,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Origin {
    /// Starts it. `waker` is woken when there is news.
    ///
    /// # Errors
    ///
    /// Where the system has no thread or descriptor left.
    pub(super) fn start(plan: Plan, floor: Floor, waker: Waker) -> io::Result<Origin> {
        let (sender, news) = mpsc::sync_channel(MAX_NEWS);
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let theirs = stop.clone();
        let thread = thread::Builder::new().name("origin".into()).spawn(move || {
            let failed = match Cutter::new(plan, floor, sender.clone(), waker.clone()) {
                Ok(cutter) => cutter.run(&theirs),
                Err(error) => Err(error),
            };
            if let Err(error) = failed {
                let _ = sender.send(News::Failed(error.to_string()));
            }
            waker.wake();
        })?;
        Ok(Origin { news, stop, thread: Some(thread) })
    }

    /// Has it sign and tell what is left, and waits for that. Gives the last news.
    pub(super) fn end(&mut self) -> Vec<News> {
        // Fails only where it was written so often that it is sure to be heard.
        let _ = self.stop.write(1);
        let mut last = Vec::new();
        while let Ok(news) = self.news.recv() {
            last.push(news);
        }
        if let Some(thread) = self.thread.take() {
            // It has no way to panic.
            let _ = thread.join();
        }
        last
    }
}

/// What the thread has.
struct Cutter {
    key: SigningKey,
    id: StreamId,
    input: Input,
    record: Record,
    reserve: Reserve,
    floor: Floor,
    flush: Duration,
    /// Where the part begins that comes now. It is one of the record once it has a byte.
    part_start: u64,
    /// Where the block begins that is not whole yet.
    // Invariant: a multiple of BLOCK_LEN.
    block_start: u64,
    /// What it has.
    block: Vec<u8>,
    /// Bytes of it that were given already.
    given: usize,
    pace: Pace,
    marks: Marks,
    joins: Joins,
    has_new_join: bool,
    said_at: Instant,
    noted_at: Instant,
    begun_at: Instant,
    /// Of all that came, while that is one part from the start.
    hasher: Option<blake3::Hasher>,
    news: mpsc::SyncSender<News>,
    waker: Waker,
}

impl Cutter {
    fn new(plan: Plan, floor: Floor, news: mpsc::SyncSender<News>, waker: Waker) -> io::Result<Cutter> {
        let Plan { key, id, mut input, mut record, record_path, mut files, marks, flush } = plan;
        let has_begun = record.reserved > 0;
        if !record.ended {
            complete_last_part(&mut record, &mut files);
        }
        let mut why = if has_begun { "resumed" } else { "started" };
        if let (Some(source), Some(last)) = (record.source, record.parts.last()) {
            let block = files.get((last.end - 1) / BLOCK_LEN as u64);
            let tail = block.as_ref().map_or(&[][..], |block| block.data());
            if block.is_none() || !input.resume(source, last.end - last.start, tail) {
                why = "replaced";
            }
        }
        let part_start = record.reserved;
        record.source = input.source();
        (record.begun, record.ended) = (Some(part_start), false);
        let mut reserve = Reserve::start(&record, record_path, id.clone())?;
        reserve.ensure(part_start + BLOCK_LEN as u64, &mut record)?;
        let now = Instant::now();
        let cutter = Cutter {
            marks: Marks::new(marks, part_start),
            joins: Joins::new(record.joins.iter().copied()),
            hasher: (!has_begun).then(blake3::Hasher::new),
            key,
            id,
            input,
            record,
            reserve,
            floor,
            flush,
            part_start,
            block_start: part_start,
            block: Vec::with_capacity(BLOCK_LEN),
            given: 0,
            pace: Pace::new(now),
            has_new_join: false,
            said_at: now,
            noted_at: now,
            begun_at: now,
            news,
            waker,
        };
        cutter.tell(News::Part(part_start, why));
        Ok(cutter)
    }

    fn run(mut self, stop: &EventFd) -> io::Result<()> {
        self.say(false);
        let mut buffer = vec![0; READ_LEN];
        loop {
            let now = Instant::now();
            match self.input.read(&mut buffer, self.wait(now), stop.as_fd())? {
                Got::Bytes(read) => self.take(&buffer[..read])?,
                Got::Pause => {}
                Got::NewPart(why) => self.begin_part(why)?,
                Got::End => return self.end(true),
                Got::Stop => return self.stop(),
            }
            let now = Instant::now();
            if self.has_ungiven() && self.pace.should_give(now, BLOCK_LEN - self.block.len(), self.flush) {
                self.give();
            }
            let since = now.saturating_duration_since(self.said_at);
            if since >= SAY_EVERY || self.has_new_join && since >= SAY_NO_SOONER {
                self.say(false);
            }
            self.waker.wake();
        }
    }

    /// Takes what has come into the pipe already, and ends.
    fn stop(mut self) -> io::Result<()> {
        let never = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let mut buffer = vec![0; READ_LEN];
        for _ in 0..READS_AT_THE_END {
            match self.input.read(&mut buffer, Duration::ZERO, never.as_fd())? {
                Got::Bytes(read) => self.take(&buffer[..read])?,
                Got::End => return self.end(true),
                Got::Pause | Got::NewPart(_) | Got::Stop => break,
            }
        }
        self.end(false)
    }

    /// How long to wait for what comes.
    fn wait(&self, now: Instant) -> Duration {
        let say_after = if self.has_new_join { SAY_NO_SOONER } else { SAY_EVERY };
        let to_say = (self.said_at + say_after).saturating_duration_since(now);
        match self.has_ungiven() {
            true => to_say.min(self.pace.wait(now, BLOCK_LEN - self.block.len(), self.flush)),
            false => to_say,
        }
    }

    fn has_ungiven(&self) -> bool {
        self.block.len() > self.given
    }

    /// Where the stream ends now.
    fn end_of_all(&self) -> u64 {
        self.block_start + self.block.len() as u64
    }

    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let now = Instant::now();
        self.pace.on_bytes(now, bytes.len());
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        let time = unix_ms();
        let since = Time::ZERO + now.saturating_duration_since(self.begun_at);
        for offset in self.marks.push(since, bytes) {
            self.joins.push(Join { offset, time });
            self.has_new_join = true;
        }
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(BLOCK_LEN - self.block.len()));
            self.reserve.ensure(self.block_start + BLOCK_LEN as u64, &mut self.record)?;
            self.block.extend_from_slice(head);
            self.note_end();
            bytes = rest;
            if self.block.len() == BLOCK_LEN {
                self.give();
                self.block_start += BLOCK_LEN as u64;
                self.block.clear();
                self.given = 0;
                self.pace.on_whole(!bytes.is_empty());
            }
        }
        Ok(())
    }

    /// The part that comes now goes so far.
    fn note_end(&mut self) {
        let (start, end) = (self.part_start, self.end_of_all());
        match self.record.parts.last_mut().filter(|part| part.start == start) {
            Some(part) => part.end = end,
            None => self.record.parts.push(start..end),
        }
    }

    /// Signs what there is of the block, and tells.
    fn give(&mut self) {
        let index = self.block_start / BLOCK_LEN as u64;
        if let Some(block) = SignedBlock::sign(&self.key, &self.id, index, &self.block) {
            self.given = self.block.len();
            self.tell(News::Block(block));
        }
    }

    fn begin_part(&mut self, why: &'static str) -> io::Result<()> {
        if self.has_ungiven() {
            self.give();
        }
        if self.end_of_all() == self.part_start {
            // Nothing came of the one before.
            self.marks.begin_part(self.part_start);
        } else {
            self.part_start = self.end_of_all().next_multiple_of(BLOCK_LEN as u64);
            // Apart from the last, so that it shows.
            if self.end_of_all() == self.part_start {
                self.part_start += BLOCK_LEN as u64;
            }
            (self.block_start, self.given) = (self.part_start, 0);
            self.block.clear();
            self.marks.begin_part(self.part_start);
            self.hasher = None;
        }
        (self.record.source, self.record.begun) = (self.input.source(), Some(self.part_start));
        self.reserve.ensure(self.part_start + BLOCK_LEN as u64, &mut self.record)?;
        self.reserve.note(&self.record);
        self.tell(News::Part(self.part_start, why));
        self.say(false);
        Ok(())
    }

    /// Says of the whole what there is to say.
    fn say(&mut self, ended: bool) {
        let floor = self.floor.offset();
        self.joins.forget_before(floor);
        self.record.parts.retain(|part| part.end > floor);
        // Parts whose bytes are not given yet are not told of.
        let given = self.block_start + self.given as u64;
        let parts = self.record.parts.iter().map(|part| part.start.max(floor)..part.end.min(given));
        let parts: Vec<_> = parts.filter(|part| part.start < part.end).collect();
        let end = parts.last().map_or(0, |part| part.end);
        let joins = self.joins.as_slice().iter().copied().filter(|join| join.offset < end).collect();
        self.record.time = unix_ms().max(self.record.time + 1);
        self.record.joins = self.joins.as_slice().to_vec();
        let statement = Statement { end, ended, time: self.record.time, parts, joins };
        match SignedStatement::sign(&self.key, &self.id, statement) {
            Some(statement) => self.tell(News::Statement(statement)),
            None => log::error!("{}: a statement is out of order", self.id),
        }
        self.has_new_join = false;
        self.said_at = Instant::now();
        // Bringing it to the disk is not worth the while for each place to join.
        if self.said_at.saturating_duration_since(self.noted_at) >= SAY_EVERY {
            self.noted_at = self.said_at;
            self.reserve.note(&self.record);
        }
    }

    fn end(mut self, ended: bool) -> io::Result<()> {
        if self.has_ungiven() {
            self.give();
        }
        let length = self.end_of_all();
        self.say(ended);
        if ended {
            let blake3 = self.hasher.as_ref().filter(|_| self.part_start == 0).map(blake3::Hasher::finalize);
            self.tell(News::Ended { length, blake3 });
        }
        // Nothing after this was signed.
        self.record.reserved = length.next_multiple_of(BLOCK_LEN as u64).max(BLOCK_LEN as u64);
        self.record.ended = ended;
        self.reserve.finish(&self.record)
    }

    fn tell(&self, news: News) {
        // Where it has no room the network is behind, and what comes waits in its pipe. It fails only at the end.
        let full = match self.news.try_send(news) {
            Err(mpsc::TrySendError::Full(news)) => news,
            Ok(()) | Err(mpsc::TrySendError::Disconnected(_)) => return,
        };
        self.waker.wake();
        let _ = self.news.send(full);
    }
}

/// The part that had begun may go on beyond what the record says, or the last of it did not get to the disk: it goes as far as its blocks
/// are there.
fn complete_last_part(record: &mut Record, files: &mut BlockFiles) {
    let Some(begun) = record.begun else { return };
    let noted = record.parts.last().filter(|part| part.start == begun).map_or(begun, |part| part.end);
    let mut end = noted;
    while end > begun && files.get((end - 1) / BLOCK_LEN as u64).is_none_or(|block| block.end() < end) {
        end = begun.max((end - 1) / BLOCK_LEN as u64 * BLOCK_LEN as u64);
    }
    let end = files.end_from(end, record.reserved);
    record.parts.retain(|part| part.start != begun);
    if end > begun {
        record.parts.push(begun..end);
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests;
