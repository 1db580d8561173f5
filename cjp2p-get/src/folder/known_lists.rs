//! The lists of a folder that was written before, kept in the state folder: only those that changed are fetched again.
//!
//! A line with the length of each list, then its text. What is read is hashed, so a damaged file costs a fetch and nothing else.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cjp2p_io::names;
use cjp2p_io::state_dir::{open_to_read, open_to_write};
use cjp2p_wire::content_id::Hash;
use cjp2p_wire::folder::{ListRef, MAX_LIST};

/// Bytes of lists that are kept, at most: those of some two million files.
const MOST: u64 = 256 << 20;
/// A longer line, in bytes, says no length.
const LINE_LIMIT: u64 = 20;

/// See the [module](self).
#[derive(Default)]
pub(crate) struct KnownLists {
    /// Those of the last run, and where they are in the file.
    old: Option<File>,
    places: BTreeMap<Hash, (u64, usize)>,
    new: Option<New>,
}

/// What is written for the next run.
struct New {
    file: BufWriter<File>,
    path: PathBuf,
    length: u64,
}

impl KnownLists {
    /// Reads what is kept in the file at `path`, and begins another, unless nothing is to be changed.
    pub(crate) fn open(path: &Path, is_dry: bool) -> KnownLists {
        let mut known = KnownLists::default();
        if let Err(error) = known.read(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("{}: {error}; all lists are fetched", names::shown(path));
        }
        if !is_dry {
            // Who has the lock of the folder is alone here.
            match open_to_write(&beside(path)).and_then(|file| file.set_len(0).map(|()| file)) {
                Ok(file) => {
                    let file = BufWriter::with_capacity(64 << 10, file);
                    known.new = Some(New { file, path: path.to_owned(), length: 0 });
                }
                Err(error) => log::debug!("{}: {error}; no lists are kept", names::shown(path)),
            }
        }
        known
    }

    fn read(&mut self, path: &Path) -> io::Result<()> {
        let file = open_to_read(path)?;
        let mut input = BufReader::with_capacity(64 << 10, file.try_clone()?);
        let (mut at, mut line, mut text) = (0, Vec::new(), Vec::new());
        while at < MOST {
            line.clear();
            input.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line)?;
            let length = str::from_utf8(&line).ok().and_then(|line| line.strip_suffix('\n')?.parse().ok());
            // The end, or what is no list of ours.
            let Some(length) = length.filter(|length| (1..=MAX_LIST).contains(length)) else { break };
            text.resize(length, 0);
            if input.read_exact(&mut text).is_err() {
                break;
            }
            at += line.len() as u64;
            self.places.insert(*blake3::hash(&text).as_bytes(), (at, length));
            at += length as u64;
        }
        self.old = Some(file);
        Ok(())
    }

    /// Whether this list was there.
    pub(super) fn has(&self, root: &Hash) -> bool {
        self.places.contains_key(root)
    }

    /// The text of a list, if it is there and right.
    pub(super) fn get(&mut self, root: &Hash) -> Option<Vec<u8>> {
        let (at, length) = *self.places.get(root)?;
        let mut text = vec![0; length];
        let is_read = self.old.as_ref().is_some_and(|file| file.read_exact_at(&mut text, at).is_ok());
        if is_read && blake3::hash(&text) == *root {
            return Some(text);
        }
        self.places.remove(root);
        None
    }

    /// The same of a list that another one refers to.
    pub(super) fn get_referred(&mut self, list: &ListRef) -> Option<Vec<u8>> {
        self.get(&list.root).filter(|text| text.len() as u64 == list.length)
    }

    /// This list is part of the folder.
    pub(super) fn note(&mut self, text: &[u8]) {
        let Some(new) = &mut self.new else { return };
        new.length += text.len() as u64;
        let written = writeln!(new.file, "{}", text.len()).and_then(|()| new.file.write_all(text));
        if new.length > MOST || written.is_err() {
            self.forget();
        }
    }

    /// All lists of the folder were noted: they are kept in the place of the old ones.
    pub(super) fn keep(&mut self) {
        let Some(mut new) = self.new.take() else { return };
        let kept = new.file.flush().and_then(|()| fs::rename(beside(&new.path), &new.path));
        if let Err(error) = kept {
            log::debug!("{}: {error}; no lists are kept", names::shown(&new.path));
            self.new = Some(new);
            self.forget();
        }
    }

    fn forget(&mut self) {
        if let Some(new) = self.new.take() {
            // It is of no use, and in nobody's way: the next run empties it.
            let _ = fs::remove_file(beside(&new.path));
        }
    }
}

impl Drop for KnownLists {
    fn drop(&mut self) {
        self.forget();
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut new = path.to_owned().into_os_string();
    new.push(".new");
    PathBuf::from(new)
}

#[cfg(test)]
mod tests {
    use cjp2p_wire::folder::reference_of;

    use super::*;

    fn known(path: &Path, texts: &[&str]) -> Vec<bool> {
        let mut known = KnownLists::open(path, true);
        texts.iter().map(|text| known.get_referred(&reference_of(text.as_bytes())).is_some()).collect()
    }

    #[test]
    fn lists_of_the_last_whole_run_are_known_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lists");
        let texts = ["one\n", "7\n", "\n\nthree"];
        assert_eq!(known(&path, &texts), [false; 3]);
        let mut lists = KnownLists::open(&path, false);
        texts[..2].iter().for_each(|text| lists.note(text.as_bytes()));
        assert_eq!(known(&path, &texts), [false; 3], "not before it is told that these are all");
        lists.keep();
        assert_eq!(known(&path, &texts), [true, true, false]);
        let mut lists = KnownLists::open(&path, false);
        lists.note(texts[2].as_bytes());
        drop(lists);
        assert_eq!(known(&path, &texts), [true, true, false], "it was interrupted");
        let mut lists = KnownLists::open(&path, false);
        texts[1..].iter().for_each(|text| lists.note(text.as_bytes()));
        lists.keep();
        assert_eq!(known(&path, &texts), [false, true, true]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_gives_what_is_right_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lists");
        for (bytes, expected) in [
            (&b"4\none\n4\ntwo\n"[..], [true, true]),
            (b"4\none\n4\ntwX\n", [true, false]),
            (b"4\none\n4\ntwo", [true, false]),
            (b"4\none\n99999999999999999999999\n", [true, false]),
            (b"0\n4\none\n", [false, false]),
            (b"-4\none\n", [false, false]),
            (b"\xff", [false, false]),
            (b"", [false, false]),
        ] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(known(&path, &["one\n", "two\n"]), expected, "{bytes:?}");
        }
        // It changes after it was read.
        fs::write(&path, b"4\none\n").unwrap();
        let mut lists = KnownLists::open(&path, false);
        fs::write(&path, b"4\nXXX\n").unwrap();
        let one = *blake3::hash(b"one\n").as_bytes();
        assert!(lists.has(&one) && lists.get(&one).is_none() && !lists.has(&one));
    }
}
