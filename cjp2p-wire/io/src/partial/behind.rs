//! Writing to a file behind the back of whoever has the bytes: a thread of its own writes while the network goes on.
//!
//! Of a fast fetch, writing is a third of the work and more, and the network is served by one thread. A long file has one writer: two
//! that write to one file wait for each other in the kernel. Where the writer cannot keep up, it says that it is busy, and wakes the
//! network when it is no more.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use crate::event_loop::Waker;
use cjp2p_wire::tree::GROUP_LEN;

use super::sparse::Sparse;

/// The first so many bytes are written by the caller: less is not worth a thread.
const ALONE: u64 = 32 << 20;
/// Bytes that may wait to be written. A process that is killed loses them.
const WAITING: usize = 1 << 20;
/// No block is longer: with more than this the next may have no room.
const BUSY: usize = WAITING - GROUP_LEN as usize;

/// Blocks whose memory is kept for others: those that may wait, if they are long.
const MAX_SPARE: usize = WAITING / GROUP_LEN as usize;

/// See the [module](self).
pub struct WriteBehind {
    file: Arc<Sparse>,
    /// Bytes that were to be written until now.
    given: u64,
    writer: Writer,
    /// Wakes the network when it is busy no more.
    waker: Option<Waker>,
    /// And whenever a block is written.
    wakes_each: bool,
    /// What is written, until somebody asks.
    written: Vec<Range<u64>>,
}

enum Writer {
    /// It is not worth one yet, or the system has no thread left.
    None,
    Running {
        queue: Sender<Block>,
        back: Receiver<(Block, io::Result<()>)>,
        /// Blocks whose outcome is not known here.
        blocks: usize,
        /// Bytes that are not written.
        waiting: Arc<AtomicUsize>,
        /// Memory of blocks that are written.
        spare: Vec<Vec<u8>>,
    },
}

struct Block {
    offset: u64,
    bytes: Vec<u8>,
}

impl WriteBehind {
    /// To this file.
    pub fn new(file: Arc<File>) -> WriteBehind {
        let file = Arc::new(Sparse::new(file));
        WriteBehind {
            file,
            given: 0,
            writer: Writer::None,
            waker: None,
            wakes_each: false,
            written: Vec::new(),
        }
    }

    /// One that has a writer from the next block on.
    pub fn grown_up(file: File) -> WriteBehind {
        WriteBehind { given: ALONE - 1, ..WriteBehind::new(Arc::new(file)) }
    }

    /// Writes these bytes, now or soon.
    ///
    /// # Errors
    ///
    /// They could not be written, or others before them.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.settle(false)?;
        self.start_in_time(bytes.len() as u64);
        if let Writer::Running { spare, .. } = &mut self.writer {
            let mut memory = spare.pop().unwrap_or_default();
            memory.clear();
            memory.extend_from_slice(bytes);
            return self.queue(offset, memory);
        }
        self.write_now(offset, bytes)
    }

    /// The same with the memory that the bytes are in. Returns memory that is free.
    ///
    /// # Errors
    ///
    /// As for [`WriteBehind::write`].
    pub fn write_memory(&mut self, offset: u64, memory: Vec<u8>) -> io::Result<Vec<u8>> {
        self.settle(false)?;
        self.start_in_time(memory.len() as u64);
        if let Writer::Running { spare, .. } = &mut self.writer {
            let free = spare.pop().unwrap_or_default();
            self.queue(offset, memory)?;
            return Ok(free);
        }
        self.write_now(offset, &memory)?;
        Ok(memory)
    }

    fn write_now(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)?;
        self.written.push(offset..offset + bytes.len() as u64);
        Ok(())
    }

    fn queue(&mut self, offset: u64, bytes: Vec<u8>) -> io::Result<()> {
        let Writer::Running { queue, blocks, waiting, .. } = &mut self.writer else { return Err(ended()) };
        *blocks += 1;
        waiting.fetch_add(bytes.len(), Ordering::Relaxed);
        queue.send(Block { offset, bytes }).map_err(|_| ended())
    }

    /// Whether so much waits that nothing more should be given.
    pub fn is_busy(&self) -> bool {
        match &self.writer {
            Writer::Running { waiting, .. } => waiting.load(Ordering::Relaxed) > BUSY,
            Writer::None => false,
        }
    }

    /// Whom to wake when it is busy no more.
    pub fn wake_by(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }

    /// Wakes also whenever a block is written: somebody waits for it.
    pub fn wake_for_each(&mut self) {
        self.wakes_each = true;
    }

    /// Starts the writer where there is enough to write, and a processor for it.
    fn start_in_time(&mut self, more: u64) {
        let before = self.given;
        self.given += more;
        if before < ALONE
            && self.given >= ALONE
            && thread::available_parallelism().is_ok_and(|count| count.get() > 1)
        {
            let (queue, blocks) = mpsc::channel::<Block>();
            let (sender, back) = mpsc::channel();
            let (file, waker, wakes_each) = (self.file.clone(), self.waker.clone(), self.wakes_each);
            let waiting = Arc::new(AtomicUsize::new(0));
            let unwritten = waiting.clone();
            let started = thread::Builder::new().spawn(move || {
                for block in blocks {
                    let result = file.write_all_at(&block.bytes, block.offset);
                    let length = block.bytes.len();
                    if sender.send((block, result)).is_err() {
                        return;
                    }
                    let before = unwritten.fetch_sub(length, Ordering::Relaxed);
                    if (before > BUSY || wakes_each)
                        && let Some(waker) = &waker
                    {
                        waker.wake();
                    }
                }
            });
            if started.is_ok() {
                self.writer = Writer::Running { queue, back, blocks: 0, waiting, spare: Vec::new() };
            }
        }
    }

    /// Takes note of what was written meanwhile, or waits until all is.
    fn settle(&mut self, all: bool) -> io::Result<()> {
        let Writer::Running { back, blocks, spare, .. } = &mut self.writer else { return Ok(()) };
        let mut outcome = Ok(());
        while *blocks > 0 {
            let next = if all {
                back.recv().map_err(|_| ended())?
            } else {
                match back.try_recv() {
                    Ok(next) => next,
                    Err(_) => break,
                }
            };
            let (block, result) = next;
            *blocks -= 1;
            match result {
                Ok(()) => self.written.push(block.offset..block.offset + block.bytes.len() as u64),
                Err(error) => outcome = Err(error),
            }
            if spare.len() < MAX_SPARE {
                spare.push(block.bytes);
            }
        }
        outcome
    }

    /// Takes note of what was written meanwhile, without waiting.
    ///
    /// # Errors
    ///
    /// Some could not be.
    pub fn look(&mut self) -> io::Result<()> {
        self.settle(false)
    }

    /// Waits until all that was given is written.
    ///
    /// # Errors
    ///
    /// Some could not be.
    pub fn finish(&mut self) -> io::Result<()> {
        self.settle(true)
    }

    /// Empties the file, once all is written.
    ///
    /// # Errors
    ///
    /// It cannot be.
    pub fn empty(&self) -> io::Result<()> {
        self.file.empty()
    }

    /// What was written since this was asked last.
    pub fn take_written(&mut self) -> Vec<Range<u64>> {
        std::mem::take(&mut self.written)
    }
}

fn ended() -> io::Error {
    io::Error::other("the writing thread has ended")
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt;

    use cjp2p_wire::range_set::RangeSet;

    use super::*;

    const BLOCK: usize = 256 << 10;

    #[test]
    fn all_that_was_given_is_in_the_file_in_the_end_and_is_told_once() {
        let file = tempfile::tempfile().unwrap();
        let mut behind = WriteBehind::grown_up(file.try_clone().unwrap());
        let mut told = RangeSet::new();
        let mut total = 0;
        for n in 0..64_u64 {
            let at = n * 37 % 64;
            while behind.is_busy() {
                thread::yield_now();
            }
            behind.write(at * BLOCK as u64, &vec![at as u8; BLOCK]).unwrap();
            for range in behind.take_written() {
                let mut found = vec![0; BLOCK];
                file.read_exact_at(&mut found, range.start).unwrap();
                assert!(found.iter().all(|byte| u64::from(*byte) == range.start / BLOCK as u64));
                total += range.end - range.start;
                told.insert(range);
            }
            let unwritten = (n + 1) * BLOCK as u64 - told.total();
            assert!(unwritten <= WAITING as u64, "{unwritten} bytes wait");
        }
        assert!(matches!(behind.writer, Writer::Running { .. }));
        behind.finish().unwrap();
        for range in behind.take_written() {
            total += range.end - range.start;
            told.insert(range);
        }
        assert!(told.contains(0..64 * BLOCK as u64));
        assert_eq!(total, 64 * BLOCK as u64, "nothing is told twice");
    }

    #[test]
    fn memory_that_is_given_is_in_the_file_in_the_end_and_other_memory_is_free() {
        for mut behind in [WriteBehind::grown_up, |file| WriteBehind::new(Arc::new(file))].map(|start| {
            let file = tempfile::tempfile().unwrap();
            (file.try_clone().unwrap(), start(file))
        }) {
            let mut memory = vec![0; BLOCK];
            for n in 0..20_u8 {
                memory.clear();
                memory.resize(BLOCK, n + 1);
                while behind.1.is_busy() {
                    thread::yield_now();
                }
                memory = behind.1.write_memory(u64::from(n) * BLOCK as u64, memory).unwrap();
                // Whatever is done with what came back must not change what is to be written.
                memory.fill(255);
            }
            behind.1.finish().unwrap();
            for n in 0..20_u8 {
                let mut found = vec![0; BLOCK];
                behind.0.read_exact_at(&mut found, u64::from(n) * BLOCK as u64).unwrap();
                assert!(found.iter().all(|byte| *byte == n + 1));
            }
            assert_eq!(behind.1.take_written().len(), 20);
        }
    }

    #[test]
    fn what_the_writer_could_not_write_is_an_error_of_a_later_write_or_of_the_end() {
        let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut alone = WriteBehind::new(Arc::new(full()));
        assert_eq!(alone.write(0, &[1]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        let mut behind = WriteBehind::grown_up(full());
        behind.write(0, &[1; 4096]).unwrap();
        assert_eq!(behind.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(behind.take_written(), []);
        let error = (1..1000).find_map(|n| {
            thread::sleep(std::time::Duration::from_millis(1));
            behind.write(n * 4096, &[1; 4096]).err()
        });
        assert_eq!(error.unwrap().kind(), io::ErrorKind::StorageFull);
        assert_eq!(behind.take_written(), []);
    }
}
