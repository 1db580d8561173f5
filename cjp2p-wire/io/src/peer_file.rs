//! The peer table as a file that several tools may read and write at once. `docs/peer-table.md` is its description.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cjp2p_wire::peers::table::PeerTable;

use super::file_lock::FileLock;
use super::learned::Learned;
use super::state_dir::{StateDir, about, atomic_replace, open_to_read};
use crate::names::shown;

/// A larger file is no peer table: full, the table has a tenth of this.
pub const MAX_BYTES: u64 = 16 << 20;

/// A holder of the lock only reads and writes this one file; if that takes longer, something hangs.
const LOCK_LIMIT: Duration = Duration::from_secs(60);

/// Damaged tables that are kept beside the table.
const MAX_ASIDE: u32 = 1000;

/// The file `peers.json` of a state folder. Where there is no such folder, nobody is known and nobody remembered.
#[derive(Clone, Debug)]
pub struct PeerFile {
    state: Option<StateDir>,
    path: PathBuf,
    lock: PathBuf,
}

/// What is in the file.
enum Content {
    Good(PeerTable),
    /// Not, or not in full, a table: what could be read of it, and what is wrong.
    Damaged(PeerTable, String),
}

impl PeerFile {
    /// The peer table of a state folder, if there is one. The table need not exist before the first update.
    pub fn new(state: Option<&StateDir>) -> PeerFile {
        let file = |name| state.map(|state| state.file(name)).unwrap_or_default();
        PeerFile { state: state.cloned(), path: file("peers.json"), lock: file("peers.json.lock") }
    }

    /// The folder in which it is.
    pub fn state(&self) -> Option<&StateDir> {
        self.state.as_ref()
    }

    fn is_writable(&self) -> bool {
        self.state.as_ref().is_some_and(StateDir::is_writable)
    }

    /// Reads the table, and a warning for the user where something is amiss.
    ///
    /// Never fails: one that cannot be read counts as empty. Never waits for the lock.
    pub fn load(&self) -> (PeerTable, Option<String>) {
        self.read().unwrap_or_else(|error| (PeerTable::new(), Some(error.to_string())))
    }

    /// Reads the table, and a warning for the user where something is amiss. A damaged file is set aside, and what can be read of
    /// it is the table.
    ///
    /// # Errors
    ///
    /// Where there is a file that cannot be read at all.
    pub fn read(&self) -> io::Result<(PeerTable, Option<String>)> {
        if self.state.is_none() {
            return Ok((PeerTable::new(), None));
        }
        Ok(match read(&self.path)? {
            Content::Good(table) => (table, None),
            Content::Damaged(table, problem) => match self.update_within(Duration::ZERO, |_| ()) {
                Ok(((), warning)) => (table, warning),
                Err(error) => (table, Some(format!("{problem} (and it cannot be set aside: {error})"))),
            },
        })
    }

    /// Changes the table: under a lock that all tools respect, it is read, changed and replaced whole. Gives what `change`
    /// gave, and a warning for the user where the file had to be set aside.
    ///
    /// `change` should put in what is new, not a table that was read long ago: other tools have written since.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, set aside or replaced, or the lock is not to be had within a minute. The file is
    /// then as it was.
    pub fn update<R>(&self, change: impl FnOnce(&mut PeerTable) -> R) -> io::Result<(R, Option<String>)> {
        self.update_within(LOCK_LIMIT, change)
    }

    /// The same where the lock is waited for at most `limit`.
    fn update_within<R>(
        &self,
        limit: Duration,
        change: impl FnOnce(&mut PeerTable) -> R,
    ) -> io::Result<(R, Option<String>)> {
        if self.state.is_none() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "there is no state folder"));
        }
        let _lock = FileLock::acquire_within(&self.lock, limit)?;
        let (mut table, warning) = match read(&self.path)? {
            Content::Good(table) => (table, None),
            Content::Damaged(table, problem) => {
                let aside = self.set_aside()?;
                let kept = match table.len() {
                    0 => String::new(),
                    count => format!("; {count} of its peers could be read and are kept"),
                };
                (table, Some(format!("{problem}: set aside as {}{kept}", shown(&aside))))
            }
        };
        let before = table.clone();
        let result = change(&mut table);
        if warning.is_some() || table != before {
            atomic_replace(&self.path, table.to_json().as_bytes())?;
        }
        Ok((result, warning))
    }

    /// Writes what was learned of peers. The lock is waited for at most `limit`. Gives a warning for the user where there is one.
    /// Where nothing can be written, which the user was told at the start, nothing is.
    ///
    /// # Errors
    ///
    /// As for [`PeerFile::update`]; `TimedOut` where the lock was not to be had.
    pub(super) fn learn(&self, learned: &Learned, limit: Duration) -> io::Result<Option<String>> {
        if !self.is_writable() {
            return Ok(None);
        }
        let ((), warning) = self.update_within(limit, |table| learned.note_in(table))?;
        Ok(warning)
    }

    /// Gives the damaged file a second, free name. Under its own it stays until the new table takes its place: were it renamed,
    /// what can be read of it would be in no table if that failed. The lock is held, so nobody else takes that name meanwhile.
    fn set_aside(&self) -> io::Result<PathBuf> {
        let damaged = fs::metadata(&self.path).map_err(|error| about(&self.path, error))?;
        for n in 1..=MAX_ASIDE {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".damaged-{n}"));
            let aside = PathBuf::from(name);
            match fs::symlink_metadata(&aside) {
                // The process that did that did not come to write a new table.
                Ok(there) if (there.dev(), there.ino()) == (damaged.dev(), damaged.ino()) => {
                    return Ok(aside);
                }
                Ok(_) => continue,
                Err(_) => {}
            }
            // Some file systems know no second names.
            let named = fs::hard_link(&self.path, &aside).or_else(|_| fs::rename(&self.path, &aside));
            return named.map(|()| aside).map_err(|error| about(&self.path, error));
        }
        Err(about(&self.path, io::Error::other("too many damaged files beside it")))
    }
}

fn read(path: &Path) -> io::Result<Content> {
    let empty = || Content::Good(PeerTable::new());
    let mut bytes = Vec::new();
    let file = match open_to_read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(empty()),
        Err(error) => return Err(about(path, error)),
    };
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| about(path, error))?;
    let damaged = |table, what: String| Ok(Content::Damaged(table, format!("{}: {what}", shown(path))));
    if bytes.len() as u64 > MAX_BYTES {
        return damaged(PeerTable::new(), format!("larger than {} MiB", MAX_BYTES >> 20));
    }
    let Ok(text) = String::from_utf8(bytes) else {
        return damaged(PeerTable::new(), "not UTF-8".into());
    };
    let parsed = PeerTable::parse(&text);
    match parsed.problems.first() {
        None => Ok(Content::Good(parsed.table)),
        Some(problem) => damaged(parsed.table, problem.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cjp2p_wire::peers::peer::Origin;
    use std::net::SocketAddr;
    use std::thread;
    use tempfile::TempDir;

    fn setup() -> (TempDir, PeerFile) {
        let folder = tempfile::tempdir().unwrap();
        let file = PeerFile::new(Some(&StateDir::open(Some(folder.path())).unwrap()));
        (folder, file)
    }

    fn peer(n: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1000 + n))
    }

    fn names(folder: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_missing_or_empty_file_is_an_empty_table() {
        let (_folder, file) = setup();
        assert_eq!(file.load(), (PeerTable::new(), None));
        fs::write(&file.path, "").unwrap();
        assert_eq!(file.load(), (PeerTable::new(), None));
    }

    #[test]
    fn of_a_thousand_updates_at_once_none_is_lost() {
        // In memory where there is such a place: a thousand times to the disk takes long.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let file = PeerFile::new(Some(&StateDir::open(Some(folder.path())).unwrap()));
        thread::scope(|scope| {
            for writer in 0..8u16 {
                let file = file.clone();
                scope.spawn(move || {
                    for n in 0..125 {
                        file.update(|table| table.heard(peer(writer * 125 + n), 1, None, Origin::Incoming))
                            .unwrap();
                        let (table, warning) = file.load();
                        assert_eq!(warning, None);
                        assert!(table.get(peer(writer * 125 + n)).is_some());
                    }
                });
            }
        });
        assert_eq!(file.load().0.len(), 8 * 125);
    }

    #[test]
    fn an_update_that_changes_nothing_writes_nothing() {
        let (_folder, file) = setup();
        file.update(|table| table.suggest(peer(1), Origin::Added)).unwrap();
        let before = fs::metadata(&file.path).unwrap().modified().unwrap();
        file.update(|table| table.suggest(peer(1), Origin::Added)).unwrap();
        assert_eq!(fs::metadata(&file.path).unwrap().modified().unwrap(), before);
    }

    #[test]
    fn a_damaged_file_is_set_aside_with_a_warning_and_nothing_is_lost() {
        let (folder, file) = setup();
        for (n, damaged) in [(1, "nonsense"), (2, "{\"version\":2,\"peers\":[]}"), (3, "\u{0}\u{0}\u{0}")] {
            fs::write(&file.path, damaged).unwrap();
            let (table, warning) = file.load();
            assert!(table.is_empty());
            let aside = format!("peers.json.damaged-{n}");
            assert!(warning.unwrap().contains(&aside));
            assert_eq!(fs::read_to_string(folder.path().join(aside)).unwrap(), damaged);
            assert_eq!(file.load(), (PeerTable::new(), None));
        }
        assert_eq!(names(&folder).len(), 5);
    }

    #[test]
    fn what_can_be_read_of_a_damaged_file_is_kept() {
        let (folder, file) = setup();
        fs::write(&file.path, r#"[{"address":"127.0.0.1:1001"},{"address":"nowhere"}]"#).unwrap();
        let (table, warning) = file.load();
        assert_eq!(table.len(), 1);
        let warning = warning.unwrap();
        assert!(warning.contains("line 1: entry 1: \"nowhere\""), "{warning}");
        assert!(warning.contains("damaged-1; 1 of its peers"), "{warning}");
        assert_eq!(file.load(), (table, None));
        assert!(names(&folder).contains(&"peers.json.damaged-1".into()));
    }

    #[test]
    fn what_can_be_read_of_a_damaged_file_is_not_lost_where_no_new_one_can_be_written() {
        let (folder, file) = setup();
        let damaged = r#"[{"address":"127.0.0.1:1001"},{"address":"nowhere"}]"#;
        fs::write(&file.path, damaged).unwrap();
        let in_the_way = folder.path().join(".peers.json.tmp");
        fs::create_dir(&in_the_way).unwrap();
        for _ in 0..2 {
            assert!(file.update(|table| table.suggest(peer(2), Origin::Added)).is_err());
            assert_eq!(fs::read_to_string(&file.path).unwrap(), damaged);
            assert_eq!(file.load().0.len(), 1);
        }
        fs::remove_dir(in_the_way).unwrap();
        file.update(|table| table.suggest(peer(2), Origin::Added)).unwrap();
        assert_eq!(file.load().0.len(), 2);
        assert_eq!(names(&folder), ["peers.json", "peers.json.damaged-1", "peers.json.lock"]);
    }

    #[test]
    fn a_file_of_100_mb_is_set_aside_unread() {
        let (folder, file) = setup();
        fs::File::create(&file.path).unwrap().set_len(100_000_000).unwrap();
        let (table, warning) = file.load();
        assert!(table.is_empty());
        assert!(warning.unwrap().contains("larger than 16 MiB"));
        let aside = folder.path().join("peers.json.damaged-1");
        assert_eq!(fs::metadata(aside).unwrap().len(), 100_000_000);
    }

    #[test]
    fn what_is_no_regular_file_is_reported_and_left_alone() {
        let (folder, file) = setup();
        fs::create_dir(&file.path).unwrap();
        let (table, warning) = file.load();
        assert!(table.is_empty());
        assert!(warning.unwrap().contains("a folder is in the place of a regular file"));
        assert!(file.update(|_| ()).is_err());
        assert!(names(&folder).contains(&"peers.json".into()));
    }
}
