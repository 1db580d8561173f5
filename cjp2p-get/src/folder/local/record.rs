//! What was written to a folder, remembered in the state folder: so that what is there and right need not be read again, and what
//! others changed is told from what we wrote.
//!
//! Lines of text, folder by folder, the last of them a hash of all others. A damaged record is as good as none: files are then
//! hashed, and nothing is taken for ours.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;

use cjp2p_io::names::{escape, shown, unescape};
use cjp2p_io::state_dir::{about, folder_of, open_to_read, open_to_write, sync_file, sync_folder};
use cjp2p_wire::content_id::Hash;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

use super::tree::Tree;
use cjp2p_io::beneath::Stamp;

const HEADING: &str = "# cjp2p folder 1";
/// No line is longer: two paths whose every byte is escaped, and some numbers.
const LINE_LIMIT: u64 = 20 << 10;

/// What is remembered of a file or link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    File {
        stamp: Stamp,
        root: Hash,
    },
    /// The BLAKE3 of its target.
    Link {
        target: Hash,
    },
}

/// What was remembered.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// There was a record of this very folder.
    pub(super) is_there: bool,
    /// Of the nodes of the tree, as far as any are known.
    of_nodes: Vec<Option<Known>>,
    /// What some of them may be beside that.
    others: BTreeMap<u32, Vec<Known>>,
    /// Of paths that are not in the tree.
    pub(super) strays: BTreeMap<Vec<u8>, Vec<Known>>,
}

impl Remembered {
    /// What this node was, as it was written here. Where a run was interrupted, it may be one of several things.
    pub(super) fn of(&self, node: u32) -> impl Iterator<Item = &Known> + Clone {
        let first = self.of_nodes.get(node as usize).and_then(Option::as_ref);
        first.into_iter().chain(self.others.get(&node).into_iter().flatten())
    }
}

/// The record of one folder. See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Nowhere, where there is no state folder.
    path: Option<PathBuf>,
    /// Which folder it is about: another one may have its path.
    top: u64,
}

impl Record {
    /// The record at `path`, about the folder with this inode.
    pub(super) fn new(path: Option<PathBuf>, top: u64) -> Record {
        Record { path, top }
    }

    /// The path of a file beside it.
    pub(super) fn beside(&self, ending: &str) -> Option<PathBuf> {
        let mut path = self.path.clone()?.into_os_string();
        path.push(ending);
        Some(PathBuf::from(path))
    }

    /// Reads it. What is damaged is told, and counts for nothing.
    ///
    /// # Errors
    ///
    /// It is there and cannot be read.
    pub(super) fn load(&self, tree: &Tree) -> io::Result<Remembered> {
        let Some(path) = &self.path else { return Ok(Remembered::default()) };
        let file = match open_to_read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Remembered::default()),
            file => file.map_err(|error| about(path, error))?,
        };
        match self.read(BufReader::with_capacity(1 << 17, file), tree) {
            Ok(Some(remembered)) => Ok(remembered),
            Ok(None) => Ok(Remembered::default()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                log::warn!("{}: is damaged; what is there is hashed instead", shown(path));
                Ok(Remembered::default())
            }
            Err(error) => Err(about(path, error)),
        }
    }

    /// `None` where it is about another folder.
    fn read(&self, mut input: impl BufRead, tree: &Tree) -> io::Result<Option<Remembered>> {
        let damaged = || io::Error::from(io::ErrorKind::InvalidData);
        let mut found = Remembered { is_there: true, ..Remembered::default() };
        let mut hasher = blake3::Hasher::new();
        let (mut line, mut folder) = (Vec::new(), Vec::new());
        for nth in 0_u64.. {
            line.clear();
            (&mut input).take(LINE_LIMIT).read_until(b'\n', &mut line)?;
            let text = line.strip_suffix(b"\n").ok_or_else(damaged)?;
            if let Some(digits) = text.strip_prefix(b"= ") {
                let is_whole = digits == hasher.finalize().to_hex().as_bytes();
                return if is_whole { Ok(Some(found)) } else { Err(damaged()) };
            }
            hasher.update(&line);
            if nth == 0 {
                let text = str::from_utf8(text).ok().and_then(|text| text.strip_prefix(HEADING));
                let top: u64 = text.and_then(|text| text.trim().parse().ok()).ok_or_else(damaged)?;
                if top != self.top {
                    return Ok(None);
                }
                continue;
            }
            match text.split_first_chunk::<2>() {
                Some((b"D ", path)) => folder = unescape(path).ok_or_else(damaged)?,
                Some((b"F " | b"L ", _)) => {
                    let (name, known) = read_known(text).ok_or_else(damaged)?;
                    found.take(tree, &folder, name, known);
                }
                _ => return Err(damaged()),
            }
        }
        Err(damaged())
    }

    /// Writes it anew: what `each` writes is all. It is on the disk then.
    ///
    /// # Errors
    ///
    /// It cannot be written: the old one is then there as before.
    pub(super) fn write(&self, each: impl FnOnce(&mut Writer) -> io::Result<()>) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        // Who has the lock of the folder is alone here.
        let mut new = path.clone().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        let written = open_to_write(&new).and_then(|file| {
            file.set_len(0)?;
            let mut writer =
                Writer { out: BufWriter::with_capacity(1 << 17, file), hasher: blake3::Hasher::new() };
            writer.line(format!("{HEADING} {}\n", self.top).as_bytes())?;
            each(&mut writer)?;
            let end = format!("= {}\n", writer.hasher.finalize().to_hex());
            writer.out.write_all(end.as_bytes())?;
            sync_file(&writer.out.into_inner().map_err(io::IntoInnerError::into_error)?)?;
            fs::rename(&new, path)
        });
        written.and_then(|()| sync_folder(folder_of(path))).map_err(|error| {
            let _ = fs::remove_file(&new);
            about(path, error)
        })
    }
}

impl Remembered {
    fn take(&mut self, tree: &Tree, folder: &[u8], name: Vec<u8>, known: Known) {
        match tree.find(folder, &name) {
            Some(node) => {
                if self.of_nodes.is_empty() {
                    self.of_nodes = vec![None; tree.len()];
                }
                match &mut self.of_nodes[node as usize] {
                    first @ None => *first = Some(known),
                    Some(_) => self.others.entry(node).or_default().push(known),
                }
            }
            None => {
                let mut path = folder.to_vec();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(&name);
                self.strays.entry(path).or_default().push(known);
            }
        }
    }
}

fn read_known(line: &[u8]) -> Option<(Vec<u8>, Known)> {
    let mut fields = line.splitn(if line.starts_with(b"F") { 7 } else { 3 }, |byte| *byte == b' ');
    let kind = fields.next()?;
    let hash: Hash = HEXLOWER_PERMISSIVE.decode(fields.next()?).ok()?.try_into().ok()?;
    let number = |field: &[u8]| -> Option<u64> { str::from_utf8(field).ok()?.parse().ok() };
    let known = if kind == b"F" {
        let stamp = Stamp {
            size: number(fields.next()?)?,
            seconds: str::from_utf8(fields.next()?).ok()?.parse().ok()?,
            nanos: u32::try_from(number(fields.next()?)?).ok()?,
            inode: number(fields.next()?)?,
        };
        Known::File { stamp, root: hash }
    } else {
        Known::Link { target: hash }
    };
    Some((unescape(fields.next()?)?, known))
}

/// Writes lines of a record.
pub(super) struct Writer {
    out: BufWriter<File>,
    hasher: blake3::Hasher,
}

impl Writer {
    /// What follows is in this folder.
    pub(super) fn folder(&mut self, path: &[u8]) -> io::Result<()> {
        let path = escape(path).0;
        self.line(&[b"D ", &*path, b"\n"].concat())
    }

    /// Something in that folder.
    pub(super) fn entry(&mut self, name: &[u8], known: &Known) -> io::Result<()> {
        let name = escape(name).0;
        let start = match known {
            Known::File { stamp, root } => {
                let Stamp { size, seconds, nanos, inode } = stamp;
                format!("F {} {size} {seconds} {nanos} {inode} ", HEXLOWER.encode(root))
            }
            Known::Link { target } => format!("L {} ", HEXLOWER.encode(target)),
        };
        self.line(&[start.as_bytes(), &*name, b"\n"].concat())
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.hasher.update(line);
        self.out.write_all(line)
    }
}

#[cfg(test)]
mod tests {
    use cjp2p_wire::folder::{Entry, FolderPath, Kind};

    use super::super::tree::TreeBuilder;
    use super::*;

    fn tree(paths: &[&[u8]]) -> Tree {
        let mut builder = TreeBuilder::new(false);
        for path in paths {
            let kind = Kind::Link { target: b"x".to_vec() };
            builder.add(&Entry { path: FolderPath::new(path).unwrap(), kind, mtime: None }).unwrap();
        }
        builder.finish().0
    }

    const FILE: Known =
        Known::File { stamp: Stamp { size: 7, seconds: -3, nanos: 5, inode: u64::MAX }, root: [9; 32] };
    const LINK: Known = Known::Link { target: [8; 32] };

    fn write(record: &Record) {
        record
            .write(|writer| {
                writer.folder(b"")?;
                writer.entry(b"a b\n\\", &FILE)?;
                writer.folder(b"d/\xff")?;
                writer.entry(b" ", &LINK)?;
                writer.entry(b" ", &FILE)?;
                writer.entry(b"gone", &FILE)
            })
            .unwrap();
    }

    #[test]
    fn what_is_written_is_remembered_for_the_entries_of_a_list_and_of_what_is_in_none() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::new(Some(folder.path().join("r")), 4);
        let tree = tree(&[b"a b\n\\", b"d/\xff/ ", b"new"]);
        assert!(!record.load(&tree).unwrap().is_there);
        write(&record);
        let found = record.load(&tree).unwrap();
        let of = |folder: &[u8], name: &[u8]| -> Vec<Known> {
            found.of(tree.find(folder, name).unwrap()).copied().collect()
        };
        assert!(found.is_there);
        assert_eq!(of(b"", b"a b\n\\"), [FILE]);
        assert_eq!(of(b"d/\xff", b" "), [LINK, FILE], "it may be either");
        assert_eq!(of(b"", b"new"), []);
        assert_eq!(found.strays, BTreeMap::from([(b"d/\xff/gone".to_vec(), vec![FILE])]));
        let other = Record::new(Some(folder.path().join("r")), 5);
        assert!(!other.load(&tree).unwrap().is_there, "it is about another folder");
        assert!(!Record::new(None, 4).load(&tree).unwrap().is_there);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_record_with_any_bit_or_line_changed_counts_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r");
        let record = Record::new(Some(path.clone()), 4);
        let tree = tree(&[b"a b\n\\"]);
        write(&record);
        let right = fs::read(&path).unwrap();
        for at in 0..right.len() {
            let mut wrong = right.clone();
            wrong[at] ^= 1;
            fs::write(&path, &wrong).unwrap();
            assert!(!record.load(&tree).unwrap().is_there, "{at}");
            fs::write(&path, &right[..at]).unwrap();
            assert!(!record.load(&tree).unwrap().is_there, "{at}");
        }
    }
}
