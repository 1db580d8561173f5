//! Which files are known, and which of them each id stands for.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use cjp2p_wire::content_id::{ContentId, Hash, PlainName};
use cjp2p_wire::transfer::blobs::{ListPart, Listed};

use crate::gone::Gone;
use crate::open::Identity;
use crate::place::{Place, Source, Target};

/// One state of one file. A file that changed gets another number, and none is given twice, so whatever was
/// remembered by number about the old state cannot be taken for the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileNo {
    /// Where it is among the entries; used again once the file is gone.
    slot: u32,
    /// How often that was used before.
    generation: u32,
}

/// The ids of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Its BLAKE3 hash, which also names its tree.
    pub blake3: Hash,
    /// Its SHA-256 hash.
    pub sha256: Hash,
}

/// A file as it was found.
#[derive(Clone, Debug)]
pub struct FileState {
    /// Where it is.
    pub place: Place,
    /// What it was when it was found; what it must still be when it is hashed and read.
    pub identity: Identity,
}

/// Files of one content that are looked at for its names, where it is listed.
const FILES_LOOKED_AT: usize = 8;

/// A known file, with as little as there is to know: there may be very many.
struct Entry {
    source: Arc<Source>,
    target: Option<Arc<Target>>,
    /// The path of the folder that it is in; all files there share it.
    folder: Arc<Path>,
    name: Box<OsStr>,
    identity: Identity,
    /// `None` until it is hashed.
    ids: Option<Ids>,
    generation: u32,
    /// The last walk that saw it.
    walk: u64,
}

/// What [`Index::see`] found out.
#[derive(Debug)]
pub enum Seen {
    /// It was not known.
    New(FileNo),
    /// It is not what it was.
    Changed {
        /// What it was, known no more.
        old: FileNo,
        /// The same, as it was found.
        file: Arc<FileState>,
        /// The ids under which that was shared, if it was.
        ids: Option<Ids>,
        /// What it is.
        new: FileNo,
    },
    /// It is as it was.
    Same(FileNo),
}

/// What is shared, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Files.
    pub files: u64,
    /// Their length together, in bytes.
    pub bytes: u64,
}

/// Where a [list](Index::list) ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListEnd {
    hash: Hash,
    at: Key,
}

/// The first bytes of a hash, and the slot of a file that has it. Whether it has it is seen from the file itself.
type Key = (u64, u32);

/// What [`Index::search`] finds.
type InFolder<'a> = (&'a Arc<Path>, &'a [u32], Result<usize, usize>);

/// All known files. A file is known by where it is, gets ids when it has been hashed, and loses them with any change.
///
/// Invariant: the maps below hold exactly what follows from `files`.
pub struct Index {
    share_names: bool,
    gone: Gone,
    /// By slot.
    files: Vec<Option<Entry>>,
    /// The free slots, and the generation that each is at.
    free: Vec<FileNo>,
    /// By the number of a source: the files of each of its folders, sorted by name. None is empty.
    sources: BTreeMap<u32, BTreeMap<Arc<Path>, Vec<u32>>>,
    blake3: BTreeSet<Key>,
    sha256: BTreeSet<Key>,
    names: BTreeSet<Key>,
    /// Different contents that are shared; so many first halves of keys are in `blake3`.
    contents: u64,
    /// Hashes names for `names`. Its keys are secret: who gives files their names cannot make them collide.
    name_keys: RandomState,
}

impl Index {
    /// Knows no file. Without `share_names` files can be asked for by their hashes only.
    pub fn new(share_names: bool) -> Index {
        Index {
            share_names,
            gone: Gone::default(),
            files: Vec::new(),
            free: Vec::new(),
            sources: BTreeMap::new(),
            blake3: BTreeSet::new(),
            sha256: BTreeSet::new(),
            names: BTreeSet::new(),
            contents: 0,
            name_keys: RandomState::new(),
        }
    }

    /// Takes note of a file that the walk numbered `walk` came across.
    pub fn see(&mut self, place: Place, identity: Identity, walk: u64) -> Seen {
        let Some(no) = self.at(place.source.number, &place.relative) else {
            return Seen::New(self.insert(place, identity, walk));
        };
        if let Some(known) = self.files[no.slot as usize].as_mut()
            && known.identity == identity
            && known.is_opened_like(&place)
        {
            known.walk = walk;
            return Seen::Same(no);
        }
        let Some((file, ids)) = self.remove(no) else {
            return Seen::New(self.insert(place, identity, walk));
        };
        let new = self.insert(place, identity, walk);
        Seen::Changed { old: no, file, ids, new }
    }

    /// The file must not be known.
    fn insert(&mut self, place: Place, identity: Identity, walk: u64) -> FileNo {
        let no = self.free.pop().unwrap_or_else(|| {
            let slot = u32::try_from(self.files.len()).expect("4,294,967,296 files are not in memory");
            self.files.push(None);
            FileNo { slot, generation: 0 }
        });
        let Place { source, relative, target } = place;
        let (folder, name) = split(&relative);
        let (folder, at) = match self.search(source.number, folder, name) {
            Some((folder, _, Ok(at) | Err(at))) => (folder.clone(), at),
            None => (folder.into(), 0),
        };
        let folders = self.sources.entry(source.number).or_default();
        folders.entry(folder.clone()).or_default().insert(at, no.slot);
        let entry = Entry {
            source,
            target,
            folder,
            name: name.into(),
            identity,
            ids: None,
            generation: no.generation,
            walk,
        };
        if let Some(key) = self.name_key(&entry, no.slot) {
            self.names.insert(key);
        }
        self.files[no.slot as usize] = Some(entry);
        no
    }

    /// Forgets a file. Gives what was known about it.
    pub fn remove(&mut self, no: FileNo) -> Option<(Arc<FileState>, Option<Ids>)> {
        let ids = self.withdraw(no);
        let entry = self.entry(no)?;
        let number = entry.source.number;
        if let Some((folder, _, Ok(at))) = self.search(number, &entry.folder, &entry.name)
            && let (folder, Some(folders)) = (folder.clone(), self.sources.get_mut(&number))
            && let Some(files) = folders.get_mut(&folder)
        {
            files.remove(at);
            if files.is_empty() {
                folders.remove(&folder);
            }
        }
        let entry = self.files.get_mut(no.slot as usize)?.take()?;
        if let Some(ids) = ids {
            self.gone.doubt(ids, entry.identity.size);
        }
        if let Some(key) = self.name_key(&entry, no.slot) {
            self.names.remove(&key);
        }
        self.free.push(FileNo { generation: no.generation.wrapping_add(1), ..no });
        Some((entry.state(), ids))
    }

    /// Answers for a file under its ids from now on. Gives the file, `None` if it is not known any more.
    pub fn share(&mut self, no: FileNo, ids: Ids) -> Option<Arc<FileState>> {
        self.withdraw(no);
        let entry = self.files.get_mut(no.slot as usize)?.as_mut()?;
        if entry.generation != no.generation {
            return None;
        }
        entry.ids = Some(ids);
        let state = entry.state();
        self.contents += u64::from(!self.has_any(prefix(&ids.blake3)));
        self.blake3.insert((prefix(&ids.blake3), no.slot));
        self.sha256.insert((prefix(&ids.sha256), no.slot));
        Some(state)
    }

    fn withdraw(&mut self, no: FileNo) -> Option<Ids> {
        self.entry(no)?;
        let ids = self.files[no.slot as usize].as_mut()?.ids.take()?;
        self.blake3.remove(&(prefix(&ids.blake3), no.slot));
        self.sha256.remove(&(prefix(&ids.sha256), no.slot));
        self.contents -= u64::from(!self.has_any(prefix(&ids.blake3)));
        Some(ids)
    }

    /// Whether any shared file has a BLAKE3 hash that begins so.
    fn has_any(&self, prefix: u64) -> bool {
        self.blake3.range((prefix, 0)..=(prefix, u32::MAX)).next().is_some()
    }

    fn entry(&self, no: FileNo) -> Option<&Entry> {
        self.in_slot(no.slot).filter(|entry| entry.generation == no.generation)
    }

    fn in_slot(&self, slot: u32) -> Option<&Entry> {
        self.files.get(slot as usize)?.as_ref()
    }

    fn no_of(&self, slot: u32) -> Option<FileNo> {
        self.in_slot(slot).map(|entry| FileNo { slot, generation: entry.generation })
    }

    /// What is known about a file, and its ids if it is shared.
    pub fn get(&self, no: FileNo) -> Option<(Arc<FileState>, Option<Ids>)> {
        self.entry(no).map(|entry| (entry.state(), entry.ids))
    }

    /// The same in short: what it was when it was found, and its ids if it is shared.
    pub fn look(&self, no: FileNo) -> Option<(Identity, Option<Ids>)> {
        self.entry(no).map(|entry| (entry.identity, entry.ids))
    }

    /// The file at a place.
    pub fn at(&self, source: u32, relative: &Path) -> Option<FileNo> {
        let (folder, name) = split(relative);
        let (_, files, found) = self.search(source, folder, name)?;
        self.no_of(*files.get(found.ok()?)?)
    }

    /// The folder, its files, and where among these a file is, or would have to be.
    fn search(&self, source: u32, folder: &Path, name: &OsStr) -> Option<InFolder<'_>> {
        let (folder, files) = self.sources.get(&source)?.get_key_value(folder)?;
        let name_of = |slot: &u32| self.in_slot(*slot).map(|entry| &*entry.name);
        let found = files.binary_search_by(|slot| name_of(slot).cmp(&Some(name)));
        Some((folder, files, found))
    }

    /// The files below `relative` of a source, itself included, that the walk numbered `walk` did not see. In the order
    /// in which they are best removed: the last of a folder first.
    pub fn unseen(&self, source: u32, relative: &Path, walk: u64) -> Vec<FileNo> {
        let folders = self.sources.get(&source);
        let from = (Bound::Included(relative), Bound::Unbounded);
        let below = (folders.into_iter())
            .flat_map(|folders| folders.range::<Path, _>(from))
            .take_while(|(folder, _)| folder.starts_with(relative))
            .flat_map(|(_, files)| files.iter().rev().filter_map(|slot| self.no_of(*slot)));
        let unseen = |no: &FileNo| self.entry(*no).is_some_and(|entry| entry.walk != walk);
        self.at(source, relative).into_iter().chain(below).filter(unseen).collect()
    }

    /// Whether the content of this id was shared, and is gone for good as far as that is known.
    pub fn is_withdrawn(&self, id: &ContentId) -> bool {
        self.gone.has(id) && self.find(id).next().is_none()
    }

    /// Whether it is known of everything that was shared whether it is gone for good.
    pub fn is_settled(&self) -> bool {
        self.gone.is_settled()
    }

    /// Decides what is gone for good, but for contents of a length for which `may_come` holds.
    pub fn settle(&mut self, may_come: impl Fn(u64) -> bool) {
        let mut gone = std::mem::take(&mut self.gone);
        gone.settle(may_come, |ids| self.find(&ContentId::Blake3(ids.blake3)).next().is_some());
        self.gone = gone;
    }

    /// The shared files whose content `id` stands for. More than one where files have the same content; none for a
    /// name that several files have.
    pub fn find<'a>(&'a self, id: &'a ContentId) -> impl Iterator<Item = FileNo> + 'a {
        type Hashed = fn(&Ids) -> &Hash;
        let hashed = match id {
            ContentId::Blake3(hash) | ContentId::Tree(hash) => {
                Some((&self.blake3, hash, (|ids| &ids.blake3) as Hashed))
            }
            ContentId::Sha256(hash) => Some((&self.sha256, hash, (|ids| &ids.sha256) as Hashed)),
            ContentId::Name(_) => None,
        };
        let by_hash = hashed.into_iter().flat_map(move |(set, hash, of)| {
            let has_it = move |entry: &Entry| entry.ids.as_ref().is_some_and(|ids| of(ids) == hash);
            self.with(set, prefix(hash)).filter(move |no| self.entry(*no).is_some_and(has_it))
        });
        let by_name = match id {
            ContentId::Name(name) => self.named(name.as_str()),
            _ => None,
        };
        by_hash.chain(by_name)
    }

    fn named(&self, name: &str) -> Option<FileNo> {
        let has_it = |no: &FileNo| self.entry(*no).and_then(Entry::plain_name) == Some(name);
        let mut all = self.with(&self.names, self.name_keys.hash_one(name)).filter(has_it);
        match (all.next(), all.next()) {
            (Some(no), None) => {
                Some(no).filter(|no| self.entry(*no).is_some_and(|entry| entry.ids.is_some()))
            }
            _ => None,
        }
    }

    /// Where in `names` a file is, if it can be asked for by its name.
    fn name_key(&self, entry: &Entry, slot: u32) -> Option<Key> {
        let name = entry.plain_name().filter(|_| self.share_names)?;
        PlainName::new(name).ok()?;
        Some((self.name_keys.hash_one(name), slot))
    }

    /// The files that go with the first half of a key.
    fn with<'a>(&'a self, set: &'a BTreeSet<Key>, key: u64) -> impl Iterator<Item = FileNo> + 'a {
        set.range((key, 0)..=(key, u32::MAX)).filter_map(|(_, slot)| self.no_of(*slot))
    }

    /// Up to `limit` ids of shared contents with their lengths in bytes: the BLAKE3 id of each, and its name. Goes on
    /// where the list that gave `last` ended; gives where this one ended, `None` at the end.
    pub fn list(&self, last: Option<ListEnd>, limit: usize) -> (Vec<(ContentId, u64)>, Option<ListEnd>) {
        let mut listed: Vec<(ContentId, u64)> = Vec::new();
        let mut end = last;
        let from = last.map_or(Bound::Unbounded, |end| Bound::Excluded(end.at));
        for &at in self.blake3.range((from, Bound::Unbounded)) {
            let Some((entry, Some(Ids { blake3: hash, .. }))) =
                self.in_slot(at.1).map(|entry| (entry, entry.ids))
            else {
                continue;
            };
            let first_with_content = end.is_none_or(|end| end.hash != hash);
            let id = first_with_content.then_some(ContentId::Blake3(hash));
            let name = (entry.plain_name())
                .filter(|name| self.named(name) == self.no_of(at.1))
                .and_then(|name| PlainName::new(name).ok())
                .map(ContentId::Name);
            let ids: Vec<ContentId> = id.into_iter().chain(name).collect();
            // At least the id itself, however small the limit: the next list must get further.
            if listed.len() + ids.len() > limit && end != last {
                return (listed, end);
            }
            let room = limit.saturating_sub(listed.len());
            let length = entry.identity.size;
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
            Some(ContentId::Blake3(hash)) => Bound::Excluded((prefix(hash), u32::MAX)),
            _ => Bound::Unbounded,
        };
        while let Some(&(key, _)) = self.blake3.range((from, Bound::Unbounded)).next() {
            from = Bound::Excluded((key, u32::MAX));
            if part.contents.len() == limit {
                part.goes_on = true;
                break;
            }
            let files = || self.with(&self.blake3, key).take(FILES_LOOKED_AT);
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
            let (id, length) = (ContentId::Blake3(ids.blake3), entry.identity.size);
            part.contents.push(Listed { id, length, names });
        }
        part
    }

    /// How many files are shared, and their length together.
    pub fn totals(&self) -> Totals {
        let shared = self.files.iter().flatten().filter(|entry| entry.ids.is_some());
        shared.fold(Totals::default(), |totals, entry| Totals {
            files: totals.files + 1,
            bytes: totals.bytes.saturating_add(entry.identity.size),
        })
    }

    /// How many files are known, hashed or not.
    pub fn len(&self) -> usize {
        self.files.len() - self.free.len()
    }

    /// Whether no file is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Panics if an invariant is broken. For tests.
    pub fn check_invariants(&self) {
        let entries = || (0..).zip(&self.files).filter_map(|(slot, entry)| Some((slot, entry.as_ref()?)));
        let of = |ids: fn(&Ids) -> Hash| -> BTreeSet<Key> {
            entries().filter_map(|(slot, entry)| Some((prefix(&ids(entry.ids.as_ref()?)), slot))).collect()
        };
        assert_eq!(self.blake3, of(|ids| ids.blake3));
        assert_eq!(self.sha256, of(|ids| ids.sha256));
        let contents: BTreeSet<u64> = self.blake3.iter().map(|(key, _)| *key).collect();
        assert_eq!(self.contents, contents.len() as u64);
        let names: BTreeSet<_> = entries().filter_map(|(slot, entry)| self.name_key(entry, slot)).collect();
        assert_eq!(self.names, names);
        assert_eq!(entries().count(), self.len());
        let folders =
            || self.sources.iter().flat_map(|(source, folders)| folders.iter().map(move |at| (source, at)));
        assert_eq!(folders().map(|(_, (_, files))| files.len()).sum::<usize>(), self.len());
        for (source, (folder, files)) in folders() {
            let entries: Vec<_> = files.iter().filter_map(|slot| self.in_slot(*slot)).collect();
            assert!(entries.iter().all(|entry| entry.source.number == *source && entry.folder == *folder));
            assert!(entries.is_sorted_by(|a, b| a.name < b.name));
            assert!(!files.is_empty() && entries.len() == files.len());
        }
        for no in &self.free {
            assert!(self.in_slot(no.slot).is_none());
        }
    }
}

impl Entry {
    fn state(&self) -> Arc<FileState> {
        let (source, target) = (self.source.clone(), self.target.clone());
        let place = Place { source, relative: self.folder.join(&*self.name).into(), target };
        Arc::new(FileState { place, identity: self.identity })
    }

    fn is_opened_like(&self, place: &Place) -> bool {
        Arc::ptr_eq(&self.source, &place.source)
            && Target::is_same(self.target.as_deref(), place.target.as_deref())
    }

    /// The name to ask for it by, if it is a [`PlainName`].
    fn plain_name(&self) -> Option<&str> {
        self.source.name_of(&self.name).and_then(OsStr::to_str)
    }
}

/// A path as the folder and the name in it. The empty path is no file's.
fn split(relative: &Path) -> (&Path, &OsStr) {
    (relative.parent().unwrap_or(Path::new("")), relative.file_name().unwrap_or_default())
}

/// What of a hash is kept to find it by.
fn prefix(hash: &Hash) -> u64 {
    let (first, _) = hash.split_first_chunk().expect("32 bytes are more than 8");
    u64::from_be_bytes(*first)
}

#[cfg(test)]
mod tests;
