//! Hashing a large file on all cores.

use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use cjp2p_io::holes::HoleReader;
use cjp2p_wire::tree::{GROUP_LEN, Group, GroupIndex};

use crate::hashers::{Digests, Failed, Hashers, Wanted, hash_group};
use crate::input::{BLOCK_LEN, changed};

/// More threads than this only wait for memory; each has a block.
const MAX_THREADS: usize = 16;

/// Blocks that are read ahead of SHA-256, which has to take them in order.
const WAITING_BLOCKS: usize = 2;

/// Reads and hashes groups of a regular file, from byte `start` on, on all cores.
///
/// SHA-256 cannot be spread. This thread computes it and does nothing else, while the others read and compute the rest.
///
/// A read finds the end, whatever the file's length said. Each thread goes on until it has seen the end. `None` where the system
/// has no room for a single thread.
pub(crate) fn spread(
    file: &File,
    start: u64,
    wanted: Wanted<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Option<Digests>, Failed> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = if wanted.sha256 { cores - 1 } else { cores }.clamp(1, MAX_THREADS);
    let next = AtomicU64::new(0);
    let (free, free_blocks) = mpsc::channel();
    if wanted.sha256 {
        // Fails only without the other end, which is right here.
        (0..threads + WAITING_BLOCKS).for_each(|_| drop(free.send(vec![0; BLOCK_LEN])));
    }
    let free_blocks = Mutex::new(free_blocks);
    let free_block = || free_blocks.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
    let work = |sender: mpsc::Sender<Result<HashedGroup, Failed>>| {
        // Without SHA-256 no other thread needs the bytes, and the block stays here.
        let mut reader = HoleReader::default();
        let mut own = (!wanted.sha256).then(|| vec![0; BLOCK_LEN]);
        // First the block, then the number: the group that is waited for always has a block.
        while let Some(mut block) = own.take().or_else(free_block) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let mut hashed = hash_at(file, &mut reader, start, index, &mut block, wanted);
            let more = hashed.as_ref().is_ok_and(|hashed| hashed.length == BLOCK_LEN);
            match &mut hashed {
                Ok(hashed) if wanted.sha256 => hashed.block = block,
                _ => own = Some(block),
            }
            if sender.send(hashed).is_err() || !more {
                return;
            }
        }
    };
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        let started = (0..threads)
            .take_while(|_| {
                let sender = sender.clone();
                thread::Builder::new().spawn_scoped(scope, || work(sender)).is_ok()
            })
            .count();
        drop(sender);
        if started == 0 {
            return Ok(None);
        }
        collect(receiver, free, wanted, progress).map(Some)
    })
}

/// Reads the group numbered `index` into `block` and hashes it, apart from its SHA-256.
fn hash_at(
    file: &File,
    reader: &mut HoleReader,
    start: u64,
    index: u64,
    block: &mut [u8],
    wanted: Wanted<'_>,
) -> Result<HashedGroup, Failed> {
    let length = reader.read(file, start + index * GROUP_LEN, block)?;
    // Reads past the end find nothing. Empty content has a group too.
    let is_group = wanted.tree() && (length > 0 || index == 0);
    let group =
        is_group.then(|| hash_group(GroupIndex(index), &block[..length], wanted.leaves)).transpose()?;
    Ok(HashedGroup { index, length, group, block: Vec::new() })
}

struct HashedGroup {
    index: u64,
    length: usize,
    /// `None` where BLAKE3 is not wanted, and past the end.
    group: Option<Group>,
    /// The bytes, where SHA-256 is wanted.
    block: Vec<u8>,
}

/// Puts groups in order and gives the blocks of finished groups back to be read into. Ends the threads by dropping its ends
/// of the channels.
fn collect(
    groups: Receiver<Result<HashedGroup, Failed>>,
    free: Sender<Vec<u8>>,
    wanted: Wanted<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Digests, Failed> {
    let mut hashers = Hashers::new(wanted);
    let mut early = BTreeMap::new();
    let mut next = 0;
    let mut ended = false;
    for hashed in groups {
        let hashed = hashed?;
        early.insert(hashed.index, hashed);
        while let Some(hashed) = early.remove(&next) {
            if ended && hashed.length > 0 {
                return Err(changed().into());
            }
            let bytes = hashed.block.get(..hashed.length).unwrap_or_default();
            hashers.push(hashed.group.as_ref(), hashed.length, bytes);
            progress(hashed.length as u64);
            ended |= hashed.length < BLOCK_LEN;
            next += 1;
            // Fails once all threads have seen the end.
            let _ = free.send(hashed.block);
        }
    }
    Ok(hashers.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_grows_after_its_end_was_seen_is_an_error() {
        let (sender, receiver) = mpsc::channel();
        for (index, length) in [(2, 9), (0, BLOCK_LEN), (1, 5)] {
            let block = vec![7; length];
            let group = Some(Group::hash(GroupIndex(index), &block));
            sender.send(Ok(HashedGroup { index, length, group, block })).unwrap();
        }
        drop(sender);
        let (free, _blocks) = mpsc::channel();
        let wanted = Wanted { blake3: true, ..Wanted::default() };
        let Err(Failed::Reading(error)) = collect(receiver, free, wanted, &mut |_| {}) else {
            panic!("it was taken")
        };
        assert_eq!(error.to_string(), "it changed while it was read");
    }
}
