//! Contents that were shared and are shared no more, so that peers that fetch one can be told.
//!
//! A file that was changed, or is gone, may be back in a moment under the same ids: it was touched, renamed, or replaced by its
//! like. So its ids are doubtful first, and count as withdrawn only when no file of the same length is left to be hashed.

use std::collections::{BTreeSet, VecDeque};

use cjp2p_wire::content_id::{ContentId, Hash};

use crate::file::Ids;

/// Contents remembered as withdrawn, and as doubtful. Of more, the first are forgotten: a peer that asks for them hears only that
/// they are not here.
pub const MAX_GONE: usize = 4096;

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Gone {
    /// Ids, and the length of the content.
    doubtful: VecDeque<(Ids, u64)>,
    withdrawn: VecDeque<Ids>,
    /// Invariant: both hashes of everything in `withdrawn`.
    hashes: BTreeSet<Hash>,
}

impl Gone {
    /// A file of this length was shared by these ids, and is so no more.
    pub fn doubt(&mut self, ids: Ids, length: u64) {
        if self.doubtful.len() == MAX_GONE {
            self.doubtful.pop_front();
        }
        self.doubtful.push_back((ids, length));
    }

    /// Whether nothing is doubtful.
    pub fn is_settled(&self) -> bool {
        self.doubtful.is_empty()
    }

    /// Decides about what is doubtful, but for contents of a length for which `may_come` holds.
    pub fn settle(&mut self, may_come: impl Fn(u64) -> bool, is_shared: impl Fn(&Ids) -> bool) {
        for (ids, length) in std::mem::take(&mut self.doubtful) {
            if may_come(length) {
                self.doubtful.push_back((ids, length));
            } else if !is_shared(&ids) && !self.hashes.contains(&ids.blake3) {
                self.withdraw(ids);
            }
        }
    }

    fn withdraw(&mut self, ids: Ids) {
        if self.withdrawn.len() == MAX_GONE
            && let Some(first) = self.withdrawn.pop_front()
        {
            self.hashes.remove(&first.blake3);
            self.hashes.remove(&first.sha256);
        }
        self.withdrawn.push_back(ids);
        self.hashes.insert(ids.blake3);
        self.hashes.insert(ids.sha256);
    }

    /// Whether the content of this id was withdrawn at some time. It may be shared again.
    pub fn has(&self, id: &ContentId) -> bool {
        match id {
            ContentId::Blake3(hash) | ContentId::Tree(hash) | ContentId::Sha256(hash) => {
                self.hashes.contains(hash)
            }
            ContentId::Name(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(n: u64) -> Ids {
        let hash = *blake3::hash(&n.to_le_bytes()).as_bytes();
        Ids { blake3: hash, sha256: hash.map(|byte| !byte) }
    }

    fn has(gone: &Gone, n: u64) -> bool {
        let Ids { blake3, sha256 } = ids(n);
        let all = [ContentId::Blake3(blake3), ContentId::Tree(blake3), ContentId::Sha256(sha256)];
        let has = all.map(|id| gone.has(&id));
        assert!(has.iter().all(|one| *one == has[0]), "{has:?}");
        has[0]
    }

    #[test]
    fn nothing_is_withdrawn_that_may_be_back_in_a_moment() {
        let mut gone = Gone::default();
        gone.doubt(ids(1), 10);
        gone.doubt(ids(2), 20);
        gone.doubt(ids(3), 30);
        assert!(!has(&gone, 1) && !gone.is_settled());
        gone.settle(|length| length == 10, |of| *of == ids(3));
        assert_eq!([1, 2, 3].map(|n| has(&gone, n)), [false, true, false]);
        assert!(!gone.is_settled());
        gone.settle(|_| false, |_| false);
        assert_eq!([1, 2, 3].map(|n| has(&gone, n)), [true, true, false]);
        assert!(gone.is_settled());
    }

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let mut gone = Gone::default();
        let all = 2 * MAX_GONE as u64;
        for n in 0..all {
            gone.doubt(ids(n), 1);
            gone.doubt(ids(n), 1);
            assert!(gone.doubtful.len() <= MAX_GONE);
            gone.settle(|_| n % 7 == 0, |_| false);
            assert!(gone.withdrawn.len() <= MAX_GONE && gone.hashes.len() == 2 * gone.withdrawn.len());
        }
        gone.settle(|_| false, |_| false);
        assert!(has(&gone, all - 1) && !has(&gone, 0));
        assert_eq!(gone.withdrawn.len(), MAX_GONE);
    }
}
