//! Hashing a file: its SHA-256, its BLAKE3 hash and its tree from one read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cjp2p_io::holes::HoleReader;
use cjp2p_wire::tree::{GROUP_LEN, Group, GroupIndex, MAX_LENGTH, TreeBuilder};
use rustix::fs::Advice;
use sha2::{Digest, Sha256};

use crate::file::{FileState, Ids};
use crate::open::{Identity, Patience};

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
}

/// Hashes a file, which must be what `file` says before, while and after it is read. Its length must be part of
/// `hashing.total`; what of it is not hashed in the end is taken off again.
pub fn hash_file(file: &FileState, hashing: &Hashing) -> Outcome {
    let mut left = file.identity.size;
    let outcome = hash_if_unchanged(file, hashing, &mut left);
    hashing.total.fetch_sub(left, Ordering::Relaxed);
    outcome
}

fn hash_if_unchanged(file: &FileState, hashing: &Hashing, left: &mut u64) -> Outcome {
    let opened = match file.place.open(Patience::Wait) {
        Ok((opened, identity)) if identity == file.identity => opened,
        Ok(_) => return Outcome::Changed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Outcome::Changed,
        Err(error) => return Outcome::Failed(error),
    };
    hash_open_file(&opened, &file.identity, hashing, left).unwrap_or_else(Outcome::Failed)
}

fn hash_open_file(
    file: &File,
    identity: &Identity,
    hashing: &Hashing,
    left: &mut u64,
) -> io::Result<Outcome> {
    if identity.size > MAX_LENGTH {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than any content can be"));
    }
    // Only a hint, so a file system that cannot take it is fine.
    let _ = rustix::fs::fadvise(file, 0, None, Advice::Sequential);
    let (mut sha256, mut tree) = (Sha256::new(), TreeBuilder::new());
    let mut buffer = vec![0; usize::try_from(identity.size.min(GROUP_LEN)).unwrap_or(0)];
    let mut reader = HoleReader::default();
    let groups = identity.size.div_ceil(GROUP_LEN);
    for group in (0..groups).map(GroupIndex) {
        let offset = group.offset();
        let length = usize::try_from((identity.size - offset).min(GROUP_LEN)).unwrap_or(0);
        let bytes = &mut buffer[..length];
        let ends = reader.read(file, offset, bytes)? < length;
        // Looked at after every read: what is no more what it was need not be read to its end.
        if Identity::of_file(file)? != Some(*identity) {
            return Ok(Outcome::Changed);
        }
        if ends {
            return Err(no_length("holds fewer bytes than it says"));
        }
        if hashing.stop.load(Ordering::Relaxed) {
            return Ok(Outcome::Stopped);
        }
        sha256.update(&*bytes);
        tree.push_group(&Group::hash(group, bytes));
        hashing.done.fetch_add(length as u64, Ordering::Relaxed);
        *left -= length as u64;
    }
    // Files of the kernel say that they are empty, whatever they hold.
    if file.read_at(&mut [0], identity.size)? > 0 {
        return match Identity::of_file(file)? == Some(*identity) {
            true => Err(no_length("holds more bytes than it says")),
            false => Ok(Outcome::Changed),
        };
    }
    let tree = tree.finish();
    let ids = Ids { blake3: *tree.root(), sha256: sha256.finalize().into() };
    // Not even an empty tree for each of very many small files: the keeper may take a while to come to them.
    let tree_prefix = if groups > 1 { tree.into_prefix() } else { Vec::new() };
    Ok(Outcome::Hashed { ids, tree_prefix })
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
            let hashing = Hashing { total: length.into(), ..Hashing::default() };
            let Outcome::Hashed { ids, tree_prefix } = hash_file(&state(&path), &hashing) else {
                panic!("not hashed");
            };
            assert_eq!(ids.blake3, *blake3::hash(&content).as_bytes());
            assert_eq!(ids.sha256, <[u8; 32]>::from(Sha256::digest(&content)));
            let mut tree = TreeBuilder::new();
            tree.update(&content);
            let prefix = if length > GROUP_LEN { tree.finish().into_prefix() } else { Vec::new() };
            assert_eq!(tree_prefix, prefix);
            assert_eq!(hashing.done.into_inner(), length);
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
        let mut left = before.identity.size + 1;
        let longer = Identity { size: before.identity.size + 1, ..before.identity };
        assert!(matches!(hash_open_file(&file, &longer, &hashing, &mut left), Ok(Outcome::Changed)));
        let mut left = before.identity.size - 1;
        let shorter = Identity { size: before.identity.size - 1, ..before.identity };
        assert!(matches!(hash_open_file(&file, &shorter, &hashing, &mut left), Ok(Outcome::Changed)));
        std::thread::sleep(before.identity.settles_in(crate::open::Stamp::now()));
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
    }
}
