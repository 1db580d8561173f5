//! What goes when there is too much: what nobody read for longest, and then what was read of contents that are being read. Where the
//! disk is full, as much as fits there is the bound.

use std::io;
use std::ops::Range;

use cjp2p_wire::range_set::RangeSet;

use super::Gateway;
use crate::cache::{Excess, Kind, Slot};

/// Less than this, in bytes, is not given up of what is being read.
const MIN_GIVEN_UP: u64 = 32 << 20;
/// What nothing is here of yet may be fetched so far, in bytes, however little room there is: else nobody would be told that there is none.
const LEAST_TRY: u64 = 1 << 20;

/// Whether there was no room on the disk, or none for this user.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Gateway {
    /// Removes what is too much and `may_go`, what nobody read for longest first.
    pub(super) fn evict(&mut self, may_go: impl Fn(&Gateway, Slot) -> bool) {
        while let Some(excess) = self.session.store().too_much(|slot, _| may_go(self, slot)) {
            match excess {
                Excess::Closed(id) => self.session.store_mut().remove_closed(&id),
                Excess::Open(slot) => {
                    self.end_job(slot);
                    self.left.remove(&slot);
                    self.session.store_mut().remove(slot);
                }
            }
        }
    }

    /// The disk is full. Gives up some of what is held, but for what is to be read of this entry. Returns how many bytes.
    pub(super) fn make_room(&mut self, slot: Option<Slot>) -> u64 {
        let now = self.session.now();
        let before = self.session.store().held();
        self.session.store_mut().on_full(now);
        self.evict(|gateway, other| Some(other) != slot && gateway.left.contains_key(&other));
        self.give_up_what_was_read();
        before.saturating_sub(self.session.store().held())
    }

    /// The disk was full when some of this entry was to be written. Returns whether its fetch goes on: there is room now, or there will be
    /// when its readers have read what is here.
    pub(super) fn goes_on_when_full(&mut self, slot: Slot) -> bool {
        let freed = self.make_room(Some(slot));
        let as_it_comes = self.session.store().get(slot).is_some_and(|entry| entry.kind() == Kind::AsItComes);
        freed > 0 || as_it_comes && self.session.store().is_short_of_room() && self.has_unread(slot)
    }

    /// How many bytes more of an entry may be fetched now, where the disk was full lately.
    pub(super) fn room_for(&self, slot: Slot) -> Option<u64> {
        let room = self.session.store().room()?;
        Some(if self.has_unread(slot) { room } else { room.max(LEAST_TRY) })
    }

    /// Whether a reader of this entry has something to be sent that is here.
    fn has_unread(&self, slot: Slot) -> bool {
        let Some(entry) = self.session.store().get(slot) else { return false };
        let readers = self.readers.get(&slot).into_iter().flatten();
        readers.filter_map(|token| self.clients.get(token)).any(|client| {
            let next = client.connection.content_to_send().next();
            next.is_some_and(|range| entry.available(range) > 0)
        })
    }

    /// Gives up what was read of contents that are being read, where these alone are too much.
    pub(super) fn give_up_what_was_read(&mut self) {
        let cache = self.session.store();
        // Each time fetches begin anew, so it is a large part that is given up.
        let least = match cache.is_short_of_room() {
            true => cache.most() / 32,
            false => (cache.most() / 16).max(MIN_GIVEN_UP),
        };
        if cache.held() < cache.most().saturating_add(least) {
            return;
        }
        let largest = self.readers.keys().filter_map(|&slot| {
            let entry = cache.get(slot).filter(|entry| entry.kind() == Kind::AsItComes)?;
            Some((entry.kept().done().total(), slot, entry.length()?))
        });
        let Some((_, slot, length)) = largest.max() else { return };
        let mut behind: RangeSet = std::iter::once(0..length).collect();
        for token in self.readers.get(&slot).into_iter().flatten() {
            let Some(client) = self.clients.get(token) else { continue };
            let Some(reading) = &client.reading else { continue };
            let wanted: Vec<Range<u64>> = match reading.is_answered {
                true => client.connection.content_to_send().collect(),
                false => reading.ranges(length),
            };
            wanted.into_iter().for_each(|range| _ = behind.remove(range));
        }
        let Some(entry) = self.session.store_mut().get_mut(slot) else { return };
        match entry.kept_mut().forget(&behind) {
            Ok(0) => {}
            Ok(bytes) => {
                log::debug!("{bytes} bytes that were read are given up");
                // It goes on with what is left.
                self.end_job(slot);
                self.plan(slot);
            }
            Err(error) => log::debug!("what was read stays: {error}"),
        }
    }
}
