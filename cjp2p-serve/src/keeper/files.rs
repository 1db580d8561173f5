//! What becomes of each file: new, changed, hashed, shared, doubted, gone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cjp2p_io::identity::{Identity, Stamp};

use super::Work;
use super::memory::{Memory, is_passing};
use crate::events::Event;
use crate::file::{FileNo, FileState, Ids};
use crate::hasher::Outcome;
use crate::index::Seen;
use crate::place::Place;

/// The first wait after a file changed while it was hashed; it doubles each time.
const FIRST_RETRY: Duration = Duration::from_millis(250);
/// The longest such wait.
const LAST_RETRY: Duration = Duration::from_secs(60);
/// After so many changes a file counts as one that never rests, and no start waits for it.
const RESTLESS: u32 = 3;

impl Work {
    pub(super) fn take_file(&mut self, place: Place, identity: Identity, memory: &mut Memory) {
        let seen = self.keeper.index().see(place, identity, self.walks);
        let (no, is_at_start) = match seen {
            Seen::Same(_) => return,
            Seen::New(no) => (no, self.at_start.is_some() && self.walks == 1),
            Seen::Changed { old, file, ids, new } => {
                if let Some(ids) = ids {
                    self.tell(Event::Changed { no: old, file, ids });
                }
                (new, self.take_off_start_list(old) && !self.is_restless(new))
            }
        };
        match memory.ids(&identity, &self.keeper.hashes) {
            Some((ids, refresh)) => {
                if refresh {
                    self.remember_soon(identity, ids);
                }
                self.share(no, ids);
            }
            None => {
                if let Some(waiting) = self.at_start.as_mut().filter(|_| is_at_start) {
                    waiting.insert(no);
                }
                self.hash_when_settled(no);
            }
        }
    }

    /// Has a file hashed once its time stamps will show any further change.
    fn hash_when_settled(&mut self, no: FileNo) {
        let known = self.keeper.index().look(no);
        let Some((identity, _)) = known else {
            return;
        };
        let settles_in = identity.settles_in(Stamp::now());
        // With many files, finding out where each of them is takes a while.
        let key = if self.changes.is_empty() { None } else { self.key_of(no) };
        let retry = match key.and_then(|key| self.changes.get(&key)) {
            Some(changes) => (FIRST_RETRY * (1 << (changes - 1).min(16))).min(LAST_RETRY),
            None => Duration::ZERO,
        };
        match settles_in.max(retry) {
            Duration::ZERO => self.hash_now(no),
            wait => {
                self.waiting.insert((Instant::now() + wait, no));
            }
        }
    }

    pub(super) fn hash_now(&mut self, no: FileNo) {
        let known = self.keeper.index().look(no);
        // If it changed or went away while it waited, what is there now was queued on its own.
        let Some((identity, _)) = known else {
            return;
        };
        if self.at_hashers.insert(no) {
            self.keeper.hashing.total.fetch_add(identity.size, Ordering::Relaxed);
            self.hashers.send((no, identity.size));
        }
    }

    pub(super) fn take_outcome(&mut self, no: FileNo, outcome: Outcome, lasting: bool) {
        self.at_hashers.remove(&no);
        let known = self.keeper.index().get(no);
        let Some((file, shared_as)) = known else {
            return;
        };
        match outcome {
            Outcome::Hashed { ids, tree_prefix } => {
                self.hashed += 1;
                self.changes.remove(&key(&file));
                match self.keeper.trees.keep(&ids.blake3, tree_prefix) {
                    Ok(()) if lasting => self.remember_soon(file.identity, ids),
                    Ok(()) => {}
                    Err(error) => self.warn(PathBuf::from("state folder"), &error),
                }
                match shared_as {
                    // It was hashed for its tree only.
                    Some(known) if known == ids => {}
                    // Changed without any time stamp telling.
                    Some(_) => {
                        if let Some(new) = self.renew(no) {
                            self.share(new, ids);
                        }
                    }
                    None => self.share(no, ids),
                }
                self.take_off_start_list(no);
                self.check_ready();
            }
            Outcome::Changed => {
                *self.changes.entry(key(&file)).or_default() += 1;
                let place = &file.place;
                self.look_at(place.source.number, &place.relative);
                let still_same = self.keeper.index().look(no).is_some_and(|(_, ids)| ids.is_none());
                if still_same {
                    self.hash_when_settled(no);
                }
                self.check_ready();
            }
            Outcome::Failed(error) => {
                self.warn(file.place.shown(), &error);
                if is_passing(&error) {
                    *self.changes.entry(key(&file)).or_default() += 1;
                    self.hash_when_settled(no);
                }
                self.take_off_start_list(no);
                self.check_ready();
            }
            Outcome::Stopped => {}
        }
    }

    pub(super) fn withdraw_unseen(&mut self, source: u32, below: &Path) {
        let unseen = self.keeper.index().unseen(source, below, self.walks);
        for no in unseen {
            self.take_off_start_list(no);
            let removed = self.keeper.index().remove(no);
            let Some((file, ids)) = removed else {
                continue;
            };
            self.changes.remove(&key(&file));
            match ids {
                Some(ids) => self.tell(Event::Withdrawn { no, file, ids }),
                None => self.keeper.publisher.touched(source),
            }
        }
    }

    pub(super) fn take_doubt(&mut self, no: FileNo) {
        let Some(key) = self.key_of(no) else {
            return;
        };
        *self.changes.entry(key.clone()).or_default() += 1;
        self.look_at(key.0, &key.1);
        // It looks as it did, yet reading it failed, or it was seen different for a moment.
        if let Some(new) = self.renew(no) {
            self.hash_when_settled(new);
        }
    }

    /// Gives a file another number, under which it is not shared yet.
    fn renew(&mut self, no: FileNo) -> Option<FileNo> {
        let (file, ids) = self.keeper.index().remove(no)?;
        let seen = self.keeper.index().see(file.place.clone(), file.identity, self.walks);
        if let Some(ids) = ids {
            self.tell(Event::Changed { no, file, ids });
        }
        match seen {
            Seen::New(new) => Some(new),
            Seen::Changed { .. } | Seen::Same(_) => None,
        }
    }

    fn share(&mut self, no: FileNo, ids: Ids) {
        let shared = self.keeper.index().share(no, ids);
        if let Some(file) = shared {
            self.tell(Event::Shared { no, file, ids });
        }
    }

    fn key_of(&self, no: FileNo) -> Option<(u32, Arc<Path>)> {
        self.keeper.index().get(no).map(|(file, _)| key(&file))
    }

    fn is_restless(&self, no: FileNo) -> bool {
        self.key_of(no).and_then(|key| self.changes.get(&key)).is_some_and(|changes| *changes >= RESTLESS)
    }

    fn take_off_start_list(&mut self, no: FileNo) -> bool {
        self.at_start.as_mut().is_some_and(|waiting| waiting.remove(&no))
    }

    /// Says so once everything that was there at the start is shared, or cannot be.
    pub(super) fn check_ready(&mut self) {
        if self.at_start.take_if(|waiting| waiting.is_empty()).is_some() {
            self.remember();
            let totals = self.keeper.index().totals();
            let hashed = self.hashed;
            self.tell(Event::Ready { files: totals.files, bytes: totals.bytes, hashed });
        }
    }
}

fn key(file: &FileState) -> (u32, Arc<Path>) {
    (file.place.source.number, file.place.relative.clone())
}
