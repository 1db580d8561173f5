//! `Records`: what is known of torrents between runs, so that another start over the same files hashes nothing.
//!
//! Two kinds of files in the state folder. Of a torrent whose metainfo is given: which of its pieces are right, and the states of
//! its files in which they were. Of one that is made here: the hashes of its pieces, and a hash of all that they follow from. Each
//! ends with a checksum. One that is damaged, or is of something else, counts as none.

use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{self, Path, PathBuf};
use std::time::{Duration, SystemTime};

use cjp2p_io::identity::{Identity, Stamp};
use cjp2p_io::names::shown;
use cjp2p_io::state_dir::{about, open_to_read, replace_lightly};
use cjp2p_io::torrent::look::Found;
use cjp2p_torrent::metainfo::Info;
use cjp2p_torrent::piece_set::PieceSet;
use data_encoding::HEXLOWER;

/// A record that was of no use for so long is removed.
const KEEP: Duration = Duration::from_secs(180 * 86_400);
/// A record is written anew when it is so old, to show that it is of use.
const REFRESH: Duration = Duration::from_secs(30 * 86_400);
/// Records that are kept: those of several processes, which seed a thousand torrents each at the most.
const MAX_RECORDS: usize = 4_000;
/// Bytes of all of them: of 200,000 files there are ten million.
const MAX_BYTES: u64 = 256 << 20;

const SEED: &[u8] = b"cjp2p seed 1\n";
const MADE: &[u8] = b"cjp2p made 1\n";
/// Bytes of a state of a file, with one before it that says whether there is any.
const STATE_LEN: usize = 1 + 48;
const CHECKSUM_LEN: usize = 32;

/// Where records are. A clone is the same place.
#[derive(Clone, Debug)]
pub(super) struct Records {
    /// `None` where nothing is remembered.
    folder: Option<PathBuf>,
}

/// What the record of a torrent says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SeedRecord {
    /// The states of the files, `None` of one about which nothing is known.
    pub(super) states: Vec<Option<Identity>>,
    /// The pieces that are right while the files are in these states.
    pub(super) right: PieceSet,
}

/// What the hashes of the pieces of a torrent that is made follow from: names, lengths, and the states of all files.
pub(super) type Origin = [u8; 32];

impl Records {
    /// Those in a state folder. Nothing is read or made yet.
    pub(super) fn new(state_folder: Option<&Path>) -> Records {
        Records { folder: state_folder.map(|folder| folder.join("torrents")) }
    }

    /// What is known of this torrent, and whether that is to be [kept](Records::keep_seed) again, lest it be removed as old.
    pub(super) fn seed(&self, info: &Info) -> Option<(SeedRecord, bool)> {
        let (bytes, is_old) = self.read(&info.hash().to_string(), seed_len(info))?;
        let record = decode_seed(&bytes, info);
        if record.is_none() {
            log::info!("the record of {} is damaged: its files are hashed again", info.hash());
        }
        Some((record?, is_old))
    }

    /// Keeps what is known of a torrent. Waits for the disk.
    pub(super) fn keep_seed(
        &self,
        info: &Info,
        states: impl Iterator<Item = Option<Identity>>,
        right: &PieceSet,
    ) {
        if self.folder.is_some() {
            self.write(&info.hash().to_string(), &encode_seed(info, states, right));
        }
    }

    /// The hashes of so many pieces of a torrent that was made of `path`, if they are known and follow from that.
    pub(super) fn made(&self, path: &Path, origin: &Origin, pieces: u32) -> Option<Vec<u8>> {
        let len = MADE.len() + origin.len() + pieces as usize * 20 + CHECKSUM_LEN;
        let name = name_of_made(path);
        let (bytes, is_old) = self.read(&name, len)?;
        let body = unsealed(&bytes)?.strip_prefix(MADE)?;
        let hashes = body.strip_prefix(origin).filter(|_| bytes.len() == len)?;
        if is_old {
            self.write(&name, &bytes);
        }
        Some(hashes.to_vec())
    }

    /// Keeps the hashes of all pieces of a torrent that was made of `path`. Waits for the disk.
    pub(super) fn keep_made(&self, path: &Path, origin: &Origin, hashes: &[u8]) {
        if self.folder.is_some() {
            self.write(&name_of_made(path), &sealed([MADE, origin, hashes].concat()));
        }
    }

    /// Removes what was of no use for long, and what is too much, the oldest first.
    pub(super) fn tidy(&self) {
        let Some(Ok(entries)) = self.folder.as_ref().map(fs::read_dir) else { return };
        let mut found: Vec<(Duration, u64, PathBuf)> = entries
            .flatten()
            .filter_map(|entry| {
                let about = entry.metadata().ok().filter(fs::Metadata::is_file)?;
                Some((age(about.modified().ok()?), about.len(), entry.path()))
            })
            .collect();
        found.sort_unstable();
        let mut bytes = 0_u64;
        for (nth, (age, len, path)) in found.into_iter().enumerate() {
            bytes = bytes.saturating_add(len);
            if age > KEEP || nth >= MAX_RECORDS || bytes > MAX_BYTES {
                // Whatever cannot be removed only takes up room.
                let _ = fs::remove_file(path);
            }
        }
    }

    /// The bytes of a record of this length, or at least not of it, and whether it is old.
    fn read(&self, name: &str, len: usize) -> Option<(Vec<u8>, bool)> {
        let path = self.folder.as_ref()?.join(name);
        let read = || -> io::Result<(Vec<u8>, bool)> {
            let file = open_to_read(&path)?;
            let is_old = age(file.metadata()?.modified()?) > REFRESH;
            let mut bytes = Vec::new();
            // One byte more, so that one that is too long is not taken for right.
            file.take(len as u64 + 1).read_to_end(&mut bytes)?;
            Ok((bytes, is_old))
        };
        match read() {
            Ok(read) => Some(read),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                log::warn!("{}: {error}", shown(&path));
                None
            }
        }
    }

    /// Without forcing it to the disk: what a crash of the machine leaves half-written is found out when it is read.
    fn write(&self, name: &str, bytes: &[u8]) {
        let Some(folder) = &self.folder else { return };
        let made = fs::create_dir_all(folder).map_err(|error| about(folder, error));
        if let Err(error) = made.and_then(|()| replace_lightly(&folder.join(name), bytes)) {
            log::warn!("{error}; files of torrents are hashed again at the next start");
        }
    }
}

/// What the hashes of the pieces of these files follow from. `None` where a file may change without showing it.
pub(super) fn origin_of(found: &Found, piece_length: u32) -> Option<Origin> {
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    };
    add(found.name.as_bytes());
    add(&[u8::from(found.is_folder)]);
    add(&piece_length.to_le_bytes());
    for ((path, _, is_executable), state) in found.files.iter().zip(found.space.lasting_states()) {
        add(path.as_bytes());
        add(&[u8::from(*is_executable)]);
        add(&encode_state(&state?));
    }
    Some(hasher.finalize().into())
}

fn name_of_made(path: &Path) -> String {
    let hash = blake3::hash(path.as_os_str().as_bytes());
    format!("{}.made", HEXLOWER.encode(&hash.as_bytes()[..20]))
}

/// A path that stays the same wherever the next process is started.
pub(super) fn lasting_path(path: &Path) -> PathBuf {
    path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn age(at: SystemTime) -> Duration {
    at.elapsed().unwrap_or_default()
}

fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    let checksum = blake3::hash(&body);
    body.extend_from_slice(checksum.as_bytes());
    body
}

fn unsealed(bytes: &[u8]) -> Option<&[u8]> {
    let (body, checksum) = bytes.split_last_chunk::<CHECKSUM_LEN>()?;
    (blake3::hash(body) == *checksum).then_some(body)
}

fn seed_len(info: &Info) -> usize {
    let pieces = info.pieces().count().div_ceil(8) as usize;
    SEED.len()
        + info.hash().as_bytes().len()
        + info.layout().files().len() * STATE_LEN
        + pieces
        + CHECKSUM_LEN
}

fn encode_seed(info: &Info, states: impl Iterator<Item = Option<Identity>>, right: &PieceSet) -> Vec<u8> {
    let mut body = Vec::with_capacity(seed_len(info));
    body.extend_from_slice(SEED);
    body.extend_from_slice(info.hash().as_bytes());
    for state in states {
        match state {
            Some(state) => {
                body.push(1);
                body.extend_from_slice(&encode_state(&state));
            }
            None => body.extend_from_slice(&[0; STATE_LEN]),
        }
    }
    body.extend_from_slice(right.as_bytes());
    sealed(body)
}

fn decode_seed(bytes: &[u8], info: &Info) -> Option<SeedRecord> {
    if bytes.len() != seed_len(info) {
        return None;
    }
    let body = unsealed(bytes)?.strip_prefix(SEED)?.strip_prefix(info.hash().as_bytes())?;
    let (states, right) = body.split_at_checked(info.layout().files().len() * STATE_LEN)?;
    let right = PieceSet::from_bytes(right, info.pieces().count())?;
    let states = states.chunks_exact(STATE_LEN).map(|state| match state.split_first() {
        Some((1, state)) => decode_state(state),
        _ => None,
    });
    Some(SeedRecord { states: states.collect(), right })
}

fn encode_state(state: &Identity) -> [u8; STATE_LEN - 1] {
    let mut bytes = [0; STATE_LEN - 1];
    let numbers = [
        state.device,
        state.inode,
        state.size,
        state.modified.seconds.cast_unsigned(),
        state.changed.seconds.cast_unsigned(),
        u64::from(state.modified.nanos) << 32 | u64::from(state.changed.nanos),
    ];
    for (into, number) in bytes.chunks_exact_mut(8).zip(numbers) {
        into.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

fn decode_state(bytes: &[u8]) -> Option<Identity> {
    let mut numbers = bytes.as_chunks::<8>().0.iter().map(|number| u64::from_le_bytes(*number));
    let (device, inode, size) = (numbers.next()?, numbers.next()?, numbers.next()?);
    let (modified, changed, nanos) = (numbers.next()?, numbers.next()?, numbers.next()?);
    Some(Identity {
        device,
        inode,
        size,
        modified: Stamp { seconds: modified.cast_signed(), nanos: (nanos >> 32) as u32 },
        changed: Stamp { seconds: changed.cast_signed(), nanos: nanos as u32 },
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use cjp2p_torrent::metainfo::Spec;
    use cjp2p_wire::folder::FolderPath;
    use proptest::prelude::*;

    use super::*;

    fn info(files: usize) -> Info {
        let path = |text: String| FolderPath::new(text.as_bytes()).unwrap();
        let files: Vec<_> = (0..files).map(|n| (path(format!("{n}")), 100_000, false)).collect();
        let pieces = (files.len() * 100_000).div_ceil(16 << 10);
        let name = path("top".into());
        let spec = Spec { name, files, is_folder: true, piece_length: 16 << 10, is_private: false };
        spec.info(&vec![7; pieces * 20]).unwrap()
    }

    fn state(n: u64) -> Identity {
        let at = |seconds| Stamp { seconds, nanos: 999_999_999 };
        Identity { device: n, inode: u64::MAX - n, size: 100_000, modified: at(-5), changed: at(i64::MAX) }
    }

    fn record(info: &Info) -> SeedRecord {
        let states = (0..info.layout().files().len()).map(|n| (n != 1).then(|| state(n as u64))).collect();
        let mut right = PieceSet::all(info.pieces().count());
        right.remove(3);
        SeedRecord { states, right }
    }

    fn keep(records: &Records, info: &Info) -> PathBuf {
        let SeedRecord { states, right } = record(info);
        records.keep_seed(info, states.into_iter(), &right);
        records.folder.clone().unwrap().join(info.hash().to_string())
    }

    #[test]
    fn what_was_kept_is_found_again_and_only_for_the_same_torrent() {
        let folder = tempfile::tempdir().unwrap();
        let (records, info) = (Records::new(Some(folder.path())), info(3));
        assert!(records.seed(&info).is_none());
        let path = keep(&records, &info);
        assert_eq!(records.seed(&info), Some((record(&info), false)));
        let other = self::info(2);
        fs::rename(&path, path.with_file_name(other.hash().to_string())).unwrap();
        assert!(records.seed(&other).is_none() && records.seed(&info).is_none());
        let nowhere = Records::new(None);
        nowhere.keep_seed(&info, record(&info).states.into_iter(), &record(&info).right);
        assert!(nowhere.seed(&info).is_none());
    }

    #[test]
    fn a_record_that_is_too_long_too_short_or_no_file_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let (records, info) = (Records::new(Some(folder.path())), info(3));
        let path = keep(&records, &info);
        let bytes = fs::read(&path).unwrap();
        for damaged in [&bytes[..bytes.len() - 1], &[&*bytes, b"x"].concat(), &bytes[..10], b""] {
            fs::write(&path, damaged).unwrap();
            assert!(records.seed(&info).is_none(), "{} bytes", damaged.len());
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(records.seed(&info).is_none());
        keep(&records, &info);
        assert!(path.is_dir(), "it is not ours to remove");
    }

    #[test]
    fn hashes_of_a_torrent_that_was_made_are_found_by_path_and_all_they_follow_from() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(Some(folder.path()));
        let hashes = vec![5; 40];
        records.keep_made(Path::new("/a"), &[1; 32], &hashes);
        assert_eq!(records.made(Path::new("/a"), &[1; 32], 2), Some(hashes));
        assert_eq!(records.made(Path::new("/a"), &[2; 32], 2), None);
        assert_eq!(records.made(Path::new("/a"), &[1; 32], 3), None);
        assert_eq!(records.made(Path::new("/a"), &[1; 32], 1), None);
        assert_eq!(records.made(Path::new("/b"), &[1; 32], 2), None);
    }

    #[test]
    fn what_was_of_no_use_for_half_a_year_is_removed_and_what_is_used_is_refreshed() {
        let folder = tempfile::tempdir().unwrap();
        let (records, info) = (Records::new(Some(folder.path())), info(3));
        let path = keep(&records, &info);
        let ago = |age: Duration| {
            let then = SystemTime::now() - age;
            File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        };
        ago(REFRESH + Duration::from_secs(60));
        records.tidy();
        assert_eq!(records.seed(&info), Some((record(&info), true)));
        ago(KEEP + Duration::from_secs(60));
        records.tidy();
        assert!(!path.exists());
    }

    #[test]
    fn however_many_records_there_are_the_newest_are_kept_within_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(Some(folder.path()));
        let at = folder.path().join("torrents");
        fs::create_dir(&at).unwrap();
        // Holes take no room here, but count.
        for n in 0..10_u64 {
            let file = File::create(at.join(n.to_string())).unwrap();
            file.set_len(MAX_BYTES / 4).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(n * 60 + 60)).unwrap();
        }
        records.tidy();
        let mut left: Vec<_> = fs::read_dir(&at)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["0", "1", "2", "3"]);
    }

    proptest! {
        #[test]
        fn a_record_with_one_wrong_byte_is_not_believed(at in any::<prop::sample::Index>(), byte in 1..=255_u8) {
            let info = info(2);
            let SeedRecord { states, right } = record(&info);
            let mut bytes = encode_seed(&info, states.into_iter(), &right);
            prop_assert_eq!(decode_seed(&bytes, &info), Some(record(&info)));
            let at = at.index(bytes.len());
            bytes[at] ^= byte;
            prop_assert_eq!(decode_seed(&bytes, &info), None);
        }
    }
}
