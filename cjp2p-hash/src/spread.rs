//! Hashing a large file on all cores.
//!
//! Each thread takes the next group that nobody has, reads it a piece at a time, and hashes each piece while it is in the cache of
//! its core. No thread waits for another, and none is woken, but for SHA-256.
//!
//! The threads are not those of [`Workers`](cjp2p_io::workers::Workers): they borrow the file and end with it, and the thread that
//! wants the result is one of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use cjp2p_io::holes::HoleReader;
use cjp2p_io::in_order::{Filled, Sizes, take_in_order};
use cjp2p_wire::tree::{GROUP_LEN, Group, GroupHasher, GroupIndex};

use crate::hashers::{Digests, Failed, Hashers, Wanted, hash_group};
use crate::input::{BLOCK_LEN, PIECE_LEN};

/// More threads than this only wait for memory.
const MAX_THREADS: usize = 16;

/// Blocks that are read ahead of SHA-256, which has to take them in order.
const WAITING_BLOCKS: usize = 2;

/// Reads and hashes groups of a regular file, from byte `start` on, on all cores; all but SHA-256, which cannot be spread.
///
/// A read finds the end, whatever the file's length said. Each thread goes on until it has seen the end.
pub(crate) fn spread(
    file: &File,
    start: u64,
    wanted: Wanted<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Digests, Failed> {
    let next = AtomicU64::new(0);
    let in_order = Mutex::new(InOrder::new(wanted));
    let work = |progress: &mut dyn FnMut(u64)| {
        let mut reader = HoleReader::default();
        // The leaves are hashed from the whole group.
        let mut buffer = vec![0; if wanted.leaves.is_some() { BLOCK_LEN } else { PIECE_LEN }];
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let hashed = hash_at(file, &mut reader, start, index, &mut buffer, wanted);
            let more = hashed.as_ref().is_ok_and(|(length, _)| *length == BLOCK_LEN);
            let mut in_order = in_order.lock().unwrap_or_else(PoisonError::into_inner);
            in_order.take(index, hashed);
            let (length, more) = (in_order.hashers.length(), more && in_order.failed.is_none());
            // To show progress may take as long as a terminal likes.
            drop(in_order);
            progress(length);
            if !more {
                return;
            }
        }
    };
    let mut told = 0;
    let mut tell = |length: u64| progress(length - std::mem::replace(&mut told, length));
    thread::scope(|scope| {
        for _ in 1..cores() {
            // Where the system has no room for a thread, the others do its part.
            if thread::Builder::new().spawn_scoped(scope, || work(&mut |_| {})).is_err() {
                break;
            }
        }
        work(&mut tell);
    });
    let in_order = in_order.into_inner().unwrap_or_else(PoisonError::into_inner);
    tell(in_order.hashers.length());
    in_order.finish()
}

/// The same with SHA-256: this thread computes it and does nothing else, while the others read and compute the rest. `None` where
/// the system has no room for a single thread.
pub(crate) fn spread_sha256(
    file: &File,
    start: u64,
    wanted: Wanted<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Option<Digests>, Failed> {
    let sizes = Sizes { threads: (cores() - 1).max(1), waiting: WAITING_BLOCKS, block_len: BLOCK_LEN };
    let mut hashers = Hashers::new(wanted);
    let fill = |reader: &mut HoleReader, index: u64, block: &mut [u8]| {
        let (length, group) = hash_at(file, reader, start, index, block, wanted)?;
        Ok(Filled { length, value: group, more: length == BLOCK_LEN })
    };
    let take = |group: Option<Group>, bytes: &[u8]| {
        hashers.push(group.as_ref(), bytes.len(), bytes)?;
        progress(bytes.len() as u64);
        Ok(())
    };
    match take_in_order(sizes, fill, take) {
        Some(Ok(())) => Ok(Some(hashers.finish())),
        Some(Err(error)) => Err(error),
        None => Ok(None),
    }
}

/// Threads that are of use.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS)
}

/// What was read of a group, and its hash: `None` where BLAKE3 is not wanted, and past the end.
type HashedGroup = (usize, Option<Group>);

/// Reads the group numbered `index` and hashes it, apart from its SHA-256. The buffer is for a piece, or for all of it, which is then
/// left there.
fn hash_at(
    file: &File,
    reader: &mut HoleReader,
    start: u64,
    index: u64,
    buffer: &mut [u8],
    wanted: Wanted<'_>,
) -> Result<HashedGroup, Failed> {
    let in_pieces = wanted.tree() && wanted.leaves.is_none();
    let mut hasher = in_pieces.then(|| GroupHasher::new(GroupIndex(index)));
    let mut length = 0;
    while length < BLOCK_LEN {
        let at = length % buffer.len();
        let piece = &mut buffer[at..at + PIECE_LEN];
        let read = reader.read(file, start + index * GROUP_LEN + length as u64, piece)?;
        if let Some(hasher) = &mut hasher {
            hasher.update(&piece[..read]);
        }
        length += read;
        if read < PIECE_LEN {
            break;
        }
    }
    // Reads past the end find nothing. Empty content has a group too.
    let group = match (length > 0 || index == 0, wanted.leaves) {
        (false, _) => None,
        (true, None) => hasher.map(GroupHasher::finish),
        (true, leaves) => Some(hash_group(GroupIndex(index), &buffer[..length], leaves)?),
    };
    Ok((length, group))
}

/// Puts groups in order.
struct InOrder<'a> {
    hashers: Hashers<'a>,
    /// Those that came before one that is missing.
    early: BTreeMap<u64, HashedGroup>,
    next: u64,
    failed: Option<Failed>,
}

impl<'a> InOrder<'a> {
    fn new(wanted: Wanted<'a>) -> InOrder<'a> {
        InOrder { hashers: Hashers::new(wanted), early: BTreeMap::new(), next: 0, failed: None }
    }

    fn take(&mut self, index: u64, hashed: Result<HashedGroup, Failed>) {
        let pushed = hashed.and_then(|hashed| {
            self.early.insert(index, hashed);
            while let Some((length, group)) = self.early.remove(&self.next) {
                self.hashers.push(group.as_ref(), length, &[])?;
                self.next += 1;
            }
            Ok(())
        });
        if let Err(error) = pushed {
            self.failed.get_or_insert(error);
        }
    }

    fn finish(self) -> Result<Digests, Failed> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(self.hashers.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_grows_after_its_end_was_seen_is_an_error() {
        let wanted = Wanted { blake3: true, ..Wanted::default() };
        let mut in_order = InOrder::new(wanted);
        for (index, length) in [(2, 9), (0, BLOCK_LEN), (1, 5)] {
            let group = Group::hash(GroupIndex(index), &vec![7; length]);
            in_order.take(index, Ok((length, Some(group))));
        }
        let Err(Failed::Reading(error)) = in_order.finish() else { panic!("it was taken") };
        assert_eq!(error.to_string(), "it changed while it was read");
    }
}
