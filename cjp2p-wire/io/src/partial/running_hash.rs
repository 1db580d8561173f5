//! The SHA-256 hash of what is staged, computed piece by piece while the rest is still fetched: from the beginning on,
//! as far as everything is there.

use std::fs::File;
use std::io;
use std::ops::Range;

use cjp2p_wire::content_id::Hash;
use cjp2p_wire::range_set::RangeSet;
use sha2::{Digest, Sha256};

use super::reading::read_through;

/// Less than this is hashed only when nothing more comes, in bytes: each piece has two threads wake each other.
const LEAST: u64 = 1 << 20;
/// More than this is hashed in several pieces, in bytes, so that other content has its turn. It is much more than what
/// comes before the network's thread gives out the next.
const MOST: u64 = 64 << 20;

/// See the [module](self). It touches no file: what it gives out is to be hashed elsewhere, and handed in again.
pub struct RunningHash {
    expected: Hash,
    least: u64,
    most: u64,
    staged: RangeSet,
    /// Everything is staged, and it is this long.
    length: Option<u64>,
    /// `None` while a piece is out.
    hasher: Option<Sha256>,
    /// The end of what was hashed, or is being hashed.
    taken: u64,
    /// What the piece that is out is about has changed since.
    is_void: bool,
}

/// Bytes of a file that are the next to be hashed.
pub struct Piece {
    hasher: Sha256,
    range: Range<u64>,
}

impl RunningHash {
    /// Of a file that has the bytes `staged` already and is to have this hash in the end.
    pub fn new(expected: Hash, staged: RangeSet) -> RunningHash {
        RunningHash {
            expected,
            least: LEAST,
            most: MOST,
            staged,
            length: None,
            hasher: Some(Sha256::new()),
            taken: 0,
            is_void: false,
        }
    }

    /// The bytes `range` were written to the file. Where some of them were hashed before, that was in vain.
    pub fn on_staged(&mut self, range: Range<u64>) {
        if range.start < self.taken {
            self.begin_again();
        }
        self.staged.insert(range);
    }

    /// The file was emptied.
    pub fn on_restaged(&mut self) {
        self.staged = RangeSet::new();
        self.length = None;
        self.begin_again();
    }

    /// Everything is staged, and it is this long.
    pub fn on_end(&mut self, length: u64) {
        if length < self.taken {
            self.begin_again();
        }
        self.length = Some(length);
    }

    fn begin_again(&mut self) {
        self.taken = 0;
        match &mut self.hasher {
            Some(hasher) => hasher.reset(),
            None => self.is_void = true,
        }
    }

    /// What to hash next, if enough is there. There is never more than one piece out.
    pub fn next_piece(&mut self) -> Option<Piece> {
        let (end, least) = match self.length {
            Some(length) => (length, 1),
            None => (self.staged.iter().next().filter(|first| first.start == 0)?.end, self.least),
        };
        if end < self.taken + least {
            return None;
        }
        let hasher = self.hasher.take()?;
        let range = self.taken..end.min(self.taken + self.most);
        self.taken = range.end;
        Some(Piece { hasher, range })
    }

    /// Takes back the piece that was out.
    ///
    /// # Errors
    ///
    /// Where it could not be hashed and still mattered.
    pub fn on_hashed(&mut self, piece: io::Result<Piece>) -> io::Result<()> {
        let is_void = std::mem::take(&mut self.is_void);
        self.hasher = Some(if is_void { Sha256::new() } else { piece?.hasher });
        Ok(())
    }

    /// Once everything is staged and hashed, whether it is what was wanted; told once.
    pub fn verdict(&mut self) -> Option<bool> {
        let hasher = self.hasher.as_ref().filter(|_| self.length == Some(self.taken))?;
        self.length = None;
        Some(hasher.clone().finalize()[..] == self.expected[..])
    }
}

impl Piece {
    /// Reads it from the file and hashes it.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or ends before.
    pub fn hash(mut self, file: &File) -> io::Result<Piece> {
        read_through(file, self.range.clone(), |bytes| self.hasher.update(bytes))?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    use proptest::prelude::*;

    fn small(bytes: &[u8], staged: RangeSet) -> RunningHash {
        RunningHash { least: 8, most: 32, ..RunningHash::new(Sha256::digest(bytes).into(), staged) }
    }

    fn file_of(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file
    }

    fn range_of(piece: Option<&Piece>) -> Option<Range<u64>> {
        piece.map(|piece| piece.range.clone())
    }

    #[test]
    fn what_is_there_without_a_gap_is_hashed_at_once_and_only_the_rest_at_the_end() {
        let bytes: Vec<u8> = (0..100).collect();
        let file = file_of(&bytes);
        let mut hash = small(&bytes, RangeSet::new());
        hash.on_staged(90..100);
        hash.on_staged(0..7);
        assert!(hash.next_piece().is_none(), "less than is worth a piece");
        hash.on_staged(7..50);
        let piece = hash.next_piece().unwrap();
        assert_eq!(piece.range, 0..32);
        assert!(hash.next_piece().is_none(), "one is out");
        hash.on_hashed(piece.hash(&file)).unwrap();
        let piece = hash.next_piece().unwrap();
        assert_eq!(piece.range, 32..50);
        hash.on_staged(50..90);
        hash.on_end(100);
        assert_eq!(hash.verdict(), None);
        hash.on_hashed(piece.hash(&file)).unwrap();
        for rest in [50..82, 82..100] {
            assert_eq!(hash.verdict(), None);
            let piece = hash.next_piece().unwrap();
            assert_eq!(piece.range, rest);
            hash.on_hashed(piece.hash(&file)).unwrap();
        }
        assert!(hash.next_piece().is_none());
        assert_eq!((hash.verdict(), hash.verdict()), (Some(true), None));
    }

    #[test]
    fn what_an_interrupted_fetch_had_is_hashed_from_the_start() {
        let bytes = [7; 40];
        let mut hash = small(&bytes, [0..20, 30..40].into_iter().collect());
        let piece = hash.next_piece();
        assert_eq!(range_of(piece.as_ref()), Some(0..20));
        // It was something else that was interrupted.
        hash.on_restaged();
        hash.on_hashed(piece.unwrap().hash(&file_of(&[1; 20]))).unwrap();
        assert!(hash.next_piece().is_none());
        hash.on_staged(0..40);
        hash.on_end(40);
        assert_eq!(range_of(hash.next_piece().as_ref()), Some(0..32));
    }

    #[test]
    fn content_that_ends_before_what_was_hashed_is_hashed_again() {
        let (bytes, mut hash) = ([5; 40], small(&[5; 20], RangeSet::new()));
        hash.on_staged(0..40);
        let piece = hash.next_piece().unwrap();
        hash.on_end(20);
        hash.on_hashed(piece.hash(&file_of(&bytes))).unwrap();
        let piece = hash.next_piece().unwrap();
        hash.on_hashed(piece.hash(&file_of(&bytes))).unwrap();
        assert_eq!(hash.verdict(), Some(true));
    }

    /// Hashes all there is to hash, of what is in the file now.
    fn hash_rest(hash: &mut RunningHash, file: &File) {
        while let Some(piece) = hash.next_piece() {
            hash.on_hashed(piece.hash(file)).unwrap();
        }
    }

    #[test]
    fn what_is_written_again_is_hashed_again_whether_a_piece_is_out_or_not() {
        let right = [5; 40];
        for is_out in [false, true] {
            for change in [
                (|hash, file| {
                    file.write_all_at(&[5; 10], 0).unwrap();
                    hash.on_staged(0..10);
                }) as fn(&mut RunningHash, &File),
                |hash, file| {
                    file.set_len(0).unwrap();
                    hash.on_restaged();
                    file.write_all_at(&[5; 32], 0).unwrap();
                    hash.on_staged(0..32);
                },
            ] {
                // The first bytes are wrong at first.
                let file = file_of(&[[6; 10], [5; 10], [5; 10], [5; 10]].concat());
                let mut hash = small(&right, RangeSet::new());
                hash.on_staged(0..32);
                let piece = hash.next_piece().unwrap();
                if is_out {
                    // It was read before.
                    let read = piece.hash(&file);
                    change(&mut hash, &file);
                    hash.on_hashed(read).unwrap();
                } else {
                    hash.on_hashed(piece.hash(&file)).unwrap();
                    change(&mut hash, &file);
                }
                file.write_all_at(&right[32..], 32).unwrap();
                hash.on_staged(32..40);
                hash.on_end(40);
                hash_rest(&mut hash, &file);
                assert_eq!(hash.verdict(), Some(true), "{is_out}");
            }
        }
    }

    #[test]
    fn a_piece_is_void_once_and_the_next_counts() {
        let (file, mut hash) = (file_of(&[5; 40]), small(&[5; 40], RangeSet::new()));
        hash.on_staged(0..16);
        let piece = hash.next_piece().unwrap();
        hash.on_staged(0..16);
        hash.on_hashed(piece.hash(&file)).unwrap();
        hash.on_staged(16..40);
        hash.on_end(40);
        let mut hashed = 0;
        while let Some(piece) = hash.next_piece() {
            hashed += piece.range.end - piece.range.start;
            hash.on_hashed(piece.hash(&file)).unwrap();
        }
        assert_eq!((hash.verdict(), hashed), (Some(true), 40));
    }

    #[test]
    fn an_error_counts_unless_the_piece_was_void_anyway() {
        let gone = || Err(io::ErrorKind::UnexpectedEof.into());
        let mut hash = small(&[1; 20], RangeSet::new());
        hash.on_staged(0..20);
        assert!(hash.next_piece().unwrap().hash(&file_of(&[1; 19])).is_err());
        hash.on_restaged();
        hash.on_hashed(gone()).unwrap();
        hash.on_staged(0..20);
        assert!(hash.next_piece().is_some());
        assert!(hash.on_hashed(gone()).is_err());
    }

    #[test]
    fn the_hash_of_nothing_needs_no_piece() {
        for (bytes, right) in [(&b""[..], true), (b"x", false)] {
            let mut hash = small(bytes, RangeSet::new());
            assert_eq!(hash.verdict(), None);
            hash.on_end(0);
            assert!(hash.next_piece().is_none());
            assert_eq!(hash.verdict(), Some(right));
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// These bytes come, right or wrong.
        Stage(Range<u64>, bool),
        Restage,
        /// The fetch takes it for complete, under this length.
        End(u64),
        /// A piece is given out, read, handed in.
        Take,
        Read,
        HandIn,
    }

    const LENGTH: u64 = 300;

    fn step() -> impl Strategy<Value = Step> {
        let range = (0..LENGTH, 1..60u64).prop_map(|(start, length)| start..(start + length).min(LENGTH));
        prop_oneof![
            8 => (range, any::<bool>()).prop_map(|(range, right)| Step::Stage(range, right)),
            8 => (0..LENGTH / 20, any::<bool>()).prop_map(|(n, right)| Step::Stage(n * 20..n * 20 + 20, right)),
            1 => Just(Step::Restage),
            1 => (0..=LENGTH).prop_map(Step::End),
            6 => Just(Step::Take),
            6 => Just(Step::Read),
            6 => Just(Step::HandIn),
        ]
    }

    proptest! {
        /// The naive model is the file itself, hashed at once when a verdict is given.
        #[test]
        fn a_verdict_is_about_the_bytes_of_the_file(
            resumed in 0..LENGTH,
            steps in proptest::collection::vec(step(), 0..120),
            last_is_wrong in any::<Option<prop::sample::Index>>(),
        ) {
            let right: Vec<u8> = (0..LENGTH).map(|n| (n * n % 251) as u8).collect();
            let file = file_of(&right[..resumed as usize]);
            let is_right = |length: u64| {
                let mut found = vec![0; length as usize];
                file.read_exact_at(&mut found, 0).is_ok() && found == right
            };
            let mut hash = small(&right, std::iter::once(0..resumed).collect());
            let write = |hash: &mut RunningHash, range: Range<u64>, is_right: bool| {
                let bytes = &right[range.start as usize..range.end as usize];
                let bytes: Vec<u8> = bytes.iter().map(|byte| if is_right { *byte } else { !byte }).collect();
                file.write_all_at(&bytes, range.start).unwrap();
                hash.on_staged(range);
            };
            let (mut out, mut read, mut end) = (None, None, None);
            for step in steps {
                match step {
                    Step::Stage(range, is_right) => write(&mut hash, range, is_right),
                    Step::Restage => {
                        file.set_len(0).unwrap();
                        hash.on_restaged();
                        end = None;
                    }
                    // A fetch says so only where so much is there.
                    Step::End(length) if length <= file.metadata().unwrap().len() => {
                        hash.on_end(length);
                        end = Some(length);
                    }
                    Step::End(_) => {}
                    Step::Take => {
                        if let Some(piece) = hash.next_piece() {
                            prop_assert!(out.is_none() && read.is_none());
                            prop_assert!(piece.range.end - piece.range.start <= 32);
                            out = Some(piece);
                        }
                    }
                    Step::Read => read = out.take().map(|piece| piece.hash(&file)).or(read),
                    Step::HandIn => {
                        if let Some(piece) = read.take() {
                            prop_assert!(hash.on_hashed(piece).is_ok());
                        }
                    }
                }
                if let Some(verdict) = hash.verdict() {
                    prop_assert_eq!(verdict, is_right(end.take().unwrap()));
                }
            }
            write(&mut hash, 0..LENGTH, true);
            let wrong = last_is_wrong.map(|index| index.index(LENGTH as usize) as u64);
            if let Some(at) = wrong {
                write(&mut hash, at..at + 1, false);
            }
            hash.on_end(LENGTH);
            let verdict = loop {
                if let Some(verdict) = hash.verdict() {
                    break verdict;
                }
                let piece = read.take().or_else(|| Some(out.take().or_else(|| hash.next_piece())?.hash(&file)));
                hash.on_hashed(piece.unwrap()).unwrap();
            };
            prop_assert_eq!(verdict, wrong.is_none());
            prop_assert_eq!(verdict, is_right(LENGTH));
        }
    }
}
