//! Ids remembered between runs, so that a second start over the same files hashes nothing.
//!
//! A text file with a line for each state of a file ever hashed, found again by device, inode, size and times. Lines
//! are only added; each begins with a checksum, so a torn or damaged one costs no more than hashing that file again.
//! Several processes may use one store: a lock is held for the moment of each access.

mod line;

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cjp2p_io::file_lock::FileLock;
use cjp2p_io::identity::Identity;
use cjp2p_io::names;
use cjp2p_io::state_dir::{about, atomic_replace, open_to_append, open_to_read};
use cjp2p_wire::content_id::Hash;
use line::{Line, LineReader};

use crate::file::Ids;

/// A line that was of no use for this many days is dropped when the file is next written anew.
const KEEP_DAYS: u32 = 180;
/// A line's day of last use is brought up to date when it is older than this.
const REFRESH_DAYS: u32 = 30;
/// Dead lines that are tolerated whatever the size of the file.
const DEAD_LINES: usize = 1_000;
/// Longer than any line can be: what has no line end within this is damaged.
const LINE_LIMIT: u64 = 512;

const HEADING: &str = "# cjp2p hashes 1: check device inode size modified changed day-used blake3 sha256\n";

/// A holder of the lock reads or writes one file; if that takes longer, something hangs.
const LOCK_LIMIT: Duration = Duration::from_secs(60);

/// The store on disk.
#[derive(Clone, Debug)]
pub struct HashStore {
    path: PathBuf,
    lock: PathBuf,
    /// Nothing is remembered, as there is no place for it.
    is_nowhere: bool,
}

/// What was in the store when it was loaded. In memory is only where in the file each line is: there may be very many.
#[derive(Debug, Default)]
pub struct Remembered {
    /// The last line of each device and inode, by the hash of these. Sorted. Two with one hash are as good as never met, and
    /// cost no more than hashing a file again.
    spots: Vec<(u64, Spot)>,
    keys: RandomState,
    file: Option<LineReader>,
    /// Lines that could not be read, apart from a last one that was cut short.
    damaged: usize,
    lines: usize,
    today: u32,
    /// Whether the file was written anew.
    tidied: bool,
}

/// Where a line is in the upper 48 bits, and its day, until the year 2149, in the lower 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Spot(u64);

impl HashStore {
    /// The store in a state folder; without one it stays empty. Nothing is read or made yet.
    pub fn new(state_folder: Option<&Path>) -> HashStore {
        let folder = state_folder.unwrap_or(Path::new(""));
        let is_nowhere = state_folder.is_none();
        HashStore { path: folder.join("hashes-1"), lock: folder.join("hashes.lock"), is_nowhere }
    }

    /// Reads it all, and writes the file anew if most of it is of no more use.
    ///
    /// # Errors
    ///
    /// The file or its lock cannot be opened or read. A missing file is an empty store.
    pub fn load(&self) -> io::Result<Remembered> {
        self.load_on(today())
    }

    fn load_on(&self, today: u32) -> io::Result<Remembered> {
        if self.is_nowhere {
            return Ok(Remembered::default());
        }
        let _lock = FileLock::acquire_within(&self.lock, LOCK_LIMIT)?;
        let file = match open_to_read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Remembered { today, ..Remembered::default() });
            }
            file => file.map_err(|error| about(&self.path, error))?,
        };
        let mut found = Remembered { today, ..Remembered::default() };
        found.read(BufReader::with_capacity(1 << 18, &file)).map_err(|error| about(&self.path, error))?;
        if found.damaged > 0 {
            log::warn!(
                "{}: {} damaged lines; their files are hashed again",
                names::shown(&self.path),
                found.damaged
            );
        }
        // Another process may replace the file, and leaves this one as it is.
        let reader = found.file.insert(LineReader::new(file));
        let mut useful: Vec<u64> = (found.spots.iter())
            .filter(|(_, spot)| !spot.is_old(today))
            .map(|(_, spot)| spot.offset())
            .collect();
        if found.damaged > 0 || found.lines > 2 * useful.len() + DEAD_LINES {
            // In the order they were in, which is about the one in which they will be wanted.
            useful.sort_unstable();
            let mut text = String::from(HEADING);
            for offset in useful {
                if let Some(line) = reader.line_at(offset) {
                    line.append_to(&mut text);
                }
            }
            match atomic_replace(&self.path, text.as_bytes()) {
                Ok(()) => found.tidied = true,
                // What was read is none the worse for it.
                Err(error) => log::warn!("{error}; out of date ids stay in it"),
            }
        }
        Ok(found)
    }

    /// Adds ids of files.
    ///
    /// # Errors
    ///
    /// They could not be written in full.
    pub fn append(&self, hashed: &[(Identity, Ids)]) -> io::Result<()> {
        if self.is_nowhere {
            return Ok(());
        }
        let day = today();
        // Begins with a line end, in case that the last line of an earlier process was cut short.
        let mut text = String::from("\n");
        for &(identity, ids) in hashed {
            Line { identity, ids, day }.append_to(&mut text);
        }
        let _lock = FileLock::acquire_within(&self.lock, LOCK_LIMIT)?;
        let file = open_to_append(&self.path);
        file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| about(&self.path, error))
    }
}

impl Remembered {
    /// The ids of the file with this identity, and whether they should be [appended](HashStore::append) again, lest
    /// they be dropped as old.
    pub fn find(&mut self, identity: &Identity) -> Option<(Ids, bool)> {
        let key = self.keys.hash_one((identity.device, identity.inode));
        let at = self.spots.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        let (_, spot) = self.spots.get(at)?;
        let line = self.file.as_mut()?.line_at(spot.offset()).filter(|line| line.identity == *identity)?;
        Some((line.ids, line.day.abs_diff(self.today) > REFRESH_DAYS))
    }

    /// All BLAKE3 hashes there are, if the store has just been tidied: what belongs to none of them can go.
    pub fn roots_after_tidying(&mut self) -> Option<HashSet<Hash>> {
        let reader = self.file.as_mut().filter(|_| self.tidied)?;
        let mut offsets: Vec<u64> = self.spots.iter().map(|(_, spot)| spot.offset()).collect();
        offsets.sort_unstable();
        // Where a line cannot be read again, it is not known what can go.
        offsets.into_iter().map(|offset| reader.line_at(offset).map(|line| line.ids.blake3)).collect()
    }

    fn read(&mut self, mut file: impl BufRead) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut last_was_cut = false;
        let mut end = 0;
        loop {
            bytes.clear();
            let offset = end;
            end += file.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut bytes)? as u64;
            if end == offset {
                break;
            }
            let whole = bytes.pop_if(|byte| *byte == b'\n').is_some();
            if bytes.is_empty() || bytes.starts_with(b"#") {
                continue;
            }
            self.lines += 1;
            let line = std::str::from_utf8(&bytes).ok().and_then(Line::parse);
            last_was_cut = line.is_none() && !whole;
            match line {
                Some(line) => {
                    let key = self.keys.hash_one((line.identity.device, line.identity.inode));
                    self.spots.push((key, Spot::new(offset, line.day)));
                }
                None => self.damaged += 1,
            }
        }
        // A process that was killed while it added the last line is no reason for alarm.
        if last_was_cut {
            self.damaged -= 1;
        }
        self.spots.sort_unstable();
        self.spots.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0;
            if is_same {
                kept.1 = later.1;
            }
            is_same
        });
        Ok(())
    }
}

impl Spot {
    fn new(offset: u64, day: u32) -> Spot {
        Spot(offset << 16 | u64::from(day.min(u16::MAX.into())))
    }

    fn offset(self) -> u64 {
        self.0 >> 16
    }

    fn day(self) -> u32 {
        (self.0 & 0xffff) as u32
    }

    fn is_old(self, today: u32) -> bool {
        today.saturating_sub(self.day()) > KEEP_DAYS
    }
}

/// Days since 1970.
fn today() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs() / 86_400).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::line::WINDOW_LEN;
    use super::*;
    use cjp2p_io::identity::Stamp;
    use proptest::prelude::*;
    use std::fs;

    fn file(number: u64) -> (Identity, Ids) {
        let stamp = Stamp { seconds: number as i64 - 5, nanos: 7 };
        let identity =
            Identity { device: 1, inode: number, size: number * 3, modified: stamp, changed: stamp };
        let hash = *blake3::hash(&number.to_le_bytes()).as_bytes();
        (identity, Ids { blake3: hash, sha256: hash.map(|byte| !byte) })
    }

    impl Remembered {
        fn ids(&mut self, identity: &Identity) -> Option<Ids> {
            self.find(identity).map(|(ids, _)| ids)
        }
    }

    fn store() -> (HashStore, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (HashStore::new(Some(folder.path())), folder)
    }

    #[test]
    fn what_was_appended_is_there_after_loading() {
        let (store, _keep) = store();
        assert!(store.load().unwrap().ids(&file(1).0).is_none());
        store.append(&[file(1), file(2)]).unwrap();
        store.append(&[file(3)]).unwrap();
        let mut found = store.load().unwrap();
        for number in 1..=3 {
            assert_eq!(found.ids(&file(number).0), Some(file(number).1));
        }
        assert!(found.ids(&file(4).0).is_none());
        assert_eq!((found.damaged, found.lines), (0, 3));
    }

    #[test]
    fn lines_are_found_in_any_order_also_after_the_file_was_replaced() {
        let (store, _keep) = store();
        let many: Vec<_> = (0..2_000).map(file).collect();
        store.append(&many).unwrap();
        assert!(fs::metadata(&store.path).unwrap().len() > 4 * WINDOW_LEN as u64);
        let mut found = store.load().unwrap();
        for (at, (identity, ids)) in many.iter().enumerate() {
            assert_eq!(found.ids(identity), Some(*ids), "forward, {at}");
            let (identity, ids) = &many[at * 777 % many.len()];
            assert_eq!(found.ids(identity), Some(*ids), "anywhere, {at}");
        }
        atomic_replace(&store.path, b"nothing left").unwrap();
        assert!(many.iter().rev().all(|(identity, ids)| found.ids(identity) == Some(*ids)));
    }

    #[test]
    fn a_tidied_store_keeps_its_order_and_names_its_roots() {
        let (store, _keep) = store();
        let many: Vec<_> = (0..DEAD_LINES as u64).map(file).collect();
        for _ in 0..4 {
            store.append(&many).unwrap();
        }
        let roots = store.load().unwrap().roots_after_tidying();
        assert_eq!(roots, Some(many.iter().map(|(_, ids)| ids.blake3).collect()));
        let text = fs::read_to_string(&store.path).unwrap();
        let lines: Vec<_> = text.lines().skip(1).map(|line| Line::parse(line).unwrap()).collect();
        assert_eq!(lines.iter().map(|line| (line.identity, line.ids)).collect::<Vec<_>>(), many);
        assert_eq!(store.load().unwrap().roots_after_tidying(), None, "it was not tidied again");
    }

    #[test]
    fn any_difference_of_identity_means_unknown() {
        let (store, _keep) = store();
        let (identity, ids) = file(9);
        store.append(&[(identity, ids)]).unwrap();
        let mut found = store.load().unwrap();
        let later = |stamp: Stamp| Stamp { nanos: stamp.nanos + 1, ..stamp };
        for other in [
            Identity { device: 2, ..identity },
            Identity { inode: 8, ..identity },
            Identity { size: 8, ..identity },
            Identity { modified: later(identity.modified), ..identity },
            Identity { changed: later(identity.changed), ..identity },
        ] {
            assert_eq!(found.ids(&other), None);
        }
        assert_eq!(found.ids(&identity), Some(ids));
    }

    #[test]
    fn of_a_file_hashed_twice_the_last_line_counts() {
        let (store, _keep) = store();
        let (first, ids) = file(9);
        let others: Vec<_> = (10..200).map(file).collect();
        let last = Identity { size: first.size + 1, ..first };
        store.append(&[(first, ids)]).unwrap();
        store.append(&others).unwrap();
        store.append(&[(last, file(3).1)]).unwrap();
        let mut found = store.load().unwrap();
        assert_eq!((found.ids(&last), found.ids(&first)), (Some(file(3).1), None));
        assert_eq!((found.spots.len(), found.lines), (191, 192));
        let last = (found.spots.iter()).map(|(_, spot)| spot.offset()).max().unwrap();
        assert!(last < fs::metadata(&store.path).unwrap().len() && Spot::new(last, 70_000).offset() == last);
        assert!(found.spots.iter().all(|(_, spot)| spot.day() == today()));
    }

    #[test]
    fn a_last_line_cut_short_costs_that_line_only() {
        let (store, _keep) = store();
        store.append(&[file(1), file(2)]).unwrap();
        let bytes = fs::read(&store.path).unwrap();
        fs::write(&store.path, &bytes[..bytes.len() - 40]).unwrap();
        let mut found = store.load().unwrap();
        assert_eq!((found.damaged, found.ids(&file(2).0)), (0, None));
        store.append(&[file(3)]).unwrap();
        let mut found = store.load().unwrap();
        assert_eq!(found.ids(&file(1).0), Some(file(1).1));
        assert_eq!(found.ids(&file(3).0), Some(file(3).1));
    }

    #[test]
    fn a_file_of_garbage_is_an_empty_store_that_can_be_used() {
        let (store, _keep) = store();
        let garbage: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect();
        fs::write(&store.path, garbage).unwrap();
        assert!(store.load().unwrap().spots.is_empty());
        assert_eq!(fs::read_to_string(&store.path).unwrap(), HEADING);
        store.append(&[file(1)]).unwrap();
        assert_eq!(store.load().unwrap().ids(&file(1).0), Some(file(1).1));
    }

    #[test]
    fn dead_lines_are_dropped_once_there_are_many() {
        let (store, _keep) = store();
        for _ in 0..DEAD_LINES + 2 {
            store.append(&[file(1)]).unwrap();
        }
        assert_eq!(store.load().unwrap().lines, DEAD_LINES + 2);
        store.append(&[file(1), file(1)]).unwrap();
        store.load().unwrap();
        let mut after = store.load().unwrap();
        assert_eq!((after.lines, after.ids(&file(1).0)), (1, Some(file(1).1)));
    }

    #[test]
    fn lines_of_no_use_for_half_a_year_are_dropped_with_the_others() {
        let (store, _keep) = store();
        let many: Vec<_> = (0..DEAD_LINES as u64 + 1).map(file).collect();
        store.append(&many).unwrap();
        let mut later = store.load_on(today() + KEEP_DAYS).unwrap();
        assert!(later.find(&file(1).0).unwrap().1);
        assert!(!store.load().unwrap().find(&file(1).0).unwrap().1);
        assert_eq!(store.load_on(today() + KEEP_DAYS).unwrap().lines, many.len());
        store.load_on(today() + KEEP_DAYS + 1).unwrap();
        assert_eq!(store.load().unwrap().lines, 0);
    }

    #[test]
    fn processes_may_append_at_the_same_time() {
        let (store, _keep) = store();
        std::thread::scope(|scope| {
            for process in 0..4 {
                let store = store.clone();
                scope.spawn(move || {
                    for number in 0..50 {
                        store.append(&[file(process * 50 + number)]).unwrap();
                    }
                    store.load().unwrap();
                });
            }
        });
        let mut found = store.load().unwrap();
        assert!((0..200).all(|number| found.ids(&file(number).0).is_some()));
    }

    proptest! {
        #[test]
        fn every_line_reads_back(numbers in any::<[u64; 3]>(), seconds in any::<[i64; 2]>(),
            nanos in any::<[u32; 2]>(), day: u32, blake3: Hash, sha256: Hash)
        {
            let identity = Identity {
                device: numbers[0], inode: numbers[1], size: numbers[2],
                modified: Stamp { seconds: seconds[0], nanos: nanos[0] },
                changed: Stamp { seconds: seconds[1], nanos: nanos[1] },
            };
            let line = Line { identity, ids: Ids { blake3, sha256 }, day };
            let mut text = String::new();
            line.append_to(&mut text);
            prop_assert!((text.len() as u64) < LINE_LIMIT);
            prop_assert_eq!(Line::parse(text.trim_end_matches('\n')), Some(line));
        }

        #[test]
        fn a_line_with_one_wrong_byte_is_not_believed(at in 0usize..150, byte in 0x20u8..0x7f) {
            let (identity, ids) = file(123_456_789);
            let line = Line { identity, ids, day: 20_000 };
            let mut text = String::new();
            line.append_to(&mut text);
            let mut bytes = text.trim_end().as_bytes().to_vec();
            let at = at % bytes.len();
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            let parsed = Line::parse(std::str::from_utf8(&bytes).unwrap());
            // The checksum itself may be spelled in upper case.
            prop_assert!(parsed.is_none() || parsed == Some(line) && at < 16);
        }
    }
}
