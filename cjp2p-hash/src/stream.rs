//! Hashing what can be read only once, from its beginning to its end.

use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use crate::hashers::{Digests, Failed, Hashers, Wanted};
use crate::input::{BLOCK_LEN, read_full};

/// Bytes of the first read: a stream does not say how long it is, and may well be short or empty.
const FIRST_READ: usize = 4096;
/// Blocks that may wait for a slow hash.
const WAITING_BLOCKS: usize = 8;

/// Reads on this thread. Content of more than a block is hashed on another thread for each kind of hash.
pub(crate) fn stream(
    reader: &mut dyn Read,
    wanted: Wanted<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Digests, Failed> {
    let mut first = vec![0; FIRST_READ];
    let mut length = read_full(reader, &mut first)?;
    if length == FIRST_READ {
        first.resize(BLOCK_LEN, 0);
        length += read_full(reader, &mut first[FIRST_READ..])?;
    }
    first.truncate(length);
    if length < BLOCK_LEN {
        let mut hashers = Hashers::new(wanted);
        hashers.update(&first)?;
        progress(length as u64);
        return Ok(hashers.finish());
    }
    let blake3 = Wanted { sha256: false, ..wanted };
    let sha256 = Wanted { sha256: wanted.sha256, ..Wanted::default() };
    thread::scope(|scope| {
        let (recycle, recycled) = mpsc::channel();
        let (mut senders, mut threads, mut here) = (Vec::new(), Vec::new(), Vec::new());
        for (run, wanted) in [(wanted.tree(), blake3), (wanted.sha256, sha256)] {
            if !run {
                continue;
            }
            let (sender, receiver) = mpsc::sync_channel(WAITING_BLOCKS);
            let recycle = recycle.clone();
            let thread = thread::Builder::new();
            match thread.spawn_scoped(scope, move || hash_stream(wanted, &receiver, &recycle)) {
                Ok(thread) => {
                    senders.push(sender);
                    threads.push(thread);
                }
                // The system has no room for a thread: this one hashes between the reads.
                Err(_) => here.push(Hashers::new(wanted)),
            }
        }
        let read = read_stream(reader, first, &senders, &mut here, &recycled, progress);
        drop(senders);
        let mut digests = Digests { length: 0, tree: None, sha256: None };
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let here = here.into_iter().map(|hashers| Ok(hashers.finish()));
        for own in threads.into_iter().map(join).chain(here) {
            let own = own?;
            digests.length = own.length;
            digests.tree = digests.tree.or(own.tree);
            digests.sha256 = digests.sha256.or(own.sha256);
        }
        read?;
        Ok(digests)
    })
}

/// A block that all hashes share. The last hash to be done with it gives its memory back.
type Block = Arc<Vec<u8>>;

fn read_stream(
    reader: &mut dyn Read,
    first: Vec<u8>,
    senders: &[SyncSender<Block>],
    here: &mut [Hashers<'_>],
    recycled: &Receiver<Vec<u8>>,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Failed> {
    let mut block = first;
    loop {
        let length = block.len();
        let shared = Arc::new(block);
        for sender in senders {
            if sender.send(Arc::clone(&shared)).is_err() {
                // That thread has failed, and says why when it is joined.
                return Ok(());
            }
        }
        here.iter_mut().try_for_each(|hashers| hashers.update(&shared))?;
        progress(length as u64);
        let own = Arc::into_inner(shared);
        block = own.or_else(|| recycled.try_recv().ok()).unwrap_or_default();
        block.resize(BLOCK_LEN, 0);
        let length = read_full(reader, &mut block)?;
        block.truncate(length);
        if length == 0 {
            return Ok(());
        }
    }
}

fn hash_stream(
    wanted: Wanted<'_>,
    blocks: &Receiver<Block>,
    recycle: &mpsc::Sender<Vec<u8>>,
) -> Result<Digests, Failed> {
    let mut hashers = Hashers::new(wanted);
    for block in blocks {
        hashers.update(&block)?;
        if let Some(memory) = Arc::into_inner(block) {
            // Fails only once the reader is done and needs no more memory.
            let _ = recycle.send(memory);
        }
    }
    Ok(hashers.finish())
}
