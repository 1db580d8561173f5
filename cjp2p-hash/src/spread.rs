//! Hashing a large file on all cores.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use cjp2p_wire::tree::{GROUP_LEN, Group, Tree, TreeBuilder};

use crate::digest::{BLOCK_LEN, Failed, hash_group, read_full};

/// More threads than this only wait for memory; each has a block.
const MAX_THREADS: usize = 16;

/// Reads and hashes groups of a regular file on all cores.
///
/// The end is where a read says so, not where the file's length said it would be. Each thread goes on until it has
/// seen the end.
pub(crate) fn spread(
    file: &File,
    leaves: Option<&File>,
    progress: &mut dyn FnMut(u64),
) -> Result<Tree, Failed> {
    let threads = thread::available_parallelism().map_or(1, |count| count.get().min(MAX_THREADS));
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let work = |sender: mpsc::Sender<Result<HashedGroup, Failed>>| {
        let mut block = vec![0; BLOCK_LEN];
        let mut more = true;
        while more && !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let read = read_full(&mut At { file, offset: index * GROUP_LEN }, &mut block);
            let hashed = read.map_err(Failed::Reading).and_then(|length| {
                // Reads past the end find nothing. Empty content has a group all the same.
                let group = match length {
                    0 if index > 0 => None,
                    _ => Some(hash_group(index, &block[..length], leaves)?),
                };
                Ok(HashedGroup { index, length, group })
            });
            more = hashed.as_ref().is_ok_and(|hashed| hashed.length == BLOCK_LEN);
            if sender.send(hashed).is_err() {
                return;
            }
        }
    };
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..threads {
            let sender = sender.clone();
            scope.spawn(|| work(sender));
        }
        drop(sender);
        let tree = collect(&receiver, progress);
        stop.store(true, Ordering::Relaxed);
        tree
    })
}

struct HashedGroup {
    index: u64,
    length: usize,
    group: Option<Group>,
}

/// Puts groups in order.
fn collect(
    groups: &Receiver<Result<HashedGroup, Failed>>,
    progress: &mut dyn FnMut(u64),
) -> Result<Tree, Failed> {
    let mut builder = TreeBuilder::new();
    let mut early = BTreeMap::new();
    let mut next = 0;
    let mut ended = false;
    for hashed in groups {
        let hashed = hashed?;
        progress(hashed.length as u64);
        early.insert(hashed.index, hashed);
        while let Some(hashed) = early.remove(&next) {
            if ended && hashed.length > 0 {
                return Err(io::Error::other("it changed while it was read").into());
            }
            if let Some(group) = hashed.group {
                builder.push_group(&group);
            }
            ended |= hashed.length < BLOCK_LEN;
            next += 1;
        }
    }
    Ok(builder.finish())
}

/// Reads a file from a place of its own, as several threads can do at once.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(block, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_grows_after_its_end_was_seen_is_an_error() {
        let (sender, receiver) = mpsc::channel();
        for (index, length) in [(2, 9), (0, BLOCK_LEN), (1, 5)] {
            let group = Some(Group::hash(index, &vec![7; length]));
            sender.send(Ok(HashedGroup { index, length, group })).unwrap();
        }
        drop(sender);
        let Err(Failed::Reading(error)) = collect(&receiver, &mut |_| {}) else { panic!("it was taken") };
        assert_eq!(error.to_string(), "it changed while it was read");
    }
}
