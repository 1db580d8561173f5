//! Hashing a file of any size from one read, in flat memory, on all cores where that helps.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use cjp2p_wire::content_id::Hash;
use cjp2p_wire::tree::{ENTRY_LEN, GROUP_LEN, Group, RUN_ENTRIES, Tree, TreeBuilder};
use sha2::{Digest, Sha256};

use crate::spread::spread;

/// Bytes read at once: what the tree counts as one group.
pub(crate) const BLOCK_LEN: usize = GROUP_LEN as usize;
/// Shorter files are hashed before threads for them would have started.
const SPREAD_FROM: u64 = 2 * GROUP_LEN;
/// With SHA-256, which one thread does alone, there is less to gain.
const SPREAD_SHA256_FROM: u64 = 32 * GROUP_LEN;
/// What does not say how long it is may well be short, or empty.
const FIRST_READ: usize = 4096;
/// Blocks that may wait for a slow hash.
const WAITING_BLOCKS: usize = 8;

/// What to compute of a file.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    /// BLAKE3 and the tree.
    pub(crate) blake3: bool,
    pub(crate) sha256: bool,
    /// Where the values of the leaves go, each at its index; implies `blake3`.
    pub(crate) leaves: Option<&'a File>,
}

impl Wanted<'_> {
    /// Whether groups are hashed.
    pub(crate) fn tree(&self) -> bool {
        self.blake3 || self.leaves.is_some()
    }
}

/// What was computed.
pub(crate) struct Digests {
    /// Bytes read.
    pub(crate) length: u64,
    pub(crate) tree: Option<Tree>,
    pub(crate) sha256: Option<Hash>,
}

/// Why nothing was computed.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The input cannot be read.
    Reading(io::Error),
    /// The values of leaves cannot be written.
    Leaves(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Reading(error)
    }
}

/// Where the bytes come from.
pub(crate) enum Input {
    /// Read from where it stands to its end.
    Stream(Box<dyn Read>),
    /// A regular file, which can be read at several places at once.
    File(RegularFile),
}

/// An open regular file, and what it was when it was opened.
pub(crate) struct RegularFile {
    file: File,
    /// Where the content to hash begins.
    start: u64,
    found: Metadata,
}

impl RegularFile {
    /// `found` is the file's metadata; it is read from byte `start` on, where it must stand.
    pub(crate) fn new(file: File, start: u64, found: Metadata) -> RegularFile {
        RegularFile { file, start, found }
    }

    /// The bytes there are to hash, should it stay as it was found. Many files of the kernel say 0 whatever they hold.
    fn expected(&self) -> u64 {
        self.found.len().saturating_sub(self.start)
    }

    /// Whoever changes a file while it is read leaves bytes of two states behind, which are no content of anything.
    fn check_unchanged(&self) -> io::Result<()> {
        let now = self.file.metadata()?;
        if now.len() != self.found.len() || now.modified().ok() != self.found.modified().ok() {
            return Err(changed());
        }
        Ok(())
    }
}

/// What is wrong with a file that was not the same all the time.
pub(crate) fn changed() -> io::Error {
    io::Error::other("it changed while it was read")
}

/// Computes what is `wanted` over all of `input`. `progress` is told the length of each part that is done.
pub(crate) fn digest(
    input: Input,
    wanted: Wanted<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Digests, Failed> {
    match input {
        Input::File(input) => {
            let expected = input.expected();
            let spread_from = if wanted.sha256 { SPREAD_SHA256_FROM } else { SPREAD_FROM };
            let digests = if expected == 0 {
                stream(&mut &input.file, wanted, progress)?
            } else if expected < spread_from {
                in_line(&input, wanted, progress)?
            } else if let Some(digests) = spread(&input.file, input.start, wanted, progress)? {
                // Reading at places of their own moved nothing, but who shares the file expects it read.
                (&input.file).seek(SeekFrom::Start(input.start + digests.length))?;
                digests
            } else {
                in_line(&input, wanted, progress)?
            };
            input.check_unchanged()?;
            Ok(digests)
        }
        Input::Stream(mut reader) => stream(&mut reader, wanted, progress),
    }
}

/// Reads to the end and hashes, all on this thread. The end is where a read says so: files of the kernel say that they have
/// 4096 bytes, whatever they hold.
fn in_line(
    input: &RegularFile,
    wanted: Wanted<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Digests, Failed> {
    let expected = input.expected();
    let mut block = vec![0; expected.min(GROUP_LEN) as usize];
    let mut hashers = Hashers::new(wanted);
    let mut done = 0;
    loop {
        // Where no more is expected, the end still has to be seen, and a byte is room enough for that.
        let length = expected.saturating_sub(done).clamp(1, GROUP_LEN) as usize;
        block.resize(length, 0);
        let read = read_full(&mut &input.file, &mut block)?;
        if done >= expected && read > 0 {
            return Err(changed().into());
        }
        // Empty content has a group all the same.
        if read > 0 || done == 0 {
            hashers.update(&block[..read])?;
            progress(read as u64);
            done += read as u64;
        }
        if read < length {
            return Ok(hashers.finish());
        }
    }
}

/// Fills `block` unless the end comes first; says how far.
fn read_full(reader: &mut dyn Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match reader.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Hashes a group and, where asked for, writes the values of its leaves.
pub(crate) fn hash_group(index: u64, bytes: &[u8], leaves: Option<&File>) -> Result<Group, Failed> {
    let Some(file) = leaves else {
        return Ok(Group::hash(index, bytes));
    };
    let (group, values) = Group::hash_with_leaves(index, bytes);
    let offset = index * RUN_ENTRIES * ENTRY_LEN;
    file.write_all_at(values.as_flattened(), offset).map_err(Failed::Leaves)?;
    Ok(group)
}

/// The hashes of blocks that come in order, all of [`BLOCK_LEN`] but the last.
pub(crate) struct Hashers<'a> {
    length: u64,
    groups: u64,
    tree: Option<TreeBuilder>,
    sha256: Option<Sha256>,
    leaves: Option<&'a File>,
}

impl<'a> Hashers<'a> {
    pub(crate) fn new(wanted: Wanted<'a>) -> Hashers<'a> {
        Hashers {
            length: 0,
            groups: 0,
            tree: wanted.tree().then(TreeBuilder::new),
            sha256: wanted.sha256.then(Sha256::new),
            leaves: wanted.leaves,
        }
    }

    fn update(&mut self, block: &[u8]) -> Result<(), Failed> {
        let group = match self.tree {
            Some(_) => Some(hash_group(self.groups, block, self.leaves)?),
            None => None,
        };
        self.push(group.as_ref(), block.len(), block);
        Ok(())
    }

    /// Takes the next `length` bytes: their group where there is a tree, the `bytes` themselves where there is SHA-256.
    pub(crate) fn push(&mut self, group: Option<&Group>, length: usize, bytes: &[u8]) {
        self.length += length as u64;
        self.groups += 1;
        if let (Some(tree), Some(group)) = (&mut self.tree, group) {
            tree.push_group(group);
        }
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
    }

    pub(crate) fn finish(self) -> Digests {
        Digests {
            length: self.length,
            tree: self.tree.map(TreeBuilder::finish),
            sha256: self.sha256.map(|sha256| sha256.finalize().into()),
        }
    }
}

/// Reads on this thread and, if it is more than a block, hashes on one for each kind of hash.
fn stream(
    reader: &mut dyn Read,
    wanted: Wanted<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Digests, Failed> {
    let mut first = vec![0; FIRST_READ];
    let mut length = read_full(reader, &mut first)?;
    if length == FIRST_READ {
        first.resize(BLOCK_LEN, 0);
        length += read_full(reader, &mut first[FIRST_READ..])?;
    }
    first.truncate(length);
    if length < BLOCK_LEN {
        let mut hashers = Hashers::new(wanted);
        hashers.update(&first)?;
        progress(length as u64);
        return Ok(hashers.finish());
    }
    let blake3 = Wanted { sha256: false, ..wanted };
    let sha256 = Wanted { sha256: wanted.sha256, ..Wanted::default() };
    thread::scope(|scope| {
        let (recycle, recycled) = mpsc::channel();
        let (mut senders, mut threads, mut here) = (Vec::new(), Vec::new(), Vec::new());
        for (run, wanted) in [(wanted.tree(), blake3), (wanted.sha256, sha256)] {
            if !run {
                continue;
            }
            let (sender, receiver) = mpsc::sync_channel(WAITING_BLOCKS);
            let recycle = recycle.clone();
            let thread = thread::Builder::new();
            match thread.spawn_scoped(scope, move || hash_stream(wanted, &receiver, &recycle)) {
                Ok(thread) => {
                    senders.push(sender);
                    threads.push(thread);
                }
                // The system has no room for it: then it is done here, between the reads.
                Err(_) => here.push(Hashers::new(wanted)),
            }
        }
        let read = read_stream(reader, first, &senders, &mut here, &recycled, progress);
        drop(senders);
        let mut digests = Digests { length: 0, tree: None, sha256: None };
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let here = here.into_iter().map(|hashers| Ok(hashers.finish()));
        for own in threads.into_iter().map(join).chain(here) {
            let own = own?;
            digests.length = own.length;
            digests.tree = digests.tree.or(own.tree);
            digests.sha256 = digests.sha256.or(own.sha256);
        }
        read?;
        Ok(digests)
    })
}

/// A block that all hashes share. The last to be done with it gives its memory back.
type Block = Arc<Vec<u8>>;

fn read_stream(
    reader: &mut dyn Read,
    first: Vec<u8>,
    senders: &[SyncSender<Block>],
    here: &mut [Hashers<'_>],
    recycled: &Receiver<Vec<u8>>,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Failed> {
    let mut block = first;
    loop {
        let length = block.len();
        let shared = Arc::new(block);
        for sender in senders {
            if sender.send(Arc::clone(&shared)).is_err() {
                // That thread has failed, and says why when it is joined.
                return Ok(());
            }
        }
        here.iter_mut().try_for_each(|hashers| hashers.update(&shared))?;
        progress(length as u64);
        let own = Arc::into_inner(shared);
        block = own.or_else(|| recycled.try_recv().ok()).unwrap_or_default();
        block.resize(BLOCK_LEN, 0);
        let length = read_full(reader, &mut block)?;
        block.truncate(length);
        if length == 0 {
            return Ok(());
        }
    }
}

fn hash_stream(
    wanted: Wanted<'_>,
    blocks: &Receiver<Block>,
    recycle: &mpsc::Sender<Vec<u8>>,
) -> Result<Digests, Failed> {
    let mut hashers = Hashers::new(wanted);
    for block in blocks {
        hashers.update(&block)?;
        if let Some(memory) = Arc::into_inner(block) {
            // Where the reader is done, nobody wants it.
            let _ = recycle.send(memory);
        }
    }
    Ok(hashers.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::time::SystemTime;

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i % 251) as u8).collect()
    }

    /// Gives out its bytes in pieces of odd sizes.
    struct Dribble(io::Cursor<Vec<u8>>);

    impl Read for Dribble {
        fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
            let most = block.len().min(77_777);
            self.0.read(&mut block[..most])
        }
    }

    fn input(file: File) -> Input {
        let found = file.metadata().unwrap();
        Input::File(RegularFile::new(file, 0, found))
    }

    fn check(input: Input, wanted: Wanted<'_>, bytes: &[u8]) {
        let mut told = 0;
        let digests = digest(input, wanted, &mut |length| told += length).unwrap();
        assert_eq!((digests.length, told), (bytes.len() as u64, bytes.len() as u64));
        let blake3 = wanted.blake3.then(|| *blake3::hash(bytes).as_bytes());
        assert_eq!(digests.tree.map(|tree| *tree.root()), blake3);
        assert_eq!(digests.sha256, wanted.sha256.then(|| Sha256::digest(bytes).into()));
    }

    #[test]
    fn files_and_streams_of_any_length_hash_the_same() {
        for length in [
            0,
            1,
            4097,
            BLOCK_LEN - 1,
            BLOCK_LEN,
            BLOCK_LEN + 1,
            8 * BLOCK_LEN,
            32 * BLOCK_LEN,
            33 * BLOCK_LEN + 5,
        ] {
            let bytes = content(length);
            for (blake3, sha256) in [(true, false), (false, true), (true, true)] {
                let wanted = Wanted { blake3, sha256, leaves: None };
                check(Input::Stream(Box::new(Dribble(io::Cursor::new(bytes.clone())))), wanted, &bytes);
                let mut file = tempfile::NamedTempFile::new().unwrap();
                file.write_all(&bytes).unwrap();
                check(input(file.reopen().unwrap()), wanted, &bytes);
            }
        }
    }

    #[test]
    fn a_file_that_is_not_what_it_was_when_it_was_opened_has_no_ids() {
        let change: [fn(&File, u64); 3] = [
            |file, length| file.set_len(length - 1).unwrap(),
            |file, length| file.write_all_at(b"more", length).unwrap(),
            // As long as before, but written to.
            |file, _| file.set_modified(SystemTime::UNIX_EPOCH).unwrap(),
        ];
        for length in [1, BLOCK_LEN + 1, 33 * BLOCK_LEN + 5] {
            for (blake3, sha256) in [(true, false), (false, true), (true, true)] {
                for change in change {
                    let file = tempfile::NamedTempFile::new().unwrap();
                    fs::write(file.path(), content(length)).unwrap();
                    let input = input(file.reopen().unwrap());
                    change(file.as_file(), length as u64);
                    let result = digest(input, Wanted { blake3, sha256, leaves: None }, &mut |_| {});
                    let Err(Failed::Reading(error)) = result else { panic!("{length} bytes were taken") };
                    assert_eq!(error.to_string(), "it changed while it was read");
                }
            }
        }
    }

    #[test]
    fn holes_are_zeros_and_what_is_written_into_one_meanwhile_is_noticed() {
        let length = 37 * BLOCK_LEN + 5;
        for data in [None, Some(0), Some(9 * BLOCK_LEN + 3), Some(length - 4)] {
            let mut bytes = vec![0; length];
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(length as u64).unwrap();
            if let Some(at) = data {
                bytes[at..at + 4].fill(7);
                file.as_file().write_all_at(&[7; 4], at as u64).unwrap();
            }
            for (blake3, sha256) in [(true, false), (false, true), (true, true)] {
                let wanted = Wanted { blake3, sha256, leaves: None };
                check(input(file.reopen().unwrap()), wanted, &bytes);
                let mut told = 0;
                let before = input(file.reopen().unwrap());
                // Time stamps have steps.
                let later = SystemTime::now() + std::time::Duration::from_secs(1);
                let result = digest(before, wanted, &mut |length| {
                    if told == 0 {
                        file.as_file().write_all_at(&[0], 20 * BLOCK_LEN as u64).unwrap();
                        file.as_file().set_modified(later).unwrap();
                    }
                    told += length;
                });
                assert!(matches!(result, Err(Failed::Reading(_))), "{data:?}");
            }
        }
    }

    #[test]
    fn a_file_is_read_from_where_it_stands_to_its_end_and_stands_there_then() {
        for length in [0, 5000, BLOCK_LEN + 100, 20 * BLOCK_LEN, 36 * BLOCK_LEN] {
            let bytes = content(length);
            for (blake3, sha256) in [(true, false), (false, true), (true, true)] {
                for start in [0, 77, 3 * BLOCK_LEN as u64 + 5] {
                    let mut file = tempfile::tempfile().unwrap();
                    file.write_all(&bytes).unwrap();
                    file.seek(SeekFrom::Start(start)).unwrap();
                    let found = file.metadata().unwrap();
                    let same = file.try_clone().unwrap();
                    let rest = bytes.get(start as usize..).unwrap_or_default();
                    let input = Input::File(RegularFile::new(same, start, found));
                    check(input, Wanted { blake3, sha256, leaves: None }, rest);
                    assert_eq!(file.stream_position().unwrap(), start.max(length as u64));
                }
            }
        }
    }

    #[test]
    fn leaves_are_written_in_order_however_they_are_computed() {
        for length in [0, 5000, 33 * BLOCK_LEN + 5] {
            let bytes = content(length);
            let expected = cjp2p_wire::tree::group_leaves(0, &bytes);
            for stream in [true, false] {
                let spool = tempfile::tempfile().unwrap();
                let mut file = tempfile::NamedTempFile::new().unwrap();
                file.write_all(&bytes).unwrap();
                let from = match stream {
                    true => Input::Stream(Box::new(io::Cursor::new(bytes.clone()))),
                    false => input(file.reopen().unwrap()),
                };
                check(from, Wanted { blake3: true, leaves: Some(&spool), sha256: stream }, &bytes);
                let mut written = vec![0; expected.len() * 32];
                spool.read_exact_at(&mut written, 0).unwrap();
                assert_eq!(written, expected.as_flattened());
                assert_eq!(spool.metadata().unwrap().len(), written.len() as u64);
            }
        }
    }

    #[test]
    fn a_read_error_ends_the_work() {
        struct Fails(usize);
        impl Read for Fails {
            fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
                Ok(block.len())
            }
        }
        for blocks in [0, 1, 30] {
            let wanted = Wanted { blake3: true, sha256: true, leaves: None };
            let result = digest(Input::Stream(Box::new(Fails(blocks))), wanted, &mut |_| {});
            assert!(
                matches!(result, Err(Failed::Reading(error)) if error.kind() == io::ErrorKind::StorageFull)
            );
        }
        let unwritable = File::open("/dev/null").unwrap();
        let wanted = Wanted { leaves: Some(&unwritable), ..Wanted::default() };
        let large = tempfile::tempfile().unwrap();
        large.set_len(99 << 20).unwrap();
        let stream = Input::Stream(Box::new(io::repeat(0).take(99 << 20)));
        for from in [input(tempfile::tempfile().unwrap()), input(large), stream] {
            assert!(matches!(digest(from, wanted, &mut |_| {}), Err(Failed::Leaves(_))));
        }
    }
}
