//! Blocks that threads fill side by side, and that this one takes in order.
//!
//! The threads are not those of [`Workers`](crate::workers::Workers): they borrow what they read, and end with it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// How many threads and blocks there are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Threads that fill blocks; one more takes them.
    pub threads: usize,
    /// Filled blocks that may wait, beside one for each thread.
    pub waiting: usize,
    /// Bytes of a block.
    pub block_len: usize,
}

/// What a thread made of a block.
#[derive(Clone, Copy, Debug)]
pub struct Filled<T> {
    /// Bytes of the block that were filled.
    pub length: usize,
    /// What goes with them.
    pub value: T,
    /// Whether another block follows. Each thread goes on until it is told that none does.
    pub more: bool,
}

type Sent<T, E> = (u64, Result<(Vec<u8>, Filled<T>), E>);

/// Has blocks filled by `fill`, which is given what its thread keeps from one block to the next, the number of the block, and the
/// memory for it. Calls `take` on this thread with the filled bytes of each, in order. `None` where the system has no room for a
/// single thread; nothing was filled then.
///
/// # Errors
///
/// The first of `fill` and `take`. Nothing is taken after it.
pub fn take_in_order<S: Default, T: Send, E: Send>(
    sizes: Sizes,
    fill: impl Fn(&mut S, u64, &mut [u8]) -> Result<Filled<T>, E> + Sync,
    mut take: impl FnMut(T, &[u8]) -> Result<(), E>,
) -> Option<Result<(), E>> {
    let next = AtomicU64::new(0);
    let (free, free_blocks) = mpsc::channel();
    // Fails only without the other end, which is right here.
    (0..sizes.threads + sizes.waiting).for_each(|_| drop(free.send(vec![0; sizes.block_len])));
    let free_blocks = Mutex::new(free_blocks);
    let free_block = || free_blocks.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
    let work = |sender: Sender<Sent<T, E>>| {
        let mut kept = S::default();
        // First the block, then the number: the one that is waited for always has memory.
        while let Some(mut block) = free_block() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let filled = fill(&mut kept, index, &mut block);
            let more = filled.as_ref().is_ok_and(|filled| filled.more);
            if sender.send((index, filled.map(|filled| (block, filled)))).is_err() || !more {
                return;
            }
        }
    };
    thread::scope(|scope| {
        let (sender, filled) = mpsc::channel();
        let started = (0..sizes.threads)
            .take_while(|_| {
                let sender = sender.clone();
                thread::Builder::new().spawn_scoped(scope, || work(sender)).is_ok()
            })
            .count();
        drop(sender);
        if started == 0 {
            return None;
        }
        // To return drops both channels, which ends the threads.
        let (free, filled) = (free, filled);
        let mut early = BTreeMap::new();
        let mut at = 0;
        for (index, sent) in filled {
            match sent {
                Ok(sent) => early.insert(index, sent),
                Err(error) => return Some(Err(error)),
            };
            while let Some((block, filled)) = early.remove(&at) {
                let bytes = block.get(..filled.length).unwrap_or_default();
                if let Err(error) = take(filled.value, bytes) {
                    return Some(Err(error));
                }
                at += 1;
                // Fails once all threads have seen the end.
                let _ = free.send(block);
            }
        }
        Some(Ok(()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { threads: 3, waiting: 2, block_len: 8 };

    fn numbered(index: u64, block: &mut [u8], count: u64) -> Filled<u64> {
        block.copy_from_slice(&index.to_le_bytes());
        Filled { length: if index < count { 8 } else { 0 }, value: index, more: index < count }
    }

    #[test]
    fn blocks_are_taken_in_order_whichever_is_filled_first() {
        let mut taken = Vec::new();
        let fill = |slow: &mut bool, index: u64, block: &mut [u8]| {
            // Two of the threads wait now and then, so that the third is ahead.
            *slow = !*slow;
            if *slow && !index.is_multiple_of(3) {
                thread::yield_now();
            }
            Ok::<_, ()>(numbered(index, block, 1000))
        };
        let take = |value: u64, bytes: &[u8]| {
            if !bytes.is_empty() {
                assert_eq!(bytes, value.to_le_bytes());
                taken.push(value);
            }
            Ok(())
        };
        assert_eq!(take_in_order(SIZES, fill, take), Some(Ok(())));
        assert_eq!(taken, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_ends_it_whichever_side_has_it() {
        for fails_at in [0, 500] {
            let fill = |_: &mut (), index: u64, block: &mut [u8]| match index == fails_at {
                true => Err("filling"),
                false => Ok(numbered(index, block, 1000)),
            };
            assert_eq!(take_in_order(SIZES, fill, |_, _| Ok(())), Some(Err("filling")));
            let fill = |_: &mut (), index: u64, block: &mut [u8]| Ok(numbered(index, block, u64::MAX));
            let take = |value, _: &[u8]| if value == fails_at { Err("taking") } else { Ok(()) };
            assert_eq!(take_in_order(SIZES, fill, take), Some(Err("taking")));
        }
    }

    #[test]
    fn without_threads_nothing_is_filled() {
        let sizes = Sizes { threads: 0, ..SIZES };
        let fill = |_: &mut (), _: u64, _: &mut [u8]| -> Result<Filled<()>, ()> { unreachable!("filled") };
        assert_eq!(take_in_order(sizes, fill, |_, _| Ok(())), None);
    }
}
