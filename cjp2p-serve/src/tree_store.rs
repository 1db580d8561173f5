//! Trees of large files, kept between runs down to the level that follows quickly from the content.
//!
//! What is read is checked once: it must fold to the root. A damaged or missing tree is as good as none, and the
//! file is hashed again.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use blake3::hazmat::{self, Mode};
use cjp2p_io::state_dir::{about, open_to_read, replace_lightly};
use cjp2p_wire::content_id::Hash;
use cjp2p_wire::tree::{ENTRY_LEN, GROUP_LEN, Geometry, HEADER_LEN, Level, RUN_LEVELS, header};
use data_encoding::HEXLOWER;

/// How long a tree may be there without a line in the store of hashes.
const UNCLAIMED: Duration = Duration::from_secs(86_400);

/// The part of a tree file that is kept: everything before level [`RUN_LEVELS`]` - 1`.
#[derive(Clone, Debug)]
pub struct Prefix(Kept);

#[derive(Clone, Debug)]
enum Kept {
    Memory(Arc<[u8]>),
    Disk(Arc<File>),
}

impl Prefix {
    /// Appends the bytes `range` to `out`.
    ///
    /// # Errors
    ///
    /// They are not there, or reading failed.
    pub fn read(&self, range: Range<u64>, out: &mut Vec<u8>) -> io::Result<()> {
        let missing = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let at = |offset| usize::try_from(offset).map_err(|_| missing());
        match &self.0 {
            Kept::Memory(bytes) => {
                let range = at(range.start)?..at(range.end)?;
                out.extend_from_slice(bytes.get(range).ok_or_else(missing)?);
            }
            Kept::Disk(file) => {
                let start = out.len();
                out.resize(start + at(range.end.saturating_sub(range.start))?, 0);
                if let Err(error) = file.read_exact_at(&mut out[start..], range.start) {
                    out.truncate(start);
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// The trees of this and earlier runs.
#[derive(Debug)]
pub struct TreeStore {
    /// `None` where none is kept between runs.
    folder: Option<PathBuf>,
    /// Those that were not written.
    in_memory: Mutex<HashMap<Hash, Arc<[u8]>>>,
}

impl TreeStore {
    /// The store in a state folder, or where there is none, in memory. Nothing is read or made yet.
    pub fn new(state_folder: Option<&Path>) -> TreeStore {
        TreeStore { folder: state_folder.map(|folder| folder.join("trees-2")), in_memory: Mutex::default() }
    }

    /// Keeps the prefix of the tree with this root. Small content needs none.
    ///
    /// # Errors
    ///
    /// It could not be written. It is then kept in memory.
    pub fn keep(&self, root: &Hash, prefix: Vec<u8>) -> io::Result<()> {
        if prefix.len() as u64 <= HEADER_LEN {
            return Ok(());
        }
        let written = self.folder.as_deref().map(|folder| write(folder, root, &prefix));
        let mut in_memory = self.in_memory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Ok(())) = written {
            in_memory.remove(root);
        } else {
            in_memory.insert(*root, prefix.into());
        }
        written.unwrap_or(Ok(()))
    }

    /// The prefix of the tree over `geometry` with this root, checked. Reads all of it.
    ///
    /// # Errors
    ///
    /// It is missing, damaged, or cannot be read.
    pub fn open(&self, root: &Hash, geometry: &Geometry) -> io::Result<Prefix> {
        if geometry.length() <= GROUP_LEN {
            return Ok(Prefix(Kept::Memory(Arc::new(header(root)))));
        }
        let in_memory = self.in_memory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = in_memory.get(root) {
            return Ok(Prefix(Kept::Memory(bytes.clone())));
        }
        drop(in_memory);
        let folder = self.folder.as_deref().ok_or(io::ErrorKind::NotFound)?;
        let file = open_to_read(&path_in(folder, root))?;
        if !folds_to_root(root, geometry, &file)? {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "does not match its root"));
        }
        Ok(Prefix(Kept::Disk(Arc::new(file))))
    }

    /// Removes the trees of all but these roots, unless they are so new that another process may just be about to say
    /// what they are for.
    pub fn remove_all_but(&self, roots: &HashSet<Hash>) {
        let Some(Ok(entries)) = self.folder.as_ref().map(fs::read_dir) else {
            return;
        };
        for entry in entries.flatten() {
            let root = HEXLOWER.decode(entry.file_name().as_encoded_bytes());
            let wanted =
                root.is_ok_and(|root| <Hash>::try_from(root).is_ok_and(|root| roots.contains(&root)));
            let age = entry.metadata().and_then(|metadata| metadata.modified());
            let old = age.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > UNCLAIMED));
            if !wanted && old {
                // Whatever cannot be removed only takes up room.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Without forcing it to disk: what a crash of the machine leaves half-written is found out when it is read.
fn write(folder: &Path, root: &Hash, prefix: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder).map_err(|error| about(folder, error))?;
    replace_lightly(&path_in(folder, root), prefix)
}

fn path_in(folder: &Path, root: &Hash) -> PathBuf {
    folder.join(HEXLOWER.encode(root))
}

/// Whether the file is the prefix of the tree. Goes from level to level, with little of it in memory at a time.
fn folds_to_root(root: &Hash, geometry: &Geometry, file: &File) -> io::Result<bool> {
    let mut start = [0; HEADER_LEN as usize];
    file.read_exact_at(&mut start, 0)?;
    if file.metadata()?.len() != geometry.prefix_length() || start != header(root) {
        return Ok(false);
    }
    let mut upper = Entries::new(file, geometry, Level(geometry.level_count() - 1));
    let (left, right) = (upper.next()?, upper.next()?);
    let (Some(left), Some(right)) = (left, right) else {
        return Ok(false);
    };
    if hazmat::merge_subtrees_root(&left, &right, Mode::Hash) != *root {
        return Ok(false);
    }
    for level in (RUN_LEVELS + 1..geometry.level_count()).rev() {
        let mut upper = Entries::new(file, geometry, Level(level));
        let mut lower = Entries::new(file, geometry, Level(level - 1));
        while let Some(above) = upper.next()? {
            let folded = match (lower.next()?, lower.next()?) {
                (Some(left), Some(right)) => hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash),
                (Some(odd), None) => odd,
                (None, _) => return Ok(false),
            };
            if folded != above {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The entries of one level, in order.
struct Entries<'a> {
    file: &'a File,
    offset: u64,
    end: u64,
    buffer: Vec<u8>,
    taken: usize,
}

impl Entries<'_> {
    fn new<'a>(file: &'a File, geometry: &Geometry, level: Level) -> Entries<'a> {
        let offset = geometry.level_offset(level);
        let end = offset + geometry.level_entries(level) * ENTRY_LEN;
        Entries { file, offset, end, buffer: Vec::new(), taken: 0 }
    }

    fn next(&mut self) -> io::Result<Option<Hash>> {
        if self.taken == self.buffer.len() {
            let size = (self.end - self.offset).min(1 << 16);
            self.buffer.resize(usize::try_from(size).unwrap_or(1 << 16), 0);
            self.file.read_exact_at(&mut self.buffer, self.offset)?;
            self.offset += size;
            self.taken = 0;
        }
        let Some(mut entry) = self.buffer.get(self.taken..) else {
            return Ok(None);
        };
        let mut hash = Hash::default();
        if entry.is_empty() {
            return Ok(None);
        }
        entry.read_exact(&mut hash)?;
        self.taken += hash.len();
        Ok(Some(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cjp2p_wire::tree::TreeBuilder;

    fn path(store: &TreeStore, root: &Hash) -> PathBuf {
        path_in(store.folder.as_deref().unwrap(), root)
    }

    fn built(groups: u64, odd: usize) -> (Hash, Geometry, Vec<u8>) {
        let mut builder = TreeBuilder::new();
        let mut group = vec![0; GROUP_LEN as usize];
        for number in 0..groups {
            group[..8].copy_from_slice(&number.to_le_bytes());
            builder.update(&group);
        }
        builder.update(&group[..odd]);
        let tree = builder.finish();
        (*tree.root(), tree.geometry(), tree.into_prefix())
    }

    #[test]
    fn a_kept_prefix_reads_back_and_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let store = TreeStore::new(Some(folder.path()));
        for (groups, odd) in [(1, 1), (2, 0), (2, 100_000), (7, 4096), (16, 0)] {
            let (root, geometry, prefix) = built(groups, odd);
            assert!(store.open(&root, &geometry).is_err(), "nothing kept yet");
            store.keep(&root, prefix.clone()).unwrap();
            let found = store.open(&root, &geometry).unwrap();
            let mut out = b"before".to_vec();
            found.read(0..prefix.len() as u64, &mut out).unwrap();
            assert_eq!(out[6..], prefix);
            assert!(found.read(1..prefix.len() as u64 + 1, &mut out).is_err());
            assert_eq!(out.len(), 6 + prefix.len());
        }
    }

    #[test]
    fn a_prefix_with_any_damage_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = TreeStore::new(Some(folder.path()));
        let (root, geometry, prefix) = built(5, 77);
        for at in (0..prefix.len()).step_by(7) {
            let mut damaged = prefix.clone();
            damaged[at] ^= 1;
            store.keep(&root, damaged).unwrap();
            assert!(store.open(&root, &geometry).is_err(), "byte {at}");
        }
        for cut in [&prefix[..prefix.len() - 1], &prefix[..64], &[]] {
            fs::write(path(&store, &root), cut).unwrap();
            assert!(store.open(&root, &geometry).is_err(), "{} bytes", cut.len());
        }
        let mut longer = prefix.clone();
        longer.push(0);
        fs::write(path(&store, &root), longer).unwrap();
        assert!(store.open(&root, &geometry).is_err());
        store.keep(&root, prefix).unwrap();
        assert!(store.open(&root, &geometry).is_ok());
    }

    #[test]
    fn small_content_needs_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = TreeStore::new(Some(folder.path()));
        let (root, geometry, prefix) = built(1, 0);
        store.keep(&root, prefix.clone()).unwrap();
        let mut out = Vec::new();
        store.open(&root, &geometry).unwrap().read(0..64, &mut out).unwrap();
        assert_eq!(out, prefix);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_old_trees_without_a_use_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = TreeStore::new(Some(folder.path()));
        let (root, _, prefix) = built(2, 0);
        for name in [root, [1; 32], [2; 32]] {
            store.keep(&name, prefix.clone()).unwrap();
        }
        fs::write(folder.path().join("trees-2").join(".tmpx"), "left by a killed process").unwrap();
        for name in [path(&store, &root), path(&store, &[1; 32]), folder.path().join("trees-2").join(".tmpx")]
        {
            let file = File::options().write(true).open(name).unwrap();
            file.set_modified(std::time::SystemTime::now() - 2 * UNCLAIMED).unwrap();
        }
        store.remove_all_but(&HashSet::from([root]));
        let mut left: Vec<_> =
            fs::read_dir(folder.path().join("trees-2")).unwrap().map(|entry| entry.unwrap().path()).collect();
        left.sort();
        let mut expected = [path(&store, &root), path(&store, &[2; 32])];
        expected.sort();
        assert_eq!(left, expected);
    }

    #[test]
    fn what_cannot_be_written_is_kept_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("trees-2"), "in the way").unwrap();
        let store = TreeStore::new(Some(folder.path()));
        let (root, geometry, prefix) = built(3, 1);
        assert!(store.keep(&root, prefix.clone()).is_err());
        let nowhere = TreeStore::new(None);
        nowhere.keep(&root, prefix.clone()).unwrap();
        for store in [store, nowhere] {
            let mut out = Vec::new();
            let found = store.open(&root, &geometry).unwrap();
            found.read(0..prefix.len() as u64, &mut out).unwrap();
            assert_eq!(out, prefix);
            assert!(store.open(&[7; 32], &geometry).is_err());
        }
    }
}
