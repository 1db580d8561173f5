//! Lists of what is shared.

use std::ops::Bound;

use cjp2p_wire::content_id::{ContentId, PlainName};
use cjp2p_wire::store::{ListPart, Listed};

use super::entry::Entry;
use super::{Index, Key, ListEnd, prefix};
use crate::file::Ids;

/// Files of one content that are looked at for its names, where it is listed.
pub(super) const FILES_LOOKED_AT: usize = 8;

impl Index {
    /// Up to `limit` ids of shared contents with their lengths in bytes: the BLAKE3 id of each, and its name. Goes on
    /// where the list that gave `last` ended; gives where this one ended, `None` at the end.
    pub fn list(&self, last: Option<ListEnd>, limit: usize) -> (Vec<(ContentId, u64)>, Option<ListEnd>) {
        let mut listed: Vec<(ContentId, u64)> = Vec::new();
        let mut end = last;
        let from = last.map_or(Bound::Unbounded, |end| Bound::Excluded(end.at));
        for &at in self.blake3.range((from, Bound::Unbounded)) {
            let Some((entry, Some(Ids { blake3: hash, .. }))) =
                self.in_slot(at.slot).map(|entry| (entry, entry.ids))
            else {
                continue;
            };
            let first_with_content = end.is_none_or(|end| end.hash != hash);
            let id = first_with_content.then_some(ContentId::Blake3(hash));
            let name = (entry.plain_name())
                .filter(|name| self.named(name) == self.no_of(at.slot))
                .and_then(|name| PlainName::new(name).ok())
                .map(ContentId::Name);
            let ids: Vec<ContentId> = id.into_iter().chain(name).collect();
            // At least the id itself, however small the limit: the next list must get further.
            if listed.len() + ids.len() > limit && end != last {
                return (listed, end);
            }
            let room = limit.saturating_sub(listed.len());
            let length = entry.size;
            listed.extend(ids.into_iter().take(room).map(|id| (id, length)));
            end = Some(ListEnd { hash, at });
        }
        (listed, None)
    }

    /// A part of the list of all contents, in the order of their BLAKE3 hashes: up to `limit`, from the beginning, or after that of
    /// this id. What it costs does not depend on how many files there are.
    pub fn list_after(&self, after: Option<&ContentId>, limit: usize) -> ListPart {
        let mut part = ListPart { contents: Vec::new(), goes_on: false, total: self.contents };
        let mut from = match after {
            Some(ContentId::Blake3(hash)) => Bound::Excluded(Key::new(prefix(hash), u32::MAX)),
            _ => Bound::Unbounded,
        };
        while let Some(key) = self.blake3.range((from, Bound::Unbounded)).next() {
            from = Bound::Excluded(Key { slot: u32::MAX, ..*key });
            if part.contents.len() == limit {
                part.goes_on = true;
                break;
            }
            let all = || self.blake3.range(Key::all(key.prefix()));
            let files = || all().filter_map(|key| self.no_of(key.slot)).take(FILES_LOOKED_AT);
            let Some((entry, Some(ids))) =
                files().next().and_then(|no| self.entry(no)).map(|entry| (entry, entry.ids))
            else {
                continue;
            };
            let same = |entry: &&Entry| entry.ids == Some(ids);
            let names =
                files().filter_map(|no| self.entry(no).filter(same)?.plain_name().map(|name| (no, name)));
            let names = names.filter(|(no, name)| self.named(name) == Some(*no));
            let names =
                names.filter_map(|(_, name)| PlainName::new(name).ok()).map(ContentId::Name).collect();
            let (id, length) = (ContentId::Blake3(ids.blake3), entry.size);
            part.contents.push(Listed { id, length, names });
        }
        part
    }
}
