//! The blocks of a stream in files: 1,024 of them in each, and each in a slot of its own with its signature.
//!
//! A file is named by the number of its first block over 1,024, and is sparse: slots that nothing was written to take no room. What is old
//! goes file by file. A slot has a header, so that a block that is longer than before never replaces the shorter one until it is written
//! beside, to a spare slot: a process that is killed between leaves one of both whole.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::SystemTime;

use cjp2p_wire::signed::Signature;
use cjp2p_wire::stream::{BLOCK_LEN, SignedBlock, StreamId};
use rustix::fs::OFlags;

use super::keep::Keep;
use crate::state_dir::{about, in_the_place, not_regular};

/// Blocks in a file.
pub const BLOCKS_OF_FILE: u64 = 1024;
/// The first bytes of a slot with something in it.
const MAGIC: [u8; 4] = *b"cjs1";
/// Bytes before the data: the magic, the length of the data, the number of the block, and the signature.
const HEADER_LEN: usize = 4 + 4 + 8 + SIGNATURE_LEN;
const SIGNATURE_LEN: usize = 64;
const SLOT_LEN: usize = HEADER_LEN + BLOCK_LEN;
/// The slot after all others.
const SPARE: u64 = BLOCKS_OF_FILE;
/// Files that are held open.
const MAX_OPEN: usize = 8;
/// The end of a file's name.
const ENDING: &str = ".blocks";
/// Bytes that one file counts for at the least, so that a folder never has more files than the bytes it may keep say.
const LEAST_OF_FILE: u64 = 4096;

/// See the [module](self).
#[derive(Debug)]
pub struct BlockFiles {
    folder: PathBuf,
    id: StreamId,
    /// By their numbers, with when they were last used.
    open: BTreeMap<u64, (File, u64)>,
    uses: u64,
}

/// What is in a slot, before anything is verified.
struct Slot {
    index: u64,
    signature: Signature,
    data: Vec<u8>,
}

impl BlockFiles {
    /// Those of this stream in this folder, which exists.
    pub fn new(folder: PathBuf, id: StreamId) -> BlockFiles {
        BlockFiles { folder, id, open: BTreeMap::new(), uses: 0 }
    }

    /// The same, for another thread.
    pub fn another(&self) -> BlockFiles {
        BlockFiles::new(self.folder.clone(), self.id.clone())
    }

    /// Writes a block, unless it is there as long or longer. Nothing is forced to the disk.
    ///
    /// # Errors
    ///
    /// Where it cannot be written. The message names the file.
    pub fn put(&mut self, block: &SignedBlock) -> io::Result<()> {
        let (number, slot) = place(block.index());
        let (id, path) = (self.id.clone(), self.path(number));
        let file = self.open(number, true).map_err(|error| about(&path, error))?;
        let there = read_slot(file, slot)?;
        let is_there = there.as_ref().is_some_and(|there| there.data.len() >= block.data().len());
        // It may be only half of what it says.
        if is_there && there.and_then(|there| there.verify(&id, block.index())).is_some() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(HEADER_LEN + block.data().len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&(block.data().len() as u32).to_le_bytes());
        bytes.extend_from_slice(&block.index().to_le_bytes());
        bytes.extend_from_slice(block.signature().as_bytes());
        bytes.extend_from_slice(block.data());
        let is_empty = is_empty(file, slot)?;
        if !is_empty {
            file.write_all_at(&bytes, SPARE * SLOT_LEN as u64).map_err(|error| about(&path, error))?;
        }
        file.write_all_at(&bytes, slot * SLOT_LEN as u64).map_err(|error| about(&path, error))
    }

    /// Reads a block and verifies it. One that is missing, damaged or cannot be read is none.
    pub fn get(&mut self, index: u64) -> Option<SignedBlock> {
        let id = self.id.clone();
        let (number, slot) = place(index);
        let file = self.open(number, false).ok()?;
        let found = |slot| read_slot(file, slot).ok()??.verify(&id, index);
        found(slot).or_else(|| found(SPARE))
    }

    /// The first block that is there, and the one after the last as the files tell, unverified; `None` where there is none.
    pub fn extent(&mut self) -> Option<(u64, u64)> {
        let numbers = self.numbers();
        let first = numbers.iter().find_map(|number| self.slots(*number).first().copied())?;
        let last = numbers.iter().rev().find_map(|number| self.slots(*number).last().copied())?;
        Some((first, last + 1))
    }

    /// How far the stream goes on from `offset` on without a gap, at most to `until`.
    pub fn end_from(&mut self, offset: u64, until: u64) -> u64 {
        let mut end = offset;
        while end < until {
            let Some(block) = self.get(end / BLOCK_LEN as u64).filter(|block| block.end() > end) else {
                break;
            };
            end = block.end();
            if !block.is_whole() {
                break;
            }
        }
        end
    }

    /// Removes the oldest files, as far as these are not to be kept; never the newest. Gives the first block that may be left.
    pub fn trim(&mut self, keep: Keep, now: SystemTime) -> u64 {
        let numbers = self.numbers();
        let mut files: Vec<(u64, u64, Option<SystemTime>)> = Vec::new();
        for number in numbers {
            let Ok(found) = fs::symlink_metadata(self.path(number)) else { continue };
            files.push((number, (found.blocks() * 512).max(LEAST_OF_FILE), found.modified().ok()));
        }
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        let newest = files.pop();
        let mut files = files.into_iter().peekable();
        while let Some(&(number, bytes, modified)) = files.peek() {
            let age = modified.and_then(|modified| now.duration_since(modified).ok());
            if !keep.is_over(total, age.unwrap_or_default()) {
                break;
            }
            self.open.remove(&number);
            if let Err(error) = fs::remove_file(self.path(number)) {
                log::warn!("{}", about(&self.path(number), error));
                break;
            }
            total -= bytes;
            files.next();
        }
        files.peek().copied().or(newest).map_or(0, |(number, ..)| number * BLOCKS_OF_FILE)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:012}{ENDING}"))
    }

    /// The numbers of the files, in order.
    fn numbers(&self) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut numbers: Vec<u64> =
            names.filter_map(|name| name.strip_suffix(ENDING)?.parse().ok()).collect();
        numbers.sort_unstable();
        numbers
    }

    /// The numbers of the blocks whose slots in this file have something in them.
    fn slots(&mut self, number: u64) -> Vec<u64> {
        let Ok(file) = self.open(number, false) else { return Vec::new() };
        let is_used = |slot: &u64| is_empty(file, *slot).is_ok_and(|is_empty| !is_empty);
        (0..BLOCKS_OF_FILE).filter(is_used).map(|slot| number * BLOCKS_OF_FILE + slot).collect()
    }

    fn open(&mut self, number: u64, make: bool) -> io::Result<&File> {
        self.uses += 1;
        if !self.open.contains_key(&number) {
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
            let mut options = OpenOptions::new();
            // Whoever reads it first may write it later.
            options.read(true).write(true).create(make).mode(0o600).custom_flags(flags);
            let file = options.open(self.path(number)).map_err(in_the_place)?;
            if !file.metadata()?.is_file() {
                return Err(not_regular("something else"));
            }
            if self.open.len() >= MAX_OPEN {
                let oldest = self.open.iter().min_by_key(|(_, (_, used))| *used).map(|(number, _)| *number);
                oldest.and_then(|oldest| self.open.remove(&oldest));
            }
            self.open.insert(number, (file, 0));
        }
        let uses = self.uses;
        let (file, used) = self.open.get_mut(&number).ok_or(io::ErrorKind::NotFound)?;
        *used = uses;
        Ok(file)
    }
}

impl Slot {
    fn verify(self, id: &StreamId, index: u64) -> Option<SignedBlock> {
        (self.index == index).then(|| SignedBlock::verify(id, index, &self.data, self.signature))?
    }
}

/// The number of the file with this block, and its slot there.
fn place(index: u64) -> (u64, u64) {
    (index / BLOCKS_OF_FILE, index % BLOCKS_OF_FILE)
}

fn is_empty(file: &File, slot: u64) -> io::Result<bool> {
    let mut magic = [0; MAGIC.len()];
    Ok(read_full(file, &mut magic, slot * SLOT_LEN as u64)? < magic.len() || magic == [0; 4])
}

/// What is in a slot; `None` where there is nothing, or nothing whole.
fn read_slot(file: &File, slot: u64) -> io::Result<Option<Slot>> {
    let mut bytes = vec![0; SLOT_LEN];
    let length = read_full(file, &mut bytes, slot * SLOT_LEN as u64)?;
    let Some((header, data)) = bytes[..length].split_at_checked(HEADER_LEN) else { return Ok(None) };
    let (fields, _) = header.as_chunks::<4>();
    let (wide, _) = header[8..].as_chunks::<8>();
    let wanted = u32::from_le_bytes(fields[1]) as usize;
    let signature = <[u8; SIGNATURE_LEN]>::try_from(&header[HEADER_LEN - SIGNATURE_LEN..]);
    let (true, Some(data), Ok(signature)) = (fields[0] == MAGIC, data.get(..wanted), signature) else {
        return Ok(None);
    };
    let index = u64::from_le_bytes(wide[0]);
    Ok(Some(Slot { index, signature: Signature::from_bytes(signature), data: data.to_vec() }))
}

/// Reads until `bytes` is full or the file ends.
fn read_full(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cjp2p_wire::signed::SigningKey;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    fn key() -> SigningKey {
        SigningKey::from_seed(&[5; 32])
    }

    fn id() -> StreamId {
        StreamId::new(key().public(), "cam").unwrap()
    }

    fn block(index: u64, length: usize) -> SignedBlock {
        let data: Vec<u8> = (0..length).map(|i| (i as u64 * 7 + index) as u8).collect();
        SignedBlock::sign(&key(), &id(), index, &data).unwrap()
    }

    fn files(folder: &tempfile::TempDir) -> BlockFiles {
        BlockFiles::new(folder.path().into(), id())
    }

    #[test]
    fn blocks_are_read_as_they_were_written_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut blocks = files(&folder);
        assert_eq!(blocks.extent(), None);
        let indexes = [5, 4, 1023, 1024, 9_000_000_000, 0];
        for index in indexes {
            blocks.put(&block(index, BLOCK_LEN)).unwrap();
        }
        let mut again = files(&folder);
        assert_eq!(again.get(5), Some(block(5, BLOCK_LEN)));
        again.put(&block(6, BLOCK_LEN)).unwrap();
        assert_eq!(blocks.get(6), Some(block(6, BLOCK_LEN)), "one that was read first is written too");
        for mut blocks in [files(&folder), blocks] {
            for index in indexes {
                assert_eq!(blocks.get(index), Some(block(index, BLOCK_LEN)));
            }
            for missing in [1, 7, 1025, 9_000_000_001] {
                assert_eq!(blocks.get(missing), None);
            }
            assert_eq!(blocks.extent(), Some((0, 9_000_000_001)));
        }
    }

    #[test]
    fn a_longer_block_takes_the_place_of_a_shorter_one_and_never_the_other_way() {
        let folder = tempfile::tempdir().unwrap();
        let mut blocks = files(&folder);
        for length in [10, 3, 100, BLOCK_LEN, 50] {
            blocks.put(&block(7, length)).unwrap();
        }
        assert_eq!(blocks.get(7), Some(block(7, BLOCK_LEN)));
        blocks.put(&block(6, BLOCK_LEN)).unwrap();
        blocks.put(&block(8, 1)).unwrap();
        assert_eq!(blocks.end_from(6 * 4096 + 9, u64::MAX), 8 * 4096 + 1);
        assert_eq!(blocks.end_from(6 * 4096, 7 * 4096), 7 * 4096);
        assert_eq!(blocks.end_from(9 * 4096, u64::MAX), 9 * 4096);
    }

    #[test]
    fn whatever_was_half_written_a_whole_block_is_read_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("{:012}.blocks", 0));
        let write_at = |bytes: &[u8], slot: u64| {
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(bytes, slot * SLOT_LEN as u64).unwrap();
        };
        let slot_of = |block: &SignedBlock| {
            let other = tempfile::tempdir().unwrap();
            files(&other).put(block).unwrap();
            let bytes = fs::read(other.path().join(format!("{:012}.blocks", 0))).unwrap();
            bytes[place(block.index()).1 as usize * SLOT_LEN..].to_vec()
        };
        let (short, long) = (block(3, 2000), block(3, BLOCK_LEN));
        let bytes = slot_of(&long);
        // The first time, and over a shorter one, with every part of the way to the disk.
        for cut in [1, 4, 8, 79, 80, 81, 2080, 4096, bytes.len()] {
            fs::write(&path, b"").unwrap();
            write_at(&bytes[..cut], 3);
            assert_eq!(files(&folder).get(3), (cut == bytes.len()).then(|| long.clone()), "{cut}");
            files(&folder).put(&short).unwrap();
            let after = if cut == bytes.len() { &long } else { &short };
            assert_eq!(files(&folder).get(3).as_ref(), Some(after), "{cut}");
            fs::write(&path, b"").unwrap();
            files(&folder).put(&short).unwrap();
            write_at(&bytes[..cut], SPARE);
            assert_eq!(files(&folder).get(3).as_ref(), Some(&short), "{cut}");
            write_at(&bytes, SPARE);
            write_at(&bytes[..cut], 3);
            let after = files(&folder).get(3).unwrap();
            assert!(after == long || cut <= 4 && after == short, "{cut}");
            files(&folder).put(&long).unwrap();
            assert_eq!(files(&folder).get(3).as_ref(), Some(&long), "{cut}");
        }
    }

    #[test]
    fn nothing_but_regular_files_is_read_or_written() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, b"").unwrap();
        symlink(&elsewhere, folder.path().join(format!("{:012}.blocks", 0))).unwrap();
        fs::create_dir(folder.path().join(format!("{:012}.blocks", 1))).unwrap();
        let mut blocks = files(&folder);
        for index in [0, 1024] {
            assert!(blocks.put(&block(index, 9)).unwrap_err().to_string().contains(".blocks"));
            assert_eq!(blocks.get(index), None);
        }
        assert_eq!(fs::read(elsewhere).unwrap(), b"");
    }

    #[test]
    fn what_is_old_goes_file_by_file_and_the_newest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut blocks = files(&folder);
        for index in 0..40 {
            blocks.put(&block(index * 256, BLOCK_LEN)).unwrap();
        }
        let now = SystemTime::now();
        assert_eq!(blocks.trim(Keep::All, now), 0);
        // Four blocks of each file, and what the file system adds.
        let first = blocks.trim(Keep::Bytes(100_000), now);
        assert!(first > 1024 && first < 9 * 1024 && first.is_multiple_of(1024), "{first}");
        assert_eq!(blocks.get(first - 256), None);
        assert_eq!(blocks.get(first), Some(block(first, BLOCK_LEN)));
        let later = now + Duration::from_secs(3600);
        assert_eq!(blocks.trim(Keep::For(Duration::from_secs(3700)), later), first);
        assert_eq!(blocks.trim(Keep::For(Duration::from_secs(3500)), later), 9 * 1024);
        assert_eq!(blocks.trim(Keep::Bytes(0), later), 9 * 1024);
        assert_eq!(blocks.extent(), Some((9 * 1024, 39 * 256 + 1)));
    }
}
