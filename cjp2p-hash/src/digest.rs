//! Hashing a file of any size from one read, in flat memory, on all cores where that helps.

use std::fs::File;
use std::io::{self, Read};
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
/// Shorter files are not worth starting threads for one group each.
const SPREAD_FROM: u64 = 8 * GROUP_LEN;
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
    File(File),
}

/// Computes what is `wanted` over all of `input`. `progress` is told the length of each part that is done.
pub(crate) fn digest(
    input: Input,
    wanted: Wanted<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Digests, Failed> {
    let mut reader = match input {
        Input::File(file) if !wanted.sha256 && file.metadata()?.len() >= SPREAD_FROM => {
            let tree = spread(&file, wanted.leaves, progress)?;
            return Ok(Digests { length: tree.length(), tree: Some(tree), sha256: None });
        }
        Input::File(file) => Box::new(file),
        Input::Stream(reader) => reader,
    };
    let mut first = vec![0; BLOCK_LEN];
    let length = read_full(&mut reader, &mut first)?;
    first.truncate(length);
    if length < BLOCK_LEN {
        let mut hashers = Hashers::new(wanted);
        hashers.update(&first)?;
        progress(length as u64);
        return Ok(hashers.finish());
    }
    stream(&mut reader, first, wanted, progress)
}

/// Fills `block` unless the end comes first; says how far.
pub(crate) fn read_full(reader: &mut dyn Read, block: &mut [u8]) -> io::Result<usize> {
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
struct Hashers<'a> {
    length: u64,
    groups: u64,
    tree: Option<TreeBuilder>,
    sha256: Option<Sha256>,
    leaves: Option<&'a File>,
}

impl<'a> Hashers<'a> {
    fn new(wanted: Wanted<'a>) -> Hashers<'a> {
        let tree = wanted.blake3 || wanted.leaves.is_some();
        Hashers {
            length: 0,
            groups: 0,
            tree: tree.then(TreeBuilder::new),
            sha256: wanted.sha256.then(Sha256::new),
            leaves: wanted.leaves,
        }
    }

    fn update(&mut self, block: &[u8]) -> Result<(), Failed> {
        self.length += block.len() as u64;
        if let Some(tree) = &mut self.tree {
            tree.push_group(&hash_group(self.groups, block, self.leaves)?);
        }
        self.groups += 1;
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(block);
        }
        Ok(())
    }

    fn finish(self) -> Digests {
        Digests {
            length: self.length,
            tree: self.tree.map(TreeBuilder::finish),
            sha256: self.sha256.map(|sha256| sha256.finalize().into()),
        }
    }
}

/// Reads on this thread and hashes on one for each kind of hash. `first` is a full block, already read.
fn stream(
    reader: &mut dyn Read,
    first: Vec<u8>,
    wanted: Wanted<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Digests, Failed> {
    let blake3 = Wanted { sha256: false, ..wanted };
    let sha256 = Wanted { sha256: wanted.sha256, ..Wanted::default() };
    thread::scope(|scope| {
        let (recycle, recycled) = mpsc::channel();
        let (mut senders, mut threads) = (Vec::new(), Vec::new());
        for (run, wanted) in [(wanted.blake3 || wanted.leaves.is_some(), blake3), (wanted.sha256, sha256)] {
            if run {
                let (sender, receiver) = mpsc::sync_channel(WAITING_BLOCKS);
                let recycle = recycle.clone();
                senders.push(sender);
                threads.push(scope.spawn(move || hash_stream(wanted, &receiver, &recycle)));
            }
        }
        let read = read_stream(reader, first, &senders, &recycled, progress);
        drop(senders);
        let mut digests = Digests { length: 0, tree: None, sha256: None };
        for thread in threads {
            let own = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
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
    recycled: &Receiver<Vec<u8>>,
    progress: &mut dyn FnMut(u64),
) -> io::Result<()> {
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
        drop(shared);
        progress(length as u64);
        block = recycled.try_recv().unwrap_or_default();
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
    use std::io::Write;

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
        for length in [0, 1, 4097, BLOCK_LEN - 1, BLOCK_LEN, BLOCK_LEN + 1, 8 * BLOCK_LEN, 20 * BLOCK_LEN + 5]
        {
            let bytes = content(length);
            for (blake3, sha256) in [(true, false), (false, true), (true, true)] {
                let wanted = Wanted { blake3, sha256, leaves: None };
                check(Input::Stream(Box::new(Dribble(io::Cursor::new(bytes.clone())))), wanted, &bytes);
                let mut file = tempfile::NamedTempFile::new().unwrap();
                file.write_all(&bytes).unwrap();
                check(Input::File(file.reopen().unwrap()), wanted, &bytes);
            }
        }
    }

    #[test]
    fn leaves_are_written_in_order_however_they_are_computed() {
        for length in [0, 5000, 20 * BLOCK_LEN + 5] {
            let bytes = content(length);
            let expected = cjp2p_wire::tree::group_leaves(0, &bytes);
            for stream in [true, false] {
                let spool = tempfile::tempfile().unwrap();
                let mut file = tempfile::NamedTempFile::new().unwrap();
                file.write_all(&bytes).unwrap();
                let input = match stream {
                    true => Input::Stream(Box::new(io::Cursor::new(bytes.clone()))),
                    false => Input::File(file.reopen().unwrap()),
                };
                check(input, Wanted { blake3: true, leaves: Some(&spool), sha256: stream }, &bytes);
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
        for input in [Input::File(tempfile::tempfile().unwrap()), Input::File(large), stream] {
            assert!(matches!(digest(input, wanted, &mut |_| {}), Err(Failed::Leaves(_))));
        }
    }
}
