//! What peers said that names stand for, and what was known of that before: the newest counts, and an older one is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::pointer_file::PointerFiles;
use cjp2p_wire::signed::{PointerId, SignedPointer};

/// Peers that are named to the process that fetches.
const MAX_PEERS: usize = 16;

/// See the [module](self).
pub struct Known {
    files: PointerFiles,
    newest: BTreeMap<PointerId, SignedPointer>,
    /// The peers that gave the newest of a name.
    givers: BTreeMap<PointerId, BTreeSet<SocketAddr>>,
    /// The names that some peer knows anything of.
    heard: BTreeSet<PointerId>,
    /// It was told once of each name that somebody gave an older one.
    warned: BTreeSet<PointerId>,
}

impl Known {
    /// What is remembered of these names.
    pub fn of<'a>(files: PointerFiles, ids: impl Iterator<Item = &'a PointerId>) -> Known {
        let newest = ids.filter_map(|id| Some((id.clone(), files.get(id)?))).collect();
        Known { files, newest, givers: BTreeMap::new(), heard: BTreeSet::new(), warned: BTreeSet::new() }
    }

    /// All that is remembered.
    pub fn pointers(&self) -> impl Iterator<Item = &SignedPointer> {
        self.newest.values()
    }

    /// A peer says this. Returns whether it is news.
    pub fn hear(&mut self, from: SocketAddr, pointer: SignedPointer) -> bool {
        let id = pointer.pointer().id.clone();
        self.heard.insert(id.clone());
        match self.newest.get(&id) {
            Some(known) if known.is_newer_than(&pointer) => {
                if self.warned.insert(id.clone()) {
                    let (old, new) = (pointer.pointer().seq, known.pointer().seq);
                    log::warn!(
                        "{id}: {from} has an older version than was seen before: number {old} after {new}; the newer one counts"
                    );
                }
                false
            }
            Some(known) if !pointer.is_newer_than(known) => {
                if *known == pointer {
                    self.add_giver(id, from);
                }
                false
            }
            _ => {
                if let Err(error) = self.files.put(&pointer) {
                    log::warn!("what a name stands for is not remembered: {error}");
                }
                self.newest.insert(id.clone(), pointer);
                self.givers.remove(&id);
                self.add_giver(id, from);
                true
            }
        }
    }

    fn add_giver(&mut self, id: PointerId, from: SocketAddr) {
        let givers = self.givers.entry(id).or_default();
        if givers.len() < MAX_PEERS {
            givers.insert(from);
        }
    }

    /// Whether any peer knows anything of this name.
    pub fn is_heard(&self, id: &PointerId) -> bool {
        self.heard.contains(id)
    }

    /// The newest of a name of which some peer knows anything, and who gave it.
    pub fn get(&self, id: &PointerId) -> Option<(SignedPointer, Vec<SocketAddr>)> {
        let pointer = self.newest.get(id).filter(|_| self.is_heard(id))?;
        let givers = self.givers.get(id).into_iter().flatten().copied().collect();
        Some((pointer.clone(), givers))
    }

    /// Whether something is remembered, though nobody knows it now.
    pub fn is_remembered(&self, id: &PointerId) -> bool {
        self.newest.contains_key(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_dir::StateDir;
    use cjp2p_wire::signed::{Pointer, PointsTo, SigningKey};

    fn pointer(seq: u64) -> SignedPointer {
        let key = SigningKey::from_seed(&[1; 32]);
        let id = PointerId::parse(&format!("latest/{}/a", key.public())).unwrap();
        let kind = PointsTo::File;
        SignedPointer::sign(&key, Pointer { id, sha256: [2; 32], seq, blake3: None, length: None, kind })
    }

    #[test]
    fn what_was_seen_once_is_never_older_again() {
        let folder = tempfile::tempdir().unwrap();
        let files = || PointerFiles::new(Some(&StateDir::open(Some(folder.path())).unwrap()));
        let id = pointer(0).pointer().id.clone();
        let at = |n: u8| SocketAddr::from(([192, 0, 2, n], 24254));
        let mut known = Known::of(files(), [&id].into_iter());
        assert_eq!(known.get(&id), None);
        assert!(known.hear(at(1), pointer(7)));
        assert!(!known.hear(at(2), pointer(7)));
        assert_eq!(known.get(&id), Some((pointer(7), vec![at(1), at(2)])));
        assert!(known.hear(at(3), pointer(9)));
        assert_eq!(known.get(&id), Some((pointer(9), vec![at(3)])));
        // Another run: a peer that goes back to an old one shows only that it is there.
        let mut known = Known::of(files(), [&id].into_iter());
        assert!(known.get(&id).is_none() && known.is_remembered(&id));
        assert!(!known.hear(at(1), pointer(7)));
        assert_eq!(known.get(&id), Some((pointer(9), vec![])));
        assert!(known.warned.contains(&id));
    }
}
