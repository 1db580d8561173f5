//! Hashing a file: its SHA-256, its BLAKE3 hash and its tree from one read.
//!
//! Files are hashed side by side, each on one thread. While fewer of them are at work than there are cores, a large file gets a second
//! thread, which reads and computes all but SHA-256.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use cjp2p_io::holes::HoleReader;
use cjp2p_io::identity::Identity;
use cjp2p_io::in_order::{Filled, Sizes, take_in_order};
use cjp2p_wire::tree::{GROUP_LEN, Group, GroupHasher, GroupIndex, MAX_LENGTH, TreeBuilder};
use rustix::fs::Advice;
use sha2::{Digest, Sha256};

use crate::file::{FileState, Ids};
use crate::open::Patience;

/// Bytes that are read before they are hashed: they stay in the cache of a core in between.
const PIECE_LEN: usize = 128 << 10;
/// A shorter file is hashed before a second thread would be of use.
const AHEAD_FROM: u64 = 8 << 20;
/// What a second thread may have ready: it works in larger steps than the one that waits for it.
const AHEAD: Sizes = Sizes { threads: 1, waiting: 2, block_len: GROUP_LEN as usize };

/// How hashing a file ended.
#[derive(Debug)]
pub enum Outcome {
    /// All bytes belong to the state of the file that was to be hashed.
    Hashed {
        /// The ids of the content.
        ids: Ids,
        /// The part of its tree to keep; empty for small content, which needs none.
        tree_prefix: Vec<u8>,
    },
    /// It was changed or replaced, before or meanwhile.
    Changed,
    /// It cannot be read.
    Failed(io::Error),
    /// The process is ending.
    Stopped,
}

/// How far the hashing of all files together is, and whether to go on with it.
#[derive(Debug, Default)]
pub struct Hashing {
    /// Bytes hashed since the start.
    pub done: AtomicU64,
    /// Bytes of all files hashed, being hashed and waiting.
    pub total: AtomicU64,
    /// Set to make hashing end soon.
    pub stop: AtomicBool,
    /// Files that are being hashed.
    pub at_work: AtomicUsize,
}

/// How many cores this process may use.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Hashes a file, which must be what `file` says before, while and after it is read. Its length must be part of
/// `hashing.total`; what of it is not hashed in the end is taken off again.
pub fn hash_file(file: &FileState, hashing: &Hashing) -> Outcome {
    let mut left = file.identity.size;
    let at_work = hashing.at_work.fetch_add(1, Ordering::Relaxed) + 1;
    let ahead = left >= AHEAD_FROM && at_work < cores();
    let outcome = hash_if_unchanged(file, hashing, ahead, &mut left).unwrap_or_else(|outcome| outcome);
    hashing.at_work.fetch_sub(1, Ordering::Relaxed);
    hashing.total.fetch_sub(left, Ordering::Relaxed);
    outcome
}

fn hash_if_unchanged(
    file: &FileState,
    hashing: &Hashing,
    ahead: bool,
    left: &mut u64,
) -> Result<Outcome, Outcome> {
    let opened = match file.place.open(Patience::Wait) {
        Ok((opened, identity)) if identity == file.identity => opened,
        Ok(_) => return Err(Outcome::Changed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Outcome::Changed),
        Err(error) => return Err(error.into()),
    };
    if file.identity.size > MAX_LENGTH {
        let error = io::Error::new(io::ErrorKind::FileTooLarge, "longer than any content can be");
        return Err(error.into());
    }
    Reading { file: &opened, identity: &file.identity, hashing }.hash(ahead, left)
}

impl From<io::Error> for Outcome {
    fn from(error: io::Error) -> Outcome {
        Outcome::Failed(error)
    }
}

/// An open file that is read to be hashed.
struct Reading<'a> {
    file: &'a File,
    identity: &'a Identity,
    hashing: &'a Hashing,
}

impl Reading<'_> {
    /// Takes what is hashed off `left`.
    fn hash(&self, ahead: bool, left: &mut u64) -> Result<Outcome, Outcome> {
        // Only a hint, so a file system that cannot take it is fine.
        let _ = rustix::fs::fadvise(self.file, 0, None, Advice::Sequential);
        let (mut sha256, mut tree) = (Sha256::new(), TreeBuilder::new());
        let mut done = |length: usize| {
            self.hashing.done.fetch_add(length as u64, Ordering::Relaxed);
            *left -= length as u64;
        };
        let hashed_ahead = ahead.then(|| {
            self.hash_ahead(|group, bytes| {
                sha256.update(bytes);
                tree.push_group(&group);
                done(bytes.len());
            })
        });
        match hashed_ahead.flatten() {
            Some(result) => result?,
            None => {
                let most = self.identity.size.min(PIECE_LEN as u64);
                let mut buffer = vec![0; usize::try_from(most).unwrap_or(PIECE_LEN)];
                let mut reader = HoleReader::default();
                for group in (0..self.groups()).map(GroupIndex) {
                    let mut hasher = GroupHasher::new(group);
                    self.read(&mut reader, group, &mut buffer, |piece| {
                        sha256.update(piece);
                        hasher.update(piece);
                        done(piece.len());
                    })?;
                    tree.push_group(&hasher.finish());
                }
            }
        }
        self.check_end()?;
        let tree = tree.finish();
        let ids = Ids { blake3: *tree.root(), sha256: sha256.finalize().into() };
        // Not even an empty tree for each of very many small files: the keeper may take a while to come to them.
        let tree_prefix = if self.groups() > 1 { tree.into_prefix() } else { Vec::new() };
        Ok(Outcome::Hashed { ids, tree_prefix })
    }

    /// Calls `take` with each group and its bytes, which another thread reads and hashes. `None` where the system has no room for a
    /// thread.
    fn hash_ahead(&self, mut take: impl FnMut(Group, &[u8])) -> Option<Result<(), Outcome>> {
        let fill = |reader: &mut HoleReader, index, block: &mut [u8]| {
            let group = GroupIndex(index);
            let mut hasher = GroupHasher::new(group);
            let mut length = 0;
            self.read(reader, group, block, |piece| {
                hasher.update(piece);
                length += piece.len();
            })?;
            Ok(Filled { length, value: hasher.finish(), more: index + 1 < self.groups() })
        };
        take_in_order(AHEAD, fill, |group, bytes| {
            take(group, bytes);
            Ok(())
        })
    }

    fn groups(&self) -> u64 {
        self.identity.size.div_ceil(GROUP_LEN)
    }

    /// Calls `each` with the bytes of a group, a piece after another. They are read into `buffer`, which is for a piece, or for the whole
    /// group.
    fn read(
        &self,
        reader: &mut HoleReader,
        group: GroupIndex,
        buffer: &mut [u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), Outcome> {
        let length = usize::try_from((self.identity.size - group.offset()).min(GROUP_LEN)).unwrap_or(0);
        for at in (0..length).step_by(PIECE_LEN) {
            let start = at % buffer.len();
            let piece = &mut buffer[start..start + PIECE_LEN.min(length - at)];
            let ends = reader.read(self.file, group.offset() + at as u64, piece)? < piece.len();
            // Looked at after every read: what is no more what it was need not be read to its end.
            if !self.is_unchanged()? {
                return Err(Outcome::Changed);
            }
            if ends {
                return Err(no_length("holds fewer bytes than it says").into());
            }
            if self.hashing.stop.load(Ordering::Relaxed) {
                return Err(Outcome::Stopped);
            }
            each(piece);
        }
        Ok(())
    }

    /// Files of the kernel say that they are empty, whatever they hold.
    fn check_end(&self) -> Result<(), Outcome> {
        if self.file.read_at(&mut [0], self.identity.size)? == 0 {
            return Ok(());
        }
        match self.is_unchanged()? {
            true => Err(no_length("holds more bytes than it says").into()),
            false => Err(Outcome::Changed),
        }
    }

    fn is_unchanged(&self) -> io::Result<bool> {
        Ok(Identity::of_file(self.file)? == Some(*self.identity))
    }
}

/// A file whose length is not known before it is read to its end. Asked for, it would have to be read differently each time.
fn no_length(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what}: not shared"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::{Place, Source};
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    fn state(path: &Path) -> FileState {
        let source = Arc::new(Source::open(0, path.parent().unwrap()).unwrap());
        let relative: &Path = path.file_name().unwrap().as_ref();
        let place = Place { source, relative: relative.into(), target: None };
        let (_, identity) = place.open(Patience::Wait).unwrap();
        FileState { place, identity }
    }

    #[test]
    fn a_file_gets_the_ids_of_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for length in [0, 1, 4096, 4097, GROUP_LEN, GROUP_LEN + 1, 3 * GROUP_LEN - 5] {
            let content: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            fs::write(&path, &content).unwrap();
            let mut tree = TreeBuilder::new();
            tree.update(&content);
            let prefix = if length > GROUP_LEN { tree.finish().into_prefix() } else { Vec::new() };
            for ahead in [false, length > 0] {
                let hashing = Hashing::default();
                let mut left = length;
                let outcome = hash_if_unchanged(&state(&path), &hashing, ahead, &mut left);
                let Ok(Outcome::Hashed { ids, tree_prefix }) = outcome else {
                    panic!("{outcome:?}");
                };
                assert_eq!(ids.blake3, *blake3::hash(&content).as_bytes());
                assert_eq!(ids.sha256, <[u8; 32]>::from(Sha256::digest(&content)));
                assert_eq!(tree_prefix, prefix);
                assert_eq!((hashing.done.into_inner(), left), (length, 0));
            }
        }
    }

    #[test]
    fn holes_are_zeros() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut content = vec![0; 5 * GROUP_LEN as usize + 9];
        let at = 2 * GROUP_LEN as usize + 7;
        content[at] = 1;
        let file = File::create(&path).unwrap();
        file.set_len(content.len() as u64).unwrap();
        file.write_all_at(&[1], at as u64).unwrap();
        let hashing = Hashing { total: (content.len() as u64).into(), ..Hashing::default() };
        let Outcome::Hashed { ids, .. } = hash_file(&state(&path), &hashing) else {
            panic!("not hashed");
        };
        assert_eq!(ids.blake3, *blake3::hash(&content).as_bytes());
        assert_eq!(ids.sha256, <[u8; 32]>::from(Sha256::digest(&content)));
    }

    #[test]
    fn a_file_changed_before_or_while_it_is_hashed_gets_no_ids() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, vec![1; 2 * GROUP_LEN as usize]).unwrap();
        let before = state(&path);
        let total = before.identity.size;
        let hashing = Hashing { total: (2 * total).into(), ..Hashing::default() };
        let is_changed = || matches!(hash_file(&before, &hashing), Outcome::Changed);
        // A file that claims to be longer looks like one that was truncated after the first look.
        let file = File::open(&path).unwrap();
        for size in [before.identity.size + 1, before.identity.size - 1] {
            for ahead in [false, true] {
                let other = Identity { size, ..before.identity };
                let outcome =
                    Reading { file: &file, identity: &other, hashing: &hashing }.hash(ahead, &mut { size });
                assert!(matches!(outcome, Err(Outcome::Changed)), "{outcome:?}");
            }
        }
        std::thread::sleep(before.identity.settles_in(cjp2p_io::identity::Stamp::now()));
        fs::write(&path, vec![2; 2 * GROUP_LEN as usize]).unwrap();
        assert!(is_changed());
        fs::remove_file(&path).unwrap();
        assert!(is_changed());
        assert_eq!(hashing.total.into_inner(), 0);
    }

    #[test]
    fn a_file_that_does_not_say_how_long_it_is_gets_no_ids() {
        // Says that it is empty, and one of those in the kernel's other file system that it has a page.
        for path in
            ["/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel/uevent_seqnum"]
        {
            if fs::read(path).is_ok_and(|bytes| !bytes.is_empty()) {
                let state = state(Path::new(path));
                let hashing = Hashing { total: state.identity.size.into(), ..Hashing::default() };
                let outcome = hash_file(&state, &hashing);
                let Outcome::Failed(error) = outcome else { panic!("{path}: {outcome:?}") };
                assert!(error.to_string().ends_with("bytes than it says: not shared"), "{error}");
                assert_eq!(hashing.total.into_inner(), 0);
            }
        }
    }

    #[test]
    fn hashing_ends_when_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, vec![1; 2 * GROUP_LEN as usize]).unwrap();
        let hashing = Hashing { stop: AtomicBool::new(true), ..Hashing::default() };
        assert!(matches!(hash_file(&state(&path), &hashing), Outcome::Stopped));
        assert_eq!(hashing.at_work.into_inner(), 0);
    }
}
