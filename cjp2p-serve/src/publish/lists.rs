//! The lists of folders that are published, and those that were lately: in a file without a name in the state folder, with the tree of
//! each behind it. In memory is only where they are.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::folder::{ListRef, reference_of};
use cjp2p_wire::tree::{GroupIndex, Tree, TreeBuilder, TreeSource, group_leaves, read_tree};
use sha2::{Digest, Sha256};

use super::free::Free;

/// How long a list can still be had after its folder changed: whoever fetches it should come to an end.
pub const KEPT_FOR: Duration = Duration::from_secs(3600);
/// Lists that are kept so, at the most; of more, those go first that would go first anyway.
pub const MAX_OLD: usize = 65_536;
/// The room of a list is used again only so long after it can be had no more: somebody may be reading it.
const GRACE: Duration = Duration::from_secs(60);

/// See the [module](self).
pub struct Lists {
    /// `None` where there is no place for them.
    file: Option<Arc<File>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lists: BTreeMap<Hash, Kept>,
    /// The lists that folders are known by, by their SHA-256.
    by_sha256: BTreeMap<Hash, Hash>,
    free: Free,
    /// Room to be used again, and when.
    let_go: Vec<(Instant, u64, u64)>,
}

/// A list in the file.
#[derive(Clone, Copy)]
struct Kept {
    at: u64,
    length: u32,
    /// The length of its tree, which lies behind it.
    tree: u32,
    /// Folders that it is in at present.
    folders: u32,
    /// When it goes, if it is in none.
    until: Instant,
}

/// The lists of one folder as it is published.
#[derive(Default)]
pub struct Held {
    list: Option<ListRef>,
    all: BTreeSet<Hash>,
}

impl Held {
    /// The list that the folder is known by.
    pub fn list(&self) -> Option<ListRef> {
        self.list
    }
}

/// Lists that may become those of a folder.
pub struct Draft<'a> {
    lists: &'a Lists,
    all: BTreeSet<Hash>,
    /// The text of the latest.
    latest: Vec<u8>,
}

/// Where content is.
pub struct Found {
    /// The file.
    pub file: Arc<File>,
    /// The bytes of it.
    pub range: Range<u64>,
}

impl Lists {
    /// Keeps lists in `folder`. Without it, or where that fails, there is no place for them.
    pub fn open(folder: Option<&Path>) -> Lists {
        let open = |folder| tempfile::tempfile_in(folder);
        let failed =
            |error: &io::Error| log::warn!("no list of a folder is published: state folder: {error}");
        let file = folder.and_then(|folder| open(folder).inspect_err(failed).ok()).map(Arc::new);
        Lists { file, state: Mutex::default() }
    }

    /// Whether there is a place for lists.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the lists of a folder.
    pub fn draft(&self) -> Draft<'_> {
        Draft { lists: self, all: BTreeSet::new(), latest: Vec::new() }
    }

    /// Makes what is in `draft` the lists of a folder, known by `list`, in the place of those that it had. Gives the SHA-256 of that
    /// list.
    pub fn hold(&self, held: &mut Held, list: ListRef, draft: Draft<'_>) -> Hash {
        let sha256: Hash = Sha256::digest(&draft.latest).into();
        let mut state = self.state();
        for root in &draft.all {
            if let Some(kept) = state.lists.get_mut(root) {
                kept.folders += 1;
            }
        }
        state.by_sha256.insert(sha256, list.root);
        let now = Held { list: Some(list), all: draft.all };
        let mut before = std::mem::replace(held, now);
        drop(state);
        self.release(&mut before);
        sha256
    }

    /// A folder has no lists any more. They can still be had for a while.
    pub fn release(&self, held: &mut Held) {
        let until = Instant::now() + KEPT_FOR;
        let mut state = self.state();
        for root in &std::mem::take(held).all {
            if let Some(kept) = state.lists.get_mut(root) {
                kept.folders = kept.folders.saturating_sub(1);
                kept.until = until;
            }
        }
    }

    /// Lets go of what was kept long enough.
    pub fn sweep(&self, now: Instant) {
        let mut state = self.state();
        let old = |state: &State| state.lists.values().filter(|kept| kept.folders == 0).count();
        let mut ends: Vec<Instant> = Vec::new();
        let too_many = old(&state).saturating_sub(MAX_OLD);
        if too_many > 0 {
            ends.extend(state.lists.values().filter(|kept| kept.folders == 0).map(|kept| kept.until));
            ends.select_nth_unstable(too_many - 1);
        }
        let last = ends.get(too_many.wrapping_sub(1)).copied();
        let goes = |kept: &Kept| {
            kept.folders == 0 && (kept.until <= now || last.is_some_and(|last| kept.until <= last))
        };
        let gone: Vec<(Hash, Kept)> =
            state.lists.iter().filter(|(_, kept)| goes(kept)).map(|(root, kept)| (*root, *kept)).collect();
        for (root, kept) in gone {
            state.lists.remove(&root);
            state.let_go.push((now + GRACE, kept.at, kept.room()));
        }
        let State { lists, by_sha256, free, let_go, .. } = &mut *state;
        by_sha256.retain(|_, root| lists.contains_key(root));
        let_go.retain(|(at, start, length)| {
            let waits = *at > now;
            if !waits {
                free.give(*start, *length);
            }
            waits
        });
    }

    /// Where the content of this id is, if it is a list or the tree of one.
    pub fn find(&self, id: &ContentId) -> Option<Found> {
        let file = self.file.as_ref()?;
        let state = self.state();
        let (root, is_tree) = match id {
            ContentId::Blake3(root) => (root, false),
            ContentId::Tree(root) => (root, true),
            ContentId::Sha256(sha256) => (state.by_sha256.get(sha256)?, false),
            ContentId::Name(_) => return None,
        };
        let kept = state.lists.get(root)?;
        let end = kept.at + u64::from(kept.length);
        let range = if is_tree { end..end + u64::from(kept.tree) } else { kept.at..end };
        Some(Found { file: file.clone(), range })
    }

    /// The lists that folders are known by at present, in no order of importance.
    pub fn current(&self) -> Vec<ContentId> {
        let state = self.state();
        let roots = state.by_sha256.values();
        let current = roots.filter(|root| state.lists.get(*root).is_some_and(|kept| kept.folders > 0));
        current.map(|root| ContentId::Blake3(*root)).collect()
    }

    /// The BLAKE3 hash of the list with this SHA-256 hash.
    pub fn blake3_of(&self, sha256: &Hash) -> Option<Hash> {
        self.state().by_sha256.get(sha256).copied()
    }

    /// How long the file is, and how many lists are in it.
    pub fn size(&self) -> (u64, usize) {
        let state = self.state();
        (state.free.end(), state.lists.len())
    }
}

impl Kept {
    fn room(&self) -> u64 {
        u64::from(self.length) + u64::from(self.tree)
    }
}

impl Draft<'_> {
    /// Adds a list.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn put(&mut self, text: &[u8]) -> io::Result<ListRef> {
        let list = reference_of(text);
        self.latest.clear();
        self.latest.extend_from_slice(text);
        if !self.all.insert(list.root) {
            return Ok(list);
        }
        let until = Instant::now() + KEPT_FOR;
        if let Some(kept) = self.lists.state().lists.get_mut(&list.root) {
            // It must not go before it is held.
            kept.until = kept.until.max(until);
            return Ok(list);
        }
        let Some(file) = &self.lists.file else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut bytes = text.to_vec();
        append_tree(text, &mut bytes);
        let at = self.lists.state().free.take(bytes.len() as u64);
        if let Err(error) = file.write_all_at(&bytes, at) {
            self.lists.state().free.give(at, bytes.len() as u64);
            return Err(error);
        }
        // Both are far below 4 GiB.
        let (length, tree) = (text.len() as u32, (bytes.len() - text.len()) as u32);
        self.lists.state().lists.insert(list.root, Kept { at, length, tree, folders: 0, until });
        Ok(list)
    }
}

fn append_tree(text: &[u8], out: &mut Vec<u8>) {
    let mut builder = TreeBuilder::new();
    builder.update(text);
    let tree = builder.finish();
    let mut source = Whole { tree: &tree, text, leaves: Vec::new() };
    let Ok(()) = read_tree(&tree.geometry(), 0..u64::MAX, &mut source, out);
}

/// The tree of what is in memory.
struct Whole<'a> {
    tree: &'a Tree,
    text: &'a [u8],
    leaves: Vec<Hash>,
}

impl TreeSource for Whole<'_> {
    type Error = Infallible;

    fn prefix(&mut self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), Infallible> {
        out.extend_from_slice(&self.tree.prefix()[range.start as usize..range.end as usize]);
        Ok(())
    }

    fn leaves(&mut self, group: GroupIndex) -> Result<&[Hash], Infallible> {
        let bytes = self.tree.geometry().group_range(group);
        let bytes = &self.text[bytes.start as usize..bytes.end as usize];
        self.leaves = group_leaves(group.first_leaf(), bytes);
        Ok(&self.leaves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cjp2p_wire::tree::LeafIndex;

    fn text(number: usize) -> Vec<u8> {
        format!("{number} ").repeat(number * 100).into_bytes()
    }

    fn put(draft: &mut Draft<'_>, number: usize) -> ListRef {
        draft.put(&text(number)).unwrap()
    }

    fn read(lists: &Lists, id: &ContentId) -> Option<Vec<u8>> {
        let Found { file, range } = lists.find(id)?;
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut bytes, range.start).unwrap();
        Some(bytes)
    }

    #[test]
    fn a_list_can_be_had_while_a_folder_has_it_and_for_an_hour_after() {
        let folder = tempfile::tempdir().unwrap();
        let lists = Lists::open(Some(folder.path()));
        let (mut one, mut other) = (Held::default(), Held::default());
        let publish = |held: &mut Held, numbers: &[usize]| {
            let mut draft = lists.draft();
            let all: Vec<ListRef> = numbers.iter().map(|number| put(&mut draft, *number)).collect();
            let list = *all.last().unwrap();
            (list, lists.hold(held, list, draft))
        };
        let (first, sha256) = publish(&mut one, &[1, 2, 60]);
        publish(&mut other, &[1, 3]);
        let is_there = |number| read(&lists, &reference_of(&text(number)).id()) == Some(text(number));
        assert!([1, 2, 3, 60].into_iter().all(is_there));
        assert_eq!((one.list(), lists.blake3_of(&sha256)), (Some(first), Some(first.root)));
        assert_eq!(read(&lists, &ContentId::Sha256(sha256)), Some(text(60)));

        assert_eq!(lists.current().len(), 2);
        publish(&mut one, &[2, 5]);
        lists.sweep(Instant::now());
        let current = lists.current();
        assert!(current.len() == 2 && !current.contains(&first.id()), "{current:?}");
        assert!([1, 2, 3, 5, 60].into_iter().all(is_there));
        lists.sweep(Instant::now() + KEPT_FOR + Duration::from_secs(1));
        assert!([1, 2, 3, 5].into_iter().all(is_there) && !is_there(60));
        assert_eq!(lists.blake3_of(&sha256), None);

        lists.release(&mut one);
        lists.release(&mut other);
        assert!(is_there(3));
        let later = Instant::now() + KEPT_FOR + Duration::from_secs(1);
        lists.sweep(later);
        assert!(!is_there(3) && lists.size().1 == 0);
        assert!(lists.size().0 > 0, "somebody may be reading");
        lists.sweep(later + GRACE);
        assert_eq!(lists.size(), (0, 0));
    }

    #[test]
    fn what_was_never_published_goes_too_and_its_room_is_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let lists = Lists::open(Some(folder.path()));
        for _ in 0..10 {
            let mut draft = lists.draft();
            (1..40).for_each(|number| _ = put(&mut draft, number));
            drop(draft);
            let later = Instant::now() + KEPT_FOR + Duration::from_secs(1);
            lists.sweep(later);
            lists.sweep(later + GRACE);
            assert_eq!(lists.size(), (0, 0));
        }
    }

    #[test]
    fn the_tree_of_a_list_proves_it() {
        let folder = tempfile::tempdir().unwrap();
        let lists = Lists::open(Some(folder.path()));
        for length in [0, 1, 4096, 4097, 65_536] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let list = lists.draft().put(&bytes).unwrap();
            let file = read(&lists, &ContentId::Tree(list.root)).unwrap();
            let geometry = cjp2p_wire::tree::Geometry::new(list.length).unwrap();
            assert_eq!(file.len() as u64, geometry.tree_length());
            let mut verifier = cjp2p_wire::tree::TreeVerifier::new(list.root, geometry);
            while let Some(run) = verifier.missing_run_for(LeafIndex(0)) {
                let at = geometry.run_bytes(run);
                verifier.insert_run(run, &file[at.start as usize..at.end as usize]).unwrap();
            }
            assert!(verifier.verify(0, &bytes).is_ok());
        }
    }

    #[test]
    fn without_a_place_nothing_is_kept() {
        let lists = Lists::open(None);
        assert!(!lists.is_open() && lists.draft().put(b"x").is_err());
        assert!(lists.find(&reference_of(b"x").id()).is_none());
    }
}
